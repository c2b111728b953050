"""Images of a scene's page: ground truth, renders, and maps of their errors, as WebP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from gsbench.errors import SceneError
from gsbench.leaderboard.board import Result, SceneEntry, Section
from gsbench.leaderboard.site.colors import ERROR_COLORS, ERROR_FULL
from gsbench.leaderboard.site.frames import FrameFinder, Pixels
from gsbench.leaderboard.site.names import entry_slug, href, slug
from gsbench.leaderboard.site.options import SiteOptions
from gsbench.leaderboard.site.scenes import FoundScene
from gsbench.scenes import Scene


@dataclass(frozen=True)
class Shown:
    """A view that the page shows.

    Fields:
        index: among all held-out views.
        name: of its photograph.
        width, height: pixels.
        truth: address of the ground truth, relative to the site's root; None where the scene is not here.
    """

    index: int
    name: str
    width: int
    height: int
    truth: str | None


def chosen_views(count: int, wanted: int) -> list[int]:
    """`wanted` of `count` views, or all, spread evenly: the middles of equal parts."""
    shown = min(count, wanted)
    return sorted({(2 * i + 1) * count // (2 * shown) for i in range(shown)}) if shown else []


def error_map(render: Pixels, truth: Pixels) -> Pixels:
    """The absolute difference of two images, uint8 [H, W, 3] each, mean over the channels, in colors from black (equal)
    to light yellow (`ERROR_FULL` of 255 or more).
    """
    difference = np.abs(render.astype(np.int16) - truth.astype(np.int16)).sum(axis=2)
    index = np.minimum(difference * 255 // (3 * ERROR_FULL), 255)
    colored: Pixels = _error_table()[index]
    return colored


def _error_table() -> Pixels:
    places = np.linspace(0.0, 255.0, len(ERROR_COLORS))
    channels = [
        np.interp(np.arange(256), places, [color[channel] for color in ERROR_COLORS]).round() for channel in range(3)
    ]
    return np.stack(channels, axis=1).astype(np.uint8)


class ImageWriter:
    """Writes the images of scenes below ``images/`` of the site at `root`."""

    def __init__(self, root: Path, options: SiteOptions) -> None:
        self._root, self._options = root, options
        self._finder = FrameFinder(options)
        self._lossy = False  # whether an image of the scene in hand is stored with loss

    def scene(self, section: Section, scene: str, found: FoundScene) -> dict[str, Any]:
        """Write the images of one scene; returns what its page needs to know of them:

        ``views`` (see `Shown`), ``reason`` why there is no ground truth ("" if there is), and ``renders``: entry key ->
        either a reason, or the seed and one [render, error map or null] per view; ``quality`` if images are stored with
        loss, else None.
        """
        entries = [(entry, of) for entry in section.entries for of in entry.scenes if of.scene == scene and of.results]
        if not entries or not self._options.images:
            return {"views": [], "reason": "this page was made without images", "renders": {}}
        self._lossy = False
        first = entries[0][1].results[0]
        folder = PurePosixPath("images", section.slug, slug(scene))
        views, truths = self._truths(first, found.scene, folder)
        renders: dict[str, Any] = {}
        for entry, of in entries:
            renders[entry.key] = self._entry(of, found, views, truths, folder / entry_slug(entry))
        if not any(isinstance(by_seed, dict) for by_seed in renders.values()):
            # One statement instead of one per method.
            reasons = sorted({str(reason) for reason in renders.values()})
            return {"views": [], "reason": "; ".join(filter(None, [found.reason, *reasons])), "renders": {}}
        return {
            "views": [vars(view) for view in views],
            "reason": found.reason,
            "renders": renders,
            "quality": self._options.quality if self._lossy else None,
        }

    def _truths(
        self, result: Result, scene: Scene | None, folder: PurePosixPath
    ) -> tuple[list[Shown], dict[int, Pixels]]:
        """The views to show, and the ground truth of those that have one."""
        names = [view.name for view in result.record.views]
        shown: list[Shown] = []
        truths: dict[int, Pixels] = {}
        if scene is not None and [view.name for view in scene.test] != names:
            scene = None
        for index in chosen_views(len(names), self._options.views):
            address, width, height = None, 0, 0
            if scene is not None:
                view = scene.test[index]
                width, height = view.width, view.height
                try:
                    truths[index] = view.read_pixels().numpy()
                except SceneError:
                    pass
                else:
                    address = self._write(folder / f"{index:04d}.truth.webp", truths[index])
            shown.append(Shown(index, names[index], width, height, address))
        return shown, truths

    def _entry(
        self,
        of: SceneEntry,
        found: FoundScene,
        views: Sequence[Shown],
        truths: dict[int, Pixels],
        folder: PurePosixPath,
    ) -> dict[str, Any] | str:
        """The images of one method at one rate point: those of its first seed."""
        result = of.results[0]
        names = [view.name for view in result.record.views]
        if any(view.index >= len(names) or names[view.index] != view.name for view in views):
            return "its record is of other views"
        frames = self._finder.find(result, found.scene, [view.index for view in views])
        if not frames.images:
            return frames.reason
        pairs = []
        for view in views:
            render, truth = frames.images[view.index], truths.get(view.index)
            path = folder / f"{view.index:04d}"
            error = None
            if truth is not None and truth.shape == render.shape:
                error = self._write(path.with_suffix(".error.webp"), error_map(render, truth))
            pairs.append([self._write(path.with_suffix(".webp"), render), error])
        return {"seed": result.seed, "images": pairs}

    def _write(self, path: PurePosixPath, pixels: Pixels) -> str:
        """Write an image; returns its address."""
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        lossless = pixels.shape[0] * pixels.shape[1] <= self._options.lossless_pixels
        data = BytesIO()
        image = Image.fromarray(pixels)
        if lossless:
            image.save(data, format="WEBP", lossless=True, quality=60, method=4)
        else:
            self._lossy = True
            image.save(data, format="WEBP", quality=self._options.quality, method=4)
        target.write_bytes(data.getvalue())
        return href(path)
