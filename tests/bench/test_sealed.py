"""Sealed decoding: what an honest method gets out of it, and what is made of everything that goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gsbench.artifact import ArtifactWriter, open_artifact
from gsbench.bench import isolation, sealed, sealed_work
from gsbench.bench.sealed import (
    SealedArtifactError,
    SealedError,
    SealedResult,
    choose_isolation,
    decode_sealed,
    namespaces_unavailable,
)
from gsbench.errors import ArtifactError, JobError, UsageError
from gsbench.hooks import method_class
from gsbench.methods import Context
from gsbench.splats import Camera
from gsbench.testing.samples import random_splats

WITH_NAMESPACES = pytest.mark.skipif(
    namespaces_unavailable() is not None, reason=f"no namespaces: {namespaces_unavailable()}"
)
ISOLATIONS = ["audit-hook", pytest.param("namespaces", marks=WITH_NAMESPACES)]

Decode = Callable[..., SealedResult]


@pytest.fixture
def dots(zoo: Path, tmp_path: Path) -> Callable[..., Path]:
    """A function that writes an artifact of "dots", or of the method that is broken at some place."""

    def make(method: str = "dots", where: str = "") -> Path:
        path = tmp_path / f"{method}{where}.gsb"
        means = np.random.default_rng(0).normal(size=(9, 3)).astype("<f4")
        with ArtifactWriter(path, method, "1.0") as out:
            out.header["levels"] = 255
            if method == "broken":
                out.header["where"] = where
            out.section("means", means.tobytes())
            out.section("colors", np.arange(27, dtype="<u2").tobytes(), coder="deflate")
        return path

    return make


@pytest.fixture
def decode(tmp_path: Path, cameras: list[Camera]) -> Decode:
    """`decode_sealed` of two small views into a new folder."""

    def run(method: str, artifact: Path, **options: Any) -> SealedResult:
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        given = {"isolation": "audit-hook", **options}
        return decode_sealed(method, artifact, cameras, torch.tensor([0.1, 0.2, 0.3]), "cpu", 1, out, **given)

    return run


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_an_honest_method(
    dots: Callable[..., Path], decode: Decode, cameras: list[Camera], isolation: str, tmp_path: Path
) -> None:
    mounts = Path("/proc/self/mounts").read_text()
    artifact = dots()
    seen: list[int] = []
    result = decode("dots", artifact, isolation=isolation, progress=seen.append)
    cls = method_class("dots")
    here = cls.decode(open_artifact(artifact), Context(torch.device("cpu"), 1, 0, tmp_path))
    assert len(result.frames) == len(cameras)
    for path, camera in zip(result.frames, cameras, strict=True):
        frame = np.load(path)
        assert frame.dtype == np.float32
        assert np.array_equal(frame, here.render(camera, torch.zeros(3)).numpy())
    assert result.isolation == isolation
    assert (result.gaussians, result.anchors) == (9, None)
    assert result.decoded_sha256 == sealed_work.hash_decoded(here)
    assert len(result.timing.render_ms) == len(cameras)
    assert 0 < result.timing.decode_seconds < 60
    assert min(result.timing.render_ms) <= result.timing.median_ms <= result.timing.p95_ms
    assert result.peak_host_bytes > 50e6
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["frames", "timing.json"], "nothing else remains"
    assert Path("/proc/self/mounts").read_text() == mounts


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_the_child_finds_nothing_of_this_process(
    install: Callable[..., Path], decode: Decode, tmp_path: Path, isolation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
import dataclasses, json, os, sys
from pathlib import Path
from gsbench.errors import ArtifactError
from gsbench.methods import Method, Model

class Looks(Method):
    @dataclasses.dataclass
    class Config:
        pass
    model_class = Model
    def fit(self, scene, config, context): ...
    def encode(self, model, config, out, context): ...
    @classmethod
    def decode(cls, artifact, context):
        home = Path.home()
        raise ArtifactError(json.dumps({
            "environment": sorted(os.environ), "home": [p.name for p in home.iterdir()], "cwd": os.listdir(),
            "isolated": sys.flags.isolated, "pid": os.getpid(), "uid": os.getuid(),
            "workdir": os.listdir(context.workdir), "threads": context.threads, "seed": context.seed,
        }))
"""
    plugin = """
import gsbench
GSBENCH_API = 1
@gsbench.hookimpl
def gsbench_methods():
    return [gsbench.MethodSpec(name="looks", target="looks_method:Looks", summary="looks around")]
"""
    install("gsbench-looks", {"looks_plugin.py": plugin, "looks_method.py": source}, "looks_plugin")
    monkeypatch.setenv("GSBENCH_SOMETHING", "x")
    monkeypatch.setenv("PYTHONSTARTUP", "x")
    artifact = tmp_path / "a.gsb"
    with ArtifactWriter(artifact, "looks", "1.0") as out:
        out.section("nothing", b"")
    with pytest.raises(SealedArtifactError) as caught:
        decode("looks", artifact, isolation=isolation)
    found = json.loads(str(caught.value))
    variables = set(found["environment"])
    assert variables >= {"HOME", "OMP_NUM_THREADS", "GSBENCH_ISA"}
    assert not {name for name in variables if name.startswith(("GSBENCH_S", "PYTHON", "PYTEST", "VIRTUAL", "PATH"))}
    assert found["home"] == found["cwd"] == ["work"]
    assert found["workdir"] == []
    assert (found["isolated"], found["threads"], found["seed"]) == (1, 1, 0)
    if isolation == "namespaces":
        assert found["pid"] == 1


@pytest.mark.parametrize(
    ("where", "stage", "message"),
    [
        ("decode", "decode", "decode went wrong"),
        ("shape", "render", "expected a float32 tensor of shape"),
        ("nan", "render", "values are not finite"),
        ("abort", "decode", "signal 6"),
    ],
)
def test_decoders_that_fail(
    dots: Callable[..., Path], decode: Decode, where: str, stage: str, message: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with pytest.raises(SealedError) as caught:
        decode("broken", dots("broken", where), log=log)
    assert caught.value.stage == stage
    assert message in str(caught.value)
    assert isinstance(caught.value, ArtifactError) == (where == "decode")
    assert isinstance(caught.value, JobError)
    assert list((tmp_path / "out").iterdir()) == [], "nothing half-done remains"
    if where != "nan":
        assert log.stat().st_size > 0


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_decoder_that_hangs_is_stopped(dots: Callable[..., Path], decode: Decode, isolation: str) -> None:
    begin = time.monotonic()
    with pytest.raises(SealedError, match="took more than 2 s"):
        decode("broken", dots("broken", "hang"), isolation=isolation, timeout=2)
    assert time.monotonic() - begin < 60
    assert _children() == []


def _children() -> list[str]:
    """Processes that this one started and that are still there."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            command = Path("/proc", pid, "cmdline").read_text()
            if "sealed_child" in command:
                found.append(command)
    return found


def test_damaged_and_foreign_artifacts(dots: Callable[..., Path], decode: Decode, tmp_path: Path) -> None:
    artifact = dots()
    data = artifact.read_bytes()
    artifact.write_bytes(data[:-3] + b"???")
    with pytest.raises(SealedArtifactError, match="colors"):
        decode("dots", artifact)
    with pytest.raises(ArtifactError, match=r"missing\.gsb: cannot be read"):
        decode("dots", tmp_path / "missing.gsb")
    with pytest.raises(UsageError, match="unknown method 'dost'"):
        decode("dost", artifact)


_PARENT = """
import sys
from pathlib import Path
import torch
from gsbench.bench.sealed import decode_sealed
artifact, out, isolation = sys.argv[1:]
decode_sealed("broken", Path(artifact), [], [0, 0, 0], "cpu", 1, Path(out), isolation=isolation)
"""


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_the_child_ends_with_its_parent(dots: Callable[..., Path], zoo: Path, tmp_path: Path, isolation: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(dots("broken", "hang")), str(out), isolation],
        env={**os.environ, "PYTHONPATH": str(zoo)},
    )
    try:
        _until(lambda: _sealed_processes(out) != [])
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        _until(lambda: _sealed_processes(out) == [])
    finally:
        parent.kill()
        parent.wait()


@pytest.mark.parametrize("buried", [True, False])
def test_a_child_that_unshare_forked_too_late_ends(tmp_path: Path, buried: bool) -> None:
    """The parent was killed, and unshare with it, before its child had the signal that would have ended it."""
    parent = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, parent.pid, os.WEXITED | os.WNOWAIT)  # gone, but nobody has asked how it ended
    if buried:
        parent.wait()
    request = {"job_protocol": sealed.JOB_PROTOCOL, "parent": parent.pid}
    (tmp_path / "request.json").write_text(json.dumps(request))
    child = Path(sealed.__file__).with_name("sealed_child.py")
    command = [sys.executable, "-I", "-S", child, "--inside", tmp_path / "request.json"]
    try:
        assert subprocess.run(command, capture_output=True, check=False).returncode == 3
    finally:
        parent.wait()


def _sealed_processes(out: Path) -> list[str]:
    """Processes whose command line names a folder below `out`, the parent aside."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_text()
        except OSError:
            continue
        if str(out) in command and "sealed_child" in command:
            found.append(command)
    return found


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_another_job_protocol_is_refused(
    dots: Callable[..., Path], decode: Decode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed, "JOB_PROTOCOL", 99)
    with pytest.raises(SealedError, match=r"protocol 99, this environment's gsbench 2; install the same version"):
        decode("dots", dots())


def test_inputs_that_change_under_the_child_are_noticed(
    dots: Callable[..., Path], decode: Decode, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = sealed._wait

    def meddle(child: Any, frames: Path, *rest: Any) -> None:
        wait(child, frames, *rest)
        (frames.parents[1] / "input" / "side.bin").write_bytes(b"psst")

    monkeypatch.setattr(sealed, "_wait", meddle)
    with pytest.raises(SealedError, match="changed the sealed decoder's input"):
        decode("dots", dots())


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_code_that_changed_since_the_job_began(
    dots: Callable[..., Path], decode: Decode, zoo: Path, isolation: str
) -> None:
    """A method that writes what it found out into its own sources decodes as it was before, or not at all."""
    artifact = dots()
    before = sealed.take_inventory()
    with (zoo / "zoo_method.py").open("a") as file:
        file.write("\nDots.decode = None\n")
    (zoo / "zoo_memo.py").write_text("MEMO = 'what fit found out'")
    if isolation == "namespaces":
        assert decode("dots", artifact, isolation=isolation, inventory=before).gaussians == 9
    else:
        with pytest.raises(JobError, match=r"installed code changed while the job ran.*zoo_method\.py; run again"):
            decode("dots", artifact, isolation=isolation, inventory=before)


def test_choosing_the_isolation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(isolation.ISOLATION_VARIABLE, raising=False)
    best = "namespaces" if namespaces_unavailable() is None else "audit-hook"
    assert choose_isolation() == choose_isolation("auto") == best
    monkeypatch.setenv(isolation.ISOLATION_VARIABLE, "audit-hook")
    assert choose_isolation() == "audit-hook"
    monkeypatch.setenv(isolation.ISOLATION_VARIABLE, "none")
    with pytest.raises(UsageError, match="GSBENCH_ISOLATION='none': expected auto, namespaces or audit-hook"):
        choose_isolation()
    monkeypatch.setattr(isolation, "namespaces_unavailable", lambda: "the kernel says no")
    assert choose_isolation("auto") == "audit-hook"
    with pytest.raises(UsageError, match="the kernel says no"):
        choose_isolation("namespaces")


def test_without_the_program_unshare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation.shutil, "which", lambda name: None)
    assert "unshare" in str(isolation.namespaces_unavailable.__wrapped__())
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "Linux" in str(isolation.namespaces_unavailable.__wrapped__())


def test_frames_are_checked(tmp_path: Path) -> None:
    good = np.zeros((4, 6, 3), np.float32)
    path = tmp_path / "frame.npy"
    cases: list[tuple[Any, str]] = [
        (good.astype(np.float64), "expected float32"),
        (good[:, :5], "expected float32"),
        (good[..., 0], "expected float32"),
        (np.full_like(good, np.inf), "72 values are not finite"),
        (np.array({}, dtype=object), "not a NumPy array"),
    ]
    for value, message in cases:
        np.save(path, value, allow_pickle=True)
        with pytest.raises(ValueError, match=message):
            sealed.check_frame(path, 6, 4)
    np.save(path, good)
    sealed.check_frame(path, 6, 4)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="not a NumPy array"):
        sealed.check_frame(path, 6, 4)
    np.save(path, good)
    (tmp_path / "link.npy").symlink_to(path)
    with pytest.raises(ValueError, match="not a file"):
        sealed.check_frame(tmp_path / "link.npy", 6, 4)


def test_reports_are_checked(tmp_path: Path) -> None:
    good = {
        "job_protocol": sealed.JOB_PROTOCOL,
        "decode_seconds": 1.0,
        "render_ms": [1.0, 2.0],
        "counts": {"gaussians": 3},
        "decoded_sha256": None,
        "peak_host_bytes": 5,
        "peak_gpu_bytes": None,
    }
    path = tmp_path / "timing.json"
    path.write_text(json.dumps(good))
    assert sealed._read_report(path, 2)["counts"] == {"gaussians": 3}
    for change in (
        {"job_protocol": 0},
        {"decode_seconds": "x"},
        {"render_ms": [1.0]},
        {"counts": []},
        {"peak_host_bytes": None},
    ):
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises(SealedError, match=r"no valid timing\.json"):
            sealed._read_report(path, 2)
    path.write_text("[]")
    with pytest.raises(SealedError, match=r"no valid timing\.json"):
        sealed._read_report(path, 2)


def test_the_hash_of_decoded_tensors() -> None:
    splats = random_splats(5, sh_degree=1)

    class Decoded:
        def __init__(self, value: Any) -> None:
            self.value = value

        def splats(self) -> Any:
            return self.value

    one = sealed_work.hash_decoded(Decoded(splats))  # type: ignore[arg-type]
    assert one == sealed_work.hash_decoded(Decoded(random_splats(5, sh_degree=1)))  # type: ignore[arg-type]
    assert one != sealed_work.hash_decoded(Decoded(random_splats(5, seed=1, sh_degree=1)))  # type: ignore[arg-type]

    class Anchors:
        def splats(self) -> Any:
            raise NotImplementedError

        def decoded_tensors(self) -> dict[str, torch.Tensor]:
            return {"b": torch.zeros(2, dtype=torch.int16), "a": torch.tensor(True)}

    class Nothing:
        def splats(self) -> Any:
            raise NotImplementedError

    own = sealed_work.hash_decoded(Anchors())  # type: ignore[arg-type]
    assert own == sealed_work.hash_tensors({"a": torch.tensor(True), "b": torch.zeros(2, dtype=torch.int16)})
    assert sealed_work.hash_decoded(Nothing()) is None  # type: ignore[arg-type]
    # Shape, dtype and name count, not only the bytes.
    tensors = [
        {"a": torch.zeros(4)},
        {"a": torch.zeros(2, 2)},
        {"a": torch.zeros(4, dtype=torch.int32)},
        {"b": torch.zeros(4)},
        {"a": torch.zeros(0)},
    ]
    assert len({sealed_work.hash_tensors(value) for value in tensors}) == len(tensors)
    # The layout in memory does not.
    square = torch.arange(6.0).reshape(2, 3)
    assert sealed_work.hash_tensors({"a": square}) == sealed_work.hash_tensors({"a": square.T.contiguous().T})
