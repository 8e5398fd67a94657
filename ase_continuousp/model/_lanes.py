"""Vectors of 64 bytes for Numba kernels, which LLVM maps to the registers that there are.

Loops over channels take a few steps through a dozen rows. Left to itself LLVM vectorizes them
only behind tests that no two rows overlap, and Numba counts references to every row; both cost
more than the work. Here the code says itself what a step loads, computes and stores, and rows are
positions in a flat array. Rows must be multiples of 64 bytes.
"""
# ruff: noqa: ARG001 - Numba chooses the arguments of intrinsics

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic, models, register_model
from numba.np.arrayobj import make_array

N_BYTES = 64
# Sums may be reordered and fused; NaN and infinities keep their meaning.
_FLAGS = ("contract", "reassoc", "nsz", "arcp")


class Lanes(types.Type):  # type: ignore[misc]
    """As many numbers as fit into 64 bytes."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"Lanes({dtype})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        number = dmm.lookup(fe_type.dtype).get_value_type()
        n_lanes = N_BYTES // (fe_type.dtype.bitwidth // 8)
        super().__init__(dmm, fe_type, ir.VectorType(number, n_lanes))


@intrinsic
def load(typing: Any, array: Any, start: Any) -> Any:
    """Return the lanes that begin at `start` of the flattened C array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = context.get_value_type(signature.return_type)
        value = builder.load(_pointer(context, builder, signature, arguments, vector))
        value.align = signature.args[0].dtype.bitwidth // 8
        return value

    return Lanes(array.dtype)(array, types.intp), generate


@intrinsic
def store(typing: Any, array: Any, start: Any, lanes: Any) -> Any:
    """Write lanes to the flattened C array, from `start` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target = _pointer(context, builder, signature, arguments, arguments[2].type)
        builder.store(arguments[2], target, align=signature.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), generate


def _pointer(context: Any, builder: Any, signature: Any, arguments: Any, vector: Any) -> Any:
    array = make_array(signature.args[0])(context, builder, arguments[0])
    return builder.bitcast(builder.gep(array.data, [arguments[1]]), vector.as_pointer())


def _spread(context: Any, builder: Any, kind: Any, value: Any, vector: Any) -> Any:
    if isinstance(kind, Lanes):
        return value
    zero = ir.Constant(ir.IntType(32), 0)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, zero)
    mask = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None)
    return builder.shuffle_vector(first, first, mask)


@intrinsic
def fill(typing: Any, x: Any) -> Any:
    """Return lanes that all hold x."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = context.get_value_type(signature.return_type)
        return _spread(context, builder, x, arguments[0], vector)

    return Lanes(x)(x), generate


@intrinsic
def mul(typing: Any, x: Any, y: Any) -> Any:
    """Return x y, where y is lanes and x lanes or a number of the same type."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        y_value = arguments[1]
        x_value = _spread(context, builder, signature.args[0], arguments[0], y_value.type)
        return builder.fmul(x_value, y_value, flags=_FLAGS)

    return y(x if isinstance(x, Lanes) else y.dtype, y), generate


@intrinsic
def mad(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """Return x y + z, where y and z are lanes and x lanes or a number of the same type."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        y_value, z_value = arguments[1:]
        x_value = _spread(context, builder, signature.args[0], arguments[0], y_value.type)
        product = builder.fmul(x_value, y_value, flags=_FLAGS)
        return builder.fadd(product, z_value, flags=_FLAGS)

    return y(x if isinstance(x, Lanes) else y.dtype, y, z), generate


@intrinsic
def total(typing: Any, x: Any) -> Any:
    """Return the sum of lanes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = arguments[0]
        width = value.type.count
        while width > 1:  # halves on halves
            width //= 2
            kind = ir.VectorType(ir.IntType(32), width)
            low = ir.Constant(kind, list(range(width)))
            high = ir.Constant(kind, list(range(width, 2 * width)))
            halves = (builder.shuffle_vector(value, value, mask) for mask in (low, high))
            value = builder.fadd(*halves, flags=_FLAGS)
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return x.dtype(x), generate
