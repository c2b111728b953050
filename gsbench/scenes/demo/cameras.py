"""The photographer's path: arcs around the table at four heights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from gsbench.scenes.demo.vectors import Floats, Rays, Vec, circle

WIDTH: Final = 256
HEIGHT: Final = 192
#: Pixels; a horizontal field of view of 51 degrees.
FOCAL: Final = 270.0


@dataclass(frozen=True)
class Row:
    """Views side by side on an arc around the table: their number, height and distance from the table's axis (meters),
    the height they aim at, and whether the photographer walks to the right (with growing angle) or to the left.
    """

    views: int
    height: float
    distance: float
    aim: float
    to_right: bool


#: The middle of the arcs and their length, in turns.
MIDDLE: Final = 0.70
ARC: Final = 0.40
LOW: Final = Row(18, 0.64, 2.20, 0.21, True)
ROWS: Final = (
    Row(14, 0.96, 2.20, 0.14, False),
    Row(13, 1.30, 2.02, 0.12, True),
    Row(11, 1.64, 1.72, 0.08, False),
)
#: The walk begins near the middle of the lowest row, climbs the others, and ends where it began: with every eighth
#: view held out, none of those is at the end of a row, where no other view would be beside it.
BEGIN: Final = 11
VIEWS: Final = LOW.views + sum(r.views for r in ROWS)


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


def _sway(k: int, rate: float, seed: int) -> float:
    """An irregular change between 0 and 1."""
    return 0.5 + 0.5 * circle(k * rate + seed * 0.17)[1]


def _views(row: Row, seed: int) -> list[Pose]:
    """The views of a row in the order of the walk, none of them exactly on the arc."""
    result = []
    for k in range(row.views):
        place = (k + 0.5 + 0.3 * (_sway(k, 0.37, seed) - 0.5)) / row.views - 0.5
        c, s = circle(MIDDLE + ARC * (place if row.to_right else -place))
        distance = row.distance + 0.26 * (_sway(k, 0.29, seed) - 0.5)
        height = row.height + 0.16 * (_sway(k, 0.23, seed) - 0.5)
        aim = (0.12 * (_sway(k, 0.41, seed) - 0.5), 0.12 * (_sway(k, 0.31, seed) - 0.5), row.aim)
        result.append(look_at((distance * c, distance * s, height), aim))
    return result


def poses() -> list[Pose]:
    """All cameras, in the order of their names."""
    low = _views(LOW, 0)
    climb = [pose for number, row in enumerate(ROWS, start=1) for pose in _views(row, number)]
    return [*low[BEGIN:], *climb, *low[:BEGIN]]
