"""The rasterizer as it is defined: dense, slow, float64, differentiable. The oracle for every backend.

Every Gaussian is evaluated at every pixel: no tiles, no culling by extent. Written to be compared with ARCHITECTURE.md,
section 3, line by line.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from gsbench.splats.sh import sh_basis

ALPHA_MIN: Final = 1.0 / 255.0
ALPHA_MAX: Final = 0.99
TRANSMITTANCE_MIN: Final = 1e-4


def rotation_matrices(quats: Tensor) -> Tensor:
    """Rotation matrices [N, 3, 3] of quaternions wxyz [N, 4], which need not be normalized."""
    w, x, y, z = (quats / quats.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def projected_covariances(
    points: Tensor, covariances: Tensor, K: Tensor, width: int, height: int, eps2d: float
) -> Tensor:
    """Covariances on the screen [N, 2, 2], in square pixels, of Gaussians in camera space (EWA; Zwicker et al. 2001).

    In the Jacobian, x/z and y/z are clamped to the image bounds plus 0.3 tan(fov/2) on each side.
    """
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    x, y, z = points.unbind(-1)
    margin_x, margin_y = 0.3 * 0.5 * width / fx, 0.3 * 0.5 * height / fy
    ratio_x = torch.clamp(x / z, -cx / fx - margin_x, (width - cx) / fx + margin_x)
    ratio_y = torch.clamp(y / z, -cy / fy - margin_y, (height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    jacobian = torch.stack(
        [
            torch.stack([fx / z, zero, -fx * ratio_x / z], dim=-1),
            torch.stack([zero, fy / z, -fy * ratio_y / z], dim=-1),
        ],
        dim=-2,
    )
    return jacobian @ covariances @ jacobian.mT + eps2d * torch.eye(2, dtype=points.dtype)


def reference_rasterization(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    eps2d: float = 0.3,
    sh_degree: int | None = None,
    backgrounds: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Image [C, H, W, 3] and alpha [C, H, W, 1] in float64; arguments as for `gsbench.rasterization`, in float64.

    The order of blending is by camera z rounded to float32, ties by index.
    """
    images, alphas = [], []
    for c in range(viewmats.shape[0]):
        rotation, translation, K = viewmats[c, :3, :3], viewmats[c, :3, 3], Ks[c]
        points = means @ rotation.T + translation
        axes = rotation @ rotation_matrices(quats) * scales[:, None, :]
        covariances = projected_covariances(points, axes @ axes.mT, K, width, height, eps2d)
        conics = torch.linalg.inv(covariances)
        centers = points[:, :2] / points[:, 2:] * torch.stack([K[0, 0], K[1, 1]]) + K[:2, 2]
        if sh_degree is None:
            rgb = colors if colors.ndim == 2 else colors[c]
        else:
            directions = means + rotation.T @ translation
            directions = directions / directions.norm(dim=-1, keepdim=True)
            basis = sh_basis(sh_degree, directions)
            rgb = torch.clamp_min((basis[:, :, None] * colors[:, : basis.shape[1]]).sum(dim=1) + 0.5, 0.0)

        rows = torch.arange(height, dtype=means.dtype)[:, None] + 0.5
        columns = torch.arange(width, dtype=means.dtype)[None, :] + 0.5
        image = torch.zeros(height, width, 3, dtype=means.dtype)
        transmittance = torch.ones(height, width, dtype=means.dtype)
        stopped = torch.zeros(height, width, dtype=torch.bool)
        z32 = points[:, 2].detach().float()
        for g in torch.argsort(z32, stable=True).tolist():
            if not near_plane <= z32[g].item() <= far_plane or opacities[g].item() < ALPHA_MIN:
                continue
            dx, dy = columns - centers[g, 0], rows - centers[g, 1]
            conic = conics[g]
            sigma = 0.5 * (conic[0, 0] * dx * dx + conic[1, 1] * dy * dy) + conic[0, 1] * dx * dy
            alpha = torch.clamp_max(opacities[g] * torch.exp(-sigma), ALPHA_MAX)
            drawn = (alpha.detach() >= ALPHA_MIN) & ~stopped
            remaining = transmittance * (1 - alpha)
            stops = drawn & (remaining.detach() <= TRANSMITTANCE_MIN)
            stopped = stopped | stops
            drawn = drawn & ~stops
            weight = torch.where(drawn, alpha * transmittance, 0.0)
            image = image + weight[..., None] * rgb[g]
            transmittance = torch.where(drawn, remaining, transmittance)
        if backgrounds is not None:
            image = image + transmittance[..., None] * backgrounds[c]
        images.append(image)
        alphas.append(1 - transmittance[..., None])
    return torch.stack(images), torch.stack(alphas)
