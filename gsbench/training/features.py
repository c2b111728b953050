"""The spherical harmonics of a model as the rasterizer takes them, from the two tensors that are trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gsbench.native._pool import empty_result


class _Joined(torch.autograd.Function):
    """``torch.cat([dc, rest], dim=1)`` whose result and gradients lie in memory that is used again, and whose gradients
    are contiguous, so that nothing copies them once more.
    """

    @staticmethod
    def forward(ctx: Any, dc: Tensor, rest: Tensor) -> Tensor:
        ctx.first = dc.shape[1]
        result = empty_result(len(dc), dc.shape[1] + rest.shape[1], dc.shape[2])
        result[:, : dc.shape[1]] = dc
        result[:, dc.shape[1] :] = rest
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        parts = grad[:, : ctx.first], grad[:, ctx.first :]
        return tuple(empty_result(*part.shape).copy_(part) for part in parts)


def joined_features(dc: Tensor, rest: Tensor) -> Tensor:
    """SH coefficients [N, K, 3] from those of degree 0, [N, 1, 3], and the others, [N, K - 1, 3].

    Differentiable once on the CPU in float32; elsewhere it is `torch.cat`.
    """
    if dc.device.type == "cpu" and dc.dtype == rest.dtype == torch.float32 and len(dc) == len(rest):
        result: Tensor = _Joined.apply(dc, rest)  # type: ignore[no-untyped-call]
        return result
    return torch.cat([dc, rest], dim=1)
