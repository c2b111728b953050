"""docs/porting.md: the port trains what the original trains, conforms, and compresses."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import gsbench
from gsbench import hooks
from gsbench.artifact import ArtifactReader, ArtifactWriter
from gsbench.methods import Context
from gsbench.splats.activation import logistic
from gsbench.testing import random_splats, tiny_scene, write_distribution


@pytest.fixture(scope="module")
def files(repository: Path) -> dict[str, str]:
    text = (repository / "docs" / "porting.md").read_text(encoding="utf-8")
    found = re.findall(r"```\w+\n# (\S+)\n(.*?)```", text, re.DOTALL)
    assert len(found) == len(dict(found)) == 8
    return dict(found)


@pytest.fixture(scope="module")
def site(files: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The port, installed."""
    project = tomllib.loads(files["pyproject.toml"])["project"]
    modules = {"gsbench_vqsplat/__init__.py": ""}
    modules |= {name: text for name, text in files.items() if name.startswith("gsbench_vqsplat/")}
    folder = tmp_path_factory.mktemp("porting") / "site"
    points = project["entry-points"]["gsbench"]
    write_distribution(folder, project["name"], modules, entry_points=points, version=project["version"])
    return folder


@pytest.fixture
def method(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(site)
    hooks.unload_plugins()
    yield hooks.method_class("vqsplat")
    hooks.unload_plugins()
    for name in [name for name in sys.modules if name.startswith("gsbench_vqsplat")]:
        del sys.modules[name]


@pytest.fixture
def original(files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The original's training. Here, gsplat's two names are gsbench's, which take the same arguments, on a CPU too."""
    stand_in = ModuleType("gsplat")
    stand_in.__dict__.update(DefaultStrategy=gsbench.DefaultStrategy, rasterization=gsbench.rasterization)
    monkeypatch.setitem(sys.modules, "gsplat", stand_in)
    names: dict[str, Any] = {}
    exec(compile(files["original/train.py"], "original/train.py", "exec"), names)
    return names["train"]


def test_the_port_trains_what_the_original_trains(
    method: Any, original: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The same Gaussians to the bit, over a first densification, once both have the same sigmoid."""
    monkeypatch.setattr(torch.Tensor, "sigmoid", logistic)
    scene, steps = tiny_scene(), 610
    views = [SimpleNamespace(viewmat=v.viewmat, K=v.K, width=v.width, height=v.height, photo=v.pixels / 255.0)
             for v in scene.train]  # fmt: skip
    theirs = original(views, scene.points.xyz, scene.points.rgb / 255.0, scene.extent, steps)
    training = importlib.import_module("gsbench_vqsplat.training")
    ours = training.Training(scene, training.FULL, 0, torch.device("cpu"))  # the schedule of a full run
    torch.manual_seed(0)
    ours.generator = torch.default_generator  # what the original draws from
    for _ in range(steps):
        ours.step()
    assert len(ours.params["means"]) != len(scene.points)
    assert set(ours.params) == set(theirs)
    for name, values in ours.params.items():
        assert torch.equal(values, theirs[name]), name


@pytest.mark.parametrize("degree", [0, 1, 3])
@pytest.mark.parametrize("count", [0, 1, 700])
def test_what_is_decoded(method: Any, tmp_path: Path, count: int, degree: int) -> None:
    splats = random_splats(count, sh_degree=degree)
    context = Context(torch.device("cpu"), 1, 0, tmp_path)
    path = tmp_path / "it.gsb"
    config = method.Config(codes=64)
    with ArtifactWriter(path, "vqsplat", "1.0") as out:
        method().encode(method().from_splats(splats, config, context), config, out, context)
    decoded = method.decode(ArtifactReader(path), context).splats()
    assert torch.equal(decoded.means, splats.means)
    assert torch.equal(decoded.log_scales, splats.log_scales.half().float())
    assert decoded.sh.shape == splats.sh.shape
    if count > 64 and degree:
        rows = decoded.sh[:, 1:].reshape(count, -1)
        assert 32 < len(rows.unique(dim=0)) <= 64
        spread = (splats.sh[:, 1:] - splats.sh[:, 1:].mean(dim=0)).square().mean()
        assert (decoded.sh[:, 1:] - splats.sh[:, 1:]).square().mean() < spread
        sizes = {section.name: section.length for section in ArtifactReader(path).sections}
        assert sizes["labels"] < count


def test_every_color_gets_its_nearest_cluster_and_clusters_are_found(method: Any) -> None:
    codec = importlib.import_module("gsbench_vqsplat.codec")
    random = np.random.default_rng(3)
    middles = random.integers(-1500, 1500, (12, 9)).astype(float)
    values = np.rint(middles[random.integers(0, 12, 5000)] + random.normal(0, 20, (5000, 9)))
    centers, labels = codec.clusters(values, 40)
    distances = ((values[:, None] - centers) ** 2).sum(axis=2)
    assert np.array_equal(labels, distances.argmin(axis=1))
    for middle in middles:
        assert np.abs(centers - middle).max(axis=1).min() < 60


def test_the_port_conforms(site: Path, files: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "test_vqsplat.py").write_text(files["tests/test_vqsplat.py"])
    inherited = os.environ.get("PYTHONPATH")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *([inherited] if inherited else [])])},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert re.search(r"\b16 passed", done.stdout), done.stdout[-500:]
