"""What a pixel shows: color, depth in several senses, normal, distortion. All differentiable."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from gsbench.splats.sh import sh_basis
from gsbench.testing.dense.blending import Blend

#: Expected depth divides by alpha, but by no less than this.
ALPHA_FLOOR: Final = 1e-10


def directions(means: Tensor, center: Tensor) -> Tensor:
    """Unit vectors [N, 3] from a camera at `center` [3] to `means` [N, 3]."""
    away = means - center
    unit: Tensor = away / away.norm(dim=-1, keepdim=True)
    return unit


def shaded(sh: Tensor, degree: int, along: Tensor) -> Tensor:
    """Colors [N, 3] of spherical harmonics [N, K, 3] seen along unit vectors [N, 3]: max(SH + 0.5, 0)."""
    basis = sh_basis(degree, along)
    return torch.clamp_min((basis[:, :, None] * sh[:, : basis.shape[1]]).sum(dim=1) + 0.5, 0.0)


def color(blend: Blend, values: Tensor, background: Tensor | None) -> Tensor:
    """The image [P, D] of values [K, D] in front of a background [D]."""
    image = blend.weight.T @ values
    return image if background is None else image + blend.behind[:, None] * background


def depth(blend: Blend, z: Tensor) -> Tensor:
    """Sum of weight times camera z; [P]."""
    return blend.weight.T @ z


def expected_depth(blend: Blend, z: Tensor) -> Tensor:
    """Depth as if alpha were one: `depth` divided by alpha; [P]."""
    return depth(blend, z) / torch.clamp_min(1 - blend.behind, ALPHA_FLOOR)


def median_depth(blend: Blend, z: Tensor) -> Tensor:
    """Camera z of the last drawn Gaussian with a transmittance above 1/2 in front of it; 0 if nothing is drawn; [P]."""
    reached = blend.drawn & (blend.before > 0.5)
    order = torch.arange(1, len(z) + 1)[:, None]
    last = torch.cat([torch.zeros(1, reached.shape[1], dtype=order.dtype), reached * order]).amax(dim=0)
    return torch.cat([torch.zeros(1, dtype=z.dtype), z])[last]


def facing(axes: Tensor, means: Tensor, center: Tensor) -> Tensor:
    """Axes [N, 3] with the sign that turns them towards a camera at `center`."""
    away = (axes * (means - center)).sum(dim=1, keepdim=True).detach() > 0
    return torch.where(away, -axes, axes)


def normal(blend: Blend, normals: Tensor) -> Tensor:
    """Sum of weight times unit normal [K, 3]; not normalized; [P, 3]."""
    return blend.weight.T @ normals


def distortion(blend: Blend, z: Tensor) -> Tensor:
    """Sum over all pairs i, j of w_i w_j |z_i - z_j|; [P].

    Barron et al. 2022 (Mip-NeRF 360), section 4, with points for intervals. Of each pair the one that is drawn later
    counts as the farther, so that the gradient of equal depths is defined.
    """
    gap = torch.tril(z[:, None] - z[None, :])
    return 2 * (blend.weight * (gap @ blend.weight)).sum(dim=0)
