"""Integer positions as an octree: lossless, duplicates kept by their number.

Breadth first, every node has a byte that says which of its eight children hold points. Its bits are coded with the
mixed predictions of adaptive models, which see the children so far, the neighbors that exist, the family and the node
before (csrc/coding/octree.cpp); all in integers. A position costs less than the order-0 entropy of those bytes.

A stream is the number of points (unsigned LEB128), a byte with the depth (bits per axis) if there are any, and the
range coder's stream.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from gsbench.coding._bytes import ByteReader, varint
from gsbench.errors import ArtifactError
from gsbench.native.contexts import octree_codes, octree_decode, octree_encode

__all__ = ["MOST_DEPTH", "decode_positions", "encode_positions", "occupancy_codes"]

#: Most bits per axis.
MOST_DEPTH: Final = 21


def encode_positions(positions: npt.NDArray[np.int32], depth: int | None = None) -> tuple[bytes, npt.NDArray[np.int64]]:
    """The stream of positions, and the order in which it gives them back.

    Args:
        positions: int32 [N, 3], contiguous, each in [0, 2^depth).
        depth: 1 to 21; by default what the largest coordinate needs.

    Returns:
        The stream, and int64 [N]: row i of what `decode_positions` returns is ``positions[order[i]]``. The order is
        that of Morton codes, equal positions as they were: write all that belongs to a position in it.

    Raises:
        ValueError: if an argument is not as stated.
    """
    if not len(positions):
        return varint(0), np.empty(0, np.int64)
    if depth is None:
        depth = max(1, int(positions.max()).bit_length())
        if depth > MOST_DEPTH:
            raise ValueError(f"positions: expected below 2^{MOST_DEPTH}, got {positions.max()}")
    stream, order = octree_encode(positions, depth)
    return varint(len(positions)) + bytes([depth]) + stream, order


def decode_positions(data: bytes, most: int) -> npt.NDArray[np.int32]:
    """The positions of a stream of `encode_positions`, int32 [N, 3].

    Args:
        data: the stream.
        most: no more positions than these are accepted, nor memory taken for more.

    Raises:
        ArtifactError: if the stream is damaged, ends early, holds more than `most` positions or has bytes left over.
    """
    reader = ByteReader(data, "positions")
    count = reader.varint(most)
    if count == 0:
        reader.finish()
        return np.empty((0, 3), np.int32)
    depth = reader.take(1)[0]
    if not 1 <= depth <= MOST_DEPTH:
        raise ArtifactError(f"positions: damaged: {depth} bits per axis, expected 1 to {MOST_DEPTH}")
    try:
        return octree_decode(reader.rest(), count, depth)
    except ArtifactError as error:
        raise ArtifactError(f"positions: {error}") from None


def occupancy_codes(positions: npt.NDArray[np.int32], depth: int) -> npt.NDArray[np.uint8]:
    """The byte of every node, breadth first: what the coder has to predict. Bit 7 - c stands for child c, with x in the
    highest bit of c. Arguments as `encode_positions`.
    """
    return octree_codes(positions, depth)
