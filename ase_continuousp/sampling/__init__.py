"""Sampling of crystals from an energy function, one by one or in batches.

The step is `langevin.step` over a frozen `SamplerState`; `coordinates` says what moves and which
measure it keeps. On it stand the ASE optimizer `optimizer.AnnealedLangevin`, the same for whole
batches (`batch.BatchAnneal`), replica exchange, population annealing, and the sampler of the
paper, `paper.PaperSampler`.
"""

from ase_continuousp.sampling.batch import BatchAnneal, BatchRun
from ase_continuousp.sampling.coordinates import (
    Coordinates,
    FlatCoordinates,
    PositionCoordinates,
    ProjectedCoordinates,
    StrainCoordinates,
)
from ase_continuousp.sampling.displacement import Displacement
from ase_continuousp.sampling.langevin import StepRecord, step
from ase_continuousp.sampling.paper import PaperSampler
from ase_continuousp.sampling.plan import AnnealPlan
from ase_continuousp.sampling.population import Population, PopulationAnnealing
from ase_continuousp.sampling.replica_exchange import ReplicaExchange
from ase_continuousp.sampling.schedule import Geometric
from ase_continuousp.sampling.state import SamplerState
from ase_continuousp.sampling.symmetry import SymmetryProjection
from ase_continuousp.sampling.warmup import WarmUp

__all__ = [
    "AnnealPlan",
    "BatchAnneal",
    "BatchRun",
    "Coordinates",
    "Displacement",
    "FlatCoordinates",
    "Geometric",
    "PaperSampler",
    "Population",
    "PopulationAnnealing",
    "PositionCoordinates",
    "ProjectedCoordinates",
    "ReplicaExchange",
    "SamplerState",
    "StepRecord",
    "StrainCoordinates",
    "SymmetryProjection",
    "WarmUp",
    "step",
]
