"""Real captures: the cameras that we make project the points to where COLMAP saw them in the photos."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsbench.scenes import SceneOptions, load_scene, resolve_scenes

CAPTURES = {"fox": (50, 304, 540), "lund_door": (12, 360, 540), "banana": (14, 540, 358)}


def keypoints(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Per image, the keypoints that have a point: positions [M, 2] and point ids [M]; parsed here, not by gsbench."""
    data = (folder / "sparse/0/images.bin").read_bytes()
    (count,), offset, found = struct.unpack_from("<Q", data), 8, {}
    for _ in range(count):
        end = data.index(b"\0", offset + 64)
        name = data[offset + 64 : end].decode()
        (n,) = struct.unpack_from("<Q", data, end + 1)
        table = np.frombuffer(data, np.dtype([("xy", "<f8", 2), ("point", "<i8")]), n, end + 9)
        table = table[table["point"] >= 0]
        found[name] = (table["xy"], table["point"])
        offset = end + 9 + 24 * n
    return found


def point_ids(folder: Path) -> list[int]:
    data = (folder / "sparse/0/points3D.bin").read_bytes()
    (count,), offset, ids = struct.unpack_from("<Q", data), 8, []
    for _ in range(count):
        ids.append(struct.unpack_from("<Q", data, offset)[0])
        offset += 51 + 8 * struct.unpack_from("<Q", data, offset + 43)[0]
    return ids


@pytest.mark.parametrize("name", CAPTURES)
@pytest.mark.parametrize(("options", "factor"), [({}, 1), ({"images": "images_2"}, 2), ({"downscale": 2}, 2)])
def test_reprojection(real_data: Path, name: str, options: dict[str, Any], factor: int) -> None:
    folder = real_data / f"{name}_colmap"
    (ref,) = resolve_scenes([f"path:{folder}"])
    scene = load_scene(ref, SceneOptions(**options))
    count, width, height = CAPTURES[name]
    assert len(scene.train) + len(scene.test) == count
    assert len(scene.test) == -(-count // 8)
    index = {point: row for row, point in enumerate(point_ids(folder))}
    seen = keypoints(folder)
    xyz = scene.points.xyz.double().numpy()
    distances = []
    for view in [*scene.train, *scene.test]:
        assert (view.width, view.height) == (width // factor, height // factor)
        assert tuple(view.pixels.shape) == (view.height, view.width, 3)
        positions, ids = seen[view.name]
        world = xyz[[index[i] for i in ids.tolist()]]
        camera = world @ view.viewmat[:3, :3].double().numpy().T + view.viewmat[:3, 3].double().numpy()
        assert (camera[:, 2] > 0).all()
        pixels = camera @ view.K.double().numpy().T
        projected = pixels[:, :2] / pixels[:, 2:]
        distances.append(np.linalg.norm(projected * factor - positions, axis=1))
    # The captures' descriptions state mean errors of 0.10 to 0.23 px in the full-size photos.
    assert np.concatenate(distances).mean() < 0.25
    assert max(np.median(d) for d in distances) < 0.3


def test_half_size_photos_show_the_same(real_data: Path) -> None:
    """Photos reduced on the fly and the shipped half-size ones differ by the filter and JPEG only."""
    (ref,) = resolve_scenes([f"path:{real_data / 'fox_colmap'}"])
    shipped = load_scene(ref, SceneOptions(images="images_2")).train[0].pixels.double()
    reduced = load_scene(ref, SceneOptions(downscale=2)).train[0].pixels.double()
    full = load_scene(ref).train[0].pixels.double()
    assert (shipped - reduced).square().mean().sqrt() < 4.0
    # Half-size sampling at .5: a shift by half a pixel would show against plain averages of 2x2 pixels.
    means = full.reshape(270, 2, 152, 2, 3).mean(dim=(1, 3))
    here = (reduced - means).square().mean()
    assert here < 0.5 * (reduced[:, 1:] - means[:, :-1]).square().mean()
