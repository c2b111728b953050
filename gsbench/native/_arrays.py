"""Arrays of NumPy for native code: large ones, and the one place where they are checked before their pointers go there.
(Tensors: `_check`.)
"""

from __future__ import annotations

import ctypes
import math
import mmap
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

#: From this size on, arrays are made of huge pages where the system has them: in others, the first write to every four
#: kilobytes of fresh memory waits for the system, which then takes longer than what is computed.
_LARGE: Final = 1 << 25


def huge_pages(size: int) -> mmap.mmap | None:
    """Fresh memory of `size` bytes, in huge pages; None where the system has none."""
    advice = getattr(mmap, "MADV_HUGEPAGE", None)
    if advice is None:
        return None
    block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        block.madvise(advice)
    except OSError:  # a kernel without them
        return None
    return block


def empty_array(shape: Sequence[int], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """`numpy.empty`, fast for large arrays too."""
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    block = huge_pages(size) if size >= _LARGE else None
    return np.empty(shape, kind) if block is None else np.frombuffer(block, kind).reshape(shape)


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
