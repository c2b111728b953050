"""A captured scene of a few tiny photos, installed fixture methods, and jobs made from them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gsbench import hooks
from gsbench.artifact import open_artifact
from gsbench.bench import keys
from gsbench.bench.model import JobSpec, Plan, RunRequest
from gsbench.bench.plan import build_plan
from gsbench.bench.sealed import SealedArtifactError, SealedResult, Timing
from gsbench.bench.sealed_work import hash_decoded
from gsbench.bench.visible import Visible
from gsbench.errors import ArtifactError
from gsbench.methods import Context
from gsbench.scenes.colmap import ColmapCamera, ColmapImage, ColmapModel, write_model
from gsbench.splats import Camera
from gsbench.testing.installed import write_distribution

PLUGINS = Path(__file__).parent / "plugins"
WIDTH, HEIGHT = 20, 14

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """A function that installs a distribution in a folder of its own, for this process and those it starts."""
    root = tmp_path / "installed"
    root.mkdir()
    before = set(sys.modules)
    monkeypatch.syspath_prepend(root)

    def do(name: str, modules: Mapping[str, str], plugin: str | None) -> Path:
        write_distribution(root, name, modules, entry_points={name: plugin} if plugin else None)
        forget()
        return root

    def forget() -> None:
        hooks.unload_plugins()
        keys.code_digest.cache_clear()
        keys.code_identity.cache_clear()

    forget()
    yield do
    forget()
    for module in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[module], "__file__", "")):
            del sys.modules[module]


@pytest.fixture
def zoo(install: Install) -> Path:
    """The methods of plugins/zoo_method.py, installed; returns the folder."""
    modules = {f"{name}.py": (PLUGINS / f"{name}.py").read_text() for name in ("zoo_plugin", "zoo_method")}
    return install("gsbench-zoo", modules, "zoo_plugin")


def write_capture(folder: Path, views: int = 10) -> Path:
    """A COLMAP scene of smooth little photos."""
    rng = np.random.default_rng(7)
    images = {}
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    (folder / "images").mkdir(parents=True)
    for index in range(views):
        name = f"photo{index:02d}.png"
        ramp = np.stack([6 * x + index, 8 * y + 10, 3 * (x + y) + 2 * index], axis=-1)
        Image.fromarray(ramp.clip(0, 255).astype(np.uint8)).save(folder / "images" / name)
        angle = 2 * np.pi * index / views
        qvec = (float(np.cos(angle / 2)), 0.0, float(np.sin(angle / 2)), 0.0)
        images[index + 1] = ColmapImage(index + 1, qvec, (0.0, 0.5, 4.0), 1, name)
    camera = ColmapCamera(1, "PINHOLE", WIDTH, HEIGHT, 25.0, 25.0, WIDTH / 2, HEIGHT / 2)
    points = rng.uniform(-1, 1, (12, 3)), rng.integers(0, 256, (12, 3), dtype=np.uint8)
    write_model(folder / "sparse" / "0", ColmapModel({1: camera}, images, *points), True)
    return folder


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """The folder of a captured scene."""
    return write_capture(tmp_path / "desk")


@pytest.fixture
def plan_of(zoo: Path, capture: Path, tmp_path: Path) -> Callable[..., Plan]:
    """A function that plans a run of zoo methods on the captured scene."""

    def make(*methods: str, **options: Any) -> Plan:
        given = {"scenes": [f"path:{capture}"], "out": tmp_path / "runs", "metrics": ["psnr", "lpips_vgg"], **options}
        return build_plan(RunRequest(methods=list(methods), **given))

    return make


@pytest.fixture
def job_of(plan_of: Callable[..., Plan]) -> Callable[..., JobSpec]:
    """As `plan_of`, for the last job of the plan."""
    return lambda *methods, **options: plan_of(*methods, **options).jobs[-1]


@pytest.fixture
def cameras() -> list[Camera]:
    """Two cameras of different sizes."""
    intrinsics = torch.tensor([[20.0, 0.0, 8.0], [0.0, 20.0, 6.0], [0.0, 0.0, 1.0]])
    return [Camera("a", torch.eye(4), intrinsics, 16, 12), Camera("b", torch.eye(4), intrinsics, 9, 7)]


@pytest.fixture
def unsealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decodes in this process, which takes no seconds, for tests of what is around the sealed decoder."""
    monkeypatch.setattr("gsbench.bench.stages.decode_sealed", _decode_here)


def _decode_here(
    method: str,
    artifact: Path,
    cameras: Sequence[Camera],
    background: torch.Tensor,
    device: str,
    threads: int,
    out: Path,
    *,
    inventory: Visible,
    log: Path,
    progress: Callable[[int], None],
    timeout: float | None,
) -> SealedResult:
    assert log.is_file()
    inventory.check_unchanged()
    cls = hooks.method_class(method)
    try:
        decoded = cls.decode(open_artifact(artifact, method), Context(torch.device(device), threads, 0, out))
    except ArtifactError as error:
        raise SealedArtifactError("decode", str(error)) from error
    (out / "frames").mkdir()
    frames = []
    for index, camera in enumerate(cameras):
        frames.append(out / "frames" / f"{index:04d}.npy")
        np.save(frames[-1], decoded.render(camera, background).numpy())
        progress(index + 1)
    return SealedResult(
        frames=frames,
        timing=Timing(0.25, tuple(float(2 + index) for index in range(len(cameras)))),
        isolation="audit-hook",
        gaussians=len(decoded.splats()),
        anchors=None,
        decoded_sha256=hash_decoded(decoded),
        peak_host_bytes=123,
        peak_gpu_bytes=None,
    )


@pytest.fixture
def resumable(install: Install) -> Path:
    """The methods of plugins/resume_method.py, installed; returns the folder."""
    modules = {f"{name}.py": (PLUGINS / f"{name}.py").read_text() for name in ("resume_plugin", "resume_method")}
    return install("gsbench-resumable", modules, "resume_plugin")


@pytest.fixture
def resumable_plan(resumable: Path, capture: Path, tmp_path: Path) -> Callable[..., Plan]:
    """A function that plans a run of these methods on the captured scene."""

    def make(*methods: str, **options: Any) -> Plan:
        given = {"scenes": [f"path:{capture}"], "out": tmp_path / "runs", "metrics": ["psnr"], **options}
        return build_plan(RunRequest(methods=list(methods), **given))

    return make
