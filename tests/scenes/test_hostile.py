"""Hostile folders: every reader over random damage in bounded memory, odd names, links in circles, images that lie."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gsbench.errors import SceneError
from gsbench.scenes import Scene, SceneOptions, SceneRef, load_scene
from gsbench.scenes.colmap import read_model, write_model
from gsbench.scenes.masks import make_mask
from gsbench.scenes.photos import read_header
from gsbench.scenes.pixels import Photo
from gsbench.scenes.transforms import camera_of, read_transforms

INTERESTING = [0, 1, 2, 127, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**61, 2**63, 2**64 - 1]


def load(folder: Path, **options: Any) -> Scene:
    return load_scene(SceneRef("path", folder.name, folder), SceneOptions(**options))


def checked(read: Callable[[], object]) -> bool:
    """Read: True if it succeeds, False for a `SceneError` of one short line; anything else is a bug of ours."""
    try:
        read()
    except SceneError as error:
        message = str(error)
        assert "\n" not in message
        assert len(message) < 2000
        return False
    return True


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A few random damages: bits, bytes, fields, truncation, repetition, removal."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        where = rng.randrange(len(out)) if out else 0
        kind = rng.randrange(8)
        if kind == 0 and out:
            out[where] ^= 1 << rng.randrange(8)
        elif kind == 1 and out:
            out[where] = rng.randrange(256)
        elif kind == 2:
            size = rng.choice("BHI")
            value = rng.choice(INTERESTING) % 2 ** (8 * struct.calcsize(size))
            out[where : where + struct.calcsize(size)] = struct.pack(rng.choice("<>") + size, value)
        elif kind == 3:
            del out[where:]
        elif kind == 4:
            out[where:where] = out[where : where + rng.randrange(50)]
        elif kind == 5:
            del out[where : where + rng.randrange(16)]
        elif kind == 6:
            end = min(len(out), where + rng.randrange(1, 9))
            out[where:end] = bytes(rng.randrange(256) for _ in range(end - where))
        else:
            other = rng.randrange(len(out) + 1)
            out[where : where + 8] = out[other : other + 8]
    return bytes(out)


def fuzz(
    seeds: Mapping[str, bytes],
    rounds: int,
    change: Callable[[bytes, random.Random], bytes],
    read: Callable[[bytes], object],
) -> tuple[int, int]:
    """Read mutations of `seeds`: how many succeeded, and the most bytes of Python's memory that one took."""
    rng = random.Random(rounds)
    originals = list(seeds.values())
    for data in originals:
        assert checked(lambda data=data: read(data))  # type: ignore[misc]

    def measured(data: bytes) -> tuple[bool, int]:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        succeeded = checked(lambda: read(data))
        return succeeded, tracemalloc.get_traced_memory()[1] - before

    good = most = 0
    tracemalloc.start()
    try:
        for _ in range(rounds):
            data = change(rng.choice(originals), rng)
            succeeded, taken = measured(data)
            if taken > most:
                # Python's table of interned strings, into which pathlib puts every name, doubles now and then; what the
                # file itself makes a reader take, it takes again.
                taken = min(taken, measured(data)[1])
            good, most = good + succeeded, max(most, taken)
    finally:
        tracemalloc.stop()
    return good, most


# Transforms files.


def transforms_file() -> dict[str, Any]:
    pose = [[1.0, 0.0, 0.0, 0.5], [0.0, 1.0, 0.0, -0.25], [0.0, 0.0, 1.0, 4.0], [0.0, 0.0, 0.0, 1.0]]
    frames = [{"file_path": f"./train/r_{i}", "transform_matrix": pose, "rotation": 0.1} for i in range(2)]
    return {"camera_angle_x": 0.69, "w": 24, "h": 16, "k1": 0.0, "frames": frames}


SCALARS: list[Any] = [
    None,
    True,
    -1,
    0,
    1e308,
    10**30,
    10**400,
    float("nan"),
    "",
    "../x",
    "a\nb",
    "\ud800",
    [],
    {},
    [[]],
]


def mutate_json(data: bytes, rng: random.Random) -> bytes:
    """Half of the time the bytes, half of the time the values, so that the damage gets past the parser."""
    if rng.random() < 0.5:
        return mutate(data, rng)
    value = json.loads(data)
    for _ in range(rng.randint(1, 2)):
        place: Any = value
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = rng.choice(keys)
            if not (isinstance(place[key], (dict, list)) and place[key]) or rng.random() < 0.2:
                break
            place = place[key]
        action = rng.randrange(3)
        if action == 0:
            del place[key]
        elif action == 1:
            place[key] = rng.choice(SCALARS)
        elif isinstance(place[key], float):
            place[key] *= rng.choice([-1, 0.5, 1 + 1e-5, 1e10, 1e300])
        if not value:
            break
    return json.dumps(value).encode()


@pytest.mark.parametrize("rounds", [1500, pytest.param(100_000, marks=pytest.mark.slow)])
def test_transforms_files(tmp_path: Path, rounds: int) -> None:
    path = tmp_path / "transforms.json"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        frames, _ = read_transforms(path)
        for frame in frames:
            camera = camera_of(frame, 24, 16)
            assert 1 <= camera.width <= 65535
            assert np.isfinite([*camera.params]).all()
            assert np.isfinite(frame.pose.rotation).all()
            assert np.abs(frame.pose.rotation @ frame.pose.rotation.T - np.eye(3)).max() < 1e-5
            assert np.isfinite(np.float32(frame.pose.tvec)).all()
            assert (tmp_path / frame.file_path).resolve().is_relative_to(tmp_path.resolve())

    seeds = {"plain": json.dumps(transforms_file()).encode()}
    good, most = fuzz(seeds, rounds, mutate_json, read)
    assert most < 2_000_000
    assert rounds / 20 < good < rounds * 3 / 4


# Photos and masks.


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def photo_seeds() -> dict[str, bytes]:
    rgba = np.random.default_rng(0).integers(0, 256, (16, 24, 4), dtype=np.uint8)
    rgb = Image.fromarray(rgba[..., :3])
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "png": encoded(rgb, "PNG"),
        "rgba": encoded(Image.fromarray(rgba), "PNG"),
        "palette": encoded(rgb.quantize(16), "PNG", transparency=3),
        "16": encoded(Image.fromarray(rgba[..., 0].astype(np.uint16) * 257), "PNG"),
        "jpeg": encoded(rgb, "JPEG", exif=exif),
        "progressive": encoded(rgb, "JPEG", progressive=True),
        "webp": encoded(rgb, "WEBP"),
        "webp-lossless": encoded(Image.fromarray(rgba), "WEBP", lossless=True),
        "bmp": encoded(rgb, "BMP"),
    }


def mutate_image(data: bytes, rng: random.Random) -> bytes:
    """Damage; half of the time with the checksums of PNG chunks made right, so that it gets past them."""
    out = mutate(data, rng)
    if rng.random() < 0.5 or not out.startswith(b"\x89PNG\r\n\x1a\n"):
        return out
    fixed, at = bytearray(out), 8
    while at + 12 <= len(fixed):
        size = int.from_bytes(fixed[at : at + 4], "big")
        if at + 12 + size > len(fixed):
            break
        fixed[at + 8 + size : at + 12 + size] = struct.pack(">I", zlib.crc32(fixed[at + 4 : at + 8 + size]))
        at += 12 + size
    return bytes(fixed)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("rounds", [1500, pytest.param(100_000, marks=pytest.mark.slow)])
def test_photos(tmp_path: Path, rounds: int) -> None:
    path = tmp_path / "photo"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        header = read_header(path)
        # As when a scene is loaded: a photo of another shape than its camera is not decoded.
        if header.width * header.height > 4 * 24 * 16:
            raise SceneError("another shape")
        size = (header.width, header.height)
        pixels = Photo(path, size, size, (1.0, 1.0, 1.0))()
        assert pixels.shape == (header.height, header.width, 3)
        assert pixels.dtype == np.uint8

    good, most = fuzz(photo_seeds(), rounds, mutate_image, read)
    assert most < 5_000_000
    assert rounds / 20 < good < rounds * 9 / 10


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("rounds", [500, pytest.param(100_000, marks=pytest.mark.slow)])
def test_masks(tmp_path: Path, rounds: int) -> None:
    path = tmp_path / "mask"
    counts = np.random.default_rng(1).random((16, 24)) < 0.5
    gray = Image.fromarray(np.where(counts, 255, 0).astype(np.uint8))
    seeds = {
        "gray": encoded(gray, "PNG"),
        "bits": encoded(gray.convert("1"), "PNG"),
        "palette": encoded(gray.convert("P"), "PNG"),
    }

    def read(data: bytes) -> None:
        path.write_bytes(data)
        mask = make_mask(path, (24, 16), (12, 8))()
        assert mask.shape == (8, 12)

    good, most = fuzz(seeds, rounds, mutate_image, read)
    assert most < 5_000_000
    assert rounds / 20 < good < rounds * 9 / 10


#: Loads folders in a process that may take a gibibyte more than it has after its imports.
LIMITED = """
import resource, sys, torch
from pathlib import Path
from gsbench.errors import SceneError
from gsbench.scenes import SceneOptions, SceneRef, load_scene
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, used + 2**30))
for name in sys.argv[1:]:
    try:
        load_scene(SceneRef("path", "x", Path(name)), SceneOptions())
    except SceneError as error:
        print(error)
    else:
        print("loaded")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is enforced on Linux only")
def test_lies_about_sizes_take_no_memory(capture: Any) -> None:
    """A process that may take no more than a gibibyte refuses each lie with a message, and lives."""
    lies: list[tuple[str, str, bytes]] = [
        ("cameras.bin", "cameras.bin", struct.pack("<Q", 2**60)),
        ("images.bin", "images.bin", struct.pack("<Q", 2**40) + bytes(200)),
        ("points3D.bin", "points3D.bin", struct.pack("<Q", 2**50) + bytes(200)),
    ]
    folders, expected = [], []
    for index, (name, shown, data) in enumerate(lies):
        folder = capture(f"lie{index}")
        (folder / "sparse/0" / name).write_bytes(data)
        folders.append(folder)
        expected.append(shown)
    for index, size in enumerate([(60_000, 60_000), (13_000, 13_000), (24, 16_000_000)]):
        folder = capture(f"photo{index}")
        path = folder / "images" / "photo03.png"
        data = bytearray(path.read_bytes())
        data[16:24] = struct.pack(">II", *size)
        data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
        path.write_bytes(data)
        folders.append(folder)
        expected.append("photo03.png")
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", LIMITED, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert len(lines) == len(folders)
    for line, name in zip(lines, expected, strict=True):
        assert name in line


# Names, links, permissions.


def rename_in_model(folder: Path, old: str, new: str) -> None:
    """Give a photo another name in the model and on disk."""
    model = read_model(folder)
    images = {i: replace(image, name=new) if image.name == old else image for i, image in model.images.items()}
    write_model(folder / "sparse" / "0", replace(model, images=images))
    target = folder / "images" / new
    target.parent.mkdir(parents=True, exist_ok=True)
    (folder / "images" / old).rename(target)


@pytest.mark.parametrize(
    "name",
    [
        "ä ö ü.png",
        "写真 \U0001f98a.png",
        "a'b\"c$(touch x).png",
        "-rf.png",
        "x" * 251 + ".png",
        "/".join(["d" * 100] * 9) + "/a.png",
        "%s{}.png",
    ],
)
def test_odd_names_are_fine(capture: Any, name: str) -> None:
    folder = capture()
    rename_in_model(folder, "photo03.png", name)
    scene = load(folder)
    view = next(v for v in [*scene.train, *scene.test] if v.name == name)
    assert view.pixels.shape == (16, 24, 3)
    assert scene.notes == ()


def test_names_longer_than_a_file_system_takes(capture: Any) -> None:
    """The model may hold them; no photo can."""
    folder = capture()
    model = read_model(folder)
    images = {i: replace(im, name="y" * 900) if im.name == "photo03.png" else im for i, im in model.images.items()}
    write_model(folder / "sparse" / "0", replace(model, images=images))
    first = load(folder).notes[0]
    assert first.startswith("1 of 10 images of the COLMAP model are not in images/ and are left out: yyy")
    assert len(first) < 200


def test_names_on_disk_that_are_no_text(capture: Any) -> None:
    folder = capture()
    for name in (b"new\nline.png", b"\x1b[31mred.png", b"\xff\xfe.png", b"a" * 240 + b".png"):
        (Path(os.fsencode(folder / "images").decode()) / os.fsdecode(name)).write_bytes(b"x")
    notes = load(folder).notes
    assert len(notes) == 1
    assert notes[0].startswith("4 of 14 photos in images/ have no pose in the COLMAP model and are left out: ")
    assert notes[0].isprintable()
    notes[0].encode()  # can be printed anywhere
    assert len(notes[0]) < 400


def test_links_in_circles(capture: Any) -> None:
    folder = capture()
    images = folder / "images"
    (images / "loop").symlink_to(images, target_is_directory=True)
    (images / "self.png").symlink_to("self.png")
    (folder / "masks").symlink_to("masks")
    photo = images / "photo03.png"
    photo.unlink()
    photo.symlink_to("photo03.png")
    assert load(folder).notes == (
        "1 of 10 images of the COLMAP model are not in images/ and are left out: photo03.png",
        "1 of 11 photos in images/ have no pose in the COLMAP model and are left out: self.png",
    )
    for name in ("a", "b"):
        (folder / name).symlink_to({"a": "b", "b": "a"}[name])
    with pytest.raises(SceneError, match=r"no such folder; expected the scene's photos in it|cannot be read"):
        load(folder, images="a")
    loop = folder / "transforms"
    loop.mkdir()
    (loop / "transforms.json").symlink_to("transforms.json")
    with pytest.raises(SceneError, match="no COLMAP model"):
        load(loop)


def test_photos_may_be_links(capture: Any, tmp_path: Path) -> None:
    """As data sets on shared disks often are."""
    folder = capture()
    before = load(folder).hash
    photo = folder / "images" / "photo03.png"
    photo.rename(tmp_path / "elsewhere.png")
    photo.symlink_to(tmp_path / "elsewhere.png")
    assert load(folder).hash == before


@pytest.mark.parametrize("name", ["images", "sparse/0/cameras.bin", "sparse/0/points3D.bin"])
def test_no_permission(capture: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One message, wherever the system says no. (Tests may run as root, whom it never refuses.)"""
    folder = capture()
    real_open, real_walk = Path.open, os.walk

    def deny(path: object) -> None:
        if str(path).endswith(name):
            raise PermissionError(13, "Permission denied", str(path))

    def opened(self: Path, *args: Any, **kwargs: Any) -> Any:
        deny(self)
        return real_open(self, *args, **kwargs)

    def walked(top: Any, *args: Any, **kwargs: Any) -> Any:
        deny(top)
        return real_walk(top, *args, **kwargs)

    monkeypatch.setattr(Path, "open", opened)
    monkeypatch.setattr(os, "walk", walked)
    with pytest.raises(SceneError, match=rf"{name}: cannot be read: Permission denied"):
        load(folder)
