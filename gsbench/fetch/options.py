"""How to fetch, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gsbench.errors import GsbenchError
from gsbench.fetch.download import Patience


@dataclass(frozen=True)
class FetchOptions:
    """How to fetch.

    Fields:
        force: fetch what is there, too, and replace it.
        url: address or file to take instead of the catalog's: an archive for scenes, which must all be in it; a folder
            or the address of one for ``lpips``.
        images: folders of photos to take, such as ("images_4",); None for all.
        keep: keep an archive that had to be fetched whole.
        patience: with failures of the network.
    """

    force: bool = False
    url: str | None = None
    images: tuple[str, ...] | None = None
    keep: bool = False
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True)
class Outcome:
    """What came of a target.

    Fields:
        target: as typed: ``dataset/scene`` or ``lpips``.
        status: "fetched", "present" (nothing to do) or "failed".
        folder: where it lies.
        files, bytes: what is there.
        note: for people; "" for nothing.
        error: why it failed, None if it did not.
    """

    target: str
    status: Literal["fetched", "present", "failed"]
    folder: Path
    files: int = 0
    bytes: int = 0
    note: str = ""
    error: GsbenchError | None = None
