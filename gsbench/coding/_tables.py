"""Reading the committed tables, which decide what a file means: a changed byte is an error, not another result."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from gsbench.errors import NativeError
from gsbench.native.coding import GaussianTables

#: SHA-256 of the files that data/generate.py writes.
DIGESTS: Final = {
    "gaussian.bin": "442743a608250137f215305fa338445d64dbaf4f5e6c46196f8471de352bb2c7",
    "steps.bin": "fe0ba3b2bd891e1ed1be388eeadca0beccd73eaec2ab7b8ac490087bbcbdad7d",
}
FRACTIONS: Final = 64
OWN_SCALES: Final = 72
STEPS: Final = 385
#: Entries that comparisons may read beyond the last row.
_MARGIN: Final = 32


def load(name: str) -> bytes:
    """The bytes of a committed table.

    Raises:
        NativeError: if they are not those that were committed.
    """
    content = resources.files("gsbench.coding").joinpath("data", name).read_bytes()
    if (digest := hashlib.sha256(content).hexdigest()) != DIGESTS[name]:
        raise NativeError(
            f"the table {name} of gsbench.coding is damaged: SHA-256 {digest}, expected {DIGESTS[name]}; reinstall"
        )
    return content


class GaussianRows(NamedTuple):
    """The frequencies of all scales with tables of their own.

    Fields:
        tables: per scale, cumulative frequencies, uint32 [64, size + 1]; row f is for a mean of f/64 above its floor.
            Symbols 0 to size - 2 are the integers from floor(mean) - reach to floor(mean) + reach + 1, symbol
            size - 1 is the escape.
        reaches: int64 [72].
        native: the same for C++.
    """

    tables: tuple[npt.NDArray[np.uint32], ...]
    reaches: npt.NDArray[np.int64]
    native: GaussianTables


@cache
def gaussian_rows() -> GaussianRows:
    """The Gaussian tables.

    The file (little-endian uint16): the reaches of the 72 scales; then per scale and fraction 0 to 32 of the mean the
    2 reach + 3 frequencies of a row. Fractions above 32 are mirror images: integer k as seen from the floor has
    the frequency that 1 - k has in row 64 - fraction.
    """
    numbers = np.frombuffer(load("gaussian.bin"), "<u2").astype(np.uint32)
    reaches = numbers[:OWN_SCALES].astype(np.int64)
    position = OWN_SCALES
    tables: list[npt.NDArray[np.uint32]] = []
    starts: list[npt.NDArray[np.uint32]] = []
    offsets = np.zeros(OWN_SCALES, np.int32)
    sizes = (2 * reaches + 3).astype(np.int32)
    for size in sizes.tolist():
        lower = numbers[position : position + 33 * size].reshape(33, size)
        position += 33 * size
        upper = np.concatenate([lower[31:0:-1, -2::-1], lower[31:0:-1, -1:]], axis=1)
        table = np.zeros((FRACTIONS, size + 1), np.uint32)
        np.cumsum(np.concatenate([lower, upper]), axis=1, out=table[:, 1:])
        tables.append(table)
        padded = np.zeros((FRACTIONS, (size + 8) // 8 * 8), np.uint32)  # padding is 2^16, which wraps to 0
        padded[:, :size] = table[:, :size]
        starts.append(padded.reshape(-1))
    offsets[1:] = np.cumsum([len(rows) for rows in starts[:-1]])
    joined = np.concatenate([*starts, np.zeros(_MARGIN, np.uint32)])
    native = GaussianTables((joined ^ 0x8000).astype(np.uint16).view(np.int16), offsets, sizes)
    return GaussianRows(tuple(tables), reaches, native)
