"""The photographer's path: three rounds at different heights, none of them a perfect circle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from gsbench.scenes.demo.vectors import Floats, Rays, Vec, circle

WIDTH: Final = 256
HEIGHT: Final = 192
#: Pixels; a horizontal field of view of 54 degrees.
FOCAL: Final = 250.0


@dataclass(frozen=True)
class Round:
    """A walk around the table: number of views, start (turns), height range and distance range (meters)."""

    views: int
    start: float
    height: tuple[float, float]
    distance: tuple[float, float]
    aim: float


ROUNDS: Final = (
    Round(20, 0.00, (0.55, 0.85), (2.15, 2.6), 0.22),
    Round(20, 0.02, (1.10, 1.40), (1.95, 2.35), 0.16),
    Round(16, 0.01, (1.70, 2.00), (1.35, 1.75), 0.08),
)
VIEWS: Final = sum(r.views for r in ROUNDS)


@dataclass(frozen=True)
class Pose:
    """A pinhole camera: rotation float64 [3, 3] and translation float64 [3] take world to camera (x right, y down,
    z forward); the principal point is the image's center.
    """

    rotation: npt.NDArray[np.float64]
    translation: npt.NDArray[np.float64]

    @property
    def center(self) -> npt.NDArray[np.float64]:
        """Position in the world."""
        r, t = self.rotation, self.translation
        return np.array([-(r[0, k] * t[0] + r[1, k] * t[1] + r[2, k] * t[2]) for k in range(3)])

    def rays(self, u: Floats, v: Floats) -> Rays:
        """The rays through places in the image, in pixels from its upper left corner."""
        x, y = (
            (u - np.float32(WIDTH / 2)) * np.float32(1.0 / FOCAL),
            (v - np.float32(HEIGHT / 2)) * np.float32(1.0 / FOCAL),
        )
        r = self.rotation.astype(np.float32)
        direction = Vec(*(r[0, k] * x + r[1, k] * y + r[2, k] for k in range(3))).normalized()
        return Rays(Vec(*(np.full(u.shape, c, np.float32) for c in self.center)), direction)

    def project(self, points: npt.NDArray[np.float64]) -> tuple[Floats, Floats, Floats]:
        """Pixel coordinates and depths of world points [N, 3]; float64 [N] each."""
        r, t = self.rotation, self.translation
        x, y, z = (points[:, 0] * r[k, 0] + points[:, 1] * r[k, 1] + points[:, 2] * r[k, 2] + t[k] for k in range(3))
        return FOCAL * x / z + WIDTH / 2, FOCAL * y / z + HEIGHT / 2, z


def _unit(v: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return v * (1.0 / math.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]))


def _cross(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def look_at(eye: tuple[float, float, float], target: tuple[float, float, float]) -> Pose:
    """A camera held upright."""
    position = np.array(eye)
    forward = _unit(np.array(target) - position)
    right = _unit(_cross(forward, np.array([0.0, 0.0, 1.0])))
    rotation = np.stack([right, _cross(forward, right), forward])
    translation = np.array([-(row[0] * position[0] + row[1] * position[1] + row[2] * position[2]) for row in rotation])
    return Pose(rotation, translation)


def _sway(k: int, rate: float) -> float:
    """A slow, irregular change between 0 and 1."""
    return 0.5 + 0.5 * circle(k * rate)[1]


def poses() -> list[Pose]:
    """All cameras, in the order of their names."""
    result = []
    for r in ROUNDS:
        for k in range(r.views):
            c, s = circle(r.start + (k + 0.35 * (_sway(k, 0.37) - 0.5)) / r.views)
            distance = r.distance[0] + (r.distance[1] - r.distance[0]) * _sway(k, 0.29)
            height = r.height[0] + (r.height[1] - r.height[0]) * _sway(k, 0.23)
            aim = (0.12 * (_sway(k, 0.41) - 0.5), 0.12 * (_sway(k, 0.31) - 0.5), r.aim)
            result.append(look_at((distance * c, distance * s, height), aim))
    return result
