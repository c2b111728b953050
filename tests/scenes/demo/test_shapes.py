"""Shapes of the demo against their implicit functions, written once more here in float64 from their definitions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.interpolate import BSpline

from gsbench.scenes.demo.shapes import NEAR, Box, Disc, Lathe, Shape, Sphere
from gsbench.scenes.demo.vectors import Rays, Vec
from gsbench.scenes.demo.wires import Rings, Rods

Implicit = Callable[[np.ndarray], np.ndarray]

RADII = (0.2, 0.1, 0.35, 0.3, 0.08, 0.15)
RODS = (
    ((-0.4, 0.1, 0.0), (0.3, 0.2, 0.6), 0.03),
    ((0.2, -0.3, 0.1), (-0.1, 0.3, 0.5), 0.05),
    ((0.0, 0.0, 0.7), (0.0, 0.0, 0.7), 0.1),
)
AXIS = (0.36, 0.48, 0.8)
RINGS = (((0.1, 0.0, 0.2), AXIS, 0.4, 0.03), ((0.0, 0.1, 0.3), (0.0, 0.0, 1.0), 0.3, 0.05))


def sphere(p: np.ndarray) -> np.ndarray:
    return np.linalg.norm(p - [0.1, -0.2, 0.3], axis=-1) - 0.5


def box(p: np.ndarray) -> np.ndarray:
    q = p - [0.1, 0.2, -0.1]
    turned = np.stack([q[..., 0] * 0.8 + q[..., 1] * 0.6, -q[..., 0] * 0.6 + q[..., 1] * 0.8, q[..., 2]], axis=-1)
    return (np.abs(turned) - [0.5, 0.3, 0.2]).max(axis=-1)


def lathe(p: np.ndarray) -> np.ndarray:
    """Distance from the axis minus the radius, whose square is a uniform quadratic B-spline over the height 0.8."""
    count = len(RADII) - 2
    spline = BSpline(np.arange(-2, count + 3) * 0.8 / count, np.square(RADII), 2)
    z = p[..., 2] + 0.1
    radius = np.sqrt(spline(np.clip(z, 0.0, 0.8 - 1e-12)))
    distance = np.hypot(p[..., 0] - 0.2, p[..., 1] + 0.1) - radius
    return np.where((z >= 0.0) & (z < 0.8), distance, np.nan)


def rods(p: np.ndarray) -> np.ndarray:
    gaps = []
    for a, b, radius in RODS:
        start, extent = np.array(a), np.array(b) - np.array(a)
        along = np.clip((p - start) @ extent / max(float(extent @ extent), 1e-12), 0.0, 1.0)
        gaps.append(np.linalg.norm(p - start - along[..., None] * extent, axis=-1) - radius)
    return np.min(gaps, axis=0)


def rings(p: np.ndarray) -> np.ndarray:
    gaps = []
    for center, axis, ring, wire in RINGS:
        w = p - np.array(center)
        height = w @ np.array(axis)
        flat = np.linalg.norm(w - height[..., None] * np.array(axis), axis=-1)
        gaps.append(np.hypot(flat - ring, height) - wire)
    return np.min(gaps, axis=0)


SHAPES: dict[str, tuple[Shape, Implicit]] = {
    "sphere": (Sphere((0.1, -0.2, 0.3), 0.5), sphere),
    "box": (Box((0.1, 0.2, -0.1), (0.5, 0.3, 0.2), (0.8, 0.6)), box),
    "room": (Box((0.1, 0.2, -0.1), (2.5, 2.3, 2.2), (0.8, 0.6), room=True), lambda p: -_room(p)),
    "lathe": (Lathe((0.2, -0.1, -0.1), 0.8, RADII), lathe),
    "rods": (Rods(RODS), rods),
    "rings": (Rings(RINGS), rings),
}


def _room(p: np.ndarray) -> np.ndarray:
    q = p - [0.1, 0.2, -0.1]
    turned = np.stack([q[..., 0] * 0.8 + q[..., 1] * 0.6, -q[..., 0] * 0.6 + q[..., 1] * 0.8, q[..., 2]], axis=-1)
    return (np.abs(turned) - [2.5, 2.3, 2.2]).max(axis=-1)


def random_rays(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, Rays]:
    """Rays from around the shapes towards them; float64 origins and directions, and the same as `Rays`."""
    rng = np.random.default_rng(seed)
    origin = rng.normal(size=(count, 3))
    origin *= rng.uniform(0.9, 1.6, (count, 1)) / np.linalg.norm(origin, axis=1, keepdims=True)
    direction = rng.uniform(-0.45, 0.55, (count, 3)) - origin
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    o, d = origin.astype(np.float32), direction.astype(np.float32)
    return o.astype(float), d.astype(float), Rays(Vec(*o.T.copy()), Vec(*d.T.copy()))


@pytest.mark.parametrize("name", SHAPES)
def test_rays_meet_the_surface_first_where_it_is(name: str) -> None:
    shape, implicit = SHAPES[name]
    origin, direction, rays = random_rays(600, 1)
    t = shape.hit(rays).astype(float)
    reach = 7.0
    # March along each ray in float64 steps of 2 mm and look for the first change of sign.
    steps = np.arange(NEAR, reach, 0.002)
    values = implicit(origin[:, None] + direction[:, None] * steps[:, None])
    crosses = np.diff(np.signbit(values), axis=1) & np.isfinite(values[:, 1:]) & np.isfinite(values[:, :-1])
    first = np.where(crosses.any(axis=1), steps[crosses.argmax(axis=1)], np.inf)

    met = np.isfinite(first)
    assert met.sum() > 60
    hit = np.isfinite(t)
    agree = met & hit
    agree[agree] = np.abs(t[agree] - first[agree] - 0.001) < 0.004
    # Marching misses what is thinner than its step, and a ray that only grazes may be judged either way.
    assert agree.sum() >= 0.985 * met.sum()
    assert (hit & ~met).sum() <= 0.015 * len(t)
    gap = implicit(origin[hit] + direction[hit] * t[hit, None])
    assert np.nanmax(np.abs(gap)) < 5e-4


@pytest.mark.parametrize("name", SHAPES)
def test_normals_are_gradients(name: str) -> None:
    shape, implicit = SHAPES[name]
    origin, direction, rays = random_rays(400, 2)
    t = shape.hit(rays)
    hit = np.flatnonzero(np.isfinite(t))
    p = origin[hit] + direction[hit] * t[hit, None].astype(float)
    n = shape.normal(rays.at(hit).point(t[hit])).array()
    h = 1e-5
    gradient = np.stack([(implicit(p + h * e) - implicit(p - h * e)) / (2 * h) for e in np.eye(3)], axis=1)
    usable = np.isfinite(gradient).all(axis=1)
    gradient = gradient[usable] / np.linalg.norm(gradient[usable], axis=1, keepdims=True)
    agreement = (gradient * n[usable]).sum(axis=1)
    # Near edges and seams the gradient belongs to the neighboring face.
    assert np.quantile(agreement, 0.03) > 0.999
    assert np.abs(np.linalg.norm(n, axis=1) - 1.0).max() < 1e-4


@pytest.mark.parametrize("name", ["sphere", "box", "room", "lathe"])
def test_charts_cover_the_surface_and_are_inverted(name: str) -> None:
    shape, implicit = SHAPES[name]
    rng = np.random.default_rng(3)
    for face in range(shape.faces):
        u, v = (rng.uniform(0.02, 0.98, 300).astype(np.float32) for _ in range(2))
        p, n = shape.surface(face, u, v)
        assert np.nanmax(np.abs(implicit(p.array().astype(float)))) < 1e-5
        found_face, found_u, found_v = shape.chart(p)
        assert (found_face == face).all()
        np.testing.assert_allclose(found_u, u, atol=2e-5)
        np.testing.assert_allclose(found_v, v, atol=2e-5)
        np.testing.assert_allclose(n.array(), shape.normal(p).array(), atol=1e-4)


def test_disc() -> None:
    disc = Disc((0.2, 0.1, -0.3), 0.4)
    origin, direction, rays = random_rays(500, 4)
    t = -(origin[:, 2] + 0.3) / direction[:, 2]
    p = origin + direction * t[:, None]
    inside = np.hypot(p[:, 0] - 0.2, p[:, 1] - 0.1) < 0.4
    expected = np.where(inside & (t > 0), t, np.inf)
    assert np.isfinite(expected).sum() > 50
    np.testing.assert_allclose(disc.hit(rays), expected, atol=1e-5)
    u, v = (np.random.default_rng(5).uniform(0, 1, 100).astype(np.float32) for _ in range(2))
    p, n = disc.surface(0, u, v)
    np.testing.assert_allclose(disc.chart(p)[1:], (u, v), atol=1e-6)
    np.testing.assert_array_equal(n.array(), np.tile([0.0, 0.0, 1.0], (100, 1)))


@pytest.mark.parametrize("name", ["sphere", "box", "lathe", "rods", "rings"])
def test_bounds_hold_the_shape(name: str) -> None:
    shape, _ = SHAPES[name]
    origin, direction, rays = random_rays(600, 6)
    t = shape.hit(rays)
    hit = np.isfinite(t)
    center, radius = shape.bound
    distance = np.linalg.norm(origin[hit] + direction[hit] * t[hit, None] - np.array(center), axis=1)
    assert distance.max() <= radius + 1e-6


def test_rays_that_start_on_a_surface_leave_it() -> None:
    ball = Sphere((0.0, 0.0, 0.0), 0.5)
    u, v = (np.random.default_rng(7).uniform(0.1, 0.9, 200).astype(np.float32) for _ in range(2))
    p, n = ball.surface(0, u, v)
    assert np.isinf(ball.hit(Rays(p, n))).all()
    inwards = ball.hit(Rays(p, -n))
    np.testing.assert_allclose(inwards, 1.0, atol=1e-5)


def test_parts_of_a_bundle() -> None:
    bundle = Rods(RODS)
    for number, (a, b, radius) in enumerate(RODS):
        middle = (np.array(a) + np.array(b)) / 2
        side = np.cross(np.array(b) - np.array(a) + [1e-9, 0, 0], [0.3, 0.5, 0.7])
        p = (middle + radius * side / np.linalg.norm(side)).astype(np.float32)
        assert bundle.part(Vec(*(p[k : k + 1] for k in range(3)))).tolist() == [number]
