"""The image loss of 3DGS: L1 and structural similarity."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gsbench.native.cuda import training
from gsbench.native.image import image_loss


class _L1Dssim(torch.autograd.Function):
    """(loss, l1, ssim) of an image; the gradient is computed along with the values."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, target: Tensor, lambda_dssim: float) -> tuple[Tensor, Tensor, Tensor]:
        ctx.lambda_dssim = lambda_dssim
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(image, target)
        l1_weight, ssim_weight, wanted = 1.0 - lambda_dssim, -lambda_dssim, ctx.needs_input_grad[0]
        if image.is_cuda:  # nothing waits for the values
            means, ctx.gradient = training.image_loss(
                image, target, l1_weight=l1_weight, ssim_weight=ssim_weight, gradient=wanted
            )
            on_device = (1.0 - lambda_dssim) * means[0] + lambda_dssim * (1.0 - means[1])
            return on_device.float(), means[0].float(), means[1].float()
        result = image_loss(image, target, l1_weight=l1_weight, ssim_weight=ssim_weight, gradient=wanted)
        ctx.gradient = result.gradient
        total = (1.0 - lambda_dssim) * result.l1 + lambda_dssim * (1.0 - result.ssim)
        loss, l1, ssim = (torch.tensor(value, dtype=torch.float32) for value in (total, result.l1, result.ssim))
        return loss, l1, ssim

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor | None) -> tuple[Tensor | None, None, None]:
        if outer[0] is not None and outer[0].is_cuda and outer[1] is None and outer[2] is None:
            return ctx.gradient * outer[0], None, None
        of_loss, of_l1, of_ssim = (0.0 if g is None else float(g) for g in outer)
        if of_l1 == 0.0 and of_ssim == 0.0:
            gradient: Tensor = ctx.gradient
            return (gradient if of_loss == 1.0 else gradient * of_loss), None, None
        # Somebody derives the parts: other weights than those that were expected.
        image, target = ctx.saved_tensors
        result = image_loss(
            image,
            target,
            l1_weight=of_loss * (1.0 - ctx.lambda_dssim) + of_l1,
            ssim_weight=of_ssim - of_loss * ctx.lambda_dssim,
            gradient=True,
        )
        return result.gradient, None, None


def l1_dssim_loss(image: Tensor, target: Tensor, lambda_dssim: float = 0.2) -> tuple[Tensor, Tensor, Tensor]:
    """``(1 - lambda) * L1 + lambda * (1 - SSIM)``, the loss of Kerbl et al., "3D Gaussian splatting for real-time
    radiance field rendering", 2023. SSIM is defined in `gsbench.native.image.image_loss`.

    Values and gradient have the same bytes for any number of threads.

    Args:
        image: float32 [H, W, 3], not clamped; at least one pixel. Gradients flow to it, through all three results.
        target: float32 [H, W, 3] in [0, 1]; it gets no gradient.
        lambda_dssim: weight of the SSIM term.

    Returns:
        (loss, l1, ssim): float32 scalars.

    Raises:
        ValueError: if a shape or dtype differs, an image is empty, or the target requires a gradient.
        NotImplementedError: if the tensors are neither on the CPU nor on a CUDA device.
    """
    for name, tensor in (("image", image), ("target", target)):
        if tensor.device.type not in ("cpu", "cuda"):
            raise NotImplementedError(
                f"{name}: the image loss is not available on {tensor.device}, only on CPUs and CUDA devices"
            )
    if target.requires_grad:
        raise ValueError("target: expected a tensor that requires no gradient; the loss has a gradient to image only")
    results: tuple[Tensor, Tensor, Tensor] = _L1Dssim.apply(  # type: ignore[no-untyped-call]
        image.contiguous(), target.contiguous(), float(lambda_dssim)
    )
    return results
