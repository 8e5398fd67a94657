"""Objectives by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ase_continuousp.training.noise import NoiseLaw
from ase_continuousp.training.objectives.cd import ContrastiveDivergence
from ase_continuousp.training.objectives.dsm import DenoisingScoreMatching
from ase_continuousp.training.objectives.interface import Objective
from ase_continuousp.training.objectives.pcd import PersistentContrastiveDivergence
from ase_continuousp.training.objectives.score import ScoreMatching
from ase_continuousp.training.objectives.score_contrast import ScoreContrast

_MADE: dict[str, Callable[..., Objective]] = {
    "score": ScoreMatching,
    "score-contrast": ScoreContrast,
    "dsm": DenoisingScoreMatching,
    "cd": ContrastiveDivergence,
    "pcd": PersistentContrastiveDivergence,
}


def make_objective(name: str, law: dict[str, Any], options: dict[str, Any]) -> Objective:
    """Return the objective of that name.

    Parameters
    ----------
    name : str
        One of :data:`ase_continuousp.training.config.OBJECTIVES`.
    law : dict
        Keyword arguments of the noise law.
    options : dict
        Keyword arguments of the objective.

    Raises
    ------
    ValueError
        If the objective has no such option.

    Examples
    --------
    >>> make_objective("cd", {}, {"chain_steps": 40}).card["anneal"]
    {'n_steps': 40}
    """
    try:
        return _MADE[name](law=NoiseLaw(**law), **options)
    except TypeError as error:
        raise ValueError(f"objective_options: of {name!r}: {error}") from None
