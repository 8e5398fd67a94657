"""Inference by hand-written derivatives against plain torch, differentiated, in float64."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from ase_continuousp import load_model
from ase_continuousp.crystals import Crystals
from ase_continuousp.energy_function import Evaluation
from ase_continuousp.io import from_atoms
from ase_continuousp.model import _inference, derivatives
from ase_continuousp.model._order import along_curve
from ase_continuousp.model._product import Product
from ase_continuousp.model._room import BLOCK
from ase_continuousp.model.continuous import ContinuousEnergy
from ase_continuousp.model.derivatives import AutogradEnergy, ModelEnergy
from ase_continuousp.model.inference import Inference
from ase_continuousp.model.pairs import TorchPairs
from tests import strategies

F32, F64 = torch.float32, torch.float64
NAMES = ("energy", "energies", "forces", "stress")


def made_network(*, n_layers=3, vectors=16):
    torch.manual_seed(5)
    network = ContinuousEnergy(channels=32, vector_channels=vectors, n_layers=n_layers)
    for layer in network.layers:
        layer.filters.data *= 3
        layer.norm.weight.data += 0.3 * torch.randn(32)
    return network


def oracle(network, length=None):
    plain = copy.deepcopy(network)
    plain.pairs = TorchPairs()
    return AutogradEnergy(plain, dtype=F64, length=length)


def inference(network, dtype, length=None):
    energy = ModelEnergy(copy.deepcopy(network), dtype=dtype, length=length)
    assert isinstance(energy._inference, Inference)
    return energy


def made_crystals(sizes, seed=0):
    rng = np.random.default_rng(seed)
    return from_atoms([strategies.random_atoms(rng, n, density=0.08) for n in sizes])


def largest_error(found, expected):
    """Largest difference of any property, relative to its largest value."""
    return {
        name: np.abs(getattr(found, name) - getattr(expected, name)).max()
        / np.abs(getattr(expected, name)).max()
        for name in NAMES
    }


@pytest.mark.parametrize("length", [None, 2.4])
@pytest.mark.parametrize(("n_layers", "vectors"), [(1, 16), (2, 48), (3, 16)])
def test_equals_plain_torch(n_layers, vectors, length):
    network = made_network(n_layers=n_layers, vectors=vectors)
    crystals = made_crystals((1, 5, 12, 2, BLOCK - 19))
    errors = largest_error(
        inference(network, F64, length)(crystals), oracle(network, length)(crystals)
    )
    assert max(errors.values()) < 1e-12


@pytest.mark.parametrize("n_atoms", [7, BLOCK, BLOCK + 1, 2 * BLOCK + 5])
def test_equals_plain_torch_across_blocks(n_atoms):
    network = made_network()
    crystals = made_crystals((n_atoms,))
    errors = largest_error(inference(network, F64)(crystals), oracle(network)(crystals))
    assert max(errors.values()) < 1e-12


@pytest.mark.parametrize("name", ["mp20", "perov5"])
def test_single_precision_of_shipped_models(name):
    network = load_model(name).network
    symbols = [37, 8, 22, 38]  # Rb, O, Ti, Sr
    rng = np.random.default_rng(1)
    crystals = from_atoms(
        [strategies.random_atoms(rng, n, density=0.05, numbers=symbols) for n in (1, 4, 9, 16, 40)]
    )
    expected = oracle(network)(crystals)
    errors = largest_error(inference(network, F32)(crystals), expected)
    assert max(errors["energy"], errors["energies"]) < 1e-6
    assert max(errors["forces"], errors["stress"]) < 1e-5


def test_central_differences():
    """Against nothing of the package but the energy itself."""
    energy = inference(made_network(), F64)
    crystal = made_crystals((6,), seed=3)
    found, step = energy(crystal), 1e-4
    rng = np.random.default_rng(4)
    for _ in range(3):
        move, strain = rng.normal(size=(6, 3)), rng.normal(size=(3, 3))
        strain = strain + strain.T

        def at(t, move=move, strain=strain):
            turn = np.eye(3) + t * strain
            return energy(
                Crystals.single(
                    (crystal.positions + t * move) @ turn, crystal.cells[0] @ turn, crystal.numbers
                )
            ).energy[0]

        slope = (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step)
        expected = -(found.forces * move).sum()
        expected += (found.stress[0] * strain).sum() * crystal.volumes[0]
        assert slope == pytest.approx(expected, rel=1e-7)


@settings(max_examples=15)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=2, max_size=8),
    n_threads=st.integers(1, 3),
    seed=st.integers(0, 9),
)
def test_neither_batch_nor_threads_change_a_bit(sizes, n_threads, seed):
    energy = SINGLE
    crystals = made_crystals(sizes, seed)
    alone = [energy(crystal) for crystal in crystals]
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        together = energy(crystals)
    finally:
        torch.set_num_threads(before)
    for name in NAMES:
        expected = np.concatenate([getattr(found, name) for found in alone])
        np.testing.assert_array_equal(getattr(together, name), expected)


SINGLE = ModelEnergy(made_network())


def test_large_crystals_keep_the_order_of_their_atoms(monkeypatch):
    crystal = made_crystals((60,))
    expected = SINGLE(crystal)
    monkeypatch.setattr(derivatives, "MANY", 50)
    found = SINGLE(crystal)
    assert not np.array_equal(along_curve(crystal), np.arange(60))
    for name in NAMES:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-4)


def test_calls_leave_earlier_results_alone():
    crystals, others = made_crystals((5, 3)), made_crystals((5, 3), seed=1)
    found = SINGLE(crystals)
    kept = copy.deepcopy(found)
    SINGLE(others)
    for name in NAMES:
        np.testing.assert_array_equal(getattr(found, name), getattr(kept, name))


def test_threads_find_the_rooms_of_the_last_call():
    """As threads of `ModelEnergy` do, which live for one call only."""
    rooms = ModelEnergy(made_network())._inference._rooms
    both_in = Barrier(2)

    def lent(n_atoms):
        with rooms.room(n_atoms, 1) as room:
            both_in.wait(10)  # each has one
            return room

    def in_threads(*sizes):
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(lent, sizes))

    first = in_threads(3, 5)
    assert [room.kept[0].s.shape[0] for room in first] == [3, 5]
    assert in_threads(5, 3) == first[::-1]
    one, other = in_threads(5, 5)
    assert one is not other
    assert len(rooms._free) == 2  # the one of other size is gone
    with pytest.raises(ZeroDivisionError), rooms.room(5, 1) as room:
        raise ZeroDivisionError
    assert room in {one, other}
    assert len(rooms._free) == 2


def test_copies_and_pickles_give_the_same():
    crystals = made_crystals((5,))
    expected = SINGLE(crystals)
    for other in (copy.deepcopy(SINGLE), pickle.loads(pickle.dumps(SINGLE))):
        assert isinstance(other(crystals), Evaluation)
        np.testing.assert_array_equal(other(crystals).forces, expected.forces)


def test_networks_of_other_sizes_go_by_autograd():
    network = ContinuousEnergy(channels=12, vector_channels=6)
    assert not Inference.takes(network)
    assert ModelEnergy(network)(made_crystals((3,))).forces.shape == (3, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_rows", [1, 6, 7, 8, 9, 17])
@pytest.mark.parametrize("n_out", [16, 32, 48])
@pytest.mark.parametrize("is_wide", [True, False])
def test_products(dtype, n_rows, n_out, is_wide):
    rng = np.random.default_rng(n_rows)
    weight = rng.normal(size=(n_out, 32)).astype(dtype)
    bias, x = rng.normal(size=n_out).astype(dtype), rng.normal(size=(n_rows, 40)).astype(dtype)
    product = Product(weight, bias, is_wide=is_wide)
    y, back = np.empty((n_rows, n_out), dtype), np.empty((n_rows, 32), dtype)
    product.there(x, y, begin=8)
    product.back(y, back)
    tolerance = 100 * np.finfo(dtype).eps
    np.testing.assert_allclose(y, x[:, 8:] @ weight.T + bias, rtol=tolerance, atol=tolerance * 6)
    np.testing.assert_allclose(back, y @ weight, rtol=tolerance, atol=tolerance * 40)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_silu(dtype):
    special = [0.0, -0.0, 1e-30, -1e-30, 87.5, -87.5, 200.0, -200.0, -1e9, 1e9, np.nan, 1.0]
    h = np.concatenate([np.linspace(-30, 30, 1012), special]).astype(dtype).reshape(-1, 16)
    y, g = np.empty_like(h), np.ones_like(h)
    _inference.silu(h, y)
    _inference.silu_gradient(h, g)
    exact = torch.from_numpy(h.astype(np.float64)).requires_grad_(True)
    expected = torch.nn.functional.silu(exact)
    expected.nansum().backward()
    tolerance = 10 * np.finfo(dtype).eps
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=tolerance, atol=1e-25)
    slope = exact.grad.numpy()
    slope[np.isnan(h)] = np.nan
    np.testing.assert_allclose(g, slope, rtol=tolerance, atol=10 * tolerance)
