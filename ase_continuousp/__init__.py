"""Crystal structures from a learned, invariant and continuous energy, as an ASE calculator.

The public names are loaded on first use, so that importing the package stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ase_continuousp.calculator import ContinuouSPCalculator
    from ase_continuousp.evaluation.evaluate import evaluate
    from ase_continuousp.model.checkpoint import load_model
    from ase_continuousp.neighborlist import neighbor_list
    from ase_continuousp.pretrained import list_models
    from ase_continuousp.sampling.optimizer import AnnealedLangevin
    from ase_continuousp.search.candidates import Candidate
    from ase_continuousp.search.predict import predict
    from ase_continuousp.search.sample import sample
    from ase_continuousp.training.config import TrainConfig
    from ase_continuousp.training.trainer import train

_HOMES = {
    "ContinuouSPCalculator": "calculator",
    "AnnealedLangevin": "sampling.optimizer",
    "predict": "search.predict",
    "sample": "search.sample",
    "Candidate": "search.candidates",
    "neighbor_list": "neighborlist",
    "list_models": "pretrained",
    "load_model": "model.checkpoint",
    "train": "training.trainer",
    "TrainConfig": "training.config",
    "evaluate": "evaluation.evaluate",
}

__all__ = [
    "AnnealedLangevin",
    "Candidate",
    "ContinuouSPCalculator",
    "TrainConfig",
    "__version__",
    "evaluate",
    "list_models",
    "load_model",
    "neighbor_list",
    "predict",
    "sample",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
