"""The same image in torch operations with autograd, tile by tile: what a rasterizer costs that needs nothing but torch.

It follows ARCHITECTURE.md, section 3, in float32, except that a Gaussian goes to every tile of its bounding box.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.scene import TILE
from gsbench.splats.sh import sh_basis


def rotations(quats: Tensor) -> Tensor:
    """Rotation matrices [N, 3, 3] of quaternions wxyz."""
    w, x, y, z = torch.nn.functional.normalize(quats).unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
    ]
    return torch.stack(rows, 1)


def project(
    means: Tensor, quats: Tensor, scales: Tensor, viewmat: Tensor, K: Tensor, width: int, height: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Centers [N, 2], covariances [N, 2, 2] with the low-pass, and camera z [N]."""
    turn, shift = viewmat[:3, :3], viewmat[:3, 3]
    points = means @ turn.T + shift
    x, y, z = points.unbind(-1)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    # In the Jacobian alone, slopes are clamped to the image and a margin.
    slopes = []
    for value, focal, center, side in ((x / z, fx, cx, width), (y / z, fy, cy, height)):
        margin = 0.3 * 0.5 * side / focal
        slopes.append(torch.clamp(value, -center / focal - margin, (side - center) / focal + margin))
    zero = torch.zeros_like(z)
    jacobian = torch.stack(
        [
            torch.stack([fx / z, zero, -fx * slopes[0] / z], -1),
            torch.stack([zero, fy / z, -fy * slopes[1] / z], -1),
        ],
        1,
    )
    half = jacobian @ turn @ (rotations(quats) * scales[:, None, :])
    covariances = half @ half.transpose(1, 2) + 0.3 * torch.eye(2)
    centers = torch.stack([fx * x / z + cx, fy * y / z + cy], -1)
    return centers, covariances, z


def torch_rasterization(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    sh: Tensor,
    viewmat: Tensor,
    K: Tensor,
    width: int,
    height: int,
    sh_degree: int,
) -> Tensor:
    """The image [H, W, 3] over black; differentiable."""
    centers, covariances, z = project(means, quats, scales, viewmat, K, width, height)
    conics = torch.linalg.inv(covariances)
    along = torch.nn.functional.normalize(means + viewmat[:3, :3].T @ viewmat[:3, 3])
    bases = (sh_degree + 1) ** 2
    colors = ((sh_basis(sh_degree, along)[:, :, None] * sh[:, :bases]).sum(1) + 0.5).clamp_min(0)
    with torch.no_grad():
        reach = torch.sqrt(2 * torch.log(255 * opacities).clamp_min(0))[:, None]
        radii = (reach * torch.diagonal(covariances, dim1=1, dim2=2).sqrt()).ceil()
        first, last = (centers - radii) / TILE, (centers + radii) / TILE
        drawn = (z > 0.01) & (opacities >= 1 / 255)
        order = torch.argsort(z, stable=True)
        order = order[drawn[order]]
        first, last = first[order], last[order]
    rows = []
    for top in range(-(-height // TILE)):
        in_row = order[(first[:, 1] < top + 1) & (last[:, 1] > top)]
        low, high = centers[in_row, 0] - radii[in_row, 0], centers[in_row, 0] + radii[in_row, 0]
        tiles = []
        for left in range(-(-width // TILE)):
            chosen = in_row[(low < (left + 1) * TILE) & (high > left * TILE)]
            tiles.append(_tile(chosen, left * TILE, top * TILE, width, height, centers, conics, opacities, colors))
        rows.append(torch.cat(tiles, dim=1))
    return torch.cat(rows, dim=0)


def _tile(
    chosen: Tensor,
    left: int,
    top: int,
    width: int,
    height: int,
    centers: Tensor,
    conics: Tensor,
    opacities: Tensor,
    colors: Tensor,
) -> Tensor:
    """One tile of the image, from the Gaussians `chosen` in the order of blending."""
    x = torch.arange(left, min(left + TILE, width)) + 0.5
    y = torch.arange(top, min(top + TILE, height)) + 0.5
    pixels = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2)
    offset = pixels - centers[chosen][:, None]
    conic = conics[chosen]
    sigma = (
        0.5 * (conic[:, 0, 0, None] * offset[..., 0] ** 2 + conic[:, 1, 1, None] * offset[..., 1] ** 2)
        + conic[:, 0, 1, None] * offset[..., 0] * offset[..., 1]
    )
    alpha = (opacities[chosen][:, None] * torch.exp(-sigma)).clamp_max(0.99)
    alpha = torch.where(alpha >= 1 / 255, alpha, 0.0)
    clear = torch.cumprod(torch.cat([torch.ones(1, len(pixels)), 1 - alpha]), dim=0)
    alpha = torch.where(clear[1:] > 1e-4, alpha, 0.0)
    weight = alpha * clear[:-1]
    return (weight.T @ colors[chosen]).reshape(len(y), len(x), 3)
