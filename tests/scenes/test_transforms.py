"""Transforms files: cameras against numpy.linalg, layouts, starting points, and what is refused."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gsbench.errors import SceneError, UsageError
from gsbench.protocols import BLENDER, GS1600, PNG4
from gsbench.scenes import Scene, SceneOptions, SceneRef, load_folder, load_scene
from gsbench.scenes.transforms_folder import cube_points

Edit = Callable[[dict[str, Any]], object]
WIDTH, HEIGHT = 24, 16


def load(folder: Path, **options: Any) -> Scene:
    return load_scene(SceneRef("path", folder.name, folder), SceneOptions(**options))


def look_at_origin(angle: float, radius: float = 4.0) -> np.ndarray:
    """Camera to world with OpenGL's axes: x right, y up, z backwards; z of the world is up."""
    center = radius * np.array([math.cos(angle), math.sin(angle), 0.5])
    back = center / np.linalg.norm(center)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = np.stack([right, np.cross(back, right), back], axis=1), center
    return matrix


def picture(seed: int, alpha: bool = True) -> Image.Image:
    rgba = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
    return Image.fromarray(rgba if alpha else rgba[..., :3])


def write(folder: Path, name: str, frames: list[dict[str, Any]], **shared: Any) -> None:
    (folder / name).write_text(json.dumps({**shared, "frames": frames}))


@pytest.fixture
def blender(tmp_path: Path) -> Path:
    """NeRF-Synthetic's layout: 3 training views, 2 of validation, 4 held out, with depth maps beside them."""
    folder = tmp_path / "lego"
    for split, count in (("train", 3), ("val", 2), ("test", 4)):
        (folder / split).mkdir(parents=True)
        frames = []
        for index in range(count):
            picture(len(split) * 10 + index).save(folder / split / f"r_{index}.png")
            matrix = look_at_origin(index + len(split)).tolist()
            frames.append({"file_path": f"./{split}/r_{index}", "rotation": 0.1, "transform_matrix": matrix})
        write(folder, f"transforms_{split}.json", frames, camera_angle_x=0.6911112070083618)
    for index in range(4):
        picture(0).save(folder / "test" / f"r_{index}_depth_0001.png")
        picture(0).save(folder / "test" / f"r_{index}_normal_0001.png")
    return folder


@pytest.fixture
def capture_json(tmp_path: Path) -> Path:
    """instant-ngp's layout: one transforms.json with intrinsics for all, 10 photos without alpha."""
    folder = tmp_path / "ngp"
    (folder / "images").mkdir(parents=True)
    frames = []
    for index in range(10):
        picture(index, alpha=False).save(folder / "images" / f"{index:04d}.png")
        path = f"images/{index:04d}.png"
        frames.append({"file_path": path, "sharpness": 30.0, "transform_matrix": look_at_origin(index).tolist()})
    shared = {"fl_x": 30.0, "fl_y": 31.0, "cx": 11.5, "cy": 8.25, "w": WIDTH, "h": HEIGHT, "aabb_scale": 16, "k1": 0}
    write(folder, "transforms.json", frames[::-1], **shared)
    return folder


def edit(folder: Path, name: str, change: Edit) -> None:
    value = json.loads((folder / name).read_text())
    change(value)
    (folder / name).write_text(json.dumps(value))


def test_blender_layout(blender: Path) -> None:
    scene = load(blender)
    assert scene.protocol == BLENDER
    assert [v.name for v in scene.train] == ["train/r_0.png", "train/r_1.png", "train/r_2.png"]
    assert [v.name for v in scene.test] == [f"test/r_{i}.png" for i in range(4)]
    assert scene.notes == ()
    focal = 0.5 * WIDTH / math.tan(0.5 * 0.6911112070083618)
    for index, view in enumerate(scene.test):
        assert (view.width, view.height) == (WIDTH, HEIGHT)
        assert view.K.flatten().tolist() == pytest.approx([focal, 0, 12, 0, focal, 8, 0, 0, 1], rel=1e-6)
        c2w = look_at_origin(index + 4) @ np.diag([1.0, -1.0, -1.0, 1.0])
        assert np.allclose(view.viewmat.numpy(), np.linalg.inv(c2w), atol=1e-6)
        assert np.allclose(view.camera_center.numpy(), c2w[:3, 3], atol=1e-6)
        ahead = view.viewmat @ torch.tensor([0.0, 0.0, 0.0, 1.0])
        assert ahead[:2].abs().max() < 1e-6
        assert ahead[2] > 0  # +z looks at the origin
        above = view.viewmat @ torch.tensor([0.0, 0.0, 0.1, 1.0])
        assert above[1] < 0  # and y points down
    assert view.FoVx == pytest.approx(0.6911112070083618, rel=1e-6)


def test_alpha_over_the_background(blender: Path) -> None:
    rgba = np.asarray(Image.open(blender / "train" / "r_1.png")).astype(int)
    color, alpha = rgba[..., :3], rgba[..., 3:]
    white = (2 * (color * alpha + 255 * (255 - alpha)) + 255) // 510
    black = (2 * color * alpha + 255) // 510
    scene = load(blender)
    assert scene.background.tolist() == [1.0, 1.0, 1.0]
    assert np.array_equal(scene.train[1].pixels.numpy(), white)
    scene = load(blender, background=(0.0, 0.0, 0.0))
    assert scene.protocol.id == "blender+bg0-0-0"
    assert np.array_equal(scene.train[1].pixels.numpy(), black)
    half = load(blender, downscale=2).train[1].pixels.numpy()
    expected = Image.fromarray(white.astype(np.uint8)).resize((12, 8), Image.Resampling.BICUBIC)
    assert np.array_equal(half, np.asarray(expected))


def test_hash_covers_what_is_used(blender: Path) -> None:
    scene = load(blender)
    photos = [*(f"train/r_{i}.png" for i in range(3)), *(f"test/r_{i}.png" for i in range(4))]
    assert set(scene.files) == {"transforms_train.json", "transforms_test.json", *photos}
    shutil.rmtree(blender / "val")
    (blender / "transforms_val.json").unlink()
    (blender / "test" / "r_0_depth_0001.png").write_bytes(b"x")
    assert load(blender).hash == scene.hash
    seen = {scene.hash, load(blender, init="random:7").hash}
    picture(99).save(blender / "test" / "r_2.png")
    seen.add(load(blender).hash)
    edit(blender, "transforms_train.json", lambda v: v["frames"][0].update(rotation=0.2))
    seen.add(load(blender).hash)
    assert len(seen) == 4


def test_held_out_views_stay_closed(blender: Path) -> None:
    shutil.rmtree(blender / "test")
    (blender / "transforms_test.json").write_text("nobody may look")
    scene = load(blender, held_out=False)
    assert (len(scene.train), len(scene.test)) == (3, 0)
    (blender / "transforms_test.json").unlink()
    assert load(blender, held_out=False).hash == scene.hash
    with pytest.raises(SceneError, match=r"transforms_test\.json: no such file; expected the held-out views beside"):
        load(blender)


def test_points_of_blender_scenes(blender: Path) -> None:
    points = load(blender).points
    assert points.xyz.shape == (100_000, 3)
    assert points.rgb.shape == (100_000, 3)
    assert points.xyz.abs().max() <= 1.3
    assert points.xyz.abs().max() > 1.299
    for values, middle, spread in ((points.xyz.double(), 0.0, 2.6 / 12**0.5), (points.rgb.double(), 127.5, 73.9)):
        assert values.mean(dim=0).tolist() == pytest.approx([middle] * 3, abs=spread * 0.015)
        assert values.std(dim=0).tolist() == pytest.approx([spread] * 3, rel=0.01)
    both = torch.cat([points.xyz.double(), points.rgb.double()], dim=1)
    assert (torch.corrcoef(both.T) - torch.eye(6)).abs().max() < 0.015
    assert len(load(blender, init="random:500").points) == 500
    xyz, rgb = cube_points(3)
    assert torch.equal(torch.tensor(xyz).float(), points.xyz[:3])
    assert np.array_equal(rgb, points.rgb[:3].numpy())
    # Every machine starts from these: PCG64's numbers, as NumPy's own generator makes doubles of them.
    uniform = np.random.Generator(np.random.PCG64(20230808)).random(12).reshape(3, 4)
    assert np.array_equal(xyz, 1.3 * (2 * uniform[:, :3] - 1))
    assert xyz[0].tolist() == [0.16537008624186114, 1.22913749081863, -0.6851640550398531]
    assert rgb[0].tolist() == [129, 227, 188]


def test_single_file_layout(capture_json: Path) -> None:
    scene = load(capture_json)
    assert scene.protocol == GS1600
    assert [v.name for v in scene.test] == ["images/0000.png", "images/0008.png"]
    assert [v.name for v in scene.train] == [f"images/{i:04d}.png" for i in (1, 2, 3, 4, 5, 6, 7, 9)]
    view = scene.train[2]
    assert view.K.tolist() == [[30.0, 0.0, 11.5], [0.0, 31.0, 8.25], [0.0, 0.0, 1.0]]
    assert np.array_equal(view.pixels.numpy(), np.asarray(Image.open(capture_json / view.name)))
    assert scene.notes == ("starts from 100,000 random points in a box around what the cameras look at",)
    # The cameras circle the origin at a height of 2: there is the middle of the box.
    assert scene.points.xyz.mean(dim=0).abs().max() < 0.1
    assert "1,000 random points" in load(capture_json, init="random:1000").notes[0]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda v: v["frames"][0].update(fl_x=77.0), [77, 31, 11.5, 8.25]),
        (lambda v: v["frames"][0].update(cx=3, cy=4.5), [30, 31, 3, 4.5]),
        (lambda v: [v.pop(n) for n in ("cx", "cy")], [30, 31, 12, 8]),
        (lambda v: v.pop("fl_y"), [30, 30, 11.5, 8.25]),
        (lambda v: [v.pop("fl_x"), v.pop("fl_y"), v.update(camera_angle_x=math.pi / 2)], [12, 12, 11.5, 8.25]),
        (
            lambda v: [v.pop("fl_x"), v.pop("fl_y"), v.update(camera_angle_x=math.pi / 2, camera_angle_y=math.pi / 2)],
            [12, 8, 11.5, 8.25],
        ),
        (lambda v: [v.pop("fl_x"), v.pop("fl_y"), v.update(camera_angle_y=math.pi / 2)], [8, 8, 11.5, 8.25]),
        (lambda v: v.update(camera_angle_x=1.0), [30, 31, 11.5, 8.25]),  # focal lengths count more
        (lambda v: v.update(w=48, h=32), [15, 15.5, 5.75, 4.125]),  # of a photo twice as large
        (lambda v: [v.pop("w"), v.pop("h")], [30, 31, 11.5, 8.25]),
        (lambda v: v.update(camera_model="OPENCV", k1=0.0, k2=0.0, p1=0, p2=0, is_fisheye=False), [30, 31, 11.5, 8.25]),
    ],
)
def test_intrinsics(capture_json: Path, change: Edit, expected: list[float]) -> None:
    edit(capture_json, "transforms.json", change)
    scene = load(capture_json)
    view = next(v for v in scene.train if v.name == "images/0009.png")
    K = view.K.double()
    assert [float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])] == pytest.approx(expected, rel=1e-6)


def test_endings(blender: Path) -> None:
    """A name without its ending; with it; with a dot in it; of a JPEG."""
    frames = json.loads((blender / "transforms_train.json").read_text())["frames"]
    (blender / "train" / "r_0.png").rename(blender / "train" / "r_0.001.png")
    Image.open(blender / "train" / "r_2.png").convert("RGB").save(blender / "train" / "r_2.jpg")
    (blender / "train" / "r_2.png").unlink()
    for frame, name in zip(frames, ("train/r_0.001", "train/r_1.png", "./train/r_2"), strict=True):
        frame["file_path"] = name
    write(blender, "transforms_train.json", frames, camera_angle_x=0.7)
    assert [v.name for v in load(blender).train] == ["train/r_0.001.png", "train/r_1.png", "train/r_2.jpg"]


def test_masks(capture_json: Path) -> None:
    (capture_json / "masks").mkdir()
    counts = np.ones((HEIGHT, WIDTH), np.uint8)
    counts[4:8] = 0
    Image.fromarray(255 * counts).save(capture_json / "masks" / "m.png")
    edit(capture_json, "transforms.json", lambda v: v["frames"][0].update(mask_path="masks/m.png"))
    scene = load(capture_json)
    masks = {v.name: v.mask for v in scene.train}
    assert [name for name, mask in masks.items() if mask is not None] == ["images/0009.png"]
    assert np.array_equal(masks["images/0009.png"].numpy(), counts == 1)  # type: ignore[union-attr]
    assert "masks/m.png" in scene.files
    (capture_json / "masks" / "m.png").unlink()
    with pytest.raises(SceneError, match=r"frame 0: mask_path: .*masks/m\.png is not there; expected the photo's mask"):
        load(capture_json)


def test_distortion(capture_json: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a COLMAP camera of the model OPENCV."""
    pytest.importorskip("pycolmap")
    from gsbench.scenes.colmap import ColmapCamera
    from gsbench.scenes.undistort import undistortion

    monkeypatch.setenv("GSBENCH_CACHE", str(tmp_path / "cache"))
    lens = {"k1": -0.1, "k2": 0.02, "p1": 0.001, "p2": -0.002}
    edit(capture_json, "transforms.json", lambda v: v.update(lens))
    scene = load(capture_json)
    assert scene.protocol.id == "gs1600+undistorted"
    view = scene.train[0]
    camera = ColmapCamera(0, "OPENCV", WIDTH, HEIGHT, 30.0, 31.0, 11.5, 8.25, tuple(lens.values()))
    made = undistortion("x", camera, (WIDTH, HEIGHT))
    assert (view.width, view.height) == (made.target.width, made.target.height)
    assert np.array_equal(view.pixels.numpy(), made(np.asarray(Image.open(capture_json / view.name))))


def test_photos_without_frames_and_frames_without_photos(capture_json: Path) -> None:
    (capture_json / "images" / "0003.png").unlink()
    picture(5).save(capture_json / "images" / "extra.png")
    (capture_json / "images" / "notes.txt").write_text("x")
    scene = load(capture_json)
    assert len(scene.train) == 7
    assert scene.notes[:2] == (
        "1 of 10 photos of the transforms files are not there and are left out: images/0003.png",
        "1 photo is in no transforms file and left out: images/extra.png",
    )
    message = r"1 of 10 photos .* are not there: images/0003\.png; expected a photo for every frame"
    with pytest.raises(SceneError, match=message):
        load_folder(capture_json, GS1600, SceneOptions(), dataset="x", name="y", whole=True)
    shutil.rmtree(capture_json / "images")
    with pytest.raises(SceneError, match="10 of 10 photos of the transforms files are not there"):
        load(capture_json)


def test_point_clouds_are_noted(capture_json: Path) -> None:
    edit(capture_json, "transforms.json", lambda v: v.update(ply_file_path="points.ply"))
    assert "ply_file_path is not read: training starts from random points" in load(capture_json).notes


def test_colmap_counts_more(capture: Any) -> None:
    folder = capture()
    (folder / "transforms.json").write_text("{}")
    scene = load(folder)
    assert scene.protocol == GS1600
    assert scene.notes == ("the COLMAP model is used; transforms.json is not read",)


def test_protocols_that_do_not_fit(blender: Path, capture_json: Path) -> None:
    cases: list[tuple[Path, dict[str, Any], str]] = [
        (
            blender,
            {"protocol": GS1600},
            r"protocol 'gs1600' does not fit .*: transforms_train\.json gives lists of trai",
        ),
        (
            capture_json,
            {"protocol": BLENDER},
            r"'blender' does not fit .*: transforms\.json gives no lists of .* gs1600",
        ),
        (capture_json, {"images": "images_2"}, "--images images_2: no meaning for .*, whose transforms file names its"),
        (blender, {"images": "train"}, "--images train: no meaning for"),
        (capture_json, {"protocol": PNG4}, "'png4' reduces by the data set's own factor, and here none is known"),
    ]
    for folder, options, message in cases:
        with pytest.raises(UsageError, match=message):
            load(folder, **options)
    assert load(capture_json, protocol=PNG4, downscale=2).train[0].width == 12


def frame(change: Edit) -> Edit:
    return lambda v: change(v["frames"][1])


def matrix(change: Callable[[list[list[float]]], object]) -> Edit:
    return lambda v: change(v["frames"][1]["transform_matrix"])


def scaled(rows: list[list[float]]) -> None:
    for row in rows[:3]:
        row[:3] = [2 * x for x in row[:3]]


def mirrored(rows: list[list[float]]) -> None:
    for row in rows[:3]:
        row[0] = -row[0]


BAD: list[tuple[Edit, str]] = [
    (lambda v: v.pop("frames"), r"train\.json: frames: expected a list with at least one entry, got None"),
    (lambda v: v.update(frames=[]), "frames: expected a list with at least one entry, got a list of 0 entries"),
    (lambda v: v.update(frames={"a": 1}), "frames: expected a list .*, got an object of 1 entries"),
    (lambda v: v["frames"].append(3), "frame 3: expected an object, got 3"),
    (frame(lambda f: f.pop("file_path")), "frame 1: file_path: expected a path, got None"),
    (frame(lambda f: f.update(file_path=["a"])), "frame 1: file_path: expected a path, got a list of 1 entries"),
    (
        frame(lambda f: f.update(file_path="../secret")),
        r"file_path: image name '\.\./secret'; expected a path that stays",
    ),
    (frame(lambda f: f.update(file_path="/etc/passwd")), "expected a path that stays inside"),
    (frame(lambda f: f.update(file_path="train/../../x")), "expected a path that stays inside"),
    (frame(lambda f: f.update(file_path="C:\\x")), "expected a path that stays inside"),
    (frame(lambda f: f.update(file_path="./")), "image name of 0 characters"),
    (frame(lambda f: f.update(file_path="a\nb")), r"image name 'a\\nb' has control characters"),
    (frame(lambda f: f.update(file_path="x" * 5000)), "image name of 5000 characters; expected 1 to 1024 bytes"),
    (frame(lambda f: f.update(file_path="./train/r_0")), "frame 1: 'train/r_0' is the photo of frame 0 too"),
    (frame(lambda f: f.update(mask_path="../m.png")), "mask_path: image name '../m.png'; expected a path that stays"),
    (
        frame(lambda f: f.pop("transform_matrix")),
        "frame 1: transform_matrix: expected 4 rows of 4 finite numbers, got N",
    ),
    (matrix(lambda m: [m.pop(), m.pop()]), "expected 4 rows of 4 finite numbers, got a list of 2 entries"),
    (matrix(lambda m: m[1].pop()), "expected 4 rows of 4 finite numbers"),
    (matrix(lambda m: m[0].__setitem__(3, float("nan"))), "expected 4 rows of 4 finite numbers, got nan"),
    (matrix(lambda m: m[0].__setitem__(3, float("inf"))), "expected 4 rows of 4 finite numbers, got inf"),
    (matrix(lambda m: m[0].__setitem__(3, 10**400)), "expected 4 rows of 4 finite numbers, got a huge number"),
    (matrix(lambda m: m[0].__setitem__(3, True)), "expected 4 rows of 4 finite numbers, got True"),
    (matrix(lambda m: m[0].__setitem__(3, "1")), "expected 4 rows of 4 finite numbers, got '1'"),
    (matrix(lambda m: m[3].__setitem__(0, 1.0)), r"last row \[1.0, 0.0, 0.0, 1.0\]; expected 0 0 0 1"),
    (matrix(scaled), "its 3x3 part is no rotation .R.T R is 3 from the identity"),
    (matrix(mirrored), "its 3x3 part is no rotation .* or it mirrors"),
    (matrix(lambda m: m[0].__setitem__(0, 1e17)), "its 3x3 part is no rotation"),
    (lambda v: v.pop("camera_angle_x"), r"train\.json, frame 0: no focal length; expected fl_x or camera_angle_x"),
    (lambda v: v.update(camera_angle_x=0), "camera_angle_x is 0.0; expected an angle in radians, between 0 and pi"),
    (lambda v: v.update(camera_angle_x=55.0), "camera_angle_x is 55.0; expected an angle in radians"),
    (lambda v: v.update(camera_angle_x="wide"), "camera_angle_x: expected a number, got 'wide'"),
    (lambda v: v.update(fl_x=-3), "focal length is -3.0; expected 0.001 to 1e[+]09 pixels"),
    (lambda v: v.update(w=0, h=16), "w: expected a whole number of 1 or more, got 0"),
    (lambda v: v.update(w=24.5, h=16), "w: expected a whole number of 1 or more, got 24.5"),
    (lambda v: v.update(w=10**9, h=10**9), "image size 1000000000x1000000000; expected sides of 1 to 65535"),
    (lambda v: v.update(w=16, h=24), r"r_0\.png: 24x16 pixels do not have the shape of its camera's 16x24"),
    (lambda v: v.update(k1=1e9), "distortion is 1000000000.0; expected a finite number of magnitude up to 100"),
    (lambda v: v.update(k3=0.1), "k3 is 0.1: a lens that is not supported; expected distortion by k1, k2, p1, p2 only"),
    (lambda v: v.update(is_fisheye=True), "is_fisheye is True: a lens that is not supported"),
    (
        lambda v: v.update(camera_model="OPENCV_FISHEYE"),
        "camera model 'OPENCV_FISHEYE' is not supported; expected one o",
    ),
    (lambda v: v.update(camera_model={}), "camera model an object of 0 entries is not supported"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_files(blender: Path, change: Edit, message: str) -> None:
    edit(blender, "transforms_train.json", change)
    with pytest.raises(SceneError, match=message) as caught:
        load(blender)
    text = str(caught.value)
    assert str(blender) in text
    assert "\n" not in text
    assert len(text) < 1500


def test_three_rows_are_enough(blender: Path) -> None:
    before = [v.viewmat.tolist() for v in load(blender).train]
    edit(blender, "transforms_train.json", matrix(lambda m: m.pop()))
    assert [v.viewmat.tolist() for v in load(blender).train] == before


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON: Expecting value"),
        (b"[1, 2]", "expected an object with frames, got a list of 2 entries"),
        (b"\xff\xfe", "not JSON"),
        (b'{"frames": [' * 100_000, "not JSON: maximum recursion depth exceeded|not JSON"),
        (b'{"frames": ' + b"9" * 5000 + b"}", "not JSON: Exceeds the limit"),
    ],
)
def test_not_json(blender: Path, data: bytes, message: str) -> None:
    (blender / "transforms_train.json").write_bytes(data)
    with pytest.raises(SceneError, match=rf"transforms_train\.json: ({message})"):
        load(blender)


def test_huge_files_are_not_read(blender: Path) -> None:
    with (blender / "transforms_train.json").open("wb") as file:
        file.truncate(1 << 40)  # without taking space
    with pytest.raises(
        SceneError, match=r"transforms_train\.json: 1099511627776 bytes; expected a list of cameras of up to"
    ):
        load(blender)


def test_views_that_are_trained_on_are_not_held_out(blender: Path) -> None:
    shutil.copy(blender / "transforms_train.json", blender / "transforms_test.json")
    with pytest.raises(
        SceneError, match=r"transforms_test\.json: 3 photos are in transforms_train\.json, too: train/r_0"
    ):
        load(blender)


def test_rounded_matrices_become_rotations(blender: Path) -> None:
    def rounded(value: dict[str, Any]) -> None:
        for f in value["frames"]:
            f["transform_matrix"] = [[round(x, 2) for x in row] for row in f["transform_matrix"]]

    edit(blender, "transforms_train.json", rounded)
    for view in load(blender).train:
        rotation = view.viewmat[:3, :3].double()
        assert (rotation @ rotation.T - torch.eye(3)).abs().max() < 1e-6
        assert torch.det(rotation) > 0


def test_orientation_without_a_stated_size_is_not_guessed(blender: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(1, alpha=False).save(blender / "train" / "r_0.png", exif=exif)
    with pytest.raises(SceneError, match=r"r_0\.png: has the EXIF orientation 6, and .* does not say \(w, h\) whether"):
        load(blender)
    edit(blender, "transforms_train.json", lambda v: v.update(w=WIDTH, h=HEIGHT))
    assert load(blender).notes == (
        "1 photo is read as stored, without regard to their EXIF orientation, as COLMAP does: train/r_0.png",
    )
    edit(blender, "transforms_train.json", lambda v: v["frames"][0].update(w=HEIGHT, h=WIDTH))
    scene = load(blender)
    assert (scene.train[0].width, scene.train[0].height) == (HEIGHT, WIDTH)
    assert scene.train[0].pixels.shape == (WIDTH, HEIGHT, 3)
    assert "1 photo is turned by their EXIF orientation" in scene.notes[0]


def test_no_layout(tmp_path: Path) -> None:
    with pytest.raises(
        SceneError, match=r"no COLMAP model; .* in sparse/0 or sparse, or transforms_train\.json, or trans"
    ):
        load(tmp_path)
