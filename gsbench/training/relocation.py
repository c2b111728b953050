"""The arithmetic of relocation in "3D Gaussian Splatting as Markov Chain Monte Carlo" (Kheradmand et al. 2024).

Everything is computed in float64 by sequential code, so that results have the same bytes for any number of threads.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

#: More Gaussians in one place than this are treated like this many (the size of gsplat's table of binomials).
MAX_COPIES: Final = 51

#: Opacities are not taken above this: an opaque Gaussian cannot be divided into translucent ones.
MAX_OPACITY: Final = 1.0 - 2.0**-23

Floats = npt.NDArray[np.float64]


def relocated(
    opacity_logits: Tensor, log_scales: Tensor, copies: Tensor, min_opacity: float = 0.0
) -> tuple[Tensor, Tensor]:
    """What one Gaussian becomes when `copies` of it, all alike, are to look as it did alone.

    Equation 9 of the paper, for N copies of a Gaussian with opacity o and scale s:

        o' = 1 - (1 - o)^(1/N)
        s' = s o / sum_{i=1}^{N} sum_{k=0}^{i-1} C(i-1, k) (-1)^k o'^{k+1} / sqrt(k+1)

    Since sum_{i=k+1}^{N} C(i-1, k) = C(N, k+1), the double sum is a single one. Its terms alternate, but stay below
    2e5 for `MAX_COPIES` and `MAX_OPACITY`, so that float64 keeps ten digits.

    Args:
        opacity_logits: before the sigmoid, [M] or [M, 1].
        log_scales: logarithms, [M, D].
        copies: N for each, int64 [M], at least 1; above `MAX_COPIES` taken as that.
        min_opacity: new opacities are raised to this (after the scales have been computed).

    Returns:
        The new logits and the new log-scales, in the shapes and dtypes that came.
    """
    limit = _logit(MAX_OPACITY)
    logits = _float64(opacity_logits).reshape(-1).clip(max=limit)
    n = copies.detach().cpu().numpy().clip(1, MAX_COPIES).astype(np.float64)

    transmittance_log = -np.log1p(np.exp(logits))  # log(1 - o)
    shared_log = transmittance_log / n
    new = -np.expm1(shared_log)

    # C(N, k+1) (-1)^k o'^(k+1) from its predecessor; it stays zero once k reaches N.
    term = n * new
    total = term.copy()
    for k in range(1, int(n.max(initial=1.0))):
        term = term * new * ((k - n) / (k + 1))
        total += term / np.sqrt(k + 1.0)
    # An opacity of zero leaves 0 / 0; its limit is one over the limit of total / o, which is 1.
    old = -np.expm1(transmittance_log)
    factor = np.divide(old, total, out=np.ones_like(old), where=old > 0.0)

    with np.errstate(divide="ignore"):
        new_logits = (np.log(new) - shared_log).clip(_logit(min_opacity), limit)
    new_log_scales = _float64(log_scales) + np.log(factor)[:, None]
    return _like(new_logits, opacity_logits), _like(new_log_scales, log_scales)


def draw(weights: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """`count` indices, drawn with replacement with probabilities proportional to `weights`.

    By inversion of the cumulative distribution: one float64 uniform number per index, from `generator` (of the CPU).
    An index of zero weight is never drawn.

    Args:
        weights: none negative, [N].
        count: how many.
        generator: torch's default one if None.

    Returns:
        int64 [count], on the device of `weights`.

    Raises:
        ValueError: if the weights are not finite, or all zero.
    """
    cumulative = np.cumsum(_float64(weights).reshape(-1))
    total = float(cumulative[-1]) if len(cumulative) else 0.0
    if not 0.0 < total < np.inf:
        raise ValueError(f"weights: expected finite ones, at least one of them positive, got the sum {total}")
    uniform = torch.rand(count, generator=generator, dtype=torch.float64).numpy()
    indices = np.searchsorted(cumulative, uniform * total, side="right")
    # A subnormal total may be what the product rounds to; the last positive weight is where that belongs.
    last = int(np.searchsorted(cumulative, total, side="left"))
    return torch.from_numpy(np.minimum(indices, last)).to(weights.device)


def _float64(tensor: Tensor) -> Floats:
    values: Floats = tensor.detach().cpu().numpy().astype(np.float64)
    return values


def _like(values: Floats, tensor: Tensor) -> Tensor:
    # Rounded by NumPy; torch would do the same.
    return torch.from_numpy(values).reshape(tensor.shape).to(dtype=tensor.dtype, device=tensor.device)


def _logit(value: float) -> Any:
    with np.errstate(divide="ignore"):
        return np.log(value) - np.log1p(-value)
