"""The hash grid against an interpolation that is written for reading, in float64."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from gsbench.native import cpu_isa, set_cpu_isa
from gsbench.native.hashgrid import hashgrid_backward, hashgrid_forward
from gsbench.training.hashgrid import HashGrid, HashLayout
from gsbench.training.quantize import straight_sign

EXTENT = (900, 35, 100_000)
PRIMES = (1, 2654435761, 805459861)
LAYOUT = HashLayout(space=(2, 6, 20), planes=(5, 130), space_entries=512, plane_entries=1000)


@pytest.fixture(params=["baseline", "avx2", "avx512"])
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = cpu_isa()
    try:
        set_cpu_isa(request.param)
    except ValueError as error:
        pytest.skip(str(error))
    yield request.param
    set_cpu_isa(before)


def reference(points: Tensor, levels: Tensor, table: Tensor) -> Tensor:
    """The features in float64, with Python's integers."""
    rows = []
    for point in points.tolist():
        row = []
        for resolution, axes, first, size in levels.tolist():
            chosen = [axis for axis in range(3) if axes >> axis & 1]
            vertices, weights = [], []
            for axis in chosen:
                v = min(max(point[axis], 0), EXTENT[axis])
                u = (v << 30) // EXTENT[axis]
                p = (u * (resolution - 2) >> 14) + 2**15
                vertices.append(p >> 16)
                weights.append((p & 65535) / 65536)
            total = torch.zeros(4, dtype=torch.float64)
            for sides in itertools.product((0, 1), repeat=len(chosen)):
                at = [vertex + side for vertex, side in zip(vertices, sides, strict=True)]
                assert all(0 <= a < resolution for a in at)
                if resolution ** len(chosen) <= size:
                    entry = sum(a * resolution**d for d, a in enumerate(at))
                else:
                    entry = 0
                    for a, prime in zip(at, PRIMES, strict=False):
                        entry ^= a * prime % 2**32
                    entry %= size
                share = 1.0
                for side, weight in zip(sides, weights, strict=True):
                    share *= weight if side else 1.0 - weight
                total = total + share * table[first + entry]
            row.append(total)
        rows.append(torch.cat(row))
    return torch.stack(rows)


def sample(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """points, levels, table; among the points corners of the box and points beyond it."""
    generator = torch.Generator().manual_seed(count)
    extent = torch.tensor(EXTENT, dtype=torch.float64)
    points = (torch.rand(count, 3, generator=generator, dtype=torch.float64) * (extent + 1)).to(torch.int32)
    special = torch.tensor([[0, 0, 0], list(EXTENT), [-5, 2**31 - 1, -(2**31)], [1, 34, 99_999]], dtype=torch.int32)
    levels = LAYOUT.levels()
    table = torch.randn(int(levels[:, 3].sum()), 4, generator=generator)
    table[0, 0], table[1, 1] = 0.0, -0.0
    return torch.cat([special, points]), levels, table


@pytest.mark.parametrize("binary", [False, True])
def test_forward_and_gradient(isa: str, binary: bool) -> None:
    points, levels, table = sample(60)
    double = table.double().requires_grad_()
    expected = reference(points, levels, straight_sign(double) if binary else double)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    (expected * weights.double()).sum().backward()

    found, positive = hashgrid_forward(points, EXTENT, levels, table, binary=binary)
    gradient = hashgrid_backward(points, EXTENT, levels, table, weights, binary=binary)
    assert positive == int((table >= 0).sum())
    torch.testing.assert_close(found.double(), expected.detach(), rtol=1e-6, atol=2e-6)
    assert double.grad is not None
    torch.testing.assert_close(gradient.double(), double.grad, rtol=1e-5, atol=1e-6)


def test_module_is_the_gradient_of_itself(isa: str) -> None:
    """Linear in the table: the gradient at any table gives the value."""
    points, _, table = sample(500)
    grid = HashGrid(LAYOUT, binary=False)
    with torch.no_grad():
        grid.table.copy_(table)
    value = (grid(points, EXTENT)[0] * torch.linspace(-1, 1, grid.width)).sum()
    value.backward()  # type: ignore[no-untyped-call]
    assert grid.table.grad is not None
    assert float((grid.table.grad.double() * table.double()).sum()) == pytest.approx(value.item(), rel=1e-4)


def test_same_bytes_for_any_number_of_threads(isa: str) -> None:
    points, levels, table = sample(5000)
    grads = torch.randn(len(points), 4 * len(levels), generator=torch.Generator().manual_seed(2))
    results = []
    for threads in (1, 2, 7):
        features, _ = hashgrid_forward(points, EXTENT, levels, table, binary=True, threads=threads)
        gradient = hashgrid_backward(points, EXTENT, levels, table, grads, binary=True, threads=threads)
        results.append(features.numpy().tobytes() + gradient.numpy().tobytes())
    assert results[0] == results[1] == results[2]


def test_the_layout_of_the_publication() -> None:
    """12 levels in space of 2^13 entries, 4 on each of three planes of 2^15, fewer where the grid has fewer vertices:
    1,766,272 bits.
    """
    grid = HashGrid()
    assert grid.table.numel() == 1_766_272
    assert grid.width == 96
    levels = grid.levels
    assert levels[1:, 2].tolist() == levels[:, 3].cumsum(0)[:-1].tolist()
    assert levels[0].tolist() == [18, 7, 0, 18**3]


def test_bits_are_the_entropy_of_the_signs() -> None:
    grid = HashGrid(LAYOUT)
    n = grid.table.numel()
    with torch.no_grad():
        grid.table.fill_(-0.5)
        grid.table.view(-1)[: n // 4] = 0.5
    p = (n // 4) / n
    q = torch.tensor([p, 1.0 - p], dtype=torch.float64)
    _, positive = grid(torch.zeros(1, 3, dtype=torch.int32), EXTENT)
    bits = grid.bits(positive)
    assert bits.item() == pytest.approx(-n * float((q * q.log2()).sum()), rel=1e-5)
    bits.backward()  # type: ignore[no-untyped-call]
    assert grid.table.grad is not None
    # d bits / d p = n log2((1 - p) / p), and an entry's sign has 1 / (2 n) of p.
    assert float(grid.table.grad[0, 0]) == pytest.approx(0.5 * float(torch.tensor((1 - p) / p).log2()), rel=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extent": (1, 0, 1)}, "extent: expected at least 1"),
        ({"extent": (1, 1)}, "extent: expected three numbers"),
        ({"points": torch.zeros(3, 3)}, r"points: expected torch.int32"),
        ({"levels": torch.tensor([[1, 7, 0, 8]])}, "levels: row 0"),
        ({"levels": torch.tensor([[4, 4, 0, 8]])}, "levels: row 0"),
        ({"levels": torch.tensor([[4, 7, 0, 10**6]])}, "levels: row 0"),
        ({"levels": torch.tensor([[4, 7, -1, 8]])}, "levels: row 0"),
        ({"table": torch.zeros(4, 3)}, "table: expected shape"),
    ],
)
def test_wrong_arguments_are_named(change: dict[str, object], message: str) -> None:
    points, levels, table = sample(3)
    arguments: dict[str, object] = {"points": points, "extent": EXTENT, "levels": levels, "table": table}
    with pytest.raises(ValueError, match=message):
        hashgrid_forward(**{**arguments, **change}, binary=True)  # type: ignore[arg-type]
