"""Light the scene: lamps with soft shadows, and light that has been scattered once or more.

Matt surfaces look the same from everywhere, so the light on them is computed once and stored, noise and all, and
every view shows the same scene. Mirrors and highlights are traced per view.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from gsbench.scenes.demo.lightmaps import LightMap, Probe, centers, directions
from gsbench.scenes.demo.noise import scatter
from gsbench.scenes.demo.shapes import NEAR, Shape
from gsbench.scenes.demo.still_life import FILL, KEY, LAMPS, Lamp, Thing
from gsbench.scenes.demo.tracer import Tracer, occluded
from gsbench.scenes.demo.vectors import Floats, Ints, Rays, Vec, circle

#: Rays that are traced at once: large enough to hide the cost of a NumPy call, small enough for the cache.
WAVE: Final = 1 << 15
#: Side of the grid of points on a lamp.
KEY_GRID: Final = 4
FILL_GRID: Final = 5
#: Directions in which indirect light is gathered.
GATHER: Final = 72
#: Light scattered twice and more, from that scattered once: a geometric series for rooms that reflect 45 %.
LATER_BOUNCES: Final = 1.8
#: Only the first things of the scene (room, table) surround a probe; the others would stand in its way.
STAGE: Final = 2


@dataclass(frozen=True)
class _Patch:
    """Points on a surface that receive light, with their normals."""

    points: Vec
    normals: Vec

    def __len__(self) -> int:
        return self.points.x.size


def _patch(shape: Shape, texels: int) -> _Patch:
    u, v = centers(texels)
    parts = [shape.surface(face, u, v) for face in range(shape.faces)]
    join = [np.concatenate([getattr(p[k], axis) for p in parts]) for k in range(2) for axis in "xyz"]
    return _Patch(Vec(*join[:3]), Vec(*join[3:]))


#: Light that arrives at points, for the numbers of the point and of the sample.
_Light = Callable[[_Patch, Ints, Ints], Vec]


def _accumulate(patch: _Patch, samples: int, light: _Light) -> Floats:
    """Mean over samples of the light at M points; float32 [3, M].

    Several samples go into a wave; they are added one after the other, so the sum does not depend on the waves.
    """
    count = len(patch)
    total = np.zeros((3, count), np.float32)
    group = max(1, WAVE // count)
    for first in range(0, samples, group):
        size = min(group, samples - first)
        tiled = [np.tile(a, size) for v in (patch.points, patch.normals) for a in (v.x, v.y, v.z)]
        point = np.tile(np.arange(count, dtype=np.int32), size)
        sample = np.repeat(np.arange(first, first + size, dtype=np.int32), count)
        values = light(_Patch(Vec(*tiled[:3]), Vec(*tiled[3:])), point, sample)
        for channel, value in enumerate((values.x, values.y, values.z)):
            for row in value.reshape(size, count):
                total[channel] += row
    return total * np.float32(1.0 / samples)


def _from_lamp(things: Sequence[Thing], lamp: Lamp, grid: int) -> _Light:
    """Light from one place of the lamp's grid, jittered by point: L A cos cos' / (pi r^2) where nothing is between."""
    area = 4.0 * lamp.half[0] * lamp.half[1]

    def light(patch: _Patch, point: Ints, sample: Ints) -> Vec:
        row, column = sample // grid, sample % grid
        x = (column + scatter(point, sample)) * np.float32(2.0 / grid) - 1.0
        y = (row + scatter(point + 128, sample + 77)) * np.float32(2.0 / grid) - 1.0
        to_lamp = Vec(
            lamp.center[0] + lamp.half[0] * x - patch.points.x,
            lamp.center[1] + lamp.half[1] * y - patch.points.y,
            lamp.center[2] - patch.points.z,
        )
        distance = np.maximum(to_lamp.length(), 1e-3)
        d = to_lamp * (1.0 / distance)
        cosine = d.dot(patch.normals)
        index = np.flatnonzero((cosine > 0.0) & (d.z > 0.0))
        strength = np.zeros(len(patch), np.float32)
        if index.size:
            start = patch.points.at(index) + patch.normals.at(index) * NEAR
            free = ~occluded(things[1:], Rays(start, d.at(index)), distance[index] * 0.999)
            r = distance[index]
            hood = np.clip((d.z[index] - lamp.beam[1]) * (1.0 / (lamp.beam[0] - lamp.beam[1])), 0.0, 1.0)
            strength[index] = free * hood * cosine[index] * d.z[index] * np.float32(area / math.pi) / (r * r)
        return Vec.of(*lamp.radiance) * strength

    return light


def _sphere_points(count: int) -> Vec:
    """Evenly spread directions (a Fibonacci spiral)."""
    rows = []
    for k in range(count):
        z = 1.0 - (2.0 * k + 1.0) / count
        c, s = circle(k * 0.6180339887498949 % 1.0)
        r = math.sqrt(1.0 - z * z)
        rows.append((c * r, s * r, z))
    table = np.array(rows, np.float32)
    return Vec(table[:, 0], table[:, 1], table[:, 2])


def _gathered(tracer: Tracer, count: int) -> _Light:
    """Light scattered by the surroundings: directions normal + point of the unit sphere follow the cosine law."""
    spread = _sphere_points(count)

    def light(patch: _Patch, point: Ints, sample: Ints) -> Vec:
        d = (patch.normals + spread.at(sample.astype(np.intp)) * 0.999).normalized()
        return tracer.scattered(Rays(patch.points + patch.normals * (2.0 * NEAR), d))

    return light


def _probe(stage: Tracer, shape: Shape) -> Probe:
    """The light around the middle of a shape, not below 15 cm above the table."""
    x, y, z = shape.bound[0]
    origin = Vec.of(x, y, max(z, 0.15))

    def around(texels: int) -> _Patch:
        d = directions(texels)
        return _Patch(origin + d * 0.0, d)

    spread = _sphere_points(6)

    def seen(patch: _Patch, point: Ints, sample: Ints) -> Vec:
        d = patch.normals + spread.at(sample.astype(np.intp)) * 0.09
        return stage.scattered(Rays(patch.points, d.normalized()), lamps=5.0)

    mirror = _accumulate(around(24), 6, seen)
    matt_patch = around(10)
    matt = _accumulate(matt_patch, 48, _gathered(stage, 48)) * np.float32(LATER_BOUNCES)
    for lamp in LAMPS:
        matt += _accumulate(matt_patch, 9, _from_lamp(stage.things[:1], lamp, 3))
    return Probe(mirror, 24, matt, 10)


def light(things: Sequence[Thing]) -> Tracer:
    """Compute the stored light of the scene.

    The key lamp is small and casts sharp shadows, so its light is computed for every texel. The light of the fill lamp
    and of the surroundings is smooth, so it is computed for a third of the texels in each direction.
    """
    lit = {number: thing for number, thing in enumerate(things) if thing.texels}
    coarse = {number: max(8, thing.texels // 3) for number, thing in lit.items()}
    key, fill = _from_lamp(things, KEY, KEY_GRID), _from_lamp(things, FILL, FILL_GRID)
    direct = {
        n: LightMap(t.shape, _accumulate(_patch(t.shape, t.texels), KEY_GRID**2, key), t.texels) for n, t in lit.items()
    }
    smooth = {n: _accumulate(_patch(t.shape, coarse[n]), FILL_GRID**2, fill) for n, t in lit.items()}

    def maps() -> list[LightMap | None]:
        return [direct[n].plus(smooth[n], coarse[n]) if n in lit else None for n in range(len(things))]

    stage = Tracer(things[:STAGE], maps()[:STAGE], ())
    probes = [_probe(stage, thing.shape) for thing in things]
    scattered = _gathered(Tracer(things, maps(), probes), GATHER)
    for n, t in lit.items():
        once = _accumulate(_patch(t.shape, coarse[n]), GATHER, scattered)
        smooth[n] = smooth[n] + once * np.float32(LATER_BOUNCES)
    return Tracer(things, maps(), probes)
