"""Image metrics: what they are called, and their values for a render against the photograph.

Importing this package, and listing the metrics, imports no torch; computing one does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from gsbench.metrics.compute import compute_metrics, find_metric, measure, unavailable
from gsbench.metrics.spec import DEFAULT_METRICS, MetricSpec, UndefinedMetricError, core_metrics

if TYPE_CHECKING:
    from gsbench.metrics.image import psnr as psnr
    from gsbench.metrics.image import psnr_channelwise as psnr_channelwise
    from gsbench.metrics.image import ssim as ssim

_EXPORTS: Final = {"psnr": "image", "psnr_channelwise": "image", "ssim": "image"}

__all__ = [
    "DEFAULT_METRICS",
    "MetricSpec",
    "UndefinedMetricError",
    "compute_metrics",
    "core_metrics",
    "find_metric",
    "measure",
    "psnr",
    "psnr_channelwise",
    "ssim",
    "unavailable",
]


def __getattr__(name: str) -> Any:
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module 'gsbench.metrics' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"gsbench.metrics.{module}"), name)
    globals()[name] = value
    return value
