"""Photographs: what is in the file is checked when the scene is loaded; `gsbench.scenes.pixels` decodes them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from PIL import Image, UnidentifiedImageError

from gsbench.errors import SceneError

#: Decoders that may see a scene's files. Pillow has others, some of which start programs (EPS) or scale 16-bit
#: samples without saying so (TIFF, PPM).
FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP")
#: Endings by which a file in the image folder is taken for a photograph that should have a pose.
SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif"})

_GRAY_OR_RGB: Final = frozenset({"1", "L", "P", "RGB", "I;16"})
_WITH_ALPHA: Final = frozenset({"LA", "PA", "RGBA"})
_ORIENTATION_TAG: Final = 0x0112
#: EXIF orientations that exchange width and height.
_TRANSPOSED: Final = frozenset({5, 6, 7, 8})
#: Bytes at the end of a file among which its end marker is looked for.
_TAIL: Final = 64
#: Bytes of a file: far more than a photograph takes.
_MAX_BYTES: Final = 1 << 30
#: Width and height: the limit of JPEG.
_MAX_SIDE: Final = 65535


@dataclass(frozen=True)
class PhotoHeader:
    """Size in pixels as stored, EXIF orientation (1 is upright), and whether pixels may be transparent."""

    width: int
    height: int
    orientation: int
    alpha: bool = False


def is_file(path: Path) -> bool:
    """Whether `path` is a file, or a link to one; False too for names that the system refuses."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, a folder without permission
        return False


def unreadable(path: Path, error: Exception) -> SceneError:
    """The `SceneError` for what a decoder raised."""
    if isinstance(error, UnidentifiedImageError):
        return SceneError(f"{path}: not an image; expected a JPEG, PNG, WebP or BMP file")
    if isinstance(error, OSError) and error.strerror:
        return SceneError(f"{path}: cannot be read: {error.strerror}")
    return SceneError(f"{path}: damaged image: {ascii(str(error))[1:-1]:.200}")


def read_bytes(path: Path) -> bytes:
    """All of an image file. Decoders get it so: reading from a file they take memory for lengths that a file states.

    Raises:
        SceneError: if it cannot be read, or is larger than images are.
    """
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise SceneError(f"{path}: {size} bytes; expected an image file of up to {_MAX_BYTES}")
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise unreadable(path, error) from error


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


def png_bits(file: IO[bytes]) -> int:
    """Bits per sample of a PNG. They are at a fixed place, after the size in IHDR."""
    file.seek(0)
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


def _check_kind(path: Path, image: Image.Image) -> None:
    """Refuse pixels that cannot be read as RGB without guessing."""
    if max(image.size) > _MAX_SIDE:
        raise SceneError(f"{path}: {image.width}x{image.height} pixels; expected sides of up to {_MAX_SIDE}")
    if image.mode not in _GRAY_OR_RGB | _WITH_ALPHA:
        raise SceneError(f"{path}: pixels of mode {image.mode}; expected RGB or gray, of 8 or 16 bits")
    if image.format == "PNG":
        with path.open("rb") as file:
            wide = png_bits(file) == 16
        tiles: Any = getattr(image, "tile", [])
        if wide and ("transparency" in image.info or any(tile[3] == "LA;16B" for tile in tiles)):
            raise SceneError(
                f"{path}: 16 bits with a transparent color or gray with alpha; expected 16-bit RGBA, or 8 bits"
            )


def read_header(path: Path) -> PhotoHeader:
    """Check that `path` is an image that reads as RGB without guessing, and return its size.

    Pixels are decoded only where the file may be truncated.

    Raises:
        SceneError: if it is not an image, is truncated, or is of a kind whose colors are not defined (CMYK, floating
            point).
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            read_bytes(path)
        with Image.open(path, formats=FORMATS) as image:
            _check_kind(path, image)
            alpha = image.mode in _WITH_ALPHA or "transparency" in image.info
            header = PhotoHeader(image.width, image.height, _orientation(image), alpha)
            complete = _complete(path, image.format)
        if not complete:
            with Image.open(io.BytesIO(read_bytes(path)), formats=FORMATS) as image:
                image.load()
    except SceneError:
        raise
    except Exception as error:  # decoders raise nearly anything on damaged data
        raise unreadable(path, error) from error
    return header


def turn_to_camera(path: Path, header: PhotoHeader, camera_size: tuple[int, int]) -> int:
    """The EXIF orientation to apply to a photo so that it is its camera's image: 1 for the pixels as they are stored.

    COLMAP takes no notice of EXIF orientations, so a camera is of the stored pixels wherever their shape fits it.
    Where only the turned ones fit, the model was made from those.

    Args:
        path: for messages.
        header: of the photo.
        camera_size: (width, height) of the camera.

    Raises:
        SceneError: if the photo, stored or turned, is not the camera's image, nor that reduced or enlarged (as in
            ``images_2``): the shapes differ by more than rounding to whole pixels explains.
    """
    if same_shape((header.width, header.height), camera_size):
        return 1
    if header.orientation in _TRANSPOSED and same_shape((header.height, header.width), camera_size):
        return header.orientation
    width, height = camera_size
    raise SceneError(
        f"{path}: {header.width}x{header.height} pixels do not have the shape of its camera's {width}x{height}; "
        "expected that size, or it reduced by the same factor in both directions"
    )


def upright_size(header: PhotoHeader, turn: int) -> tuple[int, int]:
    """(width, height) after `turn`, an EXIF orientation, was applied."""
    return (header.height, header.width) if turn in _TRANSPOSED else (header.width, header.height)


def same_shape(size: tuple[int, int], camera: tuple[int, int]) -> bool:
    """Whether a factor exists that takes the camera's size to the given one, each side within one pixel."""
    low = max((size[0] - 1) / camera[0], (size[1] - 1) / camera[1])
    high = min((size[0] + 1) / camera[0], (size[1] + 1) / camera[1])
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
