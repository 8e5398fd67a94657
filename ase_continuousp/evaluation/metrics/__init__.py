"""What a set of generated crystals is worth, beside how many of them match."""

from ase_continuousp.evaluation.metrics.coverage import CUTOFFS, Coverage, coverage
from ase_continuousp.evaluation.metrics.energetics import Energetics, energetics
from ase_continuousp.evaluation.metrics.generation import GenerationMetrics, generation_metrics
from ase_continuousp.evaluation.metrics.recall import Recall, recall
from ase_continuousp.evaluation.metrics.stability import (
    Classification,
    classify_stability,
    hull_distances,
)

__all__ = [
    "CUTOFFS",
    "Classification",
    "Coverage",
    "Energetics",
    "GenerationMetrics",
    "Recall",
    "classify_stability",
    "coverage",
    "energetics",
    "generation_metrics",
    "hull_distances",
    "recall",
]
