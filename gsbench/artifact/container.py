r"""The container format ``.gsb``, version 1.

Everything needed to write another reader is on this page. All integers are little-endian and unsigned. CRC-32C is the
Castagnoli polynomial, reflected, initial value and final xor 0xFFFFFFFF (RFC 3720, appendix B.4): the nine ASCII
bytes ``123456789`` give 0xE3069283.

A file is four parts without gaps: preamble, header, table, sections.

**Preamble**, 40 bytes::

    offset  size  content
         0     8  magic: 89 47 53 42 0D 0A 1A 0A  ("\x89GSB\r\n\x1a\n"; shows transfers that change line ends)
         8     2  version of the format: 1
        10     2  S, number of sections
        12     4  H, length of the header in bytes, at most 2^20
        16     4  T, length of the table in bytes
        20     8  length of the whole file in bytes
        28     4  CRC-32C of the header
        32     4  CRC-32C of the table
        36     4  CRC-32C of bytes 0 to 35

**Header**, H bytes: a JSON object in UTF-8 with exactly the keys ``header`` (an object: what the method's decoder
needs to know), ``method`` and ``plugin_version`` (strings). It is canonical: keys sorted by code point, no blanks,
only the escapes that JSON demands, no NaN or infinity, floats in the shortest form that gives the same double (as
Python's ``repr``). Equal values therefore have equal bytes.

**Table**, T bytes: S entries one after another::

    size  content
       1  length of the name, then the name
       1  length of the kind, then the kind
       1  length of the coder, then the coder
       8  offset of the section from the start of the file
       8  length of the section as stored
       8  length of its content, once the coder is undone
       4  CRC-32C of the section as stored

Name, kind and coder are ASCII, 1 to 64 characters: letters, digits and underscores in groups that single ``.`` or
``-`` separate. They are labels, never paths. Names differ from each other; ``container`` and ``header`` are taken (they
stand for the other parts when sizes are listed). The kind says what the content is, for the method and for people
(``weights``, ``range``). The coder says how bytes are stored: ``raw`` as they are, ``deflate`` as one RFC 1951 stream.

**Sections**, in the order of the table: the first starts at 40 + H + T, each further one where the previous ends, the
last ends with the file. So every byte of the file is covered by exactly one CRC.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import google_crc32c

from gsbench.errors import ArtifactError

MAGIC: Final = b"\x89GSB\r\n\x1a\n"
VERSION: Final = 1
SUFFIX: Final = ".gsb"

PREAMBLE: Final = struct.Struct("<8sHHIIQIII")
#: The part of the preamble that its own CRC covers.
_SEALED: Final = PREAMBLE.size - 4
_ENTRY_TAIL: Final = struct.Struct("<QQQI")

MAX_SECTIONS: Final = 2**16 - 1
#: Parsed JSON takes many times its size in memory; larger data belongs into a section.
MAX_HEADER: Final = 2**20
#: Longest possible table: every label at its limit.
_MAX_LABEL: Final = 64
_MAX_TABLE: Final = MAX_SECTIONS * (3 * (1 + _MAX_LABEL) + _ENTRY_TAIL.size)
_MAX_DEPTH: Final = 64

_LABEL: Final = re.compile(r"[A-Za-z0-9_]+(?:[.-][A-Za-z0-9_]+)*")
#: Names of the parts that are no sections, in listings of sizes.
CONTAINER_PART: Final = "container"
HEADER_PART: Final = "header"
_TAKEN: Final = (CONTAINER_PART, HEADER_PART)


@dataclass(frozen=True)
class Section:
    """One section of a container.

    Fields:
        name: unique label.
        kind: what the content is.
        coder: how the bytes are stored: "raw" or "deflate".
        offset: from the start of the file.
        length: bytes in the file: what the section costs.
        raw_length: bytes of the content.
        crc32c: of the bytes in the file.
    """

    name: str
    kind: str
    coder: str
    offset: int
    length: int
    raw_length: int
    crc32c: int


@dataclass(frozen=True)
class Preamble:
    """The first 40 bytes, checked."""

    sections: int
    header_length: int
    table_length: int
    file_length: int
    header_crc: int
    table_crc: int

    @property
    def body_offset(self) -> int:
        """Where the first section starts."""
        return PREAMBLE.size + self.header_length + self.table_length


def crc32c(data: bytes) -> int:
    """CRC-32C of `data`."""
    return int(google_crc32c.value(data))


def label_problem(text: str) -> str | None:
    """Why `text` cannot be a name, kind or coder, or None."""
    if len(text) > _MAX_LABEL:
        return f"is {len(text)} characters long, expected at most {_MAX_LABEL}"
    if not _LABEL.fullmatch(text):
        return "does not consist of letters, digits and underscores in groups separated by single '.' or '-'"
    return None


def name_problem(name: str) -> str | None:
    """Why `name` cannot name a section, or None."""
    return "stands for another part of the file" if name in _TAKEN else label_problem(name)


def pack(header: bytes, sections: Sequence[tuple[Section, bytes]]) -> list[bytes]:
    """The parts of a file, in order: preamble, header, table and sections. Offsets, lengths and CRCs are computed here;
    those in the given `Section` objects are ignored, except `raw_length`.
    """
    labels = [[label.encode("ascii") for label in (s.name, s.kind, s.coder)] for s, _ in sections]
    table_length = sum(_ENTRY_TAIL.size + sum(1 + len(label) for label in entry) for entry in labels)
    offset = PREAMBLE.size + len(header) + table_length
    entries: list[bytes] = []
    for entry, (section, stored) in zip(labels, sections, strict=True):
        entries += [bytes([len(label)]) + label for label in entry]
        entries.append(_ENTRY_TAIL.pack(offset, len(stored), section.raw_length, crc32c(stored)))
        offset += len(stored)
    table = b"".join(entries)
    front = PREAMBLE.pack(
        MAGIC, VERSION, len(sections), len(header), len(table), offset, crc32c(header), crc32c(table), 0
    )[:_SEALED]
    return [front + struct.pack("<I", crc32c(front)), header, table, *(stored for _, stored in sections)]


def unpack_preamble(front: bytes, file_size: int) -> Preamble:
    """Check the start of a file of `file_size` bytes.

    Raises:
        ArtifactError: if it is not the start of a container of this version, is damaged, or promises what a file of
            this size cannot hold.
    """
    if len(front) < PREAMBLE.size:
        raise ArtifactError(f"container: truncated: {file_size} bytes, expected at least {PREAMBLE.size}")
    magic, version, count, header_length, table_length, length, header_crc, table_crc, crc = PREAMBLE.unpack(
        front[: PREAMBLE.size]
    )
    if magic != MAGIC:
        raise ArtifactError(f"container: starts with {magic.hex(' ')}, expected {MAGIC.hex(' ')}")
    if version != VERSION:
        raise ArtifactError(f"container: format version {version}, this gsbench reads version {VERSION}")
    if crc32c(front[:_SEALED]) != crc:
        raise ArtifactError("container: damaged: the CRC-32C of the first 36 bytes does not match")
    if length != file_size:
        what = "truncated" if length > file_size else "trailing bytes"
        raise ArtifactError(f"container: {what}: the file has {file_size} bytes, expected {length}")
    preamble = Preamble(count, header_length, table_length, length, header_crc, table_crc)
    if header_length > MAX_HEADER:
        raise ArtifactError(f"header: {header_length} bytes long, expected at most {MAX_HEADER}")
    if table_length > _MAX_TABLE or preamble.body_offset > file_size:
        raise ArtifactError(
            f"container: a header of {header_length} and a table of {table_length} bytes do not fit into "
            f"a file of {file_size} bytes"
        )
    return preamble


def unpack_table(table: bytes, preamble: Preamble) -> list[Section]:
    """The sections that a table lists.

    Raises:
        ArtifactError: if the table is malformed or its sections do not cover the rest of the file exactly; the
            message names the section.
    """
    if crc32c(table) != preamble.table_crc:
        raise ArtifactError("container: damaged: the CRC-32C of the section table does not match")
    sections: list[Section] = []
    names: set[str] = set()
    position, expected = 0, preamble.body_offset
    for index in range(preamble.sections):
        where = f"section table, entry {index}"
        labels = []
        for what in ("name", "kind", "coder"):
            label, position = _unpack_label(table, position, f"{where}, {what}")
            labels.append(label)
        if position + _ENTRY_TAIL.size > len(table):
            raise ArtifactError(f"{where}: the table ends inside it")
        offset, length, raw_length, crc = _ENTRY_TAIL.unpack_from(table, position)
        position += _ENTRY_TAIL.size
        name = labels[0]
        if (problem := name_problem(name)) is not None:
            raise ArtifactError(f"{where}: the name {name!r} {problem}")
        if name in names:
            raise ArtifactError(f"section {name!r}: there are two of this name")
        if offset != expected:
            raise ArtifactError(f"section {name!r}: starts at byte {offset}, expected {expected}")
        if length > preamble.file_length - offset:
            raise ArtifactError(
                f"section {name!r}: {length} bytes from byte {offset} reach beyond the file's {preamble.file_length}"
            )
        names.add(name)
        expected += length
        sections.append(Section(name, labels[1], labels[2], offset, length, raw_length, crc))
    if position != len(table):
        raise ArtifactError(f"section table: {len(table) - position} bytes too many after {len(sections)} entries")
    if expected != preamble.file_length:
        raise ArtifactError(f"container: no section covers bytes {expected} to {preamble.file_length}")
    return sections


def _unpack_label(table: bytes, position: int, where: str) -> tuple[str, int]:
    if position >= len(table):
        raise ArtifactError(f"{where}: the table ends before it")
    start = position + 1
    end = start + table[position]
    if end > len(table):
        raise ArtifactError(f"{where}: the table ends inside it")
    try:
        label = table[start:end].decode("ascii")
    except UnicodeDecodeError:
        raise ArtifactError(f"{where}: {table[start:end]!r} is not ASCII") from None
    if (problem := label_problem(label)) is not None:
        raise ArtifactError(f"{where}: {label!r} {problem}")
    return label, end


def pack_header(method: str, plugin_version: str, header: dict[str, Any]) -> bytes:
    """The canonical JSON of a header.

    Raises:
        ValueError: if `header` holds something that is not a JSON value (NaN, bytes, a key that is not a string), is
            nested too deeply or is too long; the message says where.
    """
    check_json(header, "header", depth=1)
    data = _canonical({"header": header, "method": method, "plugin_version": plugin_version})
    if len(data) > MAX_HEADER:
        raise ValueError(f"header: {len(data)} bytes of JSON, expected at most {MAX_HEADER}; put data into a section")
    return data


def unpack_header(data: bytes, preamble: Preamble) -> dict[str, Any]:
    """The object in the header part, with the keys "header", "method" and "plugin_version".

    Raises:
        ArtifactError: if it is damaged, not of this form, or not canonical.
    """
    if crc32c(data) != preamble.header_crc:
        raise ArtifactError("header: damaged: its CRC-32C does not match")
    try:
        value = json.loads(data.decode("utf-8"))
        check_json(value, "header")
        canonical = _canonical(value)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise ArtifactError(f"header: not JSON of the container format: {error}") from None
    if not (
        isinstance(value, dict)
        and sorted(value) == ["header", "method", "plugin_version"]
        and isinstance(value["header"], dict)
        and isinstance(value["method"], str)
        and isinstance(value["plugin_version"], str)
    ):
        raise ArtifactError(
            "header: expected an object of exactly header (an object), method and plugin_version (strings)"
        )
    if canonical != data:
        raise ArtifactError("header: its JSON is not canonical (sorted keys, no blanks, shortest numbers)")
    return value


def check_json(value: object, where: str, depth: int = 0) -> None:
    """Check that `value` comes back from JSON as it is.

    Raises:
        ValueError: naming the place that does not.
    """
    if depth > _MAX_DEPTH:
        raise ValueError(f"{where}: nested more than {_MAX_DEPTH} deep")
    if isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str:
                raise ValueError(f"{where}: the key {key!r} is not a string")
            check_json(item, f"{where}.{key}", depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            check_json(item, f"{where}[{index}]", depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where}: {value} is not a JSON number")
    elif value is not None and type(value) not in (bool, int, float, str):
        raise ValueError(f"{where}: expected a JSON value (None, bool, int, float, str, list, dict), got {type(value)}")


def _canonical(value: object) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")
