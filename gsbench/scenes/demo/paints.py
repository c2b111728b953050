"""What the surfaces of the demo scene are painted with: procedural textures, linear RGB reflectances.

A `Paint` gets points in the shape's own frame (meters, or radii for spheres), the outward normals, and the number
of the rod or ring for bundles of wires. Features are about two to ten centimeters: a pixel of the rendered views is
about one centimeter wide on the table and two on the walls, and finer detail would only alias.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from gsbench.scenes.demo.noise import cell, clouds2, clouds3, noise2, noise3, step, tent, whole
from gsbench.scenes.demo.vectors import Floats, Index, Vec, choose, mix, turns

Paint = Callable[[Vec, Vec, Index], Vec]
RGB = tuple[float, float, float]


def color(rgb: RGB) -> Vec:
    """A constant color."""
    return Vec.of(*rgb)


def palette(colors: tuple[RGB, ...], place: Floats) -> Vec:
    """Pick a color by a number in [0, 1)."""
    table = np.array(colors, np.float32)
    row = np.minimum((place * len(colors)).astype(np.int32), len(colors) - 1)
    return Vec(table[:, 0].take(row), table[:, 1].take(row), table[:, 2].take(row))


def plain(rgb: RGB) -> Paint:
    """One color everywhere."""

    def paint(p: Vec, n: Vec, part: Index) -> Vec:
        one = np.ones_like(p.x)
        return color(rgb) * one

    return paint


def per_part(colors: tuple[RGB, ...]) -> Paint:
    """Rods or rings take the colors in turn."""
    table = np.array(colors, np.float32)

    def paint(p: Vec, n: Vec, part: Index) -> Vec:
        row = part % len(colors)
        return Vec(table[row, 0], table[row, 1], table[row, 2])

    return paint


def planks(u: Floats, v: Floats, width: float, tones: tuple[RGB, RGB, RGB]) -> Vec:
    """Boards along u with grain, knots of darker wood, and gaps between them."""
    row = whole(v * (1.0 / width))
    shift = cell(row, 7) * 40.0
    grain = noise2(u * 1.4 + shift, v * 11.0)
    rings = tent(clouds2(u * 0.8 + shift, v * 3.5, 2) * 4.0)
    wood = mix(color(tones[0]), color(tones[1]), np.clip(0.36 + 0.16 * grain + 0.28 * rings, 0.0, 1.0))
    wood = wood * (0.7 + 0.45 * cell(row, 3))
    gap = step(tent(v * (1.0 / width)), 0.09, 0.05)
    return mix(color(tones[2]), wood, gap)


OAK: Final = ((0.30, 0.13, 0.045), (0.74, 0.46, 0.21), (0.045, 0.02, 0.01))


def table_top(p: Vec, n: Vec, part: Index) -> Vec:
    """Oak planks with a band of dark inlay along the rim."""
    wood = planks(p.x, p.y, 0.23, OAK)
    radius = np.sqrt(p.x * p.x + p.y * p.y)
    band = step(radius, 1.00, 0.01) * (1.0 - step(radius, 1.07, 0.01))
    u = tent(turns(p.x, p.y) * 24.0)
    teeth = step(u, 0.5, 0.2)
    inlay = mix(color((0.05, 0.018, 0.012)), color((0.80, 0.62, 0.36)), teeth)
    wood = mix(wood, inlay, band)
    return mix(wood, color((0.16, 0.06, 0.02)), step(radius, 1.10, 0.01))


def chess_board(p: Vec, n: Vec, part: Index) -> Vec:
    """Marble and walnut squares of ten centimeters in a frame."""
    i, j = whole(p.x * 10.0), whole(p.y * 10.0)
    veins = tent(noise2(p.x * 9.0 + cell(i, j) * 9.0, p.y * 9.0) * 2.0)
    light = mix(color((0.85, 0.80, 0.70)), color((0.62, 0.55, 0.45)), step(veins, 0.75, 0.4))
    dark = mix(color((0.10, 0.035, 0.015)), color((0.24, 0.09, 0.04)), noise2(p.x * 6.0, p.y * 20.0))
    squares = choose((i + j) % 2 == 0, light, dark)
    edge = np.maximum(np.abs(p.x), np.abs(p.y))
    frame = mix(color((0.55, 0.30, 0.10)), color((0.32, 0.14, 0.05)), noise2(p.x * 8.0, p.y * 8.0))
    return mix(squares, frame, step(edge, 0.40, 0.005))


def globe(p: Vec, n: Vec, part: Index) -> Vec:
    """Seas and continents, snow at the poles, and a grid of meridians and parallels."""
    height = clouds3(p.x * 1.7 + 4.2, p.y * 1.7 + 1.9, p.z * 1.7 + 7.3, 3)
    land = step(height, 0.50, 0.02)
    detail = noise3(p.x * 4.0, p.y * 4.0, p.z * 4.0)
    sea = mix(color((0.015, 0.09, 0.26)), color((0.06, 0.32, 0.50)), step(height, 0.42, 0.2))
    ground = mix(color((0.12, 0.30, 0.07)), color((0.72, 0.50, 0.22)), step(detail, 0.5, 0.3))
    map_ = mix(sea, ground, land)
    snow = step(np.abs(p.z) + 0.2 * (detail - 0.5), 0.86, 0.05)
    map_ = mix(map_, color((0.85, 0.88, 0.90)), snow)
    lines = np.maximum(step(tent(p.z * 2.0 + 0.5), 0.94, 0.04), step(tent(turns(p.x, p.y) * 8.0 + 0.5), 0.965, 0.03))
    return mix(map_, color((0.90, 0.80, 0.50)), lines * 0.8)


def vase(p: Vec, n: Vec, part: Index) -> Vec:
    """White and blue ceramics: bands, a meander, and blossoms around the belly."""
    turn = turns(p.x, p.y)
    white, blue = color((0.86, 0.86, 0.80)), color((0.02, 0.07, 0.38))
    belly = p.z + 0.07
    u, v = turn * 8.0, belly * 8.0
    du, dv = u - np.floor(u) - 0.5, v
    spot = np.sqrt(du * du + dv * dv)
    petals = spot * (1.0 + 0.55 * (tent((du + dv) * 3.0) - 0.5) + 0.55 * (tent((du - dv) * 3.0) - 0.5))
    blossom = 1.0 - step(petals, 0.34, 0.05)
    heart = 1.0 - step(spot, 0.10, 0.04)
    paint = mix(white, blue, blossom)
    paint = mix(paint, color((0.85, 0.45, 0.05)), heart)
    zigzag = step(tent(turn * 16.0) - (p.z - 0.09) * 18.0, 0.35, 0.12)
    above = step(p.z, 0.075, 0.005)
    paint = mix(paint, mix(white, color((0.62, 0.09, 0.04)), zigzag), above * (1.0 - step(p.z, 0.165, 0.005)))
    for height, width in ((0.07, 0.012), (0.17, 0.012), (-0.205, 0.02), (0.265, 0.03)):
        paint = mix(paint, blue, 1.0 - step(np.abs(p.z - height), width, 0.006))
    return paint


def marble(base: RGB, vein: RGB, scale: float) -> Paint:
    """Veined stone."""

    def paint(p: Vec, n: Vec, part: Index) -> Vec:
        bend = clouds3(p.x * scale, p.y * scale, p.z * scale, 3)
        lines = tent(bend * 3.5 + p.z * 0.8)
        return mix(color(base), color(vein), step(lines, 0.68, 0.35))

    return paint


def beach_ball(p: Vec, n: Vec, part: Index) -> Vec:
    """Six gores in three colors."""
    row = whole(turns(p.x, p.y) * 6.0)
    gores = palette(((0.80, 0.08, 0.05), (0.85, 0.80, 0.70), (0.05, 0.25, 0.60)), (row % 3).astype(np.float32) / 3.0)
    return mix(gores, color((0.9, 0.6, 0.05)), step(np.abs(p.z), 0.92, 0.02))


def book(cover: RGB, accent: RGB, seed: int) -> Paint:
    """A book lying flat: a framed cover above, a banded spine at -y, pages on the other sides. Local meters."""

    def paint(p: Vec, n: Vec, part: Index) -> Vec:
        frame = np.maximum(np.abs(p.x) * (1.0 / 0.19), np.abs(p.y) * (1.0 / 0.135))
        ornament = clouds2(p.x * 14.0 + seed, p.y * 14.0 + seed, 2)
        top = mix(color(cover), color(accent), step(ornament, 0.55, 0.06) * (1.0 - step(frame, 0.68, 0.02)))
        top = mix(top, color(accent), step(frame, 0.74, 0.02) * (1.0 - step(frame, 0.84, 0.02)))
        pages = mix(color((0.80, 0.74, 0.60)), color((0.45, 0.38, 0.26)), noise2((p.x + p.y) * 9.0 + seed, p.z * 160.0))
        spine = mix(color(cover), color(accent), step(tent(p.x * 9.0 + 0.2), 0.72, 0.08))
        lid = np.abs(n.z) > 0.5
        # The spine is the side at local -y; covers overlap the pages by a few millimeters above and below.
        return choose(lid, top, choose(p.y < -0.1349, spine, pages))

    return paint
