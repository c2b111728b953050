"""What pixels tell about each Gaussian: counts, sums and maxima over the pixels where it is drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from gsbench.testing.dense.blending import Blend
from gsbench.testing.dense.projection import first


def hits(blend: Blend) -> Tensor:
    """In how many pixels each Gaussian is drawn; int32 [K]."""
    return blend.drawn.sum(dim=1, dtype=torch.int32)


def weight(blend: Blend) -> Tensor:
    """Sum of alpha times transmittance; [K]."""
    return blend.weight.sum(dim=1)


def opacity_transmittance(blend: Blend, opacities: Tensor) -> Tensor:
    """Sum of the (blended) opacity times the transmittance in front; [K]."""
    return opacities * torch.where(blend.drawn, blend.before, 0.0).sum(dim=1)


def max_weight(blend: Blend) -> Tensor:
    """The largest alpha times transmittance; [K]."""
    none = torch.zeros(len(blend.weight), 1, dtype=blend.weight.dtype)
    return torch.cat([none, blend.weight], dim=1).amax(dim=1)


def dominant(blend: Blend) -> Tensor:
    """In how many pixels each Gaussian has the largest weight of all, of equals the nearest; int32 [K]."""
    count, pixels = blend.weight.shape
    if count == 0 or pixels == 0:
        return torch.zeros(count, dtype=torch.int32)
    largest = blend.weight.amax(dim=0)
    winner = first(((blend.weight == largest) & blend.drawn).T)
    return torch.bincount(winner, minlength=count + 1)[:count].int()
