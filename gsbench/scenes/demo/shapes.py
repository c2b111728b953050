"""Shapes: where rays meet them, which way their surface faces, and charts on which light is stored."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Final

import numpy as np

from gsbench.scenes.demo.vectors import (
    Floats,
    Index,
    Rays,
    Vec,
    from_octahedral,
    from_pseudo_angle,
    octahedral,
    pseudo_angle,
    stack,
)

Point = tuple[float, float, float]

#: A surface is not hit by rays that start nearer to it than this (meters): they start on it.
NEAR: Final = 1e-3
FAR: Final = np.float32(np.inf)


class Shape(ABC):
    """A surface in the world. Lengths are meters, z points up.

    `faces` is the number of unit squares (charts) that cover the surface; 0 where light is not stored on it.
    """

    faces: ClassVar[int] = 0

    @abstractmethod
    def hit(self, rays: Rays) -> Floats:
        """Distance along each ray to the first meeting beyond `NEAR`, infinite where there is none; float32 [N]."""

    @abstractmethod
    def normal(self, p: Vec) -> Vec:
        """Outward unit normal at points of the surface."""

    @property
    @abstractmethod
    def bound(self) -> tuple[Point, float]:
        """Center and radius of a sphere that holds the shape."""

    def local(self, p: Vec) -> Vec:
        """World points in the shape's own frame, in which textures are painted."""
        return p

    def part(self, p: Vec) -> Index:
        """Which of several like parts (rods of a bundle) points lie on."""
        return np.zeros(p.x.shape, np.intp)

    def chart(self, p: Vec) -> tuple[Index, Floats, Floats]:
        """The face and the place (u, v) in its unit square of points of the surface."""
        raise NotImplementedError

    def surface(self, face: int, u: Floats, v: Floats) -> tuple[Vec, Vec]:
        """Inverse of `chart`: points and their normals."""
        raise NotImplementedError


@dataclass(frozen=True)
class Sphere(Shape):
    """A sphere; `turn` (cos, sin) rotates its texture around the vertical."""

    center: Point
    radius: float
    faces = 1

    @property
    def bound(self) -> tuple[Point, float]:
        """See `Shape.bound`."""
        return self.center, self.radius

    def hit(self, rays: Rays) -> Floats:
        """See `Shape.hit`. Uses the distance of the ray from the center, which stays accurate far away."""
        to_center = Vec.of(*self.center) - rays.origin
        along = to_center.dot(rays.direction)
        offset = to_center - rays.direction * along
        depth = np.float32(self.radius**2) - offset.dot(offset)
        half = np.sqrt(np.maximum(depth, 0.0))
        near, far = along - half, along + half
        t = np.where(near > NEAR, near, far)
        return np.where((depth > 0.0) & (t > NEAR), t, FAR)

    def normal(self, p: Vec) -> Vec:
        """See `Shape.normal`."""
        return (p - Vec.of(*self.center)).normalized()

    def local(self, p: Vec) -> Vec:
        """Centered, in units of the radius."""
        return (p - Vec.of(*self.center)) * (1.0 / self.radius)

    def chart(self, p: Vec) -> tuple[Index, Floats, Floats]:
        """Octahedral map."""
        u, v = octahedral(p - Vec.of(*self.center))
        return np.zeros(u.shape, np.intp), u, v

    def surface(self, face: int, u: Floats, v: Floats) -> tuple[Vec, Vec]:
        """Octahedral map."""
        n = from_octahedral(u, v)
        return Vec.of(*self.center) + n * self.radius, n


@dataclass(frozen=True)
class Box(Shape):
    """A cuboid with half-sizes, turned around the vertical by `turn` = (cos, sin). A `room` is seen from inside."""

    center: Point
    half: Point
    turn: tuple[float, float] = (1.0, 0.0)
    room: bool = False
    faces = 6

    @property
    def bound(self) -> tuple[Point, float]:
        """See `Shape.bound`."""
        return self.center, math.sqrt(sum(h * h for h in self.half)) + 1e-4

    def local(self, p: Vec) -> Vec:
        """Centered and turned, in meters."""
        return self._turned(p - Vec.of(*self.center), -1.0)

    def _turned(self, v: Vec, sense: float) -> Vec:
        c, s = self.turn[0], self.turn[1] * sense
        if s == 0.0:
            return v
        return Vec(v.x * c - v.y * s, v.x * s + v.y * c, v.z)

    def hit(self, rays: Rays) -> Floats:
        """See `Shape.hit`: between entering the last of three slabs and leaving the first."""
        o, d = self.local(rays.origin), self._turned(rays.direction, -1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            spans = []
            for origin, direction, half in zip((o.x, o.y, o.z), (d.x, d.y, d.z), self.half, strict=True):
                inverse = 1.0 / direction
                middle, reach = -origin * inverse, np.abs(inverse) * half
                spans.append((middle - reach, middle + reach))
        leave: Floats = np.minimum(np.minimum(spans[0][1], spans[1][1]), spans[2][1])
        if self.room:
            return leave
        enter = np.maximum(np.maximum(spans[0][0], spans[1][0]), spans[2][0])
        return np.where((enter < leave) & (enter > NEAR), enter, FAR)

    def _side(self, p: Vec) -> tuple[Vec, Index]:
        """Local points in units of the half-sizes, and the face 0..5 (-x +x -y +y -z +z) on which they lie."""
        q = self.local(p)
        q = Vec(q.x * (1.0 / self.half[0]), q.y * (1.0 / self.half[1]), q.z * (1.0 / self.half[2]))
        ax, ay, az = np.abs(q.x), np.abs(q.y), np.abs(q.z)
        axis = np.where((ax >= ay) & (ax >= az), 0, np.where(ay >= az, 1, 2))
        positive = np.where(axis == 0, q.x > 0, np.where(axis == 1, q.y > 0, q.z > 0))
        return q, (axis * 2 + positive).astype(np.intp)

    def normal(self, p: Vec) -> Vec:
        """See `Shape.normal`; of a room, towards the inside."""
        _, face = self._side(p)
        sign = np.where(face % 2 == 1, np.float32(1), np.float32(-1)) * np.float32(-1 if self.room else 1)
        zero = np.zeros_like(sign)
        axis = face // 2
        local = Vec(np.where(axis == 0, sign, zero), np.where(axis == 1, sign, zero), np.where(axis == 2, sign, zero))
        return self._turned(local, 1.0)

    def chart(self, p: Vec) -> tuple[Index, Floats, Floats]:
        """One square per side."""
        q, face = self._side(p)
        axis = face // 2
        u, v = np.where(axis == 0, q.y, q.x), np.where(axis == 2, q.y, q.z)
        return face, u * 0.5 + 0.5, v * 0.5 + 0.5

    def surface(self, face: int, u: Floats, v: Floats) -> tuple[Vec, Vec]:
        """One square per side."""
        a, b = u * 2.0 - 1.0, v * 2.0 - 1.0
        side = np.full_like(a, 1.0 if face % 2 else -1.0)
        q = (Vec(side, a, b), Vec(a, side, b), Vec(a, b, side))[face // 2]
        q = Vec(q.x * self.half[0], q.y * self.half[1], q.z * self.half[2])
        p = self._turned(q, 1.0) + Vec.of(*self.center)
        return p, self.normal(p)


@dataclass(frozen=True)
class Disc(Shape):
    """A flat round plate that faces up."""

    center: Point
    radius: float
    faces = 1

    @property
    def bound(self) -> tuple[Point, float]:
        """See `Shape.bound`."""
        return self.center, self.radius

    def local(self, p: Vec) -> Vec:
        """Centered, in meters."""
        return p - Vec.of(*self.center)

    def hit(self, rays: Rays) -> Floats:
        """See `Shape.hit`."""
        o, d = self.local(rays.origin), rays.direction
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            t = -o.z / d.z
            x, y = o.x + t * d.x, o.y + t * d.y
            return np.where((x * x + y * y < np.float32(self.radius**2)) & (t > NEAR), t, FAR)

    def normal(self, p: Vec) -> Vec:
        """See `Shape.normal`."""
        zero = np.zeros_like(p.z)
        return Vec(zero, zero, np.ones_like(p.z))

    def chart(self, p: Vec) -> tuple[Index, Floats, Floats]:
        """Seen from above."""
        q, scale = self.local(p), 0.5 / self.radius
        return np.zeros(p.x.shape, np.intp), q.x * scale + 0.5, q.y * scale + 0.5

    def surface(self, face: int, u: Floats, v: Floats) -> tuple[Vec, Vec]:
        """Seen from above; corners of the square lie beyond the rim, where nothing looks them up."""
        q = Vec((u - 0.5) * (2.0 * self.radius), (v - 0.5) * (2.0 * self.radius), np.zeros_like(u))
        p = q + Vec.of(*self.center)
        return p, self.normal(p)


class Bounded(Shape):
    """A shape that is costly to meet: only rays that meet a sphere around it are tried.

    They are handed on with their origin moved to where they pass the center, which keeps float32 accurate
    for wires of a few millimeters seen from meters away.
    """

    @abstractmethod
    def hit_near(self, rays: Rays, start: Floats) -> Floats:
        """As `hit`, for rays whose origins (relative to the bound's center) may lie behind `start` + NEAR."""

    def hit(self, rays: Rays) -> Floats:
        """See `Shape.hit`."""
        center, radius = self.bound
        relative = rays.origin - Vec.of(*center)
        passing = -relative.dot(rays.direction)
        nearest = relative + rays.direction * passing
        near = (nearest.dot(nearest) < np.float32(radius**2)) & (passing > -radius)
        index = np.flatnonzero(near)
        t = np.full(len(rays), FAR, np.float32)
        if index.size:
            shift = passing[index]
            found = self.hit_near(Rays(nearest.at(index), rays.direction.at(index)), -shift)
            t[index] = found + shift
        return t


@dataclass(frozen=True)
class Lathe(Bounded):
    """A surface of revolution around a vertical axis, open at both ends: a vase.

    The squared radius over the height is a uniform quadratic B-spline of `radii` squared, so the surface is smooth
    and each piece of it is a quadric, which a ray meets where a quadratic vanishes.
    """

    base: Point
    height: float
    radii: tuple[float, ...]
    faces = 1

    @cached_property
    def bound(self) -> tuple[Point, float]:
        """See `Shape.bound`."""
        half, reach = self.height / 2, max(self.radii)
        return (self.base[0], self.base[1], self.base[2] + half), math.sqrt(half * half + reach * reach)

    @cached_property
    def _pieces(self) -> tuple[Vec, Floats, Floats]:
        """Coefficients (x + y z + z z^2) of the squared radius by piece, and its range of z; z from the middle."""
        q = [r * r for r in self.radii]
        count = len(q) - 2
        step = self.height / count
        rows, low, high = [], [], []
        for i in range(count):
            # 1/2 [(q0 + q1) + 2 (q1 - q0) s + (q0 - 2 q1 + q2) s^2] with s = (z - z0) / step in [0, 1].
            z0 = i * step - self.height / 2
            c0, c1, c2 = (q[i] + q[i + 1]) / 2, (q[i + 1] - q[i]) / step, (q[i] - 2 * q[i + 1] + q[i + 2]) / 2 / step**2
            rows.append((c0 - c1 * z0 + c2 * z0 * z0, c1 - 2 * c2 * z0, c2))
            low.append(z0)
            high.append(z0 + step)
        return stack(rows), np.array(low, np.float32)[:, None], np.array(high, np.float32)[:, None]

    def hit_near(self, rays: Rays, start: Floats) -> Floats:
        """See `Bounded.hit_near`."""
        poly, low, high = self._pieces
        o, d = rays.origin, rays.direction
        a = d.x * d.x + d.y * d.y - poly.z * (d.z * d.z)
        b = o.x * d.x + o.y * d.y - d.z * (0.5 * poly.y + poly.z * o.z)
        c = o.x * o.x + o.y * o.y - (poly.x + o.z * (poly.y + poly.z * o.z))
        disc = b * b - a * c
        q = -(b + np.copysign(np.sqrt(np.maximum(disc, 0.0)), b))
        best = np.full(len(rays), FAR, np.float32)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            for t in (q / a, c / q):
                z = o.z + t * d.z
                t = np.where((disc > 0.0) & (z >= low) & (z < high) & (t > start + NEAR), t, FAR)
                best = np.minimum(best, t.min(axis=0))
        return best

    def _radius_terms(self, z: Floats) -> tuple[Floats, Floats]:
        """Squared radius and half its slope at heights z above the middle."""
        poly, low, _ = self._pieces
        piece = np.clip(((z - low[0, 0]) * (len(low) / self.height)).astype(np.int32), 0, len(low) - 1)
        c0, c1, c2 = (c[:, 0][piece] for c in (poly.x, poly.y, poly.z))
        return c0 + z * (c1 + c2 * z), 0.5 * c1 + c2 * z

    def local(self, p: Vec) -> Vec:
        """Relative to the middle of the axis, in meters."""
        return p - Vec.of(*self.bound[0])

    def normal(self, p: Vec) -> Vec:
        """See `Shape.normal`."""
        q = self.local(p)
        return Vec(q.x, q.y, -self._radius_terms(q.z)[1]).normalized()

    def chart(self, p: Vec) -> tuple[Index, Floats, Floats]:
        """Unrolled."""
        q = self.local(p)
        return np.zeros(q.x.shape, np.intp), pseudo_angle(q.x, q.y), q.z / self.height + 0.5

    def surface(self, face: int, u: Floats, v: Floats) -> tuple[Vec, Vec]:
        """Unrolled."""
        x, y = from_pseudo_angle(u)
        z = (v - 0.5) * self.height
        r = np.sqrt(np.maximum(self._radius_terms(z)[0], 0.0))
        p = Vec(x * r, y * r, z) + Vec.of(*self.bound[0])
        return p, self.normal(p)
