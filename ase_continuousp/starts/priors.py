"""What is likely before any energy is asked: volume and cell shape of a composition."""

from __future__ import annotations

import base64
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ase_continuousp.crystals import Crystals
from ase_continuousp.io.replacing import replacing
from ase_continuousp.starts.density import DensityModel
from ase_continuousp.starts.shapes import ShapeModel

Floats = NDArray[np.float64]

_FORMAT = "ase-continuousp priors 1"


@dataclass(frozen=True)
class Priors:
    """Volume per atom and cell shape of compositions, fitted to a training set.

    Parameters
    ----------
    density : DensityModel
        Mean and spread of log(V/N) from the composition.
    shapes : ShapeModel
        Mixture of cell shapes for each number of atoms.

    Examples
    --------
    >>> import numpy as np
    >>> from ase_continuousp.crystals import Crystals
    >>> cube = Crystals.single([[0, 0, 0]], 3.35 * np.eye(3), [84])
    >>> priors = Priors.fit(Crystals.concatenate([cube] * 8), n_steps=100)
    >>> cell = priors.sample_cells([84], 1, np.random.default_rng(0))[0]
    >>> bool(abs(np.linalg.det(cell) / 3.35**3 - 1) < 0.2)
    True
    """

    density: DensityModel
    shapes: ShapeModel

    @classmethod
    def fit(
        cls,
        crystals: Crystals,
        *,
        weights: ArrayLike | None = None,
        n_steps: int | None = None,
        seed: int = 0,
    ) -> Priors:
        """Return the priors fitted to a training set.

        Parameters
        ----------
        crystals : Crystals
        weights : (n_crystals,) array, optional
            How much each crystal counts for the density; all the same if not given.
        n_steps : int, optional
            Steps of the density fit; chosen by the size of the set if not given.
        seed : int

        Raises
        ------
        ValueError
            If a crystal is invalid or the weights are.
        """
        crystals.validate()
        density = DensityModel.fit(crystals, weights=weights, n_steps=n_steps, seed=seed)
        return cls(density, ShapeModel.fit(crystals, seed=seed))

    def log_volume_per_atom(self, numbers: ArrayLike) -> float:
        """Return the expected log(V/N), V/N in Å³, of atoms of these elements."""
        return float(self.density.predict([_checked(numbers)])[0][0])

    def log_volume_spread(self, numbers: ArrayLike) -> float:
        """Return the expected error of :meth:`log_volume_per_atom` for this composition."""
        return float(self.density.predict([_checked(numbers)])[1][0])

    def sample_cells(
        self,
        numbers: ArrayLike,
        n: int,
        rng: np.random.Generator,
        *,
        volume_noise: float = 1.0,
    ) -> Floats:
        """Return random cells for atoms of these elements.

        Parameters
        ----------
        numbers : (n_atoms,) array of int
        n : int
            Number of cells.
        rng : numpy.random.Generator
        volume_noise : float
            Scales the random part of the volume; 0 gives every cell the expected volume.

        Returns
        -------
        (n, 3, 3) array [Å]
        """
        numbers = _checked(numbers)
        mean, spread = self.density.predict([numbers])
        log_volumes = math.log(len(numbers)) + mean[0]
        # Beyond twice its expected error the volume is an outlier that no start needs.
        noise = np.clip(rng.normal(size=n), -2.0, 2.0)
        log_volumes = log_volumes + volume_noise * spread[0] * noise
        cells = self.shapes.sample(numbers, n, rng)
        scaled: Floats = cells * np.exp(log_volumes / 3.0)[:, None, None]
        return scaled

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the priors as one JSON file, whole or not at all."""
        shapes = self.shapes
        content = {
            "format": _FORMAT,
            "density": {name: _encode(a) for name, a in self.density.weights.items()},
            "shapes": {
                "centers": _encode(shapes.centers),
                "spreads": _encode(shapes.spreads),
                "counts": shapes.counts.tolist(),
                "n_atoms": shapes.n_atoms.tolist(),
                "patterns": {key: [list(p) for p in v] for key, v in shapes.patterns.items()},
            },
        }
        with replacing(path) as draft:
            draft.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Priors:
        """Read priors written by :meth:`save`.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file holds no priors, or damaged ones.
        """
        text = Path(path).read_text(encoding="utf-8")
        try:
            content = _parsed(text)
            if content["format"] != _FORMAT:
                raise ValueError(f"format is {content['format']!r}, not {_FORMAT!r}")
            weights = {name: _decode(a) for name, a in content["density"].items()}
            DensityModel.check(weights)
            stored = content["shapes"]
            shapes = ShapeModel(
                _decode(stored["centers"]).astype(np.float64).reshape(-1, 6),
                _decode(stored["spreads"]).astype(np.float64).reshape(-1, 6),
                np.array(stored["counts"], dtype=np.int64),
                np.array(stored["n_atoms"], dtype=np.int64),
                {k: [(int(a), int(b)) for a, b in v] for k, v in stored["patterns"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise ValueError(f"{path} is not a file of priors: {error}") from error
        return cls(DensityModel(weights), shapes)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:  # nested thousands deep
        raise ValueError("nested too deeply") from None


def _checked(numbers: ArrayLike) -> NDArray[np.int64]:
    """Return atomic numbers as an array, refusing what is none."""
    array = np.asarray(numbers)
    if array.ndim != 1 or len(array) == 0 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"numbers must be a list of at least one atomic number: {numbers!r}")
    if array.min() < 1 or array.max() > 118:
        raise ValueError(f"numbers must be atomic numbers from 1 to 118: {array.tolist()}")
    return array.astype(np.int64)


def _encode(array: NDArray[Any]) -> dict[str, Any]:
    """Return an array as float32 in base64 with its shape: a third of the size of decimals."""
    data = np.ascontiguousarray(array, dtype="<f4")
    return {"shape": list(data.shape), "float32": base64.b64encode(data.tobytes()).decode()}


def _decode(stored: dict[str, Any]) -> NDArray[np.float32]:
    """Return the array that :func:`_encode` wrote."""
    raw = base64.b64decode(stored["float32"], validate=True)
    array = np.frombuffer(raw, dtype="<f4").reshape(stored["shape"])
    if not np.all(np.isfinite(array)):
        raise ValueError("an array holds values that are not finite")
    return array
