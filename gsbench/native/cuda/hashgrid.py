"""The hash grid on a GPU: what `gsbench.native.hashgrid` does for CUDA tensors, to the same bits."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gsbench.native._check import pointer
from gsbench.native.cuda._library import CudaLibrary, cuda_library
from gsbench.native.hashgrid import FEATURES


def hashgrid_forward(
    points: Tensor,
    extent: Sequence[int],
    levels: Tensor,
    table: Tensor,
    *,
    binary: bool,
    library: CudaLibrary | None = None,
) -> tuple[Tensor, Tensor]:
    """As `gsbench.native.hashgrid.hashgrid_forward`; the number of positive entries is int64 [] on the device, and
    nothing waits for it. `levels` may be on any device; on a GPU it costs a copy to the host, which waits.

    Raises:
        ValueError: if an argument is not as stated there.
    """
    library = cuda_library() if library is None else library
    levels = levels.cpu()
    common = _arguments(library, points, extent, levels, table, binary)
    features = torch.empty(points.shape[0], FEATURES * levels.shape[0], device=table.device)
    positive = torch.empty((), dtype=torch.int64, device=table.device)
    queue = library.queue(table.device)
    library.call("gsb_cuda_hashgrid_forward", queue, *common, features.data_ptr(), positive.data_ptr())
    return features, positive


def hashgrid_backward(
    points: Tensor,
    extent: Sequence[int],
    levels: Tensor,
    table: Tensor,
    grad_features: Tensor,
    *,
    grad_signs: float | Tensor = 0.0,
    binary: bool,
    library: CudaLibrary | None = None,
) -> Tensor:
    """As `gsbench.native.hashgrid.hashgrid_backward`; `grad_signs` may be a float32 scalar on the device.

    Raises:
        ValueError: if an argument is not as stated there.
    """
    library = cuda_library() if library is None else library
    levels = levels.cpu()
    common = _arguments(library, points, extent, levels, table, binary)
    shape = (points.shape[0], FEATURES * levels.shape[0])
    address = pointer("grad_features", grad_features, torch.float32, shape, library.place(table.device))
    if not isinstance(grad_signs, Tensor):
        grad_signs = torch.full((), grad_signs, dtype=torch.float32, device=table.device)
    of_signs = pointer("grad_signs", grad_signs, torch.float32, (), library.place(table.device))
    # Native code writes the rows of the levels, as a rule all there are.
    whole = int(levels[:, 3].sum()) == table.shape[0]
    gradient = torch.empty_like(table) if whole else torch.zeros_like(table)
    size = ctypes.c_int64()
    queue = library.queue(table.device)
    library.call(
        "gsb_cuda_hashgrid_bytes", queue, points.shape[0], levels.data_ptr(), levels.shape[0], ctypes.byref(size)
    )
    workspace = torch.empty(size.value, dtype=torch.uint8, device=table.device)
    library.call(
        "gsb_cuda_hashgrid_backward",
        queue,
        *common,
        address,
        of_signs,
        gradient.data_ptr(),
        workspace.data_ptr(),
        size.value,
    )
    return gradient


def _arguments(
    library: CudaLibrary, points: Tensor, extent: Sequence[int], levels: Tensor, table: Tensor, binary: bool
) -> tuple[Any, ...]:
    if len(extent) != 3:
        raise ValueError(f"extent: expected three numbers, got {list(extent)}")
    device = library.place(table.device)
    return (
        pointer("points", points, torch.int32, (points.shape[0], 3), device),
        points.shape[0],
        (ctypes.c_int32 * 3)(*extent),
        pointer("levels", levels, torch.int64, (levels.shape[0], 4)),
        levels.shape[0],
        pointer("table", table, torch.float32, (table.shape[0], FEATURES), device),
        table.shape[0],
        int(binary),
    )
