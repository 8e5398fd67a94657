"""Rounding without bias, loss scaling, and runs in every precision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ase_continuousp import TrainConfig
from ase_continuousp.training.precision.choice import make_precision
from ase_continuousp.training.precision.low_adam import LowAdam
from ase_continuousp.training.precision.mixed import Mixed
from ase_continuousp.training.precision.rounding import nearest, stochastic

SMALL = {"channels": 8, "vector_channels": 4, "n_layers": 2}
LOW = ("fp16-mixed", "bf16-mixed", "bf16-sr", "bf16")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def neighbors(value):
    """Return the bfloat16 below and above in magnitude, by their bits."""
    bits = np.float32(value).view(np.int32) & -65536
    return np.array([bits, bits + 65536], dtype=np.int32).view(np.float32)


@pytest.mark.parametrize("value", [1.001, -1.001, 3.3e-5, 1.0e30, -7.77, 1e-40])
def test_stochastic_rounding_has_the_distribution_that_makes_it_unbiased(value):
    n = 100_000
    made = stochastic(torch.full((n,), value), generator()).float().numpy()
    low, high = neighbors(value)
    assert set(np.unique(made)) <= {low, high}
    up = (np.float64(np.float32(value)) - low) / (np.float64(high) - low)
    error = math.sqrt(up * (1 - up) / n)
    assert np.mean(made == high) == pytest.approx(up, abs=4 * error)


def test_exact_values_stay_and_what_is_not_finite_is_left_alone():
    exact = torch.tensor([0.0, -0.0, 1.0, -2.5, 2.0**-130, math.inf, -math.inf])
    many = exact.repeat(200, 1)
    assert (stochastic(many, generator()).float() == many).all()
    assert stochastic(torch.tensor([math.nan]), generator()).isnan().all()


def test_successive_roundings_are_independent():
    value, n = torch.full((20_000,), 1.0 + 2**-8), generator()
    first, second = (stochastic(value, n) > 1.0 for _ in range(2))
    both = (first & second).float().mean()
    assert float(both) == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / 20_000))


def follow(rounding, steps=500):
    """Take many steps of a thousandth each with a steady gradient."""
    weight = nn.Parameter(torch.full((64,), 4.0, dtype=torch.bfloat16))
    optimizer = LowAdam([weight], lr=1e-3, rounding=rounding, generator=generator())
    for _ in range(steps):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    return weight.detach().float()


def test_small_updates_arrive_in_the_mean_and_are_lost_by_rounding_to_the_nearest():
    # 500 steps of 0.001 lead from 4 to 3.5; the numbers there lie 0.016 apart.
    moved = follow(stochastic)
    assert float(moved.mean()) == pytest.approx(3.5, abs=0.05)
    assert (follow(nearest) == 4.0).all()


def test_adam_in_bfloat16_makes_the_first_step_of_adam():
    torch.manual_seed(0)
    start, slope = torch.randn(500).bfloat16(), torch.randn(500).bfloat16()
    weight = nn.Parameter(start.float().clone())
    weight.grad = slope.float()
    torch.optim.Adam([weight], lr=0.01, betas=(0.9, 0.99)).step()
    narrow = nn.Parameter(start.clone())
    narrow.grad = slope
    LowAdam([narrow], lr=0.01, rounding=nearest, generator=generator()).step()
    assert (narrow == weight.detach().bfloat16()).all()


def test_nothing_of_float32_stays_between_passes():
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    precision = make_precision("bf16-sr")
    optimizer = precision.optimizer(network, 1e-3)
    for _ in range(2):
        with precision.passing(network):
            assert all(p.dtype == torch.float32 for p in network.parameters())
            network(torch.ones(2, 3)).sum().backward()
    precision.step(network, optimizer, 1.0)
    kept = [t for p in network.parameters() for t in (p, p.grad)]
    kept += [m for s in optimizer.state.values() for k, m in s.items() if k != "step"]
    assert {t.dtype for t in kept} == {torch.bfloat16}


@pytest.mark.parametrize(("name", "low"), [("fp16-mixed", "float16"), ("bf16-mixed", "bfloat16")])
def test_mixed_passes_see_rounded_weights_and_masters_stay(name, low):
    low = getattr(torch, low)
    network = nn.Linear(5, 1, bias=False)
    precision = make_precision(name)
    precision.optimizer(network, 1e-3)
    master = network.weight.detach().clone()
    for _ in range(2):
        with precision.passing(network):
            assert (network.weight == master.to(low).float()).all()
            network(torch.full((1, 5), 1.0001)).sum().backward()
    assert (network.weight == master).all()
    assert (network.weight.grad == 2 * torch.full((5,), 1.0001).to(low).float()).all()


def scaled_step(precision, network, optimizer, slope):
    optimizer.zero_grad()
    with precision.passing(network):
        (network(torch.ones(1, 1)) * slope * precision.scale).sum().backward()
    return precision.step(network, optimizer, 1.0)


def test_an_overflow_skips_the_update_halves_the_scale_and_is_counted():
    network = nn.Linear(1, 1, bias=False)
    precision = Mixed(torch.float16)
    optimizer = precision.optimizer(network, 1e-3)
    before = network.weight.detach().clone()
    assert scaled_step(precision, network, optimizer, 100.0)["skipped"] == 1
    assert precision.scale == 2.0**15
    assert (network.weight == before).all()
    assert scaled_step(precision, network, optimizer, 1e-3)["skipped"] == 1
    assert (network.weight != before).all()


def test_the_scale_saves_gradients_that_float16_cannot_hold():
    # 1e-9 is below the smallest float16; 65,536 times it is not.
    for first_scale, is_saved in ((2.0**16, True), (1.0, False)):
        network = nn.Linear(1, 1, bias=False)
        precision = Mixed(torch.float16, first_scale=first_scale)
        optimizer = precision.optimizer(network, 1e-3)
        norm = scaled_step(precision, network, optimizer, 1e-9)["norm"]
        assert (norm == pytest.approx(1e-9, rel=1e-2)) is is_saved


def test_the_scale_doubles_after_many_updates_and_survives_a_restart():
    network = nn.Linear(1, 1, bias=False)
    precision = Mixed(torch.float16)
    optimizer = precision.optimizer(network, 1e-6)
    precision.load({"scale": torch.tensor(2.0**16), "counts": torch.tensor([1998, 0])})
    scaled_step(precision, network, optimizer, 1e-3)
    again = Mixed(torch.float16)
    again.load(precision.tensors())
    for one in (precision, again):
        assert one.scale == 2.0**16
        scaled_step(one, network, optimizer, 1e-3)
        assert one.scale == 2.0**17


def weights(folder):
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("precision", LOW)
def test_runs_end_near_that_in_float32(trained, precision):
    config = {"steps": 10, "batch_size": 4, "warmup": 2, "network": SMALL, "learning_rate": 1e-4}
    full = weights(trained(TrainConfig(**config), "full"))
    low = weights(trained(TrainConfig(**config, precision=precision), "low"))
    for name, expected in full.items():
        torch.testing.assert_close(low[name], expected, rtol=2e-2, atol=3e-3)


@pytest.mark.parametrize("precision", ["fp16-mixed", "bf16-sr"])
def test_interrupted_runs_resume_to_the_same_weights(trained, precision):
    config = {"batch_size": 2, "warmup": 2, "network": SMALL, "precision": precision}
    config |= {"decay": "constant", "checkpoint_every": 3}
    straight = weights(trained(TrainConfig(**config, steps=6), "straight"))

    class Stop(Exception):
        pass

    from ase_continuousp.training import trainer

    made, real = [0], trainer.update

    def stopping(*arguments):
        made[0] += 1
        if made[0] > 4:
            raise Stop
        return real(*arguments)

    trainer.update = stopping
    try:
        with pytest.raises(Stop):
            trained(TrainConfig(**config, steps=6), "cut")
    finally:
        trainer.update = real
    cut = weights(trained(TrainConfig(**config, steps=6), "cut", resume=True))
    for name, expected in straight.items():
        assert (cut[name] == expected).all()


def test_passes_of_a_batch_add_up_to_it(trained):
    config = {"steps": 3, "batch_size": 4, "network": SMALL, "precision": "fp64"}
    whole = weights(trained(TrainConfig(**config), "whole"))
    parts = weights(trained(TrainConfig(**config, micro_batch=1), "parts"))
    for name, expected in whole.items():
        torch.testing.assert_close(parts[name], expected, rtol=1e-5, atol=1e-6)


def test_a_batch_of_8192_sees_as_many_samples_with_a_scaled_rate():
    small = TrainConfig.preset("perov5")
    large = small.with_batch_size(8192)
    assert large.steps * large.batch_size == pytest.approx(small.steps * 32, rel=0.01)
    assert large.learning_rate == pytest.approx(16 * small.learning_rate)
    assert large.pass_size == 32
    assert large.warmup >= large.steps // 10
    # As much of the run is remembered by the average.
    assert math.log(large.ema) * large.steps == pytest.approx(
        math.log(small.ema) * small.steps, rel=0.01
    )
    with pytest.raises(ValueError, match=r"rule must be one of .*'cubic'"):
        small.with_batch_size(64, "cubic")
