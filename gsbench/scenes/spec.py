"""What is known of data sets and scenes before anything is read: `DatasetSpec`, `SceneRef`, `SceneOptions`.

Imports no torch: plugins announce their data sets with these classes.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gsbench.errors import PluginError, UsageError
from gsbench.protocols import GS1600, Protocol
from gsbench.registry import NAME, check_target

#: Data set of the folders that are given as ``path:/my/scene``.
PATH_DATASET: Final = "path"

#: Names become parts of the paths of records.
_SCENE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_INIT: Final = re.compile(r"random:([1-9][0-9]{0,8})")
#: Points that ``random:N`` may ask for: enough for any scene, and below a gigabyte.
MAX_RANDOM_POINTS: Final = 50_000_000


@dataclass(frozen=True)
class DatasetSpec:
    """A data set as the core or a plugin announces it.

    Fields:
        name: as typed after ``--scenes``; letters, digits and . _ + -, not "path".
        scenes: names of its scenes, of the same characters; at least one.
        target: ``"package.module:function"``, called as ``function(scene: str, options: SceneOptions) -> Scene``; the
            returned scene carries `name` and the scene's name.
        summary: one line.
        protocol: the protocol it is evaluated under where the user names none.
        iterations: training steps that suit it where the user names none, to which schedules are scaled; None for
            each method's own number.

    Raises:
        PluginError: if a field is malformed.
    """

    name: str
    scenes: tuple[str, ...]
    target: str
    summary: str
    protocol: Protocol = GS1600
    iterations: int | None = None

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name) or self.name.lower() == PATH_DATASET:
            raise PluginError(
                f"data set name {self.name!r}: expected letters, digits and . _ + -, and not {PATH_DATASET!r}"
            )
        check_target(self.target)
        iterations: object = self.iterations
        if iterations is not None and (type(iterations) is not int or iterations < 1):
            raise PluginError(f"data set {self.name!r}: iterations: expected a positive integer, got {iterations!r}")
        scenes: object = self.scenes
        if not isinstance(scenes, tuple) or not scenes or len(set(scenes)) != len(scenes):
            raise PluginError(f"data set {self.name!r}: scenes must be a tuple of names that differ, got {scenes!r}")
        for scene in self.scenes:
            if not _SCENE_NAME.fullmatch(scene):
                raise PluginError(
                    f"data set {self.name!r}: scene name {scene!r}; expected up to 100 letters, digits and . _ + -, "
                    "beginning with a letter or digit"
                )


@dataclass(frozen=True)
class SceneRef:
    """One scene of a request.

    Fields:
        dataset, scene: as in records; safe as parts of a path. A folder given as ``path:/my/scene`` has dataset
            "path", and as scene its own name with unusual characters replaced.
        path: the folder of a ``path:`` scene (absolute), otherwise None.
    """

    dataset: str
    scene: str
    path: Path | None = None

    def __str__(self) -> str:
        return f"{self.dataset}/{self.scene}"


@dataclass(frozen=True)
class SceneOptions:
    """How to read a scene: the options of the command line that say so.

    Fields:
        protocol: evaluation protocol; None takes the data set's own (gs1600 for folders).
        images: folder of the photos inside the scene, such as "images_2".
        downscale: factor >= 1 by which photos are reduced.
        max_width: photos wider than this many pixels are reduced to it.
        background: RGB in [0, 1].
        init: "random:N" to start from N random points instead of the scene's own; None for its own.
        cache: where generated scenes are kept; None for $GSBENCH_CACHE or ~/.cache/gsbench.
        held_out: False leaves the held-out photos unopened (they need not be there) and `Scene.test` empty; the
            scene's hash then covers the training files alone.

    The options from `images` to `background` make another protocol of it, see `Protocol.with_overrides`.

    Raises:
        UsageError: if `init` is malformed.
    """

    protocol: Protocol | None = None
    images: str | None = None
    downscale: float | None = None
    max_width: int | None = None
    background: tuple[float, float, float] | None = None
    init: str | None = None
    cache: Path | None = None
    held_out: bool = True

    def __post_init__(self) -> None:
        if self.init is not None and not 0 < self._parse_init(self.init) <= MAX_RANDOM_POINTS:
            raise UsageError(
                f"--init {self.init!r}: expected random:N with N from 1 to {MAX_RANDOM_POINTS}, such as random:100000"
            )

    @staticmethod
    def _parse_init(text: str) -> int:
        match = _INIT.fullmatch(text)
        return int(match[1]) if match else 0

    @property
    def random_points(self) -> int | None:
        """N of ``random:N``, or None for the scene's own points."""
        return None if self.init is None else self._parse_init(self.init)

    def effective_protocol(self, default: Protocol) -> Protocol:
        """The protocol that results from these options where `default` is the data set's own.

        Raises:
            UsageError: as `Protocol.with_overrides`.
        """
        return (self.protocol or default).with_overrides(
            images=self.images, downscale=self.downscale, max_width=self.max_width, background=self.background
        )


def safe_name(name: str) -> str:
    """`name` as a part of a path: letters lose their accents, and what is then no letter, digit, . _ + or - of ASCII
    becomes "-"; never empty.
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    cleaned = re.sub(r"[^A-Za-z0-9._+-]+", "-", plain)[:100].lstrip("._+-").rstrip("-")
    return cleaned or "scene"
