"""Folders with photos and a COLMAP model: what is loaded, and one message for each thing that is wrong."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gsbench.errors import GsbenchError, SceneError, UsageError
from gsbench.protocols import BLENDER, GS1600, PNG4, SHIPPED
from gsbench.scenes import Scene, SceneOptions, SceneRef, load_folder, load_scene
from gsbench.scenes.colmap import read_model, write_model


def load(folder: Path, **options: Any) -> Scene:
    return load_scene(SceneRef("path", folder.name, folder), SceneOptions(**options))


def test_scene(capture: Any) -> None:
    folder = capture()
    scene = load(folder)
    assert (scene.dataset, scene.name, scene.protocol) == ("path", "capture", GS1600)
    assert [v.name for v in scene.test] == ["photo00.png", "photo08.png"]
    assert [v.name for v in scene.train] == [f"photo{i:02d}.png" for i in (1, 2, 3, 4, 5, 6, 7, 9)]
    model = read_model(folder)
    assert scene.points.xyz.dtype == torch.float32
    assert np.array_equal(scene.points.xyz.numpy(), model.xyz.astype(np.float32))
    assert np.array_equal(scene.points.rgb.numpy(), model.rgb)
    for view in [*scene.train, *scene.test]:
        image = next(i for i in model.images.values() if i.name == view.name)
        assert (view.width, view.height) == (24, 16)
        assert view.K.tolist() == [[30.0, 0.0, 12.25], [0.0, 31.0, 7.5], [0.0, 0.0, 1.0]]
        assert view.camera_center.numpy() == pytest.approx(image.center, abs=1e-6)
        assert view.viewmat[3].tolist() == [0.0, 0.0, 0.0, 1.0]
        assert np.array_equal(view.pixels.numpy(), np.asarray(Image.open(folder / "images" / view.name)))


def test_cameras_look_at_what_they_should(capture: Any) -> None:
    """The circle's cameras have the origin one unit above their axis: at the same pixel for all of them."""
    for view in load(capture()).train:
        x, y, z = (view.K @ (view.viewmat @ torch.tensor([0.0, 0.0, 0.0, 1.0]))[:3]).tolist()
        assert (x / z, y / z) == pytest.approx((12.25, 7.5 + 31 / 4), abs=1e-4)


@pytest.mark.parametrize("layout", [{"sparse": "sparse"}, {"binary": False}, {"sparse": "sparse", "binary": False}])
def test_layouts(capture: Any, layout: dict[str, Any]) -> None:
    plain, other = load(capture("a")), load(capture("b", **layout))
    assert [v.K.tolist() for v in plain.train] == [v.K.tolist() for v in other.train]
    assert [v.viewmat.tolist() for v in plain.train] == [v.viewmat.tolist() for v in other.train]
    assert torch.equal(plain.points.xyz, other.points.xyz)


def test_photos_in_folders(capture: Any) -> None:
    names = ["left/a.png", "left/b.png", "right/a.png", "\u00fcber b.png"]
    scene = load(capture(names=names))
    assert [v.name for v in scene.test] == ["left/a.png"]
    assert [v.name for v in scene.train] == ["left/b.png", "right/a.png", "\u00fcber b.png"]
    assert scene.train[1].pixels.shape == (16, 24, 3)


def test_pixels_are_read_late(capture: Any) -> None:
    folder = capture()
    scene = load(folder)
    Image.new("RGB", (24, 16), (1, 2, 3)).save(folder / "images" / "photo01.png")
    assert scene.train[0].pixels[5, 5].tolist() == [1, 2, 3]


def test_views_survive_other_processes(capture: Any) -> None:
    view = load(capture()).train[0]
    assert torch.equal(pickle.loads(pickle.dumps(view)).pixels, view.pixels)


def reduce_into(folder: Path, name: str, size: tuple[int, int]) -> None:
    (folder / name).mkdir()
    for path in (folder / "images").iterdir():
        Image.open(path).resize(size).save(folder / name / path.name)


def test_other_images(capture: Any) -> None:
    """The intrinsics follow the true size of the photos, each axis by its own ratio."""
    folder = capture(width=25, height=15)
    reduce_into(folder, "images_2", (13, 8))
    scene = load(folder, images="images_2/")
    view = scene.train[0]
    assert scene.protocol.id == "gs1600+images_2"
    assert (view.width, view.height) == (13, 8)
    fx, fy, cx, cy = 30 * 13 / 25, 31 * 8 / 15, (12.5 + 0.25) * 13 / 25, (7.5 - 0.5) * 8 / 15
    assert view.K.flatten().tolist() == pytest.approx([fx, 0, cx, 0, fy, cy, 0, 0, 1], rel=1e-6)
    assert np.array_equal(view.pixels.numpy(), np.asarray(Image.open(folder / "images_2" / view.name)))


def test_reduced_on_the_fly(capture: Any) -> None:
    folder = capture(width=25, height=15)
    for options, size, name in [
        ({"downscale": 2.0}, (12, 8), "gs1600+d2"),
        ({"max_width": 10}, (10, 6), "gs1600+w10"),
        ({"downscale": 2.0, "max_width": 10}, (10, 6), "gs1600+d2+w10"),
    ]:
        scene = load(folder, **options)
        view = scene.train[0]
        assert scene.protocol.id == name
        assert (view.width, view.height) == size
        assert view.K[0].tolist() == pytest.approx([30 * size[0] / 25, 0, 12.75 * size[0] / 25], rel=1e-6)
        assert view.K[1].tolist() == pytest.approx([0, 31 * size[1] / 15, 7.0 * size[1] / 15], rel=1e-6)
        direct = Image.open(folder / "images" / view.name).resize(size, Image.Resampling.BICUBIC)
        assert np.array_equal(view.pixels.numpy(), np.asarray(direct))


def test_own_camera_for_each_photo_and_mixed_orientations(capture: Any) -> None:
    folder = capture(names=["a.png", "b.png", "c.png"], width=24, height=16)
    model = read_model(folder)
    cameras, images = dict(model.cameras), dict(model.images)
    cameras[9] = replace(cameras[7], id=9, width=16, height=24, fx=77.0)
    images[2] = replace(images[2], camera_id=9)
    write_model(folder / "sparse" / "0", replace(model, cameras=cameras, images=images))
    Image.new("RGB", (16, 24)).save(folder / "images" / "b.png")
    sizes = {v.name: (v.width, v.height, float(v.K[0, 0])) for v in load(folder).train}
    assert sizes == {"b.png": (16, 24, 77.0), "c.png": (24, 16, 30.0)}


def test_random_points(capture: Any) -> None:
    folder = capture(points=0)
    scene = load(folder, init="random:500")
    assert scene.points.xyz.shape == (500, 3)
    assert "random:500" in scene.notes[0]
    again = load(folder, init="random:500")
    assert torch.equal(scene.points.xyz, again.points.xyz)
    assert scene.hash == again.hash != load(folder, init="random:501").hash
    # The points file has no part in it: it may be damaged.
    (folder / "sparse" / "0" / "points3D.bin").write_bytes(b"x")
    assert load(folder, init="random:500").hash == scene.hash


def test_held_out_photos_stay_closed(capture: Any) -> None:
    folder = capture()
    whole = load(folder)
    for view in whole.test:
        (folder / "images" / view.name).write_bytes(b"nobody may look")
    scene = load(folder, held_out=False)
    assert scene.test == []
    assert [v.name for v in scene.train] == [v.name for v in whole.train]
    assert scene.hash != whole.hash
    for view in whole.test:
        (folder / "images" / view.name).unlink()
    assert load(folder, held_out=False).hash == scene.hash
    with pytest.raises(SceneError, match="2 of 10 images"):
        load(folder)


def test_poses_without_photo_and_photos_without_pose(capture: Any) -> None:
    """They are left out and reported; which of the others are held out does not change."""
    folder = capture()
    photo(folder, 2).unlink()
    shutil.copy(photo(folder, 3), folder / "images" / "z.JPG")
    (folder / "images" / "new\nline.png").write_bytes(b"x")
    scene = load(folder)
    assert [v.name for v in scene.test] == ["photo00.png", "photo08.png"]
    assert [v.name for v in scene.train] == [f"photo{i:02d}.png" for i in (1, 3, 4, 5, 6, 7, 9)]
    assert scene.notes == (
        "1 of 10 images of the COLMAP model are not in images/ and are left out: photo02.png",
        "2 of 11 photos in images/ have no pose in the COLMAP model and are left out: 'new\\nline.png', z.JPG",
    )
    # Photos that are not used have no part in the hash, those that are missing have.
    (folder / "images" / "z.JPG").unlink()
    assert load(folder).hash == scene.hash
    Image.new("RGB", (24, 16)).save(photo(folder, 2))
    assert load(folder).hash != scene.hash
    photo(folder, 2).unlink()
    with pytest.raises(SceneError, match=r"1 of 10 images .*: photo02.png; expected every photo that the model poses"):
        load_folder(folder, GS1600, SceneOptions(), dataset="lab", name="x", whole=True)


def test_manifest(capture: Any) -> None:
    """The scene says which files it was read from, and what was in them."""
    folder = capture(names=["a.png", "b.png"])
    scene = load(folder)
    files = ["images/a.png", "images/b.png", "sparse/0/cameras.bin", "sparse/0/images.bin", "sparse/0/points3D.bin"]
    assert scene.files == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files}
    lines = ["gsbench scene 1", *(f"{scene.files[name]} {name}" for name in files)]
    assert scene.hash == hashlib.sha256("\n".join(lines).encode()).hexdigest()


def test_hash_is_of_contents(capture: Any, tmp_path: Path) -> None:
    folder = capture()
    first = load(folder).hash
    assert len(first) == 64
    moved = tmp_path / "elsewhere" / "other name"
    shutil.copytree(folder, moved)
    (moved / "images" / "notes.txt").write_text("not used")
    (moved / "sparse" / "0" / "project.ini").write_text("not used")
    assert load(moved).hash == first
    assert load(moved, max_width=10).hash == first
    seen = {first}
    for name in ("images/photo00.png", "images/photo05.png"):
        Image.new("RGB", (24, 16)).save(moved / name)
        seen.add(load(moved).hash)
    model = read_model(moved)
    model.rgb[0, 0] ^= 1
    write_model(moved / "sparse" / "0", model)
    seen.add(load(moved).hash)
    (moved / "images" / "photo03.png").rename(moved / "images" / "photo03b.png")
    data = (moved / "sparse" / "0" / "images.bin").read_bytes()
    (moved / "sparse" / "0" / "images.bin").write_bytes(data.replace(b"photo03.png", b"photo03b.png"))
    seen.add(load(moved).hash)
    assert len(seen) == 5


def test_several_models_are_noted(capture: Any) -> None:
    folder = capture()
    shutil.copytree(folder / "sparse" / "0", folder / "sparse" / "1")
    assert load(folder).notes == ("only the model in sparse/0 is used; sparse/1 left out",)


def test_files_that_are_no_photos_do_not_matter(capture: Any) -> None:
    folder = capture()
    for name in (".DS_Store", "Thumbs.db", "README.txt", "._photo00.png"):
        (folder / "images" / name).write_bytes(b"x")
    (folder / "images" / ".thumbnails").mkdir()
    (folder / "images" / ".thumbnails" / "a.png").write_bytes(b"x")
    assert len(load(folder).train) == 8


def photo(folder: Path, index: int = 3) -> Path:
    return folder / "images" / f"photo{index:02d}.png"


def drop_points(folder: Path) -> None:
    (folder / "sparse" / "0" / "points3D.bin").write_bytes(bytes(8))


def keep_images(count: int) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        model = read_model(folder)
        images = {i: image for i, image in model.images.items() if i <= count}
        write_model(folder / "sparse" / "0", replace(model, images=images))
        for path in (folder / "images").iterdir():
            if path.name not in {image.name for image in images.values()}:
                path.unlink()

    return edit


BAD: list[tuple[Callable[[Path], object], str]] = [
    (shutil.rmtree, r"scene folder .*capture does not exist; expected a folder with images/ and sparse/0/"),
    (lambda f: (shutil.rmtree(f), f.write_text("x")), "scene folder .*capture is a file; expected a folder"),
    (lambda f: shutil.rmtree(f / "sparse"), "no COLMAP model; expected cameras, images and points3D"),
    (lambda f: (f / "sparse/0/images.bin").unlink(), r"incomplete COLMAP model: no images\.bin"),
    (lambda f: (f / "sparse/0/images.bin").write_bytes(b"\2" + bytes(30)), r"images\.bin: says it has 2 image records"),
    (
        lambda f: (f / "images").rename(f / "photos"),
        r"images: no such folder; .*there: photos; choose one with --images",
    ),
    (drop_points, r"points3D\.bin: has no points; .* give --init random:N"),
    (lambda f: (f / "sparse/0/points3D.bin").unlink(), r"points3D\.bin: is missing; .* give --init random:N"),
    (
        lambda f: [photo(f, i).unlink() for i in range(10)],
        r"10 of 10 images of the COLMAP model are not in images/: photo00\.png, photo01\.png, photo02\.png and 7 more;",
    ),
    (lambda f: [photo(f, i).unlink() for i in (0, 8)], r"no photo is left to hold out; 2 of 10 images .* are left out"),
    (lambda f: [photo(f, i).unlink() for i in range(10) if i % 8], "no photo is left to train on; 8 of 10 images"),
    (lambda f: photo(f).write_bytes(b"GIF89a, perhaps"), r"photo03\.png: not an image; expected a JPEG, PNG"),
    (lambda f: photo(f).write_bytes(photo(f).read_bytes()[:-300]), r"photo03\.png: damaged image"),
    (lambda f: Image.new("RGB", (24, 24)).save(photo(f)), r"photo03\.png: 24x24 pixels do not have the shape"),
    (keep_images(1), r"images\.bin: 1 posed images; expected at least 2"),
    (keep_images(0), r"images\.bin: 0 posed images; expected at least 2"),
]


@pytest.mark.parametrize(("edit", "message"), BAD)
def test_bad_input(capture: Any, edit: Callable[[Path], object], message: str) -> None:
    folder = capture()
    edit(folder)
    with pytest.raises(SceneError, match=message) as caught:
        load(folder)
    text = str(caught.value)
    assert str(folder) in text
    assert "\n" not in text
    assert caught.value.exit_code in (1, 2)


def test_two_views_are_enough(capture: Any) -> None:
    folder = capture()
    keep_images(2)(folder)
    scene = load(folder)
    assert (len(scene.train), len(scene.test)) == (1, 1)


def test_links_out_of_the_model_are_not_followed_by_name(capture: Any) -> None:
    folder = capture()
    data = (folder / "sparse/0/images.bin").read_bytes()
    (folder / "sparse/0/images.bin").write_bytes(data.replace(b"photo03.png", b"../ph03.png"))
    with pytest.raises(SceneError, match=r"image name '\.\./ph03\.png'; expected a path that stays inside"):
        load(folder)


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        (SHIPPED, "takes the data set's own reduced photos, and here none are known; say which: --images images_4"),
        (PNG4, "reduces by the data set's own factor, and here none is known; say it: --downscale 4"),
        (BLENDER, "needs a data set with given splits"),
    ],
)
def test_protocols_that_a_folder_cannot_satisfy(capture: Any, protocol: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(capture(), protocol=protocol)


def test_protocols_that_need_to_know_the_data_set(capture: Any) -> None:
    folder = capture()
    reduce_into(folder, "images_2", (12, 8))
    assert load(folder, protocol=SHIPPED, images="images_2").protocol.id == "shipped+images_2"
    assert load(folder, protocol=PNG4, downscale=2).train[0].width == 12
    known = {"dataset": "lab", "name": "x", "images": "images_2", "factor": 4.0}
    assert load_folder(folder, SHIPPED, SceneOptions(), **known).train[0].width == 12
    assert load_folder(folder, PNG4, SceneOptions(), **known).train[0].width == 6


@pytest.mark.parametrize("options", [{"images": "../x"}, {"images": "nope"}, {"downscale": 0.5}, {"max_width": 0}])
def test_bad_options(capture: Any, options: dict[str, Any]) -> None:
    with pytest.raises(GsbenchError, match="expected"):
        load(capture(), **options)


def test_no_permission(capture: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = capture()
    real = Path.open

    def denied(self: Path, *args: Any, **kwargs: Any) -> Any:
        if self.name == "photo05.png":
            raise PermissionError(13, "Permission denied")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(SceneError, match=r"photo05\.png: cannot be read: Permission denied"):
        load(folder)
