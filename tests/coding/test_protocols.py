"""The protocols of entropy coders, tried on the plainest coder there is: exact fractions in Python integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gsbench.coding import TOTAL, Decoder, Encoder, EntropyCoder
from gsbench.errors import ArtifactError


class ExactEncoder:
    """Arithmetic coding without rounding: the message is a number in an interval of exact width."""

    def __init__(self) -> None:
        self.low, self.width, self.digits = 0, 1, 0

    def put(self, symbols: Any, tables: Any, index: Any) -> None:
        for symbol, row in zip(symbols.tolist(), index.tolist(), strict=True):
            start, end = int(tables[row, symbol]), int(tables[row, symbol + 1])
            self.low = self.low * TOTAL + start * self.width
            self.width *= end - start
            self.digits += 1

    def finish(self) -> bytes:
        # The shortest binary fraction inside [low, low + width) / TOTAL^digits.
        size = 0
        while True:
            value = -(-self.low * 256**size // TOTAL**self.digits)
            if value * TOTAL**self.digits < (self.low + self.width) * 256**size:
                return value.to_bytes(size, "big")
            size += 1


class ExactDecoder:
    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self.encoder = ExactEncoder()
        self.value = int.from_bytes(data, "big")

    def get(self, tables: Any, index: Any) -> Any:
        symbols = []
        for row in index.tolist():
            e = self.encoder
            scaled = self.value * TOTAL ** (e.digits + 1) - e.low * TOTAL * 256**self.size
            position = scaled // (e.width * 256**self.size)
            if not 0 <= position < TOTAL:
                raise ArtifactError("not a stream of this coder")
            symbol = int(np.searchsorted(tables[row], position, side="right")) - 1
            symbols.append(symbol)
            e.put(np.array([symbol], np.int32), tables, np.array([row], np.int32))
        return np.array(symbols, np.int32)

    def finish(self) -> None:
        if self.encoder.finish() != self.value.to_bytes(self.size, "big"):
            raise ArtifactError("bytes are left over")


class Exact:
    def encoder(self) -> Encoder:
        return ExactEncoder()

    def decoder(self, data: bytes) -> Decoder:
        return ExactDecoder(data)


def test_a_coder_with_the_methods_of_the_protocol_is_one() -> None:
    assert isinstance(Exact(), EntropyCoder)
    assert isinstance(Exact().encoder(), Encoder)
    assert isinstance(Exact().decoder(b""), Decoder)
    assert not isinstance(Exact(), Encoder)
    assert not isinstance(Exact().decoder(b""), Encoder)


@pytest.mark.parametrize("count", [0, 1, 2, 10, 300])
def test_the_protocol_carries_any_message_at_its_entropy(count: int) -> None:
    """As its docstrings state it: cumulative tables of total 2^16, a row per symbol, calls split differently."""
    random = np.random.default_rng(count)
    cuts = np.sort(random.choice(np.arange(1, TOTAL), size=(3, 7), replace=False), axis=1)
    tables = np.concatenate([np.zeros((3, 1)), cuts, np.full((3, 1), TOTAL)], axis=1).astype(np.uint32)
    index = random.integers(0, 3, count).astype(np.int32)
    draws = random.integers(0, TOTAL, count)
    pairs = zip(index, draws, strict=True)
    symbols = np.array([np.searchsorted(tables[i], d, side="right") - 1 for i, d in pairs], np.int32)
    encoder = Exact().encoder()
    for part in np.array_split(np.arange(count), 3):
        encoder.put(symbols[part], tables, index[part])
    data = encoder.finish()
    frequencies = (tables[index, symbols + 1] - tables[index, symbols]) / TOTAL
    assert 8 * len(data) <= -np.log2(frequencies).sum() + 9, "bits: the entropy, and less than two bytes"
    decoder = Exact().decoder(data)
    halves = np.array_split(np.arange(count), 2)
    decoded = np.concatenate([decoder.get(tables, index[part]) for part in halves])
    assert decoded.tolist() == symbols.tolist()
    decoder.finish()
    leftover = Exact().decoder(data + b"\x01")
    leftover.get(tables, index)
    with pytest.raises(ArtifactError):
        leftover.finish()
