"""Training iterations per second of hac at 5,000 and 12,000 visible anchors, with all terms of the loss.

    python benchmarks/anchors.py [--method hac++] [--threads 2] [--visible 5000 12000]

The scene is made on the spot: a textured ball of anchors that every camera sees whole, at 304x540 pixels. What is
measured are whole steps of the trainer: render, loss with rate, backward pass, statistics and optimizer.
"""

from __future__ import annotations

import argparse
import math
import os
import time

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch

from gsbench import PointCloud, Scene, Trainer, View
from gsbench.hooks import load_plugins, method_class
from gsbench.protocols import GS1600
from gsbench.testing import orbit_cameras

WIDTH, HEIGHT = 304, 540


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


def steps_per_second(method: str, visible: int, threads: int, seconds: float) -> tuple[float, float, float]:
    """Steps per second, CPU seconds per step, and Gaussians per view."""
    cls = method_class(method)
    config = cls.Config(voxel_size=1e-4)
    opt = cls.optimization(config, None)
    # Everything is on from the fourth step, and nothing grows or goes.
    opt.noise_from_iter, opt.rate_from_iter, opt.stat_from_iter, opt.densify_from_iter = 1, 2, 0, opt.iterations
    model = cls.gaussian_model.construct(cls.model_params(voxel_size=1e-4))
    trainer = Trainer(model, made_scene(visible), opt, threads=threads)
    torch.set_num_threads(threads)
    for _ in range(10):
        trainer.train_step()
    result = model.render(trainer.cameras.views[0], torch.zeros(3), trainer.pipe)
    assert abs(len(result.visible) - visible) < 0.02 * visible, len(result.visible)
    steps, begin, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - begin < seconds:
        trainer.train_step()
        steps += 1
    wall = time.perf_counter() - begin
    return steps / wall, (time.process_time() - cpu) / steps, float(len(result.neural.rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="hac")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--visible", type=int, nargs="+", default=[5000, 12000])
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    load_plugins()
    for visible in args.visible:
        rate, cpu, gaussians = steps_per_second(args.method, visible, args.threads, args.seconds)
        target = {5000: 20, 12000: 8}.get(visible)
        wanted = "" if target is None or math.isnan(rate) else f" (target {target})"
        print(
            f"{args.method}: {visible:,} visible anchors, {gaussians:,.0f} Gaussians: {rate:.1f} steps/s{wanted}, "
            f"{1e3 * cpu:.1f} ms of CPU per step on {args.threads} threads"
        )


if __name__ == "__main__":
    main()
