"""Made-up Gaussians, cameras and photographs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

#: The sides of a tile, pixels.
TILE = 16


@dataclass(frozen=True)
class MadeUp:
    """N Gaussians that fill what a camera at the origin sees from 2 to 10 units away, and the camera.

    They are as large as the room that each has, on average, so that an image looks alike whatever their number;
    `coverage` is a factor on their size.
    """

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    sh: Tensor
    viewmat: Tensor
    K: Tensor
    width: int
    height: int

    @staticmethod
    def of(count: int, width: int, height: int, *, sh_degree: int = 3, coverage: float = 0.7) -> MadeUp:
        g = torch.Generator().manual_seed(0)
        focal = 0.8 * max(width, height)
        near, far = 2.0, 10.0
        z = (near**3 + (far**3 - near**3) * torch.rand(count, generator=g)) ** (1 / 3)
        x, y = ((torch.rand(count, generator=g) - 0.5) * 1.05 * side / focal * z for side in (width, height))
        volume = width * height / focal**2 * (far**3 - near**3) / 3
        size = coverage * (volume / count) ** (1 / 3)
        scales = size * torch.exp(0.6 * torch.randn(count, 3, generator=g) - 0.6)
        bases = (sh_degree + 1) ** 2
        sh = 0.15 * torch.randn(count, bases, 3, generator=g)
        sh[:, 0] += 0.5
        K = torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
        return MadeUp(
            means=torch.stack([x, y, z], dim=1),
            quats=torch.randn(count, 4, generator=g),
            scales=scales,
            opacities=torch.sigmoid(1.5 * torch.randn(count, generator=g)),
            sh=sh,
            viewmat=torch.eye(4),
            K=K,
            width=width,
            height=height,
        )

    def leaves(self) -> tuple[Tensor, ...]:
        """Means, quaternions, scales, opacities and colors, with gradients."""
        values = (self.means, self.quats, self.scales, self.opacities, self.sh)
        return tuple(value.clone().requires_grad_() for value in values)

    @property
    def sh_degree(self) -> int:
        return math.isqrt(self.sh.shape[1]) - 1


def pair_bound(means2d: Tensor, radii: Tensor, width: int, height: int) -> int:
    """The tiles that the bounding boxes of Gaussians [N, 2] touch: pairs of a Gaussian and a tile, as allocated."""
    count = torch.ones(len(means2d), dtype=torch.int64)
    for axis, side in enumerate((width, height)):
        tiles = -(-side // TILE)
        low = ((means2d[:, axis] - radii[:, axis]) / TILE).floor().clamp(0, tiles)
        high = ((means2d[:, axis] + radii[:, axis]) / TILE).ceil().clamp(0, tiles)
        count *= (high - low).to(torch.int64)
    return int(count[(radii > 0).all(dim=1)].sum())


def photograph(width: int, height: int, seed: int = 0) -> Tensor:
    """Smooth noise as a photograph, uint8 [H, W, 3]."""
    g = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, -(-height // 16), -(-width // 16), generator=g)
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return (fine[0] * 255).to(torch.uint8).permute(1, 2, 0).contiguous()
