"""Write the demo scene's cameras, points and tracks as a binary COLMAP model."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gsbench.scenes.colmap import ColmapCamera, ColmapImage, ColmapModel, write_model
from gsbench.scenes.demo.cameras import FOCAL, HEIGHT, WIDTH, Pose
from gsbench.scenes.demo.keypoints import SparsePoints


def quaternion(pose: Pose) -> tuple[float, float, float, float]:
    """The rotation from world to camera as a unit quaternion wxyz with w >= 0 (Shepperd 1978)."""
    m = pose.rotation.tolist()
    diagonal = (m[0][0] + m[1][1] + m[2][2], m[0][0], m[1][1], m[2][2])
    largest = diagonal.index(max(diagonal))
    q = [0.0, 0.0, 0.0, 0.0]
    if largest == 0:
        s = 2.0 * math.sqrt(1.0 + diagonal[0])
        q = [s / 4, (m[2][1] - m[1][2]) / s, (m[0][2] - m[2][0]) / s, (m[1][0] - m[0][1]) / s]
    else:
        i = largest - 1
        j, k = (i + 1) % 3, (i + 2) % 3
        s = 2.0 * math.sqrt(1.0 + m[i][i] - m[j][j] - m[k][k])
        q[0], q[1 + i] = (m[k][j] - m[j][k]) / s, s / 4
        q[1 + j], q[1 + k] = (m[j][i] + m[i][j]) / s, (m[k][i] + m[i][k]) / s
    sign = 1.0 if q[0] >= 0.0 else -1.0
    return (q[0] * sign, q[1] * sign, q[2] * sign, q[3] * sign)


def model_of(poses: Sequence[Pose], names: Sequence[str], points: SparsePoints) -> ColmapModel:
    """The model without its tracks; image ids count from 1."""
    camera = ColmapCamera(1, "PINHOLE", WIDTH, HEIGHT, FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2)
    images = {}
    for number, (pose, name) in enumerate(zip(poses, names, strict=True), start=1):
        x, y, z = pose.translation.tolist()
        images[number] = ColmapImage(number, quaternion(pose), (x, y, z), 1, name)
    return ColmapModel({1: camera}, images, points.xyz, points.rgb, points.error)


def write(folder: Path, poses: Sequence[Pose], names: Sequence[str], points: SparsePoints) -> None:
    """Write ``cameras.bin``, ``images.bin`` and ``points3D.bin``; point ids count from 1."""
    model = model_of(poses, names, points)
    write_model(folder, model)  # checks the model; its images and points have no tracks, so write them once more
    keypoint = np.zeros(len(points.point), np.int64)  # number of each observation within its view
    record = np.dtype([("xy", "<f8", 2), ("point", "<i8")])
    with (folder / "images.bin").open("wb") as file:
        file.write(struct.pack("<Q", len(model.images)))
        for number, image in enumerate(model.images.values()):
            own = np.flatnonzero(points.view == number)
            keypoint[own] = np.arange(own.size)
            file.write(struct.pack("<I4d3dI", image.id, *image.qvec, *image.tvec, image.camera_id))
            file.write(image.name.encode() + b"\0" + struct.pack("<Q", own.size))
            keypoints = np.zeros(own.size, record)
            keypoints["xy"], keypoints["point"] = points.xy[own], points.point[own] + 1
            file.write(keypoints.tobytes())
    tracks = np.stack([points.view + 1, keypoint], axis=1).astype("<u4")
    ends = np.cumsum(np.bincount(points.point, minlength=len(points.xyz)))
    with (folder / "points3D.bin").open("wb") as file:
        file.write(struct.pack("<Q", len(points.xyz)))
        start = 0
        for row, end in enumerate(ends.tolist()):
            file.write(struct.pack("<Q3d3Bd", row + 1, *points.xyz[row], *points.rgb[row].tolist(), points.error[row]))
            file.write(struct.pack("<Q", end - start) + tracks[start:end].tobytes())
            start = end
