"""COLMAP's binary files. Little-endian, no padding; every file begins with a u64 count.

    cameras.bin    u32 id, i32 model, u64 width, u64 height, f64 parameters
    images.bin     u32 id, f64 qvec[4], f64 tvec[3], u32 camera, name, NUL, u64 n, n x (f64 x, f64 y, i64 point)
    points3D.bin   u64 id, f64 xyz[3], u8 rgb[3], f64 error, u64 n, n x (u32 image, u32 keypoint)

Counts are compared with the bytes that are there before anything is made from them.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from gsbench.errors import SceneError
from gsbench.scenes.colmap.model import (
    CAMERA_MODELS,
    MAX_NAME,
    SUPPORTED_MODELS,
    ColmapCamera,
    ColmapImage,
    ColmapModel,
    check_model_name,
    check_points,
    make_camera,
    make_image,
)

_COUNT: Final = struct.Struct("<Q")
_CAMERA: Final = struct.Struct("<IiQQ")
_IMAGE: Final = struct.Struct("<I4d3dI")
_KEYPOINT_BYTES: Final = 24
_TRACK_BYTES: Final = 8
_POINT: Final = np.dtype([("id", "<u8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8")])
#: Points gathered at once: bounds the memory for indices.
_CHUNK: Final = 1 << 16


class _Bytes:
    """A file's bytes with the checks that every record needs."""

    def __init__(self, path: Path, record: str) -> None:
        self.path, self.record = path, record
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                # Mapped, so that keypoints and tracks, most of the bytes, are skipped and never read.
                self.data: bytes | mmap.mmap = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        except OSError as error:
            raise SceneError(f"{path}: cannot be read: {error.strerror or error}") from error
        self.size = len(self.data)

    def where(self, index: int, offset: int) -> str:
        return f"{self.path}, {self.record} record {index} at byte {offset}"

    def need(self, where: str, offset: int, size: int) -> None:
        if size > self.size - offset:
            raise SceneError(
                f"{where}: the file ends after {self.size} bytes; "
                f"expected at least {offset + size} (truncated, or a count that lies)"
            )

    def count(self, smallest: int) -> int:
        """The leading count, if `smallest` bytes per record can be in the file."""
        if self.size < _COUNT.size:
            raise SceneError(f"{self.path}: {self.size} bytes; expected at least the 8 bytes of a count")
        (count,) = _COUNT.unpack_from(self.data, 0)
        most = (self.size - _COUNT.size) // smallest
        if count > most:
            raise SceneError(
                f"{self.path}: says it has {count} {self.record} records, but its {self.size} bytes hold at most "
                f"{most} (truncated, or not a COLMAP file)"
            )
        return int(count)

    def finished(self, offset: int) -> None:
        if offset != self.size:
            raise SceneError(
                f"{self.path}: {self.size - offset} bytes after the last {self.record} record at byte {offset}; "
                "expected the end of the file"
            )


def read_cameras(path: Path) -> dict[int, ColmapCamera]:
    """Read ``cameras.bin``.

    Raises:
        SceneError: naming the file, the record and its byte offset.
    """
    source = _Bytes(path, "camera")
    cameras: dict[int, ColmapCamera] = {}
    offset = _COUNT.size
    for index in range(source.count(_CAMERA.size + 8)):
        where = source.where(index, offset)
        source.need(where, offset, _CAMERA.size)
        camera_id, model_id, width, height = _CAMERA.unpack_from(source.data, offset)
        model = CAMERA_MODELS.get(model_id, f"number {model_id}")
        check_model_name(where, model)
        n_params = SUPPORTED_MODELS[model]
        source.need(where, offset, _CAMERA.size + 8 * n_params)
        params = struct.unpack_from(f"<{n_params}d", source.data, offset + _CAMERA.size)
        if camera_id in cameras:
            raise SceneError(f"{where}: camera id {camera_id} was used before; expected ids that differ")
        cameras[camera_id] = make_camera(where, camera_id, model, width, height, params)
        offset += _CAMERA.size + 8 * n_params
    source.finished(offset)
    return cameras


def read_images(path: Path) -> dict[int, ColmapImage]:
    """Read ``images.bin``, skipping the keypoints. Raises as `read_cameras`."""
    source = _Bytes(path, "image")
    images: dict[int, ColmapImage] = {}
    offset = _COUNT.size
    for index in range(source.count(_IMAGE.size + 1 + _COUNT.size)):
        where = source.where(index, offset)
        source.need(where, offset, _IMAGE.size + 1 + _COUNT.size)
        image_id, qw, qx, qy, qz, tx, ty, tz, camera_id = _IMAGE.unpack_from(source.data, offset)
        start = offset + _IMAGE.size
        end = source.data.find(b"\0", start, start + MAX_NAME + 1)
        if end < 0:
            raise SceneError(f"{where}: no end of the image's name within {MAX_NAME} bytes from byte {start}")
        try:
            name = source.data[start:end].decode("utf-8")
        except UnicodeDecodeError as error:
            raise SceneError(f"{where}: the image's name at byte {start} is not UTF-8: {error.reason}") from error
        if image_id in images:
            raise SceneError(f"{where}: image id {image_id} was used before; expected ids that differ")
        images[image_id] = make_image(where, image_id, (qw, qx, qy, qz), (tx, ty, tz), camera_id, name)
        source.need(where, end, 1 + _COUNT.size)
        (n_keypoints,) = _COUNT.unpack_from(source.data, end + 1)
        source.need(where, end, 1 + _COUNT.size + n_keypoints * _KEYPOINT_BYTES)
        offset = end + 1 + _COUNT.size + n_keypoints * _KEYPOINT_BYTES
    source.finished(offset)
    return images


def _point_offsets(source: _Bytes) -> npt.NDArray[np.int64]:
    """Where each record of ``points3D.bin`` begins: the only part of reading that must go record by record."""
    fixed = _POINT.itemsize + _COUNT.size
    data, size, unpack, length_at = source.data, source.size, _COUNT.unpack_from, _POINT.itemsize
    offsets: list[int] = []
    offset = _COUNT.size
    for index in range(source.count(fixed)):
        end = offset + fixed
        if end <= size:
            end += unpack(data, offset + length_at)[0] * _TRACK_BYTES
        if end > size:
            source.need(source.where(index, offset), offset, end - offset)
        offsets.append(offset)
        offset = end
    source.finished(offset)
    return np.array(offsets, dtype=np.int64)


def read_points(
    path: Path,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """Read ``points3D.bin``, skipping the tracks: xyz [P, 3], rgb [P, 3], error [P]. Raises as `read_cameras`."""
    source = _Bytes(path, "point")
    offsets = _point_offsets(source)
    raw = np.frombuffer(source.data, dtype=np.uint8)
    points = np.empty(len(offsets), dtype=_POINT)
    for start in range(0, len(offsets), _CHUNK):
        chunk = offsets[start : start + _CHUNK]
        gathered = raw[chunk[:, None] + np.arange(_POINT.itemsize)]
        points[start : start + _CHUNK] = gathered.view(_POINT)[:, 0]
    xyz, rgb, error = (np.ascontiguousarray(points[name]) for name in ("xyz", "rgb", "error"))
    check_points(str(path), points["id"], ColmapModel({}, {}, xyz, rgb, error))
    return xyz, rgb, error


def camera_bytes(model: ColmapModel) -> Iterator[bytes]:
    """The content of ``cameras.bin``."""
    numbers = {name: number for number, name in CAMERA_MODELS.items()}
    yield _COUNT.pack(len(model.cameras))
    for camera in model.cameras.values():
        yield _CAMERA.pack(camera.id, numbers[camera.model], camera.width, camera.height)
        yield struct.pack(f"<{len(camera.params)}d", *camera.params)


def image_bytes(model: ColmapModel) -> Iterator[bytes]:
    """The content of ``images.bin``, without keypoints."""
    yield _COUNT.pack(len(model.images))
    for image in model.images.values():
        yield _IMAGE.pack(image.id, *image.qvec, *image.tvec, image.camera_id)
        yield image.name.encode() + b"\0" + _COUNT.pack(0)


def point_bytes(model: ColmapModel) -> Iterator[bytes]:
    """The content of ``points3D.bin``, with ids from 1 and without tracks."""
    record = np.dtype([("point", _POINT), ("track", "<u8")])
    points = np.zeros(len(model.xyz), dtype=record)
    points["point"]["id"] = np.arange(1, len(points) + 1)
    points["point"]["xyz"], points["point"]["rgb"], points["point"]["error"] = model.xyz, model.rgb, model.errors
    yield _COUNT.pack(len(points))
    yield points.tobytes()
