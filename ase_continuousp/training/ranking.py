"""Training a ranker: which prototype of a list is the right one.

With the scores z of the members of a list and of "none of them"
(:class:`~ase_continuousp.model.list_ranker.ListNetwork`) and their softmax p, the mean of
log Σ_{right i} p_i, or of log p_none where none is right, is maximized. Searches ask for few
prototypes or for many, so part of the lists are cut short.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ase_continuousp.arguments import check_count, check_seed
from ase_continuousp.model.checkpoint import TrainedModel, load_model, write_card
from ase_continuousp.model.list_ranker import RANKER, ListNetwork, ListRanker
from ase_continuousp.search.executors import processes as worker_processes
from ase_continuousp.search.facts import FACTS
from ase_continuousp.training.good_rows import good_crystals
from ase_continuousp.training.ranking_lists import (
    RankingLists,
    fresh_lists_of,
    lists_of,
    ranking_lists,
)
from ase_continuousp.training.schedules import schedule

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RankerConfig:
    """Settings of the training of a ranker.

    Parameters
    ----------
    n_lists : int
        Training crystals whose compositions are learned from, drawn at random.
    n_prototypes : int
        Of each.
    channels : int
    dropout : float
    epochs, batch_size : int
    learning_rate : float
        Peak of the schedule.
    weight_decay, ema : float
    cut : float
        Share of the lists that are cut to a random length in each epoch.
    seed : int

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    n_lists: int = 20_000
    n_prototypes: int = 12
    channels: int = 64
    dropout: float = 0.2
    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    ema: float = 0.99
    cut: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n_lists", "n_prototypes", "channels", "epochs", "batch_size"):
            check_count(name, getattr(self, name))
        check_seed(self.seed)
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive: {self.learning_rate}")
        for name in ("dropout", "ema", "cut"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must lie in [0, 1): {getattr(self, name)}")


def train_ranker(
    model: str | os.PathLike[str],
    data: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    config: RankerConfig | None = None,
    *,
    fresh: Sequence[str | os.PathLike[str]] | str | os.PathLike[str] = (),
    processes: int = 1,
    progress: bool = False,
) -> Path:
    """Train a ranker for a model that has a prototype library and a judge, into its folder.

    Finding the lists takes a quarter of a second each; they are kept in the folder ``ranking`` of
    the model, and the next call goes on from there to the same result. The training itself takes
    seconds.

    Parameters
    ----------
    model : str or path
    data : path or sequence of paths
        Training files of the library, see :func:`ase_continuousp.training.data.open_crystals`; bad
        rows are left out. Each crystal is taken out of the library while its list is made.
    config : RankerConfig, optional
    fresh : path or sequence of paths, optional
        Files of crystals that the library was made without, for instance validation crystals: all
        of them are learned from too.
    processes : int
        That find lists, and that parse CIFs. More than one need a script with the usual
        ``if __name__ == "__main__":``.
    progress : bool

    Returns
    -------
    Path
        The file of the ranker.

    Raises
    ------
    ValueError
        If the model is one of the package, or has no prototype library or no judge.

    Examples
    --------
    >>> train_ranker("perov5", "data.csv")
    Traceback (most recent call last):
    ValueError: model 'perov5' is one of the package, which is not written to: copy the folder ...
    """
    config = RankerConfig() if config is None else config
    trained = load_model(model)
    trained.require_own_folder()
    folder = trained.path / "ranking"
    folder.mkdir(exist_ok=True)
    parts = []
    with worker_processes(processes) as pool:
        for files, make in ((data, lists_of), (fresh, fresh_lists_of)):
            if not files:
                continue
            crystals = good_crystals(files, processes=processes)
            made = ranking_lists(
                trained,
                crystals,
                folder,
                make,
                n_lists=config.n_lists if make is lists_of else len(crystals),
                n_prototypes=config.n_prototypes,
                seed=config.seed,
                pool=pool,
                progress=progress,
            )
            parts.append(made)
    lists = RankingLists.concatenate(parts)
    return write_ranker(trained, RANKER, lists, config, progress=progress)


def write_ranker(
    trained: TrainedModel,
    file: str,
    lists: RankingLists,
    config: RankerConfig,
    *,
    progress: bool = False,
) -> Path:
    """Fit a ranker, write it into the folder of its model, and say in the card from how many lists.

    Parameters
    ----------
    trained : TrainedModel
        With a folder of its own.
    file : str
        Name of the file of the ranker.
    lists : RankingLists
    config : RankerConfig
    progress : bool

    Raises
    ------
    ValueError
        If there is no list.

    Examples
    --------
    >>> write_ranker(load_model("perov5"), RANKER, RankingLists.of([]), RankerConfig())
    Traceback (most recent call last):
    ValueError: crystals must have prototypes in the library: none has
    """
    if len(lists) == 0:
        raise ValueError("crystals must have prototypes in the library: none has")
    target = trained.path / file
    fit_ranker(lists, config, progress=progress).save(target, trained_on=f"{len(lists)} lists")
    key = Path(file).stem.replace("_", " ")
    write_card(trained.path, trained.card | {key: {"lists": len(lists)}})
    return target


def fit_ranker(lists: RankingLists, config: RankerConfig, *, progress: bool = False) -> ListRanker:
    """Return a ranker fitted to lists whose answers are known.

    Parameters
    ----------
    lists : RankingLists
    config : RankerConfig
    progress : bool

    Examples
    --------
    >>> rows = np.zeros((2, len(FACTS)))
    >>> rows[:, FACTS.index("nearness")] = -1.0, -2.0
    >>> lists = RankingLists.of([(rows, [True, False])] * 8)
    >>> ranker = fit_ranker(lists, RankerConfig(channels=4, epochs=50, batch_size=4))
    >>> scores, none = ranker(rows)
    >>> bool(scores[0] > scores[1])
    True
    """
    rng = np.random.default_rng(config.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = ListNetwork(FACTS, config.channels, config.dropout)
        network.standardize(lists.facts)
        average = {name: p.detach().clone() for name, p in network.named_parameters()}
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        n_batches = max(1, len(lists) // config.batch_size)
        steps = config.epochs * n_batches
        step = 0
        bar = tqdm(total=steps, disable=not progress, desc="ranking", unit="step")
        with bar:
            for epoch in range(config.epochs):
                total = 0.0
                for rows in np.array_split(rng.permutation(len(lists)), n_batches):
                    facts, right, present = _batch(lists, rows, config.cut, rng)
                    loss = list_losses(network, facts, right, present).mean()
                    optimizer.zero_grad()
                    loss.backward()
                    for group in optimizer.param_groups:
                        group["lr"] = config.learning_rate * schedule(step, steps, steps // 4)
                    optimizer.step()
                    step += 1
                    with torch.no_grad():
                        for name, p in network.named_parameters():
                            average[name].lerp_(p, 1.0 - config.ema)
                    total += float(loss.detach())
                    bar.update()
                _log.info("epoch %d: -log likelihood %.4f", epoch + 1, total / n_batches)
    with torch.no_grad():
        for name, p in network.named_parameters():
            p.copy_(average[name])
    return ListRanker(network)


def list_losses(network: nn.Module, facts: Tensor, right: Tensor, present: Tensor) -> Tensor:
    """Return -log of the likelihood of the answer of each list, (n_lists,).

    Parameters
    ----------
    network : ListNetwork
    facts : (n_lists, n_members, n_facts) tensor
    right, present : (n_lists, n_members) bool tensors
    """
    scores, none = network(facts, present)
    scores = scores.masked_fill(~present, -torch.inf)
    total = torch.logsumexp(torch.cat([scores, none[:, None]], dim=1), dim=1)
    # Where no member is right the sum over them is empty, and its gradient no number.
    solved = right.any(1)
    wanted = torch.where(right | ~solved[:, None], scores, -torch.inf)
    losses: Tensor = total - torch.where(solved, torch.logsumexp(wanted, dim=1), none)
    return losses


def _batch(
    lists: RankingLists, rows: np.ndarray, cut: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    facts, right, counts = lists.padded(rows)
    shorter = np.where(rng.random(len(rows)) < cut, rng.integers(1, counts + 1), counts)
    present = np.arange(facts.shape[1]) < shorter[:, None]
    return torch.from_numpy(facts), torch.from_numpy(right & present), torch.from_numpy(present)
