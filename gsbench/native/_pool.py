"""Scratch memory that is used again.

A fresh block of many megabytes costs a page fault for every four kilobytes, which is more than what the rasterizer
then does with it. Buffers come from here and go back when their user is done. Large ones are made of huge pages where
the system has them: rows of gradients are written all over their buffer, and each would otherwise wait for an address
translation.
"""

from __future__ import annotations

import ctypes
import mmap
import threading
import weakref
from typing import Final

import torch
from torch import Tensor

#: Every so many requests, buffers that nobody took for as many are given up.
_PATIENCE: Final = 512
#: Smaller ones are left to the allocator.
_SMALLEST: Final = 1 << 16
#: Smaller results are left to the allocator, which keeps them itself.
_SMALLEST_RESULT: Final = 1 << 17
#: The size of huge pages.
_HUGE_PAGE: Final = 1 << 21


def _allocate(size: int) -> Tensor:
    """A uint8 tensor [size] with undefined contents, in huge pages if it is large."""
    advice = getattr(mmap, "MADV_HUGEPAGE", None)
    if advice is None or size < _HUGE_PAGE:
        return torch.empty(size, dtype=torch.uint8)
    block = mmap.mmap(-1, size + _HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        block.madvise(advice)
    except OSError:  # a kernel without huge pages
        return torch.empty(size, dtype=torch.uint8)
    offset = -ctypes.addressof(ctypes.c_char.from_buffer(block)) % _HUGE_PAGE
    return torch.frombuffer(block, dtype=torch.uint8, count=size, offset=offset)


def _size_class(size: int) -> int:
    """The next size of the form k 2^n with k from 4 to 7. Buffers of a class are all alike, and at most a quarter
    larger than what was asked for.
    """
    step = 1 << max(size.bit_length() - 3, 0)
    return -(-size // step) * step


class Pool:
    """Free buffers of one process; safe to use from several threads."""

    def __init__(self) -> None:
        # By size class, the last returned last, with the request count at which each came back.
        self._free: dict[int, list[tuple[Tensor, int]]] = {}
        self._requests = 0
        self._lock = threading.Lock()

    def take(self, size: int) -> Tensor:
        """A uint8 tensor [>= size] with undefined contents, at most a quarter larger."""
        if size < _SMALLEST:
            return torch.empty(size, dtype=torch.uint8)
        size = _size_class(size)
        with self._lock:
            self._requests += 1
            if self._requests % _PATIENCE == 0:
                self._give_up()
            buffers = self._free.get(size)
            if buffers:
                return buffers.pop()[0]
        return _allocate(size)

    def give_back(self, buffers: list[Tensor]) -> None:
        """Make buffers from `take` available again; the caller keeps no view of them."""
        with self._lock:
            for buffer in buffers:
                size = buffer.numel()
                if size >= _SMALLEST:
                    self._free.setdefault(size, []).append((buffer, self._requests))

    def _give_up(self) -> None:
        """Drop what nobody took for long."""
        for size, buffers in list(self._free.items()):
            kept = [(b, stamp) for b, stamp in buffers if self._requests - stamp < _PATIENCE]
            if kept:
                self._free[size] = kept
            else:
                del self._free[size]


POOL: Final = Pool()


def empty_result(*shape: int, dtype: torch.dtype = torch.float32, pool: Pool = POOL) -> Tensor:
    """Like `torch.empty`, for what leaves gsbench: a large tensor takes memory from the pool, and gives it back when
    the last tensor on it is gone. It cannot be resized.
    """
    count = 1
    for extent in shape:
        count *= extent
    size = count * dtype.itemsize
    if size < _SMALLEST_RESULT:
        return torch.empty(*shape, dtype=dtype)
    block = pool.take(size)
    view = block.numpy()[:size]
    # torch keeps `view` for as long as the memory is in use.
    weakref.finalize(view, pool.give_back, [block]).atexit = False
    return torch.from_numpy(view).view(dtype).view(shape)


class Lease:
    """Buffers that go back to the pool when the lease is closed or no longer referenced."""

    def __init__(self, pool: Pool = POOL) -> None:
        self._pool = pool
        self._buffers: list[Tensor] = []

    def empty(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Like `torch.empty`, for the time of the lease."""
        count = 1
        for extent in shape:
            count *= extent
        size = count * dtype.itemsize
        buffer = self._pool.take(size)
        self._buffers.append(buffer)
        return buffer[:size].view(dtype).view(shape)

    def close(self) -> None:
        """Give everything back."""
        buffers, self._buffers = self._buffers, []
        self._pool.give_back(buffers)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
