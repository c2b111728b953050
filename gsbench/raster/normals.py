"""Normals of Gaussians: the direction in which each is thinnest."""

from __future__ import annotations

import torch
from torch import Tensor


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
    axes = torch.nn.functional.one_hot(scales.detach().argmin(dim=-1), 3).to(quats.dtype)
    unit = torch.nn.functional.normalize(quats, dim=-1, eps=0.0)
    # A unit quaternion (w, v) turns e into e + 2 (w v x e + v x (v x e)).
    w, v = unit[:, :1], unit[:, 1:]
    turn: Tensor = torch.linalg.cross(v, axes)
    turned: Tensor = axes + 2.0 * (w * turn + torch.linalg.cross(v, turn))
    return turned


def facing_normals(axes: Tensor, means: Tensor, viewmats: Tensor) -> Tensor:
    """Normals [C, N, 3] in the world, turned towards each camera. axes, means [N, 3]; viewmats [C, 4, 4]."""
    with torch.no_grad():
        rotations, translations = viewmats[:, :3, :3], viewmats[:, :3, 3]
        centers = -(rotations.mT @ translations[..., None]).squeeze(-1)
        away = ((means[None] - centers[:, None]) * axes[None]).sum(dim=-1, keepdim=True) > 0
    return torch.where(away, -axes[None], axes[None])
