"""The rasterizer on a GPU, beside gsplat 1.5, in under eight minutes:

    python -m benchmarks.cuda                    every size
    python -m benchmarks.cuda --write            also into the section of benchmarks/RESULTS.md about GPUs
    python -m benchmarks.cuda --json FILE        also as JSON
    python -m benchmarks.cuda --wheels DIR       gsplat and what it needs from wheels in DIR, without a network
    python -m benchmarks.cuda --without-gsplat   ours alone
    python -m benchmarks.cuda --small            small sizes, to see that this works; with --device cpu, the CPU backend

It builds both: gsbench's CUDA library where there is none yet (`pip install -e .`, for this card; nvcc on the PATH),
and gsplat, which it installs into a folder below build/ and lets compile itself there. If gsplat cannot be had, it says
why and goes on without.

It checks first that our backend gives the same bytes twice, and how far its image and gradients are from the CPU's.
Each cell then draws the same Gaussians with each backend: forward alone, then forward and backward to all inputs; and
whether that gave the same bytes twice. Times are medians between two synchronizations; memory is the peak of what torch
has allocated beyond what there was before. What the time does not allow is named as not measured.

Exit status: 0, or 1 if ours was not deterministic, 2 if there is no GPU to measure or the arguments are wrong.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.gsplat_build import VERSION, Build, Built, wait_or_end
from benchmarks.results import RESULTS, write_gpu
from benchmarks.scene import MadeUp
from benchmarks.table import Table, ratio
from gsbench.hooks import load_plugins
from gsbench.native.cuda import cuda_library, cuda_library_path
from gsbench.raster import rasterization

ROOT = Path(__file__).resolve().parents[1]
SIZES = ((648, 420), (1600, 1060), (3840, 2160))
COUNTS = (100_000, 1_000_000, 5_000_000)
SMALL_SIZES = ((64, 48), (97, 33))
SMALL_COUNTS = (500, 2_000)
#: Seconds for everything, what of them is kept for the measurements, and at most for one measurement.
BUDGET = 450.0
FOR_MEASUREMENTS = 150.0
PER_MEASUREMENT = 1.5
#: Repetitions of a measurement, after two that do not count.
LEAST, MOST = 5, 50


class OutOfTimeError(Exception):
    """What the time does not allow."""


@dataclass(frozen=True)
class Clock:
    """The end of the time for everything, in `time.monotonic`."""

    until: float

    def left(self) -> float:
        return self.until - time.monotonic()

    def need(self, seconds: float) -> None:
        """Raises OutOfTimeError if there is not as much left."""
        if self.left() < seconds:
            raise OutOfTimeError


@dataclass(frozen=True)
class Cell:
    """One backend at one size. Times in milliseconds, memory in bytes."""

    width: int
    height: int
    gaussians: int
    backend: str
    forward: float
    both: float
    memory: int
    visible: int
    same_twice: bool

    @property
    def key(self) -> tuple[int, int, int]:
        return self.width, self.height, self.gaussians


class Scene:
    """Made-up Gaussians on a device, ready to be drawn and derived."""

    def __init__(self, count: int, width: int, height: int, device: torch.device) -> None:
        made = MadeUp.of(count, width, height)
        self.width, self.height, self.sh_degree = width, height, made.sh_degree
        self.leaves = [leaf.detach().to(device).requires_grad_() for leaf in made.leaves()]
        self.viewmats, self.Ks = made.viewmat[None].to(device), made.K[None].to(device)
        self.outer = torch.randn(1, height, width, 3, generator=torch.Generator().manual_seed(1)).to(device)

    def forward(self, backend: str) -> tuple[Tensor, dict[str, Any]]:
        image, _, meta = rasterization(
            *self.leaves,
            self.viewmats,
            self.Ks,
            self.width,
            self.height,
            sh_degree=self.sh_degree,
            packed=False,
            backend=backend,
        )
        return image, meta

    def draw(self, backend: str) -> None:
        with torch.no_grad():
            self.forward(backend)

    def derive(self, backend: str) -> list[Tensor]:
        for leaf in self.leaves:
            leaf.grad = None
        image, _ = self.forward(backend)
        torch.autograd.backward([image], [self.outer])
        return [image.detach(), *(leaf.grad for leaf in self.leaves if leaf.grad is not None)]

    def same_twice(self, backend: str) -> bool:
        """Whether image and gradients have the same bytes in two runs."""
        first = self.derive(backend)  # gradients are new tensors each time
        return all(torch.equal(a, b) for a, b in zip(first, self.derive(backend), strict=True))


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(run: Callable[[], object], device: torch.device, clock: Clock) -> float:
    """The median of repetitions, in milliseconds, after two that do not count.

    Raises:
        OutOfTimeError: if even the fewest repetitions would take longer than there is time.
    """

    def once() -> float:
        begin = time.perf_counter()
        run()
        wait(device)
        return time.perf_counter() - begin

    clock.need(0.0)
    once()
    clock.need((LEAST + 1) * once())
    times: list[float] = []
    end = time.perf_counter() + PER_MEASUREMENT
    while len(times) < LEAST or (time.perf_counter() < end and len(times) < MOST):
        times.append(1e3 * once())
    return statistics.median(times)


def peak(run: Callable[[], object], device: torch.device) -> int:
    """Bytes that torch allocates at most while this runs, beyond what there was."""
    if device.type != "cuda":
        return 0
    gc.collect()
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def measure(scene: Scene, count: int, backend: str, device: torch.device, clock: Clock) -> Cell:
    clock.need(0.0)
    with torch.no_grad():
        visible = int((scene.forward(backend)[1]["radii"] > 0).any(dim=-1).sum())
    forward = timed(lambda: scene.draw(backend), device, clock)
    both = timed(lambda: scene.derive(backend), device, clock)
    memory = peak(lambda: scene.derive(backend), device)
    same = scene.same_twice(backend)
    return Cell(scene.width, scene.height, count, backend, forward, both, memory, visible, same)


def cells(backends: Sequence[str], device: torch.device, small: bool, clock: Clock) -> Iterator[Cell | str]:
    """The measurements; a text for each that is left out."""
    for width, height in SMALL_SIZES if small else SIZES:
        for count in SMALL_COUNTS if small else COUNTS:
            name = f"{width}x{height}, {count:,} Gaussians"
            if clock.left() <= 0.0:
                yield f"{name}: not measured, the time is over"
                continue
            try:
                scene = Scene(count, width, height, device)
            except Exception as error:
                yield f"{name}: not measured: {_said(error)}"
                continue
            for backend in backends:
                try:
                    yield measure(scene, count, backend, device, clock)
                except OutOfTimeError:
                    yield f"{name}, {backend}: not measured, the time is over"
                except Exception as error:  # another package's, too: the other cells are measured all the same
                    yield f"{name}, {backend}: not measured: {_said(error)}"
                for leaf in scene.leaves:
                    leaf.grad = None
            del scene
            gc.collect()


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no message'])[0]}"


def against_the_cpu(backend: str, device: torch.device, small: bool) -> dict[str, float]:
    """Pixels that differ by more than 1e-5, and the largest relative difference of a gradient."""
    width, height = (64, 48) if small else (648, 420)
    arguments = 500 if small else 50_000, width, height
    ours = [t.cpu() for t in Scene(*arguments, device).derive(backend)]
    theirs = Scene(*arguments, torch.device("cpu")).derive("cpu")
    off = (ours[0] - theirs[0]).abs().amax(dim=-1)
    gradients = [float((a - b).norm() / b.norm().clamp_min(1e-30)) for a, b in zip(ours[1:], theirs[1:], strict=True)]
    return {
        "pixels": float(off.numel()),
        "differ": float((off > 1e-5).sum()),
        "largest": float(off.max()),
        "gradients": max(gradients),
    }


def line(cell: Cell, others: Sequence[Cell]) -> str:
    ratios = ""
    for other in others:
        if other.backend != cell.backend:
            ratios += (
                f"   {cell.backend} takes {cell.forward / other.forward:.2f} and {cell.both / other.both:.2f} times "
                f"as long as {other.backend}"
            )
    size = f"{cell.width:5}x{cell.height:<5} {cell.gaussians:>9,} {cell.backend:8}"
    same = "same bytes " if cell.same_twice else "other bytes"
    return f"{size} {cell.forward:9.2f} ms {cell.both:9.2f} ms {cell.memory / 1e6:9.1f} MB  {same}{ratios}"


def table(measured: Sequence[Cell], ours: str, other: str) -> Table:
    """The cells side by side, a row for each size."""
    of_ours, of_other = ({c.key: c for c in measured if c.backend == name} for name in (ours, other))
    made = Table(
        "cuda",
        "Rasterizer",
        "Forward, and forward with backward to all inputs, degree 3, one camera, the same Gaussians for both. Ratio: "
        f"how many times as long {other} takes. Memory: the peak of forward and backward beyond the inputs. Same "
        "bytes: whether two runs gave the same image and gradients, bit for bit.",
        (
            *("size", "Gaussians", "visible", "forward ms", f"{other} forward ms", "forward ratio x"),
            *("both ms", f"{other} both ms", "both ratio x", "MB", f"{other} MB", "same bytes", f"{other} same bytes"),
        ),
    )
    for key in sorted({*of_ours, *of_other}):
        one, two = of_ours.get(key), of_other.get(key)
        row: list[Any] = [f"{key[0]}x{key[1]}", key[2], (one or two).visible]  # type: ignore[union-attr]
        for value in (lambda c: c.forward, lambda c: c.both):
            a, b = (None if c is None else value(c) for c in (one, two))
            row += [a, b, None if a is None else ratio(b, a)]
        row += [None if c is None else c.memory / 1e6 for c in (one, two)]
        row += ["-" if c is None else "yes" if c.same_twice else "no" for c in (one, two)]
        made.add(*row)
    return made


def build_ours(device: torch.device, clock: Clock) -> str:
    """Build the CUDA library, if there is none; why that failed, or nothing."""
    if cuda_library_path() is not None:
        return ""
    major, minor = torch.cuda.get_device_capability(device)
    print(f"gsbench was built without CUDA; building it for compute capability {major}.{minor}", flush=True)
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-build-isolation", "--no-deps", "-e", str(ROOT)]
    command += ["-C", "cmake.define.GSBENCH_CUDA=1", "-C", f"cmake.define.GSBENCH_CUDA_TARGETS={major}{minor}"]
    status = wait_or_end(subprocess.Popen(command, start_new_session=True), clock.left())
    cuda_library_path.cache_clear()
    if status is None:
        return "gsbench's CUDA library was not built in the time there was"
    if status != 0 or cuda_library_path() is None:
        return "gsbench's CUDA library could not be built; pip's reason is above (nvcc must be on the PATH)"
    return ""


def facts(device: torch.device, built: Built | None) -> dict[str, str]:
    """What the numbers were taken on and with."""
    found = {"torch": torch.__version__}
    if device.type == "cuda":
        library = cuda_library()
        found["CUDA of torch"] = str(torch.version.cuda)
        found["CUDA library"] = f"{library.build_id()}, for {library.targets}"
        problem = "not asked for" if built is None else built.problem
        found["gsplat"] = f"not measured: {problem}" if built is None or built.version is None else built.version
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cuda", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, ... or cpu (small sizes)")
    parser.add_argument("--small", action="store_true", help="small sizes")
    parser.add_argument("--without-gsplat", action="store_true", help="measure the CUDA backend alone")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="take gsplat from wheels in this folder")
    parser.add_argument("--folder", type=Path, help="where gsplat is put [default: below build/]")
    parser.add_argument(
        "--budget", type=float, default=BUDGET, metavar="S", help=f"seconds for everything [default: {BUDGET:.0f}]"
    )
    parser.add_argument("--json", type=Path, help="write the numbers to this file, too")
    parser.add_argument("--write", action="store_true", help=f"write the section about GPUs of {RESULTS.name}")
    options = parser.parse_args(arguments)
    if not options.budget > 0.0:
        parser.error(f"--budget: expected a positive number of seconds, got {options.budget:g}")
    if options.wheels is not None and not options.wheels.is_dir():
        parser.error(f"--wheels: {options.wheels} is no folder")
    try:
        device = torch.device(options.device)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cuda", "cpu"):
        parser.error(f"--device: expected cuda, cuda:1, ... or cpu, got {options.device!r}")
    if device.type == "cpu" and options.write:
        parser.error("--write: only what was measured on a GPU is kept")
    if device.type == "cuda" and not torch.cuda.is_available():
        print("no CUDA device: torch finds none on this machine", file=sys.stderr)
        return 2
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        print(f"no CUDA device {device}: torch finds {torch.cuda.device_count()}", file=sys.stderr)
        return 2
    return run(options, device)


def run(options: argparse.Namespace, device: torch.device) -> int:
    clock = Clock(time.monotonic() + options.budget)
    small = options.small or device.type == "cpu"
    what = "the CPU" if device.type == "cpu" else torch.cuda.get_device_name(device)
    print(f"{what}, torch {torch.__version__}\n", flush=True)
    ours, build, built = device.type, None, None
    if device.type == "cuda":
        if problem := build_ours(device, clock):
            print(problem, file=sys.stderr)
            return 2
        if not options.without_gsplat:
            name = f"gsplat-{VERSION}-python{sys.version_info[0]}.{sys.version_info[1]}-torch{torch.__version__}"
            build = Build(options.folder or ROOT / "build" / name, options.wheels)
    try:
        width, height = (64, 48) if small else (1600, 1060)
        twice = Scene(500 if small else 200_000, width, height, device).same_twice(ours)
        difference = against_the_cpu(ours, device, small)
        print(f"the same bytes twice, forward and backward: {'yes' if twice else 'NO'}")
        print(
            f"against the CPU: {difference['differ']:.0f} of {difference['pixels']:.0f} pixels differ by more than "
            f"1e-5, by up to {difference['largest']:.1e}; gradients by {difference['gradients']:.1e}, relative",
            flush=True,
        )
        if build is not None:
            built = build.finish(clock.until - min(FOR_MEASUREMENTS, options.budget / 2))
            text = f"{built.version}, ready after {built.seconds:.0f} s" if built.version else f"none: {built.problem}"
            print(f"gsplat: {text}", flush=True)
    finally:
        if build is not None:
            build.stop()
    load_plugins()  # the adapters are registered so
    backends = [ours, *(["gsplat"] if built is not None and built.version is not None else [])]
    print("\n      size    Gaussians backend    forward  forward+backward  peak memory")
    measured: list[Cell] = []
    notes: list[str] = []
    for found in cells(backends, device, small, clock):
        if isinstance(found, str):
            notes.append(found)
            print(found, flush=True)
            continue
        measured.append(found)
        print(line(found, [m for m in measured[:-1] if m.key == found.key]), flush=True)
    deterministic = twice and all(cell.same_twice for cell in measured if cell.backend == ours)
    if not deterministic:
        print(f"{ours}: NOT the same bytes in every run", file=sys.stderr)
    record = {
        "device": what,
        **facts(device, built),
        "small": small,
        "cells": [asdict(m) for m in measured],
        "notes": notes,
        "same_twice": deterministic,
        "against_cpu": difference,
    }
    if options.json is not None:
        temporary = options.json.with_suffix(".tmp")
        temporary.write_text(json.dumps(record, indent=1) + "\n")
        temporary.replace(options.json)
    if options.write:
        checks = {
            "same bytes in every run": "yes" if deterministic else "NO",
            "against the CPU": f"{difference['differ']:.0f} of {difference['pixels']:.0f} pixels differ by more than "
            f"1e-5 (by up to {difference['largest']:.1e}), gradients by {difference['gradients']:.1e}, relative",
        }
        command = "python -m benchmarks.cuda" + (" --small" if small else "") + " --write"
        about = {"GPU": what, **facts(device, built), **checks}
        write_gpu(RESULTS, table(measured, ours, "gsplat"), about, notes, command)
    return 0 if deterministic else 1


if __name__ == "__main__":
    sys.exit(main())
