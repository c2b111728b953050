"""A small capture in a folder, as a user would have one."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

#: A method that draws the scene's points, one that fails, one that trains, some that start from the points.
PLUGIN = """
import gsbench

GSBENCH_API = 1


@gsbench.hookimpl
def gsbench_methods():
    rates = (gsbench.RatePoint("small", {"every": 2}), gsbench.RatePoint("large", {"every": 1}))
    return [
        gsbench.MethodSpec("points", "toy_method:Points", "the points, drawn", suffix=".ply", rates=rates),
        gsbench.MethodSpec("broken", "toy_method:Broken", "does not work", suffix=".ply"),
        gsbench.MethodSpec("trained", "toy_method:Trained", "plain training", suffix=".ply"),
        gsbench.MethodSpec("halved", "toy_method:Halved", "half of a base", base="points", kind="post"),
        gsbench.MethodSpec("curious", "toy_method:Curious", "looks at photos", base="points", kind="post"),
        gsbench.MethodSpec("opaque", "toy_method:Opaque", "has no Gaussians"),
    ]
"""
METHOD = """
import dataclasses
import os
import time

import numpy as np
import torch

from gsbench.errors import ArtifactError
from gsbench import Method, Splats, SplatsModel, TrainedMethod, field
from gsbench.formats.ply import read_ply, write_ply


@dataclasses.dataclass
class Config:
    every: int = field(default=1, stage="encode")
    seconds: float = 0.0


class Points(Method):
    Config = Config
    model_class = SplatsModel

    def fit(self, scene, config, context):
        count = len(scene.points)
        for step in range(20):
            context.progress(step, 20, {"loss": 1.0 / (step + 1), "gaussians": count})
            time.sleep(config.seconds / 20)
        colors = (scene.points.rgb.float() / 255 - 0.5) / 0.28209479177387814
        return SplatsModel(
            Splats(
                scene.points.xyz.float(),
                torch.full((count, 3), -2.5),
                torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(count, 1),
                torch.full((count,), 3.0),
                colors[:, None],
            )
        )

    def encode(self, model, config, out, context):
        splats = model.splats()
        kept = {f.name: getattr(splats, f.name)[:: config.every] for f in dataclasses.fields(splats)}
        write_ply(out.native(".ply"), Splats(**kept))

    @classmethod
    def decode(cls, artifact, context):
        return SplatsModel(read_ply(artifact.path))


class Broken(Points):
    def fit(self, scene, config, context):
        print("about to fail")
        raise RuntimeError("no such luck")


class Trained(TrainedMethod):
    pass


@dataclasses.dataclass
class HalvedConfig:
    keep: float = field(default=0.5, stage="encode")
    shift: float = 0.0
    wrong: str = field(default="", stage="encode")


class Halved(Method):
    Config = HalvedConfig
    model_class = SplatsModel

    def fit(self, scene, config, context):
        context.progress(1, 2, {"loss": 0.5, "odd": float("nan")})
        base = context.base
        return SplatsModel(dataclasses.replace(base, means=base.means + config.shift))

    def encode(self, model, config, out, context):
        print("encoding halves")
        if config.wrong == "raise":
            raise RuntimeError("no such luck")
        if config.wrong == "exit":
            os._exit(3)
        splats, base = model.splats(), context.base
        assert len(base) == len(splats), "the base is there as well"
        count = int(len(splats) * config.keep)
        out.header["count"] = count if config.wrong != "header" else count + 1
        for f in dataclasses.fields(splats):
            kept = getattr(splats, f.name)[:count].reshape(count, -1).contiguous()
            out.section(f.name, kept.numpy().tobytes(), kind="float32", coder="deflate")

    @classmethod
    def decode(cls, artifact, context):
        count = artifact.header["count"]
        fields = {}
        for f in dataclasses.fields(Splats):
            data = np.frombuffer(artifact.read(f.name), "<f4").copy()
            if data.size % count:
                raise ArtifactError(f"{f.name}: {data.size} numbers for {count} Gaussians")
            fields[f.name] = torch.from_numpy(data.reshape(count, -1))
        fields["opacity_logits"] = fields["opacity_logits"].reshape(-1)
        fields["sh"] = fields["sh"].reshape(count, -1, 3)
        return SplatsModel(Splats(**fields))


class Curious(Halved):
    def fit(self, scene, config, context):
        scene.train[0].pixels
        return super().fit(scene, config, context)


class OpaqueModel(SplatsModel):
    def splats(self):
        raise NotImplementedError("none")

    def state(self):
        return {"shade": 0.5}

    @classmethod
    def from_state(cls, state, config):
        return cls(None)

    def render(self, camera, background):
        return torch.full((camera.height, camera.width, 3), 0.5)


class Opaque(Halved):
    model_class = OpaqueModel

    def fit(self, scene, config, context):
        scene.train[0].pixels
        return OpaqueModel(None)

    def encode(self, model, config, out, context):
        out.section("shade", b"half")

    @classmethod
    def decode(cls, artifact, context):
        artifact.read("shade")
        return OpaqueModel(None)
"""

#: Runs a command on a terminal of 100 columns: (command, folder, environment) -> (exit code, what it wrote).
Terminal = Callable[[Sequence[str], Path, Mapping[str, str]], tuple[int, str]]
CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]
Here = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the methods above are installed."""
    from gsbench.testing import write_distribution

    folder = tmp_path_factory.mktemp("installed")
    modules = {"toy_plugin.py": PLUGIN, "toy_method.py": METHOD}
    write_distribution(folder, "gsbench-toy", modules, entry_points={"toy": "toy_plugin"})
    return folder


@pytest.fixture
def toy_plugin(toy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The methods above, installed in this process."""
    from gsbench import hooks

    monkeypatch.syspath_prepend(toy_folder)
    hooks.unload_plugins()
    yield
    hooks.unload_plugins()


@pytest.fixture(scope="session")
def toy_environment(toy_folder: Path) -> dict[str, str]:
    """Variables of a process in which the methods above are installed."""
    path = [str(toy_folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


@pytest.fixture
def command_line(toy_environment: dict[str, str], tmp_path: Path) -> CommandLine:
    """A function that runs the command line in a process of its own, in an empty folder."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gsbench", *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, env=toy_environment, capture_output=True, text=True, timeout=120)

    return run


@pytest.fixture(scope="session")
def tiny_capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scene of `gsbench.testing.tiny_scene` as photos and a COLMAP model. Not to be changed: copy it."""
    from PIL import Image
    from scipy.spatial.transform import Rotation

    from gsbench.scenes.colmap import ColmapCamera, ColmapImage, ColmapModel, write_model
    from gsbench.testing import tiny_scene

    scene = tiny_scene()
    folder = tmp_path_factory.mktemp("captures") / "tiny"
    (folder / "images").mkdir(parents=True)
    cameras, images = {}, {}
    for index, view in enumerate(sorted([*scene.train, *scene.test], key=lambda v: v.name), start=1):
        name = f"{view.name}.png"
        Image.fromarray(view.pixels.numpy()).save(folder / "images" / name)
        fx, fy, cx, cy = (float(view.K[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
        cameras[index] = ColmapCamera(index, "PINHOLE", view.width, view.height, fx, fy, cx, cy)
        x, y, z, w = Rotation.from_matrix(view.viewmat[:3, :3].double().numpy()).as_quat()
        t = view.viewmat[:3, 3].tolist()
        images[index] = ColmapImage(index, (float(w), float(x), float(y), float(z)), (t[0], t[1], t[2]), index, name)
    write_model(
        folder / "sparse" / "0",
        ColmapModel(cameras, images, scene.points.xyz.double().numpy(), scene.points.rgb.numpy()),
    )
    return folder


@pytest.fixture
def here(toy_plugin: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """A function that runs the command line in this process and returns (exit code, stdout, stderr)."""
    from gsbench.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def one_process(toy_plugin: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Does in this process, which takes no seconds, what verbs start processes for: jobs, encoding, decoding."""
    import gsbench.bench
    from gsbench.bench import own_encode

    monkeypatch.setattr(gsbench.bench, "run_plan", _run_plan_here)
    monkeypatch.setattr(own_encode, "encode_own", _encode_here)
    monkeypatch.setattr(gsbench.bench, "decode_sealed", _decode_here)
    monkeypatch.setattr("gsbench.bench.stages.decode_sealed", _decode_here)


def _run_plan_here(plan: Any, on_event: Callable[[Any], None]) -> list[Any]:
    from gsbench.bench.model import JobEvent
    from gsbench.bench.runner import run_job

    records = []
    for job in plan.jobs:
        records.append(run_job(job, on_event))
        on_event(JobEvent(job=job.id, kind="job-finished", record=records[-1]))
    return records


def _encode_here(spec: Any, progress: Callable[[int, int, Mapping[str, float]], None]) -> Any:
    from gsbench.bench import own_encode

    with contextlib.redirect_stdout(None):
        told = own_encode._encode(spec, progress)
    return own_encode.Encoded(path=spec.folder / told["name"], **told["result"], seconds=told["seconds"])


def _decode_here(
    method: str, artifact: Path, cameras: Sequence[Any], background: Any, device: str, threads: int, out: Path,
    **options: Any,
) -> Any:  # fmt: skip
    import numpy as np
    import torch

    from gsbench.artifact import open_artifact
    from gsbench.bench import SealedResult
    from gsbench.bench.sealed import Timing
    from gsbench.bench.sealed_work import hash_decoded
    from gsbench.hooks import method_class
    from gsbench.methods import Context

    decoded = method_class(method).decode(
        open_artifact(artifact, method), Context(torch.device(device), threads, 0, out)
    )
    (out / "frames").mkdir()
    frames = []
    for index, camera in enumerate(cameras):
        frames.append(out / "frames" / f"{index:04d}.npy")
        np.save(frames[-1], decoded.render(camera, torch.as_tensor(background)).numpy())
    try:
        count = len(decoded.splats())
    except NotImplementedError:
        count = None
    timing = Timing(0.25, tuple(2.0 for _ in cameras))
    return SealedResult(frames, timing, "audit-hook", count, None, hash_decoded(decoded), 1000, None)


@pytest.fixture
def terminal() -> Terminal:
    """A function that runs a command with both output streams on one terminal."""

    def run(command: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> tuple[int, str]:
        leader, follower = pty.openpty()
        variables = {**environment, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
        written = b""
        with subprocess.Popen(
            command, cwd=cwd, env=variables, stdin=follower, stdout=follower, stderr=follower
        ) as running:
            os.close(follower)
            while True:
                try:
                    piece = os.read(leader, 65536)
                except OSError:  # the other side is closed
                    break
                if not piece:
                    break
                written += piece
        os.close(leader)
        return running.returncode, written.decode()

    return run
