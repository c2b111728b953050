"""Looking for photographs in an artifact: their pixels or their files, as they are, deflated or as text."""

from __future__ import annotations

import base64
import binascii
import contextlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gsbench.artifact import open_artifact
from gsbench.errors import ArtifactError
from gsbench.scenes import View

#: Rows of pixels that are looked for, per photograph, and pieces of its file.
_ROWS: Final = 8
_PIECES: Final = 8
#: Bytes of a piece. Shorter ones may be there by chance.
_LENGTH: Final = 48
#: A row or piece has at least this many different bytes: a black row proves nothing.
_VARIETY: Final = 16
#: Texts shorter than this hold no photograph.
_TEXT: Final = 64


def photograph_inside(artifact: Path, views: Sequence[View], files: Mapping[str, Path]) -> str | None:
    """What of a photograph lies in an artifact, in words; None if nothing is found.

    Args:
        artifact: the file.
        views: the photographs.
        files: their files, by name of the view, where there are any.
    """
    needles = {what: data for view in views for what, data in _needles(view, files.get(view.name))}
    for where, data in _contents(artifact):
        for what, needle in needles.items():
            if needle in data:
                return f"{what}, in {where}"
    return None


def _needles(view: View, file: Path | None) -> Iterator[tuple[str, bytes]]:
    pixels = view.read_pixels().contiguous().numpy()
    step = max(1, view.height // (4 * _ROWS))
    rows = [(row, pixels[row].tobytes()[: 8 * _LENGTH]) for row in range(0, view.height, step)]
    good = [(row, data) for row, data in rows if len(data) >= _LENGTH and len(set(data)) >= _VARIETY]
    for row, data in good[:: max(1, len(good) // _ROWS)]:
        yield f"row {row} of {view.name}", data
    if file is not None:
        content = file.read_bytes()
        for index in range(_PIECES):
            start = len(content) * (index + 1) // (_PIECES + 2)
            data = content[start : start + _LENGTH]
            if len(data) == _LENGTH and len(set(data)) >= _VARIETY:
                yield f"bytes {start} to {start + _LENGTH} of the file of {view.name}", data


def _contents(artifact: Path) -> Iterator[tuple[str, bytes]]:
    """What the artifact holds: the file, its sections undone, and texts in its header decoded."""
    whole = artifact.read_bytes()
    yield "the file", whole
    reader = open_artifact(artifact)
    for section in reader.sections:
        try:
            data = reader.read(section.name)
        except ArtifactError:
            continue
        yield f"section {section.name!r}", data
        with contextlib.suppress(zlib.error):
            yield f"section {section.name!r}, unfolded", zlib.decompress(data)
    for path, value in _leaves(reader.header, "header"):
        yield from ((path, data) for data in _decoded(value))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str | list[int]]]:
    if isinstance(value, str) and len(value) >= _TEXT:
        yield path, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}[{name!r}]")
    elif isinstance(value, list):
        if value and all(type(item) is int and 0 <= item < 256 for item in value):
            yield path, value
        else:
            for index, inner in enumerate(value):
                yield from _leaves(inner, f"{path}[{index}]")


def _decoded(value: str | list[int]) -> Iterator[bytes]:
    """What a text or a list of bytes may stand for."""
    if isinstance(value, list):
        first = [bytes(value)]
    else:
        first = [value.encode("latin-1", errors="ignore")]
        for decode in (base64.b64decode, base64.b85decode, base64.a85decode, bytes.fromhex):
            try:
                first.append(decode(value))
            except (ValueError, binascii.Error):
                continue
    for data in first:
        yield data
        with contextlib.suppress(zlib.error):
            yield zlib.decompress(data)
