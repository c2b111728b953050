"""A training step and its parts: image loss, Adam, and all together."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.scene import MadeUp, photograph
from benchmarks.table import Settings, Table, installed, medians, ratio, using, with_threads
from gsbench import BaseGaussianModel, OptimizationParams, PointCloud, Scene, Splats, Trainer, View
from gsbench.metrics import psnr
from gsbench.protocols import GS1600
from gsbench.scenes import load_scene, resolve_scenes
from gsbench.training.losses import l1_dssim_loss
from gsbench.training.optim import FusedAdam
from gsbench.training.results import LossPack, RenderResult

LAMBDA = 0.2


def tables(settings: Settings) -> Iterator[Table]:
    yield losses(settings)
    yield optimizers(settings)
    yield iterations(settings)
    if settings.capture is not None:
        yield capture(settings, settings.capture)


# The image loss.


def torch_loss(image: Tensor, target: Tensor) -> Tensor:
    """(1 - lambda) L1 + lambda (1 - SSIM) by torch operations: Gaussian window of 11x11, zeros outside."""
    t = torch.arange(-5, 6, dtype=torch.float32)
    line = torch.exp(-(t**2) / (2 * 1.5**2))
    line = line / line.sum()
    window = line.outer(line).expand(3, 1, 11, 11).contiguous()
    x, y = image.permute(2, 0, 1)[None], target.permute(2, 0, 1)[None]

    def blur(values: Tensor) -> Tensor:
        return torch.nn.functional.conv2d(values, window, padding=5, groups=3)

    mx, my = blur(x), blur(y)
    vx, vy, cxy = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    ssim = ((2 * mx * my + 0.01**2) * (2 * cxy + 0.03**2)) / ((mx**2 + my**2 + 0.01**2) * (vx + vy + 0.03**2))
    return (1 - LAMBDA) * (x - y).abs().mean() + LAMBDA * (1 - ssim.mean())


def torchmetrics_loss(image: Tensor, target: Tensor) -> Tensor:
    """The same with torchmetrics's SSIM, which treats the border in another way."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    x, y = image.permute(2, 0, 1)[None], target.permute(2, 0, 1)[None]
    ssim = structural_similarity_index_measure(x, y, sigma=1.5, data_range=1.0)
    assert isinstance(ssim, Tensor)
    return (1 - LAMBDA) * (x - y).abs().mean() + LAMBDA * (1 - ssim)


def derived(loss: Callable[[Tensor, Tensor], Tensor], image: Tensor, target: Tensor) -> Callable[[], None]:
    """The loss, forward and backward."""

    def run() -> None:
        image.grad = None
        loss(image, target).backward()  # type: ignore[no-untyped-call]

    return run


def losses(settings: Settings) -> Table:
    table = Table(
        "loss",
        "Image loss",
        "L1 and SSIM, forward and backward. Ratio: how many times as long the reference takes.",
        ("image", "instructions", "threads", "ms", "reference", "reference ms", "ratio x"),
    )
    for width, height in ((64, 48),) if settings.quick else ((480, 270), (1600, 1060)):
        target = photograph(width, height).float() / 255.0
        image = (target + 0.05 * torch.randn(target.shape, generator=torch.Generator().manual_seed(0))).contiguous()
        image.requires_grad_()
        references = {"torch": derived(torch_loss, image, target)}
        if installed(["torchmetrics"]):
            references["torchmetrics"] = derived(torchmetrics_loss, image, target)
        ours = derived(lambda x, y: l1_dssim_loss(x, y, LAMBDA)[0], image, target)
        for threads in settings.threads:
            runs = {isa: with_threads(threads, ours, isa) for isa in settings.isas}
            runs |= {name: with_threads(threads, run) for name, run in references.items()}
            found = medians(runs, settings)
            for isa in settings.isas:
                for name in references:
                    cells = (found[isa], name, found[name], ratio(found[name], found[isa]))
                    table.add(f"{width}x{height}", isa, threads, *cells)
    return table


# The optimizer.


def optimizers(settings: Settings) -> Table:
    table = Table(
        "adam",
        "Adam",
        "One step over the tensors of a model (59 values per Gaussian). GB/s: of the seven passes over memory that a "
        "step needs. Ratio: how many times as long the reference takes.",
        ("Gaussians", "instructions", "threads", "ms", "GB/s", "reference", "reference ms", "ratio x"),
    )
    kinds: dict[str, Callable[[list[Tensor]], torch.optim.Optimizer]] = {
        "torch.optim.Adam": lambda p: torch.optim.Adam(p, lr=1e-3, eps=1e-15),
        "torch.optim.Adam(fused=True)": lambda p: torch.optim.Adam(p, lr=1e-3, eps=1e-15, fused=True),
    }
    for count in (1_000,) if settings.quick else (50_000, 1_000_000):
        shapes = ((count, 3), (count, 1, 3), (count, 15, 3), (count, 1), (count, 3), (count, 4))

        def stepper(
            make: Callable[[list[Tensor]], torch.optim.Optimizer], shapes: tuple[tuple[int, ...], ...] = shapes
        ) -> Callable[[], object]:
            parameters = [torch.zeros(shape).requires_grad_() for shape in shapes]
            for parameter in parameters:
                parameter.grad = torch.randn(parameter.shape)
            return make(parameters).step

        ours = stepper(lambda p: FusedAdam(p, lr=1e-3, eps=1e-15))
        references = {name: stepper(make) for name, make in kinds.items()}
        for threads in settings.threads:
            runs = {isa: with_threads(threads, ours, isa) for isa in settings.isas}
            runs |= {name: with_threads(threads, run) for name, run in references.items()}
            found = medians(runs, settings)
            for isa in settings.isas:
                bandwidth = 7 * 4 * 59 * count / found[isa] / 1e6
                for name in references:
                    cells = (found[isa], bandwidth, name, found[name], ratio(found[name], found[isa]))
                    table.add(count, isa, threads, *cells)
    return table


# A whole step.


class TorchParts(BaseGaussianModel):
    """The model with loss and optimizer of torch; the rasterizer stays."""

    def training_setup(self, opt: OptimizationParams) -> None:
        super().training_setup(opt)
        self.optimizer = torch.optim.Adam(self.optimizer.param_groups, lr=0.0, eps=1e-15)

    def loss_func(
        self, viewpoint_cam: View, render_result: RenderResult, opt: OptimizationParams
    ) -> tuple[Tensor, LossPack]:
        target = viewpoint_cam.original_image.permute(1, 2, 0)
        loss = torch_loss(render_result.image, target)
        return loss, LossPack(loss.detach())


def trainer(model: BaseGaussianModel, scene: MadeUp) -> Trainer:
    """A trainer in the middle of its run, with all SH degrees, gathering statistics and never densifying."""
    picture = photograph(scene.width, scene.height).numpy()
    views = [
        View(f"view{i}", scene.viewmat, scene.K, scene.width, scene.height, load_image=lambda: np.asarray(picture))
        for i in range(4)
    ]
    points = PointCloud(scene.means[:4], torch.zeros(4, 3, dtype=torch.uint8))
    splats = Splats(scene.means, scene.scales.log(), scene.quats, scene.opacities.logit(), scene.sh)
    model.create_from_splats(splats, 1.0)
    # Rates of zero keep the scene as it is, so that all steps are alike.
    opt = OptimizationParams(
        iterations=10_000, densify_from_iter=10_000, position_lr_init=1e-30, position_lr_final=1e-30, feature_lr=0.0
    )
    opt.opacity_lr = opt.scaling_lr = opt.rotation_lr = 0.0
    opt.opacity_reset_interval, opt.densify_until_iter = 0, 10_000
    return Trainer(model, Scene("made-up", "box", GS1600, views, (), points, ""), opt)


def iterations(settings: Settings) -> Table:
    table = Table(
        "iteration",
        "A whole training iteration",
        f"Made-up Gaussians and photographs, SH degree 3, {settings.best_isa}: render, loss, backward pass, "
        "statistics and optimizer. The reference has torch's loss and torch.optim.Adam around the same rasterizer.",
        ("Gaussians", "image", "threads", "ms", "render", "loss", "backward", "optimizer", "reference ms", "ratio x"),
    )
    for count, width, height in ((2_000, 64, 48),) if settings.quick else ((50_000, 480, 270), (50_000, 304, 540)):
        scene = MadeUp.of(count, width, height)
        ours, theirs = trainer(BaseGaussianModel(), scene), trainer(TorchParts(), scene)
        for threads in settings.threads:
            before = {row.task: (row.seconds, row.calls) for row in ours.scheduler.timings()}
            with using(threads, settings.best_isa):
                found = medians({"ours": ours.train_step, "torch": theirs.train_step}, settings)
            parts = []
            for name in ("render", "loss", "backward", "optimizer"):
                row = next(row for row in ours.scheduler.timings() if row.task == name)
                seconds, calls = before[name]
                parts.append(1e3 * (row.seconds - seconds) / (row.calls - calls))
            cells = (found["ours"], *parts, found["torch"], ratio(found["torch"], found["ours"]))
            table.add(count, f"{width}x{height}", threads, *cells)
    return table


#: Of a training on a capture.
STEPS, CAP = 2_000, 50_000


def capture(settings: Settings, folder: Path) -> Table:
    steps = 20 if settings.quick else STEPS
    table = Table(
        "capture",
        f"Training on a capture: {steps:,} steps, at most {CAP:,} Gaussians",
        "The default schedule scaled to the steps, once; PSNR is the mean over the held-out views, every eighth.",
        (
            "capture",
            "image",
            "views",
            "threads",
            "seconds",
            "Gaussians",
            "PSNR dB",
            "slowest step ms",
            "median step ms",
        ),
    )
    scene = load_scene(resolve_scenes([f"path:{folder}"])[0])
    opt = OptimizationParams(max_gaussians=CAP).scaled(steps)
    with using(settings.most_threads, settings.best_isa):
        running = Trainer(BaseGaussianModel(), scene, opt)
        times, begin = [], time.perf_counter()
        while running.step < steps:
            started = time.perf_counter()
            running.train_step()
            times.append(1e3 * (time.perf_counter() - started))
        seconds = time.perf_counter() - begin
        with torch.no_grad():
            values = [
                psnr(running.model.render(view, scene.background, running.pipe).image, view.pixels)
                for view in scene.test
            ]
    view = scene.train[0]
    table.add(
        folder.name,
        f"{view.width}x{view.height}",
        len(scene.train),
        settings.most_threads,
        seconds,
        len(running.model),
        round(sum(values) / len(values), 2) if values else None,
        max(times),
        statistics.median(times),
    )
    return table
