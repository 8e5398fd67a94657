"""Second opinions: relaxation, order and merging by another calculator; energies above hulls."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition
from pymatgen.entries.computed_entries import ComputedEntry

from ase_continuousp import Candidate, io
from ase_continuousp.search.candidates import info_of, write_candidates
from ase_continuousp.search.hull import KnownPhases
from ase_continuousp.search.second import SecondCalculator, calculator_of
from ase_continuousp.search.table import format_table

EMT_PATH = "ase.calculators.emt:EMT"


def no_stress() -> EMT:
    """Return a calculator that can relax no cell."""
    made = EMT()
    made.implemented_properties = ["energy", "forces"]
    return made


def lennard_jones() -> LennardJones:
    return LennardJones(rc=4.0)


def candidate(atoms: Atoms, energy: float, n_found: int = 1) -> Candidate:
    return Candidate(atoms, energy, ("", 0), n_found, len(atoms), True, False)


def copper() -> list[Candidate]:
    """Return bcc first, then twice fcc (once as a supercell, once too large), then sc."""
    cells = [
        bulk("Cu", "bcc", a=2.9),
        bulk("Cu", "fcc", a=3.7) * (2, 1, 1),
        bulk("Cu", "sc", a=2.4),
        bulk("Cu", "fcc", a=3.5),
    ]
    return [candidate(atoms, energy) for energy, atoms in enumerate(cells)]


def test_candidates_are_relaxed_merged_and_ordered_as_by_hand() -> None:
    found = SecondCalculator(EMT_PATH, top=4, fmax=0.005)(copper())
    fcc = bulk("Cu", "fcc", a=3.6)
    fcc.calc = EMT()
    BFGS(FrechetCellFilter(fcc), logfile=None).run(fmax=1e-4)
    first = found[0]
    assert first.second is not None
    assert first.second.energy_per_atom == pytest.approx(fcc.get_potential_energy(), abs=1e-3)
    assert first.atoms.get_volume() / len(first.atoms) == pytest.approx(fcc.get_volume(), rel=0.01)
    assert first.second.spacegroup == ("Fm-3m", 225)
    assert first.second.converged
    assert first.n_found == 2
    assert len(first.atoms) == 1
    energies = [one.second.energy_per_atom for one in found if one.second]
    assert energies == sorted(energies)
    assert [one.second.above for one in found if one.second] == pytest.approx(
        [e - energies[0] for e in energies]
    )
    assert sum(one.n_found for one in found) == 4
    assert first.atoms.info == info_of(first)
    assert first.raw is not None
    assert np.abs(first.atoms.get_forces()).max() < 0.005
    assert np.abs(first.atoms.get_stress() * first.atoms.get_volume()).max() < 0.005


def test_those_that_are_not_relaxed_follow_as_they_were() -> None:
    given = copper()
    found = SecondCalculator(EMT_PATH, top=2)(given)
    assert found[2:] == given[2:]
    assert [one.second is None for one in found] == [False, False, True, True]
    assert [one.energy_per_atom for one in found[:2]] == [1.0, 0.0]
    lines = format_table(found).splitlines()
    assert lines[0].split("  ")[0] == "rank"
    assert "EMT" in lines[0]
    assert "relaxed to" in lines[0]
    assert "Fm-3m (225)" in lines[1]


def test_relaxed_candidates_are_written_with_both_energies(tmp_path: Path) -> None:
    found = SecondCalculator(EMT_PATH, top=1)(copper()[:1])
    write_candidates(tmp_path / "found.db", found)
    [atoms] = io.read_atoms(tmp_path / "found.db")
    assert found[0].second is not None
    assert atoms.info["second_energy_per_atom"] == pytest.approx(found[0].second.energy_per_atom)
    assert atoms.info["energy_per_atom"] == 0.0
    assert atoms.get_potential_energy() == pytest.approx(found[0].second.energy_per_atom)


def test_what_falls_apart_keeps_its_place() -> None:
    # Too close for a Lennard-Jones of 1 Å: the cell grows without end.
    given = [candidate(bulk("Ar", "fcc", a=1.0), 0.0), candidate(bulk("Ar", "fcc", a=1.5), 1.0)]
    found = SecondCalculator(f"{__name__}:lennard_jones", top=2, max_steps=20)(given)
    assert found[0].second is not None
    assert found[0].energy_per_atom == 1.0
    assert found[1] is given[0]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("emt", ValueError, "refine must be chgnet or an import path"),
        ("module:", ValueError, "refine must be chgnet or an import path"),
        ("no_such_module:EMT", ImportError, "cannot be imported"),
        ("ase.calculators.emt:Nothing", ImportError, "cannot be imported"),
        ("builtins:dict", TypeError, "makes no ASE calculator but a dict"),
        (f"{__name__}:no_stress", ValueError, "gives no stress"),
    ],
)
def test_bad_calculators_are_refused(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SecondCalculator(name)(copper()[:1])


def test_elements_that_the_calculator_does_not_know_are_named() -> None:
    with pytest.raises(ValueError, match=r"refuses Ti2: "):
        SecondCalculator(EMT_PATH)([candidate(bulk("Ti"), 0.0)])


@pytest.mark.parametrize("settings", [{"top": 0}, {"fmax": 0.0}, {"max_steps": 0}])
def test_bad_numbers_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        SecondCalculator(EMT_PATH, **settings)  # type: ignore[arg-type]


def test_a_calculator_is_made_once() -> None:
    assert calculator_of(EMT_PATH) is calculator_of(EMT_PATH)


# Hulls

PHASES = (("Cu", 0.02), ("Au2", 0.0), ("CuAu", -0.4), ("Cu3Au", -0.44))


def test_energies_above_hulls_are_those_of_straight_lines() -> None:
    known = KnownPhases(PHASES)
    # Between CuAu (-0.2 per atom at 1/2) and Cu3Au (-0.11 at 1/4): Cu5Au3 at 3/8 has -0.155.
    assert known.above_hull([29] * 5 + [79] * 3, 8 * -0.1) == pytest.approx(0.055, abs=1e-6)
    assert known.above_hull([29, 79], -0.5) == pytest.approx(-0.05, abs=1e-6)
    assert known.above_hull([29], 0.03) == pytest.approx(0.01, abs=1e-6)
    with pytest.raises(ValueError, match="none of Ag"):
        known.above_hull([47, 29], 0.0)


def test_entries_of_pymatgen_are_read_with_their_corrections(tmp_path: Path) -> None:
    entries = [ComputedEntry(formula, energy + 0.5, correction=-0.5) for formula, energy in PHASES]
    entries += [ComputedEntry("AgF", -3.0)]
    path = tmp_path / "entries.json"
    path.write_text(json.dumps([entry.as_dict() for entry in entries]))
    known = KnownPhases.read(path)
    diagram = PhaseDiagram(
        [entry for entry in entries if "Cu" in entry.formula or "Au" in entry.formula]
    )
    own = PDEntry(Composition("Cu2Au2"), -0.7)
    expected = diagram.get_e_above_hull(own, allow_negative=True)
    assert known.above_hull([29, 79, 29, 79], -0.7) == pytest.approx(expected, abs=1e-8)
    path.write_text(json.dumps([PDEntry(Composition("Cu"), 1.0).as_dict()]))
    assert KnownPhases.read(path).phases == (("Cu1", 1.0),)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "[1]", '[{"energy": 1}]', '[{"energy": "x", "composition": {"Cu": 1}}]',
     '[{"energy": 1, "composition": {"Xx": 1}}]', '[{"energy": NaN, "composition": {"Cu": 1}}]'],
)  # fmt: skip
def test_what_is_no_list_of_entries_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "entries.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="entries must"):
        KnownPhases.read(path)


def test_candidates_know_how_far_above_the_hull_they_are() -> None:
    phases = KnownPhases((("Cu", -1.0),))
    [one] = SecondCalculator(EMT_PATH, known=phases)([candidate(bulk("Cu"), 0.0)])
    assert one.second is not None
    assert one.second.above_hull == pytest.approx(one.second.energy_per_atom + 1.0, abs=1e-6)
    assert "hull" in format_table([one]).splitlines()[0]
