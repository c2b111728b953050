"""The entropy coder `range`: gsbench's own, in C++, the default.

A range coder with a 64-bit interval, widened by 32-bit words (csrc/coding/range.h says how and why). What it costs
beyond the entropy of its tables cannot be measured, apart from the end of the stream: at most 2 bytes.
"""

from __future__ import annotations

from gsbench.coding.api import Decoder, Encoder, Index, Symbols, Tables
from gsbench.native.coding import RangeReader, RangeWriter


class RangeEncoder(Encoder):
    """Implements `gsbench.coding.Encoder`. `writer` also takes what only this coder has a fast path for."""

    def __init__(self) -> None:
        self.writer = RangeWriter()

    def put(self, symbols: Symbols, tables: Tables, index: Index) -> None:
        self.writer.put(symbols, tables, index)

    def finish(self) -> bytes:
        return self.writer.finish()


class RangeDecoder(Decoder):
    """Implements `gsbench.coding.Decoder`. After an ArtifactError nothing was taken from the stream."""

    def __init__(self, data: bytes) -> None:
        self.reader = RangeReader(data)

    def get(self, tables: Tables, index: Index) -> Symbols:
        return self.reader.get(tables, index)

    def finish(self) -> None:
        self.reader.finish()


class RangeCoder:
    """The entropy coder `range`."""

    def encoder(self) -> RangeEncoder:
        """A new, empty encoder."""
        return RangeEncoder()

    def decoder(self, data: bytes) -> RangeDecoder:
        """A decoder of a stream of `encoder`."""
        return RangeDecoder(data)
