"""`HashGrid`: a multi-resolution grid of learned features over space and over its three coordinate planes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import Module, Parameter

from gsbench.native.cuda import hashgrid as device
from gsbench.native.hashgrid import FEATURES, hashgrid_backward, hashgrid_forward

#: Axes of a level as bits: space, and the planes xy, xz, yz.
SPACE: Final = 7
PLANES: Final = (3, 5, 6)


@dataclass(frozen=True)
class HashLayout:
    """Levels of a grid: resolutions in space and on the planes, and the most entries that a level of each kind has.

    The defaults are those of HAC (Chen et al. 2024): 441,568 entries of 4 numbers.

    Raises:
        ValueError: if a resolution is below 2 or a size below 1.
    """

    space: tuple[int, ...] = (18, 24, 33, 44, 59, 80, 108, 148, 201, 275, 376, 514)
    planes: tuple[int, ...] = (130, 258, 514, 1026)
    space_entries: int = 1 << 13
    plane_entries: int = 1 << 15

    def __post_init__(self) -> None:
        for name in ("space", "planes"):
            if any(not 2 <= r <= 1 << 16 for r in getattr(self, name)):
                raise ValueError(f"{name}: expected resolutions from 2 to 65536, got {getattr(self, name)}")
        for name in ("space_entries", "plane_entries"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")

    def levels(self) -> Tensor:
        """int64 [L, 4]: resolution, axes, first row, rows; space first, then plane by plane."""
        rows: list[tuple[int, int, int, int]] = []
        first = 0
        kinds = [(SPACE, 3, self.space, self.space_entries)]
        kinds += [(plane, 2, self.planes, self.plane_entries) for plane in PLANES]
        for axes, dimensions, resolutions, entries in kinds:
            for resolution in resolutions:
                # A level that has room for all its vertices has a row for each, rounded up to a multiple of 8.
                size = min(entries, -(-(resolution**dimensions) // 8) * 8)
                rows.append((resolution, axes, first, size))
                first += size
        return torch.tensor(rows, dtype=torch.int64).reshape(-1, 4)


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, table: Tensor, points: Tensor, extent: Sequence[int], levels: Tensor, binary: bool
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(table, points)
        ctx.extent, ctx.levels, ctx.binary = extent, levels, binary
        if table.is_cuda:  # nothing waits for the number
            features, number = device.hashgrid_forward(points, extent, levels, table, binary=binary)
            return features, (number.double() / max(1, table.numel())).float()
        features, positive = hashgrid_forward(points, extent, levels, table, binary=binary)
        return features, table.new_tensor(positive / max(1, table.numel()))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, of_share: Tensor) -> tuple[Tensor, None, None, None, None]:
        (table, points), levels = ctx.saved_tensors, ctx.levels
        # The share is the mean of (sign + 1) / 2.
        entries = max(1, table.numel())
        if table.is_cuda:
            gradient = device.hashgrid_backward(
                points,
                ctx.extent,
                levels,
                table,
                grad.contiguous(),
                grad_signs=(of_share.double() * 0.5 / entries).float(),
                binary=ctx.binary,
            )
            return gradient, None, None, None, None
        of_signs = float(of_share) * 0.5 / entries
        gradient = hashgrid_backward(
            points, ctx.extent, levels, table, grad.contiguous(), grad_signs=of_signs, binary=ctx.binary
        )
        return gradient, None, None, None, None


class HashGrid(Module):
    """Features at integer points: entries of all levels around a point, interpolated, side by side.

    Args:
        layout: the levels.
        binary: entries count by their sign alone: one bit each. Their gradient goes straight through.

    `table` is float32 [rows, 4]. `levels` (`HashLayout.levels`) stays on the CPU, wherever the table goes.
    """

    def __init__(self, layout: HashLayout | None = None, *, binary: bool = True) -> None:
        super().__init__()
        self.layout = layout if layout is not None else HashLayout()
        self.binary = binary
        self.levels = levels = self.layout.levels()
        rows = int(levels[:, 3].sum())
        self.table = Parameter(torch.zeros(rows, FEATURES))
        self.width = FEATURES * len(levels)

    def reset(self, generator: torch.Generator) -> None:
        """Draw the entries from [-1e-4, 1e-4], as Mueller et al. 2022 do."""
        with torch.no_grad():
            self.table.copy_(torch.rand(self.table.shape, generator=generator).sub_(0.5).mul_(2e-4))

    def forward(self, points: Tensor, extent: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Look up int32 points [N, 3], which are clamped to 0..extent (in the same unit).

        Returns:
            The features, float32 [N, width]; and the share of the table's numbers that are 0 or more, a scalar whose
            gradient goes straight through the signs.
        """
        results: tuple[Tensor, Tensor] = _Lookup.apply(  # type: ignore[no-untyped-call]
            self.table, points, tuple(int(e) for e in extent), self.levels, self.binary
        )
        return results

    def bits(self, positive: Tensor) -> Tensor:
        """Entropy of all signs in bits, each coded by the share of +1 among them, which `forward` gave."""
        p = positive.clamp(1e-6, 1.0 - 1e-6)
        return -self.table.numel() * (p * p.log2() + (1.0 - p) * (1.0 - p).log2())
