"""Bits: with a given probability each, or with probabilities learned per context while coding.

`put_bits` and `get_bits` work on any entropy coder. Learned bits need the coder `range`; the estimator is that of
Krichevsky and Trofimov, "The performance of universal encoding" (1981), which costs at most half a logarithm of the
count per context beyond the best fixed probabilities.
"""

from __future__ import annotations

from math import lgamma, log, pi

import numpy as np
import numpy.typing as npt

from gsbench.coding._bytes import ByteReader, varint
from gsbench.coding.api import TOTAL, Decoder, Encoder
from gsbench.coding.range import RangeCoder, RangeDecoder, RangeEncoder
from gsbench.errors import ArtifactError

__all__ = ["LearnedBits", "decode_flags", "encode_flags", "get_bits", "learned_bits_cost", "put_bits"]

Int32 = npt.NDArray[np.int32]
UInt8 = npt.NDArray[np.uint8]
UInt16 = npt.NDArray[np.uint16]


def put_bits(encoder: Encoder, bits: UInt8, ones: UInt16) -> None:
    """Append bits.

    Args:
        encoder: of any coder.
        bits: uint8 [M], 0 or 1.
        ones: uint16 [M], the probability of a 1 in 1/2^16, at least 1.

    Raises:
        ValueError: if an argument is not as stated.
    """
    if len(bits) and bits.max() > 1:
        raise ValueError(f"bits: expected 0 and 1, got {bits.max()}")
    if isinstance(encoder, RangeEncoder):
        encoder.writer.put_bits(bits, ones)
        return
    tables, index = _tables(ones)
    encoder.put(bits.astype(np.int32), tables, index)


def get_bits(decoder: Decoder, ones: UInt16) -> UInt8:
    """The next bits, uint8 of the length of `ones`; the mirror of `put_bits`.

    Raises:
        ValueError: if an argument is not as stated.
        ArtifactError: if the stream is damaged or ends early.
    """
    if isinstance(decoder, RangeDecoder):
        return decoder.reader.get_bits(ones)
    return decoder.get(*_tables(ones)).astype(np.uint8)


def _tables(ones: UInt16) -> tuple[npt.NDArray[np.uint32], Int32]:
    values, index = np.unique(ones, return_inverse=True)
    tables = np.full((len(values), 3), TOTAL, np.uint32)
    tables[:, 0] = 0
    tables[:, 1] -= values
    return tables, index.astype(np.int32)


class LearnedBits:
    """Bits whose probabilities are learned per context, in a stream of the coder `range`. One for encoding, one like it
    for decoding.

    Args:
        contexts: how many there are.
    """

    def __init__(self, contexts: int = 1) -> None:
        self._counts = np.zeros((contexts, 2), np.uint32)

    def put(self, encoder: RangeEncoder, bits: UInt8, contexts: Int32 | None = None) -> None:
        """Append bits, uint8 [M], each in its context, int32 [M] (all in the first by default).

        Raises:
            ValueError: if an argument is not as stated.
        """
        if len(bits) and bits.max() > 1:
            raise ValueError(f"bits: expected 0 and 1, got {bits.max()}")
        encoder.writer.put_learned(bits, _contexts(len(bits), contexts), self._counts)

    def get(self, decoder: RangeDecoder, count: int, contexts: Int32 | None = None) -> UInt8:
        """The next bits, uint8 [count].

        Raises:
            ValueError: if an argument is not as stated.
            ArtifactError: if the stream is damaged or ends early; what was learned is then lost.
        """
        return decoder.reader.get_learned(_contexts(count, contexts), self._counts)


def _contexts(count: int, contexts: Int32 | None) -> Int32:
    return np.zeros(count, np.int32) if contexts is None else contexts


def encode_flags(bits: UInt8, contexts: Int32 | None = None) -> bytes:
    """A stream of bits, uint8 [M], with probabilities learned per context, int32 [M] from 0. It begins with M (unsigned
    LEB128). The decoder must know the contexts.

    Raises:
        ValueError: if an argument is not as stated.
    """
    encoder = RangeCoder().encoder()
    LearnedBits(_context_count(contexts)).put(encoder, bits, contexts)
    return varint(len(bits)) + encoder.finish()


def decode_flags(data: bytes, most: int, contexts: Int32 | None = None) -> UInt8:
    """The bits of a stream of `encode_flags`, uint8 [M]. With contexts, M must be their number.

    Args:
        data: the stream.
        most: no more bits than these are accepted.
        contexts: those of the encoder.

    Raises:
        ValueError: if a context is negative.
        ArtifactError: if the stream is damaged, ends early, holds another number of bits, or has bytes left over.
    """
    reader = ByteReader(data, "flags")
    count = reader.varint(most if contexts is None else min(most, len(contexts)))
    if contexts is not None and count != len(contexts):
        raise ArtifactError(f"flags: {count} bits, expected {len(contexts)}")
    decoder = RangeCoder().decoder(reader.rest())
    bits = LearnedBits(_context_count(contexts)).get(decoder, count, contexts)
    decoder.finish()
    return bits


def _context_count(contexts: Int32 | None) -> int:
    return 1 if contexts is None or not len(contexts) else max(1, int(contexts.max()) + 1)


def learned_bits_cost(bits: UInt8, contexts: Int32 | None = None) -> float:
    """What `encode_flags` needs for bits in any order, without its few bytes of frame, in bits: per context the
    Krichevsky-Trofimov estimate for n0 zeros and n1 ones, -log2 of G(n0 + 1/2) G(n1 + 1/2) / (pi G(n0 + n1 + 1)).
    """
    contexts = _contexts(len(bits), contexts)
    total = 0.0
    for context in np.unique(contexts):
        ones = int(bits[contexts == context].sum())
        zeros = int((contexts == context).sum()) - ones
        total -= lgamma(zeros + 0.5) + lgamma(ones + 0.5) - log(pi) - lgamma(zeros + ones + 1)
    return total / log(2)
