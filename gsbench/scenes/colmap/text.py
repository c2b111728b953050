"""COLMAP's text files: one record per line (two per image), fields separated by blanks, comments after ``#``."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from gsbench.errors import SceneError
from gsbench.scenes.colmap.model import (
    ColmapCamera,
    ColmapImage,
    ColmapModel,
    check_points,
    make_camera,
    make_image,
)

#: Characters in a line: an image with a million keypoints stays below, a file without line ends does not.
_MAX_LINE: Final = 1 << 26


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of every line, stripped."""
    try:
        with path.open(encoding="utf-8") as file:
            number = 0
            while line := file.readline(_MAX_LINE):
                number += 1
                if len(line) == _MAX_LINE and not line.endswith("\n"):
                    raise SceneError(f"{path}, line {number}: longer than {_MAX_LINE} characters")
                yield number, line.strip()
    except OSError as error:
        raise SceneError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SceneError(f"{path}: not a text file: {error.reason} after line {number}") from error


def _records(path: Path) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in _lines(path) if line and not line.startswith("#"))


def _malformed(path: Path, number: int, line: str, expected: str) -> SceneError:
    shown = line if len(line) <= 60 else line[:57] + "..."
    return SceneError(f"{path}, line {number}: {shown!r}; expected {expected}")


def read_cameras(path: Path) -> dict[int, ColmapCamera]:
    """Read ``cameras.txt``.

    Raises:
        SceneError: naming the file and the line.
    """
    cameras: dict[int, ColmapCamera] = {}
    for number, line in _records(path):
        where, fields = f"{path}, line {number}", line.split()
        try:
            camera_id, model, width, height = int(fields[0]), fields[1], int(fields[2]), int(fields[3])
            params = [float(f) for f in fields[4:]]
        except (ValueError, IndexError) as error:
            raise _malformed(path, number, line, "CAMERA_ID MODEL WIDTH HEIGHT PARAMS...") from error
        if camera_id in cameras:
            raise SceneError(f"{where}: camera id {camera_id} was used before; expected ids that differ")
        cameras[camera_id] = make_camera(where, camera_id, model, width, height, params)
    return cameras


def read_images(path: Path) -> dict[int, ColmapImage]:
    """Read ``images.txt``, skipping the keypoints. Raises as `read_cameras`."""
    images: dict[int, ColmapImage] = {}
    lines = _lines(path)
    for number, line in lines:
        if not line or line.startswith("#"):
            continue
        where = f"{path}, line {number}"
        fields = line.split(maxsplit=9)
        try:
            image_id, camera_id, name = int(fields[0]), int(fields[8]), fields[9]
            qw, qx, qy, qz, tx, ty, tz = (float(f) for f in fields[1:8])
        except (ValueError, IndexError) as error:
            expected = "IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME"
            raise _malformed(path, number, line, expected) from error
        if image_id in images:
            raise SceneError(f"{where}: image id {image_id} was used before; expected ids that differ")
        images[image_id] = make_image(where, image_id, (qw, qx, qy, qz), (tx, ty, tz), camera_id, name)
        # The second line holds keypoints and may be empty, or missing at the end of the file. A file whose empty
        # lines were lost would have another image here, whose ten or more fields are not all numbers.
        number, line = next(lines, (number + 1, ""))
        fields = line.split()
        if len(fields) % 3 or (fields and not fields[-1].lstrip("-").isdigit()):
            raise _malformed(path, number, line, f"the keypoints of image {image_id}: (X Y POINT3D_ID) triples")
    return images


def read_points(
    path: Path,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """Read ``points3D.txt``, skipping the tracks: xyz [P, 3], rgb [P, 3], error [P]. Raises as `read_cameras`."""
    ids, numbers, colors = array("Q"), array("d"), bytearray()
    for number, line in _records(path):
        fields = line.split(maxsplit=8)
        try:
            ids.append(int(fields[0]))
            numbers.extend((float(fields[1]), float(fields[2]), float(fields[3]), float(fields[7])))
            colors.extend((int(fields[4]), int(fields[5]), int(fields[6])))
        except (ValueError, IndexError, OverflowError) as error:
            expected = "POINT3D_ID X Y Z R G B ERROR TRACK... with R G B in 0..255"
            raise _malformed(path, number, line, expected) from error
    values = np.array(numbers, dtype=np.float64).reshape(-1, 4)
    xyz, error_ = np.ascontiguousarray(values[:, :3]), np.ascontiguousarray(values[:, 3])
    rgb = np.frombuffer(bytes(colors), dtype=np.uint8).reshape(-1, 3)
    check_points(str(path), np.array(ids, dtype=np.uint64), ColmapModel({}, {}, xyz, rgb, error_))
    return xyz, rgb, error_


def camera_bytes(model: ColmapModel) -> Iterator[bytes]:
    """The content of ``cameras.txt``."""
    yield b"# CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]\n"
    for c in model.cameras.values():
        yield f"{c.id} {c.model} {c.width} {c.height} {' '.join(map(repr, map(float, c.params)))}\n".encode()


def image_bytes(model: ColmapModel) -> Iterator[bytes]:
    """The content of ``images.txt``, without keypoints."""
    yield b"# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then a line of keypoints (none)\n"
    for image in model.images.values():
        pose = " ".join(repr(float(v)) for v in (*image.qvec, *image.tvec))
        yield f"{image.id} {pose} {image.camera_id} {image.name}\n\n".encode()


def point_bytes(model: ColmapModel) -> Iterator[bytes]:
    """The content of ``points3D.txt``, with ids from 1 and without tracks."""
    yield b"# POINT3D_ID X Y Z R G B ERROR TRACK[] (none)\n"
    rows = zip(model.xyz.tolist(), model.rgb.tolist(), model.errors.tolist(), strict=True)
    for number, ((x, y, z), (r, g, b), error) in enumerate(rows, start=1):
        yield f"{number} {x!r} {y!r} {z!r} {r} {g} {b} {error!r}\n".encode()
