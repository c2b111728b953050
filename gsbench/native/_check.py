"""The one place where tensors are checked before their pointers reach native code."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def pointer(name: str, tensor: Tensor, dtype: torch.dtype, shape: Sequence[int], device: str = "cpu") -> int:
    """The address of `tensor`'s data, after checking that it is what native code expects. `device` is a kind of device
    or, with a number, one of them ("cuda:1").

    Raises:
        ValueError: if dtype, shape, device or contiguity differ; the message names the argument, what was expected
            and what came.
    """
    if tensor.device.type != device and str(tensor.device) != device:
        raise ValueError(f"{name}: expected a tensor on {device}, got one on {tensor.device}")
    if tensor.dtype != dtype:
        raise ValueError(f"{name}: expected {dtype}, got {tensor.dtype}")
    if tensor.shape != tuple(shape):
        raise ValueError(f"{name}: expected shape {list(shape)}, got {list(tensor.shape)}")
    if not tensor.is_contiguous():
        raise ValueError(f"{name}: expected a contiguous tensor, got strides {list(tensor.stride())}")
    return tensor.data_ptr()
