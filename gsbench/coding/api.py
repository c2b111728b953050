"""The protocol of entropy coders.

A coder turns symbols and their probability tables into bytes. Probabilities are integers, so that the same bytes
decode to the same symbols on every machine. Calls to `put` (and, mirrored, to `get`) alternate with the
computation of the next tables from what is already coded, which is how context models work.

Shapes and units, for M symbols and T tables of at most K symbols:

* symbols: int32 [M], each in [0, K).
* tables: uint32 [T, K + 1], cumulative frequencies: every row starts at 0, ends at `TOTAL` and increases
  strictly, so that every symbol has a frequency of at least 1. Symbol s of row t has the probability
  ``(tables[t, s + 1] - tables[t, s]) / TOTAL`` and costs -log2 of it in bits.
* index: int32 [M], each in [0, T): which row codes which symbol.

Arrays are C-contiguous. Coders are registered under a name by the hook `gsbench_entropy_coders`; byte coders
(zstd, deflate) compress bytes without a model and are a separate kind.
"""

from __future__ import annotations

from typing import Final, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

#: The sum of the frequencies of every table.
TOTAL: Final = 1 << 16

Symbols = npt.NDArray[np.int32]
Tables = npt.NDArray[np.uint32]
Index = npt.NDArray[np.int32]


@runtime_checkable
class Encoder(Protocol):
    """Takes symbols, then yields the bytes. Good for one stream."""

    def put(self, symbols: Symbols, tables: Tables, index: Index) -> None:
        """Append M symbols (possibly none), each coded with its row of `tables`.

        Raises:
            ValueError: if a shape, dtype or value is not as the module's docstring says; nothing is appended then.
        """
        ...

    def finish(self) -> bytes:
        """The stream of everything that was put, in order. Deterministic: equal calls give equal bytes.

        Raises:
            ValueError: if the encoder was finished before.
        """
        ...


@runtime_checkable
class Decoder(Protocol):
    """Gives the symbols back, in the order in which they were put."""

    def get(self, tables: Tables, index: Index) -> Symbols:
        """The next M symbols, int32 [M], where M is the length of `index`.

        `tables` and `index` must be those of the encoder; the split into calls may be another.

        Raises:
            ValueError: if a shape, dtype or value is not as the module's docstring says.
            ArtifactError: if the stream ends before these symbols do.
        """
        ...

    def finish(self) -> None:
        """Check that the stream is used up.

        Raises:
            ArtifactError: if bytes are left over, or the stream does not end as an encoder ends it.
        """
        ...


@runtime_checkable
class EntropyCoder(Protocol):
    """An entropy coder as the registry holds it. Instances are created without arguments and keep no state."""

    def encoder(self) -> Encoder:
        """A new, empty encoder."""
        ...

    def decoder(self, data: bytes) -> Decoder:
        """A decoder of a stream that this coder's encoder made.

        Raises:
            ArtifactError: if `data` cannot be such a stream.
        """
        ...


def check_tables(tables: Tables, index: Index, symbols: Symbols | None = None) -> None:
    """Check what coders are given, for those that do not themselves.

    Raises:
        ValueError: if a shape, dtype or value is not as the module's docstring says.
    """
    if tables.dtype != np.uint32 or tables.ndim != 2 or tables.shape[1] < 2:
        raise ValueError(f"tables: expected uint32 [T, K + 1], got {tables.dtype} {list(tables.shape)}")
    steps = np.diff(tables.astype(np.int64), axis=1)
    if (tables[:, 0] != 0).any() or (tables[:, -1] != TOTAL).any() or (steps <= 0).any():
        raise ValueError(f"tables: a row does not rise strictly from 0 to {TOTAL}")
    if index.dtype != np.int32 or index.ndim != 1:
        raise ValueError(f"index: expected int32 [M], got {index.dtype} {list(index.shape)}")
    if len(index) and not 0 <= index.min() <= index.max() < len(tables):
        raise ValueError(f"index: expected 0 to {len(tables) - 1}")
    if symbols is None:
        return
    if symbols.dtype != np.int32 or symbols.shape != index.shape:
        raise ValueError(f"symbols: expected int32 {list(index.shape)}, got {symbols.dtype} {list(symbols.shape)}")
    if len(symbols) and not 0 <= symbols.min() <= symbols.max() < tables.shape[1] - 1:
        raise ValueError(f"symbols: expected 0 to {tables.shape[1] - 2}")
