"""Mixtures of two Gaussians: what comes back, and what it costs against float64."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import norm

from gsbench.coding.mixture import get_mixture, put_mixture, weights_of
from gsbench.coding.range import RangeCoder
from gsbench.errors import ArtifactError

Float = npt.NDArray[np.float64]


def encoded(symbols: object, means: object, scales: object, weights: object) -> bytes:
    encoder = RangeCoder().encoder()
    put_mixture(encoder, symbols, means, scales, weights)  # type: ignore[arg-type]
    return encoder.finish()


def sample(count: int, low: int, high: int, seed: int = 0) -> tuple[npt.NDArray[np.int32], ...]:
    """symbols drawn from the mixtures, means [M, 2], scales [M, 2] from [low, high), weights."""
    g = np.random.default_rng(seed)
    means = g.integers(-64 * 20, 64 * 20, (count, 2)).astype(np.int32)
    scales = g.integers(low, high, (count, 2)).astype(np.uint8)
    weights = g.integers(64, 65536 - 64, count).astype(np.uint16)
    pick = (g.random(count) * 65536 >= weights).astype(np.int64)
    rows = np.arange(count)
    sigma = 2.0 ** (scales / 8.0 - 5.0)
    symbols = np.rint(means[rows, pick] / 64 + sigma[rows, pick] * g.standard_normal(count)).astype(np.int32)
    return symbols, means, scales, weights


def ideal_bits(symbols: npt.NDArray[np.int32], means: Float, scales: Float, weights: Float) -> float:
    sigma = 2.0 ** (scales / 8.0 - 5.0)
    z = (symbols[:, None] - means / 64) / sigma
    half = 0.5 / sigma
    mass = norm.cdf(-np.abs(z) + half) - norm.cdf(-np.abs(z) - half)
    share = weights / 65536
    return float(-np.log2(share * mass[:, 0] + (1 - share) * mass[:, 1]).sum())


@pytest.mark.parametrize(("low", "high", "excess"), [(20, 50, 0.004), (40, 72, 0.004), (60, 96, 0.012)])
def test_round_trip_costs_what_the_model_says(low: int, high: int, excess: float) -> None:
    symbols, means, scales, weights = sample(40_000, low, high)
    data = encoded(symbols, means, scales, weights)
    decoder = RangeCoder().decoder(data)
    assert np.array_equal(get_mixture(decoder, means, scales, weights), symbols)
    decoder.finish()
    bits = ideal_bits(symbols, means.astype(float), scales.astype(float), weights.astype(float))
    assert len(data) * 8 <= bits * (1 + excess) + 64


@pytest.mark.parametrize("count", [0, 1, 2, 10])
def test_few_symbols_of_any_value(count: int) -> None:
    g = np.random.default_rng(count)
    symbols = g.integers(-(2**31), 2**31, count).astype(np.int32)
    means = g.integers(-(2**31), 2**31, (count, 2)).astype(np.int32)
    scales = g.integers(0, 128, (count, 2)).astype(np.uint8)
    weights = g.integers(1, 65536, count).astype(np.uint16)
    decoder = RangeCoder().decoder(encoded(symbols, means, scales, weights))
    assert np.array_equal(get_mixture(decoder, means, scales, weights), symbols)
    decoder.finish()


def test_gaussians_that_are_far_apart() -> None:
    """Further than shares reach: the heavier one is taken, symbols of the other are escaped."""
    means = np.array([[0, 64 * 5000], [0, 64 * 5000]], np.int32)
    scales = np.full((2, 2), 48, np.uint8)
    weights = np.array([60000, 5000], np.uint16)
    symbols = np.array([1, 5001], np.int32)
    data = encoded(symbols, means, scales, weights)
    assert len(data) <= 3
    assert np.array_equal(get_mixture(RangeCoder().decoder(data), means, scales, weights), symbols)
    other = symbols[::-1].copy()
    assert np.array_equal(
        get_mixture(RangeCoder().decoder(encoded(other, means, scales, weights)), means, scales, weights), other
    )


def test_damage_is_noticed_or_decodes_to_something() -> None:
    symbols, means, scales, weights = sample(300, 20, 70)
    data = encoded(symbols, means, scales, weights)
    for cut in range(0, len(data), 7):
        with pytest.raises(ArtifactError):  # noqa: PT012
            decoder = RangeCoder().decoder(data[:cut])
            get_mixture(decoder, means, scales, weights)
            decoder.finish()
    g = np.random.default_rng(1)
    for _ in range(200):
        broken = bytearray(data)
        broken[g.integers(len(data))] ^= 1 << g.integers(8)
        try:
            found = get_mixture(RangeCoder().decoder(bytes(broken)), means, scales, weights)
        except ArtifactError:
            continue
        assert found.shape == symbols.shape


def test_weights_are_the_softmax() -> None:
    first = np.arange(-40_000, 40_000, 37)
    second = np.full_like(first, 1234)
    d = np.clip((first - second) / 4096, -6, 6)
    expected = 65536 / (1 + np.exp(-d))
    assert np.abs(weights_of(first, second, 12) - expected).max() <= 65536 * (1 / 64 / 4 + 0.001)


def test_wrong_arguments_are_named() -> None:
    symbols, means, scales, weights = sample(4, 20, 30)
    with pytest.raises(ValueError, match="mean64"):
        encoded(symbols, means[:, 0].copy(), scales, weights)
    with pytest.raises(ValueError, match="expected 1 to 65535, got 0 in place 2"):
        encoded(symbols, means, scales, np.array([1, 1, 0, 1], np.uint16))
