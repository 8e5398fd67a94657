"""The volume per atom that a composition is likely to take, learned from known crystals.

Each element brings a volume that depends on its partners, and volumes add: with fractions xᵢ,
V/N = Σᵢ xᵢ exp(vᵢ), vᵢ = v⁰(Zᵢ) + f(e(Zᵢ), Σⱼ xⱼ g(e(Zᵢ), e(Zⱼ)), xᵢ). The element vectors e, v⁰
and the two small networks f and g are fitted together. The same network gives the spread of
log(V/N) around that value, so that well known chemistries are sampled more narrowly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ase_continuousp.crystals import Crystals

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_N_ELEMENTS = 119  # atomic numbers 0 (padding) to 118
_N_VECTOR = 16
_N_HIDDEN = 64
_SHAPES = {
    "vector": (_N_ELEMENTS, _N_VECTOR),
    "own": (_N_ELEMENTS, 2),
    "pair_i": (_N_VECTOR, _N_HIDDEN),
    "pair_j": (_N_VECTOR, _N_HIDDEN),
    "pair_bias": (_N_HIDDEN,),
    "pair_out": (_N_HIDDEN, _N_VECTOR),
    "first": (2 * _N_VECTOR + 1, _N_HIDDEN),
    "first_bias": (_N_HIDDEN,),
    "second": (_N_HIDDEN, _N_HIDDEN),
    "second_bias": (_N_HIDDEN,),
    "last": (_N_HIDDEN, 2),
}
_SMALLEST_SPREAD = 0.005


@dataclass(frozen=True)
class DensityModel:
    """A fitted map from composition to the mean and spread of log(V/N), V/N in Å³.

    Parameters
    ----------
    weights : dict of float32 arrays
        Parameters of the network, by name.

    Examples
    --------
    >>> import numpy as np
    >>> from ase_continuousp.crystals import Crystals
    >>> salt = Crystals.single([[0, 0, 0], [2.8, 2.8, 2.8]], 2.82 * (1 - np.eye(3)), [11, 17])
    >>> model = DensityModel.fit(Crystals.concatenate([salt] * 8), n_steps=50)
    >>> mean, spread = model.predict([[11, 17]])
    >>> bool(abs(np.exp(mean[0]) - salt.volumes[0] / 2) < 0.5)
    True
    """

    weights: Mapping[str, NDArray[np.float32]]

    def predict(self, compositions: list[ArrayLike]) -> tuple[Floats, Floats]:
        """Return mean and spread (about one standard deviation) of log(V/N) of compositions.

        Parameters
        ----------
        compositions : list of (n_atoms,) arrays of int
            Atomic numbers of the atoms of a cell, in any order.

        Returns
        -------
        mean, spread : (n_compositions,) arrays
        """
        elements, fractions = _fractions(compositions)
        mean, spread = _forward(np, self.weights, elements, fractions)
        return mean.astype(np.float64), spread.astype(np.float64)

    @classmethod
    def fit(
        cls,
        crystals: Crystals,
        *,
        weights: ArrayLike | None = None,
        n_steps: int | None = None,
        batch_size: int = 256,
        learning_rate: float = 4e-3,
        seed: int = 0,
    ) -> DensityModel:
        """Return the model fitted to crystals by robust regression.

        Cost: about 15 ms a step on one core.

        Parameters
        ----------
        crystals : Crystals
            The training set.
        weights : (n_crystals,) array, optional
            How much each crystal counts; all the same if not given.
        n_steps : int, optional
            Optimizer steps. If not given, 20 passes over the data, at least 200 and at most 4000
            steps.
        batch_size : int
        learning_rate : float
            The highest of a one-cycle schedule.
        seed : int
            Of the initial weights and the order of the data.
        """
        import torch  # the fit alone needs it

        rng = np.random.default_rng(seed)
        compositions = np.split(crystals.numbers, crystals.offsets[1:-1])
        elements, fractions = _fractions(list(compositions))
        target = np.log(crystals.volumes / crystals.counts).astype(np.float32)
        share = np.ones(len(target)) if weights is None else np.asarray(weights, dtype=np.float64)
        if share.shape != target.shape or not np.all(share >= 0) or not share.sum() > 0:
            raise ValueError(
                f"weights must be {len(target)} numbers >= 0, not all zero: shape {share.shape}"
            )
        share = share / share.sum()
        if n_steps is None:
            n_steps = int(np.clip(20 * len(target) // batch_size, 200, 4000))
        start = _initial(rng, elements, fractions, target, share)
        known = {k: torch.tensor(v).requires_grad_() for k, v in start.items()}
        optimizer = torch.optim.AdamW(known.values(), lr=learning_rate, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, learning_rate, total_steps=n_steps + 1
        )
        tensors = [torch.from_numpy(array) for array in (elements, fractions, target)]
        for _ in range(n_steps):
            chosen = torch.from_numpy(rng.choice(len(target), size=batch_size, p=share))
            z, x, y = (t[chosen] for t in tensors)
            mean, spread = _forward(torch, known, z, x)
            loss = torch.nn.functional.huber_loss(mean, y, delta=0.1)
            error = (mean - y).detach().abs()
            # Laplace likelihood of the size of the error, small beside the regression itself.
            loss = loss + 1e-3 * (error / spread + torch.log(spread)).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
            optimizer.step()
            schedule.step()
        fitted = {k: v.detach().numpy() for k, v in known.items()}
        _fill_unseen(fitted, elements)
        return cls(fitted)

    @staticmethod
    def check(weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Raise ValueError unless the arrays have the names and shapes of this model."""
        found = {name: array.shape for name, array in weights.items()}
        if found != _SHAPES:
            raise ValueError(f"density weights must have the shapes {_SHAPES}: found {found}")


def _fractions(compositions: list[ArrayLike]) -> tuple[Integers, NDArray[np.float32]]:
    """Return the elements of each composition and their fractions, padded with zeros."""
    counted = [np.unique(np.asarray(c), return_counts=True) for c in compositions]
    width = max(len(elements) for elements, _ in counted)
    elements = np.zeros((len(counted), width), dtype=np.int64)
    fractions = np.zeros((len(counted), width), dtype=np.float32)
    for row, (present, counts) in enumerate(counted):
        elements[row, : len(present)] = present
        fractions[row, : len(present)] = counts / counts.sum()
    return elements, fractions


def _forward(xp: Any, w: Mapping[str, Any], elements: Any, fractions: Any) -> tuple[Any, Any]:
    """Evaluate the network with the array module `xp`, numpy or torch."""
    vectors = w["vector"][elements]
    pair = (vectors @ w["pair_i"])[:, :, None] + (vectors @ w["pair_j"])[:, None]
    pair = _silu(xp, pair + w["pair_bias"])
    surroundings = (pair * fractions[:, None, :, None]).sum(2) @ w["pair_out"]
    hidden = xp.concatenate([vectors, surroundings, fractions[..., None]], -1)
    hidden = _silu(xp, hidden @ w["first"] + w["first_bias"])
    hidden = _silu(xp, hidden @ w["second"] + w["second_bias"])
    out = w["own"][elements] + hidden @ w["last"]
    mean = xp.log((fractions * xp.exp(out[..., 0])).sum(1))
    spread = _SMALLEST_SPREAD + xp.exp((fractions * out[..., 1]).sum(1))
    return mean, spread


def _silu(xp: Any, t: Any) -> Any:
    """Return t σ(t), with the logistic function written so that it cannot overflow."""
    return t * (0.5 + 0.5 * xp.tanh(0.5 * t))


def _initial(
    rng: np.random.Generator,
    elements: Integers,
    fractions: NDArray[np.float32],
    target: NDArray[np.float32],
    share: Floats,
) -> dict[str, NDArray[np.float32]]:
    """Return starting weights: volumes per element by ridge regression, the rest random."""
    rows = np.arange(len(target))[:, None]
    table = np.zeros((len(target), _N_ELEMENTS))
    np.add.at(table, (rows, elements), fractions)
    average = share @ target
    gram = (table * share[:, None]).T @ table + 1e-6 * np.eye(_N_ELEMENTS)
    slope = np.linalg.solve(gram, table.T @ (share * (target - average)))
    start = {
        name: rng.normal(size=shape, scale=shape[0] ** -0.5).astype(np.float32)
        for name, shape in _SHAPES.items()
    }
    start["vector"] = rng.normal(size=_SHAPES["vector"], scale=0.5).astype(np.float32)
    for name in ("pair_bias", "first_bias", "second_bias", "last"):
        start[name] = np.zeros(_SHAPES[name], dtype=np.float32)
    own = np.stack([average + slope.clip(-1.5, 1.5), np.full(_N_ELEMENTS, np.log(0.08))], axis=1)
    start["own"] = own.astype(np.float32)
    return start


def _fill_unseen(weights: dict[str, NDArray[np.float32]], elements: Integers) -> None:
    """Give elements that the fit has not seen the average of those that it has."""
    seen = np.unique(elements[elements > 0])
    unseen = np.setdiff1d(np.arange(_N_ELEMENTS), seen)
    for name in ("vector", "own"):
        weights[name][unseen] = weights[name][seen].mean(axis=0)
