"""Hooks of the documentation's build (mkdocs.yml): the root's pages as pages of the site.

ARCHITECTURE.md and its like lie where a reader of the repository looks for them. They become pages of the site, and
links between them and those in docs/ lead to the right place in both. Full names (`gsbench.render`) become links to the
API reference.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from docstrings import linked
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[2]

#: Page of the site -> file of the repository.
ROOT_PAGES: Final = {
    "architecture.md": "ARCHITECTURE.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "published.md": "leaderboards/README.md",
}
_FENCE: Final = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_FULL_NAME: Final = re.compile(r"(?<![`\[])`gsbench\.[\w.]+`(?!`)")
_LINK: Final = re.compile(r"\]\(([^)#\s:]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the root's pages."""
    for page, source in ROOT_PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to files of the repository lead to their pages."""
    source = ROOT / ROOT_PAGES.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    pages = {(ROOT / path).resolve(): uri for uri, path in ROOT_PAGES.items()}
    depth = "../" * page.file.src_uri.count("/")

    def place(match: re.Match[str]) -> str:
        target = (source.parent / match[1]).resolve()
        if target in pages:
            uri = pages[target]
        elif target.is_file() and target.is_relative_to(ROOT / "docs"):
            uri = target.relative_to(ROOT / "docs").as_posix()
        else:
            return match[0]
        return f"]({depth}{uri}{match[2] or ''})"

    parts = _FENCE.split(_LINK.sub(place, markdown))
    parts[::2] = [_FULL_NAME.sub(lambda match: linked(match[0]), part) for part in parts[::2]]
    return "".join(parts)
