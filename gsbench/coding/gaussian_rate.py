"""The rate of conditional Gaussians while training: bits as a differentiable function."""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gsbench.native import gaussian_rate as native

_LOG_ROOT_2PI: Final = 0.5 * math.log(2 * math.pi)
#: Below this width of a bin, in standard deviations, its mass is computed from its center.
_NARROW: Final = 1e-4


def gaussian_bits(
    x: Tensor, mean: Tensor, scale: Tensor, step: Tensor | float = 1.0, *, floor: float | None = None
) -> Tensor:
    """Bits that x costs when it is quantized with `step` and coded by a Gaussian: -log2 of the mass of
    [x - step/2, x + step/2] (Ballé et al., "Variational image compression with a scale hyperprior", 2018, equation 8).

    Stable however far x lies from the mean: logarithms of tails are subtracted, never numbers near 1. Computed in
    float64; gradients go to all four arguments, by closed formulas.

    Args:
        x: values, with training's noise or rounded to multiples of `step`; any shape.
        mean: broadcastable with x, as are all.
        scale: standard deviation, positive, in the unit of x.
        step: positive.
        floor: least mass, 1e-6 in HAC (Chen et al., 2024); no x then costs more than -log2(floor). As there, what lies
            below it still has a gradient, that of -mass / (floor ln 2).

    Returns:
        Bits, of the broadcast shape and the dtype of x.
    """
    step_tensor = step if isinstance(step, Tensor) else x.new_tensor(step)
    arguments = torch.broadcast_tensors(x, mean, scale, step_tensor)  # type: ignore[no-untyped-call]
    simple = all(t.device.type == "cpu" and t.dtype == torch.float32 for t in arguments)
    function = _NativeGaussianBits if simple else _GaussianBits
    bits: Tensor = function.apply(*arguments, floor)  # type: ignore[no-untyped-call]
    return bits


class _NativeGaussianBits(torch.autograd.Function):
    """`_GaussianBits` of float32 on the CPU, in one pass each way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, scale: Tensor, step: Tensor, floor: float | None) -> Tensor:
        arguments = [t.contiguous() for t in (x, mean, scale, step)]
        ctx.log_floor = -math.inf if floor is None else math.log(floor)
        bits, log_mass = native.gaussian_bits(arguments[0], arguments[1], arguments[2], arguments[3], ctx.log_floor)
        ctx.save_for_backward(*arguments, log_mass)
        return bits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        *arguments, log_mass = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:4]
        return *native.gaussian_bits_backward(arguments, ctx.log_floor, log_mass, grad.contiguous(), wanted), None


class _GaussianBits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, scale: Tensor, step: Tensor, floor: float | None) -> Tensor:
        offset = x.double() - mean.double()
        sigma, width = scale.double(), step.double()
        # By symmetry, the bin on the left of the mean: its edges are in the lower tail, or one is above by half a step.
        center = -offset.abs() / sigma
        half = 0.5 * width / sigma
        upper = torch.special.log_ndtr(center + half)
        lower = torch.special.log_ndtr(center - half)
        log_mass = upper + torch.log(-torch.expm1(lower - upper))
        narrow = half < 0.5 * _NARROW
        if narrow.is_cuda or bool(narrow.any()):  # to ask would be to wait
            # The density's exponential factor e^(-cu) is integrated exactly, e^(-u^2/2) taken as 1 within the bin.
            u = center * half
            stretch = torch.where(u.abs() < 1e-3, u * u / 6, torch.log(torch.sinh(u.abs()) / u.abs()))
            log_mass = torch.where(
                narrow, -0.5 * center * center - _LOG_ROOT_2PI + torch.log(2 * half) + stretch, log_mass
            )
        ctx.save_for_backward(offset, sigma, width, log_mass)
        ctx.floor = floor
        if floor is not None:
            log_mass = log_mass.clamp(min=math.log(floor))
        bits: Tensor = (-log_mass / math.log(2)).to(x.dtype)
        return bits

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        offset, sigma, width, log_mass = ctx.saved_tensors
        # d mass / d offset = (density at the upper edge - at the lower one) / sigma, and so on.
        upper, lower = (offset + 0.5 * width) / sigma, (offset - 0.5 * width) / sigma
        floored = log_mass if ctx.floor is None else log_mass.clamp(min=math.log(ctx.floor))
        at_upper = torch.exp(-0.5 * upper * upper - _LOG_ROOT_2PI - floored)
        at_lower = torch.exp(-0.5 * lower * lower - _LOG_ROOT_2PI - floored)
        # Of opposite signs around the mean, so only sums of the same sign are formed where it matters; the difference
        # for narrow bins is a product.
        middle, half = offset / sigma, 0.5 * width / sigma
        density = torch.exp(-0.5 * middle * middle - 0.5 * half * half - _LOG_ROOT_2PI - floored)
        tilt = (middle * half).clamp(-300.0, 300.0)
        near = tilt.abs() < 1.0
        difference = torch.where(near, -2.0 * density * torch.sinh(tilt), at_upper - at_lower)
        scaled = grad.double() * (-1.0 / math.log(2)) / sigma
        to_x = scaled * difference
        to_scale = -scaled * (
            torch.where(
                near, middle * difference + 2.0 * half * density * torch.cosh(tilt), upper * at_upper - lower * at_lower
            )
        )
        to_step = scaled * 0.5 * (at_upper + at_lower)
        kinds = [grad.dtype] * 4
        results = (to_x, -to_x, to_scale, to_step)
        return *(r.to(k) if n else None for r, k, n in zip(results, kinds, ctx.needs_input_grad, strict=False)), None
