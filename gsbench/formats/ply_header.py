"""The header of a PLY file: what is in the file and where, without reading it. Needs no torch.

The format is Greg Turk's of 1994 (http://paulbourke.net/dataformats/ply/): lines of ASCII text that declare elements,
each with a count and a list of properties, followed by the rows of every element in turn.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gsbench.errors import FormatError

#: Longer headers are refused; that of an Inria file has 1.5 kB.
MAX_HEADER: Final = 2**16
#: Far above any real file, and low enough that products of counts and row sizes stay exact everywhere.
_MAX_COUNT: Final = 2**48

#: Scalar types, under both naming schemes, to numpy's codes without byte order.
SCALARS: Final = {
    "char": "i1",
    "uchar": "u1",
    "short": "i2",
    "ushort": "u2",
    "int": "i4",
    "uint": "u4",
    "float": "f4",
    "double": "f8",
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "float32": "f4",
    "float64": "f8",
}
_BYTE_ORDERS: Final = {"binary_little_endian": "<", "binary_big_endian": ">"}

#: Property of a Gaussian -> the part of the file that it belongs to in listings.
_GROUPS: Final = {
    **dict.fromkeys(("x", "y", "z"), "means"),
    **dict.fromkeys(("nx", "ny", "nz"), "normals"),
    "opacity": "opacity",
    **dict.fromkeys(("scale_0", "scale_1", "scale_2"), "scales"),
    **dict.fromkeys(("rot_0", "rot_1", "rot_2", "rot_3"), "quats"),
}
_SH: Final = re.compile(r"f_(dc|rest)_[0-9]+")


@dataclass(frozen=True)
class Property:
    """A property: its name and numpy type code with byte order (``"<f4"``); None for lists, whose size varies."""

    name: str
    dtype: str | None

    @property
    def size(self) -> int:
        """Bytes per row: of a list, the least it can take (an empty one has its length only, at least one byte)."""
        return int(self.dtype[2:]) if self.dtype else 1


@dataclass(frozen=True)
class Element:
    """An element: `count` rows of `properties`."""

    name: str
    count: int
    properties: tuple[Property, ...]

    @property
    def has_lists(self) -> bool:
        """Whether rows differ in size."""
        return any(p.dtype is None for p in self.properties)

    @property
    def row_size(self) -> int:
        """Bytes per row, the least where there are lists."""
        return sum(p.size for p in self.properties)

    @property
    def size(self) -> int:
        """Bytes of all rows, the least where there are lists."""
        return self.count * self.row_size


@dataclass(frozen=True)
class PlyHeader:
    """What a PLY file contains.

    Fields:
        length: bytes of the header; the first row follows.
        file_size: bytes of the whole file, which hold all elements.
        elements: in file order; names differ, and so do names of properties within one.
    """

    length: int
    file_size: int
    elements: tuple[Element, ...]

    @property
    def trailing(self) -> int:
        """Bytes after the last element; 0 where lists hide where that ends. Negative if the file is too short."""
        if any(element.has_lists for element in self.elements):
            return 0
        return self.file_size - self.length - sum(element.size for element in self.elements)

    def offset(self, name: str) -> int:
        """Where the rows of an element start.

        Raises:
            FormatError: if there is no such element, or one with lists comes before it.
        """
        position = self.length
        for element in self.elements:
            if element.name == name:
                return position
            if element.has_lists:
                raise FormatError(
                    f"element {element.name!r} before {name!r} has list properties, which is not supported"
                )
            position += element.size
        raise FormatError(f"no element {name!r}; the file has {[e.name for e in self.elements]}")

    def element(self, name: str) -> Element | None:
        """The element called `name`, if there is one."""
        return next((e for e in self.elements if e.name == name), None)


def read_header(path: Path) -> PlyHeader:
    """Read the header of a binary PLY file and check that the file has room for all that it declares.

    Where an element has list properties, only the least possible length is checked. Trailing bytes are the caller's
    affair (`PlyHeader.trailing`).

    Raises:
        FormatError: if the file cannot be read, is no binary PLY, or is shorter than its header says; the message
            starts with the path.
    """
    try:
        if not path.is_file():
            raise FormatError(f"{path}: {'not a file' if path.exists() else 'does not exist'}; expected a .ply file")
        with path.open("rb") as file:
            file_size = os.fstat(file.fileno()).st_size
            start = file.read(MAX_HEADER)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        header = parse_header(start, file_size)
        _check_length(header)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None
    return header


def parse_header(start: bytes, file_size: int) -> PlyHeader:
    """Parse a header from the first bytes of a file (at least `MAX_HEADER` of them, or all there are).

    Raises:
        FormatError: naming the line that is wrong.
    """
    if not re.match(rb"ply\r?\n", start):
        raise FormatError(f"not a PLY file: starts with {start[:8]!r}, expected b'ply' and a line end")
    end = re.search(rb"\nend_header\r?\n", start)
    if end is None:
        if file_size > MAX_HEADER:
            raise FormatError(f"PLY header: no end_header in the first {MAX_HEADER} bytes")
        raise FormatError(f"PLY header: truncated: no end_header in {file_size} bytes")
    lines = start[: end.start()].split(b"\n")
    order: str | None = None
    elements: list[tuple[str, int, list[Property]]] = []
    for number, line in enumerate(lines[1:], 2):
        words = line.decode("latin-1").split()
        where = f"PLY header, line {number}"
        match words:
            case ["comment" | "obj_info", *_] | []:
                continue
            case ["format", form, version] if order is None and not elements:
                order = _byte_order(form, version, where)
            case ["element", name, count] if order is not None:
                if any(name == e[0] for e in elements):
                    raise FormatError(f"{where}: there are two elements {name!r}")
                elements.append((name, _count(count, name, where), []))
            case ["property", *declaration] if elements and order is not None:
                properties = elements[-1][2]
                added = _property(declaration, order, where)
                if any(added.name == p.name for p in properties):
                    raise FormatError(f"{where}: element {elements[-1][0]!r} has two properties {added.name!r}")
                properties.append(added)
            case _:
                expected = "an element, a property of one or end_header" if order else "the format"
                raise FormatError(f"{where}: {' '.join(words)[:80]!r}, expected {expected}")
    if order is None:
        raise FormatError("PLY header: no format line")
    return PlyHeader(end.end(), file_size, tuple(Element(n, c, tuple(p)) for n, c, p in elements))


def inspect_ply(path: Path) -> list[tuple[str, int]]:
    """Bytes of a PLY file's parts as (name, bytes); the sum is the size of the file.

    The parts are the header, the attributes of the Gaussians (means, normals, sh, opacity, scales, quats), other
    properties and elements under the element's name, "lists" for elements whose rows vary in size and all that
    follows them, and "trailing" for bytes that no element covers.

    Raises:
        FormatError: as `read_header`.
    """
    header = read_header(path)
    parts = {"header": header.length}
    for element in header.elements:
        if element.has_lists:
            break
        for prop in element.properties:
            group = element.name
            if element.name == "vertex":
                group = "sh" if _SH.fullmatch(prop.name) else _GROUPS.get(prop.name, group)
            parts[group] = parts.get(group, 0) + element.count * prop.size
    rest = header.file_size - sum(parts.values())
    if rest:
        name = "trailing" if header.trailing else "lists"
        parts[name] = parts.get(name, 0) + rest
    return list(parts.items())


def _byte_order(form: str, version: str, where: str) -> str:
    if form == "ascii":
        raise FormatError(f"{where}: ascii PLY is not supported, expected binary_little_endian; convert the file")
    if form not in _BYTE_ORDERS or version != "1.0":
        raise FormatError(f"{where}: format {form!r} {version!r}, expected binary_little_endian 1.0")
    return _BYTE_ORDERS[form]


def _count(text: str, name: str, where: str) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", text) or int(text) > _MAX_COUNT:
        raise FormatError(f"{where}: element {name!r} has count {text[:40]!r}, expected a number of rows up to 2^48")
    return int(text)


def _property(words: list[str], order: str, where: str) -> Property:
    match words:
        case ["list", length, item, name]:
            types, dtype = [length, item], None
        case [kind, name]:
            types, dtype = [kind], order + SCALARS.get(kind, "")
        case _:
            raise FormatError(f"{where}: property {' '.join(words)[:80]!r}, expected a type and a name")
    for kind in types:
        if kind not in SCALARS:
            raise FormatError(f"{where}: property {name!r} has unknown type {kind!r}; known: {', '.join(SCALARS)}")
    return Property(name, dtype)


def _check_length(header: PlyHeader) -> None:
    position = header.length
    for element in header.elements:
        available = header.file_size - position
        if element.size > available:
            raise FormatError(
                f"truncated: element {element.name!r} of {element.count} rows needs {element.size} bytes from byte "
                f"{position} on, the file has {max(available, 0)}"
            )
        position += element.size
