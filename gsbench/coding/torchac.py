"""The entropy coder `torchac`: the arithmetic coder of the package of this name, behind gsbench's interface.

torchac codes one tensor of symbols at once, so each `put` becomes a stream of its own. A stream here is, per put, the
count of its symbols and the length of its torchac stream (unsigned LEB128), then that stream. A `get` that takes less
than a put decodes the start of the put again each time.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt

from gsbench.coding._bytes import ByteReader, varint
from gsbench.coding.api import Decoder, Encoder, Index, Symbols, Tables, check_tables
from gsbench.errors import ArtifactError


def _library() -> Any:
    return importlib.import_module("torchac")


def _cdf(rows: Tables) -> Any:
    """int16 [M, K + 1] as torchac has it: 2^16 wraps to 0."""
    import torch

    return torch.from_numpy((rows & 0xFFFF).astype(np.uint16).view(np.int16))


class _Encoder(Encoder):
    def __init__(self) -> None:
        self._parts: list[bytes] | None = []

    def put(self, symbols: Symbols, tables: Tables, index: Index) -> None:
        import torch

        if self._parts is None:
            raise ValueError("this encoder was finished before")
        check_tables(tables, index, symbols)
        if tables.shape[1] > 2**15:
            raise ValueError(f"tables: torchac codes at most 32767 symbols, got {tables.shape[1] - 1}")
        if not len(index):
            return
        stream = _library().encode_int16_normalized_cdf(_cdf(tables[index]), torch.from_numpy(symbols.astype(np.int16)))
        self._parts += [varint(len(symbols)), varint(len(stream)), stream]

    def finish(self) -> bytes:
        if self._parts is None:
            raise ValueError("this encoder was finished before")
        data, self._parts = b"".join(self._parts), None
        return data


class _Decoder(Decoder):
    def __init__(self, data: bytes) -> None:
        self._reader = ByteReader(data, "torchac stream")
        self._left = 0  # symbols of the put in hand
        self._stream = b""
        self._rows: list[Tables] = []  # of its symbols that are decoded already
        self._taken = 0

    def get(self, tables: Tables, index: Index) -> Symbols:
        check_tables(tables, index)
        parts: list[npt.NDArray[np.int32]] = [np.empty(0, np.int32)]
        while len(index):
            if not self._left:
                self._left = self._reader.varint()
                self._stream = self._reader.take(self._reader.varint())
                self._rows, self._taken = [], 0
                continue
            now = min(self._left, len(index))
            self._rows.append(tables[index[:now]])
            if any(rows.shape[1] != tables.shape[1] for rows in self._rows):
                raise ArtifactError("torchac stream: damaged: tables of two sizes within one put")
            decoded = _library().decode_int16_normalized_cdf(_cdf(np.concatenate(self._rows)), self._stream).numpy()
            parts.append(decoded[self._taken :].astype(np.int32))
            self._taken += now
            self._left -= now
            index = index[now:]
        return np.concatenate(parts)

    def finish(self) -> None:
        if self._left:
            raise ArtifactError(f"torchac stream: {self._left} symbols are left over")
        self._reader.finish()


class TorchacCoder:
    """The entropy coder `torchac`. Its first use compiles a library, which takes half a minute.

    Raises:
        ImportError: if the package is not installed (``pip install gsbench-core[torchac]``).
    """

    def __init__(self) -> None:
        _library()

    def encoder(self) -> Encoder:
        """A new, empty encoder."""
        return _Encoder()

    def decoder(self, data: bytes) -> Decoder:
        """A decoder of a stream of `encoder`."""
        return _Decoder(data)
