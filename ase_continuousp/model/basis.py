"""Radial bases and envelopes."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def filter_matrix(cutoff_ratio: float, n_basis: int, n_intervals: int) -> Tensor:
    """Return the control points of the splines that stand for Gaussians with a smooth cutoff.

    Control point k sits at d_k = k R/n_intervals, k = −1 … n_intervals + 1, and has the value
    exp(−(d_k − μ_b)²/2σ²) · cos²(π d_k/2R). The last three are zero, so that the spline vanishes
    with its first two derivatives at the cutoff; the one at −1 equals that at +1, so that the
    spline is even.

    Parameters
    ----------
    cutoff_ratio : float
        R/ℓ.
    n_basis : int
        Number of Gaussians, centers from 0 to R.
    n_intervals : int

    Returns
    -------
    (n_intervals + 3, n_basis) float64 tensor

    Examples
    --------
    >>> matrix = filter_matrix(1.8, 18, 32)
    >>> matrix.shape, float(matrix[-3:].abs().max()), bool((matrix[0] == matrix[2]).all())
    (torch.Size([35, 18]), 0.0, True)
    """
    knots = torch.arange(-1, n_intervals + 2, dtype=torch.float64) * cutoff_ratio / n_intervals
    centers = torch.linspace(0.0, cutoff_ratio, n_basis + 1, dtype=torch.float64)[:n_basis]
    width = cutoff_ratio / n_basis
    gaussians = torch.exp(-0.5 * ((knots[:, None] - centers) / width) ** 2)
    matrix = gaussians * torch.cos(0.5 * math.pi * knots / cutoff_ratio)[:, None] ** 2
    matrix[-3:] = 0.0
    matrix[0] = matrix[2]
    return matrix


def log_length_features(lengths: Tensor) -> Tensor:
    """Return 12 Gaussians in log ℓ, centers from ℓ = 1.5 Å to 4.5 Å.

    Parameters
    ----------
    lengths : (n,) tensor [Å]

    Returns
    -------
    (n, 12) tensor

    Examples
    --------
    >>> import torch
    >>> log_length_features(torch.tensor([1.5]))[0, 0].item()
    1.0
    """
    # made on the host: the same numbers everywhere
    centers = log_length_centers(lengths.dtype).to(lengths.device)
    spacing = math.log(3.0) / 11
    return torch.exp(-0.5 * ((lengths.log()[:, None] - centers) / spacing) ** 2)


def log_length_centers(dtype: torch.dtype) -> Tensor:
    """Return the centers of `log_length_features` in log ℓ.

    Examples
    --------
    >>> import torch
    >>> len(log_length_centers(torch.float64))
    12
    """
    return torch.linspace(math.log(1.5), math.log(4.5), 12, dtype=dtype)
