"""Numbers per Gaussian that are derivatives of the image by its parameters."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gsbench.testing.dense.blending import Blend, alphas, blend
from gsbench.testing.dense.pixels import color
from gsbench.testing.dense.projection import Projection


def sensitivity(image_of: Callable[[dict[str, Tensor]], Tensor], parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    """|Sum over pixels and channels of the derivative of the image by each parameter|, of the parameters' shapes.

    `image_of` draws the color channels of one camera from parameters by name.
    """
    leaves = {name: value.detach().clone().requires_grad_() for name, value in parameters.items()}
    total = image_of(leaves).sum()
    if not total.requires_grad:
        return {name: torch.zeros_like(value) for name, value in leaves.items()}
    grads = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if grad is None else grad.abs()
        for (name, leaf), grad in zip(leaves.items(), grads, strict=True)
    }


def color_by_alpha(alpha: Tensor, mask: Tensor | None, values: Tensor, background: Tensor | None) -> Tensor:
    """The derivative [D, K, P] of each channel of each pixel by the alpha of each Gaussian at that pixel.

    Pixels do not depend on each other, so one backward pass of a channel's sum gives it for all of them.
    """
    alpha = alpha.detach().clone().requires_grad_()
    image = color(blend(alpha, mask), values.detach(), None if background is None else background.detach())
    grads = [torch.autograd.grad(channel.sum(), alpha, retain_graph=True)[0] for channel in image.unbind(dim=1)]
    return torch.stack(grads) if grads else torch.zeros(0, *alpha.shape, dtype=alpha.dtype)


def alpha_by_parameters(
    project_again: Callable[[Tensor, Tensor], Projection], means: Tensor, scales: Tensor, pixels: Tensor
) -> Tensor:
    """The derivative [6, K, P] of alpha by the Gaussian's own mean (x, y, z) and scales (1, 2, 3).

    The alpha of one Gaussian does not depend on the others' parameters, so the derivative along a parameter of all
    Gaussians at once gives it for each of them. That forward derivative is taken as the derivative, by `u`, of the
    backward pass of the sum of u times alpha.
    """
    means, scales = (value.detach().clone().requires_grad_() for value in (means, scales))
    seen = project_again(means, scales)
    alpha = alphas(seen.centers[:, None].expand(-1, len(pixels), -1), seen.conics, seen.opacities, pixels)
    u = torch.zeros_like(alpha).requires_grad_()
    by_mean, by_scale = torch.autograd.grad(alpha, (means, scales), u, create_graph=True)
    along = torch.cat([by_mean, by_scale], dim=1).sum(dim=0)
    return torch.stack([torch.autograd.grad(total, u, retain_graph=True)[0] for total in along])


def fisher(by_alpha: Tensor, by_parameters: Tensor, blended: Blend) -> Tensor:
    """Sum over pixels and channels of g g^T as its upper triangle, row by row; [K, 21].

    g [6] is the derivative of one channel of one pixel by mean and scales, the color of the Gaussian held fixed.

    Args:
        by_alpha: [D, K, P], from `color_by_alpha`.
        by_parameters: [6, K, P], from `alpha_by_parameters`.
        blended: who is drawn where.
    """
    g = torch.where(blended.drawn, by_alpha[:, None] * by_parameters, 0.0)
    matrix = torch.einsum("dikp,djkp->kij", g, g)
    row, column = torch.triu_indices(6, 6)
    return matrix[:, row, column]
