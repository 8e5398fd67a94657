"""Persistent contrastive divergence with a replay buffer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ase_continuousp.crystals import Crystals
from ase_continuousp.sampling.paper import PaperSampler
from ase_continuousp.sampling.schedule import Geometric
from ase_continuousp.training.batches import Part, Streams
from ase_continuousp.training.noise import NoiseLaw
from ase_continuousp.training.objectives.buffers import from_tensors, to_tensors
from ase_continuousp.training.objectives.contrast import (
    Contrast,
    Contrastive,
    add_gradient,
    resting,
)
from ase_continuousp.training.objectives.negatives import random_negative


@dataclass(frozen=True)
class Resumed:
    """Crystals of the data, chains to go on with, and their randomness.

    Parameters
    ----------
    data, chains : Crystals
    places : list of int
        Of the chains in the buffer.
    rng : numpy.random.Generator
    """

    data: Crystals
    chains: Crystals
    places: list[int]
    rng: np.random.Generator


class PersistentContrastiveDivergence(Contrastive):
    """Contrastive divergence whose chains go on from one update to the next (Tieleman 2008).

    A buffer holds `capacity` chains (Du, Mordatch 2019, arXiv:1903.08689). An update takes the
    next ones, as many as there are crystals of the data; a share of them begins anew at a random
    crystal with the atoms of a crystal of the data. Some Metropolis-adjusted Langevin steps on U
    at temperature 1 later they are the negative samples of::

        loss = mean(E(data) − E(sample)) + α (mean E(data)² + mean E(sample)²),   E = U/N

    and go back into the buffer.

    Parameters
    ----------
    capacity : int
    restart : float
        Share of the chains that begin anew in an update.
    chain_steps : int
        Steps of a chain in an update.
    step_size : float
        η [Å²].
    regularization : float
        α.
    law : NoiseLaw, optional
        Of the perturbations in validation.

    Examples
    --------
    >>> PersistentContrastiveDivergence(capacity=64).tensors()
    {}
    """

    def __init__(
        self,
        *,
        capacity: int = 1024,
        restart: float = 0.05,
        chain_steps: int = 20,
        step_size: float = 0.01,
        regularization: float = 0.1,
        law: NoiseLaw | None = None,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1: {capacity}")
        if not 0.0 <= restart <= 1.0:
            raise ValueError(f"restart must lie in [0, 1]: {restart}")
        self.capacity = capacity
        self.restart = restart
        self.regularization = regularization
        self.law = NoiseLaw() if law is None else law
        self._sampler = PaperSampler(
            chain_steps, Geometric(1.0, 1.0), Geometric(step_size, step_size)
        )
        self._buffer: list[Crystals] = []
        self._next = 0

    @property
    def card(self) -> dict[str, Any]:
        """The annealed sampler of the paper, on U."""
        return {"sampler": "paper", "anneal": {"n_steps": 1000}}

    def draw(self, crystals: Crystals, rng: np.random.Generator | Streams) -> Resumed:
        """Take the next chains out of the buffer; some begin anew."""
        if crystals.n_crystals > self.capacity:
            raise ValueError(
                f"capacity must be at least the crystals of a pass, {crystals.n_crystals}: "
                f"{self.capacity}"
            )
        own = rng.spawn(crystals.n_crystals)
        chains, places = [], []
        for one, stream in zip(crystals, own, strict=True):
            place = self._next % self.capacity
            self._next += 1
            is_new = stream.random() < self.restart or place >= len(self._buffer)
            fresh = random_negative(one.numbers, stream, many_units=False)
            chains.append(fresh if is_new else self._buffer[place])
            if place >= len(self._buffer):
                self._buffer.append(fresh)
            places.append(place)
        return Resumed(crystals, Crystals.concatenate(chains), places, own[0])

    def accumulate(
        self,
        network: Any,
        drawn: Resumed,
        dtype: torch.dtype,
        of: Part | None = None,
        scale: float = 1.0,
    ) -> tuple[float, float]:
        """Go on with the chains and add the gradient of the loss."""
        with resting(network, dtype) as energy:
            ends = self._sampler.run(energy, drawn.chains, drawn.rng).crystals
        for place, one in zip(drawn.places, ends, strict=True):
            self._buffer[place] = one
        contrast = Contrast(drawn.data, ends)
        return add_gradient(network, contrast, dtype, self.regularization, of, scale)

    def tensors(self) -> dict[str, Tensor]:
        """Return the buffer."""
        if not self._buffer:
            return {}
        return {"next": torch.tensor(self._next), **to_tensors(self._buffer)}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go back to a kept buffer."""
        self._buffer = from_tensors(tensors)
        self._next = int(tensors.get("next", 0))
