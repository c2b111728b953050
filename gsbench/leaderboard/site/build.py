"""`write_site`: from a board to a folder of pages."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any, Final

from gsbench.errors import StoreError, UsageError
from gsbench.leaderboard.board import Board, Result, Section
from gsbench.leaderboard.exports import write_exports
from gsbench.leaderboard.site.assets import write_assets
from gsbench.leaderboard.site.names import href, script, slug
from gsbench.leaderboard.site.options import SiteOptions
from gsbench.leaderboard.site.pages import Pages
from gsbench.leaderboard.site.payload import Downloads, scene_data, section_data

#: In every site; a folder with it may be replaced by a new one.
MARKER: Final = "gsbench-site.txt"
_MARKER_TEXT: Final = (
    "A leaderboard made by gsbench. Open index.html. This folder is replaced when the site is made again.\n"
)


def write_site(board: Board, out: Path, *, options: SiteOptions | None = None) -> None:
    """Write a leaderboard as a folder of pages that a browser opens from disk; `out`/index.html is the first.

    The same board and options give the same bytes (images depend on the version of Pillow, renders that are made
    anew on the machine that renders). The folder is written beside its place and renamed.

    Args:
        board: what to show.
        out: a new or empty folder, or one that this function wrote before, which is replaced.
        options: what goes into it.

    Raises:
        UsageError: if `out` is something else; nothing is touched.
        StoreError: if the folder cannot be written.
    """
    options = options or SiteOptions()
    out = Path(out).absolute()
    _check_place(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name[:60]}-", dir=out.parent) as scratch:
            folder = Path(scratch) / "site"
            folder.mkdir()
            _write(board, folder, options)
            old = Path(scratch) / "old"
            if out.exists():
                out.rename(old)
            folder.rename(out)
    except OSError as error:
        raise StoreError(f"the site {out} cannot be written: {error.strerror or error}") from error


def _check_place(out: Path) -> None:
    """Refuse to replace what is no site.

    Raises:
        UsageError: saying what is there instead.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UsageError(f"{out} is not a folder; expected a new or empty one, or an earlier site")
    if out.is_dir() and any(out.iterdir()) and not (out / MARKER).is_file():
        raise UsageError(
            f"{out} holds other files; expected a new or empty folder, or an earlier site ({MARKER} in it)"
        )


def _write(board: Board, root: Path, options: SiteOptions) -> None:
    (root / MARKER).write_text(_MARKER_TEXT, encoding="utf-8")
    write_assets(root / "assets")
    pages = Pages(board, root)
    pages.index()
    pages.protocols()
    pages.methods()
    if board.reported:
        pages.reported()
    # Beside the pages that link them.
    write_exports(board, root / "exports")
    for section in board.sections:
        options.progress(f"{section.protocol}, {section.dataset_title}")
        _section(section, pages, root, options)


def _section(section: Section, pages: Pages, root: Path, options: SiteOptions) -> None:
    data = root / "data"
    data.mkdir(exist_ok=True)
    (data / f"{section.slug}.js").write_text(script("GSB_SECTION", section_data(section)), encoding="utf-8")
    downloads = _copy_files(section, root, options)
    pages.section(section)
    if options.images or options.viewer:
        # Rendering needs torch; tables do not.
        from gsbench.leaderboard.site.bake import ViewerWriter
        from gsbench.leaderboard.site.images import ImageWriter

        image_writer, viewer_writer = ImageWriter(root, options), ViewerWriter(root, options)
    for scene in section.scenes:
        first = _first_result(section, scene)
        images: dict[str, Any] = {"views": [], "reason": "this page was made without images", "renders": {}}
        viewer: dict[str, Any] = {}
        if first is not None and (options.images or options.viewer):
            from gsbench.leaderboard.site.scenes import FoundScene, find_scene

            usable = _has_files(section, scene)
            found = find_scene(first.record, options) if usable else FoundScene(None, _NO_FILES)
            images = image_writer.scene(section, scene, found)
            viewer = viewer_writer.scene(section, scene, found)
        value = scene_data(section, scene, downloads, images, viewer)
        name = f"{section.slug}.{slug(scene)}.js"
        (data / name).write_text(script("GSB_SCENE", value), encoding="utf-8")
        pages.scene(
            section, scene, name, has_viewer=any(isinstance(of, dict) and "file" in of for of in viewer.values())
        )


_NO_FILES: Final = "neither runs' images nor artifacts are on the machine where this page was made"


def _first_result(section: Section, scene: str) -> Result | None:
    return next((r for e in section.entries for of in e.scenes if of.scene == scene for r in of.results), None)


def _has_files(section: Section, scene: str) -> bool:
    """Whether there is anything to look at."""
    results = (r for e in section.entries for of in e.scenes if of.scene == scene for r in of.results)
    return any(result.artifact is not None or result.stages is not None for result in results)


def _copy_files(section: Section, root: Path, options: SiteOptions) -> Downloads:
    """Copy records and artifacts to where pages link them."""
    downloads = Downloads()
    for entry in section.entries:
        for of in entry.scenes:
            for result in (*of.results, *of.failed):
                name = PurePosixPath(result.name)
                if options.records and result.path.is_file():
                    _copy(result.path, root / "records" / name)
                    downloads.records[result.name] = href(f"records/{name}")
                artifact, size = result.artifact, result.record.bytes
                if options.artifacts and artifact is not None and size is not None and size <= options.artifact_bytes:
                    target = name.with_name(artifact.name)
                    _copy(artifact, root / "artifacts" / target)
                    downloads.artifacts[result.name] = href(f"artifacts/{target}")
    return downloads


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
