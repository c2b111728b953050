"""Folders of images: how ``decode`` writes them and ``score`` finds them again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from gsbench.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from gsbench.splats import Camera

SUFFIXES: Final = (".png", ".npy")


def frame_names(cameras: Sequence[Camera]) -> list[str]:
    """A file name for each camera, without suffix: that of its photo where these are plain and differ, else numbers."""
    stems = [PurePosixPath(camera.name).stem for camera in cameras]
    plain = all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._ +-]{0,200}", stem) for stem in stems)
    if plain and len({stem.lower() for stem in stems}) == len(stems):
        return stems
    return [f"{index:04d}" for index in range(len(cameras))]


def find_frames(folder: Path, cameras: Sequence[Camera]) -> list[Path]:
    """The file of each camera in `folder`: by the name of its photo, or by number (0000, 0001, ...).

    Raises:
        UsageError: if the folder is missing or a view has no file in it.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; expected one with a .png or .npy file per view")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES:
            if path.stem in files:
                raise UsageError(f"{folder} has both {files[path.stem].name} and {path.name}; which one is meant?")
            files[path.stem] = path
    names = frame_names(cameras)
    numbers = [f"{index:04d}" for index in range(len(cameras))]
    for wanted in (names, numbers):
        if set(wanted) <= set(files):
            return [files[name] for name in wanted]
    missing = [name for name in names if name not in files]
    raise UsageError(
        f"{folder} has no image of {len(missing)} of {len(names)} views, the first being {missing[0]!r}; "
        f"expected {names[0]}.png or .npy, and so on, or {numbers[0]}.png up to {numbers[-1]}.png"
    )


def read_frame(path: Path, camera: Camera) -> npt.NDArray[np.float32]:
    """A frame as float32 [H, W, 3], of the camera's size.

    Raises:
        UsageError: if it cannot be read or has another size.
    """
    import numpy as np
    from PIL import Image

    try:
        if path.suffix.lower() == ".npy":
            frame: npt.NDArray[Any] = np.load(path, allow_pickle=False)
            if frame.dtype != np.float32:
                raise UsageError(f"{path}: expected float32, got {frame.dtype}")
        else:
            with Image.open(path) as image:
                frame = np.asarray(image.convert("RGB"), dtype=np.float32) / np.float32(255.0)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path}: not an image: {error}") from None
    if frame.shape != (camera.height, camera.width, 3):
        raise UsageError(f"{path}: expected {camera.width}x{camera.height} RGB, got shape {list(frame.shape)}")
    if not np.isfinite(frame).all():
        raise UsageError(f"{path}: has values that are not finite")
    return frame
