"""Fingerprints of crystals and of compositions, as coverage compares them."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from ase_continuousp.crystals import Crystals
from ase_continuousp.evaluation.metrics.variety import WORST_CELL, Composition, composition_of
from ase_continuousp.io import to_structures

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of every number of a composition's fingerprint.

    Parameters
    ----------
    mean, std : (132,) arrays
    """

    mean: Floats
    std: Floats

    def __call__(self, fingerprints: Floats) -> Floats:
        """Return fingerprints in units of the spread; 0 where they are not defined."""
        with np.errstate(divide="ignore", invalid="ignore"):
            scaled = (fingerprints - self.mean) / self.std
        return np.where(np.isfinite(scaled), scaled, 0.0)


def has_matminer() -> bool:
    """Tell whether matminer, which computes the fingerprints, is installed.

    Examples
    --------
    >>> has_matminer() in (True, False)
    True
    """
    return find_spec("matminer") is not None


def structure_fingerprint(crystal: Crystals) -> Floats | None:
    """Return the mean over the sites of matminer's CrystalNNFingerprint, preset "ops".

    Parameters
    ----------
    crystal : Crystals
        A batch of one.

    Returns
    -------
    (61,) array; None where the neighbors of a site cannot be determined.

    Raises
    ------
    ImportError
        If matminer is not installed.
    """
    featurizer = _sites()
    if np.linalg.cond(crystal.cells[0]) > WORST_CELL:
        return None
    structure = to_structures(crystal)[0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sites = [featurizer.featurize(structure, i) for i in range(len(structure))]
    except (ValueError, ArithmeticError, LookupError, RuntimeError, TypeError) as error:
        # Coinciding atoms and degenerate cells have no Voronoi polyhedra.
        logger.info("no fingerprint: %s", error)
        return None
    mean: Floats = np.array(sites, np.float64).mean(axis=0)
    return mean


def composition_fingerprint(crystal: Crystals) -> Floats:
    """Return matminer's ElementProperty, preset "magpie", of a composition.

    Parameters
    ----------
    crystal : Crystals
        A batch of one.

    Returns
    -------
    (132,) array, not scaled

    Raises
    ------
    ImportError
        If matminer is not installed.
    """
    return np.array(_magpie(composition_of(crystal)), np.float64)


def fit_scale(crystals: Iterable[Crystals]) -> Scale:
    """Return the scale of the compositions of a training set.

    Parameters
    ----------
    crystals : iterable of Crystals
        Batches of one.

    Raises
    ------
    ImportError
        If matminer is not installed.
    """
    rows = np.array([composition_fingerprint(one) for one in crystals])
    return Scale(np.nanmean(rows, axis=0), np.nanstd(rows, axis=0))


@lru_cache(maxsize=1)
def mp20_scale() -> Scale:
    """Return what :func:`fit_scale` makes of the 26,139 crystals of mp_20/train.

    Examples
    --------
    >>> scale = mp20_scale()
    >>> len(scale.mean), scale.mean[0].round(2)  # of the lightest element's atomic number
    (132, np.float64(18.92))
    """
    text = files(__package__).joinpath("magpie_mp20.json").read_text(encoding="utf-8")
    stored = json.loads(text)
    return Scale(np.array(stored["mean"]), np.array(stored["std"]))


@lru_cache(maxsize=1)
def _sites() -> Any:
    try:
        from matminer.featurizers.site.fingerprint import CrystalNNFingerprint
    except ImportError as error:
        raise ImportError(_NEEDED.format(error)) from error
    return CrystalNNFingerprint.from_preset("ops")


@lru_cache(maxsize=1)
def _elements() -> Any:
    try:
        from matminer.featurizers.composition.composite import ElementProperty
    except ImportError as error:
        raise ImportError(_NEEDED.format(error)) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it announces a change of its defaults
        return ElementProperty.from_preset("magpie")


@lru_cache(maxsize=100_000)
def _magpie(composition: Composition) -> tuple[float, ...]:
    from pymatgen.core import Composition as Formula

    featurizer = _elements()
    return tuple(featurizer.featurize(Formula({chemical_symbols[z]: n for z, n in composition})))


_NEEDED = "coverage needs matminer: pip install 'ase-continuousp[metrics]' ({})"
