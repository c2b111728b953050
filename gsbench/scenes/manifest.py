"""What identifies a scene: the contents of the files that it was read from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from gsbench.errors import SceneError

#: Begins what is hashed, so that another way of hashing gives other values.
_VERSION: Final = "gsbench scene 1"


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hex.

    Raises:
        SceneError: if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SceneError(f"{path}: cannot be read: {error.strerror or error}") from error


def file_digests(files: Mapping[str, Path]) -> dict[str, str]:
    """`file_digest` of each of `files`, several at a time (hashing lets other threads run)."""
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        return dict(zip(files, pool.map(file_digest, files.values()), strict=True))


def scene_hash(digests: Mapping[str, str], extra: Iterable[str] = ()) -> str:
    """SHA-256 over (relative name, content digest) of every file, sorted by name, then `extra`; 64 hex digits.

    Neither the folder's place nor times take part.
    """
    lines = [_VERSION, *(f"{digest} {name}" for name, digest in sorted(digests.items())), *extra]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
