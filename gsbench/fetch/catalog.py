"""The catalog: which data sets there are, where their files come from, and what is known of their contents.

It is ``catalog.json`` beside this module. The LPIPS weights are pinned by SHA-256 and length. The hashes of the two
heads were taken from the files in the wheel ``lpips-0.1.4-py3-none-any.whl``; the wheel of torchmetrics holds the same.
The two files of torchvision carry the first eight digits in their names; the full hashes and the lengths are those that
many independent public repositories record for their downloads, and the lengths agree with torchvision's documentation.

The publishers of the data sets state no hashes, so what a first fetch brings is recorded and later compared with that
(`gsbench.fetch.record`); an archive may pin files (``"files"``: scene -> relative name -> SHA-256) once they are known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Final

from gsbench.registry import NAME

SCHEMA: Final = "gsbench.catalog/1"

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Archive:
    """A ZIP archive with scenes in it.

    Fields:
        name: the file's name; archives of equal names are the same file.
        urls: where it is, in the order to try.
        scenes: scene -> its folder inside the archive, with / between parts.
        about_bytes: roughly its size, for lists; None if not known.
        files: scene -> relative name -> SHA-256, where known.
    """

    name: str
    urls: tuple[str, ...]
    scenes: Mapping[str, str]
    about_bytes: int | None = None
    files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """A data set.

    Fields:
        name: as typed.
        title, citation: for people.
        terms: the page that states under which terms it may be used.
        scenes: names of its scenes.
        archives: where they come from; none for data sets that have to be placed by hand.
        manual: what to do by hand; "" where archives are fetched.
    """

    name: str
    title: str
    citation: str
    terms: str
    scenes: tuple[str, ...]
    archives: tuple[Archive, ...]
    manual: str = ""

    def archive(self, scene: str) -> Archive | None:
        """The archive that holds a scene; None for what is placed by hand."""
        return next((a for a in self.archives if scene in a.scenes), None)


@dataclass(frozen=True)
class PinnedFile:
    """A file known by its content: its length in bytes and SHA-256."""

    name: str
    urls: tuple[str, ...]
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Weights:
    """The files of the LPIPS weights, by name, and whose they are."""

    title: str
    citation: str
    terms: str
    files: Mapping[str, PinnedFile]


@dataclass(frozen=True)
class Catalog:
    """Everything that can be fetched, by name. `version` counts changes of the shipped file."""

    version: int
    datasets: Mapping[str, Dataset]
    lpips: Weights


@cache
def load_catalog() -> Catalog:
    """The catalog that is shipped with this version."""
    return parse_catalog(resources.files("gsbench.fetch").joinpath("catalog.json").read_text(encoding="utf-8"))


def parse_catalog(text: str) -> Catalog:
    """The catalog that a JSON text describes.

    Raises:
        ValueError: if it is not one.
    """
    value = json.loads(text)
    if value.get("schema") != SCHEMA:
        raise ValueError(f"catalog: expected schema {SCHEMA!r}, got {value.get('schema')!r}")
    datasets = {name: _dataset(name, entry) for name, entry in value["datasets"].items()}
    lpips = value["lpips"]
    files = {entry["name"]: _pinned(entry) for entry in lpips["files"]}
    return Catalog(
        version=value["version"],
        datasets=datasets,
        lpips=Weights(lpips["title"], lpips["citation"], lpips["terms"], files),
    )


def _dataset(name: str, entry: Mapping[str, Any]) -> Dataset:
    archives = tuple(_archive(a) for a in entry.get("archives", ()))
    scenes = tuple(entry.get("scenes", ())) or tuple(scene for archive in archives for scene in archive.scenes)
    for text in (name, *scenes):
        if not NAME.fullmatch(text):
            raise ValueError(f"catalog: {text!r} is no name")
    return Dataset(
        name=name,
        title=entry["title"],
        citation=entry["citation"],
        terms=entry["terms"],
        scenes=scenes,
        archives=archives,
        manual=entry.get("manual", ""),
    )


def _archive(entry: Mapping[str, Any]) -> Archive:
    files = entry.get("files", {})
    for scene, hashes in files.items():
        for name, digest in hashes.items():
            _check_sha256(f"{scene}/{name}", digest)
    return Archive(entry["name"], tuple(entry["urls"]), dict(entry["scenes"]), entry.get("about_bytes"), files)


def _pinned(entry: Mapping[str, Any]) -> PinnedFile:
    _check_sha256(entry["name"], entry["sha256"])
    return PinnedFile(entry["name"], tuple(entry["urls"]), entry["bytes"], entry["sha256"])


def _check_sha256(name: str, digest: str) -> None:
    if not _SHA256.fullmatch(digest):
        raise ValueError(f"catalog: {name}: {digest!r} is no SHA-256")
