"""Byte coders: how a section's bytes are stored.

They squeeze bytes of any meaning; entropy coders with a model of their symbols are another kind of thing, and what
they produce is stored ``raw``. What a byte coder writes is deterministic for one version of its library.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

#: Negative: a bare RFC 1951 stream, without zlib's header and checksum (the section has a CRC already).
_WINDOW: Final = -15
#: Deflate codes at most 258 bytes in 2 bits, so no honest stream unfolds further than 1032 : 1 (plus its end).
_DEFLATE_RATIO: Final = 1032


@dataclass(frozen=True)
class ByteCoder:
    """A way of storing bytes.

    Fields:
        encode: content to stored bytes.
        decode: (stored bytes, length of the content) to content. Takes memory for `length` bytes at most, and raises
            ValueError if the content is damaged or not exactly that long.
    """

    encode: Callable[[bytes], bytes]
    decode: Callable[[bytes, int], bytes]


def _raw_decode(stored: bytes, length: int) -> bytes:
    if len(stored) != length:
        raise ValueError(f"{len(stored)} bytes stored raw, expected {length}")
    return stored


def _deflate_encode(content: bytes) -> bytes:
    compressor = zlib.compressobj(level=9, wbits=_WINDOW)
    return compressor.compress(content) + compressor.flush()


def _deflate_decode(stored: bytes, length: int) -> bytes:
    if length > _DEFLATE_RATIO * len(stored):
        raise ValueError(f"{len(stored)} bytes of deflate cannot hold {length} bytes")
    decompressor = zlib.decompressobj(wbits=_WINDOW)
    try:
        # One byte more than expected shows a stream that is too long; no more than that is ever unfolded.
        content = decompressor.decompress(stored, length + 1)
    except zlib.error as error:
        raise ValueError(f"damaged deflate stream: {error}") from None
    if len(content) > length:
        raise ValueError(f"the deflate stream holds more than the {length} bytes expected")
    if len(content) < length or not decompressor.eof:
        raise ValueError(f"the deflate stream ends early: {len(content)} of {length} bytes")
    if decompressor.unused_data:
        raise ValueError(f"{len(decompressor.unused_data)} bytes follow the deflate stream")
    return content


#: The byte coders by name.
BYTE_CODERS: Final[dict[str, ByteCoder]] = {
    "raw": ByteCoder(bytes, _raw_decode),
    "deflate": ByteCoder(_deflate_encode, _deflate_decode),
}
