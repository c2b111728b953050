"""Finding metrics by name and computing them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from gsbench import registry
from gsbench.errors import UsageError
from gsbench.metrics.spec import MetricSpec, UndefinedMetricError, core_metrics

if TYPE_CHECKING:
    from torch import Tensor

#: The reason where a view has nothing to score.
MASKED: Final = "the mask leaves no pixel"


def find_metric(name: str) -> MetricSpec:
    """The metric of this name: a registered one, or one of the core's, which need no registration.

    Raises:
        UsageError: if there is none; similar names are suggested.
    """
    if name in registry.metrics:
        spec: MetricSpec = registry.metrics.get(name)
        return spec
    core = {metric.name: metric for metric in core_metrics()}
    if name not in core:
        raise UsageError(f"unknown metric {name!r}{registry.did_you_mean(name, sorted({*core, *registry.metrics}))}")
    return core[name]


def unavailable(name: str) -> str | None:
    """Why the metric cannot be computed on this machine (its weights are missing, say), or None if it can.

    Raises:
        UsageError: if there is no metric of this name.
    """
    spec = find_metric(name)
    if not spec.availability:
        return None
    reason: Callable[[], str | None] = registry.resolve_target(spec.availability)
    return reason()


def measure(name: str, render: Tensor, truth: Tensor, mask: Tensor | None = None) -> tuple[float | None, str | None]:
    """One metric of one render.

    Pixels that `mask` leaves out do not count: metrics of single pixels are computed over the others; the rest (SSIM,
    LPIPS) see black in their place in both images, and stay means over the whole image.

    Args:
        name: of the metric.
        render: float32 [H, W, 3], nominally in [0, 1], not clamped.
        truth: the photograph, uint8 [H, W, 3].
        mask: bool [H, W], True where a pixel counts; None if all do.

    Returns:
        (value, None), or (None, reason) where the metric is unavailable or has no finite value for these images.

    Raises:
        UsageError: if there is no such metric.
        ValueError: if the images are not as stated, differ in size, are empty, or the render is not finite.
    """
    from gsbench.metrics.image import check_images

    reason = unavailable(name)
    if reason is not None:
        return None, reason
    render, truth = check_images(render, truth)
    if mask is not None:
        if not mask.any():
            return None, MASKED
        render, truth = _without(render, truth, mask.cpu(), find_metric(name).pixelwise)
    function: Callable[[Tensor, Tensor], float] = registry.resolve_target(find_metric(name).target)
    try:
        value = float(function(render, truth))
    except UndefinedMetricError as error:
        return None, str(error)
    return (value, None) if math.isfinite(value) else (None, f"{name} gave {value}, which is not a finite number")


def _without(render: Tensor, truth: Tensor, mask: Tensor, pixelwise: bool) -> tuple[Tensor, Tensor]:
    """Both images without the pixels that do not count: as one row of the others, or black there."""
    if mask.shape != truth.shape[:2]:
        raise ValueError(f"mask: expected the size of the truth, {list(truth.shape[:2])}, got {list(mask.shape)}")
    if pixelwise:
        return render[mask][None], truth[mask][None]
    return render.where(mask[..., None], 0.0), truth * mask[..., None]


def compute_metrics(names: Iterable[str], render: Tensor, truth: Tensor) -> dict[str, float | None]:
    """Several metrics of one render.

    Args:
        names: of metrics; PSNR is in dB, the others have no unit.
        render: float32 [H, W, 3], nominally in [0, 1], not clamped.
        truth: the photograph, uint8 [H, W, 3].

    Returns:
        The values by name, in the order of `names`; None where a metric is unavailable on this machine or has no finite
        value for these images (`measure` gives the reason).

    Raises:
        UsageError: if there is no metric of a name.
        ValueError: if the images are not as stated, differ in size, are empty, or the render is not finite.
    """
    return {name: measure(name, render, truth)[0] for name in names}
