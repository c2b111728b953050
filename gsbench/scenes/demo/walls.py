"""The room of the demo scene: walls, floor and ceiling, as patterns on flat surfaces."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gsbench.scenes.demo.noise import cell, chips, clouds2, noise2, step, tent, whole
from gsbench.scenes.demo.paints import BLUE_WOOD, OAK, color, palette, planks
from gsbench.scenes.demo.vectors import Floats, Index, Vec, choose, mix

#: A pattern on a flat surface, in meters from its middle.
Plane = Callable[[Floats, Floats], Vec]


def _brick(u: Floats, v: Floats) -> Vec:
    """Courses of bricks with mortar, every brick of its own tone, some of them whitewashed."""
    row = whole(v * (1.0 / 0.27))
    along = u * (1.0 / 0.66) + 0.5 * (row % 2).astype(np.float32)
    column = whole(along)
    tone = cell(column, row)
    rough = clouds2(u * 3.5, v * 5.0, 2)
    brick = palette(
        ((0.42, 0.12, 0.06), (0.55, 0.20, 0.10), (0.30, 0.09, 0.06), (0.62, 0.30, 0.16), (0.66, 0.56, 0.46)), tone
    )
    brick = brick * (0.7 + 0.6 * rough)
    mortar = np.minimum(step(tent(v * (1.0 / 0.27)), 0.16, 0.12), step(tent(along), 0.065, 0.05))
    return mix(color((0.52, 0.48, 0.42)), brick, mortar)


def _wallpaper(u: Floats, v: Floats) -> Vec:
    """Green stripes with lozenges."""
    stripe = step(tent(u * 1.5), 0.5, 0.08)
    ground = mix(color((0.10, 0.26, 0.16)), color((0.30, 0.46, 0.28)), stripe)
    lozenge = np.abs(tent(u * 1.5 + 0.5) - 0.5) + np.abs(tent(v * 1.2) - 0.5)
    ground = mix(ground, color((0.78, 0.64, 0.26)), 1.0 - step(lozenge, 0.26, 0.08))
    ground = mix(ground, color((0.45, 0.07, 0.05)), 1.0 - step(lozenge, 0.10, 0.06))
    return ground * (0.8 + 0.4 * noise2(u * 2.5, v * 2.5))


def _blocks(u: Floats, v: Floats) -> Vec:
    """An abstract painting: rectangles of plain colors with black lines."""
    tilted = noise2(np.floor(v * 3.1) + 0.5, np.floor(v * 1.3) + 0.5)
    column = whole(u * 3.3 + tilted)
    row = whole(v * 3.1)
    fill = palette(
        ((0.85, 0.82, 0.72), (0.75, 0.06, 0.04), (0.04, 0.10, 0.45), (0.90, 0.65, 0.05), (0.85, 0.82, 0.72)),
        cell(column + 40, row + 9),
    )
    line = np.minimum(step(tent(u * 3.3 + tilted), 0.16, 0.06), step(tent(v * 3.1), 0.14, 0.06))
    return fill * (0.04 + 0.96 * line)


def _landscape(u: Floats, v: Floats) -> Vec:
    """A painted landscape: sky, hills, a field."""
    sky = mix(
        color((0.85, 0.62, 0.40)), color((0.20, 0.42, 0.72)), np.clip(v + 0.4 * clouds2(u * 3.0, v * 7.0), 0.0, 1.0)
    )
    for k, (level, rgb) in enumerate(
        (((0.20), (0.18, 0.26, 0.36)), ((-0.05), (0.12, 0.26, 0.12)), ((-0.3), (0.45, 0.36, 0.10)))
    ):
        ridge = level + 0.5 * (clouds2(u * 2.2 + 7.0 * k, u * 0.1) - 0.5)
        sky = mix(sky, color(rgb) * (0.7 + 0.6 * clouds2(u * 4.0, v * 8.0 + k, 2)), 1.0 - step(v - ridge, 0.0, 0.03))
    return sky


def _hang(wall: Vec, u: Floats, v: Floats, half: tuple[float, float], picture: Plane) -> Vec:
    """Hang a picture in a gilded frame on a wall, its middle at (0, 0)."""
    outside = np.maximum(np.abs(u) - half[0], np.abs(v) - half[1])
    frame = mix(color((0.75, 0.52, 0.16)), color((0.25, 0.13, 0.03)), tent(outside * 12.0))
    wall = choose(outside < 0.09, frame, wall)
    index = np.flatnonzero(outside < 0.0)
    if index.size:
        wall.put(index, picture(u[index], v[index]))
    return wall


def _shelf(u: Floats, v: Floats) -> Vec:
    """Rows of book spines on shelves of half a meter."""
    row = whole(v * (1.0 / 0.5))
    inside = v * (1.0 / 0.5) - np.floor(v * (1.0 / 0.5))
    along = u * (1.0 / 0.15) + 0.35 * noise2(u * 4.0, row.astype(np.float32) + 0.5)
    book_ = whole(along)
    tone, tall = cell(book_, row), 0.62 + 0.3 * cell(book_ + 50, row)
    spine = palette(
        (
            (0.50, 0.06, 0.05),
            (0.05, 0.18, 0.12),
            (0.05, 0.09, 0.26),
            (0.60, 0.42, 0.14),
            (0.72, 0.66, 0.54),
            (0.22, 0.08, 0.05),
            (0.08, 0.30, 0.36),
            (0.30, 0.10, 0.26),
        ),
        tone,
    )
    label = (1.0 - step(np.abs(inside - 0.3 - 0.3 * cell(book_, row + 5)), 0.06, 0.02)) * step(tent(along), 0.2, 0.1)
    spine = mix(spine, color((0.80, 0.68, 0.34)), label)
    spine = spine * (0.35 + 0.65 * step(tent(along), 0.16, 0.16))
    board = mix(color((0.34, 0.17, 0.07)), color((0.50, 0.28, 0.12)), clouds2(u * 4.0, v * 30.0, 2))
    empty = color((0.04, 0.02, 0.012))
    filled = choose(inside < tall, spine, empty * np.ones_like(u))
    return choose(inside < 0.09, board, filled)


def _floor(u: Floats, v: Floats) -> Vec:
    """Tiles of 62 centimeters in two colors, strewn with stone chips."""
    i, j = whole(u * 1.6), whole(v * 1.6)
    dark = (i + j) % 2 == 0
    distance, ci, cj = chips(u * 4.5, v * 4.5)
    speckle = palette(
        ((0.75, 0.68, 0.58), (0.45, 0.16, 0.10), (0.16, 0.24, 0.22), (0.62, 0.46, 0.20), (0.10, 0.08, 0.08)),
        cell(ci, cj),
    )
    ground = choose(dark, color((0.07, 0.13, 0.13)), color((0.66, 0.58, 0.46)))
    ground = mix(speckle, ground, step(distance, 0.34, 0.12))
    grout = np.minimum(step(tent(u * 1.6), 0.05, 0.03), step(tent(v * 1.6), 0.05, 0.03))
    return mix(color((0.25, 0.22, 0.19)), ground, grout)


def _west(u: Floats, v: Floats) -> Vec:
    return _hang(_brick(u, v), u - 0.9, v - 0.25, (0.75, 0.55), lambda s, t: _landscape(s * 1.3, t * 1.6))


def _north(u: Floats, v: Floats) -> Vec:
    return choose((np.abs(u) < 2.3) & (v < 0.75), _shelf(u, v), _wallpaper(u, v))


def _east(u: Floats, v: Floats) -> Vec:
    return _hang(_wainscot(u, v), u - 0.6, v - 0.3, (0.85, 0.6), lambda s, t: _blocks(s - 0.6, t + 0.3))


def room(p: Vec, n: Vec, part: Index) -> Vec:
    """Four different walls, a tiled floor and a ceiling with beams. Local meters; normals point inwards."""
    result = Vec.zeros(p.x.size)
    sides: tuple[tuple[Vec, Plane], ...] = (
        (Vec(n.x, p.y, p.z), _west),
        (Vec(-n.x, p.y, p.z), _east),
        (Vec(n.y, p.x, p.z), _brick),
        (Vec(-n.y, p.x, p.z), _north),
        (Vec(n.z, p.x, p.y), _floor),
        (Vec(-n.z, p.x, p.y), _ceiling),
    )
    for side, paint in sides:
        index = np.flatnonzero(side.x > 0.5)
        if index.size:
            result.put(index, paint(side.y[index], side.z[index]))
    return result


def _wainscot(u: Floats, v: Floats) -> Vec:
    """Blue boards up to a rail, ornamented plaster above."""
    boards = planks(v, u, 0.28, BLUE_WOOD)
    plaster = color((0.70, 0.58, 0.40)) * (0.6 + 0.6 * noise2(u * 2.0, v * 2.0))
    dots_u, dots_v = tent(u * 2.0) - 0.5, tent(v * 2.0) - 0.5
    plaster = mix(plaster, color((0.50, 0.16, 0.08)), 1.0 - step(dots_u * dots_u + dots_v * dots_v, 0.06, 0.03))
    rail = choose(np.abs(v + 0.45) < 0.05, color((0.62, 0.50, 0.30)) * np.ones_like(u), plaster)
    return choose(v < -0.5, boards, rail)


def _ceiling(u: Floats, v: Floats) -> Vec:
    """White plaster between dark beams."""
    beam = step(tent(u * 0.8), 0.80, 0.02)
    return mix(color((0.74, 0.71, 0.64)), planks(v, u, 0.3, OAK) * 0.5, beam)
