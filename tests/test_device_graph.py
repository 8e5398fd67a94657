"""Graphs that are kept while atoms move, and padding, on tensors of the host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from ase_continuousp.crystals import Crystals
from ase_continuousp.model.continuous import ContinuousEnergy
from ase_continuousp.model.derivatives import AutogradEnergy, tensor_derivatives
from ase_continuousp.model.device_graph import DeviceEnergy, DeviceGraph
from ase_continuousp.model.pairs import Graph, TorchPairs
from ase_continuousp.model.paper import PaperEnergy
from ase_continuousp.model.segments import native_sum, scatter_sum
from ase_continuousp.neighborlist import search
from tests import strategies
from tests.lattices import random_crystals

NETWORKS: dict[str, Callable[[], torch.nn.Module]] = {
    "continuous": lambda: ContinuousEnergy(channels=8, vector_channels=4, n_layers=2),
    "paper": lambda: PaperEnergy(channels=8),
}


def network(kind: str) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = NETWORKS[kind]().double().eval().requires_grad_(False)
    made.pairs = TorchPairs()
    return made


def tensors(crystals: Crystals) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(crystals.positions), torch.from_numpy(crystals.cells)


def kept_graph(crystals: Crystals, **options: float) -> DeviceGraph:
    return DeviceGraph(crystals, 1.8, torch.float64, "cpu", **options)


@pytest.mark.parametrize("kind", NETWORKS)
@given(batch=strategies.crystals(max_crystals=3, max_atoms=5))
def test_padding_and_pairs_beyond_the_cutoff_contribute_nothing(kind: str, batch: Crystals) -> None:
    energy = network(kind)
    exact = search(batch, energy.cutoff_ratio * batch.lengths)
    plain = Graph.of(batch, exact, torch.float64, torch.device("cpu"))
    made = DeviceGraph(batch, energy.cutoff_ratio, torch.float64, "cpu", skin=0.4)
    padded = made.update(*tensors(batch))
    assert len(padded.i) > int(padded.first[-1]) >= exact.n_pairs
    expected = tensor_derivatives(energy, plain, *tensors(batch))
    found = tensor_derivatives(energy, padded, *tensors(batch))
    for one, other in zip(found, expected, strict=True):
        scale = float(other.abs().max()) + 1.0
        torch.testing.assert_close(one, other, rtol=0.0, atol=1e-13 * scale)


@given(
    batch=strategies.crystals(max_crystals=2, max_atoms=5),
    rng=strategies.rngs(),
    step=st.sampled_from([0.01, 0.05, 0.1, 0.3]),
)
def test_a_list_that_holds_misses_no_pair(
    batch: Crystals, rng: np.random.Generator, step: float
) -> None:
    """Atoms and cells move step by step; the pairs within the cutoff are those of a new list."""
    kept = kept_graph(batch, skin=0.5)
    for _ in range(6):
        graph = kept.update(*tensors(batch))
        cutoffs = 1.8 * batch.lengths
        pairs = torch.stack([graph.i, graph.j, *graph.shifts.long().unbind(1)], dim=1)
        vectors = TorchPairs().vectors(graph, *tensors(batch), torch.ones(batch.n_crystals))
        near = vectors.norm(dim=1).numpy() < cutoffs[batch.crystal_index[graph.i]]
        exact = search(batch, cutoffs)
        expected = np.column_stack([exact.i, exact.j, exact.S])
        assert {tuple(p) for p in pairs[near].tolist()} == {tuple(p) for p in expected.tolist()}
        strain = np.eye(3) + 0.1 * step * rng.normal(size=(batch.n_crystals, 3, 3))
        moved = np.einsum("ax,axy->ay", batch.positions, strain[batch.crystal_index])
        moved += step * rng.normal(size=moved.shape)
        batch = replace(batch, positions=moved, cells=batch.cells @ strain)


def test_lists_are_made_anew_when_needed_and_only_then() -> None:
    batch = random_crystals(np.random.default_rng(0), 3)
    kept = kept_graph(batch, skin=0.5)
    graph = kept.update(*tensors(batch))
    places = [t.data_ptr() for t in (graph.first, graph.i, graph.j, graph.shifts)]
    far = replace(batch, positions=batch.positions + 0.1)  # each goes less than half a skin
    assert kept.update(*tensors(far)) is graph
    assert kept.n_lists == 1
    one_goes = batch.positions.copy()
    one_goes[4] += 0.2
    kept.update(*tensors(replace(batch, positions=one_goes)))
    assert kept.n_lists == 2
    turned = replace(batch, cells=1.1 * batch.cells, positions=1.1 * batch.positions)
    after = kept.update(*tensors(turned))
    assert kept.n_lists == 3
    assert [t.data_ptr() for t in (after.first, after.i, after.j, after.shifts)] == places


def test_more_pairs_than_there_is_room_for_get_more_room() -> None:
    batch = random_crystals(np.random.default_rng(0), 2)
    kept = kept_graph(batch, length=2.0)
    room = len(kept.update(*tensors(batch)).i)
    dense = replace(batch, positions=0.5 * batch.positions, cells=0.5 * batch.cells)
    kept.rebuild(*tensors(dense))
    assert not kept.is_whole
    graph = kept.update(*tensors(batch))  # far from what the list was made for
    assert kept.is_whole
    graph = kept.update(*tensors(dense))
    assert len(graph.i) > room
    assert int(graph.first[-1]) == search(dense, 3.6 + 0.3).n_pairs


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("length", [None, 2.5])
def test_energies_along_a_path_equal_those_without_a_kept_graph(
    kind: str, length: float | None
) -> None:
    energy = network(kind)
    there = DeviceEnergy(energy, dtype=torch.float64, device="cpu", length=length, skin=0.4)
    here = AutogradEnergy(energy, dtype=torch.float64, length=length)
    rng = np.random.default_rng(1)
    lists = 0
    for n in (3, 2):  # another batch begins a new graph
        batch = random_crystals(rng, n)
        for _ in range(5):
            found, expected = there(batch), here(batch)
            for name in ("energy", "energies", "forces", "stress"):
                np.testing.assert_allclose(
                    getattr(found, name), getattr(expected, name), rtol=1e-10, atol=1e-12
                )
            step = 0.03 * rng.normal(size=batch.positions.shape)
            batch = replace(batch, positions=batch.positions + step)
        assert there.graph is not None
        lists += there.graph.n_lists
    assert 2 <= lists < 10


def test_what_allows_no_list_is_refused() -> None:
    batch = random_crystals(np.random.default_rng(0), 2)
    kept = kept_graph(batch)
    with pytest.raises(ValueError, match="update must have been called"):
        kept.rebuild(*tensors(batch))
    kept.update(*tensors(batch))
    batch.positions[0, 0] = np.nan
    with pytest.raises(ValueError, match="positions must be finite: found nan"):
        kept.update(*tensors(batch))


def test_torch_scatter_and_torch_add_the_same() -> None:
    pytest.importorskip("torch_scatter")
    rng = np.random.default_rng(0)
    first = torch.tensor([0, 3, 3, 10, 20])
    index = torch.repeat_interleave(torch.arange(4), first.diff())
    values = torch.from_numpy(rng.normal(size=(20, 3, 2))).requires_grad_(True)
    weights = torch.from_numpy(rng.normal(size=(4, 3, 2)))
    made, gradients = [], []
    for total in (native_sum(values, index, first), scatter_sum(values, first)):
        made.append(total)
        gradients.append(torch.autograd.grad((total**2 * weights).sum(), values)[0])
    torch.testing.assert_close(made[1], made[0], rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-14, atol=1e-14)
