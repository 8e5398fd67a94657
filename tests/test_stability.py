"""Energies of the members of a library, and what they do to a search from the formula alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from ase_continuousp.io import from_atoms
from ase_continuousp.starts.building import build_library
from ase_continuousp.starts.library import PrototypeLibrary
from ase_continuousp.starts.prototype import PrototypeStart
from ase_continuousp.starts.stability import (
    STEP,
    UNKNOWN,
    lacks_stable_form,
    member_energies,
    stable_log_weights,
    stored_energies,
)

SALTS = ("MgO", "CaO", "NaCl", "KCl")
KINDS = ("rocksalt", "zincblende")
CRYSTALS = from_atoms([bulk(salt, kind, a=5.0) for kind in KINDS for salt in SALTS])


class Volume:
    """Every atom has 10 Å³."""

    def log_volume_per_atom(self, numbers: object) -> float:
        del numbers
        return float(np.log(10.0))


@pytest.fixture(scope="module")
def library() -> PrototypeLibrary:
    return build_library(CRYSTALS, n_fit=0)


def groups(library: PrototypeLibrary, **options: object) -> list[int]:
    start = PrototypeStart(library, Volume(), **options)  # type: ignore[arg-type]
    return [int(s.label.rsplit(" ", 1)[1]) for s in start.generate_any([12, 16], [1, 2], 9)]


def with_energies(library: PrototypeLibrary, *energies: float) -> PrototypeLibrary:
    """Give all crystals of each kind one energy."""
    values = np.repeat(energies, len(SALTS))
    return replace(library, energies=member_energies(library, CRYSTALS, values))


def test_members_get_the_energy_of_their_own_crystal(library: PrototypeLibrary) -> None:
    values = STEP * np.arange(len(CRYSTALS))
    energies = member_energies(library, CRYSTALS, values)
    row = 0
    for p in range(library.n_prototypes):
        kind = int(library.spacegroups[p] == 216)
        for elements in library.members(p)[0]:
            numbers = [sorted(bulk(salt, "rocksalt", a=5.0).numbers) for salt in SALTS]
            salt = numbers.index(sorted(elements.tolist()))
            assert energies[row] == min(kind * len(SALTS) + salt, 4)  # 80 meV and more are alike
            row += 1
    assert row == len(energies) == len(CRYSTALS)


def test_unknown_energies_stay_unknown(library: PrototypeLibrary) -> None:
    energies = member_energies(library, CRYSTALS, np.full(len(CRYSTALS), np.nan))
    assert np.all(energies == UNKNOWN)
    assert stored_energies([1e9, np.nan]).tolist() == [4, UNKNOWN]


def test_the_stable_structure_type_comes_first(library: PrototypeLibrary) -> None:
    assert groups(with_energies(library, 0.0, 0.05)) == [225, 216]
    assert groups(with_energies(library, 0.05, 0.0)) == [216, 225]


def test_a_database_row_is_asked_for_without_energies(library: PrototypeLibrary) -> None:
    starts = [PrototypeStart(one, Volume()) for one in (library, with_energies(library, 0.0, 0.05))]
    plain, known = ([s.distance for s in one.generate([12, 16], 9, None)] for one in starts)  # type: ignore[arg-type]
    assert plain == known


def test_probabilities_of_all_sizes_together_are_at_most_one(library: PrototypeLibrary) -> None:
    for one in (library, with_energies(library, 0.0, 0.01)):
        made = PrototypeStart(one, Volume()).generate_any([12, 16], range(1, 11), 9)
        assert 0.0 < sum(np.exp(-s.distance) for s in made if s.distance is not None) <= 1.0 + 1e-9


def test_weights_fall_with_the_energy() -> None:
    weights = stable_log_weights(np.zeros(4), stored_energies([0.0, 0.02, 0.05, 0.08]), [False] * 4)
    assert np.all(np.diff(weights) < 0)
    beside, unknown = stable_log_weights([0.0, 0.0], [UNKNOWN, UNKNOWN], [True, False])
    assert beside < 0
    assert unknown < 0


def test_a_compound_can_be_left_out_with_its_energies(library: PrototypeLibrary) -> None:
    assert groups(with_energies(library, 0.0, 0.05), leave_out=["NaCl", "MgO"]) == [225, 216]


def test_energies_survive_the_file(library: PrototypeLibrary, tmp_path: Path) -> None:
    known = with_energies(library, 0.0, 0.05)
    known.save(tmp_path / "known.npz")
    assert np.array_equal(PrototypeLibrary.load(tmp_path / "known.npz").energies, known.energies)
    library.save(tmp_path / "bare.npz")
    assert PrototypeLibrary.load(tmp_path / "bare.npz").energies is None
    replace(known, energies=known.energies[1:]).save(tmp_path / "damaged.npz")
    with pytest.raises(ValueError, match="energies and members disagree"):
        PrototypeLibrary.load(tmp_path / "damaged.npz")


@pytest.mark.parametrize("multiples", [[], [0]])
def test_bad_multiples_are_refused(library: PrototypeLibrary, multiples: list[int]) -> None:
    with pytest.raises(ValueError, match="multiples must be"):
        PrototypeStart(library, Volume()).generate_any([12, 16], multiples, 3)


def test_known_forms_of_an_element_count_only_beside_its_stable_one() -> None:
    shapes = [("fcc", 3.6), ("bcc", 2.9)]
    metals = ("Cu", "Ag", "Au")
    crystals = from_atoms([bulk(m, kind, a=a) for kind, a in shapes for m in metals])
    library = build_library(crystals, n_fit=0)
    # Of silver only a form above the hull is known, and gold's energies are not.
    energies = [0.0, 0.06, np.nan, 0.06, 0.06, np.nan]
    known = replace(library, energies=member_energies(library, crystals, energies))
    numbers = {m: int(bulk(m).numbers[0]) for m in metals}
    lacking = {m: lacks_stable_form(known, [z]) for m, z in numbers.items()}
    assert lacking == {"Cu": False, "Ag": True, "Au": True}
    assert not lacks_stable_form(known, [numbers["Ag"], numbers["Au"]])
    start = PrototypeStart(known, Volume())
    for m, z in numbers.items():
        made, alone = start.generate_any([z], [1], 9), start.generate_any([z], [1], 9, unseen=True)
        same = [(s.label, s.distance, s.nearness) for s in made] == [
            (s.label, s.distance, s.nearness) for s in alone
        ]
        assert same == lacking[m]
    plain = PrototypeStart(library, Volume())  # without energies all count
    assert plain.generate_any([47], [1], 9)[0].nearness == 0.0
