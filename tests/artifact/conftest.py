"""A second implementation of the container, written from the description of its bytes alone, for tests only."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from gsbench.artifact import ArtifactReader


def bitwise_crc32c(data: bytes) -> int:
    """CRC-32C by its definition: one bit at a time."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@dataclass
class Entry:
    """A row of the table; what is None is computed."""

    name: bytes = b"data"
    stored: bytes = b""
    kind: bytes = b"data"
    coder: bytes = b"raw"
    offset: int | None = None
    length: int | None = None
    raw_length: int | None = None
    crc: int | None = None


@dataclass
class Layout:
    """A file to be; every field can be made wrong, and the CRCs still fit unless they are given."""

    header: bytes = b'{"header":{},"method":"m","plugin_version":"1"}'
    entries: Sequence[Entry] = field(default_factory=list)
    magic: bytes = b"\x89GSB\r\n\x1a\n"
    version: int = 1
    count: int | None = None
    header_length: int | None = None
    table_length: int | None = None
    file_length: int | None = None
    header_crc: int | None = None
    table_crc: int | None = None
    preamble_crc: int | None = None
    table: bytes | None = None
    tail: bytes = b""

    def changed(self, **changes: object) -> Layout:
        return replace(self, **changes)  # type: ignore[arg-type]

    def bytes(self) -> bytes:
        def given(value: int | None, computed: int) -> int:
            return computed if value is None else value

        size = sum(3 + len(e.name) + len(e.kind) + len(e.coder) + 28 for e in self.entries)
        position = 40 + len(self.header) + (size if self.table is None else len(self.table))
        table = b""
        for e in self.entries:
            for label in (e.name, e.kind, e.coder):
                table += bytes([len(label)]) + label
            table += given(e.offset, position).to_bytes(8, "little")
            table += given(e.length, len(e.stored)).to_bytes(8, "little")
            table += given(e.raw_length, len(e.stored)).to_bytes(8, "little")
            table += given(e.crc, bitwise_crc32c(e.stored)).to_bytes(4, "little")
            position += len(e.stored)
        if self.table is not None:
            table = self.table
        front = self.magic + struct.pack(
            "<HHIIQII",
            self.version,
            given(self.count, len(self.entries)),
            given(self.header_length, len(self.header)),
            given(self.table_length, len(table)),
            given(self.file_length, position + len(self.tail)),
            given(self.header_crc, bitwise_crc32c(self.header)),
            given(self.table_crc, bitwise_crc32c(table)),
        )
        front += given(self.preamble_crc, bitwise_crc32c(front)).to_bytes(4, "little")
        return front + self.header + table + b"".join(e.stored for e in self.entries) + self.tail


@pytest.fixture(scope="session")
def layout() -> type[Layout]:
    return Layout


@pytest.fixture(scope="session")
def entry() -> type[Entry]:
    return Entry


@pytest.fixture(scope="session")
def reference_crc32c() -> Callable[[bytes], int]:
    return bitwise_crc32c


@pytest.fixture
def opened(tmp_path) -> Callable[[bytes], ArtifactReader]:
    """Opens bytes as a .gsb file."""

    def open_bytes(data: bytes) -> ArtifactReader:
        path = tmp_path / "file.gsb"
        path.write_bytes(data)
        return ArtifactReader(path)

    return open_bytes
