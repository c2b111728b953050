"""From a photograph's file to the ground truth: 8-bit RGB, laid over the background, upright, undistorted, reduced."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from gsbench.errors import SceneError
from gsbench.scenes.kept import Kept
from gsbench.scenes.photos import FORMATS, png_bits, read_bytes, unreadable
from gsbench.scenes.undistort import Undistortion

Pixels = npt.NDArray[np.uint8]

#: Rows that are composited at once: bounds the memory for floats.
_ROWS: Final = 256
#: What each EXIF orientation but 1 asks a viewer to do.
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Photo:
    """A photograph on disk; calling it decodes it.

    The steps, in order: 16-bit samples become 8-bit ones (v / 257, rounded); gray and palette images become RGB;
    transparent pixels are laid over the background (in the stored values, rounded); the EXIF orientation is applied if
    `turn` says so; lens distortion is removed; one Pillow bicubic step reduces to `size`.

    Fields:
        path: the file.
        stored: (width, height) that the file had when the scene was loaded.
        size: (width, height) of the ground truth.
        background: RGB in [0, 1].
        turn: EXIF orientation to apply; 1 for the pixels as stored.
        undistortion: None for the photos of pinhole cameras.
        kept: where the result is kept; None to make it anew each time.
    """

    path: Path
    stored: tuple[int, int]
    size: tuple[int, int]
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)
    turn: int = 1
    undistortion: Undistortion | None = None
    kept: Kept | None = None

    def __call__(self) -> Pixels:
        """The pixels, uint8 [H, W, 3], in memory of their own.

        Raises:
            SceneError: if the file is damaged, or is not the one that was there when the scene was loaded.
        """
        if self.kept is None:
            return self._make(read_bytes(self.path))
        pixels = self.kept.read(self.size)
        if pixels is None:
            data = read_bytes(self.path)
            if hashlib.sha256(data).hexdigest() != self.kept.source:
                # What is kept under a digest must come from these bytes.
                raise SceneError(f"{self.path}: changed since the scene was loaded")
            pixels = self._make(data)
            self.kept.write(pixels)
        return pixels

    def _make(self, data: bytes) -> Pixels:
        try:
            rgb, found = decode(data, self.background, self.stored)
        except Exception as error:
            raise unreadable(self.path, error) from error
        if rgb is None:
            raise SceneError(
                f"{self.path}: {found[0]}x{found[1]} pixels; expected {self.stored[0]}x{self.stored[1]}, "
                "which it had when the scene was loaded"
            )
        if self.turn != 1:
            rgb = rgb.transpose(_TURNS[self.turn])
        if self.undistortion is not None:
            rgb = Image.fromarray(self.undistortion(np.array(rgb)))
        if rgb.size != self.size:
            rgb = rgb.resize(self.size, Image.Resampling.BICUBIC)
        return np.array(rgb, dtype=np.uint8)


def decode(
    data: bytes, background: tuple[float, float, float], expected: tuple[int, int]
) -> tuple[Image.Image | None, tuple[int, int]]:
    """An RGB image laid over `background`, and its size; None in its place, undecoded, if the size is another."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        size: tuple[int, int] = image.size
        if size != expected:
            return None, size
        if image.format == "PNG" and png_bits(io.BytesIO(data)) == 16:
            samples, top = _read_16_bit(data, image), 65535.0
        elif image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
            samples, top = np.asarray(image.convert("RGBA")), 255.0
        else:
            return image.convert("RGB"), size
        return Image.fromarray(_over(samples, top, background)), size


def _over(samples: npt.NDArray[Any], top: float, background: tuple[float, float, float]) -> Pixels:
    """Samples of a maximum `top`, [H, W, 3 or 4], as 8-bit RGB over a background, rounded to the nearest."""
    out = np.empty((*samples.shape[:2], 3), dtype=np.uint8)
    behind = 255.0 * np.array(background)
    for start in range(0, len(samples), _ROWS):
        rows = samples[start : start + _ROWS].astype(np.float64)
        color = rows[..., :3] * (255.0 / top)
        if rows.shape[2] == 4:
            alpha = rows[..., 3:] / top
            color = color * alpha + behind * (1.0 - alpha)
        # The exact values are never half way for a black or white background; so rounding errors do not show.
        out[start : start + _ROWS] = np.floor(color + 0.5)
    return out


def _read_16_bit(data: bytes, image: Image.Image) -> npt.NDArray[np.uint16]:
    """The samples of a 16-bit PNG, [H, W, 3 or 4].

    Pillow has 16 bits per channel for gray only, and keeps the high byte of others. Read as if the bytes were in the
    other order, it keeps the low one.
    """
    if image.mode == "I;16":
        gray = np.asarray(image).astype(np.uint16)
        return np.repeat(gray[..., None], 3, axis=2)
    high = np.asarray(image).astype(np.uint16)
    with Image.open(io.BytesIO(data), formats=("PNG",)) as opened:
        again: Any = opened
        again.tile = [(*tile[:3], tile[3].replace("16B", "16L")) for tile in again.tile]
        low = np.asarray(opened).astype(np.uint16)
    return high * np.uint16(256) + low
