"""Stored light: on surfaces (`LightMap`) and around a point (`Probe`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gsbench.scenes.demo.shapes import Shape
from gsbench.scenes.demo.vectors import Floats, Index, Vec, from_octahedral, octahedral


def centers(texels: int) -> tuple[Floats, Floats]:
    """The centers (u, v) of a grid of texels over the unit square, row by row; float32 [texels^2] each."""
    ticks = (np.arange(texels, dtype=np.float32) + np.float32(0.5)) * np.float32(1.0 / texels)
    v, u = np.meshgrid(ticks, ticks, indexing="ij")
    return u.ravel(), v.ravel()


def bilinear(table: Floats, texels: int, face: Index, u: Floats, v: Floats) -> Vec:
    """Interpolate in charts of texels x texels values; `table` is [3, faces * texels^2], clamped at the borders."""
    x = np.clip(u * texels - 0.5, 0.0, texels - 1.001)
    y = np.clip(v * texels - 0.5, 0.0, texels - 1.001)
    i, j = x.astype(np.int32), y.astype(np.int32)
    s, t = x - i.astype(np.float32), y - j.astype(np.float32)
    place = face * (texels * texels) + j * texels + i
    channels = []
    for row in table:
        a, b, c, d = (row.take(place + k) for k in (0, 1, texels, texels + 1))
        a, c = a + (b - a) * s, c + (d - c) * s
        channels.append(a + (c - a) * t)
    return Vec(*channels)


@dataclass(frozen=True)
class LightMap:
    """Light that arrives at a surface, per unit of reflectance: a matt surface of color k looks like k times this.

    `table` is float32 [3, faces * texels^2].
    """

    shape: Shape
    table: Floats
    texels: int

    def at(self, p: Vec) -> Vec:
        """The light at points of the surface."""
        face, u, v = self.shape.chart(p)
        return bilinear(self.table, self.texels, face, u, v)

    def plus(self, table: Floats, texels: int) -> LightMap:
        """With the light of a map of the same surface with other texels added."""
        u, v = centers(self.texels)
        face = np.repeat(np.arange(self.shape.faces), u.size)
        more = bilinear(table, texels, face, np.tile(u, self.shape.faces), np.tile(v, self.shape.faces))
        return LightMap(self.shape, self.table + np.stack([more.x, more.y, more.z]), self.texels)


@dataclass(frozen=True)
class Probe:
    """The light around a point by direction: as a blurred mirror shows it, and as it falls on a matt surface.

    Octahedral maps, float32 [3, texels^2].
    """

    mirror: Floats
    mirror_texels: int
    matt: Floats
    matt_texels: int

    def radiance(self, direction: Vec) -> Vec:
        """What a brushed mirror that faces this way shows."""
        u, v = octahedral(direction)
        return bilinear(self.mirror, self.mirror_texels, np.zeros(u.shape, np.intp), u, v)

    def irradiance(self, normal: Vec) -> Vec:
        """What a matt surface with this normal receives."""
        u, v = octahedral(normal)
        return bilinear(self.matt, self.matt_texels, np.zeros(u.shape, np.intp), u, v)


def directions(texels: int) -> Vec:
    """The directions at the centers of an octahedral map."""
    return from_octahedral(*centers(texels))
