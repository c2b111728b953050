"""The logistic function whose bits do not depend on the number of threads."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _Logistic(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        # Negation, sum and quotient are exact to the last bit in any form of the loop, and torch computes exp with one
        # routine throughout.
        result: Tensor = logits.neg().exp_().add_(1.0).reciprocal_()
        ctx.save_for_backward(result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (result,) = ctx.saved_tensors
        # From the result, not through the exponential, which overflows for very negative logits.
        gradient: Tensor = (1.0 - result).mul_(result).mul_(grad)
        return gradient


def logistic(logits: Tensor) -> Tensor:
    """``1 / (1 + exp(-logits))``: opacities from their logits.

    `torch.sigmoid` computes the elements that are left over from whole vectors with another routine, and which ones
    those are depends on how many threads share the tensor; so training with it would, too.

    Args:
        logits: floating point, of any shape; infinities give 0 and 1, NaN gives NaN.

    Returns:
        Of the same shape, dtype and device, in [0, 1]. Differentiable once.
    """
    result: Tensor = _Logistic.apply(logits)  # type: ignore[no-untyped-call]
    return result
