"""Anchor methods: training steps with all terms of the loss, and how long files take to write and to read."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.table import Settings, Table, installed
from gsbench import ArtifactReader, ArtifactWriter, Context, PointCloud, Scene, Trainer, View
from gsbench.hooks import load_plugins, method_class
from gsbench.protocols import GS1600
from gsbench.testing import orbit_cameras

WIDTH, HEIGHT = 304, 540
METHODS = ("hac", "hac++")


def tables(settings: Settings) -> Iterator[Table]:
    if not installed(["gsbench_hac"]):
        return
    load_plugins()
    yield steps(settings)
    yield files(settings)


def made_scene(points: int) -> Scene:
    """A ball of `points` points in front of 8 cameras, with photographs of smooth noise."""
    g = torch.Generator().manual_seed(0)
    xyz = torch.nn.functional.normalize(torch.randn(points, 3, generator=g)) * 0.9
    coarse = torch.rand(8, 3, 34, 19, generator=g)
    photos = torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bicubic").clamp(0, 1) * 255
    views = []
    for camera, photo in zip(orbit_cameras(8, WIDTH, HEIGHT, radius=3.0, fov=45.0), photos, strict=True):
        pixels = photo.permute(1, 2, 0).to(torch.uint8).numpy()
        views.append(
            View(camera.name, camera.viewmat, camera.K, WIDTH, HEIGHT, load_image=lambda p=pixels: np.asarray(p))
        )
    cloud = PointCloud(xyz, torch.zeros(points, 3, dtype=torch.uint8))
    return Scene("bench", "ball", GS1600, views, (), cloud, "")


def steps(settings: Settings) -> Table:
    table = Table(
        "anchor_steps",
        "Training steps of anchor methods",
        f"Whole steps at {WIDTH}x{HEIGHT} with every term of the loss: prefilter, networks, hash grid, rasterizer, "
        "rate of 5 % of the anchors, statistics, optimizer. All anchors are in view; most of their ten offsets live.",
        ("method", "visible anchors", "Gaussians", "threads", "ms", "steps/s", "CPU ms"),
    )
    for method in METHODS:
        for visible in (300,) if settings.quick else (5_000, 12_000):
            for threads in settings.threads:
                table.add(method, visible, *_time_steps(method, visible, threads, settings))
    return table


def _time_steps(method: str, visible: int, threads: int, settings: Settings) -> tuple[int, int, float, float, float]:
    cls = method_class(method)
    opt = cls.optimization(cls.Config(), None)
    # Everything is on from the fourth step, and nothing grows or goes.
    opt.noise_from_iter, opt.rate_from_iter, opt.stat_from_iter, opt.densify_from_iter = 1, 2, 0, opt.iterations
    model = cls.gaussian_model.construct(cls.model_params(voxel_size=1e-4))
    trainer = Trainer(model, made_scene(visible), opt, threads=threads)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for _ in range(6):
            trainer.train_step()
        result = model.render(trainer.cameras.views[0], torch.zeros(3), trainer.pipe)
        assert abs(len(result.visible) - visible) < 0.02 * visible, len(result.visible)
        count, begin, cpu = 0, time.perf_counter(), time.process_time()
        while count < 3 or (time.perf_counter() - begin < settings.seconds / 4 and not settings.quick):
            trainer.train_step()
            count += 1
        seconds = (time.perf_counter() - begin) / count
        used = (time.process_time() - cpu) / count
    finally:
        torch.set_num_threads(before)
    return len(result.neural.rows), threads, 1e3 * seconds, 1 / seconds, 1e3 * used


def files(settings: Settings) -> Table:
    table = Table(
        "anchor_files",
        "Files of anchor methods",
        "From a model to its file and back, on one thread: quantization, choice of the integer networks, contexts and "
        "entropy coding. Anchors lie on a sphere, with attributes drawn at random, so that bytes mean little.",
        ("method", "anchors", "encode ms", "decode ms", "MB"),
    )
    for method in METHODS:
        for anchors in (300,) if settings.quick else (10_000, 100_000, 1_000_000):
            table.add(method, anchors, *_time_files(method, anchors))
    return table


def made_model(method: str, anchors: int) -> tuple[Any, Any]:
    """A model of `anchors` anchors on a sphere, with random attributes, and its config."""
    cls = method_class(method)
    config = cls.Config()
    g = torch.Generator().manual_seed(0)
    xyz = torch.nn.functional.normalize(torch.randn(anchors, 3, generator=g))
    gaussians = cls.gaussian_model.construct(cls.model_params(voxel_size=1e-4))
    gaussians.create_from_points(PointCloud(xyz, torch.zeros(anchors, 3, dtype=torch.uint8)), 1.0)
    with torch.no_grad():
        gaussians._anchor_feat.copy_(torch.randn(gaussians._anchor_feat.shape, generator=g) * 2)
        gaussians._offset.copy_(torch.randn(gaussians._offset.shape, generator=g) * 0.3)
        gaussians._mask.copy_(torch.randn(gaussians._mask.shape, generator=g) * 6)
    gaussians.freeze_box()
    return cls.model_class(gaussians, cls.pipeline_params()), config


def _time_files(method: str, anchors: int) -> tuple[float, float, float]:
    cls = method_class(method)
    model, config = made_model(method, anchors)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "file.gsb"
            context = Context(torch.device("cpu"), 1, 0, Path(folder))
            start = time.perf_counter()
            with ArtifactWriter(path, method, "0") as out:
                cls().encode(model, config, out, context)
            written = time.perf_counter()
            cls.decode(ArtifactReader(path), context)
            read = time.perf_counter()
            size = path.stat().st_size
    finally:
        torch.set_num_threads(before)
    return 1e3 * (written - start), 1e3 * (read - written), size / 1e6
