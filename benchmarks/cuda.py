"""The rasterizer on a GPU, in under eight minutes:

    python -m benchmarks.cuda                    every size, against gsplat where it imports
    python -m benchmarks.cuda --json FILE        also as JSON
    python -m benchmarks.cuda --device cpu       the CPU backend at small sizes, to see that this works

It builds nothing; install gsbench where nvcc is on the PATH first. Each cell draws the same Gaussians with each backend
in turns: forward alone, then forward and backward to all inputs. Times are medians between two synchronizations;
memory is the peak of what torch has allocated beyond what there was before. Before all this it checks that the CUDA
backend gives the same bytes twice, and how far its image and gradients are from the CPU's. Cells that the time does not
allow are left out by name.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.scene import MadeUp
from gsbench.raster import rasterization

SIZES = ((648, 420), (1600, 1060), (3840, 2160))
COUNTS = (100_000, 1_000_000, 5_000_000)
SMALL_SIZES = ((64, 48), (97, 33))
SMALL_COUNTS = (500, 2_000)
#: Seconds for everything, and at most for one measurement.
BUDGET = 400.0
PER_MEASUREMENT = 1.5


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


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(run: Callable[[], object], device: torch.device) -> float:
    """The median of repetitions, in milliseconds, after two that do not count."""
    for _ in range(2):
        run()
    wait(device)
    times: list[float] = []
    end = time.perf_counter() + PER_MEASUREMENT
    while len(times) < 5 or (time.perf_counter() < end and len(times) < 50):
        begin = time.perf_counter()
        run()
        wait(device)
        times.append(1e3 * (time.perf_counter() - begin))
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


def measure(scene: Scene, count: int, backend: str, device: torch.device) -> Cell:
    with torch.no_grad():
        visible = int((scene.forward(backend)[1]["radii"] > 0).any(dim=-1).sum())
    forward = timed(lambda: scene.draw(backend), device)
    both = timed(lambda: scene.derive(backend), device)
    memory = peak(lambda: scene.derive(backend), device)
    return Cell(scene.width, scene.height, count, backend, forward, both, memory, visible)


def cells(backends: Sequence[str], device: torch.device, small: bool, until: float) -> Iterator[Cell | str]:
    """The measurements; a text for each that is left out."""
    for width, height in SMALL_SIZES if small else SIZES:
        for count in SMALL_COUNTS if small else COUNTS:
            name = f"{width}x{height}, {count:,} Gaussians"
            if time.monotonic() > until:
                yield f"{name}: left out, the time is over"
                continue
            scene = Scene(count, width, height, device)
            for backend in backends:
                try:
                    yield measure(scene, count, backend, device)
                except Exception as error:  # another package's, too: the other cells are measured all the same
                    text = (str(error).splitlines() or ["no message"])[0]
                    yield f"{name}, {backend}: {type(error).__name__}: {text}"
            del scene
            gc.collect()


def same_twice(backend: str, device: torch.device, small: bool) -> bool:
    """Whether image and gradients have the same bytes in two runs."""
    width, height = (64, 48) if small else (1600, 1060)
    scene = Scene(500 if small else 200_000, width, height, device)
    found = [[t.clone() for t in scene.derive(backend)] for _ in range(2)]
    return all(torch.equal(a, b) for a, b in zip(*found, strict=True))


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
                f"   {other.backend} takes {other.forward / cell.forward:.2f} and {other.both / cell.both:.2f} times"
            )
    size = f"{cell.width:5}x{cell.height:<5} {cell.gaussians:>9,} {cell.backend:8}"
    return f"{size} {cell.forward:9.2f} ms {cell.both:9.2f} ms {cell.memory / 1e6:9.1f} MB{ratios}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, ... or cpu (small sizes)")
    parser.add_argument("--json", type=Path, help="write the numbers to this file, too")
    options = parser.parse_args(arguments)
    device, until = torch.device(options.device), time.monotonic() + BUDGET
    if device.type == "cuda" and not torch.cuda.is_available():
        print("no CUDA device: torch finds none on this machine", file=sys.stderr)
        return 1
    small = device.type == "cpu"
    backends = ["cpu"] if small else ["cuda", "gsplat"]
    what = "the CPU, small sizes" if small else torch.cuda.get_device_name(device)
    print(f"{what}, torch {torch.__version__}\n")
    twice = same_twice(backends[0], device, small)
    difference = against_the_cpu(backends[0], device, small)
    print(f"the same bytes twice, forward and backward: {'yes' if twice else 'NO'}")
    print(
        f"against the CPU: {difference['differ']:.0f} of {difference['pixels']:.0f} pixels differ by more than 1e-5, "
        f"by up to {difference['largest']:.1e}; gradients by {difference['gradients']:.1e}, relative\n"
    )
    print("      size    Gaussians backend    forward  forward+backward  peak memory")
    measured: list[Cell] = []
    notes: list[str] = []
    for found in cells(backends, device, small, until):
        if isinstance(found, str):
            notes.append(found)
            print(found)
            continue
        key = (found.width, found.height, found.gaussians)
        measured.append(found)
        print(line(found, [m for m in measured[:-1] if (m.width, m.height, m.gaussians) == key]), flush=True)
    if options.json is not None:
        record = {
            "device": what,
            "torch": torch.__version__,
            "cells": [asdict(m) for m in measured],
            "notes": notes,
            "same_twice": twice,
            "against_cpu": difference,
        }
        temporary = options.json.with_suffix(".tmp")
        temporary.write_text(json.dumps(record, indent=1) + "\n")
        temporary.replace(options.json)
    return 0 if twice else 1


if __name__ == "__main__":
    sys.exit(main())
