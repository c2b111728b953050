"""Vectors of the ray tracer: one float32 array per component, so that every operation runs over all rays at once.

Everything that decides a pixel is made of additions, products, quotients, square roots, comparisons and rounding,
which IEEE 754 defines to the last bit and NumPy computes the same way for every instruction set. There is no
transcendental function, matrix product or reduction along an axis of floats, whose last bits depend on the machine.
So the demo scene has the same pixels everywhere, and numbers measured on it can be compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

#: Float32 throughout; declared wider because NumPy's type stubs widen the product of an array and a number.
Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int32]
Index = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Vec:
    """Vectors or RGB colors: three float32 arrays that broadcast together."""

    x: Floats
    y: Floats
    z: Floats

    @staticmethod
    def of(x: float, y: float, z: float) -> Vec:
        """One constant vector (each component a float32 array of shape [])."""
        return Vec(np.array(x, np.float32), np.array(y, np.float32), np.array(z, np.float32))

    @staticmethod
    def zeros(count: int) -> Vec:
        """`count` zero vectors."""
        return Vec(np.zeros(count, np.float32), np.zeros(count, np.float32), np.zeros(count, np.float32))

    def __add__(self, other: Vec) -> Vec:
        return Vec(self.x + other.x, self.y + other.y, self.z + other.z)

    def __sub__(self, other: Vec) -> Vec:
        return Vec(self.x - other.x, self.y - other.y, self.z - other.z)

    def __neg__(self) -> Vec:
        return Vec(-self.x, -self.y, -self.z)

    def __mul__(self, factor: Floats | float) -> Vec:
        return Vec(self.x * factor, self.y * factor, self.z * factor)

    def times(self, other: Vec) -> Vec:
        """Component by component: light through a filter."""
        return Vec(self.x * other.x, self.y * other.y, self.z * other.z)

    def dot(self, other: Vec) -> Floats:
        """Inner product."""
        result: Floats = self.x * other.x + self.y * other.y + self.z * other.z
        return result

    def length(self) -> Floats:
        """Euclidean length."""
        return np.sqrt(self.dot(self))

    def normalized(self) -> Vec:
        """Length 1; vectors shorter than 1e-6 stay short instead of becoming NaN."""
        return self * (1.0 / np.maximum(self.length(), 1e-6))

    def at(self, index: Index) -> Vec:
        """The vectors at these positions."""
        return Vec(self.x[index], self.y[index], self.z[index])

    def put(self, index: Index, values: Vec) -> None:
        """Overwrite the vectors at these positions."""
        self.x[index], self.y[index], self.z[index] = values.x, values.y, values.z

    def array(self) -> Floats:
        """Float32 [N, 3]."""
        return np.stack((self.x, self.y, self.z), axis=-1)


@dataclass(frozen=True, slots=True)
class Rays:
    """Half-lines ``origin + t * direction`` with directions of length 1; N rays."""

    origin: Vec
    direction: Vec

    def __len__(self) -> int:
        return self.direction.x.size

    def point(self, t: Floats) -> Vec:
        """The points at these distances."""
        return self.origin + self.direction * t

    def at(self, index: Index) -> Rays:
        """The rays at these positions."""
        return Rays(self.origin.at(index), self.direction.at(index))


def mix(a: Vec, b: Vec, weight: Floats) -> Vec:
    """`a` where the weight is 0, `b` where it is 1."""
    return a + (b - a) * weight


def choose(condition: Mask, a: Vec, b: Vec) -> Vec:
    """`a` where the condition holds, else `b`."""
    return Vec(np.where(condition, a.x, b.x), np.where(condition, a.y, b.y), np.where(condition, a.z, b.z))


def stack(vectors: list[tuple[float, float, float]]) -> Vec:
    """Constant vectors as a column: components of shape [K, 1], to broadcast against N rays."""
    columns = np.array(vectors, np.float32)
    return Vec(*(np.ascontiguousarray(columns[:, axis, None]) for axis in range(3)))


def concatenate(parts: list[Vec]) -> Vec:
    """One after the other."""
    return Vec(
        np.concatenate([v.x for v in parts]), np.concatenate([v.y for v in parts]), np.concatenate([v.z for v in parts])
    )


def circle(turns: float) -> tuple[float, float]:
    """Cosine and sine of an angle in turns, rounded to 12 decimals: C libraries differ in the bits after those."""
    angle = 2.0 * math.pi * turns
    return round(math.cos(angle), 12), round(math.sin(angle), 12)


def pseudo_angle(x: Floats, y: Floats) -> Floats:
    """Direction in the plane as a number in [0, 1] that grows with the angle (not in proportion): no arctangent."""
    s = x / np.maximum(np.abs(x) + np.abs(y), 1e-9)
    result: Floats = 0.5 + np.copysign(0.25 * (1.0 - s), y)
    return result


def from_pseudo_angle(a: Floats) -> tuple[Floats, Floats]:
    """Inverse of `pseudo_angle`: a unit vector in the plane."""
    signed = (a - 0.5) * 4.0
    x = 1.0 - np.abs(signed)
    y = np.copysign(1.0 - np.abs(x), signed)
    length = np.sqrt(x * x + y * y)
    return x / length, y / length


def turns(x: Floats, y: Floats) -> Floats:
    """Direction in the plane as an angle in turns, in [0, 1], 0.5 at +x; within 1e-4 of the true angle.

    In each quarter of the pseudo-angle, at the share a, the angle is that of the tangent a / (1 - a): an eighth of a
    turn plus arctan(2 a - 1), here its minimax polynomial of degree 5.
    """
    quarters = pseudo_angle(x, y) * 4.0
    whole = np.floor(quarters)
    odd = 2.0 * (quarters - whole) - 1.0
    square = odd * odd
    arctangent = odd * (0.995354 + square * (-0.288679 + square * 0.079331))
    result: Floats = (whole + 0.5 + arctangent * (2.0 / math.pi)) * 0.25
    return result


def octahedral(direction: Vec) -> tuple[Floats, Floats]:
    """Unit vectors to the unit square: project on the octahedron, fold its lower half outwards (Engelhardt 2008)."""
    scale = 1.0 / (np.abs(direction.x) + np.abs(direction.y) + np.abs(direction.z))
    x, y = direction.x * scale, direction.y * scale
    below = direction.z < 0.0
    u = np.where(below, np.copysign(1.0 - np.abs(y), x), x)
    v = np.where(below, np.copysign(1.0 - np.abs(x), y), y)
    return u * 0.5 + 0.5, v * 0.5 + 0.5


def from_octahedral(u: Floats, v: Floats) -> Vec:
    """Inverse of `octahedral`."""
    x, y = u * 2.0 - 1.0, v * 2.0 - 1.0
    z = 1.0 - np.abs(x) - np.abs(y)
    fold = np.maximum(-z, 0.0)
    return Vec(x - np.copysign(fold, x), y - np.copysign(fold, y), z).normalized()
