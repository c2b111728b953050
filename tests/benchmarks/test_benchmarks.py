"""The benchmarks run, in their quick form, and what they compare is the same thing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture
def importable(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package `benchmarks`, which is not installed."""
    monkeypatch.syspath_prepend(repository)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
        del sys.modules[name]


def run(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, timeout=300)


def rows(output: str) -> dict[str, list[dict[str, Any]]]:
    result = json.loads(output)
    assert {"cpu", "instruction sets", "torch", "scipy", "native build"} <= set(result["machine"])
    return {table["name"]: table["rows"] for table in result["tables"]}


def test_every_table_but_memory(repository: Path) -> None:
    """Of the modules that need no further processes."""
    done = run(repository, "--quick", "--json", "--threads", "1,2", "training", "neighbors", "evaluation", "coders")
    assert done.returncode == 0, done.stderr
    found = rows(done.stdout)
    assert set(found) == {"loss", "adam", "iteration", "neighbors", "metrics", "views", "coders"}
    for name, table in found.items():
        for row in table:
            times = [value for column, value in row.items() if column.endswith(" ms") or column == "ms"]
            assert times or name == "coders", name
            assert all(value is None or value > 0 for value in times)
    assert {row["threads"] for row in found["loss"]} == {1, 2}
    assert {row["reference"] for row in found["loss"]} == {"torch", "torchmetrics"}
    for row in found["loss"]:
        assert row["ratio x"] == pytest.approx(row["reference ms"] / row["ms"])


@pytest.mark.slow
def test_everything(repository: Path, real_data: Path) -> None:
    done = run(repository, "--quick", "--capture", str(real_data / "fox_colmap"))
    assert done.returncode == 0, done.stderr
    for title in ("Rasterizer", "Memory of the rasterizer", "What requested results cost", "Training on a capture"):
        assert f"### {title}" in done.stdout


def test_wrong_arguments(repository: Path) -> None:
    done = run(repository, "rasteriser")
    assert done.returncode == 2
    assert "no module rasteriser; expected some of rasterizer, training" in done.stderr
    done = run(repository, "--threads", "2,0")
    assert done.returncode == 2
    assert "argument --threads: invalid" in done.stderr
    done = run(repository, "--isa", "sse9")
    assert done.returncode == 2
    assert "this machine has no sse9" in done.stderr


@pytest.mark.usefixtures("importable")
def test_the_torch_rasterizer_draws_the_same() -> None:
    """Otherwise its time would be that of another task."""
    from benchmarks.rasterizer import Draw
    from benchmarks.scene import MadeUp
    from benchmarks.torch_rasterizer import torch_rasterization

    scene = MadeUp.of(400, 70, 50)
    draw, leaves = Draw(scene), scene.leaves()
    ours, meta = draw.forward()
    theirs = torch_rasterization(*leaves, scene.viewmat, scene.K, scene.width, scene.height, scene.sh_degree)
    assert int((meta["radii"][0] > 0).all(dim=1).sum()) > 200
    torch.testing.assert_close(theirs, ours[0], rtol=0, atol=1e-4)
    draw.backward()
    theirs.backward(draw.outer[0])
    for mine, other in zip(draw.leaves, leaves, strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        assert float((mine.grad - other.grad).norm() / other.grad.norm()) < 1e-3


@pytest.mark.usefixtures("importable")
def test_the_references_compute_the_same() -> None:
    from benchmarks.neighbors import by_cdist, by_scipy, cloud
    from benchmarks.scene import photograph
    from benchmarks.training import LAMBDA, torch_loss, torchmetrics_loss
    from gsbench.native import knn_mean_distance
    from gsbench.training.losses import l1_dssim_loss

    points = cloud(500)
    ours = knn_mean_distance(points)
    torch.testing.assert_close(by_scipy(points, 1), ours, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(by_cdist(points), ours, rtol=1e-2, atol=1e-3)  # it subtracts squares
    target = photograph(400, 300).float() / 255
    image = (target + 0.05 * torch.randn(target.shape, generator=torch.Generator().manual_seed(0))).contiguous()
    loss = float(l1_dssim_loss(image, target, LAMBDA)[0])
    assert float(torch_loss(image, target)) == pytest.approx(loss, rel=1e-5)
    assert float(torchmetrics_loss(image, target)) == pytest.approx(loss, rel=0.1)  # another border


@pytest.mark.usefixtures("importable")
def test_pairs_are_counted_by_hand() -> None:
    from benchmarks.scene import pair_bound

    means2d = torch.tensor([[8.0, 8.0], [16.0, 8.0], [40.0, 20.0], [5.0, 5.0]])
    radii = torch.tensor([[3, 3], [3, 3], [20, 20], [0, 0]], dtype=torch.int32)
    # One tile; two; three columns of three, cut to two rows; none.
    assert pair_bound(means2d, radii, 64, 32) == 1 + 2 + 3 * 2


@pytest.mark.usefixtures("importable")
def test_tables_and_results(tmp_path: Path) -> None:
    from benchmarks.results import write_cpu, write_gpu
    from benchmarks.table import Settings, Table, medians

    table = Table("t", "Title", "About.", ("what", "ms", "count"))
    table.add("a", 1.25, 1_000)
    table.add("b|c", None, 2)
    path = tmp_path / "RESULTS.md"
    write_cpu(path, [table], {"cpu": "some"}, "python -m benchmarks --write")
    text = path.read_text()
    assert "Made by `python -m benchmarks --write`" in text
    assert "| what |   ms | count |\n| ---- | ---: | ----: |\n| a    | 1.25 | 1,000 |\n" in text
    # Each of the two programs leaves the other's part as it is.
    write_gpu(path, table, {"GPU": "one"}, ["640x480: not measured"], "python -m benchmarks.cuda --write")
    assert path.read_text().startswith(text.rstrip("\n"))
    write_cpu(path, [], {"cpu": "another"}, "python -m benchmarks --write")
    both = path.read_text()
    assert "another" in both and "* GPU: one" in both and both.count("## On a GPU") == 1  # noqa: PT018
    write_gpu(path, table, {"GPU": "two"}, [], "python -m benchmarks.cuda --write")
    expected = both.replace("one", "two").replace("* 640x480: not measured\n", "")
    assert path.read_text().rstrip("\n") == expected.rstrip("\n")
    assert table.json()["rows"][1] == {"what": "b|c", "ms": None, "count": 2}

    calls: list[str] = []
    cases = {"x": lambda: calls.append("x"), "y": lambda: calls.append("y")}
    found = medians(cases, Settings(repetitions=4))
    assert calls == ["x", "y"] * 5  # in turns, a first one besides
    assert set(found) == {"x", "y"}
