"""Arrays of contexts: what long ones go through, and where large ones lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gsbench.coding.arrays import by_rows
from gsbench.coding.steps import mean_in_steps, quantize
from gsbench.native._arrays import empty_array


@pytest.mark.parametrize(
    "shape", [(40_000, 7), (1 << 15, 1), ((1 << 15) + 1, 1), (2, 70_000), (100_001,), (0, 3), (3, 2)]
)
def test_long_arrays_go_through_by_rows(shape: tuple[int, ...]) -> None:
    """Each part is no larger than what is worked on at once, unless a row is; the result is that of the whole."""
    random = np.random.default_rng(0)
    a, b = random.normal(size=shape), random.normal(size=(*shape[:-1], 1) if len(shape) > 1 else shape)
    seen: list[tuple[int, ...]] = []

    def function(x: Any, factor: float, y: Any, scalar: Any) -> Any:
        seen.append(x.shape)
        return (x * factor + y * scalar).astype(np.float32)

    result = by_rows(function)(a, 2.0, b, np.float64(3.0))
    assert np.array_equal(result, (a * 2.0 + b * 3.0).astype(np.float32))
    assert result.dtype == np.float32
    assert sum(part[0] for part in seen) == shape[0]
    rows = max(1, (1 << 15) * shape[0] // max(1, a.size))
    assert all(part[0] <= max(rows, 1) or a.size <= 1 << 15 for part in seen)


def test_one_row_for_all() -> None:
    a, one = np.arange(120_000).reshape(40_000, 3), np.array([[10, 20, 30]])
    assert np.array_equal(by_rows(np.add)(a, one), a + one)


def test_steps_of_long_arrays_are_those_of_short_ones() -> None:
    random = np.random.default_rng(1)
    index = random.integers(-192, 193, (50_000, 1)).astype(np.int32)
    mean = random.integers(-(2**31), 2**31, (50_000, 4))
    parts = [slice(k, k + 999) for k in range(0, 50_000, 999)]
    whole = mean_in_steps(mean, 12, index)
    assert np.array_equal(whole, np.concatenate([mean_in_steps(mean[p], 12, index[p]) for p in parts]))
    values = random.normal(size=(50_000, 4)).astype(np.float32)
    whole = quantize(values, 0.01, index)
    assert np.array_equal(whole, np.concatenate([quantize(values[p], 0.01, index[p]) for p in parts]))


@pytest.mark.parametrize("shape", [(0, 5), (3,), (3_000_001, 3)])
def test_arrays_of_any_size_can_be_written(shape: tuple[int, ...]) -> None:
    array = empty_array(shape, np.int32)
    assert array.shape == shape
    assert array.dtype == np.int32
    assert array.flags.c_contiguous
    assert array.flags.writeable
    array[...] = 7
    assert array.sum(dtype=np.int64) == 7 * array.size
