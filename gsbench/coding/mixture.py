"""Integers that follow a mixture of two Gaussians, coded with the tables of `gsbench.coding.gaussian`.

A symbol comes with two means and scale indices as there, and the weight of the first in 1/2^16. The share of an
integer is the weighted sum of its shares by both; csrc/coding/mixture.cpp has the arithmetic, which is integer. Scale
indices beyond 95 (sigma 112) count as 95; integers beyond the reach of both tables are escaped.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from gsbench.coding._tables import gaussian_rows
from gsbench.coding.api import TOTAL
from gsbench.coding.arrays import Array, convert, pick
from gsbench.coding.range import RangeDecoder, RangeEncoder
from gsbench.coding.steps import STEP_LIMIT, step_index, step_table

__all__ = ["get_mixture", "put_mixture", "weights_of"]

#: Weights stay this far from 0 and 1, in 1/2^16.
_LEAST_WEIGHT: Final = 64

Int32 = npt.NDArray[np.int32]
UInt8 = npt.NDArray[np.uint8]
UInt16 = npt.NDArray[np.uint16]


def put_mixture(encoder: RangeEncoder, symbols: Int32, mean64: Int32, scale_index: UInt8, weights: UInt16) -> None:
    """Append symbols, each by its own two Gaussians.

    Args:
        encoder: of the coder `range`.
        symbols: int32 [M], contiguous as all arrays; any value.
        mean64: int32 [M, 2], means in 1/64.
        scale_index: uint8 [M, 2], below 128.
        weights: uint16 [M], of the first, in 1/2^16, at least 1.

    Raises:
        ValueError: if an argument is not as stated; nothing is appended then.
    """
    encoder.writer.put_mixture(symbols, mean64, scale_index, weights, gaussian_rows().native)


def get_mixture(decoder: RangeDecoder, mean64: Int32, scale_index: UInt8, weights: UInt16) -> Int32:
    """The next symbols, int32 [M]; arguments as `put_mixture`.

    Raises:
        ValueError: if an argument is not as stated.
        ArtifactError: if the stream is damaged or ends early.
    """
    return decoder.reader.get_mixture(mean64, scale_index, weights, gaussian_rows().native)


@cache
def _weights() -> UInt16:
    """The weight of the first for each step index: (1 + tanh) / 2, a product by a power of two and a rounding, the same
    on every machine.
    """
    wide = np.rint(step_table().multiplier.astype(np.float64) * (TOTAL // 2))
    weights: UInt16 = np.clip(wide, _LEAST_WEIGHT, TOTAL - _LEAST_WEIGHT).astype(np.uint16)
    return weights


def weights_of(first: Array, second: Array, fraction_bits: int) -> Array:
    """The weight of the first by the softmax of two logits, in 1/2^16: sigmoid(d) = (1 + tanh(d / 2)) / 2 for their
    difference d, by the table of steps, with d / 2 rounded to 1/64 and clamped to [-3, 3].

    Args:
        first, second: integers of one shape, the logits in 2^-fraction_bits. NumPy's or tensors on a GPU.
        fraction_bits: 0 to 29.

    Returns:
        Of that shape and kind; uint16, and int32 as a tensor, because GPUs have no uint16 in torch.
    """
    index = step_index(convert(first, "int64") - convert(second, "int64"), fraction_bits + 1)
    weights = _weights() if isinstance(first, np.ndarray) else _weights().astype(np.int32)
    return pick(weights, index + STEP_LIMIT)
