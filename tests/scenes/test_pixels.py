"""Exact pixels: 16 bits, transparency, palettes, gray; the steps and their order; what is kept in the cache."""

from __future__ import annotations

import hashlib
import struct
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gsbench.errors import SceneError
from gsbench.scenes.kept import Kept
from gsbench.scenes.photos import read_header
from gsbench.scenes.pixels import Photo

RNG = np.random.default_rng(4)
WHITE, BLACK = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)


def png(path: Path, samples: np.ndarray, color: int, *, filter_: int = 0, interlaced: bool = False) -> Path:
    """A 16-bit PNG of color type `color` put together by hand from samples [H, W, channels]; `filter_` 1 is Sub."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def scanlines(part: np.ndarray) -> bytes:
        rows = b""
        for row in part.astype(">u2").view(np.uint8).reshape(part.shape[0], part.shape[1], -1):
            before = np.vstack([np.zeros_like(row[:1]), row[:-1]])
            rows += bytes([filter_]) + (row - before if filter_ else row).tobytes()
        return rows

    height, width = samples.shape[:2]
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [samples[y::dy, x::dx] for y, x, dy, dx in passes] if interlaced else [samples]
    data = b"".join(scanlines(part) for part in parts if part.size)
    header = struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, int(interlaced))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


def read(path: Path, background: tuple[float, float, float] = BLACK, **fields: Any) -> np.ndarray:
    header = read_header(path)
    size = (header.width, header.height)
    return Photo(path, size, **({"size": size, "background": background} | fields))()


def nearest(value: Fraction) -> int:
    return int((value + Fraction(1, 2)).__floor__())


@pytest.mark.parametrize("filter_", [0, 1])
@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("color", "channels"), [(0, 1), (2, 3)])
def test_16_bits_are_rounded(tmp_path: Path, color: int, channels: int, interlaced: bool, filter_: int) -> None:
    values = RNG.integers(0, 65536, (9, 13, channels))
    values[0, :3] = [[0], [65535], [128]]
    pixels = read(png(tmp_path / "a.png", values, color, filter_=filter_, interlaced=interlaced))
    expected = np.vectorize(lambda v: nearest(Fraction(int(v), 257)))(values)
    assert np.array_equal(pixels, np.broadcast_to(expected, (9, 13, 3)))


def test_16_bits_with_alpha(tmp_path: Path) -> None:
    values = RNG.integers(0, 65536, (6, 7, 4))
    values[0, :, 3], values[1, :, 3] = 0, 65535
    path = png(tmp_path / "a.png", values, 6)
    assert read_header(path).alpha
    for background in (WHITE, BLACK):
        pixels = read(path, background)
        for i, j, c in np.ndindex(6, 7, 3):
            alpha = Fraction(int(values[i, j, 3]), 65535)
            exact = Fraction(int(values[i, j, c]), 257) * alpha + 255 * int(background[0]) * (1 - alpha)
            assert pixels[i, j, c] == nearest(exact)


def test_every_color_over_black_and_white(tmp_path: Path) -> None:
    """All 65,536 pairs of color and opacity, against exact fractions."""
    color, alpha = np.meshgrid(np.arange(256), np.arange(256))
    rgba = np.stack([color, color, 255 - color, alpha], axis=2).astype(np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    # 255 times the value is a whole number: rounding to the nearest is exact in integers.
    for background in (WHITE, BLACK):
        exact = color * alpha + 255 * int(background[0]) * (255 - alpha)
        pixels = read(tmp_path / "a.png", background)
        assert np.array_equal(pixels[..., 0], (2 * exact + 255) // 510)
        assert np.array_equal(pixels[..., 0], pixels[..., 1])
    assert (2 * (color * alpha) % 255 != 0).any()


def test_other_backgrounds(tmp_path: Path) -> None:
    rgba = np.zeros((1, 2, 4), np.uint8)
    rgba[0, 1] = [200, 100, 50, 128]
    Image.fromarray(rgba).save(tmp_path / "a.png")
    pixels = read(tmp_path / "a.png", (0.5, 0.25, 1.0))
    assert pixels[0, 0].tolist() == [128, 64, 255]
    mixed = [c * 128 / 255 + 255 * b * 127 / 255 for c, b in zip((200, 100, 50), (0.5, 0.25, 1.0), strict=True)]
    assert pixels[0, 1].tolist() == [round(v) for v in mixed]


@pytest.mark.parametrize("kind", ["LA", "PA", "P", "key", "webp"])
def test_transparency_of_every_kind(tmp_path: Path, kind: str) -> None:
    """Gray with alpha, palettes with alpha, a transparent color, WebP: as Pillow's own RGBA, laid over white."""
    rgba = RNG.integers(0, 256, (8, 9, 4), dtype=np.uint8)
    rgba[..., 3] = RNG.choice([0, 100, 255], (8, 9))
    path = tmp_path / "a.png"
    if kind == "LA":
        Image.fromarray(rgba).convert("LA").save(path)
    elif kind == "PA":
        Image.fromarray(rgba).quantize(20, method=Image.Quantize.FASTOCTREE).save(path)
    elif kind == "P":
        Image.fromarray(rgba[..., :3]).quantize(8).save(path, transparency=3)
    elif kind == "key":
        Image.fromarray(rgba[..., :3]).save(path, transparency=tuple(rgba[2, 2, :3].tolist()))
    else:
        path = tmp_path / "a.webp"
        Image.fromarray(rgba).save(path, lossless=True, exact=True)
    assert read_header(path).alpha
    with Image.open(path) as image:
        reference = np.asarray(image.convert("RGBA")).astype(int)
    assert (reference[..., 3] < 255).any()
    alpha = reference[..., 3:]
    exact = reference[..., :3] * alpha + 255 * (255 - alpha)
    assert np.array_equal(read(path, WHITE), (2 * exact + 255) // 510)


def test_composited_before_it_is_reduced(tmp_path: Path) -> None:
    """The color of what is fully transparent shows nowhere, not even at edges after reduction."""
    rgba = np.zeros((16, 16, 4), np.uint8)
    rgba[..., :3] = [255, 0, 0]
    rgba[:, 5:, :] = [0, 0, 255, 255]
    Image.fromarray(rgba).save(tmp_path / "a.png")
    over = np.where(rgba[..., 3:] == 255, rgba[..., :3], 0).astype(np.uint8)
    expected = np.asarray(Image.fromarray(over).resize((4, 4), Image.Resampling.BICUBIC))
    pixels = read(tmp_path / "a.png", size=(4, 4))
    assert np.array_equal(pixels, expected)
    assert pixels[..., 0].max() == 0


def test_rows_are_composited_in_strips_without_seams(tmp_path: Path) -> None:
    rgba = RNG.integers(0, 256, (700, 3, 4), dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    whole = read(tmp_path / "a.png", WHITE)
    for start in (0, 250, 500):
        Image.fromarray(rgba[start : start + 200]).save(tmp_path / "part.png")
        assert np.array_equal(read(tmp_path / "part.png", WHITE), whole[start : start + 200])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_opaque_images_are_untouched_by_the_background(width: int, height: int, seed: int) -> None:
    import io

    from gsbench.scenes.pixels import decode

    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.dstack([rgb, np.full((height, width), 255, np.uint8)])).save(buffer, format="PNG")
    image, size = decode(buffer.getvalue(), (0.3, 0.7, 0.1), (width, height))
    assert size == (width, height)
    assert np.array_equal(np.asarray(image), rgb)


# What is kept.


@pytest.fixture
def kept_photo(tmp_path: Path) -> Photo:
    path = tmp_path / "photo.png"
    Image.fromarray(RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Photo(path, (40, 30), (10, 7), kept=Kept.of(tmp_path / "cache", digest, {"size": (10, 7)}))


def kept_path(photo: Photo) -> Path:
    assert photo.kept is not None
    return photo.kept.path


def test_kept_pixels_are_those_made(kept_photo: Photo, monkeypatch: pytest.MonkeyPatch) -> None:
    direct = Photo(kept_photo.path, (40, 30), (10, 7))()
    assert np.array_equal(kept_photo(), direct)
    files = [p for p in kept_path(kept_photo).parents[2].rglob("*") if p.is_file()]
    assert files == [kept_path(kept_photo)]  # nothing temporary is left
    with Image.open(files[0]) as image:
        assert np.array_equal(np.asarray(image), direct)
    monkeypatch.setattr("gsbench.scenes.pixels.decode", lambda *_: pytest.fail("made again"))
    again = kept_photo()
    assert np.array_equal(again, direct)
    assert again.flags.writeable


def flip(data: bytearray) -> None:
    data[len(data) // 2] ^= 1


def cut(data: bytearray) -> None:
    del data[-20:]


def empty(data: bytearray) -> None:
    data.clear()


@pytest.mark.parametrize("damage", [flip, cut, empty])
def test_damaged_kept_files_are_made_again(kept_photo: Photo, damage: Any) -> None:
    good = kept_photo()
    data = bytearray(kept_path(kept_photo).read_bytes())
    damage(data)
    kept_path(kept_photo).write_bytes(data)
    assert np.array_equal(kept_photo(), good)
    assert kept_photo.kept is not None
    assert np.array_equal(kept_photo.kept.read((10, 7)), good)


def test_valid_pngs_that_nobody_kept_are_not_believed(kept_photo: Photo) -> None:
    good = kept_photo()
    Image.fromarray(255 - good).save(kept_path(kept_photo))
    assert np.array_equal(kept_photo(), good)


def test_a_changed_photo_is_not_kept_as_the_old_one(kept_photo: Photo) -> None:
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(kept_photo.path)
    with pytest.raises(SceneError, match=r"photo\.png: changed since the scene was loaded"):
        kept_photo()
    assert not kept_path(kept_photo).exists()


def test_a_cache_that_cannot_be_written_costs_time_only(kept_photo: Photo) -> None:
    kept_path(kept_photo).parents[2].write_text("a file where the cache's folder should be")
    assert np.array_equal(kept_photo(), Photo(kept_photo.path, (40, 30), (10, 7))())


def test_keys_depend_on_source_and_recipe(tmp_path: Path) -> None:
    recipes = [{"size": (1, 2)}, {"size": (2, 1)}, {"size": (1, 2), "turn": 6}]
    places = {Kept.of(tmp_path, source, recipe).path for source in ("aa", "bb") for recipe in recipes}
    assert len(places) == 6
