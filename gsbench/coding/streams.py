"""One function for both directions: what codes symbols through a `Stream` writes a file and reads it."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gsbench.coding.gaussian import get_gaussian, put_gaussian
from gsbench.coding.mixture import get_mixture, put_mixture
from gsbench.coding.range import RangeCoder, RangeDecoder, RangeEncoder

__all__ = ["Conditional", "Reading", "Stream", "Writing"]

Int32 = npt.NDArray[np.int32]
UInt8 = npt.NDArray[np.uint8]
UInt16 = npt.NDArray[np.uint16]


class Conditional(Protocol):
    """The Gaussians of symbols, of any shape, as `gsbench.coding.gaussian.put_gaussian` takes them."""

    @property
    def mean64(self) -> Int32:
        """Means in 1/64 of a step."""
        ...

    @property
    def scale_index(self) -> UInt8:
        """Scales, below 128."""
        ...


class Stream(Protocol):
    """Symbols in or out: what is written is returned, what is read need not be given."""

    def gaussian(self, symbols: Int32 | None, model: Conditional) -> Int32:
        """Symbols [n, size] by their Gaussians."""
        ...

    def mixture(self, symbols: Int32 | None, first: Conditional, second: Conditional, weights: UInt16) -> Int32:
        """Symbols [n, size] by two Gaussians each, with the weights of the first, [n, size]."""
        ...


class Writing:
    """A stream that is written."""

    def __init__(self) -> None:
        self.encoder: RangeEncoder = RangeCoder().encoder()

    def gaussian(self, symbols: Int32 | None, model: Conditional) -> Int32:
        """As `Stream.gaussian`."""
        assert symbols is not None
        put_gaussian(self.encoder, _flat(symbols), _flat(model.mean64), _flat(model.scale_index))
        return symbols

    def mixture(self, symbols: Int32 | None, first: Conditional, second: Conditional, weights: UInt16) -> Int32:
        """As `Stream.mixture`."""
        assert symbols is not None
        put_mixture(self.encoder, _flat(symbols), *_pairs(first, second), _flat(weights))
        return symbols


class Reading:
    """A stream that is read."""

    def __init__(self, data: bytes) -> None:
        self.decoder: RangeDecoder = RangeCoder().decoder(data)

    def gaussian(self, symbols: Int32 | None, model: Conditional) -> Int32:
        """As `Stream.gaussian`."""
        found = get_gaussian(self.decoder, _flat(model.mean64), _flat(model.scale_index))
        return found.reshape(model.mean64.shape)

    def mixture(self, symbols: Int32 | None, first: Conditional, second: Conditional, weights: UInt16) -> Int32:
        """As `Stream.mixture`."""
        return get_mixture(self.decoder, *_pairs(first, second), _flat(weights)).reshape(weights.shape)


def _flat(values: Any) -> Any:
    return np.ascontiguousarray(values).reshape(-1)


def _pairs(first: Conditional, second: Conditional) -> tuple[Int32, UInt8]:
    means = np.stack([_flat(first.mean64), _flat(second.mean64)], axis=1)
    return means, np.stack([_flat(first.scale_index), _flat(second.scale_index)], axis=1)
