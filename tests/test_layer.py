"""The fused layer and its passes over rows against plain torch in double precision."""

import numpy as np
import pytest
import torch

from ase_continuousp.io import from_atoms
from ase_continuousp.model import _rows
from ase_continuousp.model._layer import FusedLayer
from ase_continuousp.model.continuous import ContinuousEnergy, soft_norm
from ase_continuousp.model.derivatives import AutogradEnergy
from ase_continuousp.model.pairs import Graph, TorchPairs
from ase_continuousp.neighborlist import search
from tests import strategies

F64 = torch.float64
N_F, N_G = 16, 8  # whole lanes of double precision


def made_network(*, plain=False, n_layers=3, dtype=F64):
    torch.manual_seed(5)
    network = ContinuousEnergy(channels=2 * N_F, vector_channels=2 * N_G, n_layers=n_layers)
    for layer in network.layers:
        layer.filters.data *= 3
        layer.norm.weight.data += 0.3 * torch.randn(2 * N_F)
    if plain:
        network.pairs = TorchPairs()
    return network.to(dtype)


def made_crystals(sizes=(1, 5, 12, 2)):
    rng = np.random.default_rng(len(sizes))
    return from_atoms([strategies.random_atoms(rng, n, density=0.08) for n in sizes])


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_energies_forces_and_stress_equal_plain_torch(dtype, n_layers, monkeypatch):
    calls = []
    apply = FusedLayer.apply
    monkeypatch.setattr(FusedLayer, "apply", lambda *a: calls.append(1) or apply(*a))
    crystals = made_crystals()
    options = {"n_layers": n_layers, "dtype": dtype}
    fused = AutogradEnergy(made_network(**options), dtype=dtype)(crystals)
    assert len(calls) == n_layers
    plain = AutogradEnergy(made_network(**options, plain=True), dtype=dtype)(crystals)
    assert len(calls) == n_layers
    tolerance = 100 * torch.finfo(dtype).eps
    for name in ("energy", "energies", "forces", "stress"):
        expected = getattr(plain, name)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(getattr(fused, name), expected, atol=tolerance * scale)


@pytest.mark.parametrize("sizes", [(1,), (1, 5, 12, 2)])
def test_gradients_of_parameters_and_places_equal_plain_torch(sizes):
    crystals = made_crystals(sizes)
    weights = torch.from_numpy(np.random.default_rng(0).normal(size=crystals.n_atoms))
    gradients = []
    for plain in (False, True):
        network = made_network(plain=plain)
        neighbors = search(crystals, network.cutoff_ratio * crystals.lengths)
        graph = Graph.of(crystals, neighbors, F64, torch.device("cpu"))
        places = [torch.from_numpy(t.copy()) for t in (crystals.positions, crystals.cells)]
        leaves = [t.requires_grad_(True) for t in places]
        (network.atomic_energies(graph, *leaves) * weights).sum().backward()
        named = {"positions": places[0], "cells": places[1], **dict(network.named_parameters())}
        gradients.append({name: leaf.grad for name, leaf in named.items()})
    assert all(g is not None for g in gradients[0].values())
    for name, expected in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], expected, rtol=1e-9, atol=1e-11)


def test_parameter_gradients_need_no_gradient_of_places():
    crystals = made_crystals((3, 2))
    network = made_network()
    neighbors = search(crystals, network.cutoff_ratio * crystals.lengths)
    graph = Graph.of(crystals, neighbors, F64, torch.device("cpu"))
    found = []
    for wanted in (False, True):
        places = [torch.from_numpy(t.copy()) for t in (crystals.positions, crystals.cells)]
        network.zero_grad()
        leaves = [t.requires_grad_(wanted) for t in places]
        network.atomic_energies(graph, *leaves).sum().backward()
        found.append([p.grad.clone() for p in network.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_second_derivatives_are_refused():
    crystals = made_crystals((3,))
    network = made_network()
    neighbors = search(crystals, network.cutoff_ratio * crystals.lengths)
    graph = Graph.of(crystals, neighbors, F64, torch.device("cpu"))
    positions = torch.from_numpy(crystals.positions).requires_grad_(True)
    energies = network.atomic_energies(graph, positions, torch.from_numpy(crystals.cells))
    (slope,) = torch.autograd.grad(energies.sum(), positions, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.square().sum().backward()


def test_nan_positions_give_nan_energies_of_their_crystal_only():
    crystals = made_crystals((4, 5))
    crystals.positions[1] = np.nan
    network = made_network()
    neighbors = search(made_crystals((4, 5)), network.cutoff_ratio * crystals.lengths)
    graph = Graph.of(crystals, neighbors, F64, torch.device("cpu"))
    places = map(torch.from_numpy, (crystals.positions, crystals.cells))
    energies = network.atomic_energies(graph, *places)
    assert energies[:4].isnan().all()
    assert energies[4:].isfinite().all()


def numpy_of(*tensors):
    return [t.detach().numpy() for t in tensors]


def random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=F64).requires_grad_(True)


def test_norm():
    s, gain, crystal = random(5, N_F), random(N_F), torch.tensor([0, 0, 1, 1, 1])
    y, r, sums = torch.zeros(5, 3 * N_F, dtype=F64), torch.empty(5, dtype=F64), torch.zeros(2, N_F)
    sums = sums.double()
    _rows.norm(*numpy_of(s, gain), 1e-3, crystal.numpy(), *numpy_of(y, r, sums))
    expected = torch.nn.functional.rms_norm(s, (N_F,), gain, 1e-3)
    torch.testing.assert_close(y[:, 2 * N_F :], expected)
    torch.testing.assert_close(sums, torch.zeros_like(sums).index_add(0, crystal, expected))
    gn, gy, gmean, gs = (random(*k, seed=1) for k in ((5, N_F), (5, 3 * N_F), (2, N_F), (5, N_F)))
    total = gn + gy[:, 2 * N_F :] + gmean[crystal]
    wanted = torch.autograd.grad(expected, (s, gain), total)
    made, g_gain = torch.empty_like(s), torch.zeros_like(gain)
    _rows.norm_gradient(
        *numpy_of(s, gain, r), crystal.numpy(), *numpy_of(gn, gy, gmean, gs, made, g_gain)
    )
    torch.testing.assert_close(made, wanted[0] + gs)
    torch.testing.assert_close(g_gain, wanted[1])


def test_soften():
    v, g, gv = random(4, 3, N_G), random(4, 3, N_G, seed=1), random(4, 3, N_G, seed=2)
    r, made, back = torch.empty(4, dtype=F64), torch.empty_like(v), torch.empty_like(v)
    _rows.soften(*numpy_of(v, r, made))
    expected = soft_norm(v, (1, 2), 3)
    torch.testing.assert_close(made, expected)
    _rows.soften_gradient(*numpy_of(v, r, g, gv, back))
    torch.testing.assert_close(back, torch.autograd.grad(expected, v, g)[0] + gv)


def test_gate():
    n_z, n_y = 2 * N_F + 2 * N_G, 2 * N_F + N_G
    m, v, z = random(4, N_F), random(4, 3, N_G), random(4, n_z)
    y, w = torch.zeros(4, n_y, dtype=F64), torch.empty_like(v)
    r = torch.empty(4, 2, dtype=F64)
    _rows.gate(*numpy_of(m, v, z, y, w, r))
    gates = z[:, N_F + N_G :].split([N_F, N_G], dim=1)
    expected = soft_norm(m, (1,), 1) * gates[0], soft_norm(v, (1, 2), 3) * gates[1][:, None]
    torch.testing.assert_close(y[:, :N_F], expected[0])
    torch.testing.assert_close(w, expected[1])
    gy, gw = random(4, n_y, seed=1), random(4, 3, N_G, seed=1)
    wanted = torch.autograd.grad(expected, (m, v, z), (gy[:, :N_F], gw))
    made = [torch.zeros_like(t) for t in (m, v, z)]
    _rows.gate_gradient(*numpy_of(m, v, z, r, gy, gw, *made))
    for one, other in zip(made, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_angle():
    n_y = 2 * N_F + N_G
    t, y, gy = random(4, 3, 3 * N_G), torch.zeros(4, n_y, dtype=F64), random(4, n_y)
    middle = slice(N_F, N_F + N_G)
    _rows.angle(*numpy_of(t), N_F, N_G, *numpy_of(y))
    expected = (t[:, :, :N_G] * t[:, :, N_G : 2 * N_G]).sum(1)
    torch.testing.assert_close(y[:, middle], expected)
    gt = torch.zeros_like(t)
    _rows.angle_gradient(*numpy_of(t), N_F, N_G, *numpy_of(gy, gt))
    torch.testing.assert_close(gt, torch.autograd.grad(expected, t, gy[:, middle])[0])


@pytest.mark.parametrize("is_first", [True, False])
def test_update(is_first):
    s, v, d, t = random(4, N_F), random(4, 3, N_G), random(4, N_F + N_G), random(4, 3, 3 * N_G)
    v_old = v[:, :, :0] if is_first else v
    made = torch.empty_like(s), torch.empty_like(v)
    _rows.update(*numpy_of(s), v_old.detach().contiguous().numpy(), *numpy_of(d, t, *made))
    turned = t[:, :, 2 * N_G :] * d[:, None, N_F:]
    expected = s + d[:, :N_F], turned if is_first else v + turned
    for one, other in zip(made, expected, strict=True):
        torch.testing.assert_close(one, other)
    gs, gv = random(4, N_F, seed=1), random(4, 3, N_G, seed=1)
    wanted = torch.autograd.grad(expected, (d, t), (gs, gv))
    gd, gt = torch.zeros_like(d), torch.zeros_like(t)
    _rows.update_gradient(*numpy_of(gs, gv, d, t, gd, gt))
    torch.testing.assert_close(gd, wanted[0])
    torch.testing.assert_close(gt, wanted[1])


def test_spread_and_gather():
    crystal = torch.tensor([0, 1, 1])
    rows, h = random(2, N_F), random(3, N_F)
    made, sums = h.detach().clone(), torch.zeros(2, N_F, dtype=F64)
    _rows.spread(*numpy_of(rows), crystal.numpy(), *numpy_of(made))
    torch.testing.assert_close(made, h + rows[crystal])
    _rows.gather(*numpy_of(h), crystal.numpy(), *numpy_of(sums))
    torch.testing.assert_close(sums, torch.zeros_like(sums).index_add(0, crystal, h))
