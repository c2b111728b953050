"""What every Gaussian contributes to every pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from gsbench.testing.dense.projection import ALPHA_MAX, ALPHA_MIN

TRANSMITTANCE_MIN: Final = 1e-4


@dataclass(frozen=True)
class Blend:
    """K Gaussians, in the order of blending, at P pixels, row by row.

    Fields:
        drawn: bool [K, P], whether the Gaussian is blended into the pixel.
        alpha: [K, P], its opacity there; zero where it is not drawn.
        before: [K, P], the transmittance in front of it.
        weight: [K, P], alpha times transmittance.
        behind: [P], the transmittance behind everything that is drawn.
    """

    drawn: Tensor
    alpha: Tensor
    before: Tensor
    weight: Tensor
    behind: Tensor


def pixel_centers(width: int, height: int) -> Tensor:
    """Where pixels are sampled, row by row: [H * W, 2], x and y."""
    rows = torch.arange(height, dtype=torch.float64) + 0.5
    columns = torch.arange(width, dtype=torch.float64) + 0.5
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=-1)


def alphas(centers: Tensor, conics: Tensor, opacities: Tensor, pixels: Tensor) -> Tensor:
    """Alpha [K, P] of K Gaussians at P pixels [P, 2], before any threshold but that from above.

    `centers` is [K, P, 2], for every pixel its own, so that a gradient can be told apart by pixel.
    """
    offset = pixels - centers
    sigma = 0.5 * torch.einsum("kpi,kij,kpj->kp", offset, conics, offset)
    return torch.clamp_max(opacities[:, None] * torch.exp(-sigma), ALPHA_MAX)


def transmittances(alpha: Tensor) -> Tensor:
    """Transmittance [K + 1, P] in front of each of K Gaussians, and behind the last."""
    clear = torch.ones(1, alpha.shape[1], dtype=alpha.dtype)
    return torch.cumprod(torch.cat([clear, 1 - alpha]), dim=0)


def drawn_where(alpha: Tensor, mask: Tensor | None) -> Tensor:
    """Where Gaussians are drawn, bool [K, P]: at 1/255 or more, and before the stop.

    Blending stops before the first Gaussian that would bring the transmittance to 1e-4 or less. The transmittance only
    falls, so whoever comes after that one would be below as well.
    """
    hit = alpha >= ALPHA_MIN
    if mask is not None:
        hit &= mask
    return hit & (transmittances(torch.where(hit, alpha, 0.0))[1:] > TRANSMITTANCE_MIN)


def blend(alpha: Tensor, mask: Tensor | None = None) -> Blend:
    """Blend K Gaussians in order, by their `alphas` [K, P]. Where `mask` (bool [P]) is false, none is drawn."""
    drawn = drawn_where(alpha.detach(), mask)
    alpha = torch.where(drawn, alpha, 0.0)
    transmittance = transmittances(alpha)
    before, behind = transmittance[:-1], transmittance[-1]
    return Blend(drawn=drawn, alpha=alpha, before=before, weight=alpha * before, behind=behind)


def margin(alpha: Tensor, blended: Blend) -> float:
    """How far, relatively, the nearest of all decisions is from its threshold; infinity if none is made.

    A backend in another precision must agree about every decision if this is well above its rounding errors: who is
    drawn, where blending stops, before whom the transmittance is above 1/2, and whose weight is the largest.
    """
    alpha = alpha.detach()
    hit = alpha >= ALPHA_MIN
    before = transmittances(torch.where(hit, alpha, 0.0))
    decisions = [
        torch.log(alpha / ALPHA_MIN),
        torch.log(before[1:] / TRANSMITTANCE_MIN)[hit],
        torch.log(before[:-1] / 0.5)[hit],
    ]
    if len(alpha) > 1:
        largest = torch.topk(blended.weight.detach(), 2, dim=0).values
        contested = largest[1] > 0
        decisions.append(torch.log(largest[0] / largest[1])[contested])
    return min((float(values.abs().min()) for values in decisions if values.numel() > 0), default=float("inf"))
