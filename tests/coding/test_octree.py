"""The octree coder: lossless, its order, its rate, and damage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gsbench.coding.octree import MOST_DEPTH, decode_positions, encode_positions, occupancy_codes
from gsbench.errors import ArtifactError


def surface(count: int, depth: int) -> np.ndarray:
    """Points on a torus: what a scene's points are like, locally."""
    random = np.random.default_rng(depth)
    u, v = random.random((2, count)) * 2 * np.pi
    ring = 1 + 0.3 * np.cos(v)
    points = np.stack([np.cos(u) * ring, np.sin(u) * ring, 0.3 * np.sin(v)], axis=1)
    points = (points + 1.3) / 2.6
    return np.minimum(points * 2**depth, 2**depth - 1).astype(np.int32)


def uniform(count: int, depth: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 2**depth, (count, 3)).astype(np.int32)


def order0(codes: np.ndarray) -> float:
    """Entropy of symbols as they come, in bytes."""
    counts = np.unique(codes, return_counts=True)[1]
    return float(-(counts * np.log2(counts / len(codes))).sum() / 8)


def reference_codes(points: np.ndarray, depth: int) -> list[int]:
    """Occupancy codes by sets of nodes, breadth first in Morton order."""
    codes: list[int] = []
    nodes = [(0, 0, 0)]
    for level in range(depth):
        shift = depth - 1 - level
        present = {tuple(p) for p in (points >> shift).tolist()}
        next_nodes = []
        for x, y, z in nodes:
            code = 0
            for child in range(8):
                at = (2 * x + (child >> 2), 2 * y + (child >> 1 & 1), 2 * z + (child & 1))
                if at in present:
                    code |= 128 >> child
                    next_nodes.append(at)
            codes.append(code)
        nodes = next_nodes
    return codes


@pytest.mark.parametrize("depth", [1, 2, 9, 16, MOST_DEPTH])
@pytest.mark.parametrize("count", [0, 1, 2, 10, 3000])
def test_round_trips_in_its_order(count: int, depth: int) -> None:
    for points in (uniform(count, depth), surface(count, depth)):
        data, order = encode_positions(points, depth)
        decoded = decode_positions(data, count)
        assert decoded.dtype == np.int32
        assert sorted(order.tolist()) == list(range(count))
        assert (decoded == points[order]).all()


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, MOST_DEPTH).flatmap(
        lambda depth: st.tuples(
            st.just(depth),
            hnp.arrays(
                np.int32,
                st.tuples(st.integers(0, 40), st.just(3)),
                elements=st.one_of(st.sampled_from([0, 2**depth - 1]), st.integers(0, 2**depth - 1)),
            ),
        )
    )
)
def test_any_points(case: tuple[int, np.ndarray]) -> None:
    depth, points = case
    data, order = encode_positions(points, depth)
    assert (decode_positions(data, len(points)) == points[order]).all()
    if len(points):
        assert occupancy_codes(points, depth).tolist() == reference_codes(points, depth)


def test_equal_points_keep_their_number_and_order() -> None:
    points = np.full((100_000, 3), 2**21 - 1, np.int32)
    data, order = encode_positions(points)
    assert len(data) < 40
    assert (order == np.arange(100_000)).all()
    assert (decode_positions(data, 100_000) == points).all()
    some = np.array([[5, 5, 5], [1, 2, 3], [5, 5, 5], [1, 2, 3], [1, 2, 3], [0, 0, 7]], np.int32)
    assert encode_positions(some)[1].tolist() == [1, 3, 4, 5, 0, 2]


def test_the_order_is_that_of_morton_codes() -> None:
    points = uniform(500, 4)
    _, order = encode_positions(points, 4)
    bits = (points[:, None, :] >> np.arange(3, -1, -1)[:, None]) & 1
    keys = (bits.reshape(500, 12) << np.arange(11, -1, -1)).sum(axis=1)
    assert (order == np.argsort(keys, kind="stable")).all()


@pytest.mark.parametrize(
    ("points", "depth"),
    [
        (surface(30_000, 16), 16),
        (surface(30_000, 10), 10),
        (uniform(30_000, 16), 16),
        (uniform(1000, 16), 16),
        (np.clip(np.random.default_rng(0).normal(size=(20_000, 3)) * 900 + 30_000, 0, 65_535).astype(np.int32), 16),
    ],
    ids=["surface", "dense surface", "uniform", "few", "cluster"],
)
def test_costs_at_most_the_order_0_entropy_of_its_codes(points: np.ndarray, depth: int) -> None:
    points = np.unique(points, axis=0)
    data, _ = encode_positions(points, depth)
    assert len(data) <= order0(occupancy_codes(points, depth))


def test_few_points_cost_little_more_than_their_coordinates() -> None:
    """Order-0 entropy of a handful of codes is no measure: nobody knows their shares beforehand."""
    for count in (1, 10, 100):
        data, _ = encode_positions(uniform(count, 16), 16)
        assert len(data) <= 6 * count + 20


def test_golden_stream(repository: Any) -> None:
    """Committed bytes; points without a random generator, some of them equal."""
    steps = np.arange(2000, dtype=np.int64)
    points = np.stack([steps * steps % 1021, steps * 7 % 997, (steps // 3) * 31 % 1013], axis=1).astype(np.int32)
    points = np.concatenate([points, points[::9], points[::50]])
    golden = (repository / "tests" / "golden" / "coding_octree.bin").read_bytes()
    data, order = encode_positions(points, 10)
    assert data == golden
    assert (decode_positions(golden, 5000) == points[order]).all()


def check_damages(points: np.ndarray, damages: Callable[..., int], count: int) -> None:
    data, _ = encode_positions(points, 16)

    def well_formed(result: Any) -> bool:
        return bool(result.dtype == np.int32 and result.shape[1] == 3 and len(result) <= len(points))

    raised = damages(data, lambda changed: decode_positions(changed, len(points)), well_formed, count)
    assert raised > 0.5 * (len(data) + count)


def test_damage(damages: Callable[..., int]) -> None:
    check_damages(np.concatenate([uniform(30, 16)] * 2), damages, 200)


@pytest.mark.slow
def test_damage_thoroughly(damages: Callable[..., int]) -> None:
    check_damages(np.concatenate([surface(500, 16), uniform(50, 16)] * 2), damages, 10_000)


def test_no_more_points_than_allowed() -> None:
    data, _ = encode_positions(uniform(100, 16))
    with pytest.raises(ArtifactError, match="positions: 100, expected at most 99"):
        decode_positions(data, 99)
    with pytest.raises(ArtifactError, match="positions: damaged: 22 bits"):
        decode_positions(data[:1] + b"\x16" + data[2:], 100)
    for changed in (data + b"\0", b"\x00\x00", b"", data[:1]):
        with pytest.raises(ArtifactError):
            decode_positions(changed, 100)


@pytest.mark.parametrize(
    ("points", "depth", "problem"),
    [
        (np.array([[0, 0, 16]], np.int32), 4, r"points: expected 0 to 2\^4 - 1, got 16 in row 0"),
        (np.array([[0, -1, 0]], np.int32), 4, "got -1"),
        (np.array([[0, 0, 0]], np.int32), 22, "depth: expected 1 to 21, got 22"),
        (np.array([[0, 0, 2**21]], np.int32), None, r"expected below 2\^21"),
        (np.zeros((2, 2), np.int32), 4, "points: expected shape"),
        (np.zeros((2, 3)), 4, "points: expected int32"),
    ],
)
def test_wrong_arguments(points: np.ndarray, depth: int | None, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        encode_positions(points, depth)
