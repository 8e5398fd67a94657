"""Powder diffraction patterns of crystals, as a laboratory instrument would measure them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from ase_continuousp.io import from_atoms, to_structures

Floats = NDArray[np.float64]

_RANGE = (5.0, 90.0)  # degrees
_WIDTH = 0.15  # degrees, full width at half maximum: a good laboratory instrument


@dataclass(frozen=True)
class PowderPattern:
    """Reflections of a powder, from low to high angle.

    Parameters
    ----------
    two_theta : (n,) array [degrees]
    intensity : (n,) array
        The strongest is 100.
    labels : tuple of str
        Miller indices of one reflection of each family, for example "110".
    radiation : str
    """

    two_theta: Floats
    intensity: Floats
    labels: tuple[str, ...]
    radiation: str

    def profile(self, two_theta: Floats, width: float = _WIDTH) -> Floats:
        """Return the intensity at these angles, each reflection a Gaussian of that full width.

        Parameters
        ----------
        two_theta : (m,) array [degrees]
        width : float [degrees]
            At half of the maximum.
        """
        distance = (np.asarray(two_theta)[:, None] - self.two_theta) / width
        heights: Floats = np.exp(-4.0 * np.log(2.0) * distance**2) @ self.intensity
        return heights


def powder_pattern(atoms: Atoms, *, radiation: str = "CuKa") -> PowderPattern:
    """Return the powder pattern of a crystal between 5 and 90 degrees (pymatgen).

    Kinematic intensities with multiplicity and the Lorentz-polarization factor, without thermal
    motion, texture or background.

    Parameters
    ----------
    atoms : Atoms
        Periodic in all directions.
    radiation : str
        A line that pymatgen's XRDCalculator knows.

    Raises
    ------
    ValueError
        If the radiation is unknown, or the atoms are no crystal.

    Examples
    --------
    >>> from ase.build import bulk
    >>> pattern = powder_pattern(bulk("Cu", cubic=True))
    >>> pattern.labels[:3], pattern.two_theta[:3].round(1).tolist()
    (('111', '200', '220'), [43.4, 50.6, 74.3])
    """
    from pymatgen.analysis.diffraction.xrd import WAVELENGTHS, XRDCalculator

    if radiation not in WAVELENGTHS:
        raise ValueError(f"radiation must be one of {', '.join(WAVELENGTHS)}: {radiation!r}")
    [structure] = to_structures(from_atoms(atoms))
    found = XRDCalculator(wavelength=radiation).get_pattern(structure, two_theta_range=_RANGE)
    labels = tuple(_miller(families[0]["hkl"]) for families in found.hkls)
    return PowderPattern(
        np.asarray(found.x, dtype=np.float64),
        np.asarray(found.y, dtype=np.float64),
        labels,
        radiation,
    )


def _miller(indices: tuple[int, ...]) -> str:
    # Three indices; hexagonal cells come with four, of which the third is a sum of the others.
    h, k, last = indices[0], indices[1], indices[-1]
    separator = " " if max(abs(h), abs(k), abs(last)) > 9 else ""
    return separator.join(f"{i}" if i >= 0 else f"-{-i}" for i in (h, k, last))
