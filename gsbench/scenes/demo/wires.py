"""Thin structures: bundles of rods and of rings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from gsbench.scenes.demo.shapes import FAR, NEAR, Bounded, Point
from gsbench.scenes.demo.vectors import Floats, Index, Rays, Vec, stack

#: Steps of sphere tracing; rays that graze a ring and have not arrived by then count as passing it.
STEPS: Final = 28
#: A ray has arrived when it is this near (meters).
ARRIVED: Final = 3e-4


@dataclass(frozen=True)
class Rods(Bounded):
    """Straight rods with round ends (capsules): spokes, stems, buds. `ends` holds (from, to, radius) of each."""

    ends: tuple[tuple[Point, Point, float], ...]

    @cached_property
    def bound(self) -> tuple[Point, float]:
        """See `Shape.bound`."""
        corners = np.array([p for a, b, _ in self.ends for p in (a, b)])
        center = (corners.min(axis=0) + corners.max(axis=0)) / 2
        reach = max(
            math.sqrt(sum((p[i] - float(center[i])) ** 2 for i in range(3))) + r
            for a, b, r in self.ends
            for p in (a, b)
        )
        return (float(center[0]), float(center[1]), float(center[2])), reach + 1e-4

    @cached_property
    def _columns(self) -> tuple[Vec, Vec, Floats]:
        """Start relative to the bound's center, extent and radius of each rod, as columns [K, 1]."""
        c, _ = self.bound
        starts = stack([(a[0] - c[0], a[1] - c[1], a[2] - c[2]) for a, _, _ in self.ends])
        extents = stack([(b[0] - a[0], b[1] - a[1], b[2] - a[2]) for a, b, _ in self.ends])
        return starts, extents, np.array([r for _, _, r in self.ends], np.float32)[:, None]

    def hit_near(self, rays: Rays, start: Floats) -> Floats:
        """See `Bounded.hit_near`: the round wall if the ray meets it between the ends, else the nearer end's ball."""
        a, extent, radius = self._columns
        o, d = rays.origin, rays.direction
        oa = o - a
        ee, ed, eo = extent.dot(extent), extent.dot(d), extent.dot(oa)
        do, oo = d.dot(oa), oa.dot(oa)
        qa = np.maximum(ee - ed * ed, 1e-12)
        qb = ee * do - eo * ed
        qc = ee * (oo - radius * radius) - eo * eo
        disc = qb * qb - qa * qc
        wall = (-qb - np.sqrt(np.maximum(disc, 0.0))) / qa
        along = eo + wall * ed
        on_wall = (along > 0.0) & (along < ee)
        # The balls at the ends: same quadratic with the direction's own length 1.
        first = along <= 0.0
        bb = np.where(first, do, do - ed)
        cc = np.where(first, oo, oo - 2.0 * eo + ee) - radius * radius
        ball_disc = bb * bb - cc
        ball = -bb - np.sqrt(np.maximum(ball_disc, 0.0))
        t = np.where(on_wall, wall, ball)
        valid = (disc >= 0.0) & (np.where(on_wall, disc, ball_disc) > 0.0)
        found: Floats = np.where(valid & (t > start + NEAR), t, FAR).min(axis=0)
        return found

    def _nearest(self, p: Vec) -> tuple[Vec, Index]:
        """Offset of points from the axis of the rod on whose surface they lie, and that rod's number."""
        a, extent, radius = self._columns
        q = p - Vec.of(*self.bound[0]) - a
        along = np.clip(extent.dot(q) / np.maximum(extent.dot(extent), 1e-12), 0.0, 1.0)
        offset = q - extent * along
        rod = np.abs(offset.length() - radius).argmin(axis=0)
        pick = (rod, np.arange(rod.size))
        return Vec(offset.x[pick], offset.y[pick], offset.z[pick]), rod

    def normal(self, p: Vec) -> Vec:
        """See `Shape.normal`."""
        return self._nearest(p)[0].normalized()

    def part(self, p: Vec) -> Index:
        """The number of the rod on which points lie."""
        return self._nearest(p)[1]


@dataclass(frozen=True)
class Rings(Bounded):
    """Rings of round wire (tori). `rings` holds (center, axis of length 1, ring radius, wire radius) of each."""

    rings: tuple[tuple[Point, Point, float, float], ...]

    @cached_property
    def bound(self) -> tuple[Point, float]:
        """See `Shape.bound`."""
        centers = np.array([c for c, _, _, _ in self.rings])
        middle = (centers.min(axis=0) + centers.max(axis=0)) / 2
        reach = max(
            math.sqrt(sum((c[i] - float(middle[i])) ** 2 for i in range(3))) + ring + wire
            for c, _, ring, wire in self.rings
        )
        return (float(middle[0]), float(middle[1]), float(middle[2])), reach + 1e-4

    @cached_property
    def _columns(self) -> tuple[Vec, Vec, Floats, Floats]:
        m, _ = self.bound
        centers = stack([(c[0] - m[0], c[1] - m[1], c[2] - m[2]) for c, _, _, _ in self.rings])
        axes = stack([axis for _, axis, _, _ in self.rings])
        radii = np.array([[ring, wire] for _, _, ring, wire in self.rings], np.float32)
        return centers, axes, radii[:, :1], radii[:, 1:]

    def hit_near(self, rays: Rays, start: Floats) -> Floats:
        """See `Bounded.hit_near`: sphere tracing (Hart 1996), safe steps of the distance to the nearest ring."""
        centers, axes, ring, wire = self._columns
        # With w = o - c: height and squared length along the ray are linear and quadratic in t.
        w = rays.origin - centers
        height0, height1 = axes.dot(w), axes.dot(rays.direction)
        ww, wd = w.dot(w), w.dot(rays.direction)
        # Origins are the points nearest to the bound's center, so rays are inside the bound for t in [-reach, reach].
        o = rays.origin
        reach: Floats = np.sqrt(np.maximum(self.bound[1] ** 2 - o.dot(o), 0.0))
        begin: Floats = np.maximum(start + NEAR, -reach)
        t = begin
        found = np.full(t.shape, FAR, np.float32)
        under_way = np.arange(t.size)
        for step in range(STEPS):
            height = height0 + t * height1
            squared = height * height
            radial = np.sqrt(np.maximum(ww + t * (2.0 * wd + t) - squared, 0.0)) - ring
            gap = (np.sqrt(radial * radial + squared) - wire).min(axis=0)
            t = t + gap
            if step % 4 == 3:
                arrived = np.flatnonzero((gap < ARRIVED) & (t > begin) & (t < reach))
                found[under_way[arrived]] = t[arrived]
                # Only rays that may still arrive go on.
                on = np.flatnonzero((gap >= ARRIVED) & (t < reach))
                under_way, t, begin, reach = under_way[on], t[on], begin[on], reach[on]
                height0, height1, ww, wd = (a[:, on] for a in (height0, height1, ww, wd))
        return found

    def _nearest(self, p: Vec) -> tuple[Vec, Index]:
        """Offset of points from the middle of the wire of the ring on which they lie, and that ring's number."""
        centers, axes, ring, wire = self._columns
        w = p - Vec.of(*self.bound[0]) - centers
        height = axes.dot(w)
        flat = w - axes * height
        offset = w - flat.normalized() * ring
        which = (offset.length() - wire).argmin(axis=0)
        pick = (which, np.arange(which.size))
        return Vec(offset.x[pick], offset.y[pick], offset.z[pick]), which

    def normal(self, p: Vec) -> Vec:
        """See `Shape.normal`."""
        return self._nearest(p)[0].normalized()

    def part(self, p: Vec) -> Index:
        """The number of the ring on which points lie."""
        return self._nearest(p)[1]
