"""Space groups of symmetric starts are drawn as the library shows them."""

from __future__ import annotations

import numpy as np
import pytest

from ase_continuousp.crystals import Crystals
from ase_continuousp.io import from_atoms
from ase_continuousp.search.symmetry import spacegroup
from ase_continuousp.starts.building import build_library
from ase_continuousp.starts.groups import SeenGroups
from ase_continuousp.starts.library import PrototypeLibrary
from ase_continuousp.starts.priors import Priors
from ase_continuousp.starts.symmetric import SymmetricStart
from tests.systems import perovskite, rutile


def known() -> Crystals:
    """Return perovskites (221) and, less often, a body-centered tetragonal relative (108)."""
    rows = [perovskite(a, length=3.9 + 0.02 * i) for i, a in enumerate(("Sr", "Ba", "Ca", "Pb"))]
    polar = perovskite("Ba")
    polar.set_cell([3.9, 3.9, 4.2], scale_atoms=True)
    polar.positions[1, 2] += 0.2
    polar.positions[2:, 2] -= 0.25
    other = polar.copy()
    other.numbers[other.numbers == 56] = 82
    return from_atoms([*rows, polar, other, rutile()])


@pytest.fixture(scope="module")
def library() -> PrototypeLibrary:
    return build_library(known(), n_fit=0)


def test_weights_are_shares_of_the_members(library: PrototypeLibrary) -> None:
    groups = {spacegroup(one)[1] for one in known()}
    assert groups == {221, 99, 136}
    own = SeenGroups(library).weights([38, 22, 8, 8, 8])
    assert own.sum() == pytest.approx(1.0)
    assert own[0] == 0.0
    alike = 0.05 / 230
    seen = {p: len(library.members(p)[0]) for p in library.of_stoichiometry((1, 1, 3))}
    total = sum(seen.values())
    for group in (221, 99):
        share = sum(n for p, n in seen.items() if library.spacegroups[p] == group) / total
        assert own[group] == pytest.approx(0.95 * share + alike)
    assert own[136] == pytest.approx(alike)
    # The order of elements does not matter; a cell twice as large was not seen.
    np.testing.assert_array_equal(own, SeenGroups(library).weights([8, 8, 8, 29, 56]))
    twice = SeenGroups(library).weights([38, 22, 8, 8, 8] * 2)
    assert twice[221] / twice[99] == pytest.approx((own[221] - alike) / (own[99] - alike), rel=0.1)
    unseen = SeenGroups(library).weights([29, 79])
    np.testing.assert_allclose(unseen[1:], 1 / 230)


def test_starts_are_of_groups_that_were_seen(library: PrototypeLibrary) -> None:
    pytest.importorskip("pyxtal")
    priors = Priors.fit(known(), n_steps=50)
    start = SymmetricStart(priors, seen=SeenGroups(library))
    made = start.generate([38, 22, 8, 8, 8], 6, np.random.default_rng(0))
    labels = [int(one.label) for one in made]
    assert len(labels) == 6
    assert sum(label in (221, 99) for label in labels) >= 4
    assert 221 in labels
    for one in made:
        assert sorted(one.crystals.numbers) == [8, 8, 8, 22, 38]
        assert one.crystals.volumes[0] == pytest.approx(
            5 * np.exp(priors.log_volume_per_atom(one.crystals.numbers))
        )
