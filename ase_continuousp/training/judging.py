"""Training a judge: which candidate of a composition is the right one.

Of the candidates c of a composition, prototypes with the probabilities q_c that the library gives
them and what the model itself generated, the judge J makes

    p_c ∝ q_c^a exp(J_c) (prototypes),   p_c ∝ exp(J_c + g) (generated),   p_none ∝ exp(b),

and the mean of log Σ_{right c} p_c, or of log p_none where none is right, is maximized over the
network and a, b, g. It begins with the network of the energy, which knows what surroundings atoms
like, and with J = 0. Crystals of the composition itself are left out of the library meanwhile, or
the nearest candidate would always be the right one.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ase_continuousp.arguments import check_count
from ase_continuousp.model.checkpoint import TrainedModel, load_model
from ase_continuousp.model.continuous import ContinuousEnergy
from ase_continuousp.model.judge import JUDGE, Judge, log_odds
from ase_continuousp.training.candidate_files import CandidateFiles
from ase_continuousp.training.candidates import Candidates
from ase_continuousp.training.good_rows import good_crystals
from ase_continuousp.training.run_state import RunState, has_state
from ase_continuousp.training.schedules import schedule

_log = logging.getLogger(__name__)
_CPU = torch.device("cpu")
_N_HELD_OUT = 600


@dataclass(frozen=True)
class JudgeConfig:
    """Settings of the training of a judge.

    Parameters
    ----------
    n_compositions : int
        Training crystals whose compositions are learned from, drawn at random.
    n_candidates : int
        Prototypes of each composition.
    n_generated : int
        How many of these training crystals the model generates crystals for as well.
    n_chains : int
        For each of them.
    epochs : int
    batch_size : int
        Compositions per update.
    learning_rate : float
        Peak of the schedule; the readout, which begins anew, learns ten times as fast.
    warmup : int
    ema, clip : float
    seed : int
    checkpoint_every : int

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    n_compositions: int = 16_000
    n_candidates: int = 6
    n_generated: int = 1500
    n_chains: int = 8
    epochs: int = 4
    batch_size: int = 16
    learning_rate: float = 2e-4
    warmup: int = 100
    ema: float = 0.995
    clip: float = 1.0
    seed: int = 0
    checkpoint_every: int = 200

    def __post_init__(self) -> None:
        for name in ("n_compositions", "n_candidates", "epochs", "batch_size", "checkpoint_every"):
            check_count(name, getattr(self, name))
        for name in ("n_generated", "n_chains"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative: {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive: {self.learning_rate}")


class _Choice(nn.Module):
    """The judge with the three numbers that stand beside it."""

    def __init__(self, network: ContinuousEnergy) -> None:
        super().__init__()
        self.judge = network
        self.beside = nn.Parameter(torch.tensor([1.0, -2.0, -2.0]))  # a, b, g

    def losses(self, some: Candidates) -> tuple[Tensor, list[bool]]:
        """Return -log of the likelihood of each composition, and whether its first is right."""
        odds = log_odds(self.judge, some.crystals, _CPU)
        a, b, g = self.beside
        far = torch.from_numpy(np.nan_to_num(some.distances)).to(odds.dtype)
        scores = odds + torch.where(torch.from_numpy(some.is_generated), g, -a * far)
        right = torch.from_numpy(some.is_right)
        losses, hits = [], []
        for begin, end in zip(some.first[:-1].tolist(), some.first[1:].tolist(), strict=True):
            shares = torch.log_softmax(torch.cat([scores[begin:end], b[None]]), 0)
            own = right[begin:end]
            losses.append(-torch.logsumexp(shares[:-1][own], 0) if own.any() else -shares[-1])
            hits.append(bool(own[int(scores[begin:end].argmax())]))
        return torch.stack(losses), hits


def train_judge(
    model: str | os.PathLike[str],
    data: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    config: JudgeConfig | None = None,
    *,
    val: str | os.PathLike[str] | None = None,
    start_from: str | os.PathLike[str] | None = None,
    processes: int = 1,
    progress: bool = False,
) -> Path:
    """Train a judge for a model that has a prototype library, and write it into its folder.

    What was done is kept in the folder ``judging`` of the model, and the next call goes on from
    there to the same result.

    Parameters
    ----------
    model : str or path
    data : path or sequence of paths
        Training files of the model, see :func:`ase_continuousp.training.data.open_crystals`; bad
        rows are left out.
    config : JudgeConfig, optional
    val : path, optional
        Validation file: its loss is logged. Nothing is chosen by it.
    start_from : path, optional
        File of a judge to go on from, instead of the network of the energy.
    processes : int
        Worker processes that parse CIFs.
    progress : bool

    Returns
    -------
    Path
        The file of the judge.

    Raises
    ------
    ValueError
        If the model is one of the package or has no prototype library, or an earlier run had
        other settings.

    Examples
    --------
    >>> train_judge("perov5", "data.csv")
    Traceback (most recent call last):
    ValueError: model 'perov5' is one of the package, which is not written to: copy the folder ...
    """
    config = JudgeConfig() if config is None else config
    trained = load_model(model)
    trained.require_own_folder()
    crystals = good_crystals(data, processes=processes)
    folder = trained.path / "judging"
    folder.mkdir(exist_ok=True)
    files = CandidateFiles(trained, crystals, folder, seed=config.seed)
    known = files.prototypes(config.n_compositions, config.n_candidates, progress=progress)
    told = f"{len(known)} compositions"
    if config.n_generated and config.n_chains:
        sizes = (config.n_generated, config.n_candidates, config.n_chains)
        more = files.with_generated(*sizes, progress=progress)
        told += f", with {config.n_chains} generated crystals of each of {len(more)}"
        known = Candidates.concatenate([known, more])
    held_out = None
    if val is not None:
        some = CandidateFiles(
            trained, good_crystals(val, processes=processes), folder, seed=config.seed
        )
        held_out = some.prototypes(_N_HELD_OUT, config.n_candidates, progress=progress)
    begun = None if start_from is None else Judge.load(start_from).network
    choice = _run(trained, known, held_out, config, folder, progress, begun)
    target = trained.path / JUDGE
    Judge(choice.judge).save(target, trained_on=told)
    return target


def _run(
    trained: TrainedModel,
    known: Candidates,
    held_out: Candidates | None,
    config: JudgeConfig,
    folder: Path,
    progress: bool,
    begun: ContinuousEnergy | None,
) -> _Choice:
    choice, state = _initial_state(trained, config, begun)
    about = asdict(config) | {"model": trained.hash, "candidates": known.digest()}
    if has_state(folder):
        state.load(folder, about)
    n_batches = max(1, len(known) // config.batch_size)
    steps = config.epochs * n_batches
    bar = tqdm(total=steps, initial=state.step, disable=not progress, desc="judging", unit="step")
    with bar:
        while state.step < steps:
            if len(state.order) < config.batch_size:
                state.order = tuple(state.rng.permutation(len(known)).tolist())
            batch = np.array(state.order[: config.batch_size])
            state.order = state.order[config.batch_size :]
            _update(choice, state, known.select(batch), config, steps)
            bar.update()
            if state.step % config.checkpoint_every == 0 or state.step == steps:
                state.save(folder, about)
            if held_out is not None and state.step % n_batches == 0:
                told = _held_out(choice, state.average, held_out)
                _log.info("epoch %d: %s", state.step // n_batches, told)
    return _averaged(choice, state.average)


def _initial_state(
    trained: TrainedModel, config: JudgeConfig, begun: ContinuousEnergy | None
) -> tuple[_Choice, RunState]:
    network = trained.network if begun is None else begun
    if not isinstance(network, ContinuousEnergy):
        raise ValueError(f"model must be of the kind 'continuous': {trained.name!r}")
    with torch.random.fork_rng(devices=[]):
        own = ContinuousEnergy(**network.hyperparameters)
    own.load_state_dict(network.state_dict())
    if begun is None:
        with torch.no_grad():
            for parameter in own.readout[2].parameters():
                parameter.zero_()
    choice = _Choice(own)
    fast = [p for name, p in choice.named_parameters() if ".readout." in name or name == "beside"]
    slow = [p for p in choice.parameters() if not any(p is q for q in fast)]
    optimizer = torch.optim.Adam(
        [{"params": slow, "share": 1.0}, {"params": fast, "share": 10.0}],
        lr=config.learning_rate,
        betas=(0.9, 0.99),
        foreach=True,
    )
    average = {name: value.detach().clone() for name, value in choice.named_parameters()}
    return choice, RunState(choice, optimizer, average, np.random.default_rng(config.seed))


def _update(
    choice: _Choice, state: RunState, some: Candidates, config: JudgeConfig, steps: int
) -> None:
    state.optimizer.zero_grad()
    losses, _ = choice.losses(some)
    losses.mean().backward()
    nn.utils.clip_grad_norm_(choice.parameters(), config.clip)
    for group in state.optimizer.param_groups:
        rate = config.learning_rate * schedule(state.step, steps, config.warmup)
        group["lr"] = group["share"] * rate
    state.optimizer.step()
    state.step += 1
    state.update_average(config.ema)


def _averaged(choice: _Choice, average: dict[str, Tensor]) -> _Choice:
    """Return a copy with the averaged weights."""
    made = copy.deepcopy(choice)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            parameter.copy_(average[name])
    return made


def _held_out(choice: _Choice, average: dict[str, Tensor], some: Candidates) -> str:
    """Return loss and share of first choices that are right, by the averaged weights."""
    judge = _averaged(choice, average)
    losses: list[float] = []
    hits: list[bool] = []
    with torch.no_grad():
        for part in np.array_split(np.arange(len(some)), max(1, len(some) // 24)):
            found, right = judge.losses(some.select(part))
            losses += found.tolist()
            hits += right
    return f"validation {np.mean(losses):.4f}, first right {np.mean(hits):.3f}"
