"""`ArtifactWriter`: how a method turns a model into one file."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from gsbench import _files
from gsbench.artifact import container
from gsbench.artifact.coders import BYTE_CODERS
from gsbench.artifact.container import Section
from gsbench.errors import StoreError


class ArtifactWriter:
    """Writes an artifact: either sections into a container, or one native file.

    The same calls give the same bytes. The file appears under its name when the writer is closed; if the ``with``
    block raises, nothing remains::

        with ArtifactWriter("scene.gsb", "mine", "1.0") as out:
            out.header["sh_degree"] = 3
            out.section("positions", data, kind="int16", coder="deflate")

        with ArtifactWriter("scene.ply", "mine", "1.0") as out:
            write_ply(out.native(".ply"), splats)

    Args:
        path: the artifact's name: it ends in ``.gsb`` for a container and in the native format's suffix otherwise.
        method: the method's name.
        plugin_version: version of the distribution that has the method.

    Attributes:
        header: JSON values that decoding needs; nothing about the machine or the moment. Containers only.
    """

    def __init__(self, path: str | os.PathLike[str], method: str, plugin_version: str) -> None:
        self.path: Final = Path(path)
        self.method: Final = method
        self.plugin_version: Final = plugin_version
        self.header: dict[str, Any] = {}
        self._sections: dict[str, tuple[Section, bytes]] = {}
        self._native: Path | None = None
        self._closed = False

    def section(self, name: str, data: bytes | bytearray | memoryview, kind: str = "data", coder: str = "raw") -> None:
        """Add a section. Sections are stored in the order of these calls.

        Args:
            name: unique label: letters, digits and underscores in groups that single ``.`` or ``-`` separate.
            data: the content; copied.
            kind: what it is, for people and for the method.
            coder: byte coder, "raw" or "deflate".

        Raises:
            ValueError: for a bad or repeated label, an unknown coder, more than 65535 sections, or after `native`.
        """
        self._require_open()
        if self._native is not None:
            raise ValueError(f"section {name!r}: the artifact is a native file, which has no sections")
        for what, label in (("name", name), ("kind", kind), ("coder", coder)):
            problem = container.name_problem(label) if what == "name" else container.label_problem(label)
            if problem is not None:
                raise ValueError(f"section {name!r}: the {what} {label!r} {problem}")
        if name in self._sections:
            raise ValueError(f"section {name!r}: there is one of this name already")
        if coder not in BYTE_CODERS:
            raise ValueError(f"section {name!r}: unknown coder {coder!r}; known: {', '.join(BYTE_CODERS)}")
        if len(self._sections) == container.MAX_SECTIONS:
            raise ValueError(f"section {name!r}: more than {container.MAX_SECTIONS} sections")
        content = bytes(data)
        stored = BYTE_CODERS[coder].encode(content)
        self._sections[name] = (Section(name, kind, coder, 0, len(stored), len(content), 0), stored)

    def native(self, suffix: str) -> Path:
        """Where to write a native file, which then is the whole artifact: its size is the rate.

        Args:
            suffix: of the format, such as ".ply"; `path` must end in it.

        Returns:
            The path of an empty file beside `path` that ends in `suffix`. It gets its name on `close`. The same path
            on every call.

        Raises:
            ValueError: if `path` ends otherwise (`MethodSpec.suffix` decides that), or there are sections already.
            StoreError: if the folder cannot be written.
        """
        self._require_open()
        if self._sections:
            raise ValueError(f"native({suffix!r}): there are sections already: {list(self._sections)}")
        if suffix == container.SUFFIX or not suffix.startswith(".") or not self.path.name.endswith(suffix):
            raise ValueError(
                f"native({suffix!r}): the artifact is called {self.path.name}; the method's MethodSpec.suffix must be "
                "that of the native format"
            )
        if self._native is None:
            self._native = _files.temporary_sibling(self.path, suffix)
        return self._native

    def close(self) -> None:
        """Write the file. Does nothing the second time.

        Raises:
            ValueError: if the header is not JSON, a native file has a header, nothing was written to the native path,
                or a container is not called ``.gsb``.
            StoreError: if the file cannot be written.
        """
        if self._closed:
            return
        try:
            if self._native is None:
                self._write_container()
            else:
                self._finish_native(self._native)
        finally:
            self.abort()

    def abort(self) -> None:
        """Leave nothing behind. Does nothing after `close`."""
        self._closed = True
        if self._native is not None:
            self._native.unlink(missing_ok=True)
        self._sections = {}

    def __enter__(self) -> ArtifactWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _write_container(self) -> None:
        if self.path.suffix != container.SUFFIX:
            raise ValueError(f"{self.path}: the name of a container must end in {container.SUFFIX}")
        header = container.pack_header(self.method, self.plugin_version, self.header)
        with _files.atomic_file(self.path) as file:
            file.writelines(container.pack(header, list(self._sections.values())))

    def _finish_native(self, temporary: Path) -> None:
        if self.header:
            raise ValueError(f"{self.path}: a native file has no place for a header, got {sorted(self.header)}")
        try:
            empty = temporary.stat().st_size == 0
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror or error}") from error
        if empty:
            raise ValueError(f"{self.path}: nothing was written to the path that native() gave")
        _files.replace(temporary, self.path)

    def _require_open(self) -> None:
        if self._closed:
            raise ValueError(f"{self.path}: this ArtifactWriter is closed")
