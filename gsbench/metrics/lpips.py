"""LPIPS (Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", 2018).

Its networks' weights are not shipped with gsbench. Until they can be fetched the metric is null with its reason; there
is no stand-in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor

_REASON: Final = "no LPIPS weights: they are not shipped, and this version cannot fetch them yet (gsbench fetch lpips)"


def unavailable_reason() -> str | None:
    """Why LPIPS cannot be computed."""
    return _REASON


def lpips_vgg(render: Tensor, truth: Tensor) -> float:
    """LPIPS with VGG features, inputs in [-1, 1].

    Raises:
        NotImplementedError: in this version.
    """
    raise NotImplementedError(_REASON)
