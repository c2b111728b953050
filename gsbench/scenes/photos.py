"""Photographs: what is in the file is checked when the scene is loaded, the pixels are decoded when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from gsbench.errors import SceneError

#: Decoders that may see a scene's files. Pillow has others, some of which start programs (EPS) or scale 16-bit
#: samples without saying so (TIFF, PPM).
FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP")
#: Endings by which a file in the image folder is taken for a photograph that should have a pose.
SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif"})

_GRAY_OR_RGB: Final = frozenset({"1", "L", "P", "RGB"})
_WITH_ALPHA: Final = frozenset({"LA", "PA", "RGBA"})
_ORIENTATION_TAG: Final = 0x0112
#: EXIF orientations that exchange width and height.
_TRANSPOSED: Final = frozenset({5, 6, 7, 8})
#: Bytes at the end of a file among which its end marker is looked for.
_TAIL: Final = 64


@dataclass(frozen=True)
class PhotoHeader:
    """Size in pixels as stored, and EXIF orientation (1 is upright)."""

    width: int
    height: int
    orientation: int


def _unreadable(path: Path, error: Exception) -> SceneError:
    if isinstance(error, UnidentifiedImageError):
        return SceneError(f"{path}: not an image; expected a JPEG, PNG, WebP or BMP file")
    if isinstance(error, OSError) and error.strerror:
        return SceneError(f"{path}: cannot be read: {error.strerror}")
    return SceneError(f"{path}: damaged image: {error}")


def _complete(path: Path, image_format: str | None) -> bool:
    """Whether the file ends as a whole one does. False means only that the pixels must be decoded to know."""
    with path.open("rb") as file:
        head = file.read(8)
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL))
        tail = file.read()
    if image_format in ("JPEG", "MPO"):  # MPO: several JPEGs in one file, as some phones write; the first counts
        return b"\xff\xd9" in tail
    if image_format == "PNG":
        return b"IEND" in tail
    if image_format == "WEBP":
        return int.from_bytes(head[4:8], "little") + 8 <= size
    return False


def _png_bits(path: Path) -> int:
    """Bits per sample; Pillow reduces 16 to 8 silently. They are at a fixed place, after the size in IHDR."""
    with path.open("rb") as file:
        return file.read(25)[24]


def _orientation(image: Image.Image) -> int:
    # Pillow decodes a whole PNG in search of EXIF data behind the pixels; where they come first, they are in info.
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # EXIF data so damaged that every viewer ignores them
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def read_header(path: Path) -> PhotoHeader:
    """Check that `path` is an image that reads as 8-bit RGB without guessing, and return its size.

    Pixels are decoded only where the file may be truncated or has an alpha channel.

    Raises:
        SceneError: if it is not an image, is truncated, or is of a kind that comes with a later version (16 bits,
            transparency) or is not supported (CMYK, floating point).
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.format == "PNG" and _png_bits(path) == 16:
                raise SceneError(f"{path}: 16 bits per sample; expected 8 (16 come with a later version)")
            if image.mode not in _GRAY_OR_RGB | _WITH_ALPHA:
                raise SceneError(f"{path}: pixels of mode {image.mode}; expected 8-bit RGB or gray")
            header = PhotoHeader(image.width, image.height, _orientation(image))
            if image.mode in _WITH_ALPHA or "transparency" in image.info:
                if image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
                    raise SceneError(
                        f"{path}: has transparent pixels; expected an opaque image (transparency comes with a later "
                        "version)"
                    )
            elif not _complete(path, image.format):
                image.load()
    except SceneError:
        raise
    except Exception as error:  # decoders raise nearly anything on damaged data
        raise _unreadable(path, error) from error
    return header


def check_against_camera(path: Path, header: PhotoHeader, camera_size: tuple[int, int]) -> None:
    """Check that a photo is the camera's image, or that image reduced or enlarged (as ``images_2`` is).

    Raises:
        SceneError: if the shapes differ by more than rounding to whole pixels explains, or the photo is stored
            rotated and it cannot be told whether the camera is, too.
    """
    width, height = camera_size
    if header.orientation != 1:
        # COLMAP saw the stored pixels or the turned ones. If both sides fit only one way, it is known which.
        turned_fits = header.orientation not in _TRANSPOSED or _same_shape(header.height, header.width, width, height)
        if turned_fits:
            raise SceneError(
                f"{path}: stored turned (EXIF orientation {header.orientation}), and its camera may be of the turned "
                "or of the stored image; expected an upright file. If COLMAP used the pixels as stored, remove the "
                "EXIF orientation (turning photos comes with a later version)"
            )
    if not _same_shape(header.width, header.height, width, height):
        raise SceneError(
            f"{path}: {header.width}x{header.height} pixels do not have the shape of its camera's {width}x{height}; "
            "expected that size, or it reduced by the same factor in both directions"
        )


def _same_shape(width: int, height: int, camera_width: int, camera_height: int) -> bool:
    """Whether a factor exists that takes the camera's size to the photo's, each side within one pixel."""
    low = max((width - 1) / camera_width, (height - 1) / camera_height)
    high = min((width + 1) / camera_width, (height + 1) / camera_height)
    return low <= high


def target_size(width: int, height: int, downscale: float, max_width: int | None) -> tuple[int, int]:
    """Size of the ground truth, (width, height), for a photo of the given size.

    `downscale` divides and rounds each side (half to even), as the original code's ``-r`` and gsplat do. Then a width
    over `max_width` becomes `max_width`, and the height is reduced in proportion and truncated, as the original
    loader does. (It divides twice in floating point, and so ends at a width of 1599 for one in fourteen widths, none
    of which is in its data sets; here the width is always `max_width`.)
    """
    if downscale != 1.0:
        width, height = max(1, round(width / downscale)), max(1, round(height / downscale))
    if max_width is not None and width > max_width:
        width, height = max_width, max(1, height * max_width // width)
    return width, height


@dataclass(frozen=True)
class Photo:
    """A photograph on disk; calling it decodes it.

    Fields:
        path: the file.
        stored: (width, height) that the file had when the scene was loaded.
        size: (width, height) of the ground truth: reduced by one Pillow bicubic step if it differs from `stored`.
    """

    path: Path
    stored: tuple[int, int]
    size: tuple[int, int]

    def __call__(self) -> npt.NDArray[np.uint8]:
        """The pixels, uint8 [H, W, 3], in memory of their own.

        Raises:
            SceneError: if the file is damaged, or is not the one that was there when the scene was loaded.
        """
        try:
            with Image.open(self.path, formats=FORMATS) as image:
                if image.size == self.stored:
                    rgb = image.convert("RGB")
                    if rgb.size != self.size:
                        rgb = rgb.resize(self.size, Image.Resampling.BICUBIC)
                    return np.array(rgb, dtype=np.uint8)
                found = image.size
        except Exception as error:
            raise _unreadable(self.path, error) from error
        raise SceneError(
            f"{self.path}: {found[0]}x{found[1]} pixels; expected {self.stored[0]}x{self.stored[1]}, "
            "which it had when the scene was loaded"
        )
