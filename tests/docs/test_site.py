"""The site: it builds without warnings, its links lead somewhere, it needs no network, and the API is all there."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

#: Packages whose public names authors of plugins use.
PACKAGES = (
    "gsbench",
    "gsbench.artifact",
    "gsbench.bench",
    "gsbench.coding",
    "gsbench.fetch",
    "gsbench.hooks",
    "gsbench.methods",
    "gsbench.metrics",
    "gsbench.native",
    "gsbench.protocols",
    "gsbench.raster",
    "gsbench.records",
    "gsbench.scenes",
    "gsbench.splats",
    "gsbench.testing",
    "gsbench.training",
    "gsbench.training.anchors",
)


class Page(HTMLParser):
    """Anchors, links and loaded files of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and "href" in given:
            self.loaded.append(given["href"])
        if tag in ("script", "img", "iframe", "source", "video") and "src" in given:
            self.loaded.append(given["src"])


@pytest.fixture(scope="module")
def html(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_all_pages_are_there(site: Path, pages: dict[str, str]) -> None:
    assert [name for name in pages if not (site / name).with_suffix(".html").is_file()] == []
    assert (site / "architecture.html").is_file()


def test_links_lead_to_pages_and_anchors(site: Path, html: dict[Path, Page]) -> None:
    broken, checked = [], 0
    for path, page in html.items():
        if path.name == "404.html":
            continue  # its links are from the root of a server
        for link in [*page.links, *page.loaded]:
            if re.match(r"[a-z][a-z0-9+.-]*:", link):
                continue
            name, _, anchor = link.partition("#")
            target = (path.parent / unquote(name)).resolve() if name else path
            checked += 1
            if not target.is_file() or (anchor and target in html and unquote(anchor) not in html[target].anchors):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert broken == []
    assert checked > 1000


def test_nothing_is_loaded_from_a_network(site: Path, html: dict[Path, Page]) -> None:
    loaded = {link for page in html.values() for link in page.loaded}
    assert [link for link in loaded if re.match(r"(https?:)?//", link)] == []
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)]*", styles) == []


def test_the_search_knows_the_pages(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    places = {entry["location"].partition("#")[0] for entry in index["docs"]}
    assert {"concepts.html", "hooks.html", "cli.html", "reference/raster.html"} <= places
    assert (site / "search" / "search_index.js").is_file(), "for pages that are opened from disk"


def documented(site: Path) -> set[str]:
    """The names in the site's inventory (objects.inv, as Sphinx has it)."""
    _, _, _, _, packed = (site / "objects.inv").read_bytes().split(b"\n", 4)
    return {line.split(" ")[0] for line in zlib.decompress(packed).decode().splitlines()}


def test_every_public_name_is_in_the_api_reference(site: Path) -> None:
    names = documented(site)
    missing = []
    for package in PACKAGES:
        module: Any = importlib.import_module(package)
        for name in module.__all__:
            # What gsbench exports itself stands there under this name.
            if name != "__version__" and not {f"{package}.{name}", f"gsbench.{name}"} & names:
                missing.append(f"{package}.{name}")
    assert missing == []


def test_whole_modules_are_in_the_api_reference(site: Path, pages: dict[str, str]) -> None:
    """Where a page asks for a module, all public functions and classes of it have docstrings and appear."""
    names = documented(site)
    text = pages["reference/coding.md"] + pages["reference/methods.md"] + pages["reference/training.md"]
    modules = [name for name in re.findall(r"^::: (\S+)$", text, re.MULTILINE) if name.rpartition(".")[2].islower()]
    checked = 0
    for name in modules:
        try:
            module: Any = importlib.import_module(name)
        except ImportError:
            continue  # a function
        for key, value in vars(module).items():
            if not key.startswith("_") and callable(value) and getattr(value, "__module__", "") == name:
                checked += 1
                assert f"{name}.{key}" in names
    assert checked > 50


def test_the_vendored_library_is_as_published(repository: Path) -> None:
    assets = repository / "docs" / "assets"
    digest = hashlib.sha256((assets / "iframe-worker.js").read_bytes()).hexdigest()
    assert digest in (assets / "VENDORED.md").read_text()
