"""Where anchors are: voxels of points, and the growth of anchors on coarser and finer grids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from gsbench.errors import SceneError
from gsbench.native import knn_mean_distance

#: Anchors are at most this many voxels from the origin along each axis, so that 21 bits hold their differences.
MOST_VOXELS: Final = 2**20 - 1


def median_distance(xyz: Tensor) -> float:
    """The median distance of a point to the nearest other one, of float32 [P, 3]; 1 for a single point."""
    if len(xyz) < 2:
        return 1.0
    distance = knn_mean_distance(xyz, 1)
    positive = distance[distance > 0.0]
    return float(positive.median()) if len(positive) else 1.0


def to_voxels(xyz: Tensor, voxel_size: float) -> Tensor:
    """The voxels of the points, int32 [V, 3], each once, in lexicographic order. Points beyond `MOST_VOXELS` are left
    out: strays, a thousand scenes away.

    Raises:
        SceneError: if all are; then voxels of this size do not suit the scene.
    """
    scaled = (xyz.double() / voxel_size).round()
    near = (scaled.abs() <= MOST_VOXELS).all(dim=1)
    if not bool(near.any()):
        reach = float(xyz.abs().amax(dim=1).min())
        raise SceneError(f"voxel_size {voxel_size:g}: too small for points that begin {reach:g} from the origin")
    scaled = scaled[near]
    voxels: Tensor = torch.unique(scaled.to(torch.int64), dim=0)
    return voxels.to(torch.int32)


def row_keys(*coordinates: Tensor) -> list[Tensor]:
    """A number for every row of integer tensors [n_i, 3], int64 [n_i]: equal where the rows are, and in their
    lexicographic order.
    """
    rows = torch.cat([c.to(torch.int64) for c in coordinates])
    keys = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
    if len(rows):
        low = rows.amin(dim=0)
        spans: list[int] = (rows.amax(dim=0) - low + 1).tolist()
        for axis in range(3):
            if spans[0] * spans[1] * spans[2] < 2**62:
                keys = keys * spans[axis] + (rows[:, axis] - low[axis])
            else:
                # Ranks in the place of coordinates: there are at most as many as rows.
                values, ranks = torch.unique(rows[:, axis], return_inverse=True)
                keys = keys * len(values) + ranks
    return list(torch.split(keys, [len(c) for c in coordinates]))


def free_cells(wanted: Tensor, taken: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct rows of `wanted` that are not among those of `taken` (integer, [n, 3] and [m, 3]).

    Returns:
        The cells [c, 3] in lexicographic order, and for every row of `wanted` the number of its cell, int64 [n], or -1
        if that is taken.
    """
    wanted_keys, taken_keys = row_keys(wanted, taken)
    cells, inverse = torch.unique(wanted_keys, return_inverse=True)
    free = ~torch.isin(cells, taken_keys)
    number = torch.where(free, free.cumsum(0) - 1, -1)
    of_row = number[inverse]
    members = (of_row >= 0).nonzero().squeeze(1)
    first = torch.full((int(free.sum()),), len(wanted), dtype=torch.int64, device=wanted.device)
    first.scatter_reduce_(0, of_row[members], members, "amin")
    return wanted[first], of_row


def rounded_quotient(values: Tensor, divisor: int) -> Tensor:
    """``values / divisor`` to the nearest integer, halves upward, for an integer tensor."""
    return torch.div(values + divisor // 2, divisor, rounding_mode="floor")


def grid_thresholds(threshold: float, hierarchy_factor: int, levels: Sequence[int]) -> list[float]:
    """The gradients from which anchors grow on the grids from coarse to fine: finer ones ask for more (Lu et al. 2024,
    equation 9).
    """
    return [threshold * (hierarchy_factor // 2) ** level for level in range(len(levels))]
