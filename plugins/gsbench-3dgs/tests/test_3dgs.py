from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import plyfile
import pytest
import torch

from gsbench import ArtifactReader, ArtifactWriter, Context
from gsbench.hooks import method_class
from gsbench.scenes import Scene
from gsbench.testing import MethodConformance, tiny_scene


class TestThreeDGS(MethodConformance):
    method = "3dgs"


def context(folder: Path, seed: int = 0, threads: int = 1, iterations: int | None = 100) -> Context:
    return Context(torch.device("cpu"), threads, seed, folder, iterations)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return tiny_scene(views=12, width=48, height=36, points=300)


def train(scene: Scene, folder: Path, *, seed: int = 0, threads: int = 1) -> Path:
    method = method_class("3dgs")()
    # Densification within so few steps needs a start before the first interval is over.
    config = method.Config(densification_interval=20, densify_grad_threshold=1e-4)
    model = method.fit(scene.for_training(), config, context(folder, seed, threads))
    folder.mkdir(parents=True)
    path = folder / "artifact.ply"
    with ArtifactWriter(path, "3dgs", "0") as out:
        method.encode(model, config, out, context(folder, seed, threads))
    return path


def test_other_software_opens_the_artifact(scene: Scene, tmp_path: Path) -> None:
    path = train(scene, tmp_path / "a")
    vertex = plyfile.PlyData.read(path)["vertex"]
    names = [p.name for p in vertex.properties]
    rest = [f"f_rest_{i}" for i in range(45)]
    assert names == [
        *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"),
        *rest,
        *("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
    ]
    method = method_class("3dgs")
    decoded = method.decode(ArtifactReader(path), context(tmp_path))
    assert method.counts(decoded) == {"gaussians": len(vertex)}
    assert len(vertex) != 300  # density control was at work
    assert torch.equal(decoded.splats().means[:, 1], torch.tensor(vertex["y"]))
    assert torch.equal(decoded.splats().opacity_logits, torch.tensor(vertex["opacity"]))


def test_the_same_seed_gives_the_same_bytes(scene: Scene, tmp_path: Path) -> None:
    first = train(scene, tmp_path / "a").read_bytes()
    assert train(scene, tmp_path / "b").read_bytes() == first
    assert train(scene, tmp_path / "threads", threads=2).read_bytes() == first
    assert train(scene, tmp_path / "seed", seed=1).read_bytes() != first


def test_the_plugin_alone_needs_no_torch() -> None:
    code = "import sys, gsbench_3dgs.plugin as p; list(p.gsbench_methods()); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
