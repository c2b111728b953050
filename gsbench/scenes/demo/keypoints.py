"""The sparse points of the demo scene, as structure from motion would find them.

Corners are looked for in every photograph. Each is followed to the surface it lies on and from there into the other
photographs that see it, where it is observed with the error of a detector (a few tenths of a pixel) and sometimes
missed. The point is then triangulated from these observations alone. So points lie where there is texture, near
surfaces but not on them, and none lies on a mirror.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from gsbench.scenes.demo.cameras import FOCAL, HEIGHT, WIDTH, Pose
from gsbench.scenes.demo.noise import scatter
from gsbench.scenes.demo.shapes import NEAR
from gsbench.scenes.demo.tracer import Tracer, occluded, trace
from gsbench.scenes.demo.vectors import Floats, Rays, Vec, concatenate

Doubles = npt.NDArray[np.float64]
Longs = npt.NDArray[np.int64]
Photo = npt.NDArray[np.uint8]

#: The strongest corner of each square of this many pixels is kept, if it is strong enough.
CELL: Final = 8
#: Smaller eigenvalue of the structure tensor, in gray levels squared per pixel squared.
MIN_CORNER: Final = 90.0
#: Corners nearer to each other than this share of their distance from the camera are one point.
MERGE: Final = 0.016
#: Observations must be this far from the border (pixels), and a surface must face the camera by this cosine.
BORDER: Final = 3.0
MIN_COSINE: Final = 0.25
#: Share of the observations that a detector finds, and the largest error of each coordinate (pixels).
FOUND: Final = 0.7
ERROR: Final = 0.8
#: Corners on surfaces that mirror this share of the light and more are those of what is mirrored, and move with it.
MIRROR: Final = 0.1
#: Views that must see a point.
MIN_TRACK: Final = 3


@dataclass(frozen=True)
class SparsePoints:
    """Points with their tracks. P points, M observations sorted by point.

    Shapes and units:
        xyz: float64 [P, 3], meters; rgb: uint8 [P, 3], mean color in the views that see it.
        error: float64 [P], mean distance in pixels between observations and projections.
        point, view: int64 [M], which point each observation is of and in which view; xy: float64 [M, 2], pixels.
    """

    xyz: Doubles
    rgb: Photo
    error: Doubles
    point: Longs
    view: Longs
    xy: Doubles


def corners(photo: Photo) -> tuple[Longs, Longs, Doubles]:
    """Rows, columns and strengths of corners: the smaller eigenvalue of the structure tensor (Shi, Tomasi 1994)."""
    gray = photo.astype(np.float64) @ np.array([0.25, 0.5, 0.25])
    gx, gy = np.zeros_like(gray), np.zeros_like(gray)
    gx[:, 1:-1] = (gray[:, 2:] - gray[:, :-2]) / 2
    gy[1:-1] = (gray[2:] - gray[:-2]) / 2

    def window(a: Doubles) -> Doubles:
        padded = np.pad(a, 1)
        rows = padded[:-2] + padded[1:-1] + padded[2:]
        return (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9

    xx, yy, xy = window(gx * gx), window(gy * gy), window(gx * gy)
    strength = (xx + yy) / 2 - np.sqrt((xx - yy) ** 2 / 4 + xy * xy)
    high, wide = HEIGHT // CELL, WIDTH // CELL
    cells = strength[: high * CELL, : wide * CELL].reshape(high, CELL, wide, CELL).swapaxes(1, 2).reshape(-1, CELL**2)
    best = cells.argmax(axis=1)
    top = cells.max(axis=1)
    keep = np.flatnonzero(top > MIN_CORNER)
    rows = keep // wide * CELL + best[keep] // CELL
    columns = keep % wide * CELL + best[keep] % CELL
    return rows, columns, top[keep]


def _on_surfaces(tracer: Tracer, poses: Sequence[Pose], photos: Sequence[Photo]) -> tuple[Vec, Vec]:
    """The places of all corners on surfaces that do not mirror, each once, with the normals towards the camera."""
    places, normals, keys, strengths = [], [], [], []
    steady = np.array([thing.mirror < MIRROR or thing.brushed for thing in tracer.things])
    for pose, photo in zip(poses, photos, strict=True):
        rows, columns, strength = corners(photo)
        rays = pose.rays(columns.astype(np.float32) + np.float32(0.5), rows.astype(np.float32) + np.float32(0.5))
        t, which = trace(tracer.things, rays)
        index = np.flatnonzero(steady[which])
        rays, t, which = rays.at(index), t[index], which[index]
        p, n = rays.point(t), Vec.zeros(index.size)
        for number, thing in enumerate(tracer.things):
            own = np.flatnonzero(which == number)
            if own.size:
                n.put(own, thing.shape.normal(p.at(own)))
        n = n * np.where(n.dot(rays.direction) > 0.0, np.float32(-1.0), np.float32(1.0))
        # Cells whose size doubles with the distance, so that near things get finer ones.
        level = np.searchsorted(np.array([1.0, 2.0, 4.0, 8.0]), t).astype(np.float64)
        size = MERGE * 2.0**level
        key = np.stack([level, *(np.floor(a.astype(np.float64) / size) for a in (p.x, p.y, p.z))], axis=1)
        places.append(p)
        normals.append(n)
        keys.append(key.astype(np.int64))
        strengths.append(strength[index])
    order = np.argsort(-np.concatenate(strengths), kind="stable")
    _, first = np.unique(np.concatenate(keys)[order], axis=0, return_index=True)
    keep = np.sort(order[first])
    return concatenate(places).at(keep), concatenate(normals).at(keep)


def _seen(tracer: Tracer, pose: Pose, p: Vec, n: Vec) -> npt.NDArray[np.bool_]:
    """Whether each place can be seen by a camera."""
    u, v, depth = pose.project(p.array().astype(np.float64))
    inside = (depth > 0) & (u > BORDER) & (u < WIDTH - BORDER) & (v > BORDER) & (v < HEIGHT - BORDER)
    index = np.flatnonzero(inside)
    to_camera = Vec.of(*pose.center) - p.at(index)
    reach = to_camera.length()
    d = to_camera * (1.0 / reach)
    facing = d.dot(n.at(index)) > MIN_COSINE
    index, d, reach = index[facing], d.at(np.flatnonzero(facing)), reach[facing]
    start = p.at(index) + n.at(index) * (2.0 * NEAR)
    seen = np.zeros(p.x.size, np.bool_)
    seen[index] = ~occluded(tracer.things[1:], Rays(start, d), reach)
    return seen


def _errors(point: Longs, view: Longs, axis: int) -> Floats:
    """Error of one coordinate of each observation: the sum of two uniform numbers, at most ERROR."""
    salt = (view * 131 + axis * 61).astype(np.int32)
    place = point.astype(np.int32)
    return (scatter(place, salt) + scatter(place * 3 + 7, salt + 29) - 1.0) * np.float32(ERROR)


def _triangulate(poses: Sequence[Pose], count: int, point: Longs, view: Longs, xy: Doubles) -> Doubles:
    """The point with the least squared distance to the rays of its observations, weighted by 1 / depth^2.

    Weights and rays are those of the first estimate (weights 1); two passes are enough. The 3x3 systems are solved
    by Cramer's rule, whose result does not depend on a LAPACK.
    """
    rotation, centers = np.stack([p.rotation for p in poses]), np.stack([p.center for p in poses])
    x, y = ((xy[:, k] - (WIDTH, HEIGHT)[k] / 2) / FOCAL for k in (0, 1))
    d = rotation[view, 0] * x[:, None] + rotation[view, 1] * y[:, None] + rotation[view, 2]
    d /= np.sqrt(d[:, 0] ** 2 + d[:, 1] ** 2 + d[:, 2] ** 2)[:, None]
    c = centers[view]
    weight = np.ones(len(point))
    result = np.zeros((count, 3))
    for _ in range(2):
        a = np.empty((3, 3, count))
        b = np.zeros((3, count))
        for i in range(3):
            for j in range(3):
                across = (float(i == j) - d[:, i] * d[:, j]) * weight
                a[i, j] = np.bincount(point, across, count)
                b[i] += np.bincount(point, across * c[:, j], count)
        minors = [
            [a[i - 2, j - 2] * a[i - 1, j - 1] - a[i - 2, j - 1] * a[i - 1, j - 2] for j in range(3)] for i in range(3)
        ]
        determinant = a[0, 0] * minors[0][0] + a[0, 1] * minors[0][1] + a[0, 2] * minors[0][2]
        result = np.stack(
            [(minors[0][j] * b[0] + minors[1][j] * b[1] + minors[2][j] * b[2]) / determinant for j in range(3)], axis=1
        )
        offset = result[point] - c
        weight = 1.0 / np.maximum(offset[:, 0] ** 2 + offset[:, 1] ** 2 + offset[:, 2] ** 2, 1e-6)
    return result


def find_points(tracer: Tracer, poses: Sequence[Pose], photos: Sequence[Photo]) -> SparsePoints:
    """All points that at least `MIN_TRACK` views have found."""
    p, n = _on_surfaces(tracer, poses, photos)
    exact = p.array().astype(np.float64)
    count = len(exact)
    views, points, places = [], [], []
    for number, pose in enumerate(poses):
        index = np.flatnonzero(_seen(tracer, pose, p, n)).astype(np.int64)
        view = np.full(index.size, number, np.int64)
        found = scatter(index.astype(np.int32), (view * 37 + 11).astype(np.int32)) < FOUND
        index, view = index[found], view[found]
        u, v, _ = pose.project(exact[index])
        views.append(view)
        points.append(index)
        places.append(np.stack([u + _errors(index, view, 0), v + _errors(index, view, 1)], axis=1))
    view, point, xy = np.concatenate(views), np.concatenate(points), np.concatenate(places)
    enough = np.bincount(point, minlength=count) >= MIN_TRACK
    keep = enough[point]
    order = np.argsort(point[keep], kind="stable")
    view, xy = view[keep][order], xy[keep][order]
    point = (np.cumsum(enough) - 1)[point[keep][order]]
    count = int(enough.sum())

    xyz = _triangulate(poses, count, point, view, xy)
    track = np.bincount(point, minlength=count)
    error, rgb = np.zeros(count), np.zeros((count, 3))
    for number, (pose, photo) in enumerate(zip(poses, photos, strict=True)):
        own = np.flatnonzero(view == number)
        u, v, _ = pose.project(xyz[point[own]])
        error[point[own]] += np.sqrt((u - xy[own, 0]) ** 2 + (v - xy[own, 1]) ** 2)
        rgb[point[own]] += photo[xy[own, 1].astype(np.int64), xy[own, 0].astype(np.int64)]
    mean = np.floor(rgb / track[:, None] + 0.5).astype(np.uint8)
    return SparsePoints(xyz, mean, error / track, point, view, xy)
