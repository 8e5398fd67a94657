"""The last small step to the truth: how far crystals of a known origin are from it."""

from __future__ import annotations

import copy
import os
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from ase_continuousp.crystals import Crystals
from ase_continuousp.model.checkpoint import TrainedModel
from ase_continuousp.model.continuous import ContinuousEnergy
from ase_continuousp.model.derivatives import ModelEnergy
from ase_continuousp.model.low_rank import LowRankChange
from ase_continuousp.model.stored import read_tensors, write_tensors

POLISH = "polish.safetensors"
_FORMAT = "ase_continuousp-polish-1"
KINDS = ("prototypes", "all")


class Polish:
    """Moves the atoms of crystals by what such crystals usually lack.

    The move is the gradient of a scalar network U_P of the form of the energy::

        Δr = −s ℓ² ∂U_P/∂r,   ℓ = (V/N)^(1/3)

    so that it follows rotations, does not depend on the description of the crystal, leaves the
    center where it is and keeps every symmetry; cells stay. The energy has its minima where noise
    of all sizes leads back to; U_P was trained with the errors that prototypes, averaged over
    their members and filled with other elements, really have
    (:mod:`ase_continuousp.training.polishing`).

    Parameters
    ----------
    network : ContinuousEnergy
        U_P.
    step : float
        s.
    kinds : {"prototypes", "all"}
        What searches move with it: prototypes as built, or ends of chains as well.
    device : str

    Raises
    ------
    ValueError
        If the step is not positive or there is no such kind.

    Examples
    --------
    >>> polish = Polish(ContinuousEnergy(channels=16, vector_channels=16), 0.1)
    >>> po = Crystals.single([[0, 0, 0]], [[3, 0, 0], [0, 3, 0], [0, 0, 3]], [84])
    >>> bool(abs(polish(po).positions).max() < 1e-4)  # nowhere to go
    True
    """

    def __init__(
        self,
        network: ContinuousEnergy,
        step: float,
        *,
        kinds: str = "prototypes",
        device: str | torch.device = "cpu",
    ) -> None:
        if not step > 0.0:
            raise ValueError(f"step must be positive: {step}")
        check_kinds(kinds)
        self.step = step
        self.kinds = kinds
        self._energy = ModelEnergy(network, device=device)

    def __call__(self, crystals: Crystals) -> Crystals:
        """Return the crystals with moved atoms; one without finite gradient stays as it is."""
        found = self._energy(crystals)
        index = crystals.crystal_index
        moves = self.step * crystals.lengths[index, None] ** 2 * found.forces
        lost = ~np.isfinite(moves).all(axis=1)
        moves[np.logical_or.reduceat(lost, crystals.offsets[:-1])[index]] = 0.0
        return Crystals(
            crystals.positions + moves, crystals.cells, crystals.numbers, crystals.offsets
        )

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], model: TrainedModel, *, device: str | torch.device
    ) -> Polish:
        """Read what :func:`save_polish` wrote for a model.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it holds nothing of this kind, or was made for other weights.
        """
        try:
            tensors, about = read_tensors("polish", path, _FORMAT)
            network: Any = copy.deepcopy(model.network)
            if about["weights"] == model.hash:
                LowRankChange.from_tensors(network, tensors).fill(network)
            step, kinds = float(about["step"]), about["kinds"]
        except (SafetensorError, KeyError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(
                f"polish: cannot be read: {os.fspath(path)}: {reason}; train it anew or delete it"
            ) from None
        if about["weights"] != model.hash:
            raise ValueError(
                f"polish: {os.fspath(path)} was made for weights {about['weights']}, those of "
                f"{model.name!r} are {model.hash}; train it anew or delete it"
            )
        return cls(network, step, kinds=kinds, device=device)


def check_kinds(kinds: str) -> None:
    """Raise unless there are such kinds.

    Raises
    ------
    ValueError
        If it is none of `KINDS`.

    Examples
    --------
    >>> check_kinds("ends")
    Traceback (most recent call last):
    ValueError: kinds must be one of prototypes, all: 'ends'
    """
    if kinds not in KINDS:
        raise ValueError(f"kinds must be one of {', '.join(KINDS)}: {kinds!r}")


def save_polish(
    path: str | os.PathLike[str],
    change: LowRankChange,
    model: TrainedModel,
    step: float,
    *,
    kinds: str,
    trained_on: str = "",
) -> None:
    """Write the change that makes U_P of the energy of a model, by a rename."""
    about = {
        "format": _FORMAT,
        "weights": model.hash,
        "step": repr(float(np.float64(step))),
        "kinds": kinds,
        "trained_on": trained_on,
    }
    write_tensors(path, change.tensors(), about)
