"""Score matching that learns from its own mistakes: wrong ends of chains are to lie higher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ase_continuousp.crystals import Crystals
from ase_continuousp.evaluation.match import rms_distance
from ase_continuousp.sampling.annealing import anneal
from ase_continuousp.sampling.moves import AnnealSettings
from ase_continuousp.training.batches import Part, Streams
from ase_continuousp.training.noise import Noised, NoiseLaw, perturb
from ase_continuousp.training.objectives.buffers import from_tensors, to_tensors
from ase_continuousp.training.objectives.contrast import Contrast, mean_energies, resting
from ase_continuousp.training.objectives.exchanges import exchanges
from ase_continuousp.training.objectives.negatives import random_negative
from ase_continuousp.training.objectives.score import ScoreMatching


@dataclass(frozen=True)
class Drawn:
    """What one pass needs.

    Parameters
    ----------
    noised : Noised
    data : Crystals
        Before the perturbation.
    starts : Crystals or None
        Where chains begin, if this pass runs some.
    rng : numpy.random.Generator or None
        For chains and the choice of pairs; None in validation.
    """

    noised: Noised
    data: Crystals
    starts: Crystals | None
    rng: np.random.Generator | None


class ScoreContrast:
    """Score matching, and contrast with what its own anneals wrongly end in.

    The gradient around the data fixes how deep a funnel is, but hardly which of two funnels far
    from each other is the deeper one. So every few updates chains are annealed from random atoms
    for the crystals of a batch, as in a search; ends that are not the crystal they stand for are
    kept, with it, in a buffer. With E = U/N the loss is that of
    :class:`ase_continuousp.training.objectives.score.ScoreMatching` plus, over some pairs::

        w τ mean_k log(1 + exp((E(data_k) − E(end_k) + m)/τ))

    It is contrastive divergence (Hinton 2002, doi:10.1162/089976602760128018) with a replay buffer
    (Du, Mordatch 2019, arXiv:1903.08689) of hard negatives, whose pull ends where the data lie
    lower by m. Both are compared with noise of one level s on their positions, log-uniform between
    a fifth of the highest and the highest: data are exactly symmetric, ends only nearly so, and an
    energy that told them apart by that would be rough where the data lie.
    Where a batch is taken in several passes, each compares pairs of its own, so that this term
    depends on the passes by chance. In validation the data are compared with perturbed data.

    Parameters
    ----------
    law : NoiseLaw, optional
        Of the perturbations.
    strain_weight, saturation, robustness : float
        Of the score matching.
    weight, margin, softness : float
        w, m and τ; m and τ in units of U per atom.
    blur : float
        The highest s, over ℓ.
    pairs : int
        Crystals and ends that a pass compares.
    every : int
        Passes between two in which chains are run.
    chain_steps : int
        Noisy steps of such a chain, before its quench.
    capacity : int
        Pairs in the buffer; the oldest go.
    apart : float
        RMS distance over ℓ above which an end is another crystal than the data, as it is where
        both do not match at all.
    exchange : bool
        Whether an end also counts as right that matches the data after an exchange of elements
        of which there are as many atoms: where the composition does not tell which of them takes
        which site, as in Perov-5, such pairs teach nothing.

    Raises
    ------
    ValueError
        If a count is no positive integer, or another number not positive and finite.

    Examples
    --------
    >>> ScoreContrast(saturation=0.05).card["anneal"]["saturation"]
    0.05
    """

    parts = ("position_loss", "strain_loss", "contrast")

    def __init__(
        self,
        *,
        law: NoiseLaw | None = None,
        strain_weight: float = 0.2,
        saturation: float = 0.1,
        robustness: float = 3.0,
        weight: float = 6.0,
        margin: float = 0.02,
        softness: float = 0.02,
        blur: float = 0.05,
        pairs: int = 12,
        every: int = 32,
        chain_steps: int = 120,
        capacity: int = 4000,
        apart: float = 0.1,
        exchange: bool = False,
    ) -> None:
        scales = {"weight": weight, "margin": margin, "softness": softness}
        for name, value in (scales | {"blur": blur, "apart": apart}).items():
            if not 0 < value < np.inf:
                raise ValueError(f"{name} must be positive and finite: {value}")
        counts = {"pairs": pairs, "every": every, "chain_steps": chain_steps, "capacity": capacity}
        for name, count in counts.items():
            if not isinstance(count, int) or count < 1:
                raise ValueError(f"{name} must be a positive integer: {count!r}")
        self._score = ScoreMatching(
            law=NoiseLaw() if law is None else law,
            strain_weight=strain_weight,
            saturation=saturation,
            robustness=robustness,
        )
        self.weight, self.margin, self.softness, self.blur = weight, margin, softness, blur
        self.pairs, self.every, self.capacity, self.apart = pairs, every, capacity, apart
        self.exchange = exchange
        self._settings = AnnealSettings(
            **({"n_steps": chain_steps} | self._score.card.get("anneal", {}))
        )
        self._data: list[Crystals] = []
        self._ends: list[Crystals] = []
        self._n_drawn = 0

    @property
    def card(self) -> dict[str, Any]:
        """The steps of the sampler that fit s₀."""
        return self._score.card

    def draw(self, crystals: Crystals, rng: np.random.Generator | Streams) -> Drawn:
        """Perturb the batch and, every so many passes, say where chains begin."""
        noised = self._score.draw(crystals, rng)
        own = rng.spawn(crystals.n_crystals)
        runs = self._n_drawn % self.every == 0
        self._n_drawn += 1
        return Drawn(noised, crystals, _starts(crystals, own) if runs else None, own[0])

    def held_out(self, crystals: Crystals, rng: np.random.Generator) -> Drawn:
        """Perturb the crystals; they are compared with what they became, without chains."""
        return Drawn(self._score.held_out(crystals, rng), crystals, None, None)

    def accumulate(
        self,
        network: Any,
        drawn: Drawn,
        dtype: torch.dtype,
        of: Part | None = None,
        scale: float = 1.0,
    ) -> tuple[float, float, float]:
        """Add the gradient of the loss, run chains if they are due, and return its terms."""
        losses = self._score.accumulate(network, drawn.noised, dtype, of, scale)
        assert drawn.rng is not None
        if drawn.starts is not None:
            self._run(network, drawn.data, drawn.starts, dtype, drawn.rng)
        if not self._data:
            return (*losses, 0.0)
        chosen = drawn.rng.integers(len(self._data), size=self.pairs)
        levels = self.blur * 0.2 ** drawn.rng.random(self.pairs)
        contrast = Contrast(
            *(
                perturb(
                    Crystals.concatenate([some[k] for k in chosen]), levels, 0.0, drawn.rng
                ).crystals
                for some in (self._data, self._ends)
            )
        )
        share = 1.0 if of is None else drawn.data.n_crystals / of.n_crystals
        loss = share * self._loss(network, contrast, dtype)
        (loss * scale).backward()
        return (*losses, float(loss.detach()))

    def loss(self, network: Any, drawn: Drawn, dtype: torch.dtype) -> tuple[float, float, float]:
        """Return the terms of the loss, the contrast being with perturbed crystals."""
        losses = self._score.loss(network, drawn.noised, dtype)
        with torch.no_grad():
            contrast = self._loss(network, Contrast(drawn.data, drawn.noised.crystals), dtype)
        return (*losses, float(contrast))

    def tensors(self) -> dict[str, Tensor]:
        """Return the buffer."""
        return {
            "drawn": torch.tensor(self._n_drawn),
            **to_tensors(self._data, "data."),
            **to_tensors(self._ends, "ends."),
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go back to a kept buffer."""
        self._n_drawn = int(tensors.get("drawn", 0))
        self._data = from_tensors(tensors, "data.")
        self._ends = from_tensors(tensors, "ends.")

    def _run(
        self,
        network: Any,
        data: Crystals,
        starts: Crystals,
        dtype: torch.dtype,
        rng: np.random.Generator,
    ) -> None:
        with resting(network, dtype) as energy:
            found = anneal(energy, starts, self._settings, rng)
        finite = np.flatnonzero(found.evaluation.is_finite)
        for one, end in zip(data.select(finite), found.crystals.select(finite), strict=True):
            if not self._is_right(end, one):
                self._data.append(one)
                self._ends.append(end)
        self._data, self._ends = self._data[-self.capacity :], self._ends[-self.capacity :]

    def _is_right(self, end: Crystals, one: Crystals) -> bool:
        for made in exchanges(end) if self.exchange else [end]:
            rms = rms_distance(made, one)
            if rms is not None and rms <= self.apart:
                return True
        return False

    def _loss(self, network: Any, contrast: Contrast, dtype: torch.dtype) -> Tensor:
        low, high = mean_energies(network, contrast, dtype)
        lack = (low - high + self.margin) / self.softness
        return self.weight * self.softness * torch.nn.functional.softplus(lack).mean()


def _starts(crystals: Crystals, streams: list[np.random.Generator]) -> Crystals:
    """Return random atoms in the cell of the next crystal, at the density of their own."""
    if crystals.n_crystals == 1:  # there is no other cell, and its own would tell too much
        density = float(crystals.counts[0] / crystals.volumes[0])
        return random_negative(crystals.numbers, streams[0], density=density, many_units=False)
    made = []
    for k, (one, stream) in enumerate(zip(crystals, streams, strict=True)):
        other = (k + 1) % crystals.n_crystals
        ratio = one.volumes[0] / crystals.volumes[other]
        cell = crystals.cells[other] * np.cbrt(ratio)
        positions = stream.uniform(size=(one.n_atoms, 3)) @ cell
        made.append(Crystals.single(positions, cell, one.numbers))
    return Crystals.concatenate(made)
