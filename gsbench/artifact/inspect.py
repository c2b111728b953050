"""Where the bytes of an artifact went."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gsbench.artifact.container import CONTAINER_PART, HEADER_PART
from gsbench.artifact.reader import ArtifactReader
from gsbench.errors import ArtifactError
from gsbench.registry import Registry

#: Suffix of a native format, without the dot -> function that lists the parts of such a file as (name, bytes), or its
#: target ``"module:function"``. Names are unique and the sum is the size of the file.
inspectors: Final[Registry[Callable[[Path], list[tuple[str, int]]]]] = Registry("artifact inspector")
inspectors.register("ply", "gsbench.formats.ply_header:inspect_ply")


def inspect_artifact(path: str | os.PathLike[str]) -> list[tuple[str, int]]:
    """The parts of an artifact as (name, bytes), in file order; the sum is the size of the file.

    A container has the parts "container" (preamble and table), "header" and its sections. A native file has the parts
    that the inspector of its suffix tells; without one, it is one part called "file".

    Raises:
        ArtifactError: if the file is damaged so that its parts cannot be told. Contents are not checked
            (`ArtifactReader.verify` does that).
    """
    reader = ArtifactReader(path)
    if reader.is_native:
        suffix = reader.path.suffix.removeprefix(".")
        if suffix not in inspectors:
            return [("file", reader.size)]
        parts = inspectors.get(suffix)(reader.path)
    else:
        parts = [(CONTAINER_PART, reader.container_bytes), (HEADER_PART, reader.header_bytes)]
        parts += [(section.name, section.length) for section in reader.sections]
    total = sum(count for _, count in parts)
    if total != reader.size:
        raise ArtifactError(f"{path}: its parts have {total} bytes, the file has {reader.size}")
    return parts
