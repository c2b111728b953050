"""Integers with a histogram: quantized weights of networks and other arrays whose decoder knows nothing about them.

The stream says everything: the values' number, their minimum, how many lowest bits are coded as they are, the
histogram of the rest, then the values. The encoder tries several divisions of the bits and precisions of the histogram
and keeps the one that costs least.

Layout: number of values M (unsigned LEB128, as the following); if M > 0: minimum (zigzag); lowest bits k, 0 to 31;
alphabet size A - 1, below 4096; then one stream of the coder `range`: the A entries of the histogram, each by
Elias' gamma code (the unary part with a learned probability per position), then the M symbols by the histogram scaled
to 2^16, then the M remainders of k bits.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from gsbench.coding._bytes import ByteReader, signed_varint, varint
from gsbench.coding.api import TOTAL
from gsbench.coding.bits import LearnedBits
from gsbench.coding.range import RangeCoder, RangeDecoder, RangeEncoder
from gsbench.errors import ArtifactError

__all__ = ["decode_integers", "encode_integers"]

_MOST_SYMBOLS: Final = 4096
_MOST_ENTRY_BITS: Final = 17
#: Totals to which the histogram is rounded before it is written, as powers of two.
_PRECISIONS: Final = (6, 8, 10, 12, 14, 16)
_INT32: Final = np.iinfo(np.int32)

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


def encode_integers(values: Int32) -> bytes:
    """The stream of integers, int32 [M].

    Raises:
        ValueError: if `values` is of another type or shape.
    """
    if values.dtype != np.int32 or values.ndim != 1:
        raise ValueError(f"values: expected int32 [M], got {values.dtype} {list(values.shape)}")
    if not len(values):
        return varint(0)
    low = int(values.min())
    offsets = values.astype(np.int64) - low
    span = int(offsets.max()) + 1
    least = max(0, (span - 1).bit_length() - 12)
    candidates = [
        (cost, k, entries)
        for k in range(least, min(32, max(span - 1, 1).bit_length() + 1, least + 12))
        for cost, entries in _histograms(offsets >> k, k)
    ]
    _, k, entries = min(candidates, key=lambda candidate: candidate[0])
    encoder = RangeCoder().encoder()
    _put_entries(encoder, entries)
    tables, symbol_of = _tables(entries)
    index = np.zeros(len(values), np.int32)
    encoder.put(symbol_of[offsets >> k].astype(np.int32), tables, index)
    for first, bits in _pieces(k):
        encoder.put(((offsets >> first) & ((1 << bits) - 1)).astype(np.int32), _uniform(bits), index)
    head = varint(len(values)) + signed_varint(low) + varint(k) + varint(len(entries) - 1)
    return head + encoder.finish()


def decode_integers(data: bytes, most: int) -> Int32:
    """The integers of a stream of `encode_integers`, int32 [M].

    Args:
        data: the stream.
        most: no more values than these are accepted, nor memory taken for more.

    Raises:
        ArtifactError: if the stream is damaged, ends early, holds more than `most` values or has bytes left over.
    """
    reader = ByteReader(data, "integers")
    count = reader.varint(most)
    if count == 0:
        reader.finish()
        return np.empty(0, np.int32)
    low = reader.signed_varint(2**31)
    k = reader.varint(31)
    size = reader.varint(_MOST_SYMBOLS - 1) + 1
    decoder = RangeCoder().decoder(reader.rest())
    entries = _get_entries(decoder, size)
    tables, _ = _tables(entries)
    index = np.zeros(count, np.int32)
    used = np.flatnonzero(entries)
    values = used[decoder.get(tables, index)].astype(np.int64) << k
    for first, bits in _pieces(k):
        values |= decoder.get(_uniform(bits), index).astype(np.int64) << first
    decoder.finish()
    values += low
    if not _INT32.min <= values.min() <= values.max() <= _INT32.max:
        raise ArtifactError("integers: damaged: a value beyond 32 bits")
    return values.astype(np.int32)


def _pieces(k: int) -> list[tuple[int, int]]:
    """The k lowest bits in pieces of at most 8: (lowest bit, number of bits)."""
    return [(first, min(8, k - first)) for first in range(0, k, 8)]


def _uniform(bits: int) -> npt.NDArray[np.uint32]:
    return np.arange(0, TOTAL + 1, TOTAL >> bits, dtype=np.uint32)[None]


def _histograms(symbols: Int64, k: int) -> list[tuple[float, Int64]]:
    """Roundings of the histogram of `symbols`, each with what all would cost in bits."""
    counts = np.bincount(symbols)
    results = []
    for precision in _PRECISIONS:
        if precision > 8 and 1 << (precision - 2) > len(symbols):
            break
        # Never 0 where there is something to code.
        entries = np.where(counts > 0, np.maximum(1, (counts << precision) // len(symbols)), 0)
        if np.count_nonzero(entries) > TOTAL // 2:
            continue
        frequencies = np.diff(_tables(entries)[0][0].astype(np.int64))
        used = counts[entries > 0]
        cost = float((used * np.log2(TOTAL / frequencies)).sum()) + k * len(symbols)
        lengths = np.frexp((entries + 1).astype(np.float64))[1] - 1
        _, length_counts = np.unique(lengths, return_counts=True)
        cost += float(lengths.sum() - (length_counts * np.log2(length_counts / len(entries))).sum())
        results.append((cost, entries))
    return results


def _tables(entries: Int64) -> tuple[npt.NDArray[np.uint32], Int64]:
    """The table of the used symbols, uint32 [1, used + 1], in proportion to `entries`, and symbol numbers by entry."""
    used = entries[entries > 0]
    if not len(used):
        raise ArtifactError("integers: damaged: a histogram without symbols")
    room = TOTAL - len(used)
    ends = np.cumsum(used)
    # Cumulative sums are scaled, so that the total is exact; each symbol has 1 more, so that none vanishes.
    table = np.zeros((1, len(used) + 1), np.uint32)
    table[0, 1:] = ends * room // ends[-1] + np.arange(1, len(used) + 1)
    return table, np.cumsum(entries > 0) - 1


def _put_entries(encoder: RangeEncoder, entries: Int64) -> None:
    lengths = np.frexp((entries + 1).astype(np.float64))[1].astype(np.int64) - 1
    unary = LearnedBits(_MOST_ENTRY_BITS + 1)
    for length in range(int(lengths.max()) + 1):
        more = (lengths[lengths >= length] > length).astype(np.uint8)
        unary.put(encoder, more, np.full(len(more), length, np.int32))
    for bit in range(int(lengths.max()) - 1, -1, -1):
        part = (((entries + 1)[lengths > bit] >> bit) & 1).astype(np.int32)
        encoder.put(part, _uniform(1), np.zeros(len(part), np.int32))


def _get_entries(decoder: RangeDecoder, size: int) -> Int64:
    lengths = np.zeros(size, np.int64)
    active = np.arange(size)
    unary = LearnedBits(_MOST_ENTRY_BITS + 1)
    for length in range(_MOST_ENTRY_BITS + 1):
        more = unary.get(decoder, len(active), np.full(len(active), length, np.int32))
        active = active[more == 1]
        if not len(active):
            break
        lengths[active] += 1
    else:
        raise ArtifactError("integers: damaged: a histogram beyond its total")
    entries = np.ones(size, np.int64)
    for bit in range(int(lengths.max()) - 1, -1, -1):
        where = lengths > bit
        entries[where] = 2 * entries[where] + decoder.get(_uniform(1), np.zeros(int(where.sum()), np.int32))
    return entries - 1
