"""Damaged and lying COLMAP models: one `SceneError` that says where, in bounded time and memory."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gsbench.errors import SceneError
from gsbench.scenes.colmap import read_model, write_model
from gsbench.scenes.colmap.model import CAMERA_MODELS, SUPPORTED_MODELS

Edit = Callable[[bytearray], None]


def put(offset: int, fmt: str, *values: Any) -> Edit:
    def edit(data: bytearray) -> None:
        struct.pack_into(fmt, data, offset, *values)

    return edit


def cut(size: int) -> Edit:
    def edit(data: bytearray) -> None:
        del data[size:]

    return edit


def append(data: bytearray) -> None:
    data += b"\0"


# Where fields are, in the model of the `raw` fixture: a camera of 24 + 32 bytes, then one of 24 + 24; an image of
# 64 + 6 + 8 + 48 bytes, then one of 64 + 13 + 8; points of 51 + 8, 51 and 51 + 24 bytes.
DAMAGE: list[tuple[str, Edit, str]] = [
    ("cameras.bin", cut(0), "0 bytes; expected at least the 8 bytes of a count"),
    ("cameras.bin", cut(100), r"camera record 1 at byte 64: the file ends after 100 bytes; expected at least 112"),
    ("cameras.bin", put(0, "<Q", 2**63), r"says it has 9223372036854775808 camera records, but its 112 bytes hold at"),
    ("cameras.bin", put(0, "<Q", 1), "48 bytes after the last camera record at byte 64; expected the end of the file"),
    ("cameras.bin", put(64, "<i", 1), "camera record 1 at byte 64: camera id 1 was used before"),
    ("cameras.bin", put(64, "<i", -1), "camera id is 4294967295"),
    ("cameras.bin", put(12, "<i", 5), "camera record 0 at byte 8: camera model OPENCV_FISHEYE is not supported; exp"),
    ("cameras.bin", put(12, "<i", -7), "unknown camera model 'number -7'; expected one of PINHOLE, SIMPLE_PINHOLE, SI"),
    (
        "cameras.bin",
        put(68, "<i", 2),
        "camera record 1 at byte 64: the file ends after 112 bytes; expected at least 120",
    ),
    ("cameras.bin", put(16, "<Q", 0), "image size 0x480; expected sides of 1 to 65535 pixels"),
    ("cameras.bin", put(24, "<Q", 2**64 - 1), "image size 640x18446744073709551615"),
    ("cameras.bin", put(32, "<d", float("nan")), "focal length is nan; expected 0.001 to 1e[+]09 pixels"),
    ("cameras.bin", put(32, "<d", -500.0), "focal length is -500.0"),
    ("cameras.bin", put(48, "<d", float("inf")), "principal point is inf; expected a finite number"),
    ("images.bin", cut(70), "says it has 2 image records, but its 70 bytes hold at most 0"),
    ("images.bin", cut(160), "image record 1 at byte 134: the file ends after 160 bytes"),
    ("images.bin", put(12, "<4d", 0, 0, 0, 0), "the rotation quaternion has norm 0; expected about 1"),
    ("images.bin", put(20, "<d", float("nan")), "rotation is nan; expected a finite number"),
    (
        "images.bin",
        put(44, "<d", 1e300),
        "translation is 1e[+]300; expected a finite number of magnitude up to 1e[+]18",
    ),
    ("images.bin", put(68, "<i", 4), "image 3 .'b.jpg'. names camera 4, which the model does not have .it has 1, 5."),
    ("images.bin", put(72, "<5s", b"a/../"), "image name 'a/../'; expected a path that stays inside the image folder"),
    ("images.bin", put(72, "<5s", b"/b.jp"), "image name '/b.jp'; expected a path that stays inside"),
    ("images.bin", put(72, "<5s", b"C:/ab"), "image name 'C:/ab'; expected a path that stays inside"),
    ("images.bin", put(72, "<5s", b"..\\ab"), "expected a path that stays inside"),
    ("images.bin", put(72, "<5s", b"./a.b"), "expected a path that stays inside"),
    ("images.bin", put(72, "<5s", b"a\x1b[2J"), r"image name 'a\\x1b\[2J' has control characters"),
    ("images.bin", put(72, "<5s", b"\xff\xfe.jp"), "the image's name at byte 72 is not UTF-8"),
    ("images.bin", put(72, "<B", 0), "image name of 0 characters"),
    ("images.bin", put(78, "<Q", 2**61), "image record 0 at byte 8: the file ends after 219 bytes; expected at least"),
    ("images.bin", put(134, "<i", 3), "image record 1 at byte 134: image id 3 was used before"),
    ("points3D.bin", cut(30), "says it has 3 point records, but its 30 bytes hold at most 0"),
    ("points3D.bin", cut(190), "point record 2 at byte 118: the file ends after 190 bytes; expected at least 193"),
    ("points3D.bin", put(0, "<Q", 2**40), "says it has 1099511627776 point records"),
    ("points3D.bin", put(51, "<Q", 2**64 - 1), "point record 0 at byte 8: the file ends after 193 bytes"),
    ("points3D.bin", put(16, "<d", float("-inf")), r"position of point 0 .id 11. is \[-inf, 2.0, 3.0\]; expected fin"),
    ("points3D.bin", put(43, "<d", float("nan")), r"error of point 0 .id 11. is \[nan\]"),
    ("points3D.bin", put(67, "<Q", 11), "point id 11 occurs 2 times; expected once"),
    ("points3D.bin", append, "1 bytes after the last point record"),
]


@pytest.mark.parametrize(("name", "edit", "message"), DAMAGE)
def test_damage_is_named(raw: Any, tmp_path: Path, name: str, edit: Edit, message: str) -> None:
    path = raw.write(tmp_path) / name
    data = bytearray(path.read_bytes())
    edit(data)
    path.write_bytes(data)
    with pytest.raises(SceneError, match=message) as caught:
        read_model(tmp_path)
    assert str(path.parent) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_name_without_end(raw: Any, tmp_path: Path) -> None:
    raw.images[1] = raw.images[1][:64] + b"x" * 5000
    with pytest.raises(SceneError, match="no end of the image's name within 1024 bytes from byte 198"):
        read_model(raw.write(tmp_path))


def test_equal_names(raw: Any, tmp_path: Path) -> None:
    raw.image(9, (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 1, b"b.jpg", [])
    with pytest.raises(SceneError, match=r"images 3 and 9 are both called 'b\.jpg'"):
        read_model(raw.write(tmp_path))


@pytest.mark.parametrize("number", [n for n, name in CAMERA_MODELS.items() if name not in SUPPORTED_MODELS])
def test_other_lenses_are_refused_by_name(raw: Any, tmp_path: Path, number: int) -> None:
    raw.camera(6, number, 10, 10, *[1.0] * 16)
    with pytest.raises(SceneError, match=f"camera model {CAMERA_MODELS[number]} is not supported; .*Undistort"):
        read_model(raw.write(tmp_path))


def test_camera_model_numbers_are_colmaps() -> None:
    pycolmap = pytest.importorskip("pycolmap")
    theirs = {int(value): name for name, value in pycolmap.CameraModelId.__members__.items() if name != "INVALID"}
    assert theirs == {number: name for number, name in CAMERA_MODELS.items() if number in theirs}


LINES = [
    ("cameras.txt", "1 PINHOLE 640 480 500 510 320", "line 1: 3 parameters; expected 4 for PINHOLE"),
    ("cameras.txt", "1 OPENCV 6 4 5 5 3 2 0 0 0", "line 1: 7 parameters; expected 8 for OPENCV"),
    ("cameras.txt", "1 RADIAL 6 4 5 3 2 0 1e9", "line 1: distortion is 1000000000.0; expected a finite number of mag"),
    ("cameras.txt", "1 SIMPLE_RADIAL 6 4 5 3 2 nan", "line 1: distortion is nan; expected a finite number of"),
    ("cameras.txt", "1 FOV 6 4 5 5 3 2 0", "line 1: camera model FOV is not supported"),
    ("cameras.txt", "1 PINHOLES 6 4 5 5 3 2", "line 1: unknown camera model 'PINHOLES'"),
    ("cameras.txt", "\n# x\n1 PINHOLE 6 4 5 5 3 2\n1 PINHOLE 6 4 5 5 3 2", "line 4: camera id 1 was used before"),
    ("cameras.txt", "1 PINHOLE 6.5 4 5 5 3 2", "line 1: '1 PINHOLE 6.5 4 5 5 3 2'; expected CAMERA_ID MODEL WIDTH"),
    ("images.txt", "1 1 0 0 0 0 0 0 7", "line 1: .*expected IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME"),
    ("images.txt", "1 1 0 0 0 0 0 x 7 a.png", "line 1: .*expected IMAGE_ID"),
    ("images.txt", "1 0 0 0 0 0 0 0 7 a.png\n", "line 1: the rotation quaternion has norm 0"),
    ("images.txt", "1 1 0 0 0 0 0 0 7 a.png\n2 1 0 0 0 0 0 0 7 b.png\n", "line 2: .*the keypoints of image 1"),
    ("images.txt", "1 1 0 0 0 0 0 0 7 a.png\n2 1 0 0 0 0 0 0 7 b x y.png\n", "line 2: .*the keypoints of image 1"),
    ("images.txt", "1 1 0 0 0 0 0 0 7 ../a.png\n\n", "line 1: image name '../a.png'; expected a path that stays"),
    ("images.txt", "1 1 0 0 0 0 0 0 7 a.png\n\n1 1 0 0 0 0 0 0 7 b.png\n\n", "line 3: image id 1 was used before"),
    ("images.txt", "1 1 0 0 0 0 0 0 8 a.png\n\n", "names camera 8, which the model does not have"),
    ("points3D.txt", "1 0 0 0 0 0 256 0", "line 1: .*with R G B in 0..255"),
    ("points3D.txt", "-1 0 0 0 0 0 0 0", "line 1: .*expected POINT3D_ID"),
    ("points3D.txt", "1 0 0 0 0 0 0", "line 1: .*expected POINT3D_ID"),
    ("points3D.txt", "1 0 nan 0 0 0 0 0", "position of point 0"),
    ("points3D.txt", "1 0 0 0 0 0 0 0\n1 1 1 1 0 0 0 0", "point id 1 occurs 2 times"),
    ("points3D.txt", "1 0 0 0 0 0 0 0\n\xff", "not a text file: invalid start byte after line"),
]


@pytest.mark.parametrize(("name", "text", "message"), LINES)
def test_text_damage_is_named(capture: Any, name: str, text: str, message: str) -> None:
    folder = capture(binary=False, names=["a.png", "b.png"]) / "sparse" / "0"
    (folder / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(SceneError, match=message) as caught:
        read_model(folder)
    assert str(folder) in str(caught.value)


def test_unreadable_is_one_error(raw: Any, tmp_path: Path) -> None:
    folder = raw.write(tmp_path)
    (folder / "points3D.bin").unlink()
    (folder / "points3D.bin").symlink_to("points3D.bin")
    assert len(read_model(folder).xyz) == 0  # a link to itself is no file
    (folder / "images.bin").unlink()
    (folder / "images.bin").mkdir()
    with pytest.raises(SceneError, match=r"no images\.bin"):
        read_model(folder)


INTERESTING = [0, 1, 2, 127, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**61, 2**63 - 1, 2**63, 2**64 - 1]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A few random damages: bytes, whole fields, truncation, repetition, removal, insertion."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        where = rng.randrange(len(out)) if out else 0
        kind = rng.randrange(7)
        if kind == 0 and out:
            out[where] ^= 1 << rng.randrange(8)
        elif kind == 1 and out:
            out[where] = rng.randrange(256)
        elif kind == 2:
            out[where : where + 8] = struct.pack("<Q", rng.choice(INTERESTING))
        elif kind == 3:
            out[where : where + 8] = struct.pack("<d", rng.choice([np.nan, np.inf, -np.inf, 1e308, 5e-324, 0.0]))
        elif kind == 4:
            del out[where:]
        elif kind == 5:
            out[where:where] = out[where : where + rng.randrange(100)]
        else:
            del out[where : where + rng.randrange(16)]
    return bytes(out)


def check_survives(folder: Path) -> bool:
    """Read: either a model that can be written again, or a SceneError of one line. True for a model."""
    try:
        model = read_model(folder)
    except SceneError as error:
        message = str(error)
    else:
        message = ""
    assert "\n" not in message
    assert len(message) < 2000
    if message:
        return False
    assert np.isfinite(model.xyz.astype(np.float32)).all()
    for image in model.images.values():
        assert np.isfinite(image.center).all()
        assert (folder / "images" / image.name).resolve().is_relative_to((folder / "images").resolve())
    return True


def fuzz(folder: Path, rounds: int, seed: int) -> tuple[int, int]:
    """Read `rounds` mutations of the model's files: how many gave a model, and the most bytes that one needed."""
    rng = random.Random(seed)
    originals = {p: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}
    survived = most = 0
    for _ in range(rounds):
        path = rng.choice(list(originals))
        path.write_bytes(mutate(originals[path], rng))
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        survived += check_survives(folder)
        most = max(most, tracemalloc.get_traced_memory()[1] - before)
        path.write_bytes(originals[path])
    return survived, most


@pytest.mark.parametrize(("binary", "seed"), [(True, 1), (False, 2)])
@pytest.mark.parametrize("rounds", [1000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_mutations_in_bounded_time_and_memory(raw: Any, tmp_path: Path, binary: bool, seed: int, rounds: int) -> None:
    folder = raw.write(tmp_path)
    if not binary:
        model = read_model(folder)
        for path in folder.iterdir():
            path.unlink()
        write_model(folder, model, binary=False)
    check_survives(folder)  # imports and caches are not counted
    tracemalloc.start()
    start = time.process_time()
    try:
        models, most = fuzz(folder, rounds, seed)
    finally:
        tracemalloc.stop()
    # The files have a few hundred bytes: a count that was believed would show. (Python's table of interned strings,
    # into which pathlib puts every name, doubles now and then.)
    assert most < 10_000_000
    assert time.process_time() - start < rounds * 0.02
    assert rounds / 100 < models < rounds * 3 / 4


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300), name=st.sampled_from(["cameras.bin", "images.bin", "points3D.bin"]))
def test_arbitrary_bytes(data: bytes, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "arbitrary"
    folder.mkdir(exist_ok=True)
    for other in ("cameras.bin", "images.bin", "points3D.bin"):
        (folder / other).write_bytes(bytes(8))
    (folder / name).write_bytes(data)
    check_survives(folder)
