"""Normals of Gaussians: the direction in which each is thinnest."""

from __future__ import annotations

import torch
from torch import Tensor


def _rotation_columns(quats: Tensor) -> Tensor:
    """Rotation matrices [N, 3, 3] of quaternions wxyz [N, 4], normalized here."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1, eps=0.0).unbind(-1)
    entries = (
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack(entries, dim=-1).view(-1, 3, 3)


def thinnest_axes(quats: Tensor | None, scales: Tensor | None, covars: Tensor | None) -> Tensor:
    """Unit vectors [N, 3] along the smallest scale (of equal ones the first), of either sign: a column of the rotation
    or, for covariances [N, 3, 3], the eigenvector of the smallest eigenvalue (whose gradient is infinite where two
    eigenvalues are equal). Differentiable.
    """
    if covars is not None:
        vectors: Tensor = torch.linalg.eigh(0.5 * (covars + covars.mT)).eigenvectors
        return vectors[..., 0]
    assert quats is not None
    assert scales is not None
    smallest = scales.detach().argmin(dim=-1)
    return _rotation_columns(quats).gather(2, smallest[:, None, None].expand(-1, 3, 1)).squeeze(-1)


def facing_normals(axes: Tensor, means: Tensor, viewmats: Tensor) -> Tensor:
    """Normals [C, N, 3] in the world, turned towards each camera. axes, means [N, 3]; viewmats [C, 4, 4]."""
    with torch.no_grad():
        rotations, translations = viewmats[:, :3, :3], viewmats[:, :3, 3]
        centers = -(rotations.mT @ translations[..., None]).squeeze(-1)
        away = ((means[None] - centers[:, None]) * axes[None]).sum(dim=-1, keepdim=True) > 0
    return torch.where(away, -axes[None], axes[None])
