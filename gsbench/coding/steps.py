"""The adaptive quantization step, in integers: Q (1 + tanh r), with r from a fixed table.

HAC (Chen et al., 2024) multiplies the base step Q of a group of attributes by 1 + tanh r, with r predicted per anchor.
Here r = index / 64 with an integer index from -192 to 192, and what follows from it comes from a committed table: the
multiplier (a float32), its base-2 logarithm and its reciprocal (integers). So the quantities that decide a
probability, the mean in 1/64 of the step and the scale's index, are computed from a network's integer outputs without
any rounding that a machine could do differently. Arrays are NumPy's or tensors on a GPU (`gsbench.coding.arrays`), all
of a call of one kind; results are of that kind.

Quotients by the step are differences of logarithms, or products with the reciprocal.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from gsbench.coding._tables import STEPS, load
from gsbench.coding.arrays import Array, by_rows, convert, pick, rint
from gsbench.coding.gaussian import SCALES

#: r = STEP_LIMIT / 64 = 3 at most.
STEP_LIMIT: Final = 192
#: r is index / STEP_UNIT.
STEP_UNIT: Final = 64
#: Logarithms are in 2^-12.
LOG_BITS: Final = 12
_RECIPROCAL_BITS: Final = 16

Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]


class StepTable(NamedTuple):
    """What follows from a step's index, at index + 192; 385 entries each.

    Fields:
        multiplier: float32, 1 + tanh(index / 64), nearest.
        log2: int64, log2 of it in 2^-12, nearest.
        reciprocal: int64, its reciprocal in 2^-16, nearest.
    """

    multiplier: Float32
    log2: Int64
    reciprocal: Int64


@cache
def step_table() -> StepTable:
    """The table. The file: 385 times multiplier (float32), log2 (int32) and reciprocal (uint32), little-endian."""
    rows = np.frombuffer(load("steps.bin"), [("multiplier", "<f4"), ("log2", "<i4"), ("reciprocal", "<u4")])
    assert len(rows) == STEPS
    return StepTable(
        rows["multiplier"].astype(np.float32), rows["log2"].astype(np.int64), rows["reciprocal"].astype(np.int64)
    )


@by_rows
def step_index(r: Array, fraction_bits: int) -> Array:
    """The index of the step with r = `r` / 2^fraction_bits, int32, rounded to 1/64 (halves up) and clamped to [-3, 3].

    Args:
        r: integers, any shape.
        fraction_bits: 0 to 30.
    """
    wide = convert(r, "int64")
    if fraction_bits >= 6:
        drop = fraction_bits - 6
        wide = (wide + (1 << drop >> 1)) >> drop
    else:
        wide = wide << (6 - fraction_bits)
    return convert(wide.clip(-STEP_LIMIT, STEP_LIMIT), "int32")


@by_rows
def mean_in_steps(mean: Array, fraction_bits: int, index: Array) -> Array:
    """mean64 for `put_gaussian`, int32: a mean in base steps Q as 1/64 of the adaptive step, rounded (halves up).

    Args:
        mean: integers, the mean in Q / 2^fraction_bits; any shape; clamped to magnitudes below 2^31.
        fraction_bits: 0 to 30.
        index: int32, the step's index; broadcastable.
    """
    reciprocal = pick(step_table().reciprocal, index + STEP_LIMIT)
    wide = convert(mean, "int64").clip(-(2**31), 2**31 - 1) * reciprocal
    drop = fraction_bits + _RECIPROCAL_BITS - 6
    wide = (wide + (1 << drop >> 1)) >> drop
    return convert(wide.clip(-(2**31), 2**31 - 1), "int32")


@by_rows
def scale_in_steps(log2_scale: Array, index: Array) -> Array:
    """scale_index for `put_gaussian`, uint8: the index nearest to a standard deviation in base steps Q, by the adaptive
    step.

    Args:
        log2_scale: integers, log2 of the standard deviation in Q, in 2^-12; any shape.
        index: int32, the step's index; broadcastable.
    """
    wide = convert(log2_scale, "int64").clip(-(2**31), 2**31) - pick(step_table().log2, index + STEP_LIMIT)
    nearest = (8 * wide + ((40 << LOG_BITS) + (1 << (LOG_BITS - 1)))) >> LOG_BITS
    return convert(nearest.clip(0, SCALES - 1), "uint8")


def step_sizes(base: float, index: Array) -> Array:
    """The adaptive steps, float32 of the shape of `index` (int32): one product of float32(base) with the table's
    multiplier.
    """
    return pick(np.float32(base) * step_table().multiplier, index + STEP_LIMIT)


@by_rows
def quantize(values: Array, base: float, index: Array) -> Array:
    """The symbols of `values`, int32: the nearest multiples of the adaptive step, ties to even. For the encoder alone:
    no decoder repeats this.

    Args:
        values: float32, any shape.
        base: the base step Q, above 0.
        index: int32, the steps' indices; broadcastable.
    """
    ratio = rint(convert(values, "float64") / convert(step_sizes(base, index), "float64"))
    return convert(ratio.clip(-(2.0**31), 2.0**31 - 1), "int32")


@by_rows
def dequantize(symbols: Array, base: float, index: Array) -> Array:
    """The values of symbols: float32(symbol) x step, one product, the same bits on every machine.

    Args:
        symbols: int32, any shape.
        base: the base step Q, as when they were quantized.
        index: int32, the steps' indices; broadcastable.
    """
    values: Array = convert(symbols, "float32") * step_sizes(base, index)
    return values
