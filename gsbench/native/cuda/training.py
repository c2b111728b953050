"""Image loss, Adam and nearest neighbors on a GPU. `gsbench.native`'s functions of these names call them for CUDA
tensors and say what they do; results have the same bytes in every run on a device.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from gsbench.native._check import pointer
from gsbench.native.cuda._library import CudaLibrary, cuda_library
from gsbench.native.optim import AdamUpdate


def image_loss(
    image: Tensor,
    target: Tensor,
    *,
    l1_weight: float = 0.0,
    ssim_weight: float = 0.0,
    gradient: bool = False,
    library: CudaLibrary | None = None,
) -> tuple[Tensor, Tensor | None]:
    """As `gsbench.native.image_loss`, without waiting for the result.

    Returns:
        (L1, SSIM) as float64 [2] on the device, and the gradient, float32 [H, W, 3], or None.

    Raises:
        ValueError: if an argument is not as stated there.
    """
    library = cuda_library() if library is None else library
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image: expected shape [H, W, 3], got {list(image.shape)}")
    height, width, _ = image.shape
    place = library.place(image.device)
    of_image = pointer("image", image, torch.float32, (height, width, 3), place)
    of_target = pointer("target", target, torch.float32, (height, width, 3), place)
    size = ctypes.c_int64()
    library.call("gsb_cuda_image_loss_bytes", height, width, int(gradient), ctypes.byref(size))
    workspace = torch.empty(size.value, dtype=torch.uint8, device=image.device)
    means = torch.empty(2, dtype=torch.float64, device=image.device)
    result = torch.empty(image.shape, dtype=torch.float32, device=image.device) if gradient else None
    library.call(
        "gsb_cuda_image_loss",
        library.queue(image.device),
        of_image,
        of_target,
        height,
        width,
        l1_weight,
        ssim_weight,
        None if result is None else result.data_ptr(),
        means.data_ptr(),
        workspace.data_ptr(),
        size.value,
    )
    return means, result


def adam_step(update: AdamUpdate, *, library: CudaLibrary | None = None) -> None:
    """As `gsbench.native.adam_steps`, of one tensor.

    Raises:
        ValueError: if a field is not as stated there.
    """
    library = cuda_library() if library is None else library
    parameter, gradient, exp_avg, exp_avg_sq, lr, betas, eps, step = update
    tensors = {"parameter": parameter, "gradient": gradient, "exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}
    place = library.place(parameter.device)
    addresses = [pointer(n, t, torch.float32, parameter.shape, place) for n, t in tensors.items()]
    queue = library.queue(parameter.device)
    library.call("gsb_cuda_adam_step", queue, *addresses, parameter.numel(), lr, *betas, eps, step)
    torch.autograd.graph.increment_version([parameter, exp_avg, exp_avg_sq])


def knn_mean_distance(points: Tensor, k: int = 3, *, library: CudaLibrary | None = None) -> Tensor:
    """As `gsbench.native.knn_mean_distance`, to the same bits.

    Raises:
        ValueError: if an argument is not as stated there.
    """
    library = cuda_library() if library is None else library
    if points.ndim != 2:
        raise ValueError(f"points: expected shape [P, 3], got {list(points.shape)}")
    count = int(points.shape[0])
    address = pointer("points", points, torch.float32, (count, 3), library.device_type)
    finite = points.isfinite().all(dim=1)
    if not finite.all():
        row = int((~finite).int().argmax())
        value = next(x for x in points[row].tolist() if not abs(x) < float("inf"))
        raise ValueError(f"points: expected finite coordinates, got {value:g} in row {row}")
    size = ctypes.c_int64()
    library.call("gsb_cuda_knn_bytes", library.queue(points.device), count, ctypes.byref(size))
    workspace = torch.empty(size.value, dtype=torch.uint8, device=points.device)
    distances = torch.empty(count, dtype=torch.float32, device=points.device)
    library.call(
        "gsb_cuda_knn_mean_distance",
        library.queue(points.device),
        address,
        count,
        k,
        distances.data_ptr(),
        workspace.data_ptr(),
        size.value,
    )
    return distances
