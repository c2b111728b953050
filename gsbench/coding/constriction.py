"""The entropy coder `constriction`: the range coder of the package of this name (Bamler, "Understanding entropy
coding with asymmetric numeral systems", 2022), behind gsbench's interface.

Its categorical models take floats, which it turns into integers of its own; frequencies in 1/2^16 are exact floats, so
those integers are the same on every machine.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from gsbench.coding.api import TOTAL, Decoder, Encoder, Index, Symbols, Tables, check_tables
from gsbench.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Probabilities are handed over for as many symbols at a time as fill this many bytes.
_BLOCK_BYTES: Final = 1 << 22


def _library() -> Any:
    return importlib.import_module("constriction")


def _blocks(tables: Tables, index: Index) -> Iterator[tuple[slice, npt.NDArray[np.float64]]]:
    frequencies = np.diff(tables.astype(np.float64), axis=1) / TOTAL
    step = max(1, _BLOCK_BYTES // (8 * frequencies.shape[1]))
    for start in range(0, len(index), step):
        part = slice(start, start + step)
        yield part, np.ascontiguousarray(frequencies[index[part]])


class _Encoder(Encoder):
    def __init__(self) -> None:
        stream = _library().stream
        self._encoder: Any = stream.queue.RangeEncoder()
        self._family: Any = stream.model.Categorical(perfect=False)

    def put(self, symbols: Symbols, tables: Tables, index: Index) -> None:
        if self._encoder is None:
            raise ValueError("this encoder was finished before")
        check_tables(tables, index, symbols)
        for part, probabilities in _blocks(tables, index):
            self._encoder.encode(symbols[part], self._family, probabilities)

    def finish(self) -> bytes:
        if self._encoder is None:
            raise ValueError("this encoder was finished before")
        words = self._encoder.get_compressed()
        self._encoder = None
        return bytes(words.astype("<u4").tobytes())


class _Decoder(Decoder):
    def __init__(self, data: bytes) -> None:
        if len(data) % 4:
            raise ArtifactError(f"a constriction stream consists of 4-byte words; this one has {len(data)} bytes")
        stream = _library().stream
        self._decoder: Any = stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))
        self._family: Any = stream.model.Categorical(perfect=False)

    def get(self, tables: Tables, index: Index) -> Symbols:
        check_tables(tables, index)
        symbols = np.empty(len(index), np.int32)
        for part, probabilities in _blocks(tables, index):
            try:
                symbols[part] = self._decoder.decode(self._family, probabilities)
            except (AssertionError, ValueError, RuntimeError) as error:
                raise ArtifactError(f"damaged constriction stream: {error}") from None
        return symbols

    def finish(self) -> None:
        # The library cannot tell for sure: its streams may end in a word that no symbol needs.
        if not self._decoder.maybe_exhausted():
            raise ArtifactError("the constriction stream does not end with its last symbol")


class ConstrictionCoder:
    """The entropy coder `constriction`.

    Raises:
        ImportError: if the package is not installed (``pip install gsbench-core[constriction]``).
    """

    def __init__(self) -> None:
        _library()

    def encoder(self) -> Encoder:
        """A new, empty encoder."""
        return _Encoder()

    def decoder(self, data: bytes) -> Decoder:
        """A decoder of a stream of `encoder`."""
        return _Decoder(data)
