"""What a set of generated crystals is worth, beside how many of them match."""

from ase_continuousp.evaluation.metrics.generation import GenerationMetrics, generation_metrics
from ase_continuousp.evaluation.metrics.recall import Recall, recall
from ase_continuousp.evaluation.metrics.stability import (
    Classification,
    classify_stability,
    hull_distances,
)

__all__ = [
    "Classification",
    "GenerationMetrics",
    "Recall",
    "classify_stability",
    "generation_metrics",
    "hull_distances",
    "recall",
]
