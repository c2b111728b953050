"""One function for both directions: what codes symbols through a `Stream` writes a file and reads it.

Symbols are NumPy's, because coders work through them one after the other on the CPU. Means, scales and weights may be
tensors on a GPU (`gsbench.coding.arrays`): each comes over in one transfer per call, and coders look their tables up
themselves, because the interval of a symbol is as many bytes as what it follows from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from gsbench.coding.arrays import host, stack
from gsbench.coding.gaussian import get_gaussian, put_gaussian
from gsbench.coding.mixture import get_mixture, put_mixture
from gsbench.coding.range import RangeCoder, RangeDecoder, RangeEncoder

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Conditional", "Reading", "Stream", "Writing"]

Int32 = npt.NDArray[np.int32]
UInt8 = npt.NDArray[np.uint8]
UInt16 = npt.NDArray[np.uint16]


class Conditional(Protocol):
    """The Gaussians of symbols, of any shape, as `gsbench.coding.gaussian.put_gaussian` takes them."""

    @property
    def mean64(self) -> Int32 | Tensor:
        """Means in 1/64 of a step."""
        ...

    @property
    def scale_index(self) -> UInt8 | Tensor:
        """Scales, below 128."""
        ...


class Stream(Protocol):
    """Symbols in or out: what is written is returned, what is read need not be given."""

    def gaussian(self, symbols: Int32 | None, model: Conditional) -> Int32:
        """Symbols [n, size] by their Gaussians."""
        ...

    def mixture(
        self, symbols: Int32 | None, first: Conditional, second: Conditional, weights: UInt16 | Tensor
    ) -> Int32:
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

    def mixture(
        self, symbols: Int32 | None, first: Conditional, second: Conditional, weights: UInt16 | Tensor
    ) -> Int32:
        """As `Stream.mixture`."""
        assert symbols is not None
        put_mixture(self.encoder, _flat(symbols), *_pairs(first, second), _weights(weights))
        return symbols


class Reading:
    """A stream that is read."""

    def __init__(self, data: bytes) -> None:
        self.decoder: RangeDecoder = RangeCoder().decoder(data)

    def gaussian(self, symbols: Int32 | None, model: Conditional) -> Int32:
        """As `Stream.gaussian`."""
        found = get_gaussian(self.decoder, _flat(model.mean64), _flat(model.scale_index))
        return found.reshape(model.mean64.shape)

    def mixture(
        self, symbols: Int32 | None, first: Conditional, second: Conditional, weights: UInt16 | Tensor
    ) -> Int32:
        """As `Stream.mixture`."""
        found = get_mixture(self.decoder, *_pairs(first, second), _weights(weights))
        return found.reshape(weights.shape)


def _flat(values: Any) -> Any:
    return np.ascontiguousarray(host(values)).reshape(-1)


def _weights(values: Any) -> UInt16:
    weights: UInt16 = _flat(values).astype(np.uint16, copy=False)
    return weights


def _pairs(first: Conditional, second: Conditional) -> tuple[Int32, UInt8]:
    """Means and scales of both, [M, 2], put together where they are."""
    of_both: tuple[Any, Any] = ((first.mean64, second.mean64), (first.scale_index, second.scale_index))
    means, scales = (host(stack(a.reshape(-1), b.reshape(-1))) for a, b in of_both)
    return means, scales
