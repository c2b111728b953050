"""Scratch memory that is used again."""

from __future__ import annotations

import torch

from gsbench.native._pool import Lease, Pool


def test_buffers_come_back() -> None:
    pool = Pool()
    with Lease(pool) as lease:
        first = lease.empty(1000, 1000)
        assert first.shape == (1000, 1000)
        assert first.dtype == torch.float32
        address = first.data_ptr()
    with Lease(pool) as lease:
        assert lease.empty(900_000, dtype=torch.int32).data_ptr() == address
        assert lease.empty(900_000, dtype=torch.int32).data_ptr() != address  # the first is taken


def test_a_dropped_lease_returns_its_buffers() -> None:
    pool = Pool()
    lease = Lease(pool)
    address = lease.empty(1 << 20).data_ptr()
    del lease
    assert Lease(pool).empty(1 << 20).data_ptr() == address


def test_a_small_request_does_not_take_a_huge_buffer() -> None:
    pool = Pool()
    with Lease(pool) as lease:
        huge = lease.empty(1 << 24).data_ptr()
    assert Lease(pool).empty(1 << 18).data_ptr() != huge


def test_what_nobody_takes_is_given_up() -> None:
    pool = Pool()
    with Lease(pool) as lease:
        lease.empty(1 << 22)
    for _ in range(600):
        with Lease(pool) as lease:
            lease.empty(1 << 15)
    assert all(buffer.numel() < 1 << 20 for buffer, _ in pool._free)


def test_the_pool_does_not_grow_over_equal_calls() -> None:
    pool = Pool()
    for _ in range(50):
        with Lease(pool) as lease:
            for size in (1 << 16, 1 << 17, 1 << 18):
                lease.empty(size)
    assert len(pool._free) == 3


def test_empty_requests() -> None:
    with Lease(Pool()) as lease:
        assert lease.empty(0, 16).shape == (0, 16)
