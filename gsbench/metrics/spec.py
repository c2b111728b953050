"""`MetricSpec`: what is known of a metric without importing it, and the metrics of the core."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gsbench.errors import PluginError

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_]*")

#: What is scored when nobody asks for something else.
DEFAULT_METRICS: Final = ("psnr", "psnr_channelwise", "ssim", "lpips_vgg", "lpips_vgg_raw", "lpips_alex")

#: VGG is computed in bands of rows; what grows with the image is the activations at half its resolution.
_VGG_MEMORY: Final = (250 << 20, 200)


class UndefinedMetricError(Exception):
    """A metric has no finite value for these two images; the message is the reason shown beside the null."""


@dataclass(frozen=True)
class MetricSpec:
    """An image metric as the core or a plugin announces it. Listing metrics imports neither torch nor their code.

    Fields:
        name: lower case, the key in records.
        target: ``"package.module:function"``, called with (render, truth): float32 [H, W, 3], finite but not clamped,
            and uint8 [H, W, 3], both contiguous and on the CPU. Returns a float, or raises `UndefinedMetricError`.
        summary: one line.
        higher_is_better: the direction, for tables and plots.
        availability: ``"package.module:function"``, called without arguments: None if the metric can be computed on
            this machine, else the reason why not. "" for a metric that always can.
        pixelwise: the value does not depend on where pixels are, so that it can be computed over those that a mask
            leaves, handed over as one row.
        memory: what a call takes, (bytes, bytes per pixel), of a function that several threads may call at once; None
            for one that is called by one thread at a time.

    Raises:
        PluginError: if a field is malformed.
    """

    name: str
    target: str
    summary: str
    higher_is_better: bool
    availability: str = ""
    pixelwise: bool = False
    memory: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise PluginError(f"metric name {self.name!r}: expected lower-case letters, digits and _")
        for field in ("target", "availability"):
            value = getattr(self, field)
            if not (value == "" and field == "availability") and value.count(":") != 1:
                raise PluginError(
                    f"metric {self.name!r}: {field} {value!r} is not of the form 'package.module:function'"
                )


def core_metrics() -> list[MetricSpec]:
    """The metrics that the core supplies."""
    return [
        MetricSpec(
            name="psnr",
            target="gsbench.metrics.image:psnr",
            summary="PSNR in dB of the 8-bit render, pooled over pixels and channels",
            higher_is_better=True,
            pixelwise=True,
            memory=(0, 50),
        ),
        MetricSpec(
            name="psnr_channelwise",
            target="gsbench.metrics.image:psnr_channelwise",
            summary="PSNR in dB of the float render, mean over the channels' own (the original 3DGS code)",
            higher_is_better=True,
            pixelwise=True,
            memory=(0, 50),
        ),
        MetricSpec(
            name="ssim",
            target="gsbench.metrics.image:ssim",
            summary="SSIM of the float render, 11x11 Gaussian window, zero padding (the original 3DGS code)",
            higher_is_better=True,
            memory=(1 << 20, 50),
        ),
        MetricSpec(
            name="lpips_vgg",
            target="gsbench.metrics.lpips:lpips_vgg",
            summary="LPIPS of the 8-bit render, VGG features, inputs in [-1, 1] (its authors' definition)",
            higher_is_better=False,
            availability="gsbench.metrics.lpips:vgg_unavailable",
            memory=_VGG_MEMORY,
        ),
        MetricSpec(
            name="lpips_vgg_raw",
            target="gsbench.metrics.lpips:lpips_vgg_raw",
            summary="LPIPS of the 8-bit render, VGG features, inputs in [0, 1] (the original 3DGS code)",
            higher_is_better=False,
            availability="gsbench.metrics.lpips:vgg_unavailable",
            memory=_VGG_MEMORY,
        ),
        MetricSpec(
            name="lpips_alex",
            target="gsbench.metrics.lpips:lpips_alex",
            summary="LPIPS of the 8-bit render, AlexNet features, inputs in [-1, 1]",
            higher_is_better=False,
            availability="gsbench.metrics.lpips:alex_unavailable",
            memory=(50 << 20, 200),
        ),
    ]
