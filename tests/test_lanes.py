"""Operations on lanes against NumPy, and the pair kernels where rows are not whole lanes."""

import numpy as np
import pytest
import torch
from numba import njit

from ase_continuousp.io import from_atoms
from ase_continuousp.model._lanes import N_BYTES, load, mad, mul, store, total
from ase_continuousp.model.continuous import crystal_lengths
from ase_continuousp.model.fused_pairs import FusedPairs
from ase_continuousp.model.pairs import Graph, TorchPairs, half_pairs
from ase_continuousp.neighborlist import search
from tests import strategies

F64 = torch.float64


@njit
def _compute(rows, factor, out):
    x, y, z = load(rows, 0), load(rows, rows.shape[1]), load(rows, 2 * rows.shape[1])
    store(out, 0, mad(x, y, z))
    store(out, out.shape[1], mad(factor, y, mul(factor, z)))
    return total(x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lanes_equal_numpy(dtype):
    rng = np.random.default_rng(0)
    n = N_BYTES // np.dtype(dtype).itemsize
    rows, out = rng.normal(size=(3, n)).astype(dtype), np.zeros((2, n), dtype)
    found = _compute(rows, dtype(0.3), out)
    x, y, z = rows
    tolerance = 10 * np.finfo(dtype).eps
    assert found == pytest.approx(float(x.sum()), abs=float(tolerance))
    np.testing.assert_allclose(out, [x * y + z, 0.3 * (y + z)], rtol=tolerance, atol=tolerance)


def _graph(rng, sizes):
    crystals = from_atoms([strategies.random_atoms(rng, n, density=0.08) for n in sizes])
    neighbors = search(crystals, 1.8 * crystals.lengths)
    graph = Graph.of(crystals, neighbors, F64, torch.device("cpu"))
    positions, cells = map(torch.from_numpy, (crystals.positions, crystals.cells))
    return crystals, neighbors, graph, positions, cells


def test_half_of_the_pairs_and_their_opposites_are_all():
    _, neighbors, graph, *_ = _graph(np.random.default_rng(0), (1, 4, 9, 2))
    i, j, shifts = neighbors.i, neighbors.j, neighbors.S
    starts, chosen = half_pairs(neighbors)
    assert (np.diff(starts) == np.bincount(i[chosen], minlength=len(starts) - 1)).all()
    pairs = np.column_stack([i, j, shifts])
    opposite = np.column_stack([j, i, -shifts])[chosen]
    found = np.concatenate([pairs[chosen], opposite])
    assert (np.unique(found, axis=0) == np.unique(pairs, axis=0)).all()
    assert len(found) == len(pairs)
    assert (graph.half.numpy() == chosen).all()


@pytest.mark.parametrize(("n_f", "n_g"), [(8, 8), (16, 8), (5, 3), (12, 9)])
@pytest.mark.parametrize("carries", [True, False])
def test_fused_messages_equal_plain_torch(n_f, n_g, carries):
    rng = np.random.default_rng(n_f)
    _, _, graph, positions, cells = _graph(rng, (1, 4, 9, 2))
    n, n_c = len(positions), n_g if carries else 0
    shapes = [(n, n_f), (n, n_g), (n, 3, n_c), (35, n_f + n_g + n_c)]
    inputs = [torch.from_numpy(rng.normal(size=shape)) for shape in shapes]
    weights = [torch.from_numpy(rng.normal(size=s)) for s in ((n, n_f), (n, 3, n_g))]
    results = []
    for pairs in (FusedPairs(), TorchPairs()):
        leaves = [t.clone().requires_grad_(True) for t in (positions, cells, *inputs)]
        u = pairs.vectors(graph, *leaves[:2], crystal_lengths(graph, leaves[1]))
        m, v = pairs.messages(graph, u, *leaves[2:], 1.8 / 32)
        loss = (m * weights[0]).sum() + (v * weights[1]).sum()
        results.append([m, v, *torch.autograd.grad(loss, leaves, materialize_grads=True)])
    for fused, plain in zip(*results, strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-10, atol=1e-10)
