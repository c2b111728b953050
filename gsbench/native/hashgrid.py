"""Interpolation in a multi-resolution hash grid at integer points, forward and backward."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

from gsbench.native._check import pointer
from gsbench.native._library import call
from gsbench.native._pool import empty_result

#: Numbers per entry of a table.
FEATURES: Final = 4


def hashgrid_forward(
    points: Tensor,
    extent: Sequence[int],
    levels: Tensor,
    table: Tensor,
    *,
    binary: bool,
    threads: int | None = None,
) -> tuple[Tensor, int]:
    """The entries around each point, interpolated linearly along two or three axes, level by level (Mueller et al.,
    "Instant neural graphics primitives with a multiresolution hash encoding", 2022, section 3).

    Cells and weights are computed with integers alone; csrc/cpu/hashgrid.inc defines them and the hash.

    Args:
        points: int32 [N, 3], in voxels; clamped to 0..extent.
        extent: of the grid along each axis, in voxels, at least 1.
        levels: int64 [L, 4]: resolution, axes (bit a is set for axis a), first row in the table, rows.
        table: float32 [R, 4].
        binary: of each entry only the sign counts (+1 for 0).
        threads: how many to use; torch's number by default. The result does not depend on it.

    Returns:
        The features, float32 [N, 4 L], and the number of numbers in the table's levels that are 0 or more.

    Raises:
        ValueError: if an argument is not as stated.
    """
    if table.is_cuda:
        from gsbench.native.cuda import hashgrid

        found, number = hashgrid.hashgrid_forward(points, extent, levels, table, binary=binary)
        return found, int(number)
    features = empty_result(int(points.shape[0]), FEATURES * int(levels.shape[0]))
    positive = ctypes.c_int64()
    common = _arguments(points, extent, levels, table, binary)
    call("gsb_hashgrid_forward", *common, features.data_ptr(), ctypes.byref(positive), _count(threads))
    return features, positive.value


def hashgrid_backward(
    points: Tensor,
    extent: Sequence[int],
    levels: Tensor,
    table: Tensor,
    grad_features: Tensor,
    *,
    grad_signs: float = 0.0,
    binary: bool,
    threads: int | None = None,
) -> Tensor:
    """The gradient to the table, float32 [R, 4], from that to the features, float32 [N, 4 L], and that to the sum of
    all signs; the latter goes to each entry in [-1, 1].

    With `binary` it goes straight through the sign where an entry lies in [-1, 1], and is zero elsewhere (Courbariaux
    et al., "Binarized neural networks", 2016, equation 4). The same bytes for any number of threads.

    Raises:
        ValueError: if an argument is not as stated here and for `hashgrid_forward`.
    """
    if table.is_cuda:
        from gsbench.native.cuda import hashgrid

        return hashgrid.hashgrid_backward(
            points, extent, levels, table, grad_features, grad_signs=grad_signs, binary=binary
        )
    # Native code writes the rows of the levels, as a rule all there are.
    whole = int(levels[:, 3].sum()) == table.shape[0]
    gradient = empty_result(*table.shape) if whole else torch.zeros_like(table)
    address = pointer("grad_features", grad_features, torch.float32, (points.shape[0], FEATURES * levels.shape[0]))
    common = _arguments(points, extent, levels, table, binary)
    call("gsb_hashgrid_backward", *common, address, grad_signs, gradient.data_ptr(), _count(threads))
    return gradient


def _arguments(points: Tensor, extent: Sequence[int], levels: Tensor, table: Tensor, binary: bool) -> tuple[Any, ...]:
    if len(extent) != 3:
        raise ValueError(f"extent: expected three numbers, got {list(extent)}")
    return (
        pointer("points", points, torch.int32, (points.shape[0], 3)),
        points.shape[0],
        (ctypes.c_int32 * 3)(*extent),
        pointer("levels", levels, torch.int64, (levels.shape[0], 4)),
        levels.shape[0],
        pointer("table", table, torch.float32, (table.shape[0], FEATURES)),
        table.shape[0],
        int(binary),
    )


def _count(threads: int | None) -> int:
    return torch.get_num_threads() if threads is None else threads
