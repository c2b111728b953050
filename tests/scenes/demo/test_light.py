"""The light of the demo: charts and maps, lamps, mirrors, the tone curve; against float64 and known optics."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gsbench.scenes.demo import lighting, lightmaps, noise, paints, picture, vectors
from gsbench.scenes.demo.lightmaps import LightMap, Probe
from gsbench.scenes.demo.shapes import Box, Disc, Sphere
from gsbench.scenes.demo.still_life import Lamp, Thing
from gsbench.scenes.demo.tracer import Tracer, occluded, trace
from gsbench.scenes.demo.vectors import Rays, Vec

ROOM = Thing("room", Box((0.0, 0.0, 1.0), (5.0, 5.0, 2.0), room=True), paints.plain((0.5, 0.4, 0.3)))
PLATE = Thing("plate", Disc((0.0, 0.0, 0.0), 1.0), paints.plain((0.6, 0.6, 0.6)), texels=12)
LAMP = Lamp((0.5, 0.2, 3.0), (0.4, 0.3), (9.0, 6.0, 3.0), (0.01, 0.0))


def unit(rng: np.random.Generator, count: int) -> Vec:
    d = rng.normal(size=(count, 3))
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    return Vec(*d.astype(np.float32).T.copy())


def test_octahedral_map_and_its_inverse() -> None:
    d = unit(np.random.default_rng(1), 1000)
    u, v = vectors.octahedral(d)
    assert (u >= 0).all()
    assert (u <= 1).all()
    np.testing.assert_allclose(vectors.from_octahedral(u, v).array(), d.array(), atol=1e-6)


def test_turns_are_angles() -> None:
    angle = np.linspace(-math.pi + 1e-3, math.pi - 1e-3, 2001)
    x, y = (3.7 * np.cos(angle)).astype(np.float32), (3.7 * np.sin(angle)).astype(np.float32)
    np.testing.assert_allclose(vectors.turns(x, y), 0.5 + angle / (2 * math.pi), atol=1.2e-4)
    a = vectors.pseudo_angle(x, y)
    assert (np.diff(a) > 0).all()
    ux, uy = vectors.from_pseudo_angle(a)
    np.testing.assert_allclose(np.arctan2(uy, ux), angle, atol=1e-5)


@pytest.mark.parametrize("texels", [1, 2, 7])
def test_bilinear_maps_keep_values_at_centers_and_ramps(texels: int) -> None:
    u, v = lightmaps.centers(texels)
    table = np.stack([2.0 * u - v, np.ones_like(u), np.arange(u.size, dtype=np.float32)]).astype(np.float32)
    face = np.zeros(u.size, np.intp)
    if texels > 1:
        np.testing.assert_allclose(lightmaps.bilinear(table, texels, face, u, v).array().T, table, atol=1e-2)
        s, t = (np.random.default_rng(2).uniform(0.5 / texels, 1 - 0.5 / texels, 50).astype(np.float32) for _ in "st")
        ramp = lightmaps.bilinear(table, texels, np.zeros(50, np.intp), s, t)
        np.testing.assert_allclose(ramp.x, 2.0 * s - t, atol=1e-2)
        np.testing.assert_allclose(ramp.y, 1.0, atol=1e-6)


def test_noise_is_smooth_and_within_bounds() -> None:
    u = np.linspace(-40, 300, 20001).astype(np.float32)
    for values in (noise.noise2(u, u * 0.3), noise.noise3(u, u * 0.3, 5 - u), noise.clouds2(u, u * 0.7)):
        assert values.min() >= 0.0
        assert values.max() <= 1.0
        assert 0.4 < values.mean() < 0.6
        assert np.abs(np.diff(values)).max() < 0.15  # a step of 0.017 cells; white noise would jump by 1
    i = np.arange(2000, dtype=np.int32)
    assert len(np.unique(noise.cell(i % 50, i // 50))) > 1900


def test_chips_find_the_nearest_point() -> None:
    u, v = (np.random.default_rng(3).uniform(3, 9, 200).astype(np.float32) for _ in "uv")
    distance, ci, cj = noise.chips(u, v)
    i, j = (a.ravel().astype(np.int32) for a in np.meshgrid(np.arange(1, 12), np.arange(1, 12)))
    x = i + 0.1 + 0.8 * noise.cell(i, j)
    y = j + 0.1 + 0.8 * noise.cell(i + 97, j + 31)
    every = np.hypot(u[:, None] - x, v[:, None] - y)
    np.testing.assert_allclose(distance, every.min(axis=1), atol=1e-5)
    np.testing.assert_array_equal(i[every.argmin(axis=1)], ci)
    np.testing.assert_array_equal(j[every.argmin(axis=1)], cj)


def from_lamp(things: list[Thing], points: Vec, normals: Vec, grid: int = 8) -> np.ndarray:
    patch = lighting._Patch(points, normals)
    return lighting._accumulate(patch, grid * grid, lighting._from_lamp(things, LAMP, grid)).T


def test_light_does_not_depend_on_how_much_is_computed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    p, n = Vec(*rng.uniform(-1, 1, (3, 37)).astype(np.float32)), unit(rng, 37)
    ball = Thing("ball", Sphere((0.0, 0.0, 1.0), 0.6), paints.plain((1, 1, 1)))
    whole = from_lamp([ROOM, ball], p, n)
    monkeypatch.setattr(lighting, "WAVE", 100)
    assert np.array_equal(from_lamp([ROOM, ball], p, n), whole)


def test_direct_light_is_the_integral_over_the_lamp() -> None:
    rng = np.random.default_rng(4)
    p = rng.uniform(-1, 1, (40, 3)) * [1, 1, 0.5]
    n = unit(rng, 40)
    found = from_lamp([ROOM], Vec(*p.astype(np.float32).T.copy()), n)
    # Fine midpoint rule in float64: radiance * integral of cos cos' / (pi r^2) over the rectangle.
    ticks = (np.arange(200) + 0.5) / 200 * 2 - 1
    x, y = np.meshgrid(0.5 + 0.4 * ticks, 0.2 + 0.3 * ticks)
    offset = np.stack([x, y, np.full_like(x, 3.0)], axis=-1).reshape(-1, 3)[None] - p[:, None]
    r = np.linalg.norm(offset, axis=-1)
    cosine = np.maximum((offset * n.array()[:, None]).sum(axis=-1) / r, 0)
    expected = (cosine * offset[..., 2] / r / (math.pi * r * r)).mean(axis=1) * (0.8 * 0.6)
    assert (expected > 1e-3).sum() > 10
    np.testing.assert_allclose(found, expected[:, None] * np.array([9.0, 6.0, 3.0]), atol=0.01 * expected.max() * 9)


def test_shadows_have_soft_edges() -> None:
    ball = Thing("ball", Sphere((0.0, 0.0, 1.0), 0.3), paints.plain((1, 1, 1)))
    x = np.linspace(-1.5, 1.5, 301).astype(np.float32)
    zero = np.zeros_like(x)
    line, up = Vec(x, zero, zero), Vec(zero, zero, zero + 1)
    lit, shaded = from_lamp([ROOM], line, up)[:, 0], from_lamp([ROOM, ball], line, up)[:, 0]
    share = shaded / lit
    assert share.min() == 0.0  # an umbra
    assert share.max() == 1.0
    assert ((share > 0.1) & (share < 0.9)).sum() > 20  # a penumbra
    # The shadow lies on the line from the lamp through the ball.
    assert abs(x[share < 0.5].mean() + 0.25) < 0.05


def test_gathered_light_in_a_uniform_room_is_its_color() -> None:
    """The furnace: where everything around sends the same light, a surface receives that light, whatever it faces."""
    one = np.ones((3, 6 * 4), np.float32)
    light = LightMap(ROOM.shape, one, 2)
    tracer = Tracer([ROOM], [light], [])
    rng = np.random.default_rng(5)
    patch = lighting._Patch(Vec(*rng.uniform(-1, 1, (3, 30)).astype(np.float32)), unit(rng, 30))
    gathered = lighting._accumulate(patch, 32, lighting._gathered(tracer, 32)).T
    np.testing.assert_allclose(gathered, np.tile([0.5, 0.4, 0.3], (30, 1)), rtol=1e-5)


def test_gathered_directions_follow_the_cosine_law() -> None:
    """Over a hemisphere weighted by the cosine, the mean of cos is 2/3 and of cos^2 is 1/2."""
    n = unit(np.random.default_rng(6), 20)
    spread = lighting._sphere_points(2000).array()
    for row in n.array():
        d = row + spread * 0.999
        cosine = (d / np.linalg.norm(d, axis=1, keepdims=True)) @ row
        assert abs(cosine.mean() - 2 / 3) < 0.01
        assert abs((cosine**2).mean() - 1 / 2) < 0.01


def test_a_mirror_shows_what_a_ray_from_its_point_sees() -> None:
    mirror = Thing("mirror", Box((0.0, 0.0, 0.0), (1.0, 1.0, 0.1)), paints.plain((0, 0, 0)), mirror=0.7)
    pattern = Thing("room", ROOM.shape, lambda p, n, part: Vec(0.5 + 0.1 * p.x, 0.5 + 0.1 * p.y, 0.3 + 0 * p.z))
    one = np.ones((3, 6 * 4), np.float32)
    probe = Probe(np.zeros((3, 4), np.float32), 2, np.zeros((3, 4), np.float32), 2)
    tracer = Tracer([pattern, mirror], [LightMap(ROOM.shape, one, 2), None], [probe, probe])
    rng = np.random.default_rng(7)
    target = Vec(*(rng.uniform(-0.9, 0.9, (2, 50)).astype(np.float32)), np.full(50, 0.1, np.float32))
    eye = Vec.of(1.2, -0.7, 2.0)
    d = (target - eye).normalized()
    origin = Vec(*(np.full(50, c, np.float32) for c in (1.2, -0.7, 2.0)))
    seen = tracer.radiance(Rays(origin, d), 1).array()
    straight = tracer.radiance(Rays(target + Vec.of(0, 0, 1e-3), Vec(d.x, d.y, -d.z)), 0).array()
    fresnel = 0.7 + 0.3 * (1 + d.z) ** 5
    np.testing.assert_allclose(seen, straight * fresnel[:, None], rtol=1e-3)
    # Without bounces the probe stands in, which is black here.
    assert tracer.radiance(Rays(origin, d), 0).array().max() == 0.0


def test_only_candidates_are_met() -> None:
    ball = Thing("ball", Sphere((0.0, 0.0, 1.0), 0.3), paints.plain((1, 1, 1)))
    down = Rays(
        Vec(*(np.array([c], np.float32) for c in (0, 0, 2))), Vec(*(np.array([c], np.float32) for c in (0, 0, -1)))
    )
    assert trace([ROOM, PLATE, ball], down)[1].tolist() == [2]
    assert trace([ROOM, PLATE, ball], down, [0, 1])[1].tolist() == [1]
    assert trace([PLATE], Rays(down.origin, -down.direction))[1].tolist() == [-1]
    reach = np.array([0.6], np.float32)
    assert not occluded([ball, PLATE], down, reach)[0]
    assert occluded([ball, PLATE], down, reach + 0.2)[0]


def test_the_tone_curve_is_srgb() -> None:
    light = np.linspace(0, 8, 4001).astype(np.float32)
    shown = picture.develop(light)
    x = light.astype(float) * picture.EXPOSURE
    x = np.minimum(x * (1 + x / 6) / (1 + x / 2), 1.0)
    srgb = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(shown, srgb, atol=0.004)
    assert (np.diff(shown) >= -1e-6).all()
