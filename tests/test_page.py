"""The page of a search is whole, inert and true to its candidates."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from ase.build import bulk

from ase_continuousp import Candidate
from ase_continuousp.io import from_cif_text
from ase_continuousp.page import render
from ase_continuousp.page.scene import bond_lengths, scene
from tests.systems import perovskite, system

pytest.importorskip("matplotlib")

EVIL = "</script><script>document.title='broken'</script><img src=x onerror=alert(1)>'\"&"


def candidates(label: str = "ABC3 Pm-3m") -> list[Candidate]:
    trace = np.array([0.0, -0.5, -1.0])
    first = Candidate(perovskite(), -1.0, ("Pm-3m", 221), 3, 1, True, False, "prototype", label)
    salt = bulk("NaCl", "rocksalt", a=5.64)
    second = Candidate(salt, -0.5, ("", 0), 1, 1, False, True, "random", trace=trace)
    return [first, second]


class Document(HTMLParser):
    """Elements of a page, with their attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag
        self.text.setdefault(tag, []).append("")

    def handle_data(self, data: str) -> None:
        if self._open:
            self.text[self._open][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_hostile_strings_stay_text() -> None:
    document = Document(render(EVIL, candidates(EVIL), model=EVIL))
    scripts = document.all("script")
    assert len(scripts) == 3  # the data, the viewer, the page
    assert {tuple(s) for s in scripts} == {("type", "id"), ()}
    assert all(
        (image["src"] or "").startswith("data:image/svg+xml") for image in document.all("img")
    )
    assert not [name for _, a in document.elements for name in a if name.startswith("on")]
    assert document.text["h1"] == [EVIL]
    data = json.loads(document.text["script"][0])
    assert data["candidates"][0]["facts"][-1] == ["Start", f"prototype {EVIL}"]


def test_policy_allows_its_own_scripts_and_nothing_else() -> None:
    document = Document(render("SrTiO3", candidates()))
    [policy] = [m["content"] for m in document.all("meta") if "http-equiv" in m]
    rules = dict(rule.strip().split(" ", 1) for rule in (policy or "").split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    hashes = {
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in document.text["script"][1:]
    }
    assert set(rules["script-src"].split()) == hashes
    assert len(hashes) == 2


def test_nothing_is_fetched() -> None:
    document = Document(render("SrTiO3", candidates()))
    assert not document.all("link")
    for _, attributes in document.elements:
        for name in ("src", "href", "srcset", "action", "data"):
            assert (attributes.get(name) or "data:").startswith("data:")
    [style] = document.text["style"]
    assert not re.search(r"url\(|@import", style)


def test_data_are_those_of_the_candidates() -> None:
    found = candidates()
    page = render("SrTiO3", found)
    data = json.loads(Document(page).text["script"][0])
    assert len(data["candidates"]) == page.count("<tr tabindex") == len(found)
    for shown, one in zip(data["candidates"], found, strict=True):
        cif = from_cif_text(shown["cif"])
        assert sorted(cif.numbers) == sorted(one.atoms.numbers)
        assert cif.volumes[0] == pytest.approx(one.atoms.get_volume(), rel=1e-5)
        drawn = np.array([site[1:] for site in shown["scene"]["sites"]]) @ shown["scene"]["cell"]
        away = np.linalg.solve(one.atoms.cell.T, (drawn - one.atoms.positions).T)
        np.testing.assert_allclose(away, np.rint(away), atol=1e-5)
    facts = dict(data["candidates"][0]["facts"])
    assert facts["Shortest distance / Å"] == f"{perovskite().cell.lengths()[0] / 2:.3f}"
    assert dict(data["candidates"][1]["facts"])["Flags"] == "clash, unconverged"
    # NaCl: 58.44 g/mol, 4 formula units in 5.64³ Å³.
    density = 4 * 58.443 / 6.02214e23 / (5.64e-8) ** 3
    assert float(dict(data["candidates"][1]["facts"])["Density / g cm⁻³"]) == pytest.approx(
        density, abs=2e-3
    )


def test_columns_without_content_are_left_out() -> None:
    found = candidates()
    assert "Probability" not in Document(render("x", found)).text["button"]
    judged = [replace(one, probability=0.25) for one in found]
    assert "Probability" in Document(render("x", judged)).text["button"]
    assert "Flags" not in Document(render("x", found[:1])).text["button"]


def test_the_same_candidates_give_the_same_page() -> None:
    assert render("SrTiO3", candidates()) == render("SrTiO3", candidates())


def test_page_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="candidates must hold at least one"):
        render("SrTiO3", [])


@pytest.mark.parametrize("name", ["skewed", "left_handed", "coincident", "flat"])
def test_awkward_crystals_have_a_page(name: str) -> None:
    atoms = system(name)
    page = render("x", [Candidate(atoms, -1.0, ("P1", 1), 1, 1, True, False)])
    sites = json.loads(Document(page).text["script"][0])["candidates"][0]["scene"]["sites"]
    assert len(sites) == len(atoms)


def test_metals_of_a_salt_are_not_bonded() -> None:
    assert set(bond_lengths([perovskite()])) == {"Sr-O", "O-Sr", "Ti-O", "O-Ti", "O-O"}
    assert set(bond_lengths([bulk("Cu")])) == {"Cu-Cu"}
    assert scene(bulk("Cu"))["cell"] == bulk("Cu").cell.tolist()
