"""Sealed decode: an artifact is decoded and rendered by a process that has the artifact and nothing else.

The child sees the installed code (`gsbench.bench.visible`), an artifact that was copied byte for byte, and cameras; its
environment, home and working directory are empty. It is isolated in one of two ways, which the record states:

* "namespaces" (Linux, where the system allows them): fresh user, mount, network, PID and IPC namespaces, a file
  system put together from an allow-list, and no capabilities.
* "audit-hook": an audit hook that refuses other files, sockets, processes and libraries; where the kernel has
  Landlock, native code is held to the same list of files.

The audit hook is installed in both. What is left: a method that hides data in what was installed before it trained
(its sources are hashed into the record), or, without namespaces and Landlock, native code that means harm.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from torch import Tensor

from gsbench import native
from gsbench.bench.isolation import ISOLATION_VARIABLE, child_command, choose_isolation, namespaces_unavailable
from gsbench.bench.model import JOB_PROTOCOL
from gsbench.bench.threads import WAITING, thread_counts
from gsbench.bench.visible import Visible, take_inventory
from gsbench.errors import ArtifactError, JobError
from gsbench.hooks import load_plugins
from gsbench.hooks.discovery import DISABLE_VARIABLE
from gsbench.records import Isolation
from gsbench.registry import methods
from gsbench.splats import Camera, cameras_to_json

__all__ = [
    "ISOLATION_VARIABLE",
    "SealedArtifactError",
    "SealedError",
    "SealedResult",
    "Timing",
    "check_frame",
    "choose_isolation",
    "decode_sealed",
    "namespaces_unavailable",
]

_POLL_SECONDS: Final = 0.05

#: Called with the number of views rendered so far.
RenderProgress = Callable[[int], None]


class SealedError(JobError):
    """A sealed decode failed; `stage` is "seal", "import", "decode" or "render"."""

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(message)
        self.stage = stage


class SealedArtifactError(SealedError, ArtifactError):
    """The method's decoder refused the artifact."""


@dataclass(frozen=True)
class Timing:
    """How long decoding and rendering took.

    Fields:
        decode_seconds: from the artifact to something that renders, imports aside.
        render_ms: milliseconds per view, in the order of the cameras, after a warm-up; everything included that turns
            what was decoded into pixels.
    """

    decode_seconds: float
    render_ms: tuple[float, ...]

    @property
    def median_ms(self) -> float:
        """Median over the views."""
        return statistics.median(self.render_ms)

    @property
    def p95_ms(self) -> float:
        """95th percentile over the views (linear interpolation)."""
        return float(np.percentile(self.render_ms, 95))


@dataclass(frozen=True)
class SealedResult:
    """What a sealed decode gave.

    Fields:
        frames: one ``NNNN.npy`` per camera, float32 [H, W, 3], not clamped.
        isolation: how the child was kept from anything but the artifact.
        gaussians, anchors: as the method counts them; None where it has none.
        decoded_sha256: over the decoded tensors, see `gsbench.bench.sealed_work.hash_decoded`.
        peak_host_bytes, peak_gpu_bytes: of the child.
    """

    frames: list[Path]
    timing: Timing
    isolation: Isolation
    gaussians: int | None
    anchors: int | None
    decoded_sha256: str | None
    peak_host_bytes: int
    peak_gpu_bytes: int | None


def decode_sealed(
    method: str,
    artifact: Path,
    cameras: Sequence[Camera],
    background: Tensor | Sequence[float],
    device: str,
    threads: int,
    out: Path,
    *,
    timeout: float | None = None,
    isolation: str | None = None,
    log: Path | None = None,
    inventory: Visible | None = None,
    progress: RenderProgress | None = None,
) -> SealedResult:
    """Decode `artifact` in a sealed process and render `cameras`.

    Args:
        method: name of the method whose decoder is used.
        artifact: the file.
        cameras: views to render; their names play no part.
        background: RGB in [0, 1].
        device: "cpu", "cuda" or "cuda:N".
        threads: CPU threads of the child.
        out: existing folder that receives ``frames/NNNN.npy`` and ``timing.json``.
        timeout: seconds after which the child is stopped.
        isolation: "auto", "namespaces" or "audit-hook"; None reads `ISOLATION_VARIABLE`.
        log: file that the child's output is appended to; None keeps the last lines for the error message.
        inventory: what is visible; taken before the method had a chance to change it. None takes it now.
        progress: called now and then with the number of frames that are done.

    Raises:
        SealedArtifactError: if the decoder refuses the artifact.
        SealedError: if the child fails otherwise, takes too long, or writes something else than frames.
        UsageError: if the method is unknown, or the isolation asked for is not available here.
    """
    load_plugins()
    entry = methods.entry(method)
    chosen = choose_isolation(isolation)
    visible = inventory or take_inventory()
    rgb = [float(c) for c in (background.tolist() if isinstance(background, Tensor) else background)]
    with _sandbox(out) as folder:
        name = f"artifact{entry.load().suffix}"
        _copy_bytes(artifact, folder / "input" / name)
        (folder / "input" / "cameras.json").write_text(cameras_to_json(_anonymous(cameras)))
        request: dict[str, Any] = {
            "job_protocol": JOB_PROTOCOL,
            "parent": os.getpid(),
            "isolation": chosen,
            "method": method,
            "artifact": name,
            "background": rgb,
            "device": device,
            "threads": threads,
            "inputs": ["cameras.json", name],
            "kept": _keep_code(visible, folder) if chosen == "namespaces" else {},
            "visible": visible.to_json(),
        }
        if inventory is not None:
            # What the child finds in place, and not as it was kept, must still be what it was.
            visible.check_unchanged([path for path in visible.code if path not in request["kept"]])
        try:
            _run_child(folder, request, _environment(threads), timeout, log, progress)
        except SealedError as error:
            # Where the child found the artifact says nothing to anybody.
            for place in (Path("/sandbox"), folder):
                error.args = (str(error).replace(str(place / "input" / name), str(artifact)),)
            raise
        report = _read_report(folder / "output" / "timing.json", len(cameras))
        frames = _take_frames(folder / "output" / "frames", cameras, out)
    timing = Timing(report["decode_seconds"], tuple(report["render_ms"]))
    counts = report["counts"]
    result = SealedResult(
        frames=frames,
        timing=timing,
        isolation=chosen,
        gaussians=counts.get("gaussians"),
        anchors=counts.get("anchors"),
        decoded_sha256=report["decoded_sha256"],
        peak_host_bytes=report["peak_host_bytes"],
        peak_gpu_bytes=report["peak_gpu_bytes"],
    )
    (out / "timing.json").write_text(json.dumps(report, indent=1))
    return result


def _environment(threads: int) -> dict[str, str]:
    """All that the child finds in its environment; HOME and TMPDIR it sets itself."""
    return {
        "LANG": "C.UTF-8",
        "USER": "gsbench",
        **thread_counts(threads),
        **WAITING,
        "GSBENCH_ISA": native.cpu_isa(),
        DISABLE_VARIABLE: ",".join(row.entry_point for row in load_plugins() if row.status == "disabled"),
        **_initial_variables("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH"),
    }


def _initial_variables(*names: str) -> dict[str, str]:
    """Variables as they were when this process began: nothing that ran in it can have changed them."""
    try:
        block = Path("/proc/self/environ").read_bytes()
    except OSError:
        return {}
    pairs = [item.split(b"=", 1) for item in block.split(b"\0") if b"=" in item]
    return {os.fsdecode(name): os.fsdecode(value) for name, value in pairs if os.fsdecode(name) in names}


def _keep_code(visible: Visible, folder: Path) -> dict[str, str]:
    """Write the code as it was kept into ``folder/code``; returns where each file went, by its path."""
    (folder / "code").mkdir()
    kept = {}
    for index, (path, code) in enumerate(visible.code.items()):
        if code.content is not None:
            kept[path] = f"{index:05d}"
            (folder / "code" / kept[path]).write_bytes(code.content)
    return kept


@contextmanager
def _sandbox(out: Path) -> Iterator[Path]:
    """The child's folder, removed afterwards whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix=".sealed-", dir=out)).resolve()
    try:
        for name in ("input", "output", "scratch", "root"):
            (folder / name).mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy_bytes(source: Path, target: Path) -> None:
    """Copy content only: no times, attributes or holes come along."""
    try:
        with source.open("rb") as reader, target.open("wb") as writer:
            while block := reader.read(1 << 22):
                writer.write(block)
    except OSError as error:
        raise ArtifactError(f"{source}: cannot be read: {error.strerror or error}") from error


def _anonymous(cameras: Sequence[Camera]) -> list[Camera]:
    """The cameras with numbers for names."""
    return [
        Camera(f"{index:04d}", camera.viewmat.cpu(), camera.K.cpu(), camera.width, camera.height)
        for index, camera in enumerate(cameras)
    ]


def _run_child(
    folder: Path,
    request: dict[str, Any],
    environment: dict[str, str],
    timeout: float | None,
    log: Path | None,
    progress: RenderProgress | None,
) -> None:
    """Run the child to its end, or end it.

    Raises:
        SealedError: if it does not succeed.
    """
    (folder / "request.json").write_text(json.dumps(request))
    inputs = _input_digests(folder)
    output = log or folder / "log"
    with output.open("ab") as stream:
        start = stream.tell()
        child = subprocess.Popen(
            [*child_command(), str(folder / "request.json")],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env=environment,
            cwd=folder / "scratch",
        )
        try:
            _wait(child, folder / "output" / "frames", timeout, progress)
        except subprocess.TimeoutExpired:
            raise SealedError("decode", f"the sealed decoder took more than {timeout:g} s and was stopped") from None
        finally:
            child.kill()
            child.wait()
    if child.returncode != 0:
        raise _failure(folder, child.returncode, output, start, log)
    if _input_digests(folder) != inputs:
        raise SealedError("decode", "something changed the sealed decoder's input while it ran")


def _input_digests(folder: Path) -> dict[str, str]:
    """What lies in the child's input folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "input").iterdir()}


def _wait(child: subprocess.Popen[bytes], frames: Path, timeout: float | None, progress: RenderProgress | None) -> None:
    deadline = None if timeout is None else time.monotonic() + timeout
    seen = 0
    while True:
        try:
            child.wait(_POLL_SECONDS)
            return
        except subprocess.TimeoutExpired:
            if deadline is not None and time.monotonic() > deadline:
                raise
        if progress is not None and frames.is_dir() and (count := len(list(frames.iterdir()))) > seen:
            seen = count
            progress(count)


def _failure(folder: Path, code: int, output: Path, start: int, log: Path | None) -> SealedError:
    """What went wrong in the child, from its report or, if it left none, from its last words."""
    try:
        report = json.loads((folder / "output" / "error.json").read_text())
        stage, message, kind = str(report["stage"]), str(report["message"]), str(report["type"])
        if report["artifact"]:
            return SealedArtifactError(stage, message)
        return SealedError(stage, f"{kind}: {message}")
    except (OSError, ValueError, KeyError, TypeError):
        pass
    with output.open("rb") as stream:
        stream.seek(start)
        lines = stream.read()[-2000:].decode(errors="replace").strip().splitlines()
    how = f"signal {-code}" if code < 0 else f"exit status {code}"
    last = f": {lines[-1]}" if lines else ""
    where = f" (log: {log})" if log is not None else ""
    return SealedError("decode", f"the sealed decoder ended with {how}{last}{where}")


def _read_report(path: Path, views: int) -> dict[str, Any]:
    """``timing.json`` as the child wrote it, checked.

    Raises:
        SealedError: if it is not what it should be.
    """
    try:
        value = json.loads(path.read_text())
        if value["job_protocol"] != JOB_PROTOCOL:
            raise ValueError(f"job protocol {value['job_protocol']}, expected {JOB_PROTOCOL}")
        sha = value["decoded_sha256"]
        render_ms = [float(ms) for ms in value["render_ms"]]
        if len(render_ms) != views:
            raise ValueError(f"times of {len(render_ms)} views, expected {views}")
        decode_seconds = float(value["decode_seconds"])
        if not all(0.0 <= duration < math.inf for duration in (decode_seconds, *render_ms)):
            raise ValueError("times that are negative or not finite")
        return {
            "job_protocol": JOB_PROTOCOL,
            "decode_seconds": decode_seconds,
            "render_ms": render_ms,
            "counts": {str(name): int(count) for name, count in value["counts"].items()},
            "decoded_sha256": None if sha is None else str(sha),
            "peak_host_bytes": int(value["peak_host_bytes"]),
            "peak_gpu_bytes": None if value["peak_gpu_bytes"] is None else int(value["peak_gpu_bytes"]),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SealedError("render", f"the sealed decoder left no valid timing.json: {error}") from error


def _take_frames(folder: Path, cameras: Sequence[Camera], out: Path) -> list[Path]:
    """Check the frames and move them to ``out/frames``.

    Raises:
        SealedError: if one is missing, of another shape or type, or has a value that is not finite.
    """
    names = [f"{index:04d}.npy" for index in range(len(cameras))]
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if found != names:
        raise SealedError("render", f"the sealed decoder wrote {len(found)} frames, expected {len(names)}")
    for name, camera in zip(names, cameras, strict=True):
        try:
            check_frame(folder / name, camera.width, camera.height)
        except ValueError as error:
            raise SealedError("render", f"frame of view {camera.name!r}: {error}") from None
    target = out / "frames"
    if target.exists():
        shutil.rmtree(target)
    folder.rename(target)
    return [target / name for name in names]


def check_frame(path: Path, width: int, height: int) -> None:
    """Check that `path` holds float32 [height, width, 3] with finite values.

    Raises:
        ValueError: saying what it holds instead.
    """
    if path.is_symlink() or not path.is_file():
        raise ValueError("not a file")
    try:
        frame = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"not a NumPy array: {error}") from error
    if frame.dtype != np.float32 or frame.shape != (height, width, 3):
        raise ValueError(f"expected float32 {[height, width, 3]}, got {frame.dtype} {list(frame.shape)}")
    if not np.isfinite(frame).all():
        raise ValueError(f"{int((~np.isfinite(frame)).sum())} values are not finite")
