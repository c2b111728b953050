"""Bits of values by conditional Gaussians, and their gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gsbench.native._check import pointer
from gsbench.native._library import call

_NAMES = ("x", "mean", "scale", "step")


def gaussian_bits(
    x: Tensor, mean: Tensor, scale: Tensor, step: Tensor, log_floor: float, threads: int | None = None
) -> tuple[Tensor, Tensor]:
    """-log2 of the mass that Gaussians have in [x - step/2, x + step/2], computed in float64.

    Args:
        x, mean, scale, step: float32, contiguous, on the CPU, of one shape.
        log_floor: natural logarithm of the least mass; -inf for none.
        threads: how many to use; torch's number by default. The result does not depend on it.

    Returns:
        Bits, float32; and the logarithms of the masses without the bound, float64.

    Raises:
        ValueError: if an argument is not as stated.
    """
    bits, log_mass = torch.empty_like(x), torch.empty(x.shape, dtype=torch.float64)
    call(
        "gsb_gaussian_bits",
        *_pointers((x, mean, scale, step)),
        x.numel(),
        log_floor,
        bits.data_ptr(),
        log_mass.data_ptr(),
        torch.get_num_threads() if threads is None else threads,
    )
    return bits, log_mass


def gaussian_bits_backward(
    arguments: Sequence[Tensor],
    log_floor: float,
    log_mass: Tensor,
    grad_bits: Tensor,
    wanted: Sequence[bool],
    threads: int | None = None,
) -> list[Tensor | None]:
    """Gradients to x, mean, scale and step, float32, where `wanted`. What lies below the bound has one too, that of
    -mass / (floor ln 2).

    Args:
        arguments: x, mean, scale and step, as in `gaussian_bits`; so is `log_floor`.
        log_mass: what that gave.
        grad_bits: the gradient to the bits, float32, contiguous.

    Raises:
        ValueError: if an argument is not as stated.
    """
    shape = arguments[0].shape
    grads = [torch.empty(shape) if want else None for want in wanted]
    call(
        "gsb_gaussian_bits_backward",
        *_pointers(arguments),
        grad_bits.numel(),
        log_floor,
        pointer("log_mass", log_mass, torch.float64, shape),
        pointer("grad_bits", grad_bits, torch.float32, shape),
        *(None if grad is None else grad.data_ptr() for grad in grads),
        torch.get_num_threads() if threads is None else threads,
    )
    return grads


def _pointers(arguments: Sequence[Tensor]) -> list[int]:
    shape = arguments[0].shape
    return [pointer(name, t, torch.float32, shape) for name, t in zip(_NAMES, arguments, strict=True)]
