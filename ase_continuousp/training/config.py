"""What a training run is made of, and the presets."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ase_continuousp.training.schedules import BATCH_RULES, DECAYS, batch_factor

PRECISIONS = ("fp32", "fp64", "fp16-mixed", "bf16-mixed", "bf16-sr", "bf16")
OBJECTIVES = ("score", "score-contrast", "dsm", "cd", "pcd")
# Their chains live in one process.
ALONE = ("score-contrast", "pcd")
ENERGIES = ("continuous", "paper")


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
        Peak of the schedule: linear warm-up, then `decay`.
    warmup : int
        Updates of the warm-up.
    decay : str
        "cosine" or "linear" to zero, or "constant".
    ema : float
        Decay of the exponential moving average of the weights, which is what is kept;
        0 keeps the last weights.
    clip : float
        Largest norm of the gradient.
    beta2 : float
        Decay of Adam's mean square of the gradient.
    seed : int
    objective : str
        "score" (:mod:`ase_continuousp.training.objectives.score`), "score-contrast", "dsm", "cd"
        or "pcd": the modules of these names describe them.
    objective_options : dict
        Keyword arguments of the objective.
    precision : str
        "fp32", "fp64", "fp16-mixed", "bf16-mixed", "bf16-sr", or "bf16", which rounds to the
        nearest and is there for comparison (:mod:`ase_continuousp.training.precision`).
    micro_batch : int, optional
        Most crystals of one pass; the gradients of several passes add up to that of a batch.
    energy : str
        "continuous" or "paper": the network. The objective "dsm" trains a conditional one of
        the first kind.
    network : dict
        Keyword arguments of the network, such as
        :class:`ase_continuousp.model.continuous.ContinuousEnergy`.
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
    decay: str = "cosine"
    ema: float = 0.998
    clip: float = 1.0
    beta2: float = 0.99
    seed: int = 0
    objective: str = "score"
    objective_options: dict[str, Any] = field(default_factory=dict)
    precision: str = "fp32"
    micro_batch: int | None = None
    energy: str = "continuous"
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
        for name in ("ema", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1): {getattr(self, name)}")
        if self.micro_batch is not None and self.micro_batch < 1:
            raise ValueError(f"micro_batch must be at least 1: {self.micro_batch}")
        for name, known in (
            ("precision", PRECISIONS),
            ("objective", OBJECTIVES),
            ("energy", ENERGIES),
            ("decay", DECAYS),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}: {getattr(self, name)!r}")
        if self.energy == "paper" and self.objective in ("score", "score-contrast", "dsm"):
            raise ValueError(
                f"objective {self.objective!r} needs energy 'continuous': the energy of the paper "
                "has a kink where atoms meet"
            )

    @classmethod
    def preset(cls, name: str, **changes: Any) -> TrainConfig:
        """Return a preset, with some fields changed.

        Raises
        ------
        ValueError
            If there is no such preset; the message lists them.

        Examples
        --------
        >>> TrainConfig.preset("perov5", batch_size=8).batch_size
        8
        """
        if name not in PRESETS:
            raise ValueError(f"preset must be one of {sorted(PRESETS)}: {name!r}")
        return replace(PRESETS[name], **changes)

    @property
    def pass_size(self) -> int:
        """Most crystals of one pass."""
        return self.batch_size if self.micro_batch is None else self.micro_batch

    def with_batch_size(self, batch_size: int, rule: str = "sqrt") -> TrainConfig:
        """Return the settings for another size of the batch and as many samples.

        The number of updates shrinks as the batch grows, and so does the memory of the average;
        the learning rate follows the rule. The warm-up keeps its samples, but for at least a
        tenth of the run. Passes stay as large as they were.

        Parameters
        ----------
        batch_size : int
        rule : str
            "sqrt", "linear" or "none", see
            :func:`ase_continuousp.training.schedules.batch_factor`.

        Examples
        --------
        >>> large = TrainConfig(steps=25_600).with_batch_size(8192)
        >>> large.steps, large.learning_rate, large.warmup, large.pass_size
        (100, 0.032, 10, 32)
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1: {batch_size}")
        if rule not in BATCH_RULES:
            raise ValueError(f"rule must be one of {BATCH_RULES}: {rule!r}")
        ratio = batch_size / self.batch_size
        steps = max(1, round(self.steps / ratio))
        return replace(
            self,
            batch_size=batch_size,
            micro_batch=min(batch_size, self.pass_size),
            steps=steps,
            learning_rate=self.learning_rate * batch_factor(batch_size, self.batch_size, rule),
            warmup=max(round(self.warmup / ratio), steps // 10),
            ema=self.ema**ratio,
            checkpoint_every=max(1, round(self.checkpoint_every / ratio)),
            validate_every=max(1, round(self.validate_every / ratio)),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON-ready values."""
        return asdict(self)


_LARGEST = {"channels": 128, "vector_channels": 48, "n_layers": 4}

_LARGE = {"channels": 96, "vector_channels": 48, "n_layers": 3}

_SMALL = {"channels": 64, "vector_channels": 32, "n_layers": 3}

_CONTRAST = {
    "weight": 6.0,
    "margin": 0.02,
    "softness": 0.02,
    "pairs": 12,
    "every": 32,
    "chain_steps": 120,
    "capacity": 4000,
}

# What the shipped models were trained with, each stage begun with the weights of the one before:
# mp20 by "mp20", "mp20-grown", "mp20-sharp", and "mp20-contrast" without noise (`blur`), then with
# it; perov5 by "perov5" and "perov5-sharp", averaged with what
# "perov5-contrast" makes of that; mpts52 by "mpts52", "mpts52-sharp" and a contrast that
# its card describes; carbon24 by "carbon24" and, with a smaller network first, "carbon24-contrast".
PRESETS: dict[str, TrainConfig] = {
    "perov5": TrainConfig(steps=14_000, network=_SMALL),
    # More small noise and a narrower bottom of the funnels, once these are where they belong.
    "perov5-sharp": TrainConfig(
        steps=26_000,
        learning_rate=1.5e-3,
        warmup=300,
        seed=9,
        network=_SMALL,
        law={"median": 0.12, "spread": 1.2, "lowest": 0.003},
        objective_options={"saturation": 0.03},
    ),
    # The shipped weights are the mean of those before and after it.
    "perov5-contrast": TrainConfig(
        steps=10_000,
        learning_rate=8e-4,
        ema=0.999,
        seed=32,
        objective="score-contrast",
        network=_SMALL,
        law={"median": 0.12, "spread": 1.2, "lowest": 0.003},
        objective_options={
            **_CONTRAST,
            "saturation": 0.03,
            "blur": 0.03,
            "apart": 0.15,
            "pairs": 16,
            "every": 16,
            "chain_steps": 120,
            "capacity": 8000,
        },
    ),
    "mp20": TrainConfig(steps=48_000, learning_rate=1.5e-3, ema=0.999, network=_LARGE),
    "mp20-grown": TrainConfig(
        steps=42_000, learning_rate=1.2e-3, warmup=1000, ema=0.999, seed=1, network=_LARGEST
    ),
    "mp20-sharp": TrainConfig(
        steps=27_000,
        learning_rate=8e-4,
        warmup=300,
        ema=0.999,
        seed=11,
        network=_LARGEST,
        law={"median": 0.2, "spread": 1.0, "lowest": 0.004},
        objective_options={"saturation": 0.05},
    ),
    "mp20-contrast": TrainConfig(
        steps=17_000,
        learning_rate=6e-4,
        ema=0.999,
        seed=22,
        objective="score-contrast",
        network=_LARGEST,
        law={"median": 0.25, "spread": 1.0, "lowest": 0.004},
        objective_options={"saturation": 0.05, **_CONTRAST},
    ),
    "mpts52": TrainConfig(
        steps=11_000, batch_size=16, learning_rate=1.5e-3, ema=0.999, network=_SMALL
    ),
    "mpts52-sharp": TrainConfig(
        steps=9_000,
        batch_size=16,
        learning_rate=1.2e-3,
        warmup=300,
        ema=0.999,
        seed=8,
        network=_SMALL,
        law={"median": 0.12, "spread": 1.1, "lowest": 0.004},
        objective_options={"saturation": 0.05},
    ),
    "carbon24": TrainConfig(steps=8_000, ema=0.999, network=_SMALL),
    "carbon24-contrast": TrainConfig(
        steps=16_000,
        learning_rate=1.2e-3,
        warmup=500,
        ema=0.999,
        seed=33,
        objective="score-contrast",
        network={"channels": 96, "vector_channels": 48, "n_layers": 4},
        law={"median": 0.22, "spread": 0.9, "lowest": 0.01},
        objective_options={**_CONTRAST, "pairs": 16, "every": 24, "capacity": 6000},
    ),
    # A few hundred crystals of one's own.
    "small": TrainConfig(
        steps=600,
        batch_size=16,
        warmup=50,
        ema=0.98,
        network={"channels": 32, "vector_channels": 16, "n_layers": 2},
        checkpoint_every=200,
        validate_every=200,
    ),
    # arXiv:2502.02026; the constant rate and the last weights are its.
    "paper": TrainConfig(
        steps=1_000,
        batch_size=128,
        learning_rate=1e-3,
        warmup=0,
        decay="constant",
        ema=0.0,
        clip=1e6,
        beta2=0.999,
        objective="cd",
        energy="paper",
        checkpoint_every=1,
        validate_every=10,
        validation_crystals=128,
    ),
}
