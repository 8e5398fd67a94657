"""The state of a batch of chains, as one frozen record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ase_continuousp.crystals import Crystals, Floats, Integers, offsets_of
from ase_continuousp.energy_function import EnergyFunction, Evaluation


@dataclass(frozen=True)
class SamplerState:
    """Everything that the next step of a batch of chains depends on.

    Crystals and their evaluation are accepted or refused together, under one mask per crystal
    (`where`). The random stream is part of the state: a run cut in two is the run in one.

    Parameters
    ----------
    crystals : Crystals
    evaluation : Evaluation
        Of these crystals.
    random : mapping
        State of the numpy bit generator (PCG64) that the next step draws from.
    step : int
        Steps done.
    accepted : (n_crystals,) array of int
        Moves accepted so far.
    scale : (n_crystals,) array
        Factor on the scheduled step size, see `ase_continuousp.sampling.warmup.WarmUp`.

    Examples
    --------
    >>> import numpy as np
    >>> crystals = Crystals.single([[0.0, 0.0, 0.0]], 3.0 * np.eye(3), [29])
    >>> def flat(c):
    ...     n, b = c.n_atoms, c.n_crystals
    ...     return Evaluation(np.zeros(b), np.zeros(n), np.zeros((n, 3)), np.zeros((b, 3, 3)))
    >>> state = SamplerState.start(crystals, flat, np.random.default_rng(0))
    >>> state.step, float(state.generator().random()) == float(state.generator().random())
    (0, True)
    """

    crystals: Crystals
    evaluation: Evaluation
    random: Mapping[str, Any]
    step: int
    accepted: Integers
    scale: Floats

    @classmethod
    def start(
        cls, crystals: Crystals, energy: EnergyFunction, rng: np.random.Generator
    ) -> SamplerState:
        """Evaluate the crystals and return the state before the first step.

        Parameters
        ----------
        crystals : Crystals
        energy : EnergyFunction
        rng : numpy.random.Generator
            With a PCG64 bit generator, as `numpy.random.default_rng` makes it. Its state is
            copied: the generator itself is not advanced by the chain.

        Raises
        ------
        ValueError
            If the generator is of another kind.
        """
        random = rng.bit_generator.state
        if random["bit_generator"] != "PCG64":
            raise ValueError(
                f"rng must use the PCG64 bit generator (numpy.random.default_rng): "
                f"{random['bit_generator']}"
            )
        return cls(
            crystals=crystals,
            evaluation=energy(crystals),
            random=random,
            step=0,
            accepted=np.zeros(crystals.n_crystals, dtype=np.int64),
            scale=np.ones(crystals.n_crystals),
        )

    def generator(self) -> np.random.Generator:
        """Return a new generator that continues the random stream of the state."""
        bits = np.random.PCG64()
        # numpy's annotation wants its own TypedDict; a state read from JSON is a plain one.
        bits.state = self.random  # type: ignore[assignment]
        return np.random.Generator(bits)

    def where(
        self, mask: NDArray[np.bool_], crystals: Crystals, evaluation: Evaluation
    ) -> SamplerState:
        """Return the state with the proposal where the mask is true, one step later."""
        return replace(
            self,
            crystals=crystals.where(mask, self.crystals),
            evaluation=evaluation.where(mask, self.evaluation, crystals.crystal_index),
            step=self.step + 1,
            accepted=self.accepted + mask,
        )

    def select(self, chosen: ArrayLike) -> SamplerState:
        """Return the chains of the given indices, in that order; indices may repeat."""
        indices = np.arange(self.crystals.n_crystals)[np.asarray(chosen)].reshape(-1)
        counts = self.crystals.counts[indices]
        offsets = offsets_of(counts)
        atoms = np.repeat(self.crystals.offsets[indices] - offsets[:-1], counts)
        atoms = atoms + np.arange(offsets[-1])
        old = self.evaluation
        return replace(
            self,
            crystals=self.crystals.select(indices),
            evaluation=Evaluation(
                old.energy[indices], old.energies[atoms], old.forces[atoms], old.stress[indices]
            ),
            accepted=self.accepted[indices],
            scale=self.scale[indices],
        )
