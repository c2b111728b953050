"""Small captures made on the spot, and a writer of COLMAP bytes that shares no code with the reader."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gsbench.scenes.colmap import ColmapCamera, ColmapImage, ColmapModel, write_model

Capture = Callable[..., Path]


def pattern(width: int, height: int, seed: int) -> np.ndarray:
    """A picture in which every pixel is different: uint8 [height, width, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def circle_model(names: list[str], width: int, height: int, points: int = 20) -> ColmapModel:
    """Cameras on a circle of radius 4 around the origin, at height y = -1, looking at it."""
    images = {}
    for index, name in enumerate(names, start=1):
        angle = 2 * np.pi * index / len(names)
        # About the vertical axis: world to camera is a rotation by `angle`, then 4 forward.
        qvec = (float(np.cos(angle / 2)), 0.0, float(np.sin(angle / 2)), 0.0)
        images[index] = ColmapImage(index, qvec, (0.0, 1.0, 4.0), 7, name)
    rng = np.random.default_rng(0)
    return ColmapModel(
        {7: ColmapCamera(7, "PINHOLE", width, height, 30.0, 31.0, width / 2 + 0.25, height / 2 - 0.5)},
        images,
        rng.uniform(-1, 1, (points, 3)),
        rng.integers(0, 256, (points, 3), dtype=np.uint8),
    )


@pytest.fixture
def capture(tmp_path: Path) -> Capture:
    """A function that writes a capture and returns its folder."""

    def make(
        name: str = "capture",
        *,
        names: list[str] | None = None,
        width: int = 24,
        height: int = 16,
        points: int = 20,
        binary: bool = True,
        sparse: str = "sparse/0",
        images: str = "images",
    ) -> Path:
        folder = tmp_path / name
        names = names if names is not None else [f"photo{i:02d}.png" for i in range(10)]
        for index, photo in enumerate(names):
            path = folder / images / photo
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pattern(width, height, index)).save(path)
        (folder / images).mkdir(parents=True, exist_ok=True)
        write_model(folder / sparse, circle_model(names, width, height, points), binary)
        return folder

    return make


class RawColmap:
    """The bytes of a COLMAP model, put together field by field from the description of the format."""

    def __init__(self) -> None:
        self.cameras: list[bytes] = []
        self.images: list[bytes] = []
        self.points: list[bytes] = []

    def camera(self, camera_id: int, model: int, width: int, height: int, *params: float) -> None:
        self.cameras.append(struct.pack(f"<iiQQ{len(params)}d", camera_id, model, width, height, *params))

    def image(
        self,
        image_id: int,
        q: tuple[float, ...],
        t: tuple[float, ...],
        camera_id: int,
        name: bytes,
        keypoints: list[tuple[float, float, int]],
    ) -> None:
        record = struct.pack("<i", image_id) + struct.pack("<4d", *q) + struct.pack("<3d", *t)
        record += struct.pack("<i", camera_id) + name + b"\0" + struct.pack("<Q", len(keypoints))
        self.images.append(record + b"".join(struct.pack("<ddq", *k) for k in keypoints))

    def point(
        self,
        point_id: int,
        xyz: tuple[float, ...],
        rgb: tuple[int, ...],
        error: float,
        track: list[tuple[int, int]],
    ) -> None:
        record = struct.pack("<Q", point_id) + struct.pack("<3d", *xyz) + bytes(rgb) + struct.pack("<d", error)
        record += struct.pack("<Q", len(track))
        self.points.append(record + b"".join(struct.pack("<ii", *t) for t in track))

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, records in (("cameras", self.cameras), ("images", self.images), ("points3D", self.points)):
            (folder / f"{name}.bin").write_bytes(struct.pack("<Q", len(records)) + b"".join(records))
        return folder


@pytest.fixture
def raw() -> RawColmap:
    """Two cameras, two images with keypoints, three points with tracks."""
    raw = RawColmap()
    raw.camera(1, 1, 640, 480, 500.0, 510.0, 320.0, 240.0)
    raw.camera(5, 0, 320, 200, 250.0, 160.0, 100.0)
    raw.image(3, (1.0, 0.0, 0.0, 0.0), (0.5, -1.0, 2.0), 5, b"b.jpg", [(1.5, 2.5, 11), (3.0, 4.0, -1)])
    raw.image(2, (0.5, 0.5, -0.5, 0.5), (0.0, 0.25, 4.0), 1, "sub/\u00e9 1.jpg".encode(), [])
    raw.point(11, (1.0, 2.0, 3.0), (255, 0, 7), 0.75, [(3, 0)])
    raw.point(99, (-1.0, -2.0, 1e-3), (1, 2, 3), -1.0, [])
    raw.point(2**40, (0.0, 0.0, 9.0), (9, 9, 9), 2.5, [(3, 1), (2, 7), (2, 8)])
    return raw
