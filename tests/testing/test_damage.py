"""Damage is real, covers every part, and can be repeated."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gsbench.testing.damage import Damage, flips, truncations

PARTS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5000)), min_size=1, max_size=12).filter(
    lambda parts: sum(length for _, length in parts) > 0
)


@given(PARTS)
def test_truncations_shorten_and_cut_at_every_boundary(parts: list[tuple[str, int]]) -> None:
    size = sum(length for _, length in parts)
    data = bytes(size)
    cuts = truncations(parts)
    assert cuts == truncations(parts)
    lengths = {len(cut.apply(data)) for cut in cuts}
    assert all(length < size for length in lengths)
    ends = {sum(length for _, length in parts[: i + 1]) for i in range(len(parts))}
    assert lengths >= {end for end in ends if end < size} | {0, size - 1}


@given(PARTS)
def test_flips_change_one_bit_and_reach_every_part(parts: list[tuple[str, int]]) -> None:
    size = sum(length for _, length in parts)
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    chosen = flips(parts)
    assert chosen == flips(parts)
    for flip in chosen:
        damaged = flip.apply(data)
        assert len(damaged) == size
        different = int.from_bytes(data, "big") ^ int.from_bytes(damaged, "big")
        assert different.bit_count() == 1
        assert damaged[flip.position] != data[flip.position]
    start = 0
    for _, length in parts:
        assert not length or any(start <= flip.position < start + length for flip in chosen)
        start += length


def test_damage_is_described_by_the_part_it_hits() -> None:
    parts = [("header", 10), ("means", 90)]
    assert Damage("flip", 10, 3).describe(parts) == "with bit 3 of byte 10 (means) flipped"
    assert Damage("truncate", 9).describe(parts) == "cut off at byte 9 (header)"
    assert Damage("append", 0).describe(parts) == "with a byte appended"
    assert Damage("append", 0).apply(b"ab") == b"ab\0"
