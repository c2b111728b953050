"""The neighbor search against scipy's k-d tree and brute force."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial import cKDTree
from torch import Tensor

from gsbench.native import knn_mean_distance
from gsbench.native._library import call


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    """The references are small: more threads only wait for each other on a busy machine."""
    torch.set_num_threads(1)


def brute_force(points: Tensor, k: int) -> Tensor:
    """Mean distance to the nearest others in float64, all pairs; 0 where there are none."""
    count = len(points)
    if count < 2:
        return torch.zeros(count, dtype=torch.float64)
    x = points.double()
    distances = (x[:, None] - x[None]).norm(dim=-1)
    distances.fill_diagonal_(torch.inf)
    return distances.sort(dim=1).values[:, : min(k, count - 1)].mean(dim=1)


def clouds() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    axis = torch.arange(12.0)
    return {
        "uniform": rand(20_000, 3),
        "very uneven": torch.randn(20_000, 3, generator=generator) * rand(20_000, 1) ** 6 * 100,
        "flat": rand(5_000, 3) * torch.tensor([1.0, 1.0, 0.0]),
        "collinear": rand(5_000, 1) * torch.tensor([[1.0, -2.0, 3.0]]),
        "lattice": torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3),
        "sphere": torch.nn.functional.normalize(torch.randn(5_000, 3, generator=generator), dim=1),
        "far from the origin": rand(5_000, 3) + 1000.0,
        "outliers": torch.cat([rand(5_000, 3), torch.tensor([[1e30, 0.0, 0.0], [-1e38, 1e38, 1e38]])]),
        "tiny": rand(5_000, 3) * 1e-30,
        "pairs": rand(2_500, 3).repeat(2, 1),
    }


@pytest.mark.parametrize("k", [1, 3, 8])
@pytest.mark.parametrize("name", list(clouds()))
def test_agrees_with_scipy(name: str, k: int) -> None:
    points = clouds()[name]
    # Scipy squares in float64, where 1e-30 and 1e38 are harmless.
    found = cKDTree(points.double().numpy()).query(points.double().numpy(), k + 1)[0]
    expected = found[:, 1:].mean(axis=1)  # the first is the point itself, or an equal one
    actual = knn_mean_distance(points, k).numpy()
    np.testing.assert_allclose(actual, expected, rtol=2e-7, atol=0)


@settings(max_examples=150, deadline=None)
@given(
    points=hnp.arrays(
        np.float32,
        st.tuples(st.integers(0, 60), st.just(3)),
        elements=st.one_of(st.sampled_from([0.0, 1.0, -1.0, 2.0]), st.floats(-(2.0**60), 2.0**60, width=32)),
    ),
    k=st.integers(1, 8),
)
def test_agrees_with_all_pairs(points: np.ndarray, k: int) -> None:
    tensor = torch.from_numpy(points)
    actual = knn_mean_distance(tensor, k, threads=2)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, brute_force(tensor, k).float(), rtol=3e-7, atol=0)


def test_few_points() -> None:
    assert knn_mean_distance(torch.empty(0, 3)).shape == (0,)
    assert knn_mean_distance(torch.tensor([[1.0, 2.0, 3.0]])).tolist() == [0.0]
    assert knn_mean_distance(torch.tensor([[0.0, 0.0, 0.0], [3.0, 4.0, 0.0]])).tolist() == [5.0, 5.0]


def test_distances_beyond_float32_are_infinite() -> None:
    points = torch.tensor([[-3e38, -3e38, -3e38], [3e38, 3e38, 3e38]])
    assert knn_mean_distance(points).tolist() == [float("inf")] * 2


def test_equal_points_have_distance_zero() -> None:
    points = torch.tensor([[1.5, -2.0, 3.0]]).repeat(10_000, 1)
    assert not knn_mean_distance(points).any()


def test_heaps_of_equal_points() -> None:
    """Three of four in one heap, the others alone: heaps of four are at distance 0, the rest see the heap."""
    corners = torch.tensor([[0.0, 0, 0], [10.0, 0, 0], [0.0, 20, 0]])
    points = torch.cat([corners.repeat(4, 1), torch.tensor([[0.0, 0, 1]])])
    assert knn_mean_distance(points, 3).tolist() == [0.0] * 12 + [1.0]


def test_same_bytes_for_any_number_of_threads_and_order_of_points() -> None:
    points = clouds()["very uneven"].repeat(2, 1)  # above the size from which subtrees are built as tasks
    first = knn_mean_distance(points, threads=1)
    for threads in (2, 7):
        assert knn_mean_distance(points, threads=threads).numpy().tobytes() == first.numpy().tobytes()
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))
    assert torch.equal(knn_mean_distance(points[order], threads=2), first[order])


@pytest.mark.parametrize("kind", ["equal", "heaps", "line with outlier"])
def test_degenerate_clouds_are_not_quadratic(kind: str) -> None:
    """200,000 points would be 4e10 pairs, minutes; the tree takes a fraction of a second."""
    count = 200_000
    points = torch.zeros(count, 3)
    if kind == "heaps":
        points[:, 0] = torch.arange(count) % 50
    elif kind == "line with outlier":
        points[:, 1] = torch.arange(count) / count
        points[0] = 1e20
    start = time.process_time()
    knn_mean_distance(points)
    assert time.process_time() - start < 10.0


@pytest.mark.parametrize(
    ("points", "k", "message"),
    [
        (torch.zeros(4, 2), 3, r"points: expected shape \[4, 3\], got \[4, 2\]"),
        (torch.zeros(12), 3, r"points: expected shape \[P, 3\]"),
        (torch.zeros(4, 3).double(), 3, r"points: expected torch.float32"),
        (torch.zeros(3, 4).T, 3, r"points: expected a contiguous tensor"),
        (torch.zeros(4, 3), 0, r"k: expected 1 to 8, got 0"),
        (torch.zeros(4, 3), 9, r"k: expected 1 to 8, got 9"),
        (
            torch.tensor([[0.0, 0, 0], [0, float("nan"), 0]]),
            3,
            r"points: expected finite coordinates, got .*nan in row 1",
        ),
        (torch.tensor([[0.0, 0, 0], [0, 0, -float("inf")]]), 3, r"got -inf in row 1"),
    ],
)
def test_wrong_arguments_are_named(points: Tensor, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        knn_mean_distance(points, k)


def test_the_library_checks_sizes_itself() -> None:
    with pytest.raises(ValueError, match="points: expected 0 to"):
        call("gsb_knn_mean_distance_sizes", 2**31, None)
    with pytest.raises(ValueError, match="workspace"):
        call("gsb_knn_mean_distance_run", None, 100, 3, None, None, 5, 1)
    with pytest.raises(ValueError, match="threads"):
        knn_mean_distance(torch.zeros(4, 3), threads=0)
