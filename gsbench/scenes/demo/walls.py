"""The room of the demo scene: walls, floor and ceiling, as patterns on flat surfaces."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gsbench.scenes.demo.noise import cell, chips, clouds2, noise2, step, tent, whole
from gsbench.scenes.demo.paints import OAK, color, palette, planks
from gsbench.scenes.demo.vectors import Floats, Index, Vec, choose, mix

#: A pattern on a flat surface, in meters from its middle.
Plane = Callable[[Floats, Floats], Vec]


def _brick(u: Floats, v: Floats) -> Vec:
    """Courses of large bricks with mortar, every brick of its own tone."""
    row = whole(v * (1.0 / 0.34))
    along = u * (1.0 / 0.80) + 0.5 * (row % 2).astype(np.float32)
    column = whole(along)
    brick = palette(((0.36, 0.13, 0.08), (0.43, 0.17, 0.10), (0.30, 0.11, 0.08), (0.46, 0.21, 0.13)), cell(column, row))
    brick = brick * (0.85 + 0.3 * noise2(u * 2.0, v * 3.0))
    mortar = np.minimum(step(tent(v * (1.0 / 0.34)), 0.13, 0.12), step(tent(along), 0.055, 0.05))
    return mix(color((0.27, 0.21, 0.17)), brick, mortar)


def _plaster(u: Floats, v: Floats) -> Vec:
    """Green plaster with large, faint lozenges above a rail and oak panels."""
    lozenge = np.abs(tent(u * 0.8 + 0.5) - 0.5) + np.abs(tent(v * 0.7 + 0.3) - 0.5)
    green = mix(color((0.10, 0.24, 0.17)), color((0.16, 0.33, 0.22)), step(lozenge, 0.5, 0.3))
    green = green * (0.85 + 0.3 * noise2(u * 1.0, v * 1.0))
    panels = mix(color((0.06, 0.025, 0.012)), color((0.27, 0.13, 0.06)), step(tent(u * 1.1), 0.10, 0.06))
    panels = panels * (0.8 + 0.4 * noise2(u * 2.5, v * 0.8))
    rail = color((0.38, 0.22, 0.10)) * np.ones_like(u)
    return choose(v < -0.42, panels, choose(v < -0.34, rail, green))


def _boards(u: Floats, v: Floats) -> Vec:
    """Wide blue boards, each of its own tone."""
    board = u * (1.0 / 0.6)
    blue = mix(color((0.05, 0.13, 0.18)), color((0.10, 0.22, 0.27)), cell(whole(board), 5))
    blue = blue * (0.88 + 0.24 * noise2(u * 2.0, v * 0.8))
    return mix(color((0.02, 0.05, 0.07)), blue, step(tent(board), 0.07, 0.06))


def _blocks(u: Floats, v: Floats) -> Vec:
    """An abstract painting: rectangles of plain colors with black lines."""
    tilted = noise2(np.floor(v * 2.3) + 0.5, np.floor(v * 1.1) + 0.5)
    column = whole(u * 2.4 + tilted)
    row = whole(v * 2.3)
    fill = palette(
        ((0.85, 0.82, 0.72), (0.75, 0.06, 0.04), (0.04, 0.10, 0.45), (0.90, 0.65, 0.05), (0.85, 0.82, 0.72)),
        cell(column + 40, row + 9),
    )
    line = np.minimum(step(tent(u * 2.4 + tilted), 0.16, 0.06), step(tent(v * 2.3), 0.12, 0.06))
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


def _floor(u: Floats, v: Floats) -> Vec:
    """Tiles of 62 centimeters in two colors, strewn with stone chips."""
    i, j = whole(u * 1.6), whole(v * 1.6)
    dark = (i + j) % 2 == 0
    distance, ci, cj = chips(u * 3.4, v * 3.4)
    speckle = palette(
        ((0.75, 0.68, 0.58), (0.45, 0.16, 0.10), (0.16, 0.24, 0.22), (0.62, 0.46, 0.20), (0.10, 0.08, 0.08)),
        cell(ci, cj),
    )
    ground = choose(dark, color((0.07, 0.13, 0.13)), color((0.66, 0.58, 0.46)))
    ground = mix(speckle, ground, step(distance, 0.30, 0.10))
    grout = np.minimum(step(tent(u * 1.6), 0.05, 0.03), step(tent(v * 1.6), 0.05, 0.03))
    return mix(color((0.25, 0.22, 0.19)), ground, grout)


def _west(u: Floats, v: Floats) -> Vec:
    return _hang(_brick(u, v), u - 0.9, v - 0.25, (0.6, 0.75), lambda s, t: _blocks(s + 0.3, t))


def _north(u: Floats, v: Floats) -> Vec:
    wall = _hang(_plaster(u, v), u + 0.9, v - 0.35, (0.85, 0.55), lambda s, t: _landscape(s * 1.2, t * 1.6))
    return _hang(wall, u - 1.5, v - 0.30, (0.45, 0.55), lambda s, t: _blocks(s * 1.3, t * 1.3 + 2.0))


def _east(u: Floats, v: Floats) -> Vec:
    return _hang(_boards(u, v), u - 0.6, v - 0.3, (0.85, 0.6), lambda s, t: _blocks(s - 0.6, t + 0.3))


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


def _ceiling(u: Floats, v: Floats) -> Vec:
    """White plaster between dark beams."""
    beam = step(tent(u * 0.8), 0.80, 0.02)
    return mix(color((0.74, 0.71, 0.64)), planks(v, u, 0.3, OAK) * 0.5, beam)
