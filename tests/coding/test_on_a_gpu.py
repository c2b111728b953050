"""Contexts on a GPU, simulated or real: the integers are those of the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from gsbench.coding import arrays
from gsbench.coding.intnet import IntegerLayer, IntegerNetwork
from gsbench.coding.mixture import weights_of
from gsbench.coding.sign_grid import look_up, touched_rows
from gsbench.coding.steps import (
    STEP_LIMIT,
    dequantize,
    mean_in_steps,
    quantize,
    scale_in_steps,
    step_index,
    step_sizes,
)
from gsbench.coding.streams import Reading, Writing
from gsbench.testing.simulated_cuda import Log

DEVICE = "cuda"
#: Resolution, axes, first row, rows.
LEVELS = np.array([[2, 7, 0, 8], [20, 7, 8, 512], [6, 3, 520, 36], [130, 5, 556, 1000]])
EXTENT = (900, 35, 100_000)


def same(compute: Callable[..., Any], *given: Any) -> None:
    """`compute` gives on the device what it gives on the CPU; arrays among the arguments are placed."""
    expected = compute(*given)
    found = compute(*(arrays.place(g, DEVICE) if isinstance(g, np.ndarray) else g for g in given))
    assert found.device.type == DEVICE
    back = arrays.host(found)
    assert back.dtype == expected.dtype
    assert back.shape == expected.shape
    assert back.tobytes() == expected.tobytes()


def integers(*shape: int, bits: int = 31, seed: int = 0) -> Any:
    """Of all magnitudes, the bounds of int32 among them."""
    random = np.random.default_rng(seed)
    values = random.integers(-(2**31), 2**31, shape) >> random.integers(31 - bits, 32, shape)
    flat = values.reshape(-1)
    flat[:2] = (-(2**31) >> 31 - bits, (2**31 - 1) >> 31 - bits)
    return values.astype(np.int32)


def indices(*shape: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).integers(-STEP_LIMIT, STEP_LIMIT + 1, shape).astype(np.int32)


@pytest.mark.parametrize("bits", [0, 6, 12, 30])
def test_steps(gpu: Log | None, bits: int) -> None:
    r, index = integers(60, 50), indices(60, 1)
    same(lambda r: step_index(r, bits), r)
    same(lambda mean, index: mean_in_steps(mean, bits, index), r, index)
    same(scale_in_steps, r, index)
    same(scale_in_steps, integers(60, 50, bits=17), index)
    same(lambda index: step_sizes(0.01, index), index)
    same(lambda symbols, index: dequantize(symbols, 0.01, index), r, index)
    values = np.random.default_rng(2).normal(size=(60, 50)).astype(np.float32)
    values[0, :20] = np.arange(20) * 0.5  # ties
    values[1, :3] = (3e38, -3e38, 0.0)
    same(lambda values, index: quantize(values, 1.0, index), values, index * 0)
    same(lambda values, index: quantize(values, 0.001, index), values, index)


def test_weights(gpu: Log | None) -> None:
    first, second = integers(70, 5, bits=16), integers(70, 5, bits=16, seed=3)
    same(lambda a, b: arrays.convert(weights_of(a, b, 12), "int32"), first, second)


@pytest.mark.parametrize("inputs", [6, 7])
def test_networks(gpu: Log | None, inputs: int) -> None:
    random = np.random.default_rng(5)

    def layer(inputs: int, outputs: int, *kind: Any) -> IntegerLayer:
        return IntegerLayer(
            random.integers(-500, 501, (outputs, inputs)).astype(np.int16),
            random.integers(-9999, 9999, outputs).astype(np.int32),
            random.integers(0, 12, outputs).astype(np.uint8),
            *kind,
        )

    network = IntegerNetwork((layer(inputs, 33, "leaky", 3, 3000), layer(33, 9)), 1000)
    values = random.integers(-1000, 1001, (40, inputs)).astype(np.int16)
    same(network.forward, values)
    same(network.forward, values[:0])
    same(lambda v: network.forward(v[::3]), values)  # not contiguous
    values[7, 2] = -1001
    with pytest.raises(ValueError, match="expected magnitudes of at most 1000, got -1001 to"):
        network.forward(arrays.place(values, DEVICE))
    for wrong in (values.astype(np.int32), values[:, 1:], values[0]):
        with pytest.raises(ValueError, match=rf"inputs: expected int16 \[M, {inputs}\], got"):
            network.forward(arrays.place(wrong, DEVICE))


def test_sign_grids(gpu: Log | None) -> None:
    random = np.random.default_rng(6)
    points = np.stack([random.integers(-5, e + 5, 80) for e in EXTENT], 1).astype(np.int32)
    signs = random.integers(0, 16, int(LEVELS[:, 3].sum())).astype(np.uint8)
    same(lambda points, signs: look_up(points, EXTENT, LEVELS, signs), points, signs)
    same(lambda points: touched_rows(points, EXTENT, LEVELS, len(signs)), points)
    same(lambda points: touched_rows(points, EXTENT, LEVELS, len(signs)), points[:0])
    with pytest.raises(ValueError, match="levels: row 3: expected a resolution"):
        touched_rows(arrays.place(points, DEVICE), EXTENT, LEVELS, len(signs) - 1)


class Given:
    """Gaussians of symbols."""

    def __init__(self, mean64: Any, scale_index: Any) -> None:
        self.mean64, self.scale_index = mean64, scale_index

    def placed(self) -> Given:
        return Given(arrays.place(self.mean64, DEVICE), arrays.place(self.scale_index, DEVICE))


def test_streams_are_written_and_read_alike(gpu: Log | None) -> None:
    random = np.random.default_rng(7)
    models = [Given(integers(50, 4, bits=14, seed=s), random.integers(0, 90, (50, 4)).astype(np.uint8)) for s in (8, 9)]
    symbols = (models[0].mean64 // 64 + random.integers(-3, 4, (50, 4))).astype(np.int32)
    weights = random.integers(64, 65472, (50, 4)).astype(np.uint16)
    there = [m.placed() for m in models], arrays.place(weights.astype(np.int32), DEVICE)
    if gpu is not None:
        gpu.clear()
    streams = []
    for (one, two), shares in ((models, weights), there):
        stream = Writing()
        stream.gaussian(symbols, one)
        stream.mixture(
            symbols[:, 1:3],
            Given(one.mean64[:, 1:3], one.scale_index[:, 1:3]),
            Given(two.mean64[:, 1:3], two.scale_index[:, 1:3]),
            shares[:, 1:3],
        )
        streams.append(stream.encoder.finish())
    assert streams[0] == streams[1]
    if gpu is not None:  # one for each of means, scales and weights
        assert gpu.waits == {"coding/arrays.py:host: copy to the host": 5}
    (one, two), shares = there
    reading = Reading(streams[0])
    assert np.array_equal(reading.gaussian(None, one), symbols)
    part = reading.mixture(
        None,
        Given(one.mean64[:, 1:3], one.scale_index[:, 1:3]),
        Given(two.mean64[:, 1:3], two.scale_index[:, 1:3]),
        shares[:, 1:3],
    )
    assert np.array_equal(part, symbols[:, 1:3])
    reading.decoder.finish()


def test_the_cpu_needs_no_copies() -> None:
    array = np.arange(6)
    for cpu in ("cpu", "cpu:0", torch.device("cpu")):
        assert arrays.place(array, cpu) is array
    assert arrays.host(array) is array
    assert arrays.beside(array, array) is array
