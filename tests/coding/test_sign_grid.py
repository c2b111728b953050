"""Grids of signs against exact fractions."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from gsbench.coding.sign_grid import look_up, pack_signs, touched_rows, unpack_signs

#: Direct and hashed levels in space, with a power of two of rows and without, and all three planes.
LEVELS = np.array(
    [
        [4, 7, 0, 64],
        [18, 7, 64, 512],
        [514, 7, 576, 1000],
        [9, 3, 1576, 88],
        [130, 5, 1664, 256],
        [1026, 6, 1920, 200],
    ],
    np.int64,
)
ROWS = 2120
EXTENT = (1000, 37, 70_001)


def points(count: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    inside = random.integers(0, np.array(EXTENT) + 1, (count, 3))
    inside[:8] = np.array(list(product((0, 1), repeat=3))) * np.array(EXTENT)
    inside[8:10] = [[-5, -(2**31), 2**31 - 1], [2000, 50, 0]]
    return inside.astype(np.int32)


def corners(point: list[int], level: list[int]) -> dict[int, Fraction]:
    """Row -> weight, by the formulas of csrc/coding/sign_grid.h."""
    resolution, axes, first, rows = level
    cells = []
    for axis in (a for a in range(3) if axes >> a & 1):
        u = (min(max(point[axis], 0), EXTENT[axis]) << 30) // EXTENT[axis]
        p = (u * (resolution - 2) >> 14) + (1 << 15)
        cells.append((p >> 16, Fraction(p & 65535, 65536)))
    found: dict[int, Fraction] = {}
    for sides in product((0, 1), repeat=len(cells)):
        weight, row, step, mixed = Fraction(1), 0, 1, 0
        for side, (vertex, upper), prime in zip(sides, cells, (1, 2654435761, 805459861), strict=False):
            weight *= upper if side else 1 - upper
            row += (vertex + side) * step
            step *= resolution
            mixed ^= (vertex + side) * prime % 2**32
        row = first + (row if step <= rows else mixed % rows)
        found[row] = found.get(row, Fraction(0)) + weight
    return found


@pytest.mark.parametrize("fraction_bits", [0, 8, 12, 14])
def test_features_are_exact_values_rounded_once(fraction_bits: int) -> None:
    positive = np.random.default_rng(2).random((ROWS, 4)) < 0.5
    where = points(60)
    features = look_up(where, EXTENT, LEVELS, pack_signs(positive), fraction_bits=fraction_bits)
    assert features.dtype == np.int16
    for point, row in zip(where.tolist(), features.tolist(), strict=True):
        for i, level in enumerate(LEVELS.tolist()):
            for f in range(4):
                value = sum(w * (1 if positive[r, f] else -1) for r, w in corners(point, level).items())
                assert row[4 * i + f] == (value * 2**fraction_bits + Fraction(1, 2)).__floor__()


def test_touched_rows_are_those_with_a_weight() -> None:
    where = points(40)
    expected = np.zeros(ROWS, bool)
    for point in where.tolist():
        for level in LEVELS.tolist():
            expected[[row for row, weight in corners(point, level).items() if weight > 0]] = True
    assert (touched_rows(where, EXTENT, LEVELS, ROWS) == expected).all()
    assert not touched_rows(where[:0], EXTENT, LEVELS, ROWS).any()


def test_rows_that_are_not_touched_do_not_matter() -> None:
    random = np.random.default_rng(3)
    where = points(15)
    touched = touched_rows(where, EXTENT, LEVELS, ROWS)
    assert 0 < touched.sum() < ROWS
    signs = random.integers(0, 16, ROWS).astype(np.uint8)
    others = np.where(touched, signs, random.integers(0, 16, ROWS)).astype(np.uint8)
    assert (look_up(where, EXTENT, LEVELS, signs) == look_up(where, EXTENT, LEVELS, others)).all()


def test_threads_do_not_show() -> None:
    where = points(3000)
    signs = (np.arange(ROWS) * 7 % 16).astype(np.uint8)
    one = look_up(where, EXTENT, LEVELS, signs, threads=1)
    assert (look_up(where, EXTENT, LEVELS, signs, threads=4) == one).all()
    touched = touched_rows(where, EXTENT, LEVELS, ROWS, threads=1)
    assert (touched_rows(where, EXTENT, LEVELS, ROWS, threads=4) == touched).all()


def test_signs_are_packed_four_to_a_row() -> None:
    positive = np.array([[True, False, False, True], [False] * 4, [True] * 4])
    assert pack_signs(positive).tolist() == [9, 0, 15]
    assert (unpack_signs(pack_signs(positive)) == positive).all()


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        (0, np.zeros((2, 2), np.int32), "points: expected shape"),
        (0, np.zeros((2, 3), np.int64), "points: expected int32"),
        (1, (0, 1, 1), "extent: expected three numbers of at least 1"),
        (1, (1, 1), "extent: expected three numbers"),
        (2, np.array([[1, 7, 0, 8]]), "levels: row 0: expected a resolution of 2 to 65536"),
        (2, np.array([[4, 1, 0, 8]]), "axes 3, 5, 6 or 7"),
        (2, np.array([[4, 7, ROWS - 7, 8]]), f"rows within {ROWS}"),
        (2, np.array([[4, 7, -1, 8]]), "rows 8 from -1"),
        (3, np.zeros(ROWS, np.int32), "signs: expected uint8"),
    ],
)
def test_wrong_arguments(place: int, value: object, problem: str) -> None:
    arguments = [points(10), EXTENT, LEVELS, np.zeros(ROWS, np.uint8)]
    arguments[place] = value  # type: ignore[call-overload]
    with pytest.raises(ValueError, match=problem):
        look_up(*arguments)  # type: ignore[arg-type]
