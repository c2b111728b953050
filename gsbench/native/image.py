"""L1 and SSIM of an image against a target, and their gradient, in one native call."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from gsbench.native._check import pointer
from gsbench.native._library import call
from gsbench.native._pool import Lease


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
        image: float32 [H, W, 3], contiguous, on the CPU; at least one pixel.
        target: the same.
        l1_weight: weight of L1 in the gradient.
        ssim_weight: weight of SSIM in the gradient; negative to have the loss fall as SSIM rises.
        gradient: whether to compute it.
        threads: how many to use; torch's number by default.

    Raises:
        ValueError: if an argument is not as stated.
    """
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
            lease.empty(size.value, dtype=torch.uint8).data_ptr(),
            size.value,
            threads,
        )
    return ImageLoss(means[0], means[1], result)
