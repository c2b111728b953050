"""The rasterizer: sizes, instruction sets, threads, what statistics cost, memory, and torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.scene import MadeUp, pair_bound
from benchmarks.table import Settings, Table, medians, ratio, using, with_threads
from benchmarks.torch_rasterizer import torch_rasterization
from gsbench import rasterization

#: Gaussians and image sizes at every instruction set and number of threads, then at the best only.
EVERYWHERE = ((20_000, 480, 270), (50_000, 480, 270), (100_000, 1600, 1060))
BEST_ONLY = ((10_000, 1600, 1060), (1_000_000, 1600, 1060), (5_000_000, 1600, 1060))
QUICK = ((2_000, 64, 48),)

#: What is asked for beside the image, with further arguments of `rasterization`.
REQUESTS: dict[str, dict[str, Any]] = {
    "hits, weight, opacity_transmittance, max_weight, dominant": {
        "outputs": ("hits", "weight", "opacity_transmittance", "max_weight", "dominant")
    },
    "absgrad": {"absgrad": True},
    "grad_abs": {"outputs": ("grad_abs",)},
    "antialiased": {"rasterize_mode": "antialiased"},
    "RGB+D": {"render_mode": "RGB+D"},
    "RGB+ED": {"render_mode": "RGB+ED"},
    "median_depth": {"outputs": ("median_depth",)},
    "distortion": {"outputs": ("distortion",)},
    "normal": {"outputs": ("normal",)},
    "expected_depth, normal, distortion": {"outputs": ("expected_depth", "normal", "distortion")},
    "fisher": {"outputs": ("fisher",)},
    "sensitivity": {"outputs": ("sensitivity",)},
}

#: Outputs that are images.
IMAGES = ("normal", "distortion", "expected_depth", "median_depth")


class Draw:
    """A scene with leaves, ready to be drawn and derived."""

    def __init__(self, scene: MadeUp) -> None:
        self.scene, self.leaves = scene, scene.leaves()
        self._outers: dict[int, Tensor] = {}
        self.outer = self._outer(3)

    def forward(self, **arguments: Any) -> tuple[Tensor, dict[str, Any]]:
        s = self.scene
        image, _, meta = rasterization(
            *self.leaves,
            s.viewmat[None],
            s.K[None],
            s.width,
            s.height,
            sh_degree=s.sh_degree,
            packed=False,
            **arguments,
        )
        return image, meta

    def without_gradients(self) -> None:
        with torch.no_grad():
            self.forward()

    def backward(self, **arguments: Any) -> None:
        """Forward and backward; images that are asked for are derived, too, as a method that asks for them does."""
        for leaf in self.leaves:
            leaf.grad = None
        image, meta = self.forward(**arguments)
        derived = [image, *(meta[name] for name in IMAGES if name in meta and meta[name].requires_grad)]
        torch.autograd.backward(derived, [self._outer(value.shape[-1]) for value in derived])

    def _outer(self, channels: int) -> Tensor:
        """A gradient of an image, made once."""
        if channels not in self._outers:
            s, generator = self.scene, torch.Generator().manual_seed(1)
            noise = torch.randn(1, s.height, s.width, channels, generator=generator)
            self._outers[channels] = noise / (s.height * s.width)
        return self._outers[channels]

    def pairs(self) -> int:
        with torch.no_grad():
            _, meta = self.forward()
        return pair_bound(meta["means2d"][0], meta["radii"][0], self.scene.width, self.scene.height)


def tables(settings: Settings) -> Iterator[Table]:
    yield sizes(settings)
    yield against_torch(settings)
    yield requests(settings)
    yield memory(settings)


def sizes(settings: Settings) -> Table:
    table = Table(
        "rasterizer",
        "Rasterizer",
        "`rasterization` of made-up Gaussians, SH degree 3, through autograd, gradients to all inputs. Pairs: tiles of "
        "16x16 that bounding boxes touch. Speed-up: forward+backward, against one thread.",
        ("Gaussians", "image", "pairs", "instructions", "threads", "forward ms", "forward+backward ms", "speed-up x"),
    )
    cases = [(size, settings.isas) for size in (QUICK if settings.quick else EVERYWHERE)]
    if not settings.quick:
        cases += [(size, (settings.best_isa,)) for size in BEST_ONLY]
    for (count, width, height), isas in sorted(cases, key=lambda case: (case[0][1], case[0][0])):
        draw = Draw(MadeUp.of(count, width, height))
        pairs = draw.pairs()
        runs: dict[str, Callable[[], object]] = {}
        for isa in isas:
            for threads in settings.threads:
                runs[f"{isa} {threads} f"] = with_threads(threads, draw.without_gradients, isa)
                runs[f"{isa} {threads} b"] = with_threads(threads, draw.backward, isa)
        found = medians(runs, settings)
        for isa in isas:
            single = found[f"{isa} {settings.threads[0]} b"]
            for threads in settings.threads:
                both = found[f"{isa} {threads} b"]
                speed_up = single / both if settings.threads[0] == 1 and threads > 1 else None
                table.add(count, f"{width}x{height}", pairs, isa, threads, found[f"{isa} {threads} f"], both, speed_up)
    return table


def against_torch(settings: Settings) -> Table:
    table = Table(
        "torch",
        "Rasterizer against torch",
        "The same image by torch operations and autograd, tile by tile (`benchmarks/torch_rasterizer.py`). Ratio: how "
        "many times as long torch takes.",
        ("Gaussians", "image", "threads", "what", "ms", "torch ms", "ratio x", "PSNR between them"),
    )
    for count, width, height in QUICK if settings.quick else ((20_000, 480, 270),):
        scene = MadeUp.of(count, width, height)
        draw = Draw(scene)
        leaves = scene.leaves()

        def by_torch(scene: MadeUp = scene, leaves: tuple[Tensor, ...] = leaves) -> Tensor:
            return torch_rasterization(*leaves, scene.viewmat, scene.K, scene.width, scene.height, scene.sh_degree)

        def forward(by_torch: Callable[[], Tensor] = by_torch) -> None:
            with torch.no_grad():
                by_torch()

        def backward(by_torch: Callable[[], Tensor] = by_torch, draw: Draw = draw) -> None:
            by_torch().backward(draw.outer[0])

        with torch.no_grad():
            error = float((draw.forward()[0][0] - by_torch()).square().mean())
        for threads in settings.threads:
            found = medians(
                {
                    "forward": with_threads(threads, draw.without_gradients),
                    "torch forward": with_threads(threads, forward),
                    "forward+backward": with_threads(threads, draw.backward),
                    "torch forward+backward": with_threads(threads, backward),
                },
                settings,
            )
            for what in ("forward", "forward+backward"):
                ours, theirs = found[what], found[f"torch {what}"]
                psnr = -10.0 * float(np.log10(max(error, 1e-12)))
                table.add(count, f"{width}x{height}", threads, what, ours, theirs, ratio(theirs, ours), psnr)
    return table


def requests(settings: Settings) -> Table:
    count, width, height = (2_000, 64, 48) if settings.quick else (50_000, 480, 270)
    table = Table(
        "statistics",
        "What requested results cost",
        f"Forward+backward with what is asked for, against the plain call: {count:,} Gaussians, {width}x{height}, "
        f"{settings.best_isa}, {settings.most_threads} threads. Images that are asked for are derived, too.",
        ("asked for", "ms", "plain ms", "cost x"),
    )
    draw = Draw(MadeUp.of(count, width, height))
    runs: dict[str, Callable[[], object]] = {"": draw.backward}
    for name, arguments in REQUESTS.items():
        runs[name] = lambda arguments=arguments: draw.backward(**arguments)  # type: ignore[misc]
    with using(settings.most_threads, settings.best_isa):
        found = medians(runs, settings)
    for name in REQUESTS:
        table.add(name, found[name], found[""], found[name] / found[""])
    return table


# Memory is measured in processes of their own: a peak cannot be told from what was there before.

_CHILD = """
import json, sys
import torch
from benchmarks.rasterizer import Draw
from benchmarks.scene import MadeUp
from gsbench.bench.memory import peak_host_bytes, reset_peak
count, width, height, coverage, what, threads = json.loads(sys.argv[1])
torch.set_num_threads(threads)
Draw(MadeUp.of(1000, width, height)).backward()  # what the library takes once
draw = Draw(MadeUp.of(count, width, height, coverage=coverage))
reset_peak(torch.device("cpu"))
before = peak_host_bytes()
draw.backward() if what == "forward+backward" else draw.without_gradients()
print(json.dumps([peak_host_bytes() - before, draw.pairs()]))
"""


def memory(settings: Settings) -> Table:
    table = Table(
        "memory",
        "Memory of the rasterizer",
        "Peak of resident memory above the inputs, measured in a process of its own for several numbers of Gaussians "
        "and sizes of them, and split by least squares into parts that grow with Gaussians and with pairs. Results and "
        "gradients of the inputs are included: 48 bytes per Gaussian forward, and 236 more for the gradients at SH "
        "degree 3. Buffers of the pool are up to a quarter larger than asked for.",
        ("what", "bytes per Gaussian", "bytes per pair", "largest deviation %", "largest peak MB"),
    )
    width, height = 1600, 1060
    counts = (20_000, 40_000) if settings.quick else (300_000, 900_000)
    for what in ("forward",) if settings.quick else ("forward", "forward+backward"):
        rows, peaks = [], []
        for count in counts:
            for coverage in (0.1, 0.8):
                task = json.dumps([count, width, height, coverage, what, settings.most_threads])
                output = subprocess.run(
                    [sys.executable, "-c", _CHILD, task], check=True, capture_output=True, text=True, timeout=600
                ).stdout
                peak, pairs = json.loads(output)
                rows.append((count, pairs, width * height))
                peaks.append(peak)
        a, b = np.array(rows, np.float64), np.array(peaks, np.float64)
        # What grows with pixels is known: image, alpha, and their gradients.
        known = a[:, 2] * (16 if what == "forward" else 32)
        weights = 1 / b  # relative deviations count
        (per_gaussian, per_pair), *_ = np.linalg.lstsq(a[:, :2] * weights[:, None], (b - known) * weights, rcond=None)
        fitted = a[:, :2] @ [per_gaussian, per_pair] + known
        deviation = float(np.abs(fitted / b - 1).max())
        table.add(what, round(per_gaussian), round(per_pair, 1), 100 * deviation, max(peaks) / 1e6)
    return table
