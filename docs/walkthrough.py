"""Run the commands of the walk-through and write docs/walkthrough.md with what they print.

``python docs/walkthrough.py``; the picture of the page is taken anew where Chromium is installed.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PICTURE = HERE / "walkthrough.png"

BROWSER = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --enable-unsafe-swiftshader "
    "--window-size=1280,1360 --virtual-time-budget=8000 --hide-scrollbars"
)

STEPS = [
    (
        "From a formula to a table",
        (
            "Twenty starts of all kinds, equal crystals merged, the most probable first. The same "
            "seed gives the same crystals."
        ),
        "ase-continuousp predict SrTiO3 -n 20 --seed 0 -o SrTiO3.db --html SrTiO3.html",
    ),
    (
        "The page",
        (
            "`SrTiO3.html` opens anywhere, network or not: choose a row to look at its crystal, "
            "its powder pattern and its CIF.\n\n![The page](walkthrough.png)"
        ),
        "",
    ),
    (
        "The database",
        "`SrTiO3.db` is an ordinary ase.db.",
        "ase db SrTiO3.db -c formula,spacegroup_symbol,probability,energy_per_atom,start",
    ),
    (
        "Pictures for a paper",
        "Figures are matplotlib's.",
        """python -c '
from ase.io import read
from ase_continuousp.plot import plot_crystal, plot_powder
from ase_continuousp.powder import powder_pattern
best = read("SrTiO3.db", index=0)
plot_crystal(best, title="SrTiO3").savefig("crystal.png")
plot_powder(powder_pattern(best)).savefig("powder.pdf")
best.write("best.cif")
'""",
    ),
    (
        "Relax",
        "In the learned energy, its symmetry kept.",
        "ase-continuousp relax best.cif -o relaxed.cif --fix-symmetry",
    ),
    (
        "Hand over to DFT",
        (
            "Results are ASE Atoms, so every writer of ASE takes them; here a POSCAR for VASP, "
            "each element in one block (`sort=True`)."
        ),
        """python -c '
from ase.io import read
read("relaxed.cif").write("POSCAR", format="vasp", direct=True, sort=True)
print(open("POSCAR").read(), end="")
'""",
    ),
]


def main() -> None:
    """Run the steps in an empty folder and write the page."""
    text = ["# From a formula to a file for DFT\n"]
    text.append("Made by `python docs/walkthrough.py`: what follows was printed by the commands.\n")
    with tempfile.TemporaryDirectory() as folder:
        for title, words, command in STEPS:
            text.append(f"## {title}\n\n{words}\n")
            if command:
                text.append(f"```\n$ {command}\n{run(command, folder)}```\n")
            if title == "The page":
                take_picture(Path(folder, "SrTiO3.html"))
    (HERE / "walkthrough.md").write_text("\n".join(text), encoding="utf-8")


def run(command: str, folder: str) -> str:
    words = shlex.split(command)
    program = {
        "python": [sys.executable],
        "ase": [sys.executable, "-m", "ase"],
        "ase-continuousp": [
            sys.executable,
            "-c",
            "from ase_continuousp.cli.main import main; main()",
        ],
    }[words[0]]
    print("$", command, flush=True)
    done = subprocess.run(
        [*program, *words[1:]], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{command}\n{done.stderr}")
    return done.stdout


def take_picture(page: Path) -> None:
    browser = shutil.which("chromium")
    if browser is None:
        print("no Chromium here: the picture stays as it is")
        return
    options = [*BROWSER.split(), f"--user-data-dir={page.parent / 'profile'}"]
    shot = page.with_suffix(".png")
    subprocess.run(
        [browser, *options, f"--screenshot={shot}", page.as_uri()], check=True, capture_output=True
    )
    shutil.copy(shot, PICTURE)


if __name__ == "__main__":
    main()
