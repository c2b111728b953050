"""Metrics, and views at a time: what scoring costs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.scene import MadeUp, photograph
from benchmarks.table import Settings, Table, installed, medians, ratio, using, with_threads
from gsbench import RenderOptions, Splats, View, render
from gsbench.bench.parallel import over_views
from gsbench.bench.score import save_images, score_frames
from gsbench.metrics import psnr, ssim

METRICS = ("psnr", "psnr_channelwise", "ssim")


def tables(settings: Settings) -> Iterator[Table]:
    yield metrics(settings)
    yield views(settings)


def metrics(settings: Settings) -> Table:
    table = Table(
        "metrics",
        "Image metrics",
        "Of a float render against an 8-bit photograph, checks included. Ratio: how many times as long the reference "
        "takes.",
        ("metric", "image", "threads", "ms", "reference", "reference ms", "ratio x"),
    )
    width, height = (64, 48) if settings.quick else (1600, 1060)
    truth = photograph(width, height)
    render = truth.float() / 255.0 + 0.05 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    ours: dict[str, Callable[[], object]] = {"psnr": lambda: psnr(render, truth), "ssim": lambda: ssim(render, truth)}
    references: dict[str, Callable[[], object]] = {}
    if installed(["torchmetrics"]):
        from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

        def reference_psnr() -> object:
            return peak_signal_noise_ratio((render.clamp(0, 1) * 255).round(), truth.float(), data_range=255.0)

        def reference_ssim() -> object:
            x, y = (t.permute(2, 0, 1)[None] for t in (render.clamp(0, 1), truth.float() / 255.0))
            return structural_similarity_index_measure(x, y, sigma=1.5, data_range=1.0)

        references = {"psnr": reference_psnr, "ssim": reference_ssim}
    for threads in settings.threads:
        for name, metric in ours.items():
            runs = {"": with_threads(threads, metric)}
            if name in references:
                runs["torchmetrics"] = with_threads(threads, references[name])
            found = medians(runs, settings)
            other = found.get("torchmetrics")
            label = None if other is None else "torchmetrics"
            table.add(name, f"{width}x{height}", threads, found[""], label, other, ratio(other, found[""]))
    return table


Work = Callable[[], object]


def works(count: int, width: int, height: int, number: int, scratch: Path) -> dict[str, tuple[Work, Work]]:
    """What is done with `number` views: several at a time, and one after the other."""
    scene = MadeUp.of(count, width, height)
    splats = Splats(scene.means, scene.scales.log(), scene.quats, scene.opacities.logit(), scene.sh)
    picture = photograph(width, height).numpy()
    views = []
    for index in range(number):
        viewmat = scene.viewmat.clone()
        viewmat[0, 3] = 0.02 * index
        views.append(View(f"{index}", viewmat, scene.K, width, height, load_image=lambda: np.asarray(picture)))

    def draw(view: View) -> torch.Tensor:
        with torch.no_grad():
            return render(splats, view, RenderOptions()).image

    frames = [scratch / f"{index}.npy" for index in range(number)]
    images = [path.with_suffix(".png") for path in frames]
    for path, view in zip(frames, views, strict=True):
        np.save(path, draw(view).numpy())
    pairs = list(zip(frames, views, strict=True))
    return {
        "render": (lambda: over_views(draw, views, 0), lambda: [draw(view) for view in views]),
        "score": (
            lambda: score_frames(frames, views, METRICS),
            lambda: [score_frames([frame], [view], METRICS) for frame, view in pairs],
        ),
        "write images": (
            lambda: save_images(frames, images),
            lambda: [save_images([frame], [image]) for frame, image in zip(frames, images, strict=True)],
        ),
    }


def views(settings: Settings) -> Table:
    threads = settings.most_threads
    number = 2 * threads
    table = Table(
        "views",
        "Several views at a time",
        f"One view per thread against all {threads} threads in one view after the other; the results are the same "
        "bytes. Scoring is PSNR (both) and SSIM, with frames read from files.",
        ("what", "image", "ms per view", "one after the other ms", "ratio x"),
    )
    for size in ((2_000, 64, 48),) if settings.quick else ((50_000, 480, 270), (200_000, 1600, 1060)):
        with tempfile.TemporaryDirectory() as scratch, using(threads, settings.best_isa):
            for what, (together, apart) in works(*size, number, Path(scratch)).items():
                found = medians({"together": together, "apart": apart}, settings)
                each, alone = found["together"] / number, found["apart"] / number
                table.add(what, f"{size[1]}x{size[2]}", each, alone, ratio(alone, each))
    return table
