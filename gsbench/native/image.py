"""L1 and SSIM of an image against a target, and their gradient, in one native call; squared errors for PSNR."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from gsbench.native._check import pointer
from gsbench.native._library import call
from gsbench.native._pool import Lease, empty_result


class ImageLoss(NamedTuple):
    """What `image_loss` returns.

    Fields:
        l1: mean absolute difference over pixels and channels.
        ssim: mean structural similarity over pixels and channels.
        gradient: float32 [H, W, 3], or None if it was not asked for.
    """

    l1: float
    ssim: float
    gradient: Tensor | None


def image_loss(
    image: Tensor,
    target: Tensor,
    *,
    l1_weight: float = 0.0,
    ssim_weight: float = 0.0,
    gradient: bool = False,
    threads: int | None = None,
) -> ImageLoss:
    """L1 and SSIM, and on request the gradient of ``l1_weight * l1 + ssim_weight * ssim`` to the image.

    SSIM is that of Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004, as
    3DGS computes it: per channel, Gaussian window of 11x11 pixels with sigma 1.5, zeros outside the image,
    C1 = 0.01^2, C2 = 0.03^2 (data range 1). The subgradient of L1 where both are equal is 0.

    The result has the same bytes for any number of threads, and the two means do not depend on `gradient`.

    Args:
        image: float32 [H, W, 3], contiguous, on the CPU or a GPU; at least one pixel.
        target: the same.
        l1_weight: weight of L1 in the gradient.
        ssim_weight: weight of SSIM in the gradient; negative to have the loss fall as SSIM rises.
        gradient: whether to compute it.
        threads: how many to use; torch's number by default.

    Raises:
        ValueError: if an argument is not as stated.
    """
    if image.is_cuda:
        from gsbench.native.cuda import training

        pair, of_image = training.image_loss(
            image, target, l1_weight=l1_weight, ssim_weight=ssim_weight, gradient=gradient
        )
        l1, ssim = pair.tolist()
        return ImageLoss(l1, ssim, of_image)
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image: expected shape [H, W, 3], got {list(image.shape)}")
    height, width, _ = image.shape
    threads = torch.get_num_threads() if threads is None else threads
    size = ctypes.c_int64()
    call("gsb_image_loss_sizes", height, width, threads, ctypes.byref(size))
    result = torch.empty(image.shape, dtype=torch.float32) if gradient else None
    means = (ctypes.c_double * 2)()
    with Lease() as lease:
        call(
            "gsb_image_loss_run",
            pointer("image", image, torch.float32, (height, width, 3)),
            pointer("target", target, torch.float32, (height, width, 3)),
            height,
            width,
            l1_weight,
            ssim_weight,
            None if result is None else result.data_ptr(),
            means,
            lease.scratch(size.value, 1),
            size.value,
            threads,
        )
    return ImageLoss(means[0], means[1], result)


class ImageErrors(NamedTuple):
    """What `image_errors` returns.

    Fields:
        rounded: sum of squared differences in gray levels, of the clamped render rounded to 8 bit (ties to even).
        channels: sums of squared differences per channel, of the clamped render, which is not rounded.
        not_finite: values of the render that are NaN or infinite; where there are any, the sums mean nothing.
        clamped: float32 [H, W, 3], the render clamped to [0, 1], or None if it was not asked for.
        target: float32 [H, W, 3], the photograph divided by 255, or None if it was not asked for.
    """

    rounded: int
    channels: tuple[float, float, float]
    not_finite: int
    clamped: Tensor | None
    target: Tensor | None


def image_errors(render: Tensor, truth: Tensor, *, images: bool = False, threads: int | None = None) -> ImageErrors:
    """Squared errors of a render against a photograph, in one pass.

    The result has the same bytes for any number of threads and on every instruction set.

    Args:
        render: float32 [H, W, 3], contiguous, on the CPU; at least one pixel.
        truth: uint8 [H, W, 3], contiguous, on the CPU.
        images: whether to return both images as they are compared.
        threads: how many to use; torch's number by default.

    Raises:
        ValueError: if an argument is not as stated.
    """
    if render.ndim != 3 or render.shape[2] != 3:
        raise ValueError(f"render: expected shape [H, W, 3], got {list(render.shape)}")
    pixels = render.shape[0] * render.shape[1]
    size, rounded, not_finite = ctypes.c_int64(), ctypes.c_int64(), ctypes.c_int64()
    call("gsb_image_errors_sizes", pixels, ctypes.byref(size))
    clamped, target = (empty_result(*render.shape) if images else None for _ in range(2))
    channels = (ctypes.c_double * 3)()
    with Lease() as lease:
        call(
            "gsb_image_errors_run",
            pointer("render", render, torch.float32, render.shape),
            pointer("truth", truth, torch.uint8, render.shape),
            pixels,
            None if clamped is None else clamped.data_ptr(),
            None if target is None else target.data_ptr(),
            ctypes.byref(rounded),
            channels,
            ctypes.byref(not_finite),
            lease.scratch(size.value, 1),
            size.value,
            torch.get_num_threads() if threads is None else threads,
        )
    sums = (channels[0], channels[1], channels[2])
    return ImageErrors(rounded.value, sums, not_finite.value, clamped, target)
