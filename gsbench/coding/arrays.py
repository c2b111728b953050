"""What contexts are computed with: NumPy arrays on the CPU, torch tensors on a GPU.

A method that writes `place(array, device)` at the beginning and `host(values)` at the end computes its contexts where
it was asked to, by the same lines: the functions of `gsbench.coding` that compute contexts take either kind and return
it, and arithmetic, slices, `reshape`, `clip` and shifts are written alike for both. Integers are the same everywhere,
so a file that was written on a GPU is the file that the CPU writes, and is read on both. Without a GPU no torch is
imported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import numpy as np
import numpy.typing as npt

from gsbench.native._arrays import empty_array

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["Array", "beside", "by_rows", "concatenate", "convert", "host", "pick", "place", "rint", "stack"]

#: Numbers that are worked on at once, so that what lies between an operation and the next stays in the cache.
_AT_ONCE: Final = 1 << 15

#: An array of NumPy, or a tensor.
Array = TypeVar("Array", "npt.NDArray[Any]", "Tensor")
Function = TypeVar("Function", bound=Callable[..., Any])


def place(array: npt.NDArray[Any], device: torch.device | str) -> Any:
    """The array where contexts are computed for `device`: itself for the CPU, else a copy there, one transfer."""
    if str(device).partition(":")[0] == "cpu":
        return array
    import torch

    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def beside(array: npt.NDArray[Any], other: Array) -> Array:
    """The array where `other` is, one transfer if that is on a device."""
    there: Array = place(array, "cpu" if isinstance(other, np.ndarray) else other.device)
    return there


def host(values: npt.NDArray[Any] | Tensor) -> npt.NDArray[Any]:
    """The values as an array of NumPy: itself, or a copy from the device, one transfer for which this waits."""
    if isinstance(values, np.ndarray):
        return values
    copied: npt.NDArray[Any] = values.cpu().numpy()
    return copied


def convert(values: Array, dtype: str) -> Array:
    """The values as another type, "int16", "int32", "int64", "uint8", "float32" or "float64". They must fit."""
    if isinstance(values, np.ndarray):
        return values.astype(dtype)
    import torch

    return values.to(getattr(torch, dtype))


def pick(table: npt.NDArray[Any], index: Array) -> Array:
    """The entries of a table, [n], at integers of any shape, as the kind of array that these are."""
    if isinstance(index, np.ndarray):
        entries: npt.NDArray[Any] = table[index]
        return entries
    return beside(table, index)[index.long()]


def concatenate(parts: Sequence[Array]) -> Array:
    """Arrays [n, ...] side by side, along the second dimension."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts, axis=1)
    import torch

    return torch.cat(list(parts), dim=1)


def stack(first: Array, second: Array) -> Array:
    """Two arrays [n] as one, [n, 2]."""
    if isinstance(first, np.ndarray):
        return np.stack([first, second], axis=1)
    import torch

    return torch.stack([first, second], dim=1)


def by_rows(function: Function) -> Function:
    """The same for a function that works on its arrays number by number, or row by row: long arrays of NumPy go through
    it some rows at a time. In whole they would be read from and written to fresh memory for every operation.
    """

    @wraps(function)
    def run(*arguments: Any) -> Any:
        arrays = [a for a in arguments if isinstance(a, np.ndarray) and a.ndim > 0]
        largest = max(arrays, key=lambda a: a.size, default=None)
        if largest is None or largest.size <= _AT_ONCE or any(a.ndim != largest.ndim for a in arrays):
            return function(*arguments)
        n = len(largest)
        step = max(1, _AT_ONCE * n // largest.size)
        long = [isinstance(a, np.ndarray) and a.ndim > 0 and len(a) == n for a in arguments]
        result: npt.NDArray[Any] | None = None
        for first in range(0, n, step):
            rows = slice(first, first + step)
            part = function(*(a[rows] if cut else a for a, cut in zip(arguments, long, strict=True)))
            if result is None:
                result = empty_array((n, *part.shape[1:]), part.dtype)
            result[rows] = part
        return result

    return cast("Function", run)


def rint(values: Array) -> Array:
    """Rounded to integers, ties to even."""
    if isinstance(values, np.ndarray):
        rounded: npt.NDArray[Any] = np.rint(values)
        return rounded
    return values.round()
