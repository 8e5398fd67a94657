"""Training the last small step: from prototypes as they are built to the crystals that they mean.

For crystals that lie d_i away from the known ones, the network U_P minimizes the mean distance
that its step leaves,

    loss = mean_b √(mean_i |d_i/ℓ + s ℓ ∂U_P/∂r_i|² + δ²),

the very measure that crystals are compared by. It is the energy of the model with changes of low
rank. Crystals of the composition itself are left out of the library meanwhile.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from ase_continuousp.arguments import check_count
from ase_continuousp.crystals import Crystals
from ase_continuousp.model.checkpoint import TrainedModel, load_model
from ase_continuousp.model.continuous import ContinuousEnergy
from ase_continuousp.model.derivatives import ModelEnergy
from ase_continuousp.model.low_rank import LowRankChange
from ase_continuousp.model.polish import POLISH, check_kinds, save_polish
from ase_continuousp.niggli import reduce_crystals
from ase_continuousp.search.sources import PRIORS, PROTOTYPES, read_priors
from ase_continuousp.starts.prototype import PrototypeStart
from ase_continuousp.training.displaced import Displaced, displaced_prototypes, root_mean_squares
from ase_continuousp.training.good_rows import good_crystals
from ase_continuousp.training.run_state import RunState, has_state
from ase_continuousp.training.schedules import schedule
from ase_continuousp.training.slopes import add_slope, first_derivatives

_log = logging.getLogger(__name__)
Floats = NDArray[np.float64]

_AT_ONCE = 1000  # compositions of one file: half a minute of one core
_N_HELD_OUT = 1000
_BATCH = 64
_NONE_NEAR = "data must have crystals that prototypes come near to: none has"
_SHARES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True)
class PolishConfig:
    """Settings of the training of a last step.

    Parameters
    ----------
    n_compositions : int
        Training crystals whose compositions are learned from, drawn at random.
    n_candidates : int
        Prototypes of each.
    farthest : float
        Root mean square distance from the known crystal, in units of ℓ, beyond which a prototype
        is left out: there the way is a matter of luck.
    rank : int
        Of the changes of matrices.
    step : float
        s.
    tolerance : float
        δ.
    steps, batch_size : int
        Updates, and crystals in each.
    learning_rate : float
        Peak of the schedule, for matrices; other parameters learn at 0.3 of it.
    warmup : int
    ema, clip : float
    seed : int
    checkpoint_every : int

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    n_compositions: int = 60_000
    n_candidates: int = 10
    farthest: float = 0.25
    rank: int = 24
    step: float = 0.1
    tolerance: float = 0.005
    steps: int = 16_000
    batch_size: int = 32
    learning_rate: float = 8e-4
    warmup: int = 200
    ema: float = 0.998
    clip: float = 1.0
    seed: int = 0
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        for name in (
            "n_compositions", "n_candidates", "rank", "steps", "batch_size", "checkpoint_every"
        ):  # fmt: skip
            check_count(name, getattr(self, name))
        for name in ("farthest", "step", "tolerance", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive: {getattr(self, name)}")


def train_polish(
    model: str | os.PathLike[str],
    data: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    config: PolishConfig | None = None,
    *,
    kinds: str = "prototypes",
    val: str | os.PathLike[str] | None = None,
    processes: int = 1,
    progress: bool = False,
) -> Path:
    """Train the last step of a model that has a prototype library, and write it into its folder.

    What was done is kept in the folder ``polishing`` of the model, and the next call goes on from
    there to the same result.

    Parameters
    ----------
    model : str or path
    data : path or sequence of paths
        Training files of the model, see :func:`ase_continuousp.training.data.open_crystals`; bad
        rows are left out.
    config : PolishConfig, optional
    kinds : {"prototypes", "all"}
        What searches are to move: prototypes, or ends of chains as well. It is learned from
        prototypes all the same; whether ends gain by it is for an evaluation to tell.
    val : path, optional
        Validation file: the share of the step that brings its crystals nearest is taken. Without
        one it is the whole step.
    processes : int
        Worker processes that parse CIFs.
    progress : bool

    Returns
    -------
    Path
        The file of the step.

    Raises
    ------
    ValueError
        If there are no such kinds, the model is one of the package or has no prototype library, no
        prototype is near the crystal that it means, or an earlier run had other settings.

    Examples
    --------
    >>> train_polish("perov5", "data.csv")
    Traceback (most recent call last):
    ValueError: model 'perov5' is one of the package, which is not written to: copy the folder ...
    """
    config = PolishConfig() if config is None else config
    check_kinds(kinds)
    trained = load_model(model)
    trained.require_own_folder()
    if not isinstance(trained.network, ContinuousEnergy):
        raise ValueError(f"model must be of the kind 'continuous': {trained.name!r}")
    if not (trained.path / PROTOTYPES).is_file():
        raise ValueError(f"model must have a prototype library: {trained.path} has none")
    known = reduce_crystals(good_crystals(data, processes=processes))
    held_out = None if val is None else reduce_crystals(good_crystals(val, processes=processes))
    folder = trained.path / "polishing"
    folder.mkdir(exist_ok=True)
    some = _pairs(trained, known, config.n_compositions, config, folder, progress)
    near = np.flatnonzero(some.rms < config.farthest)
    if not len(near):
        raise ValueError(_NONE_NEAR)
    some = some.select(near)
    network, change = _run(trained, some, config, folder, progress)
    told = f"{len(some)} prototypes of {len(np.unique(some.groups))} crystals"
    share = 1.0
    if held_out is not None:
        others = _pairs(trained, held_out, _N_HELD_OUT, config, folder, progress)
        share, before, after = _best_share(network, _first_of_each(others), config.step)
        told += f"; validation: mean distance {before:.4f}, {after:.4f} after {share:g} of the step"
    _log.info(told)
    target = trained.path / POLISH
    step = share * config.step
    save_polish(target, change, trained, step, kinds=kinds, trained_on=told)
    return target


def _pairs(
    trained: TrainedModel,
    crystals: Crystals,
    n: int,
    config: PolishConfig,
    folder: Path,
    progress: bool,
) -> Displaced:
    """Return the prototypes of n compositions; what is there in files is not made again."""
    library = trained.path / PROTOTYPES
    digest = hashlib.sha256(repr((config.seed, config.n_candidates)).encode())
    for array in (crystals.positions, crystals.cells, crystals.numbers, crystals.offsets):
        digest.update(np.ascontiguousarray(array).tobytes())
    for file in (library, trained.path / PRIORS):
        digest.update(file.read_bytes())
    start = PrototypeStart(library, read_priors(trained.path), noise=0.0)
    rows = np.random.default_rng(config.seed).permutation(len(crystals))[:n]
    pieces = [rows[a : a + _AT_ONCE] for a in range(0, len(rows), _AT_ONCE)]
    parts = []
    for piece in tqdm(pieces, disable=not progress, desc="prototypes", unit="file"):
        own = digest.copy()
        own.update(piece.tobytes())
        path = folder / f"prototypes-{own.hexdigest()[:16]}.npz"
        if not path.is_file():
            made = displaced_prototypes(crystals, piece, start, config.n_candidates)
            if made is None:
                continue
            made.save(path)
        parts.append(Displaced.load(path))
    if not parts:
        raise ValueError(_NONE_NEAR)
    return Displaced.concatenate(parts)


def _run(
    trained: TrainedModel, some: Displaced, config: PolishConfig, folder: Path, progress: bool
) -> tuple[ContinuousEnergy, LowRankChange]:
    """Return the trained network and the change that makes it of the energy."""
    network = copy.deepcopy(trained.network).to(torch.float32).train().requires_grad_(True)
    assert isinstance(network, ContinuousEnergy)
    change = LowRankChange(network, config.rank, seed=config.seed)
    low = [p for name, p in change.named_parameters() if not name.endswith("whole")]
    rest = [p for name, p in change.named_parameters() if name.endswith("whole")]
    groups: list[dict[str, Any]] = [{"params": low, "share": 1.0}, {"params": rest, "share": 0.3}]
    optimizer = torch.optim.Adam(
        [g for g in groups if g["params"]], lr=config.learning_rate, betas=(0.9, 0.99)
    )
    average = {name: value.detach().clone() for name, value in change.named_parameters()}
    state = RunState(change, optimizer, average, np.random.default_rng(config.seed))
    about = asdict(config) | {"model": trained.hash, "crystals": some.digest()}
    if has_state(folder):
        try:
            state.load(folder, about)
        except ValueError as error:
            raise ValueError(f"{error}: delete {folder} to begin anew") from None
    members = _members(some)
    bar = tqdm(
        total=config.steps, initial=state.step, disable=not progress, desc="polishing", unit="step"
    )
    with bar:
        while state.step < config.steps:
            batch = _draw(members, config.batch_size, state.rng)
            left = _update(network, change, state, some.select(batch), config)
            bar.set_postfix(left=f"{left:.4f}", refresh=False)
            bar.update()
            if state.step % config.checkpoint_every == 0 or state.step == config.steps:
                state.save(folder, about)
    with torch.no_grad():
        for name, value in change.named_parameters():
            value.copy_(state.average[name])
    change.fill(network)
    return network, change


def _members(some: Displaced) -> list[NDArray[np.int64]]:
    """Return the places of the crystals of each group."""
    order = np.argsort(some.groups, kind="stable")
    ends = np.flatnonzero(np.diff(some.groups[order])) + 1
    return np.split(order, ends)


def _draw(
    members: Sequence[NDArray[np.int64]], n: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return crystals of n groups: all compositions count alike."""
    chosen = rng.integers(len(members), size=n)
    return np.array([rng.choice(members[group]) for group in chosen])


def _update(
    network: ContinuousEnergy,
    change: LowRankChange,
    state: RunState,
    some: Displaced,
    config: PolishConfig,
) -> float:
    """Make one update and return the mean distance that was left before it."""
    crystals, dtype = some.crystals, torch.float32
    change.fill(network)
    network.zero_grad()
    gradient, _ = first_derivatives(network, network, crystals, dtype)
    left, moves = _loss(some, gradient, config)
    still = np.zeros((len(crystals), 3, 3))
    add_slope(network, network, crystals, moves, still, dtype)
    change.pull_back(network)
    nn.utils.clip_grad_norm_(change.parameters(), config.clip)
    rate = config.learning_rate * schedule(state.step, config.steps, config.warmup)
    for group in state.optimizer.param_groups:
        group["lr"] = group["share"] * rate
    state.optimizer.step()
    state.step += 1
    state.update_average(config.ema)
    return left


def _loss(some: Displaced, gradient: Floats, config: PolishConfig) -> tuple[float, Floats]:
    """Return the loss and its derivatives with respect to ∂U_P/∂r."""
    crystals = some.crystals
    index, lengths = crystals.crystal_index, crystals.lengths
    ell = lengths[index, None]
    r = some.displacements / ell + config.step * ell * gradient
    norms = np.sqrt(root_mean_squares(crystals, r) ** 2 + config.tolerance**2)
    moves = config.step * ell * r / (norms * crystals.counts * len(crystals))[index, None]
    return float(norms.mean()), moves


def _first_of_each(some: Displaced) -> Displaced:
    """Return the first crystal of each group: the likeliest that is near enough."""
    return some.select(np.sort(np.unique(some.groups, return_index=True)[1]))


def _best_share(
    network: ContinuousEnergy, some: Displaced, step: float
) -> tuple[float, float, float]:
    """Return the share of the step that leaves the least mean distance, before and after."""
    left = np.array([0.0 for _ in _SHARES])
    before = 0.0
    energy = ModelEnergy(copy.deepcopy(network))
    for part in _parts(some):
        ell = part.crystals.lengths
        moves = step * ell[part.crystals.crystal_index, None] ** 2 * energy(part.crystals).forces
        before += float(part.rms.sum())
        for k, share in enumerate(_SHARES):
            rest = part.displacements - share * moves
            left[k] += float(np.sum(root_mean_squares(part.crystals, rest) / ell))
    best = int(np.argmin(left))
    return _SHARES[best], before / len(some), float(left[best]) / len(some)


def _parts(some: Displaced) -> Iterator[Displaced]:
    order = np.argsort(some.crystals.counts, kind="stable")
    for a in range(0, len(order), _BATCH):
        yield some.select(order[a : a + _BATCH])
