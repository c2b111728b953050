"""Scratch memory that is used again.

A fresh block of many megabytes costs a page fault for every four kilobytes, which is more than what the rasterizer then
does with it. Buffers that never leave gsbench come from here and go back when their user is done. Large ones are made of
huge pages where the system has them: rows of gradients are written all over their buffer, and each would otherwise wait
for an address translation.
"""

from __future__ import annotations

import ctypes
import mmap
import threading
from typing import Final

import torch
from torch import Tensor

#: A buffer that nobody took in this many requests is given up.
_PATIENCE: Final = 512
#: A request takes a free buffer of up to this many times its size.
_WASTE: Final = 4
#: Smaller ones are left to the allocator.
_SMALLEST: Final = 1 << 16
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


class Pool:
    """Free buffers of one process; safe to use from several threads."""

    def __init__(self) -> None:
        self._free: list[tuple[Tensor, int]] = []  # with the request count at which each came back
        self._requests = 0
        self._lock = threading.Lock()

    def take(self, size: int) -> Tensor:
        """A uint8 tensor [>= size] with undefined contents."""
        if size < _SMALLEST:
            return torch.empty(size, dtype=torch.uint8)
        with self._lock:
            self._requests += 1
            self._free = [(b, stamp) for b, stamp in self._free if self._requests - stamp < _PATIENCE]
            fitting = [i for i, (b, _) in enumerate(self._free) if size <= b.numel() <= _WASTE * size]
            if fitting:
                best = min(fitting, key=lambda i: self._free[i][0].numel())
                return self._free.pop(best)[0]
        return _allocate(size + size // 4)

    def give_back(self, buffers: list[Tensor]) -> None:
        """Make buffers from `take` available again; the caller keeps no view of them."""
        with self._lock:
            self._free += [(b, self._requests) for b in buffers if b.numel() >= _SMALLEST]


POOL: Final = Pool()


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
