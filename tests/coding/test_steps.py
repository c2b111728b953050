"""The adaptive step in integers, against float64."""

from __future__ import annotations

import numpy as np
import pytest

from gsbench.coding.steps import (
    LOG_BITS,
    STEP_LIMIT,
    STEP_UNIT,
    dequantize,
    mean_in_steps,
    quantize,
    scale_in_steps,
    step_index,
    step_sizes,
    step_table,
)

INDICES = np.arange(-STEP_LIMIT, STEP_LIMIT + 1).astype(np.int32)
EXACT = 1 + np.tanh(INDICES / STEP_UNIT)


def test_the_table_is_that_of_the_formula() -> None:
    table = step_table()
    assert table.multiplier.dtype == np.float32
    np.testing.assert_allclose(table.multiplier, EXACT, rtol=2.0**-24, atol=0)
    np.testing.assert_allclose(table.log2 / 2**LOG_BITS, np.log2(EXACT), rtol=0, atol=0.5001 / 2**LOG_BITS)
    np.testing.assert_allclose(table.reciprocal / 2**16, 1 / EXACT, rtol=0, atol=0.5001 / 2**16)


@pytest.mark.parametrize("bits", [0, 4, 6, 12, 30])
def test_step_index_rounds_and_clamps(bits: int) -> None:
    r = np.array([-5.0, -3.0, -1.0, 0.0, 0.26, 1.99, 3.0, 4.0])
    raw = np.rint(r * 2.0**bits).astype(np.int64)
    expected = np.clip(np.floor(raw / 2.0**bits * STEP_UNIT + 0.5), -STEP_LIMIT, STEP_LIMIT)
    assert step_index(raw, bits).tolist() == expected.tolist()
    assert step_index(raw, bits).dtype == np.int32
    assert step_index(np.array([-(2**31), 2**31 - 1]), 0).tolist() == [-STEP_LIMIT, STEP_LIMIT]


@pytest.mark.parametrize("bits", [0, 4, 12, 30])
def test_means_are_counted_in_adaptive_steps(bits: int) -> None:
    random = np.random.default_rng(bits)
    means = np.rint(random.normal(size=(385, 50)) * 100 * 2.0 ** min(bits, 20)).astype(np.int64)
    actual = mean_in_steps(means, bits, INDICES[:, None])
    exact = means / 2.0**bits / EXACT[:, None] * 64
    assert actual.dtype == np.int32
    assert (np.abs(actual - exact) <= 0.51 + np.abs(exact) * 2.0**-16).all(), "the reciprocal has 16 bits"
    extremes = mean_in_steps(np.array([-(2**40), 2**40]), 0, np.array([-STEP_LIMIT], np.int32))
    assert extremes.tolist() == [-(2**31), 2**31 - 1]


def test_scales_are_counted_in_adaptive_steps() -> None:
    random = np.random.default_rng(0)
    log2 = random.uniform(-9, 15, (385, 50))
    raw = np.rint(log2 * 2**LOG_BITS).astype(np.int64)
    actual = scale_in_steps(raw, INDICES[:, None])
    exact = 8 * (log2 - np.log2(EXACT)[:, None] + 5)
    assert actual.dtype == np.uint8
    assert (np.abs(actual - np.clip(exact, 0, 127)) <= 0.503).all()
    assert scale_in_steps(np.array([-(2**31), 2**31]), np.zeros(1, np.int32)).tolist() == [0, 127]


@pytest.mark.parametrize("base", [1.0, 0.001, 0.2])
def test_values_come_back_to_half_a_step(base: float) -> None:
    values = (np.random.default_rng(1).normal(size=(385, 20)) * 30 * base).astype(np.float32)
    index = INDICES[:, None]
    symbols = quantize(values, base, index)
    restored = dequantize(symbols, base, index)
    assert restored.dtype == np.float32
    steps = step_sizes(base, index)
    assert steps.dtype == np.float32
    assert (np.abs(restored.astype(float) - values) <= 0.5 * steps * (1 + 1e-6) + np.abs(values) * 1e-6).all()
    one = np.float32(np.float32(symbols[7, 3]) * np.float32(np.float32(base) * step_table().multiplier[7]))
    assert restored[7, 3].tobytes() == one.tobytes(), "one float32 product"
