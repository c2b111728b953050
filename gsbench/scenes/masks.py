"""Masks: images whose black pixels take no part in training and scores."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from gsbench.errors import SceneError
from gsbench.scenes.photos import FORMATS, is_file, read_bytes, same_shape, unreadable
from gsbench.scenes.undistort import Undistortion

#: The folder of masks beside the photos of a COLMAP model.
FOLDER: Final = "masks"
#: JPEG is left out: its rounding turns black into nearly black.
_FORMATS: Final = tuple(name for name in FORMATS if name != "JPEG")
#: What is left of 255 after interpolation where nothing black took part, but for rounding.
_COUNTS: Final = 254
_MODES: Final = frozenset({"1", "L", "P", "RGB", "I;16"})


def find_mask(folder: Path, photo: str) -> tuple[Path, str] | None:
    """The mask of a photo and its name relative to `folder`: ``masks/a.jpg.png``, as COLMAP has it, or ``masks/a.png``.

    None if there is none.
    """
    for name in (f"{photo}.png", f"{photo.rpartition('.')[0] or photo}.png"):
        if is_file(folder / FOLDER / name):
            return folder / FOLDER / name, f"{FOLDER}/{name}"
    return None


@dataclass(frozen=True)
class Mask:
    """A mask on disk; calling it decodes it.

    Fields:
        path: the file.
        stored: (width, height) that the file had when the scene was loaded.
        photo: (width, height) of the photo, upright, before it is undistorted and reduced.
        size: (width, height) of the ground truth.
        undistortion: the photo's.
    """

    path: Path
    stored: tuple[int, int]
    photo: tuple[int, int]
    size: tuple[int, int]
    undistortion: Undistortion | None = None

    def __call__(self) -> npt.NDArray[np.bool_]:
        """True where a pixel counts, bool [H, W]: where nothing that it was made from is black.

        Raises:
            SceneError: if the file is damaged, or is not the one that was there when the scene was loaded.
        """
        data = read_bytes(self.path)
        try:
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                found = image.size
                samples = np.asarray(image.convert("RGB") if image.mode == "P" else image)
        except Exception as error:
            raise unreadable(self.path, error) from error
        if found != self.stored:
            raise SceneError(
                f"{self.path}: {found[0]}x{found[1]} pixels; expected {self.stored[0]}x{self.stored[1]}, "
                "which it had when the scene was loaded"
            )
        counts: npt.NDArray[np.bool_] = np.asarray(samples.any(axis=2) if samples.ndim == 3 else samples != 0)
        counts = resize_mask(counts, self.photo)
        if self.undistortion is not None:
            counts = self.undistortion(np.where(counts, 255, 0).astype(np.uint8)) >= _COUNTS
        return resize_mask(counts, self.size)


def make_mask(
    path: Path,
    photo: tuple[int, int],
    size: tuple[int, int],
    undistortion: Undistortion | None = None,
) -> Mask:
    """Check a mask against its photo; see `Mask`.

    Raises:
        SceneError: if it is not an image that can be a mask, or does not have the photo's shape.
    """
    data = read_bytes(path)
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            stored, mode = image.size, image.mode
    except Exception as error:
        raise unreadable(path, error) from error
    if mode not in _MODES:
        raise SceneError(f"{path}: a mask with pixels of mode {mode}; expected gray, black and white, or RGB")
    if not same_shape(stored, photo):
        raise SceneError(
            f"{path}: a mask of {stored[0]}x{stored[1]} pixels for a photo of {photo[0]}x{photo[1]}; "
            "expected the photo's size, or that of the photo before it was reduced"
        )
    return Mask(path, stored, photo, size, undistortion)


def resize_mask(counts: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """A mask [h, w] at (width, height) `size`: a pixel counts where every pixel that it covers counts."""
    counts = np.asarray(counts, dtype=np.bool_)
    for axis, new in ((0, size[1]), (1, size[0])):
        old = counts.shape[axis]
        if new == old:
            continue
        out = np.arange(new)
        begin, end = out * old // new, -(-(out + 1) * old // new)
        excluded = np.cumsum(~counts, axis=axis, dtype=np.int64)
        excluded = np.concatenate([np.zeros_like(excluded.take([0], axis=axis)), excluded], axis=axis)
        counts = excluded.take(end, axis=axis) == excluded.take(begin, axis=axis)
    return counts
