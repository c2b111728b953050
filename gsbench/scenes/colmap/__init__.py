"""COLMAP models, binary and text: reading what others wrote with suspicion, and writing.

Of cameras, the models PINHOLE, SIMPLE_PINHOLE, SIMPLE_RADIAL, RADIAL and OPENCV are read; others are refused by name.
Keypoints and tracks are skipped. The formats are described at https://colmap.github.io/format.html.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from gsbench.errors import SceneError
from gsbench.scenes.colmap import binary as _binary
from gsbench.scenes.colmap import text as _text
from gsbench.scenes.colmap.model import (
    ColmapCamera,
    ColmapImage,
    ColmapModel,
    check_points,
    check_references,
    make_camera,
    make_image,
)

__all__ = ["ColmapCamera", "ColmapImage", "ColmapModel", "find_model", "model_files", "read_model", "write_model"]

_SUFFIXES: Final = (".bin", ".txt")


def find_model(folder: Path) -> Path:
    """The folder that holds the model: `folder` itself, ``sparse/0`` or ``sparse`` in it, in this order.

    Raises:
        SceneError: if there is none.
    """
    for candidate in (folder, folder / "sparse" / "0", folder / "sparse"):
        if any((candidate / f"cameras{suffix}").is_file() for suffix in _SUFFIXES):
            return candidate
    raise SceneError(
        f"{folder}: no COLMAP model; expected cameras, images and points3D (.bin or .txt) in sparse/0 or sparse"
    )


def model_files(folder: Path) -> tuple[Path, Path, Path]:
    """The cameras, images and points3D files of the model in `folder`, binary ones if it has them.

    The points file may be missing (not every tool writes an empty one); the others are there.

    Raises:
        SceneError: if there is no model, or only a part of one.
    """
    folder = find_model(folder)
    missing: list[str] = []
    for suffix in _SUFFIXES:
        cameras, images, points = (folder / f"{name}{suffix}" for name in ("cameras", "images", "points3D"))
        absent = [path.name for path in (cameras, images) if not path.is_file()]
        if not absent:
            return cameras, images, points
        missing.append(" and ".join(absent))
    raise SceneError(f"{folder}: incomplete COLMAP model: no {missing[0]} (binary), no {missing[1]} (text)")


def read_model(folder: str | Path, *, points: bool = True) -> ColmapModel:
    """Read the COLMAP model in `folder`, or in ``sparse/0`` or ``sparse`` below it; binary files are preferred.

    Args:
        folder: where the model is.
        points: False leaves the points file unread and the model without points.

    Raises:
        SceneError: if a file is missing, truncated, damaged or says what cannot be; the message names the file, the
            record with its byte offset or line, and what was expected there.
    """
    cameras_path, images_path, points_path = model_files(Path(folder))
    reader = _binary if cameras_path.suffix == ".bin" else _text
    cameras, images = reader.read_cameras(cameras_path), reader.read_images(images_path)
    model = ColmapModel(cameras, images)
    if points and points_path.is_file():
        xyz, rgb, error = reader.read_points(points_path)
        model = ColmapModel(cameras, images, xyz, rgb, error)
    check_references(str(images_path), model)
    return model


def write_model(folder: str | Path, model: ColmapModel, binary: bool = True) -> None:
    """Write `model` as ``cameras``, ``images`` and ``points3D`` (.bin, or .txt if not `binary`) into `folder`.

    The folder is made if needed; existing files are replaced whole. Keypoints and tracks are written empty, points
    get ids from 1. `read_model` restores the same values bit for bit.

    Raises:
        SceneError: if the model could not be read back: an id that repeats, a name that leaves the folder, NaN, ...
    """
    target = Path(folder)
    _check(target, model)
    writer, suffix = (_binary, ".bin") if binary else (_text, ".txt")
    target.mkdir(parents=True, exist_ok=True)
    _write(target / f"cameras{suffix}", writer.camera_bytes(model))
    _write(target / f"images{suffix}", writer.image_bytes(model))
    _write(target / f"points3D{suffix}", writer.point_bytes(model))


def _check(target: Path, model: ColmapModel) -> None:
    """Apply to a model in memory the checks that reading applies to files."""
    for key, c in model.cameras.items():
        where = f"writing {target}, camera {key}"
        if make_camera(where, c.id, c.model, c.width, c.height, c.params) != c or c.id != key:
            raise SceneError(
                f"{where}: {c}; expected its own id as key, and fx equal to fy where its model has one focal length"
            )
    for key, i in model.images.items():
        where = f"writing {target}, image {key}"
        if make_image(where, i.id, i.qvec, i.tvec, i.camera_id, i.name).id != key:
            raise SceneError(f"{where}: has id {i.id}; expected its own id as key")
        if i.name != i.name.strip():
            raise SceneError(f"{where}: name {i.name!r} begins or ends with a blank, which text models cannot hold")
    for name, shape in (("xyz", (len(model.xyz), 3)), ("rgb", (len(model.xyz), 3)), ("errors", (len(model.xyz),))):
        if getattr(model, name).shape != shape:
            raise SceneError(f"writing {target}: {name} has shape {getattr(model, name).shape}; expected {shape}")
    if model.rgb.dtype != np.uint8:
        raise SceneError(f"writing {target}: rgb is {model.rgb.dtype}; expected uint8")
    check_points(f"writing {target}", np.arange(1, len(model.xyz) + 1, dtype=np.uint64), model)
    check_references(f"writing {target}", model)


def _write(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file under a temporary name beside its own, then rename it."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(chunks)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
