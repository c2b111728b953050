"""Scratch memory that is used again.

A fresh block of many megabytes costs a page fault for every four kilobytes, which is more than what the rasterizer
then does with it. Blocks come from here and go back when their user is done. Large ones are made of huge pages where
the system has them: rows of gradients are written all over their buffer, and each would otherwise wait for an address
translation.
"""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from gsbench.native._arrays import huge_pages

#: Every so many requests, buffers that nobody took for as many are given up.
_PATIENCE: Final = 512
#: Smaller ones are left to the allocator.
_SMALLEST: Final = 1 << 16
#: Smaller results are left to the allocator, which keeps them itself.
_SMALLEST_RESULT: Final = 1 << 17
#: The size of huge pages.
_HUGE_PAGE: Final = 1 << 21
_NUMPY: Final[dict[torch.dtype, np.dtype[Any]]] = {
    torch.float32: np.dtype(np.float32),
    torch.int32: np.dtype(np.int32),
    torch.int64: np.dtype(np.int64),
    torch.uint8: np.dtype(np.uint8),
}
_ALL_FLOATS: Final[Mapping[str, torch.dtype]] = {}


def _allocate(size: int) -> Tensor:
    """A uint8 tensor [size] with undefined contents, in huge pages if it is large."""
    block = huge_pages(size + _HUGE_PAGE) if size >= _HUGE_PAGE else None
    if block is None:
        return torch.empty(size, dtype=torch.uint8)
    offset = -ctypes.addressof(ctypes.c_char.from_buffer(block)) % _HUGE_PAGE
    return torch.frombuffer(block, dtype=torch.uint8, count=size, offset=offset)


def _size_class(size: int) -> int:
    """The next size of the form k 2^n with k from 4 to 7. Buffers of a class are all alike, and at most a quarter
    larger than what was asked for.
    """
    step = 1 << max(size.bit_length() - 3, 0)
    return -(-size // step) * step


def _lay_out(sizes: Mapping[str, int]) -> tuple[dict[str, int], int]:
    """Where in a block each of so many bytes begins, on cache lines of their own, and the size of it all."""
    offsets, end = {}, 0
    for name, size in sizes.items():
        offsets[name] = end
        end += (size + 63) & ~63
    return offsets, end


class Block:
    """Memory with undefined contents, aligned to 64 bytes.

    Fields:
        memory: uint8 [size], which owns it.
        address, size: where it is, in bytes.
    """

    __slots__ = ("address", "memory", "size")

    def __init__(self, size: int) -> None:
        tensor = _allocate(size)
        self.memory: np.ndarray[Any, np.dtype[np.uint8]] = tensor.numpy()
        self.address = tensor.data_ptr()
        self.size = size


class Pool:
    """Free blocks of one process; safe to use from several threads."""

    def __init__(self) -> None:
        # By size class, the last returned last, with the request count at which each came back.
        self._free: dict[int, list[tuple[Block, int]]] = {}
        self._requests = 0
        # One that its thread may take twice: a collection of garbage, which can begin wherever something is made,
        # gives back what it finds.
        self._lock = threading.RLock()

    def take(self, size: int) -> Block:
        """A block of at least `size` bytes, at most a quarter more."""
        if size < _SMALLEST:
            return Block(size)
        size = _size_class(size)
        with self._lock:
            self._requests += 1
            if self._requests % _PATIENCE == 0:
                self._give_up()
            blocks = self._free.get(size)
            if blocks:
                return blocks.pop()[0]
        return Block(size)

    def give_back(self, *blocks: Block) -> None:
        """Make blocks from `take` available again; the caller keeps no view of them."""
        with self._lock:
            for block in blocks:
                if block.size >= _SMALLEST:
                    self._free.setdefault(block.size, []).append((block, self._requests))

    def _give_up(self) -> None:
        """Drop what nobody took for long."""
        for size, blocks in list(self._free.items()):
            kept = [(b, stamp) for b, stamp in blocks if self._requests - stamp < _PATIENCE]
            if kept:
                self._free[size] = kept
            else:
                del self._free[size]


POOL: Final = Pool()


def _end_use(use: Any) -> None:
    use.pool.give_back(use.block)


@cache
def _use_type(size: int) -> Any:
    """The type of views of blocks of `size` bytes, which give back their `block` to their `pool` in the end."""
    return type("Use", (ctypes.c_char * size,), {"__del__": _end_use})


class Results:
    """Memory for tensors that are made together, in one block.

    What leaves gsbench goes through here: unless it is small, the block is of the pool, and goes back when the last
    tensor on it is gone. The tensors cannot be resized.

    Args:
        shapes: of each tensor, by name. The first dimension may turn out to be smaller.
        dtypes: of those that are not float32.

    Fields:
        addresses: by name.
    """

    __slots__ = ("_dtypes", "_memory", "_offsets", "_shapes", "addresses")

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        dtypes: Mapping[str, torch.dtype] = _ALL_FLOATS,
        pool: Pool = POOL,
    ) -> None:
        self._shapes, self._dtypes = shapes, dtypes
        self._offsets, size = _lay_out(
            {name: math.prod(shape) * self._dtype(name).itemsize for name, shape in shapes.items()}
        )
        # Small ones are left to the allocator, which keeps them itself.
        block = Block(size) if size < _SMALLEST_RESULT else pool.take(size)
        self._memory: Any = block.memory
        if size >= _SMALLEST_RESULT:
            # An object for the time of this use; the arrays keep it, and torch keeps the arrays.
            self._memory = _use_type(block.size).from_address(block.address)
            self._memory.block, self._memory.pool = block, pool
        self.addresses = {name: block.address + offset for name, offset in self._offsets.items()}

    def _dtype(self, name: str) -> torch.dtype:
        return self._dtypes.get(name, torch.float32)

    def tensor(self, name: str, rows: int | None = None) -> Tensor:
        """One of the tensors, of its whole shape or of the first `rows` rows."""
        shape, dtype = self._shapes[name], _NUMPY[self._dtype(name)]
        shape = shape if rows is None else (rows, *shape[1:])
        # An array, and no views of tensors: each would cost as much as the rest of this function.
        return torch.from_numpy(np.ndarray(shape, dtype, self._memory, self._offsets[name]))

    def tensors(self) -> dict[str, Tensor]:
        """All of them, of their whole shapes."""
        return {name: self.tensor(name) for name in self._shapes}


def empty_result(*shape: int, dtype: torch.dtype = torch.float32, pool: Pool = POOL) -> Tensor:
    """Like `torch.empty`, for what leaves gsbench (see `Results`)."""
    return Results({"result": shape}, {"result": dtype}, pool).tensor("result")


class Lease:
    """Memory that goes back to the pool when the lease is closed or no longer referenced."""

    def __init__(self, pool: Pool = POOL) -> None:
        self._pool = pool
        self._blocks: list[Block] = []

    def scratch(self, count: int, itemsize: int = 4) -> int:
        """The address of room for `count` items, 64 bytes aligned, for the time of the lease."""
        block = self._pool.take(count * itemsize)
        self._blocks.append(block)
        return block.address

    def rooms(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """Addresses of room for so many bytes, by name: as `scratch`, in one block."""
        offsets, size = _lay_out(sizes)
        address = self.scratch(size, itemsize=1)
        return {name: address + offset for name, offset in offsets.items()}

    def close(self) -> None:
        """Give everything back."""
        blocks, self._blocks = self._blocks, []
        self._pool.give_back(*blocks)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
