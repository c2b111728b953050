"""Damaging artifacts on purpose, in ways that can be repeated."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Damage:
    """One way of damaging a file.

    Fields:
        kind: "truncate" keeps the first `position` bytes, "flip" inverts bit `bit` of byte `position`, "append" adds a
            zero byte at the end.
        position: offset in bytes.
        bit: 0 to 7.
    """

    kind: Literal["truncate", "flip", "append"]
    position: int
    bit: int = 0

    def apply(self, data: bytes) -> bytes:
        """`data`, damaged."""
        if self.kind == "truncate":
            return data[: self.position]
        if self.kind == "append":
            return data + b"\0"
        changed = bytearray(data)
        changed[self.position] ^= 1 << self.bit
        return bytes(changed)

    def describe(self, parts: Sequence[tuple[str, int]]) -> str:
        """What the file is now, for people; `parts` are those of `gsbench.artifact.inspect_artifact`."""
        if self.kind == "append":
            return "with a byte appended"
        where = f"byte {self.position} ({_part_at(parts, self.position)})"
        return f"cut off at {where}" if self.kind == "truncate" else f"with bit {self.bit} of {where} flipped"


def truncations(parts: Sequence[tuple[str, int]], count: int = 24, seed: int = 0) -> list[Damage]:
    """Cuts at and beside every boundary between parts (of the first and last hundred), at the ends, and at `count`
    places in between.
    """
    size = sum(length for _, length in parts)
    boundaries = list(_boundaries(parts))
    chosen = {0, 1, size - 1, *(size * i // (count + 1) for i in range(1, count + 1))}
    for boundary in {*boundaries[:100], *boundaries[-100:]}:
        chosen |= {boundary - 1, boundary, boundary + 1}
    generator = random.Random(seed)
    chosen |= {generator.randrange(size) for _ in range(count)}
    return [Damage("truncate", position) for position in sorted(chosen) if 0 <= position < size]


def flips(parts: Sequence[tuple[str, int]], count: int = 96, seed: int = 0) -> list[Damage]:
    """Single bits: two in every part (of the first and last hundred), and `count` anywhere, half of them in the first
    KiB, where headers are; and the highest bit of each of the first 64 bytes, where the lengths are that decide how
    much memory is taken.
    """
    generator = random.Random(seed)
    size = sum(length for _, length in parts)
    highest = [Damage("flip", position, 7) for position in range(min(size, 64))]
    positions: set[int] = set()
    start = 0
    for index, (_, length) in enumerate(parts):
        if length and (index < 100 or index >= len(parts) - 100):
            positions |= {start + generator.randrange(length), start + length - 1}
        start += length
    positions |= {generator.randrange(min(size, 1024)) for _ in range(count // 2)}
    positions |= {generator.randrange(size) for _ in range(count - count // 2)}
    return highest + [Damage("flip", position, generator.randrange(8)) for position in sorted(positions)]


def _boundaries(parts: Sequence[tuple[str, int]]) -> Iterator[int]:
    end = 0
    for _, length in parts:
        end += length
        yield end


def _part_at(parts: Sequence[tuple[str, int]], position: int) -> str:
    for (name, _), end in zip(parts, _boundaries(parts), strict=True):
        if position < end:
            return name
    return "the end"
