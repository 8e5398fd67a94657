// The page of a search: sorts the table, and shows the crystal of the chosen row. Text enters the
// document through textContent only, so nothing in the data can become markup.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const ON_FACE = 0.02; // of a cell vector: near enough to be drawn on both faces
  let chosen = 0;
  let viewer = null;

  // Sites of so many cells along each vector, with the images of those that lie on a face.
  function sites(scene, count) {
    const shown = [];
    const range = (x) => {
      const images = [];
      for (let n = -1; n <= count; n++) {
        if (x + n > -ON_FACE && x + n < count + ON_FACE) images.push(x + n);
      }
      return images;
    };
    for (const [element, x, y, z] of scene.sites) {
      for (const u of range(x)) for (const v of range(y)) for (const w of range(z)) {
        const [a, b, c] = scene.cell;
        shown.push({
          elem: element,
          fraction: [u, v, w],
          x: u * a[0] + v * b[0] + w * c[0],
          y: u * a[1] + v * b[1] + w * c[1],
          z: u * a[2] + v * b[2] + w * c[2],
          bonds: [],
          bondOrder: [],
        });
      }
    }
    return shown;
  }

  function connect(shown) {
    for (let i = 0; i < shown.length; i++) {
      for (let j = i + 1; j < shown.length; j++) {
        const p = shown[i], q = shown[j];
        const longest = data.bonds[`${p.elem}-${q.elem}`] || 0;
        const d = Math.hypot(p.x - q.x, p.y - q.y, p.z - q.z);
        if (d < longest && d > 0.1) {
          p.bonds.push(j); p.bondOrder.push(1);
          q.bonds.push(i); q.bondOrder.push(1);
        }
      }
    }
  }

  function edges(cell, count) {
    const corner = (u, v, w) => ({
      x: u * cell[0][0] + v * cell[1][0] + w * cell[2][0],
      y: u * cell[0][1] + v * cell[1][1] + w * cell[2][1],
      z: u * cell[0][2] + v * cell[1][2] + w * cell[2][2],
    });
    const ends = [...Array(count + 1).keys()];
    for (const u of ends) for (const v of ends) {
      for (const [from, to] of [
        [corner(u, v, 0), corner(u, v, count)],
        [corner(u, 0, v), corner(u, count, v)],
        [corner(0, u, v), corner(count, u, v)],
      ]) viewer.addLine({ start: from, end: to, color: "#8a97a5", linewidth: 1 });
    }
    // The directions, beside the cell: in a corner an atom would hide them.
    const far = corner(1, 1, 1);
    const away = -1.5 / Math.hypot(far.x, far.y, far.z);
    const origin = { x: far.x * away, y: far.y * away, z: far.z * away };
    [["a", "#c0392b", corner(1, 0, 0)], ["b", "#1e8449", corner(0, 1, 0)], ["c", "#1f4fa3", corner(0, 0, 1)]]
      .forEach(([name, colour, end]) => {
        const length = Math.hypot(end.x, end.y, end.z);
        const along = (d) => ({
          x: origin.x + d * end.x / length, y: origin.y + d * end.y / length, z: origin.z + d * end.z / length,
        });
        viewer.addArrow({ start: origin, end: along(1.2), radius: 0.05, mid: 0.7, color: colour });
        viewer.addLabel(name, {
          position: along(1.5), fontColor: colour, backgroundOpacity: 0, fontSize: 15,
          alignment: "center", inFront: true,
        });
      });
  }

  function draw(keepView) {
    if (!viewer) return;
    const view = keepView ? viewer.getView() : null;
    const scene = data.candidates[chosen].scene;
    const count = Number(at("cells").value);
    const fills = at("style").value === "space";
    viewer.removeAllModels(); viewer.removeAllShapes(); viewer.removeAllLabels();
    const shown = sites(scene, count);
    connect(shown);
    const model = viewer.addModel();
    model.addAtoms(shown);
    for (const [name, element] of Object.entries(data.elements)) {
      const ball = { radius: element.radius * (fills ? 1 : 0.35), color: element.colour };
      const stick = { radius: 0.09, color: element.colour };
      model.setStyle({ elem: name }, fills ? { sphere: ball } : { sphere: ball, stick: stick });
    }
    model.setHoverable({}, true,
      (atom) => {
        const place = atom.fraction.map((x) => x.toFixed(3)).join(", ");
        atom.label = viewer.addLabel(`${atom.elem} (${place})`, {
          position: atom, backgroundColor: "#1c2733", backgroundOpacity: 0.85, fontSize: 12,
        });
      },
      (atom) => { if (atom.label) { viewer.removeLabel(atom.label); delete atom.label; } });
    edges(scene.cell, count);
    if (view) viewer.setView(view); else look();
    viewer.render();
  }

  // The third axis up, seen from the side, a little from the right and from above.
  function look() {
    const about = (axis, degrees) => {
      const half = degrees * Math.PI / 360;
      return [axis === "x" ? Math.sin(half) : 0, axis === "y" ? Math.sin(half) : 0, 0, Math.cos(half)];
    };
    const times = (p, q) => [
      p[3] * q[0] + p[0] * q[3] + p[1] * q[2] - p[2] * q[1],
      p[3] * q[1] - p[0] * q[2] + p[1] * q[3] + p[2] * q[0],
      p[3] * q[2] + p[0] * q[1] - p[1] * q[0] + p[2] * q[3],
      p[3] * q[3] - p[0] * q[0] - p[1] * q[1] - p[2] * q[2],
    ];
    const turned = times(about("x", 14), times(about("y", -24), about("x", -90)));
    viewer.setView([0, 0, 0, 0, ...turned]);
    viewer.zoomTo();
    viewer.zoom(1.25);
    viewer.render();
  }

  // Miller indices: a bar over what is negative.
  const overline = (label) => label.replace(label.includes(" ") ? /-(\d+)/g : /-(\d)/g, (_, digits) => [...digits].map((d) => d + "\u0305").join(""));

  // The powder pattern: profile, reflections, and the names of the strongest.
  function plotPowder(powder) {
    const W = 640, H = 300, left = 46, right = 10, top = 22, bottom = 58, FROM = 5, TO = 90, WIDTH = 0.15;
    const svg = at("pattern");
    const px = (angle) => left + (angle - FROM) / (TO - FROM) * (W - left - right);
    const add = (name, attributes, text) => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
      if (text !== undefined) made.textContent = text;
      svg.append(made);
      return made;
    };
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${W} ${H}`);
    const STEP = 0.05, profile = new Float64Array(Math.round((TO - FROM) / STEP) + 1);
    powder.two_theta.forEach((angle, k) => {
      const middle = (angle - FROM) / STEP, reach = 3 * WIDTH / STEP;
      for (let i = Math.max(0, Math.floor(middle - reach)); i <= Math.min(profile.length - 1, middle + reach); i++) {
        profile[i] += powder.intensity[k] * Math.exp(-4 * Math.LN2 * ((FROM + i * STEP - angle) / WIDTH) ** 2);
      }
    });
    const highest = Math.max(1e-9, ...profile);
    const py = (height) => top + (1 - height / highest) * (H - top - bottom);
    add("line", { x1: left, x2: W - right, y1: H - bottom + 14, y2: H - bottom + 14, class: "axis" });
    for (let angle = 10; angle <= TO; angle += 10) {
      add("line", { x1: px(angle), x2: px(angle), y1: H - bottom + 14, y2: H - bottom + 19, class: "axis" });
      add("text", { x: px(angle), y: H - bottom + 33, class: "tick" }, angle);
    }
    add("text", { x: (left + W - right) / 2, y: H - 6, class: "tick" }, `2θ / °  (${powder.radiation})`);
    add("text", { x: 14, y: (top + H - bottom) / 2, class: "tick", transform: `rotate(-90 14 ${(top + H - bottom) / 2})` }, "intensity");
    let path = "";
    profile.forEach((height, i) => {
      path += `${i ? "L" : "M"}${px(FROM + i * STEP).toFixed(1)} ${py(height).toFixed(1)}`;
    });
    add("path", { d: path, class: "profile" });
    const strongest = powder.intensity.map((height, k) => [height, k]).sort((p, q) => q[0] - p[0]);
    const named = [];
    strongest.forEach(([height, k]) => {
      const x = px(powder.two_theta[k]);
      const tick = add("line", { x1: x, x2: x, y1: H - bottom + 3, y2: H - bottom + 11, class: "reflection" });
      const hint = document.createElementNS("http://www.w3.org/2000/svg", "title");
      hint.textContent = `${overline(powder.labels[k])}  ${powder.two_theta[k].toFixed(2)}°  ${height.toFixed(1)} %`;
      tick.append(hint);
      if (named.length < 9 && height > 3 && named.every((other) => Math.abs(other - x) > 26)) {
        named.push(x);
        const i = Math.round((powder.two_theta[k] - FROM) / STEP);
        add("text", { x: x, y: py(profile[Math.min(i, profile.length - 1)]) - 5, class: "peak" }, overline(powder.labels[k]));
      }
    });
  }

  function show(number) {
    chosen = number;
    const one = data.candidates[number];
    for (const row of document.querySelectorAll("#ranked tbody tr")) {
      row.setAttribute("aria-selected", String(Number(row.dataset.candidate) === number));
    }
    at("title").textContent = one.title;
    plotPowder(one.powder);
    at("cif").textContent = one.cif;
    at("download").download = one.file;
    at("download").href = "data:chemical/x-cif;charset=utf-8," + encodeURIComponent(one.cif);
    at("values").replaceChildren(...one.facts.flatMap(([name, text]) => {
      const term = document.createElement("dt"), value = document.createElement("dd");
      term.textContent = name; value.textContent = text;
      return [term, value];
    }));
    const present = new Set(one.scene.sites.map((site) => site[0]));
    at("legend").replaceChildren(...Object.entries(data.elements)
      .filter(([name]) => present.has(name))
      .map(([name, element]) => {
        const entry = document.createElement("span"), dot = document.createElement("i");
        dot.style.background = element.colour;
        entry.append(dot, name);
        return entry;
      }));
    draw(false);
  }

  function sort(head, column) {
    const descending = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const body = document.querySelector("#ranked tbody");
    const key = (row) => {
      const cell = row.children[column];
      if (!("value" in cell.dataset)) return cell.textContent;
      return cell.dataset.value === "" ? null : Number(cell.dataset.value);
    };
    const rows = [...body.children].map((row) => [key(row), row]);
    rows.sort(([p], [q]) => {
      if (p === null || q === null) return (p === null) - (q === null); // no value: last
      const order = typeof p === "number" ? p - q : p.localeCompare(q);
      return descending ? -order : order;
    });
    body.replaceChildren(...rows.map(([, row]) => row));
  }

  document.querySelectorAll("#ranked th").forEach((head, column) => {
    head.addEventListener("click", () => sort(head, column));
  });
  document.querySelectorAll("#ranked tbody tr").forEach((row) => {
    const pick = () => show(Number(row.dataset.candidate));
    row.addEventListener("click", pick);
    row.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pick(); }
    });
  });
  try {
    viewer = $3Dmol.createViewer(at("viewer"), { backgroundColor: "white", antialias: true, orthographic: true });
    viewer.setHoverDuration(50);
  } catch (error) {
    viewer = null;
  }
  if (!viewer) at("fallback").hidden = false;
  at("cells").addEventListener("change", () => draw(false));
  at("style").addEventListener("change", () => draw(true));
  at("spin").addEventListener("change", (event) => viewer && viewer.spin(event.target.checked ? "y" : false, 0.5));
  at("reset").addEventListener("click", () => viewer && look());
  show(0);
})();
