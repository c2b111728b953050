"""Quantization in training: rounding, signs and thresholds whose gradient goes straight through, and noise.

The straight-through estimator is that of Bengio et al., "Estimating or propagating gradients through stochastic
neurons", 2013; noise in the place of rounding that of Balle et al., "End-to-end optimized image compression", 2017.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gsbench.splats.activation import logistic


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, step: Tensor | float) -> Tensor:
        ctx.tensor_step = isinstance(step, Tensor) and step.requires_grad
        symbols = torch.round(values / step)
        if ctx.tensor_step:
            assert isinstance(step, Tensor)
            ctx.save_for_backward(symbols)
            ctx.step_shape = step.shape
        return symbols * step

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        if not ctx.tensor_step:
            return grad, None
        (symbols,) = ctx.saved_tensors
        return grad, (grad * symbols).sum_to_size(ctx.step_shape)


def straight_round(values: Tensor, step: Tensor | float = 1.0) -> Tensor:
    """``round(values / step) * step``, ties to even; the gradient to `values` is that of the identity.

    Args:
        values: any shape.
        step: above 0; a number, or a tensor that broadcasts to `values`. Its gradient takes the symbols as constants.
    """
    result: Tensor = _Round.apply(values, step)  # type: ignore[no-untyped-call]
    return result


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        return torch.where(values >= 0.0, 1.0, -1.0).to(values.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (values,) = ctx.saved_tensors
        gradient: Tensor = grad * (values.abs() <= 1.0)
        return gradient


def straight_sign(values: Tensor) -> Tensor:
    """1 where `values` (any shape) is 0 or more, -1 elsewhere; the gradient is that of clamping to [-1, 1] (Courbariaux
    et al., "Binarized neural networks", 2016).
    """
    result: Tensor = _Sign.apply(values)  # type: ignore[no-untyped-call]
    return result


class _Threshold(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, threshold: float) -> Tensor:
        soft = logistic(logits)
        ctx.save_for_backward(soft)
        return (soft > threshold).to(logits.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (soft,) = ctx.saved_tensors
        return (1.0 - soft).mul_(soft).mul_(grad), None


def straight_mask(logits: Tensor, threshold: float = 0.01) -> Tensor:
    """1 where sigmoid(logits) is above `threshold`, 0 elsewhere; the gradient is that of the sigmoid (Lee et al.,
    "Compact 3D Gaussian representation for radiance field", 2024, equation 3).

    Args:
        logits: any shape.
        threshold: in (0, 1).
    """
    result: Tensor = _Threshold.apply(logits, threshold)  # type: ignore[no-untyped-call]
    return result


def add_noise(values: Tensor, step: Tensor | float, generator: torch.Generator) -> Tensor:
    """`values` with uniform noise of the width of a step: what rounding does to them, on average, with a gradient to
    both.

    Args:
        values: any shape.
        step: above 0; a number, or a tensor that broadcasts to `values`.
        generator: drawn from once, a number for each of `values`.
    """
    noise = torch.rand(values.shape, generator=generator, dtype=values.dtype).sub_(0.5).to(values.device)
    return values + noise * step
