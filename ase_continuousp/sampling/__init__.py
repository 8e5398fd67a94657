"""Sampling of crystals from an energy function, one by one or in batches.

The step is `langevin.step` over a frozen `SamplerState`; `coordinates` says what moves and which
measure it keeps. The ASE optimizer is `optimizer.AnnealedLangevin`, the sampler of the paper
`paper.PaperSampler`.
"""

from ase_continuousp.sampling.coordinates import (
    Coordinates,
    FlatCoordinates,
    PositionCoordinates,
    ProjectedCoordinates,
    StrainCoordinates,
)
from ase_continuousp.sampling.displacement import Displacement
from ase_continuousp.sampling.langevin import StepRecord, step
from ase_continuousp.sampling.schedule import Geometric
from ase_continuousp.sampling.state import SamplerState
from ase_continuousp.sampling.warmup import WarmUp

__all__ = [
    "Coordinates",
    "Displacement",
    "FlatCoordinates",
    "Geometric",
    "PositionCoordinates",
    "ProjectedCoordinates",
    "SamplerState",
    "StepRecord",
    "StrainCoordinates",
    "WarmUp",
    "step",
]
