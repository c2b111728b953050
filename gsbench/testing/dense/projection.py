"""From Gaussians in the world to their images on the screen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

ALPHA_MIN: Final = 1.0 / 255.0
ALPHA_MAX: Final = 0.99
#: The smallest factor by which antialiasing reduces an opacity.
COMPENSATION_MIN: Final = 0.005
#: No extent is larger than this many standard deviations (sqrt(2 ln 255) is below it).
REACH_MAX: Final = 3.33


@dataclass(frozen=True)
class View:
    """One camera: rotation [3, 3] and translation [3] from world to camera, K [3, 3], size in pixels."""

    rotation: Tensor
    translation: Tensor
    K: Tensor
    width: int
    height: int

    @property
    def center(self) -> Tensor:
        """The camera's place in the world [3]."""
        return -self.rotation.T @ self.translation


@dataclass(frozen=True)
class Projection:
    """What a camera sees of the K Gaussians that are not culled.

    Fields:
        rows: int64 [K], which Gaussians, in the order of blending: by camera z rounded to float32, ties by index.
        points: [K, 3] in camera space.
        centers: [K, 2] in pixels.
        conics: [K, 2, 2], the inverse covariances on the screen.
        opacities: [K], as they are blended (after antialiasing).
        radii: [K, 2], the extent along x and y in whole pixels.
        touches: bool [K], whether the extent holds the sampling point of a pixel.
    """

    rows: Tensor
    points: Tensor
    centers: Tensor
    conics: Tensor
    opacities: Tensor
    radii: Tensor
    touches: Tensor


def rotation_matrices(quats: Tensor) -> Tensor:
    """Rotation matrices [N, 3, 3] of quaternions wxyz [N, 4], which need not be normalized."""
    w, x, y, z = (quats / quats.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def world_covariances(quats: Tensor | None, scales: Tensor | None, covars: Tensor | None) -> Tensor:
    """Covariances [N, 3, 3] in the world, from rotations and standard deviations or as they are given.

    Of given ones the symmetric part counts, so their gradient is symmetric.
    """
    if covars is not None:
        return 0.5 * (covars + covars.mT)
    assert quats is not None
    assert scales is not None
    axes = rotation_matrices(quats) * scales[:, None, :]
    return axes @ axes.mT


def shortest_axes(quats: Tensor | None, scales: Tensor | None, covars: Tensor | None) -> Tensor:
    """Unit axes [N, 3] in the world along which the Gaussians are thinnest, the first of equals; of either sign."""
    if covars is not None:
        vectors: Tensor = torch.linalg.eigh(0.5 * (covars + covars.mT)).eigenvectors
        return vectors[:, :, 0]
    assert quats is not None
    assert scales is not None
    return rotation_matrices(quats)[torch.arange(len(scales)), :, first(scales == scales.amin(dim=1, keepdim=True))]


def first(choices: Tensor) -> Tensor:
    """The first true entry of every row of a bool [N, M], or M where there is none; int64 [N]."""
    count = choices.shape[1]
    return torch.where(choices, torch.arange(count), count).amin(dim=1)


def jacobians(points: Tensor, K: Tensor, width: int, height: int) -> Tensor:
    """The derivative [N, 2, 3] of the projection at points in camera space (EWA; Zwicker et al. 2001).

    In it, x/z and y/z are clamped to the image bounds plus 0.3 tan(fov/2) on each side.
    """
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    x, y, z = points.unbind(-1)
    margin_x, margin_y = 0.3 * 0.5 * width / fx, 0.3 * 0.5 * height / fy
    ratio_x = torch.clamp(x / z, -cx / fx - margin_x, (width - cx) / fx + margin_x)
    ratio_y = torch.clamp(y / z, -cy / fy - margin_y, (height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    return torch.stack(
        [
            torch.stack([fx / z, zero, -fx * ratio_x / z], dim=-1),
            torch.stack([zero, fy / z, -fy * ratio_y / z], dim=-1),
        ],
        dim=-2,
    )


def projected_covariances(
    points: Tensor, covariances: Tensor, K: Tensor, width: int, height: int, eps2d: float
) -> Tensor:
    """Covariances on the screen [N, 2, 2], in square pixels, of Gaussians in camera space, with the low-pass."""
    jacobian = jacobians(points, K, width, height)
    return jacobian @ covariances @ jacobian.mT + eps2d * torch.eye(2, dtype=points.dtype)


def determinants(matrices: Tensor) -> Tensor:
    """Determinants [N] of symmetric matrices [N, 2, 2]."""
    return matrices[:, 0, 0] * matrices[:, 1, 1] - matrices[:, 0, 1] * matrices[:, 1, 0]


def compensations(sharp: Tensor, blurred: Tensor) -> Tensor:
    """The factors [N] by which antialiasing reduces opacities: the low-pass enlarged the Gaussians' areas.

    Mip-Splatting (Yu et al. 2024), section 4.2: sqrt(det sharp / det blurred), here not below `COMPENSATION_MIN`.
    """
    return torch.sqrt(torch.clamp_min(determinants(sharp) / determinants(blurred), COMPENSATION_MIN**2))


def extents(covariances: Tensor, opacities: Tensor) -> Tensor:
    """How far [N, 2] from the center, along x and y in pixels, alpha can reach 1/255."""
    reach = torch.clamp_max(torch.sqrt(torch.clamp_min(2 * torch.log(opacities / ALPHA_MIN), 0.0)), REACH_MAX)
    return reach[:, None] * torch.sqrt(torch.diagonal(covariances, dim1=-2, dim2=-1))


def holds_a_pixel(centers: Tensor, extent: Tensor, view: View) -> Tensor:
    """Whether the sampling point of some pixel lies within `extent` [N, 2] of `centers` [N, 2]; bool [N]."""
    size = torch.tensor([view.width, view.height])
    lowest = torch.clamp_min(torch.ceil(centers - extent - 0.5), 0.0)
    highest = torch.minimum(torch.floor(centers + extent - 0.5), size - 1.0)
    return (lowest <= highest).all(dim=1)


def project(
    means: Tensor,
    covariances: Tensor,
    opacities: Tensor,
    view: View,
    *,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    antialiased: bool = False,
) -> Projection:
    """Gaussians (means [N, 3], covariances [N, 3, 3] in the world, opacities [N]) as `view` sees them."""
    points = means @ view.rotation.T + view.translation
    # Decisions by z are made in float32, the precision of the backends, with float32 planes.
    z32 = points[:, 2].detach().float()
    near, far = torch.tensor([near_plane, far_plane], dtype=torch.float32)
    rows = torch.argsort(z32, stable=True)
    rows = rows[((near <= z32) & (z32 <= far))[rows]]

    in_camera = view.rotation @ covariances[rows] @ view.rotation.T
    sharp = projected_covariances(points[rows], in_camera, view.K, view.width, view.height, 0.0)
    blurred = sharp + eps2d * torch.eye(2, dtype=sharp.dtype)
    determinant = determinants(blurred.detach())
    proper = (determinant > 0) & (determinant <= torch.finfo(torch.float32).max)
    rows, sharp, blurred = rows[proper], sharp[proper], blurred[proper]

    blended = opacities[rows]
    if antialiased:
        blended = blended * compensations(sharp, blurred)
    extent = extents(blurred.detach(), blended.detach())
    kept = (blended.detach() >= ALPHA_MIN) & ((torch.ceil(extent) > radius_clip).any(dim=1) | (radius_clip <= 0))
    rows, blurred, blended, extent = rows[kept], blurred[kept], blended[kept], extent[kept]

    points = points[rows]
    centers = points[:, :2] / points[:, 2:] * torch.stack([view.K[0, 0], view.K[1, 1]]) + view.K[:2, 2]
    return Projection(
        rows=rows,
        points=points,
        centers=centers,
        conics=torch.linalg.inv(blurred),
        opacities=blended,
        radii=torch.ceil(extent),
        touches=holds_a_pixel(centers.detach(), extent, view),
    )


def depth_margin(seen: Projection) -> float:
    """The smallest relative difference of depth between neighbors in the order of blending that is not zero."""
    z = seen.points[:, 2].detach()
    gaps = (z.diff() / z[1:])[z.float().diff() != 0] if len(z) > 1 else z[:0]
    return float(gaps.min()) if gaps.numel() > 0 else float("inf")
