"""Normals of Gaussians that are given by covariances: the direction in which each is thinnest. (The native code finds
those of quats and scales.)
"""

from __future__ import annotations

import torch
from torch import Tensor


def thinnest_axes(covars: Tensor) -> Tensor:
    """Unit vectors [N, 3] along the smallest eigenvalue of covariances [N, 3, 3], of either sign. Differentiable; the
    gradient is infinite where two eigenvalues are equal.
    """
    vectors: Tensor = torch.linalg.eigh(0.5 * (covars + covars.mT)).eigenvectors
    return vectors[..., 0]


def facing_normals(axes: Tensor, means: Tensor, viewmats: Tensor) -> Tensor:
    """Normals [C, N, 3] in the world, turned towards each camera. axes, means [N, 3]; viewmats [C, 4, 4]."""
    with torch.no_grad():
        rotations, translations = viewmats[:, :3, :3], viewmats[:, :3, 3]
        centers = -(rotations.mT @ translations[..., None]).squeeze(-1)
        away = ((means[None] - centers[:, None]) * axes[None]).sum(dim=-1, keepdim=True) > 0
    return torch.where(away, -axes[None], axes[None])
