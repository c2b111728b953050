"""Random numbers attached to places: the grain of wood, the speckles of stone, the tone of a brick."""

from __future__ import annotations

from typing import Final

import numpy as np

from gsbench.scenes.demo.vectors import Floats, Ints

#: Lattices repeat after this many cells, a power of two.
_PERIOD_2D: Final = 256
_PERIOD_3D: Final = 32


def _lattice(seed: int, count: int) -> Floats:
    """`count` numbers in [0, 1) from the raw 64-bit stream of PCG64, which NumPy keeps stable."""
    raw = np.random.PCG64(seed).random_raw(count)
    return ((raw >> np.uint64(40)).astype(np.float64) / 2.0**24).astype(np.float32)


_PLANE: Final = _lattice(2, _PERIOD_2D**2)
_SPACE: Final = _lattice(3, _PERIOD_3D**3)


def whole(x: Floats) -> Ints:
    """The integer at or below."""
    return np.floor(x).astype(np.int32)


def _floor(x: Floats) -> tuple[Ints, Floats]:
    whole = np.floor(x)
    return whole.astype(np.int32), x - whole


def _ease(t: Floats) -> Floats:
    """Smooth step without kinks at the lattice."""
    return t * t * (3.0 - 2.0 * t)


def cell(i: Ints, j: Ints | int = 0) -> Floats:
    """One number in [0, 1) per pair of integers."""
    place = ((j * 61 & (_PERIOD_2D - 1)) << 8) + (i + j * 17 & (_PERIOD_2D - 1))
    return _PLANE.take(place)


def scatter(i: Ints, j: Ints) -> Floats:
    """As `cell`, for numbers i of 0 and more that run far beyond the lattice."""
    return cell(i, j + (i >> 8) * 7)


def noise2(u: Floats, v: Floats) -> Floats:
    """Smooth noise in [0, 1) with features of size 1."""
    i, s = _floor(u)
    j, t = _floor(v)
    s, t = _ease(s), _ease(t)
    last = _PERIOD_2D - 1
    left, right = i & last, (i + 1) & last
    lower, upper = (j & last) << 8, ((j + 1) & last) << 8
    a, b = _PLANE.take(lower + left), _PLANE.take(lower + right)
    c, d = _PLANE.take(upper + left), _PLANE.take(upper + right)
    a, c = a + (b - a) * s, c + (d - c) * s
    return a + (c - a) * t


def noise3(x: Floats, y: Floats, z: Floats) -> Floats:
    """Smooth noise in space, in [0, 1), with features of size 1."""
    i, r = _floor(x)
    j, s = _floor(y)
    k, t = _floor(z)
    r, s, t = _ease(r), _ease(s), _ease(t)
    last = _PERIOD_3D - 1
    x0, x1 = i & last, (i + 1) & last
    y0, y1 = (j & last) << 5, ((j + 1) & last) << 5
    z0, z1 = (k & last) << 10, ((k + 1) & last) << 10
    planes = []
    for zz in (z0, z1):
        rows = []
        for yy in (y0, y1):
            a, b = _SPACE.take(zz + yy + x0), _SPACE.take(zz + yy + x1)
            rows.append(a + (b - a) * r)
        planes.append(rows[0] + (rows[1] - rows[0]) * s)
    result: Floats = planes[0] + (planes[1] - planes[0]) * t
    return result


def clouds2(u: Floats, v: Floats, octaves: int = 3) -> Floats:
    """Noise over several scales (fractional Brownian motion), in [0, 1)."""
    total, weight, sum_ = np.zeros_like(u), 0.5, 0.0
    for _ in range(octaves):
        total = total + noise2(u, v) * weight
        sum_ += weight
        weight *= 0.5
        u, v = u * 2.03 + 11.3, v * 2.03 + 5.7
    return total * (1.0 / sum_)


def clouds3(x: Floats, y: Floats, z: Floats, octaves: int = 3) -> Floats:
    """The same in space."""
    total, weight, sum_ = np.zeros_like(x), 0.5, 0.0
    for _ in range(octaves):
        total = total + noise3(x, y, z) * weight
        sum_ += weight
        weight *= 0.5
        x, y, z = x * 2.03 + 1.3, y * 2.03 + 5.7, z * 2.03 + 9.1
    return total * (1.0 / sum_)


def tent(x: Floats) -> Floats:
    """A triangle wave of period 1 between 0 (at integers) and 1 (halfway between)."""
    result: Floats = 1.0 - np.abs(2.0 * (x - np.floor(x)) - 1.0)
    return result


def step(x: Floats, edge: float, width: float) -> Floats:
    """0 below the edge, 1 above it, a straight ramp of this width between."""
    result: Floats = np.clip((x - (edge - width / 2)) * (1.0 / width), 0.0, 1.0)
    return result


def chips(u: Floats, v: Floats) -> tuple[Floats, Ints, Ints]:
    """Stone chips (a Voronoi diagram with one jittered point per unit cell).

    Returns the distance to the nearest point and that point's cell.
    """
    i, s = _floor(u)
    j, t = _floor(v)
    best = np.full(u.shape, 9.0, np.float32)
    best_i, best_j = i, j
    for dj in (-1, 0, 1):
        for di in (-1, 0, 1):
            ci, cj = i + di, j + dj
            dx = cell(ci, cj) * 0.8 + np.float32(di + 0.1) - s
            dy = cell(ci + 97, cj + 31) * 0.8 + np.float32(dj + 0.1) - t
            distance = dx * dx + dy * dy
            nearer = distance < best
            best = np.minimum(best, distance)
            best_i, best_j = np.where(nearer, ci, best_i), np.where(nearer, cj, best_j)
    return np.sqrt(best), best_i, best_j
