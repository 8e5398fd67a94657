"""Learning from a training set which elements stand for each other.

Each crystal in turn is the target and all others of its stoichiometry are the evidence, with all
orders of their elements. The likelihood of the target's structure is a mixture: a known crystal j
gives it the probability w_j / (Σ w + w_none) that the two match, as judged by their fingerprints,
and "none of them" a small constant. Its logarithm is maximized over the vectors of the elements
and the constants of :class:`~ase_continuousp.starts.substitution.Substitution`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pymatgen.core import Element
from torch import Tensor
from tqdm import tqdm

from ase_continuousp.starts.fingerprint import relabelings
from ase_continuousp.starts.substitution import N_BALANCE, N_ELEMENTS, N_SITE, Substitution

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_LOG = logging.getLogger(__name__)

_N_LABELS = 5  # crystals of more elements teach nothing
_N_EVIDENCE = 160
_BATCH = 64
_RATE = 0.015
_DECAY = 1e-3
_BALANCE_SCALE = 10.0**0.5  # starts v on a scale where it learns as fast as u
_UNKNOWN = 0.02  # probability that a crystal of no known prototype is as it is


def tabulated_vectors() -> Floats:
    """Return vectors of the elements from the periodic table, for want of learned ones.

    Returns
    -------
    (n_elements, n_site + n_balance) array
        Mendeleev number, electronegativity, radius, row, valence, oxidation states, block and
        weight, scaled to about equal importance; their principal axes.

    Examples
    --------
    >>> import numpy as np
    >>> vectors = tabulated_vectors()
    >>> distance = lambda a, b: np.linalg.norm(vectors[a] - vectors[b])
    >>> bool(distance(11, 19) < distance(11, 17))
    True
    """
    n_known = 103
    table = np.zeros((n_known, 14))
    noble = {2: 4.2, 10: 4.8, 18: 3.2}  # Allen's scale where Pauling's has no value
    for z in range(1, n_known + 1):
        e = Element.from_Z(z)
        states = e.common_oxidation_states or (0,)
        radius = e.atomic_radius
        table[z - 1] = [
            (e.mendeleev_no or 50) / 12.0,
            2.0 * (noble[z] if z in noble else e.X if np.isfinite(e.X) else 0.0),
            2.0 * float(radius) if radius is not None else 3.8,
            0.7 * e.row,
            0.25 * (e.group if e.group <= 12 else e.group - 10),
            0.25 * max(states),
            0.25 * min(states),
            *(float(e.block == b) for b in "spdf"),
            float(e.is_lanthanoid),
            float(e.is_actinoid),
            z / 50.0,
        ]
    table -= table.mean(axis=0)
    u, s, _ = np.linalg.svd(table, full_matrices=False)
    vectors = np.zeros((N_ELEMENTS, N_SITE + N_BALANCE))
    vectors[1 : n_known + 1, : table.shape[1]] = u * s
    return vectors


@dataclass(frozen=True)
class Evidence:
    """Targets with the most similar known crystals, padded to equal lengths.

    Parameters
    ----------
    targets, members : (n_targets, n_evidence, n_labels) int64 array
        Elements that meet on the labels.
    fractions : (n_targets, n_labels) float32 array
        Zero where there is no such label.
    distances : (n_targets, n_evidence) float32 array
        Of the fingerprints.
    same_cell, side, valid : (n_targets, n_evidence) bool array
    """

    targets: NDArray[np.int64]
    members: NDArray[np.int64]
    fractions: NDArray[np.float32]
    distances: NDArray[np.float32]
    same_cell: NDArray[np.bool_]
    side: NDArray[np.bool_]
    valid: NDArray[np.bool_]


@dataclass(frozen=True)
class TrainingSet:
    """Anonymous crystals: elements by label, stoichiometry, atoms, fingerprints, and side."""

    elements: Sequence[Integers]
    keys: Sequence[tuple[int, ...]]
    counts: Integers
    prints: Sequence[NDArray[np.float32]]
    side: NDArray[np.bool_]


def fit_substitution(
    known: TrainingSet,
    *,
    n_fit: int,
    rng: np.random.Generator,
    n_epochs: int = 6,
    n_rounds: int = 2,
    progress: bool = False,
) -> Substitution:
    """Return the substitution rule fitted to a training set.

    Parameters
    ----------
    known : TrainingSet
    n_fit : int
        Crystals that serve as targets; the evidence is always the whole set.
    rng : numpy.random.Generator
    n_epochs : int
        Passes over the targets in each round.
    n_rounds : int
        After each round the evidence is chosen anew by the rule learned so far.
    progress : bool
    """
    rule = Substitution.untrained(tabulated_vectors())
    eligible = [
        b for b in np.flatnonzero(~known.side).tolist() if 1 <= len(known.keys[b]) <= _N_LABELS
    ]
    chosen = rng.permutation(eligible)[:n_fit].tolist()
    groups: dict[tuple[int, ...], list[int]] = {}
    for b, key in enumerate(known.keys):
        groups.setdefault(key, []).append(b)
    stacked = {
        key: _Group.of(known, np.array(groups[key])) for key in {known.keys[b] for b in chosen}
    }
    for turn in range(n_rounds):
        bar = tqdm(chosen, disable=not progress, desc=f"evidence {turn + 1}")
        found = [_evidence(rule, known, b, stacked[known.keys[b]]) for b in bar]
        kept = [e for e in found if e is not None]
        if not kept:
            return rule
        rule = _trained(rule, _padded(kept), rng, n_epochs, progress)
    return rule


@dataclass(frozen=True)
class _Group:
    """All crystals of one stoichiometry."""

    crystals: Integers
    elements: Integers
    formulas: Integers
    counts: Integers
    side: NDArray[np.bool_]
    prints: NDArray[np.float32]

    @classmethod
    def of(cls, known: TrainingSet, crystals: Integers) -> _Group:
        elements = np.stack([known.elements[b] for b in crystals])
        return cls(
            crystals,
            elements,
            np.sort(elements, axis=1),
            known.counts[crystals],
            known.side[crystals],
            np.stack([known.prints[b].ravel() for b in crystals]),
        )


def _evidence(
    rule: Substitution, known: TrainingSet, target: int, group: _Group
) -> dict[str, NDArray[np.generic]] | None:
    """Return the known crystals that weigh most for a target, but not itself.

    Members beside that are polymorphs of the target are left out too: the kind of crystals asked
    for is not among them.
    """
    elements, key = known.elements[target], known.keys[target]
    orders = np.array(relabelings(key))
    same = np.all(group.formulas == np.sort(elements), axis=1)
    fits = known.counts[target] % group.counts == 0
    rows = np.flatnonzero(fits & (group.crystals != target) & ~(same & group.side))
    if len(rows) == 0:
        return None
    fractions = np.array(key) / sum(key)
    same_cell = group.counts[rows] == known.counts[target]
    weights = rule.log_weights(
        elements[orders], group.elements[rows], fractions, same_cell, group.side[rows]
    )
    if weights.size > _N_EVIDENCE:
        best = np.argpartition(-weights, _N_EVIDENCE, axis=None)[:_N_EVIDENCE]
    else:
        best = np.arange(weights.size)
    order, row = np.unravel_index(best, weights.shape)
    own = np.stack([known.prints[target][np.ix_(o, o)].ravel() for o in orders])
    used, inverse = np.unique(row, return_inverse=True)
    other = group.prints[rows[used]]
    norm, norms = np.sum(own[0] ** 2), np.sum(other**2, axis=1)
    squares = (norm + norms - 2.0 * own @ other.T) / np.sqrt(norm * norms)
    return {
        "targets": elements[orders][order],
        "members": group.elements[rows[row]],
        "fractions": fractions,
        "distances": np.sqrt(np.maximum(squares[order, inverse], 0.0)),
        "same_cell": same_cell[row],
        "side": group.side[rows[row]],
        "valid": np.ones(len(row), dtype=bool),
    }


def _padded(found: list[dict[str, NDArray[np.generic]]]) -> Evidence:
    n = len(found)
    made = Evidence(
        targets=np.zeros((n, _N_EVIDENCE, _N_LABELS), np.int64),
        members=np.zeros((n, _N_EVIDENCE, _N_LABELS), np.int64),
        fractions=np.zeros((n, _N_LABELS), np.float32),
        distances=np.full((n, _N_EVIDENCE), 9.0, np.float32),
        same_cell=np.zeros((n, _N_EVIDENCE), np.bool_),
        side=np.zeros((n, _N_EVIDENCE), np.bool_),
        valid=np.zeros((n, _N_EVIDENCE), np.bool_),
    )
    for b, one in enumerate(found):
        for name, values in one.items():
            getattr(made, name)[b][tuple(slice(0, size) for size in values.shape)] = values
    return made


def _trained(
    rule: Substitution,
    evidence: Evidence,
    rng: np.random.Generator,
    n_epochs: int,
    progress: bool,
) -> Substitution:
    vectors = torch.tensor(rule.vectors, dtype=torch.float32)
    site = vectors[:, :N_SITE].clone().requires_grad_(True)
    balance = vectors[:, N_SITE:] / _BALANCE_SCALE
    noise = torch.tensor(0.1 * rng.normal(size=balance.shape), dtype=torch.float32)
    balance = torch.where(balance.abs().sum() > 0, balance, noise).clone().requires_grad_(True)
    constants = torch.tensor(rule.constants, dtype=torch.float32).requires_grad_(True)
    start = site.detach().clone()
    n = len(evidence.fractions)
    n_batches = max(1, n // _BATCH)
    optimizer = torch.optim.Adam([site, balance, constants], lr=_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _RATE, total_steps=n_epochs * n_batches + 1
    )
    for epoch in tqdm(range(n_epochs), disable=not progress, desc="elements"):
        order = rng.permutation(n)
        total = 0.0
        for part in np.array_split(order, n_batches):
            loss = _loss(site, balance * _BALANCE_SCALE, constants, evidence, part)
            total += float(loss.detach())
            loss = loss + _DECAY * (site - start).square().sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        _LOG.info("epoch %d: -log likelihood %.4f", epoch + 1, total / n_batches)
    learned = torch.cat([site, balance * _BALANCE_SCALE], dim=1).detach().numpy()
    values = constants.detach().numpy().astype(np.float64)
    values[4:] = rule.constants[4:]  # not part of this likelihood
    return Substitution(learned.astype(np.float64), values)


def _loss(
    site: Tensor, balance: Tensor, constants: Tensor, evidence: Evidence, part: Integers
) -> Tensor:
    """Return -log of the likelihood above, averaged over targets."""
    targets = torch.as_tensor(evidence.targets[part])
    members = torch.as_tensor(evidence.members[part])
    x = torch.as_tensor(evidence.fractions[part])
    table = (site[:, None] - site).square().sum(-1).reshape(-1)
    share = torch.where(x > 0, x.clamp(min=1e-3) ** constants[0], torch.zeros(()))
    weights = -(table[targets * N_ELEMENTS + members] * share[:, None]).sum(-1)
    wanted = (balance[targets[:, 0]] * x[:, :, None]).sum(1)
    for column in range(balance.shape[1]):
        mean = (balance[:, column][members] * x[:, None]).sum(-1)
        weights = weights - (mean - wanted[:, column : column + 1]) ** 2
    weights = weights + constants[1] * torch.as_tensor(evidence.same_cell[part])
    weights = weights + constants[2] * torch.as_tensor(evidence.side[part])
    weights = weights.masked_fill(~torch.as_tensor(evidence.valid[part]), -1e9)
    none = constants[3].expand(len(part), 1)
    log_share = torch.log_softmax(torch.cat([weights, none], dim=1), dim=1)
    distances = torch.as_tensor(evidence.distances[part])
    log_match = -((distances / constants[4].detach()) ** constants[5].detach())
    known = torch.logsumexp(log_share[:, :-1] + log_match.clamp(min=-20.0), dim=1)
    return -torch.logaddexp(known, log_share[:, -1] + float(np.log(_UNKNOWN))).mean()


def calibration(shares: ArrayLike, matched: ArrayLike, n_steps: int = 50) -> tuple[float, float]:
    """Return offset a and slope b of P(matched) = σ(a + b logit(share)) by maximum likelihood.

    Parameters
    ----------
    shares : (n,) array
        Shares of weight that the first starts of validation crystals stand for.
    matched : (n,) array of bool
        Whether one of them matched.
    n_steps : int
        Newton steps.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> p = rng.random(20_000)
    >>> a, b = calibration(p, rng.random(20_000) < p)
    >>> bool(abs(a) < 0.1 and abs(b - 1) < 0.1)
    True
    """
    share = np.clip(np.asarray(shares, dtype=np.float64), 1e-9, 1.0 - 1e-9)
    columns = np.stack([np.ones_like(share), np.log(share / (1.0 - share))], axis=1)
    hit = np.asarray(matched, dtype=np.float64)
    theta = np.array([0.0, 1.0])

    def loss(theta: Floats) -> float:
        # A weak prior on (0, 1) keeps the fit finite where all matched.
        z = columns @ theta
        prior = 0.5 * np.sum((theta - [0.0, 1.0]) ** 2)
        return float(np.sum(np.logaddexp(0.0, z) - hit * z) + prior)

    for _ in range(n_steps):
        p = 0.5 * (1.0 + np.tanh(0.5 * columns @ theta))
        gradient = columns.T @ (hit - p) - (theta - [0.0, 1.0])
        hessian = (columns * (p * (1.0 - p))[:, None]).T @ columns + np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        # Shares near 0 or 1 make full Newton steps overshoot.
        while loss(theta + step) > loss(theta) and np.max(np.abs(step)) > 1e-9:
            step = 0.5 * step
        theta = theta + step
    return float(theta[0]), float(theta[1])
