"""What both methods of the plugin share: the artifact, and that it is the same every time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import plyfile
import pytest
import torch

from gsbench import ArtifactReader, ArtifactWriter, Context
from gsbench.hooks import method_class
from gsbench.scenes import Scene
from gsbench.testing import MethodConformance, tiny_scene


class TestThreeDGS(MethodConformance):
    method = "3dgs"


class TestThreeDGSMCMC(MethodConformance):
    method = "3dgs-mcmc"


#: Density control within so few steps needs more haste than the defaults have.
HASTE: dict[str, dict[str, Any]] = {
    "3dgs": {"densification_interval": 20, "densify_grad_threshold": 1e-4},
    "3dgs-mcmc": {"densification_interval": 200, "cap_max": 420},
}

both = pytest.mark.parametrize("name", HASTE)


def context(folder: Path, seed: int = 0, threads: int = 1, iterations: int | None = 150) -> Context:
    return Context(torch.device("cpu"), threads, seed, folder, iterations)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return tiny_scene(views=12, width=48, height=36, points=300)


def train(
    name: str, scene: Scene, folder: Path, *, seed: int = 0, threads: int = 1, iterations: int | None = 150
) -> Path:
    method = method_class(name)()
    config = method.Config(**HASTE[name])
    where = context(folder, seed, threads, iterations)
    model = method.fit(scene.for_training(), config, where)
    folder.mkdir(parents=True)
    path = folder / "artifact.ply"
    with ArtifactWriter(path, name, "0") as out:
        method.encode(model, config, out, where)
    return path


@both
def test_other_software_opens_the_artifact(name: str, scene: Scene, tmp_path: Path) -> None:
    path = train(name, scene, tmp_path / "a")
    vertex = plyfile.PlyData.read(path)["vertex"]
    names = [p.name for p in vertex.properties]
    rest = [f"f_rest_{i}" for i in range(45)]
    assert names == [
        *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"),
        *rest,
        *("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
    ]
    method = method_class(name)
    decoded = method.decode(ArtifactReader(path), context(tmp_path))
    assert method.counts(decoded) == {"gaussians": len(vertex)}
    assert len(vertex) != 300  # density control was at work
    assert torch.equal(decoded.splats().means[:, 1], torch.tensor(vertex["y"]))
    assert torch.equal(decoded.splats().opacity_logits, torch.tensor(vertex["opacity"]))


@both
def test_the_same_seed_gives_the_same_bytes(name: str, scene: Scene, tmp_path: Path) -> None:
    first = train(name, scene, tmp_path / "a").read_bytes()
    torch.rand(3)  # the global generator plays no part
    assert train(name, scene, tmp_path / "b").read_bytes() == first
    assert train(name, scene, tmp_path / "two", threads=2).read_bytes() == first
    assert train(name, scene, tmp_path / "seven", threads=7).read_bytes() == first
    assert train(name, scene, tmp_path / "seed", seed=1).read_bytes() != first


@both
def test_many_gaussians_train_to_the_same_bytes_for_any_number_of_threads(name: str, tmp_path: Path) -> None:
    # Enough for torch to share every operation among the threads. With 6 steps and the settings above, density control
    # runs once or more for both.
    scene = tiny_scene(views=6, width=64, height=48, points=70_001)
    method = method_class(name)()
    settings = {"3dgs": {"densification_interval": 3, "densify_until_iter": 6, "opacity_reset_interval": 5}}.get(
        name, {"densification_interval": 3, "densify_until_iter": 6, "cap_max": 75_000}
    )
    config = method.Config(iterations=6, densify_from_iter=0, **settings)

    def run(threads: int) -> dict[str, torch.Tensor]:
        model = method.fit(scene.for_training(), config, context(tmp_path, threads=threads, iterations=None))
        tensors: dict[str, torch.Tensor] = model.state()["tensors"]
        return tensors

    one = run(1)
    assert len(one["means"]) > 70_001
    for threads in (2, 7):
        other = run(threads)
        assert all(torch.equal(one[k], other[k]) for k in one)


def test_the_plugin_alone_needs_no_torch() -> None:
    code = "import sys, gsbench_3dgs.plugin as p; list(p.gsbench_methods()); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
