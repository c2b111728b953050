"""Grids of signs: the context of HAC (Chen et al., 2024) as a decoder reads it, with integers alone.

The float side, with gradients, is `gsbench.training.hashgrid.HashGrid`; cells, weights and rows are the same (the
formulas are in csrc/coding/sign_grid.h). Here each entry is one bit (+1 or -1), a row has four, and features are int16.
Points and signs are NumPy's or tensors on a GPU (`gsbench.coding.arrays`), and results are of that kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

import numpy as np
import numpy.typing as npt

from gsbench.coding.arrays import Array
from gsbench.native.contexts import default_threads, sign_grid_features, sign_grid_touched

__all__ = ["FEATURES", "look_up", "pack_signs", "touched_rows", "unpack_signs"]

#: Entries per row.
FEATURES: Final = 4

Int16 = npt.NDArray[np.int16]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]


def look_up(
    points: Array,
    extent: Sequence[int],
    levels: Int64,
    signs: Array,
    *,
    fraction_bits: int = 12,
    threads: int | None = None,
) -> Array:
    """The signs around each point, interpolated linearly along two or three axes, level by level.

    Args:
        points: int32 [N, 3]; clamped to 0..extent.
        extent: of the grid along each axis, at least 1.
        levels: int64 [L, 4], NumPy's: resolution, axes (bit a is set for axis a; 3, 5, 6 or 7), first row, rows.
        signs: uint8 [rows], bit f set where feature f is +1 (`pack_signs`).
        fraction_bits: 0 to 14.
        threads: how many to use; by default as many as this process may run on. The result does not depend on it.

    Returns:
        int16 [N, 4 L] in 2^-fraction_bits, from -2^fraction_bits to 2^fraction_bits: the exact value, rounded once.

    Raises:
        ValueError: if an argument is not as stated.
    """
    if isinstance(points, np.ndarray):
        found = sign_grid_features(points, extent, levels, signs, fraction_bits, threads or default_threads())
        return cast("Array", found)
    from gsbench.native.cuda import contexts

    return contexts.sign_grid_features(points, extent, contexts.levels_of(levels), signs, fraction_bits)


def touched_rows(
    points: Array, extent: Sequence[int], levels: Int64, rows: int, *, threads: int | None = None
) -> Array:
    """Which of `rows` rows have a weight at some of the points, bool [rows]: all others need not be stored.

    Raises:
        ValueError: if an argument is not as stated for `look_up`.
    """
    if isinstance(points, np.ndarray):
        return cast("Array", sign_grid_touched(points, extent, levels, rows, threads or default_threads()))
    from gsbench.native.cuda import contexts

    return contexts.sign_grid_touched(points, extent, contexts.levels_of(levels), rows)


def pack_signs(positive: Bool) -> UInt8:
    """From bool [rows, 4], True for +1, to uint8 [rows]."""
    packed: UInt8 = (positive.astype(np.uint8) << np.arange(FEATURES, dtype=np.uint8)).sum(axis=1, dtype=np.uint8)
    return packed


def unpack_signs(signs: UInt8) -> Bool:
    """The mirror of `pack_signs`."""
    return ((signs[:, None] >> np.arange(FEATURES, dtype=np.uint8)) & 1).astype(np.bool_)
