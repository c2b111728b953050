"""What a folder's own files say about a scene, whatever their layout: `Listing`, from which `Scene` is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from gsbench.errors import SceneError
from gsbench.protocols import Protocol as EvaluationProtocol
from gsbench.scenes.colmap import ColmapCamera
from gsbench.scenes.photos import PhotoHeader

#: One in eight views is held out, the first of them included.
HOLD_EVERY: Final = 8
#: Views held out by the split "first31".
HOLD_FIRST: Final = 31
#: Names shown in a message about many files, and characters of each.
_SHOWN: Final = 3
_NAME_SHOWN: Final = 80

T = TypeVar("T")


class Pose(Protocol):
    """A posed camera: x_camera = rotation x_world + tvec, with +z forward and y down, in scene units."""

    @property
    def rotation(self) -> npt.NDArray[np.float64]:
        """World to camera, float64 [3, 3]."""

    @property
    def tvec(self) -> tuple[float, float, float]:
        """World to camera."""

    @property
    def center(self) -> npt.NDArray[np.float64]:
        """Position of the camera in the world, float64 [3]."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A posed photograph that is there.

    Fields:
        name: of the view, unique in the scene.
        path: the photo.
        label: its name in the scene's manifest, relative to the folder.
        pose: where the camera stood.
        camera: the intrinsics, once the photo's header is known (a layout may state them relative to the photo).
        mask: (path, label) of an image whose black pixels do not count; None if all count.
    """

    name: str
    path: Path
    label: str
    pose: Pose
    camera: Callable[[PhotoHeader], ColmapCamera]
    mask: tuple[Path, str] | None = None


@dataclass(frozen=True, eq=False)
class Listing:
    """A scene as its files list it.

    Fields:
        train, test: frames sorted by name.
        files: the files that were read besides photos and masks, by their name in the manifest.
        xyz, rgb: the points to start from, float64 [P, 3] and uint8 [P, 3].
        notes: what the user should know.
        extra: lines that take part in the scene's hash.
    """

    train: Sequence[Frame]
    test: Sequence[Frame]
    files: Mapping[str, Path]
    xyz: npt.NDArray[np.float64]
    rgb: npt.NDArray[np.uint8]
    notes: Sequence[str] = ()
    extra: Sequence[str] = field(default=())


def split_views(where: str, ordered: Sequence[T], protocol: EvaluationProtocol) -> tuple[list[T], list[T]]:
    """Training and held-out views of views sorted by name, by the protocol's rule.

    Raises:
        SceneError: if one of the two would be empty; `where` begins the message.
    """
    if protocol.split == "first31":
        train, test = list(ordered[HOLD_FIRST:]), list(ordered[:HOLD_FIRST])
        least = HOLD_FIRST + 1
    else:
        train = [view for index, view in enumerate(ordered) if index % HOLD_EVERY != 0]
        test = [view for index, view in enumerate(ordered) if index % HOLD_EVERY == 0]
        least = 2
    if not train or not test:
        raise SceneError(
            f"{where}: {len(ordered)} posed images; expected at least {least}, to train on and to hold out"
        )
    return train, test


def shown_name(name: str) -> str:
    """A file's name for a message: on one line, printable, not long."""
    text = name if name.isprintable() else ascii(name)
    return text if len(text) <= _NAME_SHOWN else f"{text[: _NAME_SHOWN - 3]}..."


def some(names: Iterable[str]) -> str:
    """The first few names, sorted, and how many more there are."""
    ordered = sorted(names)
    rest = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return ", ".join(shown_name(name) for name in ordered[:_SHOWN]) + rest
