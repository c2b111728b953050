"""The ray tracer: what rays meet, and how much light comes back along them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gsbench.scenes.demo.lightmaps import LightMap, Probe
from gsbench.scenes.demo.shapes import FAR, NEAR
from gsbench.scenes.demo.still_life import Thing
from gsbench.scenes.demo.vectors import Floats, Index, Ints, Mask, Rays, Vec, choose, concatenate

#: An inner wall (of the vase) gets this share of the light outside.
INSIDE = 0.25


def trace(things: Sequence[Thing], rays: Rays, candidates: Sequence[int] | None = None) -> tuple[Floats, Ints]:
    """The nearest meeting of each ray: its distance (infinite if none) and the thing's number (-1 if none).

    Only the candidates (numbers of things) are tried, if given.
    """
    best = np.full(len(rays), FAR, np.float32)
    which = np.full(len(rays), -1, np.int32)
    for number in range(len(things)) if candidates is None else candidates:
        t = things[number].shape.hit(rays)
        nearer = np.flatnonzero(t < best)
        best[nearer] = t[nearer]
        which[nearer] = number
    return best, which


def occluded(things: Sequence[Thing], rays: Rays, reach: Floats) -> Mask:
    """Whether something stands in the way before each ray has gone this far."""
    blocked = np.zeros(len(rays), np.bool_)
    for thing in things:
        blocked |= thing.shape.hit(rays) < reach
    return blocked


def _groups(which: Ints) -> Iterator[tuple[int, Index]]:
    """The things that were met, each with the rays that met it."""
    order = which.astype(np.int8).argsort(kind="stable")
    counts = np.bincount(which + 1)
    ends = np.cumsum(counts)
    for number in range(len(counts) - 1):
        if counts[number + 1]:
            yield number, order[ends[number] : ends[number + 1]]


@dataclass(frozen=True)
class Tracer:
    """A lit scene: things, the light stored on them, and probes (by the things' numbers) of the light around them."""

    things: Sequence[Thing]
    light: Sequence[LightMap | None]
    probes: Sequence[Probe]

    def radiance(self, rays: Rays, bounces: int, candidates: Sequence[int] | None = None) -> Vec:
        """Light that comes back along rays; mirrors are followed `bounces` times, then probes stand in.

        The rays meet nothing but the candidates (numbers of things), if given.
        """
        t, which = trace(self.things, rays, candidates)
        result = Vec.zeros(len(rays))
        pending: list[tuple[Index, Floats, Rays]] = []
        for number, index in _groups(which):
            thing = self.things[number]
            d = rays.direction.at(index)
            p = rays.origin.at(index) + d * t[index]
            outward = thing.shape.normal(p)
            cosine = -outward.dot(d)
            back = cosine < 0.0
            n = choose(back, -outward, outward)
            cosine = np.abs(cosine)
            color = self._paint(thing, p, outward).times(self._irradiance(number, p, n))
            color = color * np.where(back, np.float32(INSIDE), np.float32(1.0))
            if thing.glow is not None:
                color = color + thing.glow(thing.shape.local(p), outward)
            if thing.mirror > 0.0:
                # Schlick (1994): F0 + (1 - F0) (1 - cos)^5.
                m = 1.0 - np.minimum(cosine, 1.0)
                fresnel = thing.mirror + (1.0 - thing.mirror) * ((m * m) * (m * m) * m)
                color = color * (1.0 - fresnel)
                mirrored = (d + n * (2.0 * cosine)).normalized()
                if bounces > 0 and not thing.brushed:
                    pending.append((index, fresnel, Rays(p + n * NEAR, mirrored)))
                else:
                    color = color + self.probes[number].radiance(mirrored) * fresnel
            result.put(index, color)
        if pending:
            index = np.concatenate([i for i, _, _ in pending])
            share = np.concatenate([s for _, s, _ in pending])
            further = Rays(
                concatenate([r.origin for _, _, r in pending]), concatenate([r.direction for _, _, r in pending])
            )
            reflected = self.radiance(further, bounces - 1) * share
            result.put(index, result.at(index) + reflected)
        return result

    def scattered(self, rays: Rays, lamps: float = 0.0) -> Vec:
        """Light that matt surfaces send back along rays, and lamps up to this radiance: what surfaces gather."""
        t, which = trace(self.things, rays)
        result = Vec.zeros(len(rays))
        for number, index in _groups(which):
            thing = self.things[number]
            p = rays.origin.at(index) + rays.direction.at(index) * t[index]
            n = thing.shape.normal(p)
            color = self._paint(thing, p, n).times(self._irradiance(number, p, n))
            if thing.glow is not None and lamps > 0.0:
                glow = thing.glow(thing.shape.local(p), n)
                color = color + Vec(np.minimum(glow.x, lamps), np.minimum(glow.y, lamps), np.minimum(glow.z, lamps))
            result.put(index, color)
        return result

    def _paint(self, thing: Thing, p: Vec, n: Vec) -> Vec:
        return thing.paint(thing.shape.local(p), n, thing.shape.part(p))

    def _irradiance(self, number: int, p: Vec, n: Vec) -> Vec:
        light = self.light[number]
        return self.probes[number].irradiance(n) if light is None else light.at(p)
