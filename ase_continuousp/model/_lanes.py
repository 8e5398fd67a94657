"""Vectors of 64 bytes for Numba kernels, which LLVM maps to the registers that there are.

Loops over channels take a few steps through a dozen rows. Left to itself LLVM vectorizes them
only behind tests that no two rows overlap, and Numba counts references to every row; both cost
more than the work. Here the code says itself what a step loads, computes and stores, and rows are
positions in a flat array. Rows must be multiples of 64 bytes.
"""
# ruff: noqa: ARG001 - Numba chooses the arguments of intrinsics

from __future__ import annotations

import math
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
def get(typing: Any, array: Any, start: Any) -> Any:
    """Return one number of the flattened C array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array_value = make_array(signature.args[0])(context, builder, arguments[0])
        return builder.load(builder.gep(array_value.data, [arguments[1]]))

    return array.dtype(array, types.intp), generate


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


@intrinsic
def exp(typing: Any, x: Any) -> Any:
    """Return the exponential of lanes; not for functions compiled with fastmath."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector, is_single = arguments[0].type, x.dtype.bitwidth == 32
        n_bits, bias, limit, degree = (23, 127, 87.0, 7) if is_single else (52, 1023, 708.0, 13)
        whole = ir.VectorType(ir.IntType(x.dtype.bitwidth), vector.count)

        def constant(value: float) -> Any:
            return ir.Constant(vector, [value] * vector.count)

        value = arguments[0]
        for bound, order in ((-limit, "<"), (limit, ">")):  # NaN is neither
            beyond = builder.fcmp_ordered(order, value, constant(bound))
            value = builder.select(beyond, constant(bound), value)
        # exp(x) = 2^n exp(r) with |r| <= log(2)/2. In the last bits of a number of this size, n
        # stands as an integer.
        large = constant(1.5 * 2.0**n_bits)
        shifted = builder.fadd(builder.fmul(value, constant(1.0 / math.log(2.0))), large)
        n = builder.fsub(shifted, large)
        short = 0.693359375  # log(2) in two parts: products with this one are exact
        r = builder.fsub(value, builder.fmul(n, constant(short)))
        r = builder.fsub(r, builder.fmul(n, constant(math.log(2.0) - short)))
        made = constant(1.0 / math.factorial(degree))
        for k in range(degree - 1, -1, -1):
            product = builder.fmul(made, r, flags=("contract",))
            made = builder.fadd(product, constant(1.0 / math.factorial(k)), flags=("contract",))
        power = builder.shl(
            builder.bitcast(shifted, whole), ir.Constant(whole, [n_bits] * vector.count)
        )
        power = builder.add(power, ir.Constant(whole, [bias << n_bits] * vector.count))
        return builder.fmul(made, builder.bitcast(power, vector))

    return x(x), generate


@intrinsic
def div(typing: Any, x: Any, y: Any) -> Any:
    """Return x / y, where y is lanes and x lanes or a number of the same type."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        y_value = arguments[1]
        x_value = _spread(context, builder, signature.args[0], arguments[0], y_value.type)
        return builder.fdiv(x_value, y_value, flags=_FLAGS)

    return y(x if isinstance(x, Lanes) else y.dtype, y), generate
