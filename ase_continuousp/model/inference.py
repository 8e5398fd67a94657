"""The default energy on the CPU, there and back without a graph of operations.

What calculators and samplers call. The passes are those of training (`_rows`, `_kernels`) and
`_product`; between two passes over pairs, rows go through everything in blocks that stay in the
cache.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ase_continuousp.crystals import Crystals
from ase_continuousp.model import _chains, _inference, _kernels, _rows
from ase_continuousp.model._product import Product, aligned
from ase_continuousp.model._room import Array, Room, Rooms
from ase_continuousp.model.basis import log_length_centers
from ase_continuousp.model.continuous import ContinuousEnergy
from ase_continuousp.model.fused_pairs import FusedPairs
from ase_continuousp.neighborlist import Neighbors

Floats = NDArray[np.float64]


class Inference:
    """Energies, ∂E/∂r and ∂E/∂ε of a `ContinuousEnergy` by hand-written derivatives.

    Its filters need no table: they are cubic splines. Differentiating the network itself
    (`derivatives.differentiate`) is the oracle.

    Parameters
    ----------
    network : ContinuousEnergy
        On the CPU; its weights are copied. Its rows must be whole lanes
        (`ContinuousEnergy.fills_lanes`).

    Examples
    --------
    >>> from ase_continuousp.crystals import Crystals
    >>> from ase_continuousp.neighborlist import search
    >>> network = ContinuousEnergy(channels=16, vector_channels=16)
    >>> po = Crystals.single([[0, 0, 0]], [[3, 0, 0], [0, 3, 0], [0, 0, 3]], [84])
    >>> pairs = search(po, network.cutoff_ratio * po.lengths, half=True)
    >>> energies, gradient, virial = Inference(network)(po, pairs, po.lengths)
    >>> energies.shape, gradient.shape, virial.shape
    ((1,), (1, 3), (1, 3, 3))
    """

    @staticmethod
    def takes(network: torch.nn.Module) -> bool:
        """Tell whether this is a network with whole lanes and the usual passes over pairs."""
        return (
            type(network) is ContinuousEnergy  # others have more features
            and isinstance(network.pairs, FusedPairs)
            and network.fills_lanes()
        )

    def __init__(self, network: ContinuousEnergy) -> None:
        hide: Any = network.readout[0]
        out: Any = network.readout[2]
        self._embedding = _array(network.embedding.weight)
        self._dtype: Any = self._embedding.dtype.type
        self._by_length = _array(network.length.weight.t())
        self._centers = log_length_centers(torch.float64).numpy()
        self._gain = _array(network.norm.weight)
        self._hide = _product(hide.weight, hide.bias)
        self._out = _array(torch.cat([out.weight[0], out.bias]))
        self._spacing = self._dtype(network.spacing)
        self._epsilon = self._dtype(network.norm.eps)
        sizes = network.hyperparameters
        self._n_f, self._n_g = int(sizes["channels"]), int(sizes["vector_channels"])
        matrix: Any = network.filter_matrix
        self._layers = [
            _Layer.of(layer, matrix.to(network.embedding.weight.dtype)) for layer in network.layers
        ]
        self._rooms = Rooms(self._n_f, self._n_g, len(self._layers), self._dtype)

    def __call__(
        self, crystals: Crystals, pairs: Neighbors, lengths: Floats, follows: bool = True
    ) -> tuple[Floats, Floats, Floats]:
        """Return energies of atoms, ∂E/∂r [1/Å] and ∂E/∂ε.

        Parameters
        ----------
        crystals : Crystals
        pairs : Neighbors
            Each pair once.
        lengths : (n_crystals,) array [Å]
            ℓ of each crystal, or what stands for it.
        follows : bool
            Whether these follow the volume, ℓ = (V/N)^(1/3), in ∂E/∂ε.
        """
        with self._rooms.room(crystals.n_atoms, crystals.n_crystals) as room:
            return self._there_and_back(room, crystals, pairs, lengths, follows)

    def _there_and_back(
        self, room: Room, crystals: Crystals, pairs: Neighbors, lengths: Floats, follows: bool
    ) -> tuple[Floats, Floats, Floats]:
        offsets, crystal = crystals.offsets, crystals.crystal_index
        u = np.empty((pairs.n_pairs, 3), self._dtype)
        _inference.vectors(
            crystals.positions, crystals.cells, crystal, lengths, pairs.first, pairs.j, pairs.S, u
        )
        batch = _Batch(
            [crystal[part] for part in room.parts], crystals.counts.astype(self._dtype),
            (pairs.first, np.arange(pairs.n_pairs), pairs.j), u, np.zeros_like(u),
        )  # fmt: skip
        _inference.embed(
            crystals.numbers, offsets, lengths, self._embedding, self._by_length, self._centers,
            room.kept[0].s,
        )  # fmt: skip
        for k in range(len(self._layers)):
            self._go_through(k, room, batch)
        energies = self._read(room, batch)
        room.gv[:] = 0
        for k in reversed(range(len(self._layers))):
            self._go_back(k, room, batch)
        gradient, virial = np.zeros((crystals.n_atoms, 3)), np.zeros((crystals.n_crystals, 3, 3))
        _inference.collect(
            pairs.first, pairs.j, u, batch.gu, crystal, lengths, follows, gradient, virial
        )
        if follows:
            _inference.follow(offsets, lengths, self._by_length, self._centers, room.gs[0], virial)
        return energies, gradient, virial

    def _go_through(self, k: int, room: Room, batch: _Batch) -> None:
        """Through layer k, from what its rows hold to those of the next one."""
        layer, kept, blocks = self._layers[k], room.kept[k], room.blocks[k]
        room.means[:] = 0
        for o, crystal in zip(blocks, batch.crystals, strict=True):
            _chains.before(
                o.s, layer.gain, self._epsilon, crystal, o.x, o.r_n, room.means, o.z,
                *layer.send.panels, o.v, o.r_v, o.soft, o.soft_flat, o.c_flat, *layer.carry.panels,
            )  # fmt: skip
        kept.m[:] = 0
        kept.sums[:] = 0
        _kernels.forward(
            *batch.pairs, batch.u, kept.z, kept.c, layer.filters, self._spacing, kept.m, kept.sums
        )
        _inference.divide(room.means, batch.counts)
        layer.mean.there(room.means, room.shared)
        for o, crystal in zip(blocks, batch.crystals, strict=True):
            _chains.after(
                o.m, o.sums, o.z, o.x, o.w, o.w_flat, o.r_w, o.t, o.t_flat, room.shared, crystal,
                o.h, o.y, o.s, o.v, o.d, o.s_then, o.v_then, *layer.angle.panels,
                *layer.mix.panels, *layer.update.panels,
            )  # fmt: skip

    def _read(self, room: Room, batch: _Batch) -> Floats:
        """Return energies of atoms; their gradient is written to the room."""
        s, n_f = room.kept[-1].s, self._n_f
        gs, h_rows = room.gs[-1], room.gs[-2]
        energies = np.empty(len(s))
        room.means[:] = 0
        for part, crystal in zip(room.parts, batch.crystals, strict=True):
            x, gn, h = room.wide(part, n_f), room.narrow(part, n_f), h_rows[part]
            r, none = np.empty(len(x), self._dtype), room.zeros[: len(x)]
            _rows.norm(s[part], self._gain, self._epsilon, crystal, x, r, room.shared)
            self._hide.there(x, h)
            _inference.silu(h, x)
            _inference.read(x, self._out, energies[part])
            _inference.silu_gradient(h, x)
            self._hide.back(x, gn)
            _rows.norm_gradient(
                s[part], self._gain, r, crystal, gn, none, room.means, none, gs[part], room.ggain
            )
        return energies

    def _go_back(self, k: int, room: Room, batch: _Batch) -> None:
        """From the gradient after layer k to that before, both in the room."""
        layer, kept, blocks = self._layers[k], room.kept[k], room.blocks[k]
        room.shared[:] = 0
        for o, crystal in zip(blocks, batch.crystals, strict=True):
            _chains.back_after(
                o.gs, o.gv, o.d, o.t, o.gd, o.gt, o.gt_flat, o.h, o.gh, crystal, room.shared, o.x,
                o.gw, o.gw_flat, o.m, o.sums, o.z, o.r_w, o.gm, o.gsums, o.gz,
                *layer.update.transposed, *layer.mix.transposed, *layer.angle.transposed,
            )  # fmt: skip
        gc = room.gc if k else kept.c
        gc[:] = 0
        _kernels.backward(
            *batch.pairs, batch.u, kept.z, kept.c, layer.filters, self._spacing, room.gm,
            room.gsums, True, False, batch.gu, room.gz, gc, layer.filters,
        )  # fmt: skip
        layer.mean.back(room.shared, room.means)
        _inference.divide(room.means, batch.counts)
        for o, crystal in zip(blocks, batch.crystals, strict=True):
            _chains.back_before(
                o.gc_flat, o.soft_flat, o.soft, o.v, o.r_v, o.gv_before, o.gz, o.gn, o.s,
                layer.gain, o.r_n, crystal, o.x, room.means, o.gs, o.gs_before, room.ggain,
                *layer.carry.transposed, *layer.send.transposed,
            )  # fmt: skip


class _Batch(NamedTuple):
    """Crystals of atoms by blocks, atoms of crystals, pairs, their vectors and the gradient."""

    crystals: list[NDArray[np.int64]]
    counts: Array
    pairs: tuple[Array, Array, Array]
    u: Array
    gu: Array


class _Layer(NamedTuple):
    """Weights of a layer."""

    gain: Array
    send: Product
    filters: Array
    carry: Product
    angle: Product
    mix: Product
    mean: Product
    update: Product

    @classmethod
    def of(cls, layer: Any, matrix: Any) -> _Layer:
        angle, update, update_b = layer.angles.weight, layer.update.weight, layer.update.bias
        if layer.gate is not None:
            angle = torch.cat([angle, layer.turn.weight])
            update = torch.cat([update, layer.gate.weight])
            update_b = torch.cat([update_b, layer.gate.bias])
        carry = angle[:0, :0] if layer.carry is None else layer.carry.weight
        return cls(
            gain=_array(layer.norm.weight),
            send=_product(layer.send.weight, layer.send.bias),
            filters=_array(matrix @ layer.filters),
            carry=_product(carry),
            angle=_product(angle),
            mix=_product(layer.mix.weight, layer.mix.bias),
            mean=_product(layer.mix_mean.weight),
            update=_product(update, update_b),
        )


def _array(tensor: Any) -> Array:
    values = tensor.detach().numpy()
    made = aligned(values.size, values.dtype).reshape(values.shape)
    made[:] = values
    return made


def _product(weight: Any, bias: Any = None) -> Product:
    return Product(weight.detach().numpy(), None if bias is None else bias.detach().numpy())
