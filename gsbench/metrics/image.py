"""PSNR and SSIM of a render against a photograph. Every value is the same for any number of threads."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from torch import Tensor

from gsbench.metrics.spec import UndefinedMetricError
from gsbench.native.image import image_errors, image_loss

IDENTICAL: Final = "identical images"
IDENTICAL_CHANNEL: Final = "identical images in one channel"


def check_images(render: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Both images, detached, contiguous and on the CPU.

    Raises:
        ValueError: unless `render` is a finite float32 [H, W, 3] and `truth` a uint8 one of the same size, with at
            least one pixel.
    """
    for name, image, dtype in (("render", render, torch.float32), ("truth", truth, torch.uint8)):
        if image.ndim != 3 or image.shape[2] != 3 or image.numel() == 0:
            raise ValueError(f"{name}: expected shape [H, W, 3] with at least one pixel, got {list(image.shape)}")
        if image.dtype != dtype:
            raise ValueError(f"{name}: expected {dtype}, got {image.dtype}")
    if render.shape != truth.shape:
        raise ValueError(f"render: expected the size of the truth, {list(truth.shape)}, got {list(render.shape)}")
    render = render.detach().cpu().contiguous()
    finite = np.isfinite(render.numpy())
    if not finite.all():
        bad = int(finite.size - finite.sum())
        raise ValueError(f"render: expected finite values, got {bad} of {finite.size} that are NaN or infinite")
    return render, truth.detach().cpu().contiguous()


def psnr(render: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in dB as an image viewer would see it: ``10 log10(255^2 / MSE)``, where the render is
    clamped to [0, 1] and rounded to 8 bit, and the squared error is averaged over all pixels and channels at once.

    Args:
        render: float32 [H, W, 3].
        truth: uint8 [H, W, 3].

    Raises:
        UndefinedMetricError: if the rounded render equals the truth: the ratio is infinite.
        ValueError: as `check_images`.
    """
    squares = image_errors(*check_images(render, truth)).rounded
    if squares == 0:
        raise UndefinedMetricError(IDENTICAL)
    return 10.0 * math.log10(255.0**2 * truth.numel() / squares)


def psnr_channelwise(render: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in dB as the original code of 3DGS has it, which most papers report: for each channel
    ``20 log10(1 / sqrt(MSE))`` of the render clamped to [0, 1] and not rounded, then the mean of the three.

    Args:
        render: float32 [H, W, 3].
        truth: uint8 [H, W, 3], divided by 255.

    Raises:
        UndefinedMetricError: if a channel equals the truth: the ratio is infinite.
        ValueError: as `check_images`.
    """
    # A photograph in float32, as the original has it: then a render that holds its exact values has no error.
    sums = image_errors(*check_images(render, truth)).channels
    if not all(sums):
        raise UndefinedMetricError(IDENTICAL_CHANNEL if any(sums) else IDENTICAL)
    pixels = truth.numel() // 3
    return sum(10.0 * math.log10(pixels / squares) for squares in sums) / 3.0


def ssim(render: Tensor, truth: Tensor) -> float:
    """Structural similarity (Wang et al. 2004) as the original code of 3DGS has it: per channel, Gaussian window of
    11x11 pixels with sigma 1.5, zeros outside the image, C1 = 0.01^2, C2 = 0.03^2, averaged over pixels and channels.
    It is taken of the render clamped to [0, 1] and not rounded, against the photograph divided by 255.

    Args:
        render: float32 [H, W, 3]; may be smaller than the window.
        truth: uint8 [H, W, 3].

    Raises:
        ValueError: as `check_images`.
    """
    compared = image_errors(*check_images(render, truth), images=True)
    assert compared.clamped is not None
    assert compared.target is not None
    return image_loss(compared.clamped, compared.target).ssim
