"""Scratch memory that is used again."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gsbench.native._pool import Lease, Pool, Results, _size_class, empty_result


def test_buffers_come_back() -> None:
    pool = Pool()
    with Lease(pool) as lease:
        address = lease.scratch(1_000_000)
        assert address % 64 == 0
    with Lease(pool) as lease:
        assert lease.scratch(495_000, itemsize=8) == address
        assert lease.scratch(495_000, itemsize=8) != address  # the first is taken


def test_a_dropped_lease_returns_its_buffers() -> None:
    pool = Pool()
    lease = Lease(pool)
    address = lease.scratch(1 << 20)
    del lease
    assert Lease(pool).scratch(1 << 20) == address


def test_a_small_request_does_not_take_a_huge_buffer() -> None:
    pool = Pool()
    with Lease(pool) as lease:
        huge = lease.scratch(1 << 24)
    assert Lease(pool).scratch(1 << 18) != huge


def test_what_nobody_takes_is_given_up() -> None:
    pool = Pool()
    with Lease(pool) as lease:
        lease.scratch(1 << 22)
    for _ in range(1100):
        with Lease(pool) as lease:
            lease.scratch(1 << 15)
    assert max(pool._free) < 1 << 20


def test_the_pool_does_not_grow_over_equal_calls() -> None:
    pool = Pool()
    for _ in range(50):
        with Lease(pool) as lease:
            for size in (1 << 16, 1 << 17, 1 << 18):
                lease.scratch(size)
    assert [len(buffers) for buffers in pool._free.values()] == [1, 1, 1]


def test_empty_requests() -> None:
    with Lease(Pool()) as lease:
        lease.scratch(0)
    assert empty_result(0, 16).shape == (0, 16)


def test_results_take_their_shapes_when_they_are_filled() -> None:
    for capacity, rows in ((100_000, 3), (100_000, 100_000), (4, 2)):
        results = Results({"a": (capacity, 3), "b": (capacity,)}, {"a": torch.int64}, Pool())
        a, b = results.tensor("a", rows), results.tensor("b", rows)
        assert (a.shape, a.dtype) == ((rows, 3), torch.int64)
        assert (b.shape, b.dtype) == ((rows,), torch.float32)
        assert {"a": a.data_ptr(), "b": b.data_ptr()} == results.addresses
        assert b.data_ptr() - a.data_ptr() >= 24 * capacity
        assert results.addresses["b"] % 64 == 0


def test_results_share_a_block_until_the_last_is_gone() -> None:
    pool = Pool()
    tensors = Results({"a": (100_000,), "b": (7, 5)}, pool=pool).tensors()
    first, second = tensors.pop("a"), tensors.pop("b")
    address = first.data_ptr()
    second.fill_(3.0)
    del first
    assert Results({"a": (100_000,), "b": (7, 5)}, pool=pool).addresses["a"] != address  # the second is still there
    assert second.sum() == 105
    del second
    assert Results({"a": (100_000,), "b": (7, 5)}, pool=pool).addresses["a"] == address


def test_memory_comes_back_while_garbage_is_collected_in_the_pool() -> None:
    pool = Pool()
    with pool._lock:  # whatever the pool makes can begin a collection, on the same thread
        tensor = empty_result(400_000, pool=pool)
        del tensor
    assert sum(map(len, pool._free.values())) == 1


def test_rooms_of_a_lease_are_apart() -> None:
    pool = Pool()
    with Lease(pool) as lease:
        rooms = lease.rooms({"a": 1, "b": 100_000, "c": 0, "d": 64})
        assert all(address % 64 == 0 for address in rooms.values())
        assert (rooms["b"] - rooms["a"], rooms["c"] - rooms["b"], rooms["d"] - rooms["c"]) == (64, 100_032, 0)
    assert sum(map(len, pool._free.values())) == 1


def test_a_result_gives_its_memory_back_with_its_last_tensor() -> None:
    pool = Pool()
    result = empty_result(1000, 300, pool=pool)
    assert result.shape == (1000, 300)
    assert result.dtype == torch.float32
    assert result.data_ptr() % 64 == 0
    address = result.data_ptr()
    result.fill_(1.0)
    part = result[500:].view(-1, 3)
    del result
    assert empty_result(1000, 300, pool=pool).data_ptr() != address  # `part` still uses it
    assert part.sum() == 150_000
    del part
    assert empty_result(1000, 300, pool=pool).data_ptr() == address


def test_a_result_can_be_a_gradient() -> None:
    pool = Pool()

    class Ones(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.sum()

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            return empty_result(400, 400, pool=pool).fill_(float(grad))

    leaf = torch.zeros(400, 400, requires_grad=True)
    addresses = set()
    for _ in range(5):
        leaf.grad = None
        Ones.apply(leaf).backward()
        assert leaf.grad is not None
        assert bool((leaf.grad == 1).all())
        addresses.add(leaf.grad.data_ptr())
    assert len(addresses) == 1  # the engine takes the tensor itself, and its memory comes back each time


@given(st.integers(1, 1 << 40))
def test_size_classes_waste_at_most_a_quarter(size: int) -> None:
    assert size <= _size_class(size) <= size * 5 / 4
    assert _size_class(_size_class(size)) == _size_class(size)
