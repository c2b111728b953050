"""Streams: the same function writes and reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from gsbench.coding.gaussian import encode_gaussian
from gsbench.coding.streams import Reading, Stream, Writing
from gsbench.errors import ArtifactError


@dataclass(frozen=True)
class Model:
    mean64: Any
    scale_index: Any


def models(shape: tuple[int, int], seed: int) -> Model:
    random = np.random.default_rng(seed)
    return Model(random.integers(-900, 900, shape).astype(np.int32), random.integers(0, 128, shape).astype(np.uint8))


def code(stream: Stream, plain: Any, mixed: Any) -> tuple[Any, Any]:
    weights = np.random.default_rng(9).integers(1, 2**16, (40, 3)).astype(np.uint16)
    first = stream.gaussian(plain, models((70, 2), 1))
    return first, stream.mixture(mixed, models((40, 3), 2), models((40, 3), 3), weights)


def read_all(data: bytes) -> tuple[Any, Any]:
    source = Reading(data)
    found = code(source, None, None)
    source.decoder.finish()
    return found


def test_what_is_written_is_read() -> None:
    random = np.random.default_rng(4)
    plain, mixed = (random.integers(-40, 40, shape).astype(np.int32) for shape in ((70, 2), (40, 3)))
    out = Writing()
    code(out, plain, mixed)
    data = out.encoder.finish()
    found = read_all(data)
    assert np.array_equal(found[0], plain)
    assert np.array_equal(found[1], mixed)
    with pytest.raises(ArtifactError):
        read_all(data[: len(data) // 2])


def test_a_gaussian_stream_is_that_of_the_flat_arrays() -> None:
    model = models((50, 4), 7)
    symbols = np.random.default_rng(8).integers(-20, 20, (50, 4)).astype(np.int32)
    transposed = Model(model.mean64.T, model.scale_index.T)  # not contiguous
    out = Writing()
    out.gaussian(symbols.T, transposed)
    flat = [np.ascontiguousarray(a.T).reshape(-1) for a in (symbols, model.mean64, model.scale_index)]
    assert out.encoder.finish() == encode_gaussian(*flat)
