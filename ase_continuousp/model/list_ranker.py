"""A small network that looks at all prototypes of a search at once and says which is right."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from ase_continuousp.model.stored import read_tensors, refusing, write_tensors

Floats = NDArray[np.float64]

RANKER = "ranker.safetensors"  # where the number of atoms is known
FORMULA_RANKER = "formula_ranker.safetensors"  # where the formula alone is
_FORMAT = "ase_continuousp-ranker-1"
_WIDEST = 5.0  # standard deviations beyond which a fact is no more extreme


class ListNetwork(nn.Module):
    """Scores of the members of a list, and of "none of them".

    With the facts x_i of each member, standardized and bounded,

        h_i = silu(A x_i),   c = (mean_i h_i, max_i h_i),
        z_i = w · x_i + f(h_i, c),   z_none = w₀ + g(c),

    f and g with one hidden layer. The context c makes the scores depend on the rest of the list, in
    whatever order and number it comes.

    Parameters
    ----------
    names : sequence of str
        Of the facts.
    channels : int
    dropout : float
        In training.

    Examples
    --------
    >>> network = ListNetwork(["nearness", "log odds"])
    >>> scores, none = network(torch.zeros(5, 3, 2), torch.ones(5, 3, dtype=torch.bool))
    >>> tuple(scores.shape), tuple(none.shape)
    ((5, 3), (5,))
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, names: Sequence[str], channels: int = 64, dropout: float = 0.2) -> None:
        super().__init__()
        self.names = tuple(names)
        self.hyperparameters: dict[str, Any] = {"names": list(names), "channels": channels}
        n = len(self.names)
        self.register_buffer("mean", torch.zeros(n))
        self.register_buffer("scale", torch.ones(n))
        self.linear = nn.Linear(n, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(()))  # w₀ above
        self.encode = nn.Sequential(nn.Linear(n, channels), nn.SiLU(), nn.Dropout(dropout))
        self.member = _head(3 * channels, channels, dropout)
        self.none = _head(2 * channels, channels // 2, dropout)
        nn.init.zeros_(self.linear.weight)

    def standardize(self, facts: ArrayLike) -> None:
        """Take mean and standard deviation of the facts of a training set, (n, n_facts)."""
        rows = torch.as_tensor(np.asarray(facts, dtype=np.float32))
        self.mean.copy_(rows.mean(0))
        spread = rows.std(0, correction=0)
        self.scale.copy_(torch.where(spread > 1e-6, spread, torch.ones(())))

    def forward(self, facts: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores of the members of each list and of none of them.

        Parameters
        ----------
        facts : (n_lists, n_members, n_facts) tensor
        present : (n_lists, n_members) bool tensor
            Lists are filled up to equal length.

        Returns
        -------
        (n_lists, n_members) and (n_lists,) tensors
        """
        x = ((facts - self.mean) / self.scale).clamp(-_WIDEST, _WIDEST)
        there = present[..., None]
        h = self.encode(x) * there
        mean = h.sum(1) / there.sum(1)
        highest = h.masked_fill(~there, -torch.inf).amax(1)
        context = torch.cat([mean, highest], dim=1)
        beside = context[:, None].expand(-1, h.shape[1], -1)
        scores = self.linear(x) + self.member(torch.cat([h, beside], dim=2))
        return scores[..., 0], self.bias + self.none(context)[:, 0]


def _head(n: int, channels: int, dropout: float) -> nn.Sequential:
    last = nn.Linear(channels, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(n, channels), nn.SiLU(), nn.Dropout(dropout), last)


class ListRanker:
    """A trained :class:`ListNetwork` and its file.

    Parameters
    ----------
    network : ListNetwork

    Examples
    --------
    >>> scores, none = ListRanker(ListNetwork(["nearness"]))([[-3.0], [-1.0]])
    >>> scores.tolist(), none
    ([0.0, 0.0], 0.0)
    """

    def __init__(self, network: ListNetwork) -> None:
        self.network = network.eval().requires_grad_(False)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the facts that it wants, in order."""
        return self.network.names

    def __call__(self, facts: ArrayLike) -> tuple[Floats, float]:
        """Return the scores of the members of one list, (n,), and that of none of them."""
        rows = torch.as_tensor(np.asarray(facts, dtype=np.float32))[None]
        scores, none = self.network(rows, torch.ones(rows.shape[:2], dtype=torch.bool))
        return scores[0].numpy().astype(np.float64), float(none[0])

    def save(self, path: str | os.PathLike[str], *, trained_on: str = "") -> None:
        """Write the weights in half precision, by a rename."""
        tensors = {
            name: value.detach().half().contiguous() if name not in ("mean", "scale") else value
            for name, value in self.network.state_dict().items()
        }
        about = {
            "format": _FORMAT,
            "hyperparameters": json.dumps(self.network.hyperparameters),
            "trained_on": trained_on,
        }
        write_tensors(path, tensors, about)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ListRanker:
        """Read a file written by :meth:`save`.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file holds no ranker, or a damaged one.
        """
        with refusing("ranker", path):
            stored, about = read_tensors("ranker", path, _FORMAT)
            with torch.random.fork_rng(devices=[]):
                network = ListNetwork(**json.loads(about["hyperparameters"]))
            network.load_state_dict({name: value.float() for name, value in stored.items()})
        return cls(network)
