"""The one place where NumPy arrays are checked before their pointers reach native code. (Tensors: `_check`.)"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def array_pointer(
    name: str, array: npt.NDArray[Any], dtype: npt.DTypeLike, shape: Sequence[int] | None = None
) -> ctypes.c_void_p:
    """The address of `array`'s data, after checking that it is what native code expects. Without a shape, any of one
    dimension will do.

    Raises:
        TypeError: if it is no array.
        ValueError: if dtype, shape or contiguity differ; the message names the argument, what was expected and what
            came.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name}: expected a NumPy array, got {type(array).__name__}")
    if array.dtype != np.dtype(dtype):
        raise ValueError(f"{name}: expected {np.dtype(dtype)}, got {array.dtype}")
    if shape is None:
        if array.ndim != 1:
            raise ValueError(f"{name}: expected one dimension, got shape {list(array.shape)}")
    elif array.shape != tuple(shape):
        raise ValueError(f"{name}: expected shape {list(shape)}, got {list(array.shape)}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{name}: expected a contiguous array, got strides {list(array.strides)}")
    return ctypes.c_void_p(array.ctypes.data)
