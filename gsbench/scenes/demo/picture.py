"""From light to pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from gsbench.scenes.demo.cameras import HEIGHT, WIDTH, Pose
from gsbench.scenes.demo.still_life import Thing
from gsbench.scenes.demo.tracer import Tracer
from gsbench.scenes.demo.vectors import Floats, Rays

#: Where a pixel is sampled: a square grid turned by arctan(1/2), so that edges in either direction get four levels.
SAMPLES: Final = ((0.375, 0.125), (0.875, 0.375), (0.125, 0.625), (0.625, 0.875))
EXPOSURE: Final = 1.25
#: Width and height of the blocks that are traced at once: small enough to look at few things each.
BLOCK: Final = (128, 96)
#: Mirrors are followed this often before the stored surroundings stand in.
BOUNCES: Final = 1


def develop(light: Floats) -> Floats:
    """Radiance to display values in [0, 1]: a soft shoulder, then the sRGB curve.

    The curve is a sum of square roots of square roots (within 0.002 of the standard's), which needs no power function.
    """
    x = light * np.float32(EXPOSURE)
    x = x * (1.0 + x * np.float32(1.0 / 6.0)) / (1.0 + x * np.float32(0.5))
    x = np.clip(x, 0.0, 1.0)
    s1 = np.sqrt(x)
    s2 = np.sqrt(s1)
    s3 = np.sqrt(s2)
    curve = 0.585122381 * s1 + 0.783140355 * s2 - 0.368262736 * s3
    shown: Floats = np.clip(np.where(x < 0.0031308, x * 12.92, curve), 0.0, 1.0)
    return shown


def _in_view(things: Sequence[Thing], pose: Pose, corners: Rays) -> list[int]:
    """Numbers of the things whose bounding sphere meets the cone around the rays of a block's corners."""
    d = corners.direction.array().astype(np.float64)
    axis = d.mean(axis=0)
    axis /= float((axis * axis).sum()) ** 0.5
    cosine = float((d * axis).sum(axis=1).min()) - 1e-6
    sine = (1.0 - cosine * cosine) ** 0.5
    found = []
    for number, thing in enumerate(things):
        center, radius = thing.shape.bound
        offset = np.array(center) - pose.center
        distance = float((offset * offset).sum()) ** 0.5
        if distance > radius:
            # Apart if the angle to the center exceeds the cone's half angle plus arcsin(radius / distance).
            s = radius / distance
            if float((offset * axis).sum()) / distance < cosine * (1.0 - s * s) ** 0.5 - sine * s:
                continue
        found.append(number)
    return found


def render(tracer: Tracer, pose: Pose) -> npt.NDArray[np.uint8]:
    """The photograph from a pose, uint8 [HEIGHT, WIDTH, 3]."""
    picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    across, down = (a.ravel().astype(np.float32) for a in np.meshgrid(np.arange(BLOCK[0]), np.arange(BLOCK[1])))
    for top in range(0, HEIGHT, BLOCK[1]):
        for left in range(0, WIDTH, BLOCK[0]):
            edges = [(left + i * BLOCK[0], top + j * BLOCK[1]) for i in (0, 1) for j in (0, 1)]
            corners = pose.rays(*(np.array([e[k] for e in edges], np.float32) for k in (0, 1)))
            u = np.concatenate([across + np.float32(left + du) for du, _ in SAMPLES])
            v = np.concatenate([down + np.float32(top + dv) for _, dv in SAMPLES])
            light = tracer.radiance(pose.rays(u, v), BOUNCES, _in_view(tracer.things, pose, corners))
            shown = develop(light.array()).reshape(len(SAMPLES), BLOCK[1], BLOCK[0], 3)
            total = shown[0]
            for sample in shown[1:]:
                total = total + sample
            mean = total * np.float32(255.0 / len(SAMPLES)) + np.float32(0.5)
            picture[top : top + BLOCK[1], left : left + BLOCK[0]] = mean.astype(np.uint8)
    return picture
