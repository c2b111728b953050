"""The entropy coder: every symbol in two bytes. Correct, if not small."""

import numpy as np

from gsbench.coding.api import check_tables
from gsbench.errors import ArtifactError


class AnyEncoder:
    def __init__(self):
        self._parts = []

    def put(self, symbols, tables, index):
        check_tables(tables, index, symbols)
        self._parts.append(symbols.astype("<u2").tobytes())

    def finish(self):
        return b"ANY!" + b"".join(self._parts)


class AnyDecoder:
    def __init__(self, data):
        if data[:4] != b"ANY!":
            raise ArtifactError("not a stream of any-coder")
        self._data = data[4:]

    def get(self, tables, index):
        check_tables(tables, index)
        taken, self._data = self._data[: 2 * len(index)], self._data[2 * len(index) :]
        if len(taken) != 2 * len(index):
            raise ArtifactError("the stream ends early")
        return np.frombuffer(taken, "<u2").astype(np.int32)

    def finish(self):
        if self._data:
            raise ArtifactError("bytes are left over")


class AnyCoder:
    def encoder(self):
        return AnyEncoder()

    def decoder(self, data):
        return AnyDecoder(data)
