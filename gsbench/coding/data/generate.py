"""Writes the committed tables of `gsbench.coding.gaussian` and `gsbench.coding.steps`: python generate.py [FOLDER].

Python's integers are the only arithmetic here: numbers are multiples of 2^-256. So every machine writes the same bytes,
and the tables never depend on a library of mathematics. The formats are described where they are read.
"""

from __future__ import annotations

import struct
import sys
from itertools import pairwise
from math import isqrt
from pathlib import Path

BITS = 256
ONE = 1 << BITS

TOTAL = 1 << 16
#: Fractions of the mean in a unit; those above one half are the mirror image of those below.
FRACTIONS = 64
#: Scales with tables of their own: sigma = 2^(index / 8 - 5), from 1/32 to just below 16.
OWN_SCALES = 72
#: Rows reach this many sigmas, in 1/4, and at least two integers, to each side.
REACH_QUARTERS = 17
LEAST_REACH = 2

#: The adaptive step's index: r = index / 64, from -3 to 3.
STEP_INDICES = range(-192, 193)
LOG_BITS = 12
RECIPROCAL_BITS = 16


def multiply(a: int, b: int) -> int:
    return (a * b) >> BITS


def divide(a: int, b: int) -> int:
    return (a << BITS) // b


def root(a: int) -> int:
    return isqrt(a << BITS)


def arctangent_of_inverse(n: int) -> int:
    total, power, k = 0, ONE // n, 0
    while power:
        total += (-power if k % 2 else power) // (2 * k + 1)
        power //= n * n
        k += 1
    return total


def exponential(x: int) -> int:
    """e^x for any x of moderate size: e^(x / 2^8), squared eight times."""
    small, term, total, k = x >> 8, ONE, ONE, 1
    while term:
        term = multiply(term, small) // k
        if term == -1:  # where rounding down ends for negative x
            break
        total += term
        k += 1
    for _ in range(8):
        total = multiply(total, total)
    return total


def logarithm2(x: int) -> int:
    """log2 x for x > 0, bit by bit."""
    whole = x.bit_length() - 1 - BITS
    x = x >> whole if whole >= 0 else x << -whole
    result = 0
    for _ in range(64):
        x = multiply(x, x)
        result <<= 1
        if x >= 2 * ONE:
            x >>= 1
            result |= 1
    return (whole << BITS) + (result << (BITS - 64))


PI = 4 * (4 * arctangent_of_inverse(5) - arctangent_of_inverse(239))
ROOT_2PI = root(2 * PI)
#: 2^(k / 8)
EIGHTHS = [ONE]
for _ in range(7):
    EIGHTHS.append(multiply(EIGHTHS[-1], root(root(root(2 * ONE)))))


def sigma(scale: int) -> int:
    shift = scale // 8 - 5
    value = EIGHTHS[scale % 8]
    return value << shift if shift >= 0 else value >> -shift


def normal(z: int) -> int:
    """The distribution function of the standard normal, by its Taylor series (8e-35 lies beyond 12 sigma)."""
    if abs(z) > 12 * ONE:
        return ONE if z > 0 else 0
    square, term, total, n = multiply(z, z), z, z, 0
    while abs(term) > 1:
        n += 1
        term = -multiply(term, square) // (2 * n)
        total += term // (2 * n + 1)
    return ONE // 2 + divide(total, ROOT_2PI)


def reach(scale: int) -> int:
    return max(LEAST_REACH, -(-REACH_QUARTERS * sigma(scale) // (4 * ONE)))


def apportion(masses: list[int]) -> list[int]:
    """Frequencies of sum 2^16, each at least 1, near `masses` in proportion. What rounding leaves goes one by one to
    the largest mass / (2 frequency + 1) (Webster's method), which nearly minimizes the expected code length.
    """
    left = TOTAL - len(masses)
    frequencies = [max(1, mass * left >> BITS) for mass in masses]
    for _ in range(TOTAL - sum(frequencies)):
        best = max(range(len(masses)), key=lambda i: (divide(masses[i], 2 * frequencies[i] + 1), -i))
        frequencies[best] += 1
    return frequencies


def gaussian_row(scale: int, fraction: int) -> list[int]:
    """Frequencies of the integers -reach .. reach + 1, seen from the mean's floor, and of everything else."""
    width, r = sigma(scale), reach(scale)
    edges = [(2 * k - 1) * ONE // 2 - fraction * ONE // FRACTIONS for k in range(-r, r + 3)]
    values = [normal(divide(edge, width)) for edge in edges]
    masses = [max(0, b - a) for a, b in pairwise(values)]
    return apportion([*masses, max(0, ONE - sum(masses))])


def gaussian_table() -> bytes:
    reaches = [reach(scale) for scale in range(OWN_SCALES)]
    rows = [gaussian_row(scale, f) for scale in range(OWN_SCALES) for f in range(FRACTIONS // 2 + 1)]
    return b"".join(struct.pack(f"<{len(row)}H", *row) for row in [reaches, *rows])


def nearest_float32(x: int) -> int:
    """The bits of the float32 nearest to x > 0, ties to even; no subnormal numbers, no overflow."""
    exponent = x.bit_length() - 1 - BITS
    shift = BITS + exponent - 23
    mantissa, rest = x >> shift, x & ((1 << shift) - 1)
    half = 1 << (shift - 1)
    mantissa += rest > half or (rest == half and mantissa & 1)
    return ((exponent + 126) << 23) + mantissa  # a mantissa that was rounded up to 2^24 raises the exponent


def rounded(x: int, bits: int) -> int:
    return (x + (ONE >> (bits + 1))) >> (BITS - bits)


def step_table() -> bytes:
    rows = []
    for index in STEP_INDICES:
        step = divide(2 * ONE, ONE + exponential(-2 * index * ONE // 64))  # 1 + tanh r
        reciprocal = rounded(divide(ONE, step), RECIPROCAL_BITS)
        rows.append(struct.pack("<IiI", nearest_float32(step), rounded(logarithm2(step), LOG_BITS), reciprocal))
    return b"".join(rows)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for name, content in (("gaussian.bin", gaussian_table()), ("steps.bin", step_table())):
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
