"""The result of an evaluation, as an object and as JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ase_continuousp.evaluation.match import STRICT_RMS
from ase_continuousp.io.replacing import replacing


@dataclass(frozen=True)
class Sample:
    """One sample of a test crystal.

    Parameters
    ----------
    start : str
        Kind of its start.
    energy_per_atom : float
        By which it is compared with others: before any last step.
    rms : float or None
        Distance from the true crystal; None if it does not match.
    log_odds : float or None
        What the judge of the model says, if it has one.
    is_offered : bool
        Whether a search would offer it. What it would not counts for nothing
        (:mod:`ase_continuousp.search.plausible`).
    place : int
        In the order of the model, which equal samples share; the first has 1.
    """

    start: str
    energy_per_atom: float
    rms: float | None
    log_odds: float | None = None
    is_offered: bool = True
    place: int = 0


@dataclass(frozen=True)
class Judged:
    """What spoke for a class of equal samples, and whether it was right.

    Parameters
    ----------
    evidence : tuple of tuples of float
        Of each of its witnesses, see :class:`ase_continuousp.search.evidence.Evidence`.
    is_right : bool
        Whether its representative matches the true crystal.
    """

    evidence: tuple[tuple[float, ...], ...]
    is_right: bool


@dataclass(frozen=True)
class Row:
    """What became of one test crystal.

    Parameters
    ----------
    index : int
        Row in the data file, counted from 0.
    formula : str
        Of the cell.
    n_atoms : int
    rms : float or None
        Of the best of the k samples that is offered; None if none matches.
    top1_rms : float or None
        Of the sample that the model ranks first.
    spacegroup, true_spacegroup : int
        Of the sample ranked first, and of the true crystal.
    top1_start : str
        Kind of start of the sample ranked first; empty if there is no sample.
    top1_energy : float or None
        Energy per atom of the sample ranked first.
    top1_probability : float or None
        What the ranking thought of its being right.
    n_samples : int
        Samples that count; fewer than k where an element is unknown, a sample went astray or the
        judge of the model thinks it implausible.
    controls : dict
        RMS distance of the single crystal that each control made, or None.
    samples : tuple of Sample
        In the order in which they were drawn, implausible ones too.
    classes : tuple of Judged
        Equal samples together, in the order of their rank.
    top1_cif : str
        The sample ranked first.
    """

    index: int
    formula: str
    n_atoms: int
    rms: float | None
    top1_rms: float | None
    spacegroup: int
    true_spacegroup: int
    top1_start: str
    top1_energy: float | None
    n_samples: int
    top1_probability: float | None = None
    controls: dict[str, float | None] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()
    classes: tuple[Judged, ...] = ()
    top1_cif: str = ""


@dataclass(frozen=True)
class Report:
    """Rates of an evaluation; all rates are fractions of the n test crystals.

    Parameters
    ----------
    k : int
        Samples of each composition.
    start : str
        Kind of starts.
    chains : int
        Chains behind each sample.
    seconds : float
        Wall time of sampling and matching.
    model, data : str
    seed : int
    per_structure : tuple of Row
    metrics : dict, optional
        What :mod:`ase_continuousp.evaluation.metrics` says of the crystals found.
    window : float, optional
        Above the lowest energy per atom, beyond which samples did not count.
    choose : str
        "lowest": the chain lowest in energy counts for its sample; "spread": the samples are those
        that stand for all chains together.

    Examples
    --------
    >>> rows = [Row(i, "NaCl", 2, rms, rms, 225, 225, "random", -1.0, 1) for i, rms in
    ...         enumerate([0.02, 0.3, None, None])]
    >>> report = Report(1, "random", 1, 3.0, "mp20", "val.csv", 0, tuple(rows))
    >>> report.match_rate, report.strict_rate, report.rmse
    (0.5, 0.25, 0.16)
    """

    k: int
    start: str
    chains: int
    seconds: float
    model: str
    data: str
    seed: int
    per_structure: tuple[Row, ...]
    metrics: dict[str, Any] | None = None
    window: float | None = None
    choose: str = "lowest"

    @property
    def n(self) -> int:
        """Number of test crystals."""
        return len(self.per_structure)

    @property
    def match_rate(self) -> float:
        """Share of crystals that the best of k samples matches."""
        return self._share(lambda row: row.rms is not None)

    @property
    def strict_rate(self) -> float:
        """Share of crystals that a sample matches with an RMS distance below 0.2."""
        return self._share(lambda row: row.rms is not None and row.rms < STRICT_RMS)

    @property
    def rmse(self) -> float | None:
        """Mean RMS distance of the matched crystals; None if nothing matches."""
        return _mean([row.rms for row in self.per_structure if row.rms is not None])

    @property
    def top1_match_rate(self) -> float:
        """Share of crystals that the sample ranked first matches."""
        return self._share(lambda row: row.top1_rms is not None)

    @property
    def top1_strict_rate(self) -> float:
        """Share of crystals that the sample ranked first matches with RMS below 0.2."""
        return self._share(lambda row: row.top1_rms is not None and row.top1_rms < STRICT_RMS)

    @property
    def top1_rmse(self) -> float | None:
        """Mean RMS distance of the matches of the sample ranked first."""
        return _mean([row.top1_rms for row in self.per_structure if row.top1_rms is not None])

    @property
    def spacegroup_rate(self) -> float:
        """Share of crystals that the sample ranked first matches, in the true space group."""
        return self._share(
            lambda row: row.top1_rms is not None and row.spacegroup == row.true_spacegroup
        )

    @property
    def standard_error(self) -> dict[str, float | None]:
        """One standard error of each rate (binomial) and of the two mean RMS distances."""
        names = ("match_rate", "strict_rate", "top1_match_rate", "top1_strict_rate")
        errors: dict[str, float | None] = {}
        for name in (*names, "spacegroup_rate"):
            p = getattr(self, name)
            errors[name] = math.sqrt(p * (1.0 - p) / self.n) if self.n else None
        errors["rmse"] = _error([r.rms for r in self.per_structure if r.rms is not None])
        errors["top1_rmse"] = _error(
            [r.top1_rms for r in self.per_structure if r.top1_rms is not None]
        )
        return errors

    @property
    def controls(self) -> dict[str, dict[str, float | None]]:
        """Match rate, strict rate and RMSE of each control, one crystal a composition."""
        names = sorted({name for row in self.per_structure for name in row.controls})
        return {name: self._control(name) for name in names}

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        return {
            "n": self.n,
            "k": self.k,
            "start": self.start,
            "chains": self.chains,
            "choose": self.choose,
            "window": self.window,
            "match_rate": self.match_rate,
            "strict_rate": self.strict_rate,
            "rmse": self.rmse,
            "top1_match_rate": self.top1_match_rate,
            "top1_strict_rate": self.top1_strict_rate,
            "top1_rmse": self.top1_rmse,
            "spacegroup_rate": self.spacegroup_rate,
            "standard_error": self.standard_error,
            "controls": self.controls,
            "seconds": self.seconds,
            "model": self.model,
            "data": self.data,
            "seed": self.seed,
            "metrics": self.metrics,
            "per_structure": [asdict(row) for row in self.per_structure],
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report as JSON, whole or not at all."""
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False)
        with replacing(path) as draft:
            draft.write_text(text + "\n", encoding="utf-8")

    def summary(self) -> str:
        """Return the rates as a few lines of text, each with one standard error.

        Examples
        --------
        >>> row = Row(0, "NaCl", 2, 0.02, 0.02, 225, 225, "random", -1.0, 1)
        >>> print(Report(1, "random", 1, 3.0, "mp20", "val.csv", 0, (row,)).summary())
        n 1, k 1, start random, chains 1, seed 0, 3 s
        match rate        1.000 ± 0.000
        strict rate       1.000 ± 0.000
        RMSE              0.020
        top-1 match rate  1.000 ± 0.000
        top-1 strict rate 1.000 ± 0.000
        top-1 RMSE        0.020
        space group rate  1.000 ± 0.000
        """
        errors = self.standard_error
        counts = f"n {self.n}, k {self.k}, start {self.start}, chains {self.chains}"
        if self.choose != "lowest":
            counts += f" ({self.choose})"
        if self.window is not None:
            counts += f", window {self.window:g}"
        lines = [f"{counts}, seed {self.seed}, {self.seconds:.0f} s"]
        for label, name in _LINES:
            lines.append(f"{label:17s} {_with_error(getattr(self, name), errors[name])}")
        for name, found in self.controls.items():
            values = ", ".join(f"{k} {_with_error(v, None)}" for k, v in found.items())
            lines.append(f"control {name}: {values}")
        return "\n".join([*lines, *([self.metrics["summary"]] if self.metrics else ())])

    def _share(self, is_hit: Callable[[Row], bool]) -> float:
        return sum(map(is_hit, self.per_structure)) / self.n if self.n else 0.0

    def _control(self, name: str) -> dict[str, float | None]:
        # A control that could make nothing for a composition has not found its crystal.
        found = [row.controls.get(name) for row in self.per_structure]
        matched = [rms for rms in found if rms is not None]
        return {
            "match_rate": len(matched) / self.n,
            "strict_rate": sum(rms < STRICT_RMS for rms in matched) / self.n,
            "rmse": _mean(matched),
        }


_LINES = (
    ("match rate", "match_rate"),
    ("strict rate", "strict_rate"),
    ("RMSE", "rmse"),
    ("top-1 match rate", "top1_match_rate"),
    ("top-1 strict rate", "top1_strict_rate"),
    ("top-1 RMSE", "top1_rmse"),
    ("space group rate", "spacegroup_rate"),
)


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _error(values: Sequence[float]) -> float | None:
    """Return the standard error of the mean, None for fewer than two values."""
    mean = _mean(values)
    if mean is None or len(values) < 2:
        return None
    variance = math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)
    return math.sqrt(variance / len(values))


def _with_error(value: float | None, error: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if error is None else f"{value:.3f} ± {error:.3f}"
