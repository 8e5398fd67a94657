"""Search on a CUDA device, for batches and large crystals alike: count, scan, fill.

Atoms are wrapped into their cell and sorted into bins of fractional coordinates, no thinner than
the cutoff; a small crystal is a single bin. One thread per center goes through the bins, and
images of bins, that the cutoff reaches, once to count its pairs and once to write them. The scan
between, and what comes before, are operations of torch. Nothing waits for the device but the
reading of the number of pairs; given a capacity, nothing does.

Where Numba simulates CUDA (NUMBA_ENABLE_CUDASIM=1) tensors are those of the host. So this was
tested; it never ran on a real device. There the compiler may fuse multiplications with additions,
and a pair at the cutoff to the last bit may be decided otherwise than on the host.

Array names carry their axes: a atom, b crystal, c cell vector, x Cartesian, p pair, k place in the
order of bins.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numba
import torch
from numba import cuda
from numba.core.errors import NumbaPerformanceWarning
from torch import Tensor

from ase_continuousp.neighborlist._check import check
from ase_continuousp.neighborlist.tensors import PADDING, Pairs

THREADS = 128  # of a block

# Relative and absolute margin of the reach in fractional coordinates, far above their rounding.
MARGIN = 1e-9

# More images of a bin than this are no search but a mistake: flat cells, vast cutoffs.
MOST_IMAGES = 1e8


@cuda.jit(device=True)
def bin_of(f: float, m: int) -> int:
    """Return the bin of a fractional coordinate; on a device floor returns no integer."""
    return int(math.floor(f * m))  # noqa: RUF046


@cuda.jit
def visit(
    positions_ax: Any,
    cells_bcx: Any,
    cutoffs: Any,
    crystal_a: Any,
    offsets: Any,
    fractional_ac: Any,
    wraps_ac: Any,
    reach_bc: Any,
    shape_bc: Any,
    order_k: Any,
    starts: Any,
    half: bool,
    fills: bool,
    first: Any,
    i_p: Any,
    j_p: Any,
    shifts_pc: Any,
) -> None:
    """Count the pairs of each center to ``first[i + 1]``, or write them from ``first[i]`` on."""
    i = cuda.grid(1)
    if i >= len(crystal_a):
        return
    b = crystal_a[i]
    m0, m1, m2 = shape_bc[b, 0], shape_bc[b, 1], shape_bc[b, 2]
    f0, f1, f2 = fractional_ac[i, 0], fractional_ac[i, 1], fractional_ac[i, 2]
    r0, r1, r2 = reach_bc[b, 0], reach_bc[b, 1], reach_bc[b, 2]
    p = first[i] if fills else 0
    for d0 in range(bin_of(f0 - r0, m0), bin_of(f0 + r0, m0) + 1):
        t0 = d0 // m0
        for d1 in range(bin_of(f1 - r1, m1), bin_of(f1 + r1, m1) + 1):
            t1 = d1 // m1
            for d2 in range(bin_of(f2 - r2, m2), bin_of(f2 + r2, m2) + 1):
                t2 = d2 // m2
                # A crystal has at most as many bins as atoms, or one: there is room for one more.
                place = ((d0 - t0 * m0) * m1 + d1 - t1 * m1) * m2 + d2 - t2 * m2
                place += offsets[b] + b
                for k in range(starts[place], starts[place + 1]):
                    j = order_k[k]
                    s0 = t0 + wraps_ac[j, 0] - wraps_ac[i, 0]
                    s1 = t1 + wraps_ac[j, 1] - wraps_ac[i, 1]
                    s2 = t2 + wraps_ac[j, 2] - wraps_ac[i, 2]
                    is_zero = s0 == 0 and s1 == 0 and s2 == 0
                    is_positive = s0 > 0 or (s0 == 0 and (s1 > 0 or (s1 == 0 and s2 > 0)))
                    if (j == i and (is_zero or (half and not is_positive))) or (half and j < i):
                        continue
                    total = 0.0
                    for x in range(3):  # in the order of operations of ASE
                        image = (
                            s0 * cells_bcx[b, 0, x]
                            + s1 * cells_bcx[b, 1, x]
                            + s2 * cells_bcx[b, 2, x]
                        )
                        component = (positions_ax[j, x] - positions_ax[i, x]) + image
                        total += component * component
                    if not math.sqrt(total) < cutoffs[b]:
                        continue
                    if fills and p < len(i_p):
                        i_p[p] = i
                        j_p[p] = j
                        shifts_pc[p, 0] = s0
                        shifts_pc[p, 1] = s1
                        shifts_pc[p, 2] = s2
                    p += 1
    if not fills:
        first[i + 1] = p


def search_tensors(
    positions: Tensor,
    cells: Tensor,
    offsets: Tensor,
    cutoffs: Tensor,
    half: bool,
    capacity: int | None = None,
) -> Pairs:
    """Return the pairs of a batch of crystals whose tensors are on the device.

    Arguments and result as of `tensors.search_tensors`.
    """
    n_atoms, device, given = len(positions), positions.device, cutoffs
    offsets = offsets.to(torch.int64)
    counts = offsets.diff()
    crystal = torch.repeat_interleave(
        torch.arange(len(cells), device=device), counts, output_size=n_atoms
    )
    a, b, c = cells.unbind(1)
    normals = torch.stack([torch.linalg.cross(*two) for two in ((b, c), (c, a), (a, b))], dim=1)
    volumes = (a * normals[:, 0]).sum(1)
    sizes = torch.linalg.vector_norm(cells, dim=2).prod(1)
    is_solid = (volumes.abs() > 1e-12 * sizes) & (cutoffs >= 0.0)
    reach = cutoffs[:, None] * torch.linalg.vector_norm(normals, dim=2) / volumes.abs()[:, None]
    is_small = (2.0 * reach + 1.0).prod(1) < MOST_IMAGES
    is_valid = (is_solid & is_small).all() & positions.isfinite().all()
    # What allows no search gets an empty one, for a thread that does not end cannot be stopped.
    reach = torch.where(is_valid, reach * (1.0 + MARGIN) + MARGIN, 0.0)
    cutoffs = torch.where(is_valid, cutoffs, 0.0)
    fractional = torch.einsum("ax,acx->ac", positions, normals[crystal]) / volumes[crystal, None]
    fractional = torch.where(is_valid, fractional, 0.0)
    wraps = -fractional.floor()
    fractional = fractional + wraps
    shape = _bins(reach, counts)
    place = torch.minimum((fractional * shape[crystal]).long(), shape[crystal] - 1)
    _, m1, m2 = shape[crystal].unbind(1)
    place = (place[:, 0] * m1 + place[:, 1]) * m2 + place[:, 2] + offsets[crystal] + crystal
    place, order = torch.sort(place, stable=True)
    starts = torch.searchsorted(place, torch.arange(n_atoms + len(cells) + 1, device=device))
    inputs = (
        positions, cells, cutoffs, crystal, offsets, fractional, wraps.long(), reach, shape, order,
        starts,
    )  # fmt: skip
    first = torch.zeros(n_atoms + 1, dtype=torch.int64, device=device)
    none = torch.zeros(1, dtype=torch.int64, device=device)
    nothing = torch.zeros((1, 3), dtype=torch.int32, device=device)
    _launch(inputs, half, False, (first, none, none, nothing))
    first = torch.cumsum(first, 0)
    if capacity is None:
        capacity, is_answer = torch.stack([first[-1], is_valid.long()]).tolist()  # waits
        if not is_answer:
            check(*(t.cpu().numpy() for t in (positions, cells, given)))
            raise ValueError(f"cutoffs must reach less than {MOST_IMAGES:.0e} images of the cell")
    i, j = (torch.zeros(capacity, dtype=torch.int64, device=device) for _ in range(2))
    shifts = torch.zeros((capacity, 3), dtype=torch.int32, device=device)
    shifts[:, 0] = PADDING
    _launch(inputs, half, True, (first, i, j, shifts))
    return Pairs(i, j, shifts, first, first[-1], is_valid)


def _bins(reach: Tensor, counts: Tensor) -> Tensor:
    """Return bins along each cell vector: as thin as the cutoff, at most as many as atoms."""
    most = counts.clamp(min=1)
    wanted = torch.minimum((1.0 / reach).floor().clamp(min=1.0), most[:, None].double())
    scale = (most / wanted.prod(1)).clamp(max=1.0) ** (1 / 3)
    m0, m1, m2 = (wanted * scale[:, None]).floor().clamp(min=1.0).long().unbind(1)
    m1 = torch.minimum(m1, most // m0)  # one cannot be made smaller, so that others have to be
    m2 = torch.minimum(m2, most // (m0 * m1))
    return torch.stack([m0, m1, m2], dim=1)


def is_simulated() -> bool:
    """Tell whether Numba simulates CUDA devices in this process."""
    return bool(numba.config.ENABLE_CUDASIM)


def _launch(
    inputs: tuple[Tensor, ...], half: bool, fills: bool, outputs: tuple[Tensor, ...]
) -> None:
    blocks = -(-(len(outputs[0]) - 1) // THREADS)
    if blocks == 0:
        return
    if is_simulated():
        arrays = [t.contiguous().numpy() for t in (*inputs, *outputs)]
        visit[blocks, THREADS](*arrays[: len(inputs)], half, fills, *arrays[len(inputs) :])
        return
    device = inputs[0].device
    # On torch's stream: what it does before and after waits, on the device, and graphs can be
    # captured once the kernel is compiled.
    stream = cuda.external_stream(torch.cuda.current_stream(device).cuda_stream)
    there = [cuda.as_cuda_array(t.contiguous(), sync=False) for t in (*inputs, *outputs)]
    with cuda.gpus[device.index], warnings.catch_warnings():
        warnings.simplefilter("ignore", NumbaPerformanceWarning)  # few crystals are no mistake
        visit[blocks, THREADS, stream](*there[: len(inputs)], half, fills, *there[len(inputs) :])


def search_batch(
    positions: Any, cells: Any, offsets: Any, cutoffs: Any, half: bool
) -> tuple[Any, Any, Any, Any]:
    """Return i, j, S and the first pair of every atom for a batch of crystals of the host."""
    check(positions, cells, cutoffs)
    device = "cpu" if is_simulated() else "cuda"
    there = [torch.from_numpy(x).to(device) for x in (positions, cells, offsets, cutoffs)]
    found = search_tensors(there[0], there[1], there[2], there[3], half)
    i, j, shifts, first = (x.cpu().numpy() for x in found[:4])
    return i, j, shifts, first
