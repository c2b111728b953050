"""Photos of cameras with lens distortion, resampled to pinhole cameras by COLMAP's own code (`pycolmap`)."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gsbench.errors import SceneError
from gsbench.scenes.colmap import ColmapCamera

#: The optional dependencies that bring pycolmap.
EXTRA: Final = "gsbench-core[undistort]"


@dataclass(frozen=True)
class Undistortion:
    """How the photos of one camera are undistorted; calling it does.

    Fields:
        camera: the distorted camera, of the photos' size.
        target: the PINHOLE camera that takes its place.
    """

    camera: ColmapCamera
    target: ColmapCamera

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The undistorted image, uint8 [H', W'] or [H', W', 3], of one of the camera's size, [H, W] or [H, W, 3].

        Raises:
            SceneError: if the library fails.
        """
        library = _library("undistorting photos")
        try:
            bitmap, _ = library.undistort_image(_options(), library.Bitmap.from_array(pixels), _theirs(self.camera))
            made: npt.NDArray[np.uint8] = np.array(bitmap.to_array(), dtype=np.uint8)
        except (RuntimeError, ValueError) as error:
            raise SceneError(f"pycolmap cannot undistort a photo of {self.camera}: {_line(error)}") from error
        made = made.reshape(made.shape[:2]) if pixels.ndim == 2 else made
        if made.shape != (self.target.height, self.target.width, *pixels.shape[2:]):
            raise SceneError(
                f"pycolmap made an image of shape {list(made.shape)}; expected {self.target.width}x{self.target.height}"
            )
        return made


def undistortion(where: str, camera: ColmapCamera, size: tuple[int, int]) -> Undistortion:
    """The undistortion of photos of `size` (width, height) of a distorted camera.

    The focal lengths stay; the size is the largest without blank pixels, between 0.2 and 2 times the photo's: the
    defaults of ``colmap image_undistorter``.

    Raises:
        SceneError: if pycolmap is not installed, or finds no such camera; `where` begins the message.
    """
    library = _library(f"{where}: a camera with lens distortion ({camera.model})")
    scaled = scale_camera(camera, size)
    try:
        found = library.undistort_camera(_options(), _theirs(scaled))
        fx, fy, cx, cy = (float(v) for v in found.params)
        width, height = int(found.width), int(found.height)
    except (RuntimeError, ValueError) as error:
        raise SceneError(f"{where}: pycolmap cannot undistort {scaled}: {_line(error)}") from error
    if not (width >= 1 and height >= 1 and np.isfinite([fx, fy, cx, cy]).all()):
        raise SceneError(f"{where}: the distortion of {scaled} leaves no image")
    return Undistortion(scaled, ColmapCamera(camera.id, "PINHOLE", width, height, fx, fy, cx, cy))


def scale_camera(camera: ColmapCamera, size: tuple[int, int]) -> ColmapCamera:
    """`camera` for photos of another size, each axis by its true ratio.

    Pixel centers are at .5 in both, so that intrinsics scale without offset. Models with one focal length become those
    with two.
    """
    if size == (camera.width, camera.height):
        return camera
    x, y = size[0] / camera.width, size[1] / camera.height
    fx, fy, cx, cy = camera.fx * x, camera.fy * y, camera.cx * x, camera.cy * y
    model, distortion = "PINHOLE", camera.distortion
    if distortion:
        model, distortion = "OPENCV", (*distortion, 0.0, 0.0, 0.0)[:4]
    return ColmapCamera(camera.id, model, *size, fx, fy, cx, cy, distortion)


def library_version() -> str:
    """The version of pycolmap, which decides the last bits of what is resampled.

    Raises:
        SceneError: if it is not installed.
    """
    return str(_library("undistorting photos").__version__)


def _library(needed_by: str) -> Any:
    try:
        return importlib.import_module("pycolmap")
    except ImportError as error:
        raise SceneError(
            f"{needed_by} needs pycolmap, which is not installed; expected pip install '{EXTRA}', or photos that are "
            "undistorted already (colmap image_undistorter)"
        ) from error


@cache
def _options() -> Any:
    options = _library("undistorting photos").UndistortCameraOptions()
    # Its defaults, spelled out: they are part of what the protocol says.
    options.blank_pixels, options.min_scale, options.max_scale, options.max_image_size = 0.0, 0.2, 2.0, -1
    return options


def _theirs(camera: ColmapCamera) -> Any:
    return _library("undistorting photos").Camera(
        model=camera.model, width=camera.width, height=camera.height, params=list(camera.params)
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
