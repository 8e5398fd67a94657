"""How well one element stands for another on the sites of a prototype.

With the elements a_k of a target and b_k of a known crystal on the same labels k, and the fractions
x_k of their sites, the weight of the known crystal as evidence for the target is

    log w = s (-Σ_k x_k^α |u(a_k) - u(b_k)|² - |Σ_k x_k (v(a_k) - v(b_k))|² + constants),

the first sum being the substitution label by label and the second what must balance over the whole
formula, such as charge. The vectors u and v of the elements are learned from which crystals of a
training set share a prototype (:mod:`ase_continuousp.starts.fitting`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

N_ELEMENTS = 119
N_SITE = 16  # length of u
N_BALANCE = 4  # length of v
#: α, bonus of the same number of atoms in the cell, bonus of a member beside, log weight of
#: "none of them", scale and exponent of the match of two fingerprints, sharpness of the weights,
#: offset and slope of the calibration.
_DEFAULTS = (0.5, 3.0, -1.0, -6.0, 0.3, 1.2, 0.5, 0.0, 1.0)


@dataclass(frozen=True)
class Substitution:
    """Learned vectors of the elements and the constants of the weight.

    Parameters
    ----------
    vectors : (n_elements, n_site + n_balance) array
        u and v of each atomic number.
    constants : (9,) array

    Examples
    --------
    >>> import numpy as np
    >>> vectors = np.zeros((N_ELEMENTS, N_SITE + N_BALANCE))
    >>> vectors[:, 0] = np.arange(N_ELEMENTS)  # only the atomic number counts
    >>> rule = Substitution.untrained(vectors)
    >>> near, far = rule.log_weights([[11, 17]], [[12, 17], [19, 17]], [0.5, 0.5])[0]
    >>> bool(near > far)
    True
    """

    vectors: Floats
    constants: Floats

    @classmethod
    def untrained(cls, vectors: ArrayLike) -> Substitution:
        """Return the rule of given vectors with constants that were not fitted."""
        return cls(np.asarray(vectors, dtype=np.float64), np.array(_DEFAULTS))

    @property
    def sharpness(self) -> float:
        """Scale of all log weights."""
        return float(self.constants[6])

    @property
    def log_none(self) -> float:
        """Log weight of the target being none of the known prototypes."""
        return float(self.constants[6] * self.constants[3])

    def log_weights(
        self,
        targets: ArrayLike,
        members: ArrayLike,
        fractions: ArrayLike,
        same_cell: ArrayLike = False,
        side: ArrayLike = False,
    ) -> Floats:
        """Return the log weight of each known crystal for each order of the target's elements.

        Parameters
        ----------
        targets : (n_orders, n_labels) array of int
            Permutations of the same elements.
        members : (n_members, n_labels) array of int
        fractions : (n_labels,) array
            Share of the atoms that each label has.
        same_cell : (n_members,) array of bool
            Whether the known crystal has as many atoms in its primitive cell as are asked for.
        side : (n_members,) array of bool
            Whether the known crystal is of the kind that lies beside.

        Returns
        -------
        (n_orders, n_members) array
        """
        targets = np.asarray(targets, dtype=np.int64)
        members = np.asarray(members, dtype=np.int64)
        x = np.asarray(fractions, dtype=np.float64)
        site, balance = self.vectors[:, :N_SITE], self.vectors[:, N_SITE:]
        used = np.unique(targets)
        squares = np.sum((site[used][:, None] - site) ** 2, axis=-1)
        row = np.searchsorted(used, targets)
        made = np.zeros((len(targets), len(members)))
        for k, weight in enumerate(x ** self.constants[0]):
            made -= weight * squares[row[:, k]][:, members[:, k]]
        excess = np.einsum("k,mkv->mv", x, balance[members]) - x @ balance[targets[0]]
        made -= np.sum(excess**2, axis=1)
        made += self.constants[1] * np.asarray(same_cell, dtype=np.float64)
        made += self.constants[2] * np.asarray(side, dtype=np.float64)
        made *= self.constants[6]
        return made

    def probabilities(self, worth: ArrayLike) -> Floats:
        """Return how likely each start is the first one to match, from shares of weight.

        The weights say which start is better, but not how often they err: the probability that
        one of the first k starts is right is a logistic function, fitted to validation crystals,
        of the share of weight that they stand for.

        Parameters
        ----------
        worth : (n_starts,) array
            Share of weight of each start that those before do not stand for.

        Returns
        -------
        (n_starts,) array
        """
        together = np.clip(np.cumsum(worth), 1e-9, 1.0 - 1e-9)
        logit = self.constants[7] + self.constants[8] * np.log(together / (1.0 - together))
        reached = 1.0 / (1.0 + np.exp(-logit))
        made: Floats = np.maximum(np.diff(reached, prepend=0.0), 1e-9)
        return made

    def match(self, distances: ArrayLike) -> Floats:
        """Return how likely crystals match whose fingerprints are at these relative distances."""
        scaled = np.asarray(distances, dtype=np.float64) / self.constants[4]
        matched: Floats = np.exp(-(scaled ** self.constants[5]))
        return matched


def diverse(weights: ArrayLike, match: ArrayLike, n: int) -> tuple[list[int], list[float]]:
    """Choose candidates so that the next one is likely right where the earlier ones are wrong.

    A candidate stands for all that it would match: it is worth the sum of their weights, and what
    it stands for no longer counts for those after it.

    Parameters
    ----------
    weights : (n_candidates,) array
        Probabilities of the candidates.
    match : (n_candidates, n_candidates) array
        Probability that one matches the other.
    n : int

    Returns
    -------
    chosen : list of int
    worth : list of float
        The probability of each chosen candidate not covered by those before.

    Examples
    --------
    >>> diverse([0.4, 0.35, 0.25], [[1, 0, 0], [0, 1, 0.9], [0, 0.9, 1]], 2)[0]
    [1, 0]
    """
    left = np.array(weights, dtype=np.float64)
    kernel = np.asarray(match, dtype=np.float64)
    chosen: list[int] = []
    worth: list[float] = []
    for _ in range(min(n, len(left))):
        gain = kernel @ left
        gain[chosen] = -1.0
        best = int(np.argmax(gain))
        chosen.append(best)
        worth.append(float(gain[best]))
        left *= 1.0 - kernel[best]
    return chosen, worth


def similar(
    own: Integers,
    labels: Integers,
    substitution: Substitution,
    elements: Collection[int],
    n: int,
) -> list[Integers]:
    """Return the elements of the n nearest relatives: one element replaced by a similar one.

    Parameters
    ----------
    own : (n_labels,) array of int
        Atomic number of each label.
    labels : (n_atoms,) array of int
    substitution : Substitution
    elements : collection of int
        That may be put in.
    n : int

    Returns
    -------
    list of (n_labels,) array
        The nearest first.

    Examples
    --------
    >>> import numpy as np
    >>> from ase_continuousp.starts.fitting import tabulated_vectors
    >>> salt, rule = np.array([11, 17]), Substitution.untrained(tabulated_vectors())
    >>> found = similar(salt, np.array([0, 1]), rule, {11, 17, 19, 35}, 2)
    >>> sorted(row.tolist() for row in found)
    [[11, 35], [19, 17]]
    """
    others = np.array(sorted(set(elements) - set(own.tolist())), dtype=np.int64)
    if not len(others):
        return []
    site = substitution.vectors[:, :N_SITE]
    shares = np.bincount(labels) / len(labels)
    squares: Floats = np.sum((site[own][:, None] - site[others]) ** 2, axis=-1)
    costs = shares[:, None] ** substitution.constants[0] * squares
    made = []
    for place in np.argsort(costs, axis=None, kind="stable")[:n]:
        label, other = np.unravel_index(place, costs.shape)
        row = own.copy()
        row[label] = others[other]
        made.append(row)
    return made
