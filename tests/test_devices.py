"""Energies and samplers on another device than the host: nothing is left behind on the host.

Where there is no CUDA device, PyTorch's "meta" device, whose tensors have a shape and no values,
stands for one: it refuses to hand memory to NumPy, and `Strict` refuses what CUDA would refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ase_continuousp import predict, sample
from ase_continuousp.model.checkpoint import load_model, torch_device
from ase_continuousp.model.continuous import ContinuousEnergy
from ase_continuousp.model.derivatives import ModelEnergy
from ase_continuousp.model.judge import Judge
from ase_continuousp.model.paper import PaperEnergy
from ase_continuousp.sampling import AnnealPlan, BatchAnneal, Geometric, WarmUp
from ase_continuousp.sampling.annealing import AnnealSettings, anneal
from tests.lattices import random_crystals
from tests.tiny_model import save_tiny_model

NETWORKS: dict[str, Callable[[], torch.nn.Module]] = {
    "continuous": lambda: ContinuousEnergy(channels=8, vector_channels=4, n_layers=2),
    "paper": lambda: PaperEnergy(channels=8),
}
META = torch.device("meta")
# What brings values to the device, and numbers without dimensions, may come from the host.
_TRANSFERS = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class Strict(TorchDispatchMode):
    """Refuse operations between devices, as CUDA does, and count those on the device."""

    def __init__(self) -> None:
        super().__init__()
        self.n_there = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        leaves = tree_leaves((args, dict(kwargs or {})))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        places = {t.device for t in tensors if t.ndim > 0}
        if func not in _TRANSFERS:
            assert len(places) <= 1, f"{func} of tensors on {places}"
        self.n_there += META in places
        return func(*args, **(kwargs or {}))


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> Strict:
    """Let values come back from the device as zeros: it has none."""
    real = torch.Tensor.cpu

    def cpu(tensor: torch.Tensor) -> torch.Tensor:
        return torch.zeros(tensor.shape, dtype=tensor.dtype) if tensor.is_meta else real(tensor)

    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    return Strict()


@pytest.mark.parametrize("kind", NETWORKS)
def test_an_energy_stays_on_its_device(strict: Strict, kind: str) -> None:
    crystals = random_crystals(np.random.default_rng(0), 3)
    energy = ModelEnergy(NETWORKS[kind](), device=META)
    assert {p.device for p in energy.network.state_dict().values()} == {META}
    with strict:
        found = energy(crystals)
    assert strict.n_there > 100
    assert found.forces.shape == crystals.positions.shape


def test_so_does_a_judge(strict: Strict) -> None:
    network = ContinuousEnergy(channels=8, vector_channels=4, n_layers=2)
    with strict:
        assert Judge(network, device=META)(random_crystals(np.random.default_rng(0), 3)).shape == (
            3,
        )
    assert strict.n_there > 50


def test_the_test_notices_a_tensor_left_behind(
    strict: Strict, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(lengths: torch.Tensor) -> torch.Tensor:
        return lengths[:, None] * torch.ones(12, dtype=lengths.dtype)

    monkeypatch.setattr("ase_continuousp.model.continuous.log_length_features", careless)
    energy = ModelEnergy(NETWORKS["continuous"](), device=META)
    with strict, pytest.raises((AssertionError, RuntimeError)):
        energy(random_crystals(np.random.default_rng(0), 3))


def batch_anneal(n_steps: int) -> BatchAnneal:
    plan = AnnealPlan(n_steps, Geometric(1.0, 0.1), Geometric(0.05, 0.01), WarmUp(), (1.0, 1000.0))
    return BatchAnneal(plan)


def test_the_steps_of_a_batch_ask_the_device(strict: Strict) -> None:
    crystals = random_crystals(np.random.default_rng(0), 4)
    energy = ModelEnergy(NETWORKS["continuous"](), device=META)
    with strict:
        end = batch_anneal(3).run(energy, crystals, np.random.default_rng(0))
        settings = AnnealSettings(n_steps=2, quench_steps=2)
        done = anneal(energy, crystals, settings, np.random.default_rng(0))
    assert end.state.step == 3
    assert np.isfinite(done.crystals.positions).all()
    assert strict.n_there > 500


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_is_named_before_the_work(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "tiny")
    message = r"device 'cuda(:1)?' is not available: torch finds no CUDA device"
    for device in ("cuda", "cuda:1"):
        with pytest.raises(ValueError, match=message):
            load_model(folder).energy(device=device)
        with pytest.raises(ValueError, match=message):
            sample("NaCl", model=folder, device=device)
        with pytest.raises(ValueError, match=message):
            predict("NaCl", model=folder, device=device)
    assert torch_device("auto").type == "cpu"


# With a device


def cuda_energy(kind: str, device: str) -> ModelEnergy:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ModelEnergy(NETWORKS[kind](), dtype=torch.float64, device=device)


@pytest.mark.cuda
@pytest.mark.parametrize("kind", NETWORKS)
def test_host_and_device_agree(kind: str) -> None:
    crystals = random_crystals(np.random.default_rng(0), 20)
    here, there = (cuda_energy(kind, device)(crystals) for device in ("cpu", "cuda"))
    for name in ("energy", "energies", "forces", "stress"):
        np.testing.assert_allclose(getattr(there, name), getattr(here, name), atol=1e-11)


@pytest.mark.cuda
def test_chains_of_host_and_device_agree() -> None:
    # Rounding differs, so chains part in the end; over a few steps they are the same.
    crystals = random_crystals(np.random.default_rng(0), 20)
    ends = [
        batch_anneal(5).run(cuda_energy("continuous", device), crystals, np.random.default_rng(1))
        for device in ("cpu", "cuda")
    ]
    for name in ("positions", "cells"):
        here, there = (getattr(end.state.crystals, name) for end in ends)
        np.testing.assert_allclose(there, here, atol=1e-8)
    assert np.array_equal(ends[0].state.accepted, ends[1].state.accepted)


@pytest.mark.cuda
def test_searches_run_on_the_device(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "tiny", anneal={"n_steps": 4, "quench_steps": 4})
    [made] = sample("NaCl", model=folder, device="cuda", n_chains=3)
    assert np.isfinite(made.get_potential_energy())
    assert predict("NaCl", model=folder, device="cuda", n_samples=3, start="random")
