"""Reading and writing COLMAP models: against bytes made by hand, COLMAP's own library, and real captures."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gsbench.errors import SceneError
from gsbench.scenes.colmap import ColmapCamera, ColmapImage, ColmapModel, find_model, read_model, write_model


def same(a: ColmapModel, b: ColmapModel) -> bool:
    return (
        a.cameras == b.cameras
        and a.images == b.images
        and all(np.array_equal(getattr(a, n), getattr(b, n)) for n in ("xyz", "rgb", "errors"))
        and a.rgb.dtype == b.rgb.dtype == np.uint8
    )


def test_binary_fields(raw: Any, tmp_path: Path) -> None:
    model = read_model(raw.write(tmp_path))
    assert model.cameras == {
        1: ColmapCamera(1, "PINHOLE", 640, 480, 500.0, 510.0, 320.0, 240.0),
        5: ColmapCamera(5, "SIMPLE_PINHOLE", 320, 200, 250.0, 250.0, 160.0, 100.0),
    }
    assert model.images == {
        3: ColmapImage(3, (1.0, 0.0, 0.0, 0.0), (0.5, -1.0, 2.0), 5, "b.jpg"),
        2: ColmapImage(2, (0.5, 0.5, -0.5, 0.5), (0.0, 0.25, 4.0), 1, "sub/\u00e9 1.jpg"),
    }
    assert model.xyz.tolist() == [[1.0, 2.0, 3.0], [-1.0, -2.0, 1e-3], [0.0, 0.0, 9.0]]
    assert model.rgb.tolist() == [[255, 0, 7], [1, 2, 3], [9, 9, 9]]
    assert model.errors.tolist() == [0.75, -1.0, 2.5]


TEXT = {
    "cameras.txt": """# Camera list with one line of data per camera:
#   CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]
# Number of cameras: 2
1 PINHOLE 640 480 500 510 320 240
5 SIMPLE_PINHOLE 320 200 250 160 100
""",
    "images.txt": """# Image list with two lines of data per image:
#   IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME
#   POINTS2D[] as (X, Y, POINT3D_ID)

3 1 0 0 0 0.5 -1 2 5 b.jpg
1.5 2.5 11 3 4 -1
2 0.5 0.5 -0.5 0.5 0 .25 4e0 1 sub/\u00e9 1.jpg

""",
    "points3D.txt": """# 3D point list with one line of data per point:
11 1 2 3 255 0 7 0.75 3 0
99 -1 -2 1e-3 1 2 3 -1
1099511627776 0 0 9 9 9 9 2.5 3 1 2 7 2 8
""",
}


def write_text(folder: Path, **changed: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in TEXT.items():
        (folder / name).write_text(changed.get(name.removesuffix(".txt"), text), encoding="utf-8")
    return folder


def test_text_and_binary_say_the_same(raw: Any, tmp_path: Path) -> None:
    assert same(read_model(write_text(tmp_path / "t")), read_model(raw.write(tmp_path / "b")))


@pytest.mark.parametrize("ending", ["", "\n"])
def test_text_without_the_last_empty_line(tmp_path: Path, ending: str) -> None:
    folder = write_text(tmp_path / "t", images=TEXT["images.txt"].rstrip("\n") + ending)
    assert len(read_model(folder).images) == 2


def test_windows_line_ends(tmp_path: Path) -> None:
    folder = write_text(tmp_path / "t")
    plain = read_model(folder)
    for name in TEXT:
        (folder / name).write_bytes((folder / name).read_bytes().replace(b"\n", b"\r\n"))
    assert same(read_model(folder), plain)


def test_layouts_and_preference(raw: Any, tmp_path: Path) -> None:
    raw.write(tmp_path / "a" / "sparse" / "0")
    raw.write(tmp_path / "b" / "sparse")
    for name in "ab":
        assert len(read_model(tmp_path / name).images) == 2
    assert find_model(tmp_path / "a") == tmp_path / "a" / "sparse" / "0"
    # Text beside binary is ignored ...
    text = write_text(tmp_path / "b" / "sparse", cameras="nonsense")
    assert len(read_model(tmp_path / "b").images) == 2
    # ... unless the binary model is not whole.
    (text / "images.bin").unlink()
    with pytest.raises(SceneError, match=r"cameras\.txt, line 1: 'nonsense'; expected CAMERA_ID MODEL"):
        read_model(tmp_path / "b")
    (text / "images.txt").unlink()
    with pytest.raises(SceneError, match=r"incomplete COLMAP model: no images\.bin \(binary\), no images\.txt"):
        read_model(tmp_path / "b")
    with pytest.raises(SceneError, match="no COLMAP model; expected cameras, images and points3D"):
        read_model(tmp_path)


def test_missing_points_file_is_an_empty_one(raw: Any, tmp_path: Path) -> None:
    folder = raw.write(tmp_path)
    (folder / "points3D.bin").unlink()
    model = read_model(folder)
    assert model.xyz.shape == (0, 3)
    assert model.rgb.shape == (0, 3)
    assert model.errors.shape == (0,)


def test_points_unread_when_not_wanted(raw: Any, tmp_path: Path) -> None:
    folder = raw.write(tmp_path)
    (folder / "points3D.bin").write_bytes(b"damaged")
    assert len(read_model(folder, points=False).xyz) == 0
    with pytest.raises(SceneError, match=r"points3D\.bin: 7 bytes; expected at least the 8 bytes of a count"):
        read_model(folder)


def test_quaternions_are_normalized(raw: Any, tmp_path: Path) -> None:
    raw.image(8, (3.0, 0.0, 4.0, 0.0), (0.0, 0.0, 0.0), 1, b"c.jpg", [])
    image = read_model(raw.write(tmp_path)).images[8]
    assert image.qvec == pytest.approx((0.6, 0.0, 0.8, 0.0), abs=1e-15)
    assert image.rotation @ image.rotation.T == pytest.approx(np.eye(3), abs=1e-15)


@given(st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1))
def test_rotation_is_the_quaternion_product(q: tuple[float, float, float, float]) -> None:
    """R v = q (0, v) q*, computed with Hamilton's product, and the center is where x_camera = 0."""
    unit = np.array(q) / np.linalg.norm(q)

    def product(a: Any, b: Any) -> np.ndarray:
        scalar = a[0] * b[0] - np.dot(a[1:], b[1:])
        return np.array([scalar, *(a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:]))])

    image = ColmapImage(1, tuple(unit), (1.0, -2.0, 0.5), 1, "a")
    for v in np.eye(3):
        expected = product(product(unit, np.array([0.0, *v])), unit * [1, -1, -1, -1])[1:]
        assert image.rotation @ v == pytest.approx(expected, abs=1e-14)
    assert image.rotation @ image.center + [1.0, -2.0, 0.5] == pytest.approx(np.zeros(3), abs=1e-14)


coordinates = st.floats(-1e18, 1e18)
names = st.text(st.characters(blacklist_categories=("C", "Z"), blacklist_characters="/\\"), min_size=1, max_size=20)


@st.composite
def models(draw: st.DrawFn) -> ColmapModel:
    ids = st.integers(0, 2**32 - 2)
    cameras = {}
    for i in draw(st.lists(ids, min_size=1, max_size=3, unique=True)):
        fx, fy, cx, cy = (draw(st.floats(0.5, 1e6)) for _ in range(4))
        model = draw(st.sampled_from(["PINHOLE", "SIMPLE_PINHOLE"]))
        sides = draw(st.tuples(*[st.integers(1, 65535)] * 2))
        cameras[i] = ColmapCamera(i, model, *sides, fx, fx if model == "SIMPLE_PINHOLE" else fy, cx, cy)
    images = {}
    files = draw(st.lists(names.filter(lambda n: n not in (".", "..") and n[1:2] != ":"), max_size=4, unique=True))
    for i, name in zip(draw(st.lists(ids, min_size=4, max_size=4, unique=True)), files, strict=False):
        angle = draw(st.floats(-3, 3))
        qvec = (float(np.cos(angle)), 0.0, float(np.sin(angle)), 0.0)
        tvec = draw(st.tuples(coordinates, coordinates, coordinates))
        images[i] = ColmapImage(i, qvec, tvec, draw(st.sampled_from(sorted(cameras))), name)
    n = draw(st.integers(0, 3))
    rows = draw(st.lists(st.tuples(*[coordinates] * 4), min_size=n, max_size=n))
    values = np.array(rows, dtype=np.float64).reshape(-1, 4)
    rgb = np.array(draw(st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=n, max_size=n)), dtype=np.uint8)
    return ColmapModel(cameras, images, values[:, :3], rgb.reshape(-1, 3), values[:, 3])


@settings(max_examples=60, deadline=None)
@given(model=models())
def test_round_trip_is_exact(model: ColmapModel, tmp_path_factory: pytest.TempPathFactory) -> None:
    for binary in (True, False):
        folder = tmp_path_factory.mktemp("model")
        write_model(folder, model, binary)
        assert same(read_model(folder), model)
        assert sorted(p.suffix for p in folder.iterdir()) == [".bin" if binary else ".txt"] * 3


def change(**fields: Any) -> Callable[[ColmapModel], ColmapModel]:
    return lambda model: replace(model, **fields)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (change(xyz=np.full((3, 3), np.nan)), r"position of point 0 .* is \[nan, nan, nan\]; expected finite"),
        (change(xyz=np.zeros((2, 3))), r"rgb has shape \(3, 3\); expected \(2, 3\)"),
        (change(rgb=np.zeros((3, 3))), "rgb is float64; expected uint8"),
        (change(cameras={}), "names camera 5, which the model does not have"),
        (
            change(images={1: ColmapImage(1, (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 1, " a.png")}),
            "begins or ends with a blank",
        ),
        (
            change(images={1: ColmapImage(2, (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 1, "a.png")}),
            "has id 2; expected its own id as key",
        ),
        (
            change(cameras={1: ColmapCamera(1, "SIMPLE_PINHOLE", 4, 4, 1.0, 2.0, 2.0, 2.0)}),
            "fx equal to fy where its model has one focal length",
        ),
    ],
)
def test_write_refuses_what_could_not_be_read(raw: Any, tmp_path: Path, changed: Any, message: str) -> None:
    model = read_model(raw.write(tmp_path / "in"))
    with pytest.raises(SceneError, match=message):
        write_model(tmp_path / "out", changed(model))
    assert not (tmp_path / "out").exists()


def test_write_replaces_and_leaves_nothing_else(raw: Any, tmp_path: Path) -> None:
    model = read_model(raw.write(tmp_path))
    write_model(tmp_path, model)
    first = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    write_model(tmp_path, model)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == first
    assert sorted(first) == ["cameras.bin", "images.bin", "points3D.bin"]
    assert (tmp_path / "cameras.bin").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("binary", [True, False])
def test_colmap_reads_what_we_write(raw: Any, tmp_path: Path, binary: bool) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    # COLMAP's text reader ends names at a blank.
    model = read_model(raw.write(tmp_path / "in"))
    images = {i: replace(image, name=image.name.replace(" ", "_")) for i, image in model.images.items()}
    model = replace(model, images=images)
    write_model(tmp_path / "out", model, binary)
    theirs = pycolmap.Reconstruction(tmp_path / "out")
    assert {i: c.model.name for i, c in theirs.cameras.items()} == {i: c.model for i, c in model.cameras.items()}
    assert {i: tuple(c.params) for i, c in theirs.cameras.items()} == {i: c.params for i, c in model.cameras.items()}
    for i, image in model.images.items():
        other = theirs.images[i]
        assert (other.name, other.camera_id) == (image.name, image.camera_id)
        matrix = other.cam_from_world().matrix()
        assert matrix[:, :3] == pytest.approx(image.rotation, abs=1e-14)
        assert tuple(matrix[:, 3]) == image.tvec
        assert other.projection_center() == pytest.approx(image.center, abs=1e-14)
    points = [theirs.points3D[i] for i in range(1, 4)]
    assert np.array_equal([p.xyz for p in points], model.xyz)
    assert np.array_equal([p.color for p in points], model.rgb)
    assert [p.error for p in points] == model.errors.tolist()


def test_we_read_what_colmap_writes(real_data: Path, tmp_path: Path) -> None:
    """COLMAP's own text and binary of a real model, and the capture's files, say the same."""
    pycolmap = pytest.importorskip("pycolmap")
    source = real_data / "lund_door_colmap" / "sparse" / "0"
    theirs = pycolmap.Reconstruction(source)
    (tmp_path / "b").mkdir()
    (tmp_path / "t").mkdir()
    theirs.write_binary(tmp_path / "b")
    theirs.write_text(tmp_path / "t")
    ours = read_model(source)
    for folder in "bt":
        model = read_model(tmp_path / folder)
        assert model.cameras == ours.cameras
        assert model.images.keys() == ours.images.keys()
        for i, image in model.images.items():
            assert image.name == ours.images[i].name
            assert image.qvec == pytest.approx(ours.images[i].qvec, abs=1e-12)
            assert image.tvec == pytest.approx(ours.images[i].tvec, abs=1e-12)
        order, other = np.lexsort(model.xyz.T), np.lexsort(ours.xyz.T)
        np.testing.assert_allclose(model.xyz[order], ours.xyz[other], rtol=1e-12, atol=1e-12)
        assert np.array_equal(model.rgb[order], ours.rgb[other])


@pytest.mark.parametrize(
    ("name", "images", "points", "error"),
    [("fox", 50, 14149, 0.222), ("lund_door", 12, 11384, 0.099), ("banana", 14, 6284, 0.112)],
)
def test_real_captures(real_data: Path, name: str, images: int, points: int, error: float) -> None:
    """Counts and mean errors as the captures' descriptions state them."""
    model = read_model(real_data / f"{name}_colmap")
    assert len(model.images) == images
    assert model.xyz.shape == model.rgb.shape == (points, 3)
    assert float(model.errors.mean()) == pytest.approx(error, abs=1e-3)


@pytest.mark.slow
def test_large_models_are_read_fast(tmp_path: Path) -> None:
    """Two million points with tracks of four: the order of the largest scenes of the field."""
    record = np.dtype([("id", "<u8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("e", "<f8"), ("n", "<u8"), ("t", "<i4", 8)])
    points = np.zeros(2_000_000, record)
    points["id"], points["n"] = np.arange(len(points)), 4
    points["xyz"] = np.random.default_rng(0).normal(size=(len(points), 3))
    (tmp_path / "cameras.bin").write_bytes(struct.pack("<Q", 0))
    (tmp_path / "images.bin").write_bytes(struct.pack("<Q", 0))
    (tmp_path / "points3D.bin").write_bytes(struct.pack("<Q", len(points)) + points.tobytes())
    start = time.perf_counter()
    model = read_model(tmp_path)
    assert np.array_equal(model.xyz, points["xyz"])
    assert time.perf_counter() - start < 20.0
