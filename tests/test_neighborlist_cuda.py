"""The search on CUDA devices, in Numba's simulator: equal pairs to the compiled search.

The simulator replaces `numba.cuda` when it is first imported, so that it has a process of its own,
which runs the functions `check_...` of this file.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from ase import Atoms

from ase_continuousp.crystals import Crystals
from ase_continuousp.neighborlist import Neighbors, neighbor_list, search
from ase_continuousp.neighborlist.tensors import PADDING, Pairs, search_tensors
from tests import strategies, systems


def crystals_of(*atoms: Atoms) -> Crystals:
    return Crystals.concatenate(
        [Crystals.single(a.positions, a.cell.array, a.numbers) for a in atoms]
    )


def rows(found: Neighbors | Pairs, n_pairs: int | None = None) -> np.ndarray:
    """Pairs as sorted rows (i, j, S1, S2, S3)."""
    n = len(found.i) if n_pairs is None else n_pairs
    table = np.column_stack([found.i[:n], found.j[:n], found.S[:n]]).astype(int)
    return table[np.lexsort(table.T[::-1])]


def assert_same(crystals: Crystals, cutoffs: object, half: bool) -> None:
    there = search(crystals, cutoffs, half=half, backend="cuda")
    here = search(crystals, cutoffs, half=half)
    np.testing.assert_array_equal(rows(there), rows(here))
    np.testing.assert_array_equal(there.first, here.first)
    assert there.i.dtype == there.first.dtype == np.int64
    assert there.S.dtype == np.int32


def check_random_batches() -> None:
    """Skewed, left-handed cells, atoms outside of them, cutoffs beyond them; and none."""
    rng = np.random.default_rng(0)
    for half in (False, True):
        made = [strategies.random_atoms(rng, int(n)) for n in rng.integers(1, 6, 6)]
        crystals = crystals_of(*made)
        assert_same(crystals, 2.0 * crystals.lengths * rng.uniform(0.3, 1, 6), half)
    assert_same(crystals_of(systems.system("skewed")), 5.0, False)
    assert_same(crystals_of(systems.system("coincident")), 0.1, False)


def check_empty() -> None:
    """No atoms at all, crystals without atoms between others, and no pair."""
    fcc = crystals_of(systems.system("fcc"))
    cells = np.concatenate([fcc.cells] * 3)
    hollow = Crystals(fcc.positions, cells, fcc.numbers, np.array([0, 0, 1, 1]))
    assert_same(hollow, 3.0, False)
    nothing = Crystals(fcc.positions[:0], cells[:1], fcc.numbers[:0], np.array([0, 0]))
    assert search(nothing, 3.0, backend="cuda").n_pairs == 0
    assert_same(crystals_of(systems.system("huge_cell")), 1.0, False)
    assert_same(fcc, 0.0, False)


def check_bins() -> None:
    """A crystal of several bins along each direction, skewed, atoms cells away."""
    atoms = systems.rattled(systems.system("rutile") * (3, 3, 4), 0.15)
    atoms.set_cell(np.array([[1, 1, 0], [0, 1, -1], [0, 0, 1]]) @ atoms.cell.array)
    atoms.positions += np.random.default_rng(0).integers(-2, 3, (len(atoms), 3)) @ atoms.cell.array
    crystals = crystals_of(systems.system("fcc"), atoms)
    from ase_continuousp.neighborlist import _cuda

    shapes = []
    plain = _cuda._bins

    def seen(reach: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        shapes.append(plain(reach, counts))
        return shapes[-1]

    _cuda._bins = seen
    assert_same(crystals, [3.0, 2.5], False)
    [shape] = shapes
    assert shape[0].tolist() == [1, 1, 1]
    assert shape[1].min() >= 2
    assert shape[1].prod() <= len(atoms)


def check_ase_meaning() -> None:
    """Open directions and cutoffs by element, as of `neighbor_list`."""
    for name in ("slab", "perovskite_rattled"):
        atoms = systems.system(name)
        for cutoff in (2.2, {("Sr", "O"): 2.9, (22, 8): 2.1}):
            there, here = (
                np.column_stack(neighbor_list("ijS", atoms, cutoff, backend=b))
                for b in ("cuda", "cpu")
            )
            assert sorted(map(tuple, there)) == sorted(map(tuple, here))


def on_simulator(crystals: Crystals, cutoff: float, capacity: int | None) -> Pairs:
    from ase_continuousp.neighborlist import _cuda

    arrays = crystals.positions, crystals.cells, crystals.offsets
    cutoffs = torch.full((crystals.n_crystals,), cutoff, dtype=torch.float64)
    return _cuda.search_tensors(
        *(torch.from_numpy(x) for x in arrays), cutoffs, half=False, capacity=capacity
    )


def check_capacity() -> None:
    """Padding after the pairs; too little room is reported and nothing is written beyond it."""
    crystals = crystals_of(systems.system("rutile"), systems.system("bcc"))
    expected = search(crystals, 3.0)
    n = expected.n_pairs
    roomy = on_simulator(crystals, 3.0, n + 7)
    assert int(roomy.n_pairs) == n
    np.testing.assert_array_equal(rows(roomy, n), rows(expected))
    assert roomy.i[n:].tolist() == roomy.j[n:].tolist() == [0] * 7
    assert roomy.S[n:].tolist() == [[PADDING, 0, 0]] * 7
    narrow = on_simulator(crystals, 3.0, n - 3)
    assert int(narrow.n_pairs) == n
    assert len(narrow.i) == n - 3
    assert {tuple(r) for r in rows(narrow)} <= {tuple(r) for r in rows(expected)}


def check_errors() -> None:
    """By values without a capacity, by a flag with one, and no endless loop in between."""
    good = crystals_of(systems.system("fcc"), systems.system("bcc"))
    changes = [
        ("positions", (1, 2), np.inf, "positions must be finite: found inf"),
        ("cells", (1, 2), 0.0, "cells must have three independent vectors"),
    ]
    for name, place, value, message in changes:
        bad = Crystals(good.positions.copy(), good.cells.copy(), good.numbers, good.offsets)
        getattr(bad, name)[place] = value
        with pytest.raises(ValueError, match=message):
            on_simulator(bad, 3.0, None)
        flagged = on_simulator(bad, 3.0, 50)
        assert not flagged.is_valid
        assert int(flagged.n_pairs) == 0
    for cutoff, message in (
        (np.nan, "cutoffs must be finite and not negative: nan"),
        (-1.0, r"cutoffs must be finite and not negative: -1\.0"),
        (1e5, "cutoffs must reach less than 1e\\+08 images"),
    ):
        with pytest.raises(ValueError, match=message):
            on_simulator(good, cutoff, None)
        assert not on_simulator(good, cutoff, 50).is_valid


CHECKS = [
    check_random_batches, check_empty, check_bins, check_ase_meaning, check_capacity, check_errors,
]  # fmt: skip


def test_on_the_simulator() -> None:
    """All of the above, in one process: starting it takes longer than they do."""
    command = "from tests import test_neighborlist_cuda as t\nfor check in t.CHECKS: check()"
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", command],
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_the_error_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match=r"needs a CUDA device and Numba's part .*extra 'cuda'"):
        search(crystals_of(systems.system("fcc")), 3.0, backend="cuda")


def test_tensors_of_the_host_are_searched_there() -> None:
    """With the padding that a device would write."""
    crystals = crystals_of(systems.system("rutile"), systems.system("bcc"))
    expected = search(crystals, 3.0, half=True)
    tensors = [torch.from_numpy(x) for x in (crystals.positions, crystals.cells, crystals.offsets)]
    cutoffs = torch.full((2,), 3.0)
    n = expected.n_pairs
    for capacity in (None, n + 5, n - 5):
        found = search_tensors(*tensors, cutoffs, half=True, capacity=capacity)
        assert len(found.i) == (n if capacity is None else capacity)
        assert int(found.n_pairs) == n
        m = min(n, len(found.i))
        np.testing.assert_array_equal(found.S[:m], expected.S[:m])
        np.testing.assert_array_equal(found.j[:m], expected.j[:m])
        assert found.S[m:].tolist() == [[PADDING, 0, 0]] * (len(found.i) - m)


@pytest.mark.cuda
def test_on_a_device() -> None:
    """Never run so far."""
    for check in CHECKS[:4]:
        check()
