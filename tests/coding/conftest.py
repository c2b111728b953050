"""Messages, tables and coders that the tests of entropy coding share."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from gsbench.coding import TOTAL, EntropyCoder
from gsbench.coding.range import RangeCoder
from gsbench.errors import ArtifactError

Message = tuple[npt.NDArray[np.int32], npt.NDArray[np.uint32], npt.NDArray[np.int32]]


def make_coder(name: str) -> EntropyCoder:
    """A coder by name; skips where its package is not installed."""
    if name == "range":
        return RangeCoder()
    pytest.importorskip(name, reason=f"the package {name} is not installed")
    module = importlib.import_module(f"gsbench.coding.{name}")
    coder: EntropyCoder = getattr(module, f"{name.capitalize()}Coder")()
    return coder


@pytest.fixture(params=["range", "constriction", pytest.param("torchac", marks=pytest.mark.slow)])
def coder(request: pytest.FixtureRequest) -> EntropyCoder:
    """Each coder in turn; torchac compiles itself for a minute when it is first used."""
    return make_coder(request.param)


@pytest.fixture(scope="session")
def message() -> Callable[..., Message]:
    """Random symbols drawn from random tables: (symbols, tables, index)."""

    def make(count: int, rows: int = 3, size: int = 8, seed: int = 0) -> Message:
        random = np.random.default_rng([count, rows, size, seed])
        cuts = [np.sort(random.choice(TOTAL - 1, size - 1, replace=False) + 1) for _ in range(rows)]
        tables = np.zeros((rows, size + 1), np.uint32)
        tables[:, 1:-1] = cuts
        tables[:, -1] = TOTAL
        index = random.integers(0, rows, count).astype(np.int32)
        draws = random.integers(0, TOTAL, count)
        symbols = np.empty(count, np.int32)
        for row in range(rows) if rows <= count else np.unique(index):
            where = index == row
            symbols[where] = np.searchsorted(tables[row], draws[where], side="right") - 1
        return symbols, tables, index

    return make


@pytest.fixture(scope="session")
def entropy() -> Callable[[Message], float]:
    """What a message costs by its tables, in bits."""

    def bits(message: Message) -> float:
        symbols, tables, index = message
        frequencies = tables[index, symbols + 1].astype(float) - tables[index, symbols]
        return float(-np.log2(frequencies / TOTAL).sum())

    return bits


@pytest.fixture(scope="session")
def damages() -> Callable[..., int]:
    """Tries every truncation and `count` corruptions of a stream on `decode`, which may raise ArtifactError or return
    what `well_formed` accepts. Returns how many raised.
    """

    def run(data: bytes, decode: Callable[[bytes], object], well_formed: Callable[[object], bool], count: int) -> int:
        random = np.random.default_rng(len(data))
        raised = 0

        def attempt(changed: bytes) -> bool:
            try:
                result = decode(changed)
            except ArtifactError:
                return True
            assert well_formed(result)
            return False

        for length in range(len(data)):
            raised += attempt(data[:length])
        for kind in range(count):
            changed = bytearray(data)
            place = int(random.integers(0, max(1, len(data))))
            if kind % 4 == 0 and data:
                changed[place] ^= 1 << int(random.integers(0, 8))
            elif kind % 4 == 1:
                changed[place : place + 1] = random.bytes(int(random.integers(0, 9)))
            elif kind % 4 == 2:
                changed = bytearray(random.bytes(int(random.integers(0, len(data) + 9))))
            else:
                changed[place : place + 8] = bytes([0xFF if kind & 4 else 0]) * 8
            raised += attempt(bytes(changed))
        return raised

    return run
