"""Real captures: the cameras that we make project the points to where COLMAP saw them in the photos."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gsbench.scenes import SceneOptions, SceneRef, load_scene, resolve_scenes
from gsbench.scenes.colmap import read_model, write_model

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


@pytest.mark.parametrize("name", CAPTURES)
def test_text_models_say_the_same(real_data: Path, tmp_path: Path, name: str) -> None:
    folder = real_data / f"{name}_colmap"
    write_model(tmp_path / "sparse" / "0", read_model(folder), binary=False)
    (tmp_path / "images").symlink_to(folder / "images")
    binary, text = (load_scene(SceneRef("path", "x", path)) for path in (folder, tmp_path))
    assert binary.notes == text.notes == ()
    assert torch.equal(binary.points.xyz, text.points.xyz)
    for a, b in zip([*binary.train, *binary.test], [*text.train, *text.test], strict=True):
        assert a.name == b.name
        assert torch.equal(a.viewmat, b.viewmat)
        assert torch.equal(a.K, b.K)


@pytest.mark.parametrize("ending", ["", ".jpg"])
@pytest.mark.parametrize("name", CAPTURES)
def test_the_same_cameras_as_transforms(real_data: Path, tmp_path: Path, name: str, ending: str) -> None:
    """A real model written as instant-ngp has it, with and without endings, gives the views that COLMAP gives."""
    folder = real_data / f"{name}_colmap"
    model = read_model(folder)
    frames = []
    for image in model.images.values():
        world_to_camera = np.eye(4)
        world_to_camera[:3, :3], world_to_camera[:3, 3] = image.rotation, image.tvec
        c = model.cameras[image.camera_id]
        frames.append(
            {
                "file_path": f"./images/{Path(image.name).stem}{Path(image.name).suffix if ending else ''}",
                "transform_matrix": (np.linalg.inv(world_to_camera) @ np.diag([1, -1, -1, 1])).tolist(),
                **{"fl_x": c.fx, "fl_y": c.fy, "cx": c.cx, "cy": c.cy, "w": c.width, "h": c.height},
            }
        )
    (tmp_path / "transforms.json").write_text(json.dumps({"frames": frames}))
    (tmp_path / "images").symlink_to(folder / "images")
    ours, theirs = (load_scene(SceneRef("path", "x", path)) for path in (tmp_path, folder))
    assert [v.name for v in ours.test] == [f"images/{v.name}" for v in theirs.test]
    for a, b in zip([*ours.train, *ours.test], [*theirs.train, *theirs.test], strict=True):
        assert torch.allclose(a.viewmat, b.viewmat, atol=1e-5)
        assert torch.equal(a.K, b.K)
        assert torch.equal(a.pixels, b.pixels)
    # The random points are where the reconstructed ones are.
    low, high = ours.points.xyz.min(dim=0).values, ours.points.xyz.max(dim=0).values
    inside = ((theirs.points.xyz > low) & (theirs.points.xyz < high)).all(dim=1)
    assert inside.float().mean() > 0.3


def test_a_capture_with_gaps(real_data: Path, tmp_path: Path) -> None:
    """Photos that the model has and the disk has not, and the other way round."""
    folder = real_data / "lund_door_colmap"
    (tmp_path / "sparse").symlink_to(folder / "sparse")
    (tmp_path / "images").mkdir()
    photos = sorted((folder / "images").iterdir())
    for path in photos[:3] + photos[4:]:
        (tmp_path / "images" / path.name).symlink_to(path)
    (tmp_path / "images" / "extra.jpg").symlink_to(photos[3])
    whole, scene = (load_scene(SceneRef("path", "x", path)) for path in (folder, tmp_path))
    assert [v.name for v in scene.test] == [v.name for v in whole.test]
    assert [v.name for v in scene.train] == [v.name for v in whole.train if v.name != photos[3].name]
    assert [note.split(":")[-1] for note in scene.notes] == [f" {photos[3].name}", " extra.jpg"]


def test_a_distorted_capture_is_never_read_as_pinhole(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The banana's photos under a lens that its model does not state: points move to where the lens bends them."""
    from dataclasses import replace

    pytest.importorskip("pycolmap")
    monkeypatch.setenv("GSBENCH_CACHE", str(tmp_path / "cache"))
    folder, k = real_data / "banana_colmap", -0.2
    model = read_model(folder)
    lenses = {i: replace(c, model="OPENCV", distortion=(k, 0.0, 0.0, 0.0)) for i, c in model.cameras.items()}
    write_model(tmp_path / "sparse" / "0", replace(model, cameras=lenses))
    (tmp_path / "images").symlink_to(folder / "images")
    scene, plain = (load_scene(SceneRef("path", "x", path)) for path in (tmp_path, folder))
    assert scene.protocol.id == "gs1600+undistorted"
    new, old = scene.train[0], plain.train[0]
    # A point of the new image, followed by hand into the photo as it is stored.
    x, y = new.width * 3 // 4, new.height // 4
    u, v = (x + 0.5 - float(new.K[0, 2])) / float(new.K[0, 0]), (y + 0.5 - float(new.K[1, 2])) / float(new.K[1, 1])
    bend = 1 + k * (u * u + v * v)
    at_x, at_y = u * bend * float(old.K[0, 0]) + float(old.K[0, 2]), v * bend * float(old.K[1, 1]) + float(old.K[1, 2])
    around = old.pixels[int(at_y) - 1 : int(at_y) + 2, int(at_x) - 1 : int(at_x) + 2].reshape(-1, 3)
    value = new.pixels[y, x]
    assert ((value >= around.min(dim=0).values) & (value <= around.max(dim=0).values)).all()
    assert abs(at_x - x) > 3
