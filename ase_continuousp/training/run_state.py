"""State of a training run, written and read without pickling."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from ase_continuousp.model.stored import write_tensors

Blend = Callable[[Tensor, Tensor, float], Any]

_VERSION = 2  # raised when a run would go on with other batches or noise than it began with


class Keeper(Protocol):
    """A part of a run with a memory of its own."""

    def tensors(self) -> dict[str, Tensor]:
        """Return what has to be kept."""
        ...

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go back to what was kept."""
        ...


@dataclass
class RunState:
    """Everything that a training run needs to go on as if it had never stopped.

    Parameters
    ----------
    network : torch.nn.Module
    optimizer : torch.optim.Adam
    average : dict of str to Tensor
        Exponential moving average of the parameters.
    rng : numpy.random.Generator
    step : int
        Updates done.
    order : list of int
        What is left of the current epoch's order of crystals.
    seconds : float
        Wall time spent so far.
    keepers : dict of str to Keeper
        Whatever else has a memory.
    """

    network: torch.nn.Module
    optimizer: torch.optim.Optimizer
    average: dict[str, Tensor]
    rng: np.random.Generator
    step: int = 0
    order: tuple[int, ...] = ()
    seconds: float = 0.0
    keepers: dict[str, Keeper] = field(default_factory=dict)

    def weights(self) -> dict[str, Tensor]:
        """Return the averaged parameters and whatever else the network keeps."""
        return {**self.network.state_dict(), **self.average}

    def update_average(self, decay: float, blend: Blend = Tensor.lerp_) -> None:
        """Move the average towards the current parameters."""
        # The usual warm-up of the average: early on it would remember the initial weights.
        decay = min(decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                blend(self.average[name], parameter, 1 - decay)

    def save(self, folder: Path, config: dict[str, Any]) -> None:
        """Write the state; whoever reads sees either the old or the new one."""
        tensors = {f"network.{k}": v.detach() for k, v in self.network.named_parameters()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        tensors |= {f"buffer.{k}": v for k, v in _buffers(self.network).items()}
        for name, keeper in self.keepers.items():
            tensors |= {f"{name}.{k}": v for k, v in keeper.tensors().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in moments.items()}
        # The record travels inside the tensors' file: one rename makes both current.
        record = {
            "version": _VERSION,
            "step": self.step,
            "order": list(self.order),
            "seconds": self.seconds,
            "rng": self.rng.bit_generator.state,
            "config": config,
        }
        contiguous = {k: v.contiguous() for k, v in tensors.items()}
        write_tensors(state_path(folder), contiguous, {"record": json.dumps(record)})

    def load(self, folder: Path, config: dict[str, Any]) -> None:
        """Go back to a written state.

        Raises
        ------
        ValueError
            If the run was started with other settings, or by a version that drew other noise.
        """
        record, tensors = read_state(folder)
        if record.get("version", 1) != _VERSION:
            raise ValueError(
                f"resume: {folder} was started by an older version, which drew batches and noise "
                f"otherwise: begin anew, with start_from={str(folder)!r} to keep its weights"
            )
        different = {k for k in config if record["config"].get(k) != config[k]}
        if different:
            name = sorted(different)[0]
            raise ValueError(
                f"resume: {folder} was started with {name}={record['config'].get(name)!r}, "
                f"not {config[name]!r}"
            )
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                parameter.copy_(tensors[f"network.{name}"])
                self.average[name] = tensors[f"average.{name}"]
            for name, buffer in _buffers(self.network).items():
                buffer.copy_(tensors[f"buffer.{name}"])
        for name, keeper in self.keepers.items():
            prefix = f"{name}."
            kept = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
            keeper.load(kept)
        moments: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            if key.startswith("optimizer."):
                _, index, moment = key.split(".", 2)
                moments.setdefault(int(index), {})[moment] = tensor
        stored = self.optimizer.state_dict()
        self.optimizer.load_state_dict({**stored, "state": moments})
        self.rng.bit_generator.state = record["rng"]
        self.step = record["step"]
        self.order = tuple(record["order"])
        self.seconds = record["seconds"]


def _buffers(network: torch.nn.Module) -> dict[str, Tensor]:
    """Return what a network keeps beside its parameters, such as that of spectral norms."""
    parameters = dict(network.named_parameters())
    return {k: v for k, v in network.state_dict().items() if k not in parameters}


def has_state(folder: Path) -> bool:
    """Return whether a folder holds a run that can be resumed."""
    return state_path(folder).is_file()


def state_path(folder: Path) -> Path:
    """Return the file of a run's state."""
    return folder / "state.safetensors"


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of a written state: step, settings and what else is no tensor."""
    with safe_open(state_path(folder), framework="pt") as stream:
        record: dict[str, Any] = json.loads(stream.metadata()["record"])
    return record


def read_state(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the record and the tensors of a written state.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    try:
        return read_record(folder), load_file(state_path(folder))
    except SafetensorError as error:
        raise ValueError(f"resume: {state_path(folder)} is damaged: {error}") from error
