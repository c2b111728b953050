"""Integers that follow conditional Gaussians, coded so that every machine decodes them alike.

What decides a probability is integer. A symbol comes with
    mean64: int32, its mean in 1/64 of the unit (the adaptive step);
    scale_index: uint8 below 128, its standard deviation sigma = 2^(scale_index / 8 - 5) units, from 1/32 to 1878.

Probabilities come from tables of total 2^16 that are committed with their SHA-256 (data/generate.py wrote them): 64
fractions of the mean by 72 scales. From sigma = 16 on, the lowest (scale_index - 64) // 8 bits are coded as they are
and the tables code the rest: a density taken as constant over at most 1/8 sigma costs less than .001 bit. Integers
beyond the reach of a table (4.25 sigma, at least 2) are escaped: an escape symbol, the side, and the distance by Elias'
gamma code, so any int32 can be coded with any mean and scale.

Against the float model, integer means and scales cost .1 % of the rate near half a bit per symbol and less above.

The functions work on any `EntropyCoder`; `range` has them in C++, faster by two orders of magnitude. A stream is read
by the calls that wrote it, of the same lengths (with `range`, in any split).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from gsbench._lazy import lazy_names
from gsbench.coding._tables import FRACTIONS, OWN_SCALES, gaussian_rows
from gsbench.coding.api import TOTAL, Decoder, Encoder, EntropyCoder, Symbols
from gsbench.coding.range import RangeCoder, RangeDecoder, RangeEncoder
from gsbench.errors import ArtifactError

if TYPE_CHECKING:
    from gsbench.coding.gaussian_rate import gaussian_bits as gaussian_bits

__all__ = [
    "SCALES",
    "decode_gaussian",
    "encode_gaussian",
    "gaussian_bits",
    "get_gaussian",
    "put_gaussian",
    "table_bits",
]

#: How many scale indices there are.
SCALES: Final = 128
_FIRST_SHIFTED: Final = OWN_SCALES - 8
_GAMMA_LIMIT: Final = 34
_INT32: Final = np.iinfo(np.int32)

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]

_exported, _listed = lazy_names(__name__, {"gaussian_bits": "gsbench.coding.gaussian_rate"})


def __getattr__(name: str) -> Any:
    return _exported(name)


def encode_gaussian(symbols: Int32, mean64: Int32, scale_index: UInt8, coder: EntropyCoder | None = None) -> bytes:
    """The stream of `symbols`, alone. Arguments as `put_gaussian`; the coder is `range` by default.

    Raises:
        ValueError: if an argument is not as stated.
    """
    encoder = (coder or RangeCoder()).encoder()
    put_gaussian(encoder, symbols, mean64, scale_index)
    return encoder.finish()


def decode_gaussian(data: bytes, mean64: Int32, scale_index: UInt8, coder: EntropyCoder | None = None) -> Symbols:
    """The symbols of a stream of `encode_gaussian`, int32 [M].

    Args:
        data: the stream.
        mean64: int32 [M], as when it was written.
        scale_index: uint8 [M], likewise.
        coder: likewise; `range` by default.

    Raises:
        ValueError: if an argument is not as stated.
        ArtifactError: if the stream is damaged, ends early, or has bytes left over.
    """
    decoder = (coder or RangeCoder()).decoder(data)
    symbols = get_gaussian(decoder, mean64, scale_index)
    decoder.finish()
    return symbols


def put_gaussian(encoder: Encoder, symbols: Int32, mean64: Int32, scale_index: UInt8) -> None:
    """Append symbols, each by its own Gaussian.

    Args:
        encoder: of any coder.
        symbols: int32 [M], contiguous as all arrays; any value.
        mean64: int32 [M], means in 1/64.
        scale_index: uint8 [M], below 128.

    Raises:
        ValueError: if an argument is not as stated; nothing is appended then.
    """
    if isinstance(encoder, RangeEncoder):
        encoder.writer.put_gaussian(symbols, mean64, scale_index, gaussian_rows().native)
        return
    _check(mean64, scale_index)
    if symbols.dtype != np.int32 or symbols.shape != mean64.shape:
        raise ValueError(f"symbols: expected int32 {list(mean64.shape)}, got {symbols.dtype} {list(symbols.shape)}")
    places = _places(mean64, scale_index)
    values = symbols.astype(np.int64) >> places.shift
    escape = 2 * places.reach + 2
    found = values - places.first
    outside = (found < 0) | (found >= escape)
    found[outside] = escape[outside]
    for scale, where in _groups(places.scale):
        encoder.put(found[where].astype(np.int32), gaussian_rows().tables[scale], places.fraction[where])
    if outside.any():
        first, count = places.first[outside], escape[outside]
        above = values[outside] >= first
        _put_uniform(encoder, above.astype(np.int64), 1)
        _put_gamma(encoder, np.where(above, values[outside] - first - count, first - 1 - values[outside]))
    for shift, where in _groups(places.shift):
        if shift:
            _put_uniform(encoder, symbols[where] & ((1 << shift) - 1), shift)


def get_gaussian(decoder: Decoder, mean64: Int32, scale_index: UInt8) -> Symbols:
    """The next symbols, int32 [M]; arguments as `put_gaussian`.

    Raises:
        ValueError: if an argument is not as stated.
        ArtifactError: if the stream is damaged or ends early.
    """
    if isinstance(decoder, RangeDecoder):
        return decoder.reader.get_gaussian(mean64, scale_index, gaussian_rows().native)
    _check(mean64, scale_index)
    places = _places(mean64, scale_index)
    values = np.empty(len(mean64), np.int64)
    for scale, where in _groups(places.scale):
        values[where] = decoder.get(gaussian_rows().tables[scale], places.fraction[where])
    escape = 2 * places.reach + 2
    outside = values == escape
    values += places.first
    if outside.any():
        first, count = places.first[outside], escape[outside]
        above = _get_uniform(decoder, int(outside.sum()), 1)
        distance = _get_gamma(decoder, int(outside.sum()))
        values[outside] = np.where(above == 1, first + count + distance, first - 1 - distance)
    for shift, where in _groups(places.shift):
        if shift:
            values[where] = values[where] * (1 << shift) + _get_uniform(decoder, len(where), shift)
    if len(values) and not _INT32.min <= values.min() <= values.max() <= _INT32.max:
        raise ArtifactError("damaged stream: a symbol beyond 32 bits")
    return values.astype(np.int32)


def table_bits(symbols: Int32, mean64: Int32, scale_index: UInt8) -> npt.NDArray[np.float64]:
    """What each symbol costs by the tables, in bits, float64 [M]: -log2 of its probability, escapes included. Arguments
    as `put_gaussian`.

    Raises:
        ValueError: if an argument is not as stated.
    """
    _check(mean64, scale_index)
    places = _places(mean64, scale_index)
    values = symbols.astype(np.int64) >> places.shift
    escape = 2 * places.reach + 2
    found = values - places.first
    outside = (found < 0) | (found >= escape)
    found[outside] = escape[outside]
    bits = places.shift.astype(np.float64)
    for scale, where in _groups(places.scale):
        table = gaussian_rows().tables[scale].astype(np.int64)
        f, k = places.fraction[where], found[where]
        bits[where] += np.log2(TOTAL / (table[f, k + 1] - table[f, k]))
    first, count = places.first[outside], escape[outside]
    distance = np.maximum(values[outside] - first - count, first - 1 - values[outside])
    bits[outside] += 2 + 2 * (_bit_lengths(distance + 1) - 1)
    return bits


class _Places(NamedTuple):
    """Where in the tables symbols are found."""

    scale: Int64  # with a table of its own
    shift: Int64  # lowest bits that are coded as they are
    fraction: Int32
    first: Int64  # the value of the table's first symbol, without the lowest bits
    reach: Int64


def _check(mean64: Int32, scale_index: UInt8) -> None:
    if mean64.dtype != np.int32 or mean64.ndim != 1:
        raise ValueError(f"mean64: expected int32 [M], got {mean64.dtype} {list(mean64.shape)}")
    if scale_index.dtype != np.uint8 or scale_index.shape != mean64.shape:
        raise ValueError(
            f"scale_index: expected uint8 {list(mean64.shape)}, got {scale_index.dtype} {list(scale_index.shape)}"
        )
    if len(scale_index) and scale_index.max() >= SCALES:
        raise ValueError(f"scale_index: expected 0 to {SCALES - 1}, got {scale_index.max()}")


def _places(mean64: Int32, scale_index: UInt8) -> _Places:
    scale = scale_index.astype(np.int64)
    shift = np.maximum((scale - _FIRST_SHIFTED) // 8, 0)
    scale = np.where(shift > 0, _FIRST_SHIFTED + scale % 8, scale)
    size = np.int64(1) << shift
    # From the center of the bin [0, size - 1], in 1/64 of a bin, rounded.
    center = np.where(shift > 0, (mean64.astype(np.int64) - FRACTIONS // 2 * (size - 1) + size // 2) >> shift, mean64)
    reach = gaussian_rows().reaches[scale]
    return _Places(scale, shift, (center % FRACTIONS).astype(np.int32), center // FRACTIONS - reach, reach)


def _groups(keys: Int64) -> Iterator[tuple[int, Int64]]:
    """The distinct keys, rising, each with its positions, rising."""
    order = np.argsort(keys, kind="stable")
    values, starts = np.unique(keys[order], return_index=True)
    yield from zip(values.tolist(), np.split(order, starts[1:]), strict=False)


def _bit_lengths(numbers: Int64) -> Int64:
    """Of positive integers below 2^53."""
    return np.frexp(numbers.astype(np.float64))[1].astype(np.int64)


def _uniform_table(bits: int) -> npt.NDArray[np.uint32]:
    return np.arange(0, TOTAL + 1, TOTAL >> bits, dtype=np.uint32)[None]


def _put_uniform(encoder: Encoder, values: npt.NDArray[np.generic], bits: int) -> None:
    encoder.put(values.astype(np.int32), _uniform_table(bits), np.zeros(len(values), np.int32))


def _get_uniform(decoder: Decoder, count: int, bits: int) -> Int64:
    return decoder.get(_uniform_table(bits), np.zeros(count, np.int32)).astype(np.int64)


def _put_gamma(encoder: Encoder, numbers: Int64) -> None:
    """Elias' gamma code of numbers + 1, a bit plane at a time."""
    lengths = _bit_lengths(numbers + 1) - 1
    for length in range(int(lengths.max()) + 1):
        _put_uniform(encoder, lengths[lengths >= length] > length, 1)
    for bit in range(int(lengths.max()) - 1, -1, -1):
        _put_uniform(encoder, ((numbers + 1)[lengths > bit] >> bit) & 1, 1)


def _get_gamma(decoder: Decoder, count: int) -> Int64:
    lengths = np.zeros(count, np.int64)
    active = np.arange(count)
    while len(active):
        active = active[_get_uniform(decoder, len(active), 1) == 1]
        lengths[active] += 1
        if len(active) and lengths.max() > _GAMMA_LIMIT:
            raise ArtifactError("damaged stream: an escaped symbol beyond 32 bits")
    numbers = np.ones(count, np.int64)
    for bit in range(int(lengths.max()) - 1, -1, -1):
        where = lengths > bit
        numbers[where] = 2 * numbers[where] + _get_uniform(decoder, int(where.sum()), 1)
    return numbers - 1
