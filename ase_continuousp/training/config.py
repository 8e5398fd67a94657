"""What a training run is made of, and the presets."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

PRECISIONS = ("fp32", "fp64")
OBJECTIVES = ("score",)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run.

    Parameters
    ----------
    steps : int
        Updates of the parameters.
    batch_size : int
        Crystals per update.
    learning_rate : float
        Peak of the schedule: linear warm-up, then a cosine to zero.
    warmup : int
        Updates of the warm-up.
    ema : float
        Decay of the exponential moving average of the weights, which is what is kept.
    clip : float
        Largest norm of the gradient.
    seed : int
    objective : str
        "score": score matching (:class:`ase_continuousp.training.objectives.score.ScoreMatching`).
    precision : str
        "fp32" or "fp64".
    network : dict
        Keyword arguments of :class:`ase_continuousp.model.continuous.ContinuousEnergy`.
    law : dict
        Keyword arguments of :class:`ase_continuousp.training.noise.NoiseLaw`.
    checkpoint_every, validate_every : int
        Updates between checkpoints and between validations.
    validation_crystals : int
        Crystals of the validation file that are used, with fixed noise.

    Raises
    ------
    ValueError
        If a number is out of range or a name unknown.

    Examples
    --------
    >>> TrainConfig.preset("perov5").batch_size
    32
    """

    steps: int = 20_000
    batch_size: int = 32
    learning_rate: float = 2e-3
    warmup: int = 200
    ema: float = 0.998
    clip: float = 1.0
    seed: int = 0
    objective: str = "score"
    precision: str = "fp32"
    network: dict[str, Any] = field(default_factory=dict)
    law: dict[str, Any] = field(default_factory=dict)
    checkpoint_every: int = 500
    validate_every: int = 1000
    validation_crystals: int = 512

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "checkpoint_every", "validate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1: {getattr(self, name)}")
        if self.warmup < 0:
            raise ValueError(f"warmup must not be negative: {self.warmup}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive: {self.learning_rate}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must lie in [0, 1): {self.ema}")
        for name, known in (("precision", PRECISIONS), ("objective", OBJECTIVES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}: {getattr(self, name)!r}")

    @classmethod
    def preset(cls, name: str, **changes: Any) -> TrainConfig:
        """Return a preset, with some fields changed.

        Raises
        ------
        ValueError
            If there is no such preset; the message lists them.
        """
        if name not in PRESETS:
            raise ValueError(f"preset must be one of {sorted(PRESETS)}: {name!r}")
        return replace(PRESETS[name], **changes)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON-ready values."""
        return asdict(self)


_LARGEST = {"channels": 128, "vector_channels": 48, "n_layers": 4}

_LARGE = {"channels": 96, "vector_channels": 48, "n_layers": 3}

_SMALL = {"channels": 64, "vector_channels": 32, "n_layers": 3}

# What the shipped models were trained with; mp20 by "mp20" and, begun with its weights,
# "mp20-grown".
PRESETS: dict[str, TrainConfig] = {
    "perov5": TrainConfig(steps=14_000, network=_SMALL),
    "mp20": TrainConfig(steps=48_000, learning_rate=1.5e-3, ema=0.999, network=_LARGE),
    "mp20-grown": TrainConfig(
        steps=42_000, learning_rate=1.2e-3, warmup=1000, ema=0.999, seed=1, network=_LARGEST
    ),
    "mpts52": TrainConfig(
        steps=11_000, batch_size=16, learning_rate=1.5e-3, ema=0.999, network=_SMALL
    ),
    "carbon24": TrainConfig(steps=8_000, ema=0.999, network=_SMALL),
}
