"""The demo scene: a round table in a room, and what stands on it. Meters, z up, the table's top at z = 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from gsbench.scenes.demo import paints, walls
from gsbench.scenes.demo.paints import Paint
from gsbench.scenes.demo.shapes import Box, Disc, Lathe, Point, Shape, Sphere
from gsbench.scenes.demo.vectors import Vec, choose, circle
from gsbench.scenes.demo.wires import Rings, Rods

RGB = tuple[float, float, float]

FLOOR: Final = -0.85
CEILING: Final = 2.65
WALL: Final = 3.6


@dataclass(frozen=True)
class Thing:
    """A shape with its finish.

    Fields:
        mirror: share of light reflected like a mirror at normal incidence (more at grazing angles, after Schlick);
            0 for matt surfaces, 0.04 for varnish and glaze.
        brushed: reflections are blurred.
        texels: the light on the surface is stored on `texels` x `texels` points per chart.
        glow: emitted radiance (for the room's lamps), of local points and normals.
    """

    name: str
    shape: Shape
    paint: Paint
    mirror: float = 0.0
    brushed: bool = False
    texels: int = 0
    glow: Callable[[Vec, Vec], Vec] | None = None


@dataclass(frozen=True)
class Lamp:
    """A rectangle in the ceiling that shines downwards.

    Fields:
        center: meters; half: half-sizes along x and y; radiance: linear RGB.
        beam: cosines of the angles to the vertical at which the lamp's hood begins to dim the light and has cut it off.
    """

    center: Point
    half: tuple[float, float]
    radiance: RGB
    beam: tuple[float, float]


KEY: Final = Lamp((1.1, -1.3, CEILING), (0.30, 0.30), (88.0, 78.0, 62.0), (0.80, 0.45))
FILL: Final = Lamp((-1.5, 0.4, CEILING), (0.9, 0.8), (1.6, 1.95, 2.5), (0.01, 0.0))
LAMPS: Final = (KEY, FILL)


def _lamps(p: Vec, n: Vec) -> Vec:
    """Radiance of the ceiling: the lamps, black elsewhere. `p` is relative to the room's center."""
    light = Vec.zeros(p.x.size)
    for lamp in LAMPS:
        inside = (np.abs(p.x - lamp.center[0]) < lamp.half[0]) & (np.abs(p.y - lamp.center[1]) < lamp.half[1])
        light = choose(inside & (n.z < -0.5), Vec.of(*lamp.radiance), light)
    return light


def _hyperboloid(center: Point, radius: float, height: float, rods: int, wire: float) -> tuple[Rods, Rings]:
    """Straight rods in two families that cross: the lattice of Shukhov's towers, with hoops at its ends."""
    x, y, z = center
    ends = []
    for k in range(rods):
        for sense in (-0.28, 0.28):
            (ca, sa), (cb, sb) = circle(k / rods), circle(k / rods + sense)
            bottom, top = (x + radius * ca, y + radius * sa, z), (x + radius * cb, y + radius * sb, z + height)
            ends.append((bottom, top, wire))
    up = (0.0, 0.0, 1.0)
    hoops = tuple(((x, y, z + h), up, radius, wire * 1.5) for h in (wire, height))
    return Rods(tuple(ends)), Rings(hoops)


def _armillary(center: Point, radius: float, wire: float) -> Rings:
    """Meridian, horizon and ecliptic around a globe."""
    (c, s), (tc, ts) = circle(0.10), circle(0.065)
    axes = ((c, s, 0.0), (-s * ts, c * ts, tc), (0.352, 0.0, 0.936))
    return Rings(tuple((center, axis, radius * (1.0 + 0.06 * k), wire) for k, axis in enumerate(axes)))


def _bouquet(foot: Point) -> tuple[Rods, Rods]:
    """Stems that fan out of the vase, with round blossoms at their ends."""
    stems, buds = [], []
    x, y, z = foot
    for k in range(9):
        c, s = circle(k / 9 + 0.03 * (k % 2))
        lean, tall = (0.09, 0.27) if k % 3 == 0 else (0.18, 0.19 - 0.02 * (k % 2))
        tip = (x + lean * c, y + lean * s, z + tall)
        stems.append(((x + 0.05 * c, y + 0.05 * s, z - 0.05), tip, 0.006))
        buds.append((tip, (tip[0], tip[1], tip[2] + 0.012), 0.034 if k % 3 else 0.042))
    return Rods(tuple(stems)), Rods(tuple(buds))


def _build() -> tuple[Thing, ...]:
    brass, enamel = (0.50, 0.31, 0.09), (0.10, 0.16, 0.22)
    globe_center = (-0.06, 0.10, 0.47)
    basket, hoops = _hyperboloid((-0.56, -0.42, 0.0), 0.21, 0.42, 8, 0.008)
    vase_foot = (0.52, -0.34, 0.0)
    stems, buds = _bouquet((vase_foot[0], vase_foot[1], 0.52))
    middle = (FLOOR + CEILING) / 2
    return (
        Thing(
            "room",
            Box((0.0, 0.0, middle), (WALL, WALL, (CEILING - FLOOR) / 2), room=True),
            walls.room,
            texels=40,
            glow=_lamps,
        ),
        Thing("table", Disc((0.0, 0.0, 0.0), 1.13), paints.table_top, mirror=0.04, brushed=True, texels=160),
        Thing(
            "rim",
            Lathe((0.0, 0.0, -0.06), 0.06, (1.12, 1.155, 1.165, 1.092)),
            paints.plain((0.16, 0.06, 0.02)),
            texels=24,
        ),
        Thing(
            "pedestal",
            Lathe((0.0, 0.0, FLOOR), -FLOOR - 0.05, (0.55, 0.42, 0.10, 0.09, 0.12, 0.16, 0.3)),
            paints.plain((0.16, 0.06, 0.02)),
            texels=24,
        ),
        Thing(
            "board",
            Box((-0.02, 0.06, 0.02), (0.44, 0.44, 0.02), circle(0.06)),
            paints.chess_board,
            mirror=0.04,
            brushed=True,
            texels=56,
        ),
        Thing(
            "stand",
            Lathe((globe_center[0], globe_center[1], 0.04), 0.20, (0.17, 0.14, 0.04, 0.03, 0.05, 0.03)),
            paints.plain(brass),
            mirror=0.15,
            brushed=True,
            texels=24,
        ),
        Thing("globe", Sphere(globe_center, 0.25), paints.globe, mirror=0.04, texels=56),
        Thing(
            "armillary",
            _armillary(globe_center, 0.30, 0.0095),
            paints.plain(brass),
            mirror=0.15,
            brushed=True,
        ),
        Thing(
            "vase",
            Lathe(vase_foot, 0.52, (0.10, 0.10, 0.16, 0.22, 0.20, 0.10, 0.065, 0.09, 0.11)),
            paints.vase,
            mirror=0.05,
            texels=56,
        ),
        Thing("stems", stems, paints.plain((0.07, 0.22, 0.04))),
        Thing("buds", buds, paints.per_part(((0.85, 0.16, 0.10), (0.90, 0.62, 0.08), (0.80, 0.30, 0.50)))),
        Thing("basket", basket, paints.plain(enamel)),
        Thing("hoops", hoops, paints.plain(enamel)),
        Thing("beach ball", Sphere((-0.56, -0.42, 0.125), 0.12), paints.beach_ball, mirror=0.04, texels=32),
        Thing("blue ball", Sphere((0.06, -0.66, 0.13), 0.13), paints.plain((0.02, 0.05, 0.16)), mirror=0.18, texels=24),
        Thing(
            "green ball",
            Sphere((-0.66, 0.40, 0.15), 0.15),
            paints.marble((0.03, 0.24, 0.14), (0.62, 0.72, 0.50), 1.3),
            mirror=0.05,
            texels=32,
        ),
        Thing(
            "lower book",
            Box((0.50, 0.46, 0.035), (0.19, 0.135, 0.035), circle(0.13)),
            paints.book((0.30, 0.03, 0.03), (0.80, 0.60, 0.20), 3),
            texels=32,
        ),
        Thing(
            "upper book",
            Box((0.50, 0.47, 0.10), (0.19, 0.135, 0.03), circle(0.07)),
            paints.book((0.03, 0.14, 0.24), (0.80, 0.76, 0.60), 8),
            texels=32,
        ),
        Thing("red ball", Sphere((0.50, 0.47, 0.225), 0.095), paints.plain((0.60, 0.02, 0.02)), mirror=0.05, texels=24),
    )


THINGS: Final = _build()
