"""Renders of held-out views: from the results folder of the run that made them, or from the artifact."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from gsbench import _files
from gsbench.bench import decode_sealed
from gsbench.bench.score import eight_bit, load_frame
from gsbench.errors import GsbenchError
from gsbench.leaderboard.board import Result
from gsbench.leaderboard.site.options import SiteOptions
from gsbench.scenes import Scene

#: 8-bit RGB, uint8 [H, W, 3].
Pixels = npt.NDArray[np.uint8]

_MAX_KEY_BYTES: Final = 2**24


@dataclass(frozen=True)
class Frames:
    """Renders of some held-out views.

    Fields:
        images: by the view's index among all held-out views; empty if `reason` says why.
        reason: why there are none, for readers of the page.
    """

    images: dict[int, Pixels]
    reason: str = ""


class FrameFinder:
    """Finds renders; remembers what each results folder holds."""

    def __init__(self, options: SiteOptions) -> None:
        self._options = options
        self._folders: dict[Path, dict[tuple[str, str, str, str], tuple[Path, dict[str, Any]]]] = {}

    def find(self, result: Result, scene: Scene | None, views: Sequence[int]) -> Frames:
        """Renders of the views with these indices, as 8-bit images.

        They are those that the run kept, if their hashes are right; else the artifact is decoded in a sealed process
        and rendered, for which the scene's cameras are needed.
        """
        stored = self._stored(result, views)
        if stored is not None:
            return Frames(stored)
        if result.artifact is None:
            return Frames({}, "neither the run's images nor the artifact are on the machine where this page was made")
        if scene is None:
            return Frames({}, "rendering the artifact needs the scene's cameras")
        return self._rendered(result, result.artifact, scene, views)

    def _stored(self, result: Result, views: Sequence[int]) -> dict[int, Pixels] | None:
        record = result.record
        if result.stages is None or record.sha256 is None or record.scene_hash is None:
            return None
        if result.stages not in self._folders:
            self._folders[result.stages] = _decode_stages(result.stages)
        found = self._folders[result.stages].get(
            (record.method, record.sha256, record.scene_hash, record.protocol.hash)
        )
        if found is None:
            return None
        folder, files = found
        images = {}
        for view in views:
            name = f"images/{view:04d}.png"
            known = files.get(name)
            try:
                if known is None or _files.describe(folder / name) != (known["bytes"], known["sha256"]):
                    return None
                with Image.open(folder / name) as image:
                    images[view] = np.asarray(image.convert("RGB"))
            except (OSError, ValueError, KeyError, TypeError):
                return None
        return images

    def _rendered(self, result: Result, artifact: Path, scene: Scene, views: Sequence[int]) -> Frames:
        from gsbench.bench.memory import usable_cores

        options = self._options
        options.progress(f"rendering {result.name}")
        try:
            with tempfile.TemporaryDirectory(prefix="gsbench-site-") as folder:
                sealed = decode_sealed(
                    result.record.method,
                    artifact,
                    [scene.test[view] for view in views],
                    scene.background,
                    options.device,
                    options.threads or usable_cores(),
                    Path(folder),
                )
                frames = [eight_bit(load_frame(path)) for path in sealed.frames]
        except GsbenchError:
            # The message may name folders of this machine.
            return Frames({}, "the artifact could not be decoded on the machine where this page was made")
        return Frames(dict(zip(views, frames, strict=True)))


def _decode_stages(stages: Path) -> dict[tuple[str, str, str, str], tuple[Path, dict[str, Any]]]:
    """The decode stages of a results folder: (method, artifact, scene hash, protocol hash) -> folder, its files."""
    found: dict[tuple[str, str, str, str], tuple[Path, dict[str, Any]]] = {}
    for path in sorted((stages / "decode").glob("*/key.json")):
        try:
            if path.stat().st_size > _MAX_KEY_BYTES:
                continue
            value = json.loads(path.read_bytes())
            inputs = value["inputs"]
            key = (inputs["method"], inputs["artifact"], inputs["scene"], inputs["protocol"])
            if all(isinstance(part, str) for part in key) and isinstance(value["files"], dict):
                found.setdefault(key, (path.parent, value["files"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found
