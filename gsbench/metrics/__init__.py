"""Image metrics: what they are called, and their values for a render against the photograph.

Importing this package, and listing the metrics, imports no torch; computing one does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gsbench._lazy import lazy_names
from gsbench.metrics.compute import compute_metrics, find_metric, measure, unavailable
from gsbench.metrics.spec import DEFAULT_METRICS, MetricSpec, UndefinedMetricError, core_metrics

if TYPE_CHECKING:
    from gsbench.metrics.image import psnr as psnr
    from gsbench.metrics.image import psnr_channelwise as psnr_channelwise
    from gsbench.metrics.image import ssim as ssim
    from gsbench.metrics.lpips import lpips_alex as lpips_alex
    from gsbench.metrics.lpips import lpips_vgg as lpips_vgg
    from gsbench.metrics.lpips import lpips_vgg_raw as lpips_vgg_raw

_EXPORTS: Final = {
    "lpips_alex": "gsbench.metrics.lpips",
    "lpips_vgg": "gsbench.metrics.lpips",
    "lpips_vgg_raw": "gsbench.metrics.lpips",
    "psnr": "gsbench.metrics.image",
    "psnr_channelwise": "gsbench.metrics.image",
    "ssim": "gsbench.metrics.image",
}

__all__ = [
    "DEFAULT_METRICS",
    "MetricSpec",
    "UndefinedMetricError",
    "compute_metrics",
    "core_metrics",
    "find_metric",
    "lpips_alex",
    "lpips_vgg",
    "lpips_vgg_raw",
    "measure",
    "psnr",
    "psnr_channelwise",
    "ssim",
    "unavailable",
]

__getattr__, __dir__ = lazy_names(__name__, _EXPORTS)
