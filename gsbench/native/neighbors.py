"""Distances to the nearest neighbors of points in space."""

from __future__ import annotations

import ctypes
import importlib

import torch
from torch import Tensor

from gsbench.native._check import pointer
from gsbench.native._library import call


def knn_mean_distance(points: Tensor, k: int = 3, *, threads: int | None = None) -> Tensor:
    """Mean Euclidean distance of every point to its k nearest others: 3DGS's first guess of how large a Gaussian is.

    Exact, by a k-d tree: O(n log n) for points that differ, however they are distributed, and for equal ones, whose
    distance to each other is 0. The same bytes for any number of threads.

    Args:
        points: float32 [P, 3], contiguous, on the CPU or a GPU, finite.
        k: 1 to 8. With fewer than k others the mean is over those there are; a lone point gets 0.
        threads: how many to use; torch's number by default.

    Returns:
        float32 [P], in the unit of the points; infinite where float32 cannot hold it.

    Raises:
        ValueError: if an argument is not as stated; the message names the row of a coordinate that is not finite.
    """
    if points.is_cuda:
        from gsbench.native.cuda import training

        return training.knn_mean_distance(points, k)
    if points.ndim != 2:
        raise ValueError(f"points: expected shape [P, 3], got {list(points.shape)}")
    count = points.shape[0]
    address = pointer("points", points, torch.float32, (count, 3))
    size = ctypes.c_int64()
    call("gsb_knn_mean_distance_sizes", count, ctypes.byref(size))
    workspace = torch.empty(size.value, dtype=torch.uint8)
    distances = torch.empty(count, dtype=torch.float32)
    call(
        "gsb_knn_mean_distance_run",
        address,
        count,
        k,
        distances.data_ptr(),
        workspace.data_ptr(),
        size.value,
        torch.get_num_threads() if threads is None else threads,
    )
    return distances


def simple_knn_distance(points: Tensor) -> Tensor:
    """The root of the mean squared distance to the 3 nearest others, float32 [P], by simple_knn of the original code.

    That is what 3DGS takes for the first scales; `knn_mean_distance` takes the mean of the distances, which is a little
    less. For comparisons, where that package is installed.

    Args:
        points: float32 [P, 3] on a CUDA device.

    Raises:
        NotImplementedError: if simple_knn does not import, or the points are not on a CUDA device.
    """
    try:
        module = importlib.import_module("simple_knn._C")
    except Exception as error:
        raise NotImplementedError(
            f"simple_knn does not import ({type(error).__name__}: {error}); build it from "
            "https://gitlab.inria.fr/bkerbl/simple-knn (the package of this name on PyPI is another one)"
        ) from error
    if not points.is_cuda:
        raise NotImplementedError(f"simple_knn works on CUDA devices only, and the points are on {points.device}")
    squares: Tensor = module.distCUDA2(points)
    return squares.sqrt()
