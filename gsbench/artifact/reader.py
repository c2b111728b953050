"""`ArtifactReader`: an artifact as its decoder sees it."""

from __future__ import annotations

import hashlib
import os
import stat
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

from gsbench.artifact import container
from gsbench.artifact.coders import BYTE_CODERS
from gsbench.artifact.container import Section
from gsbench.errors import ArtifactError

#: A coded section may not unfold to more than this unless the caller of `read` allows it.
DEFAULT_MAX_BYTES: Final = 2**30


class ArtifactReader:
    """Reads an artifact: a container, or a native file.

    A file that begins with the container's magic is a container, whatever its name; a file named ``.gsb`` must be one;
    anything else is native. Preamble, header and table are checked at once, and every length against the size of the
    file before memory is taken; the sections are read and checked when asked for. No file stays open.

    Attributes:
        path: the file.
        size: its size in bytes: the rate.
        is_native: whether it is a native file (which has no method, header or sections of ours).
        method, plugin_version: who wrote the container; None for native files.
        header: the JSON values that the method stored for its decoder.
        sections: in file order.

    Raises:
        ArtifactError: if the file is missing, unreadable, or a damaged container.
    """

    method: str | None
    plugin_version: str | None
    header: dict[str, Any]
    sections: list[Section]

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: Final = Path(path)
        with self._open() as file:
            self.size: Final = os.fstat(file.fileno()).st_size
            front = file.read(container.PREAMBLE.size)
            self.is_native: Final = not front.startswith(container.MAGIC) and self.path.suffix != container.SUFFIX
            if self.is_native:
                self.method, self.plugin_version, self.header, self.sections = None, None, {}, []
                self.container_bytes = 0
                self.header_bytes = 0
                return
            try:
                preamble = container.unpack_preamble(front, self.size)
                header = container.unpack_header(file.read(preamble.header_length), preamble)
                self.sections = container.unpack_table(file.read(preamble.table_length), preamble)
            except ArtifactError as error:
                raise ArtifactError(f"{self.path}: {error}") from None
        self.method = header["method"]
        self.plugin_version = header["plugin_version"]
        self.header = header["header"]
        self.container_bytes = container.PREAMBLE.size + preamble.table_length
        self.header_bytes = preamble.header_length

    def section(self, name: str) -> Section:
        """The section called `name`.

        Raises:
            ArtifactError: if there is none.
        """
        for section in self.sections:
            if section.name == name:
                return section
        if self.is_native:
            raise ArtifactError(f"{self.path}: section {name!r} is missing: a native file has no sections")
        raise ArtifactError(f"{self.path}: section {name!r} is missing; it has {[s.name for s in self.sections]}")

    def __contains__(self, name: object) -> bool:
        return any(section.name == name for section in self.sections)

    def read(self, name: str, max_bytes: int | None = None) -> bytes:
        """The content of a section, with its CRC-32C checked and its byte coder undone.

        Args:
            name: of the section.
            max_bytes: the most that the caller has use for. A section that declares a longer content is refused
                before memory is taken. None sets no bound for raw sections, which the file bounds, and 1 GiB for coded
                ones, which may unfold to a thousand times their size.

        Raises:
            ArtifactError: if the section is missing, damaged, too long or of an unknown coder.
        """
        section = self.section(name)
        where = f"{self.path}: section {name!r}"
        coder = BYTE_CODERS.get(section.coder)
        if coder is None:
            raise ArtifactError(f"{where}: unknown coder {section.coder!r}; known: {', '.join(BYTE_CODERS)}")
        limit = max_bytes if max_bytes is not None else max(section.length, DEFAULT_MAX_BYTES)
        if section.raw_length > limit:
            raise ArtifactError(f"{where}: declares {section.raw_length} bytes, expected at most {limit}")
        stored = self._stored(section, where)
        try:
            return coder.decode(stored, section.raw_length)
        except ValueError as error:
            raise ArtifactError(f"{where}: {error}") from None

    def verify(self) -> None:
        """Check the CRC-32C of every section.

        Raises:
            ArtifactError: naming the first damaged one.
        """
        for section in self.sections:
            self._stored(section, f"{self.path}: section {section.name!r}")

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the whole file, in hexadecimal."""
        with self._open() as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _stored(self, section: Section, where: str) -> bytes:
        with self._open() as file:
            if os.fstat(file.fileno()).st_size != self.size:
                raise ArtifactError(f"{where}: the file changed its size after it was opened")
            file.seek(section.offset)
            stored = file.read(section.length)
        if len(stored) != section.length or container.crc32c(stored) != section.crc32c:
            raise ArtifactError(f"{where}: damaged: its CRC-32C does not match")
        return stored

    def _open(self) -> BufferedReader:
        try:
            # A pipe or device would block or never end.
            if not stat.S_ISREG(self.path.stat().st_mode):
                raise ArtifactError(f"{self.path}: not a file; expected an artifact such as a .gsb or .ply file")
            return self.path.open("rb")
        except OSError as error:
            raise ArtifactError(f"{self.path}: cannot be read: {error.strerror or error}") from error

    def __repr__(self) -> str:
        return f"ArtifactReader({str(self.path)!r})"


def open_artifact(path: str | os.PathLike[str], method: str | None = None) -> ArtifactReader:
    """Open an artifact.

    Args:
        path: the file.
        method: if given, a container must be this method's.

    Raises:
        ArtifactError: if the file is missing, a damaged container, or another method's.
    """
    reader = ArtifactReader(path)
    if method is not None and reader.method not in (None, method):
        raise ArtifactError(f"{path}: written by method {reader.method!r}, expected {method!r}")
    return reader
