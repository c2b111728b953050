"""Photographs: what is read exactly, what is refused, and the sizes of the ground truth."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from gsbench.errors import SceneError
from gsbench.scenes.photos import PhotoHeader, read_header, target_size, turn_to_camera, upright_size
from gsbench.scenes.pixels import Photo

RGB = np.random.default_rng(1).integers(0, 256, (10, 20, 3), dtype=np.uint8)


def read(path: Path) -> np.ndarray:
    header = read_header(path)
    size = (header.width, header.height)
    return Photo(path, size, size)()


def png(path: Path, bits: int, color: int, rows: bytes, extra: bytes = b"", width: int = 4, height: int = 4) -> Path:
    """A PNG put together by hand: for kinds that Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows))
    path.write_bytes(data + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp"])
def test_lossless_files_give_their_pixels(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(RGB).save(path, **({"lossless": True} if suffix == "webp" else {}))
    assert read_header(path) == PhotoHeader(20, 10, 1)
    pixels = read(path)
    assert np.array_equal(pixels, RGB)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    assert pixels.flags.c_contiguous


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert np.array_equal(read(tmp_path / "a.jpg"), RGB)


def test_gray_palette_and_opaque_alpha_are_exact(tmp_path: Path) -> None:
    gray = RGB[..., 0]
    Image.fromarray(gray).save(tmp_path / "gray.png")
    assert np.array_equal(read(tmp_path / "gray.png"), np.repeat(gray[..., None], 3, axis=2))
    palette = Image.fromarray(RGB).quantize(16)
    palette.save(tmp_path / "palette.png")
    assert np.array_equal(read(tmp_path / "palette.png"), np.asarray(palette.convert("RGB")))
    opaque = np.dstack([RGB, np.full((10, 20), 255, np.uint8)])
    Image.fromarray(opaque).save(tmp_path / "opaque.png")
    assert np.array_equal(read(tmp_path / "opaque.png"), RGB)
    assert read_header(tmp_path / "opaque.png") == PhotoHeader(20, 10, 1, alpha=True)


def truncated_png(path: Path) -> None:
    Image.fromarray(RGB).save(path)
    path.write_bytes(path.read_bytes()[:-200])


def truncated_jpeg(path: Path) -> None:
    Image.fromarray(RGB).resize((200, 100)).save(path, format="JPEG")
    path.write_bytes(path.read_bytes()[:-300])


def truncated_webp(path: Path) -> None:
    Image.fromarray(RGB).save(path, format="WEBP")
    path.write_bytes(path.read_bytes()[:-40])


def cmyk(path: Path) -> None:
    Image.fromarray(RGB).convert("CMYK").save(path, format="JPEG")


def float_tiff(path: Path) -> None:
    Image.fromarray(RGB[..., 0].astype(np.float32)).save(path, format="TIFF")


def sixteen_gray_alpha(path: Path) -> None:
    png(path, 16, 4, (b"\0" + bytes(range(16))) * 4)


def sixteen_color_key(path: Path) -> None:
    key = b"tRNS" + struct.pack(">HHH", 0x10, 0x20, 0x30)
    png(path, 16, 2, (b"\0" + bytes(range(24))) * 4, struct.pack(">I", 6) + key + struct.pack(">I", zlib.crc32(key)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p.write_bytes(b"not an image"), "not an image; expected a JPEG, PNG, WebP or BMP file"),
        (lambda p: p.write_bytes(b""), "not an image"),
        (lambda p: p.mkdir(), "cannot be read: Is a directory"),
        (lambda p: None, "cannot be read: No such file or directory"),
        (lambda p: p.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "not an image"),
        (float_tiff, "not an image; expected a JPEG, PNG, WebP or BMP file"),
        (truncated_png, "damaged image"),
        (truncated_jpeg, "damaged image: image file is truncated"),
        (truncated_webp, r"damaged image|not an image"),
        (cmyk, "pixels of mode CMYK; expected RGB or gray, of 8 or 16 bits"),
        (sixteen_gray_alpha, "16 bits with a transparent color or gray with alpha; expected 16-bit RGBA, or 8 bits"),
        (sixteen_color_key, "16 bits with a transparent color or gray with alpha; expected 16-bit RGBA, or 8 bits"),
    ],
)
def test_refused(tmp_path: Path, make: Any, message: str) -> None:
    path = tmp_path / "photo.png"
    make(path)
    with pytest.raises(SceneError, match=message) as caught:
        read_header(path)
    assert str(path) in str(caught.value)


def test_header_does_not_decode_whole_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in ("png", "jpg", "webp"):
        Image.fromarray(RGB).save(tmp_path / f"a.{suffix}")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    for suffix in ("png", "jpg", "webp"):
        assert read_header(tmp_path / f"a.{suffix}").width == 20


def test_damage_behind_the_header_shows_when_decoding(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path)
    data = bytearray(path.read_bytes())
    data[300:320] = bytes(20)
    path.write_bytes(data)
    assert read_header(path).width == 20
    with pytest.raises(SceneError, match=r"a\.png: damaged image"):
        read(path)


def test_exchanged_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path)
    photo = Photo(path, (20, 10), (20, 10))
    Image.fromarray(RGB[:5]).save(path)
    with pytest.raises(SceneError, match="20x5 pixels; expected 20x10, which it had when the scene was loaded"):
        photo()


def cubic(x: np.ndarray) -> np.ndarray:
    """Keys's kernel with a = -1/2 (Catmull-Rom)."""
    x = np.abs(x)
    return np.where(x < 1, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x < 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0))


def reduced(values: np.ndarray, size: int) -> np.ndarray:
    """Antialiased bicubic reduction along the first axis: the kernel is widened by the factor."""
    n = values.shape[0]
    factor = n / size
    centers = (np.arange(size) + 0.5) * factor
    weights = cubic((np.arange(n) + 0.5 - centers[:, None]) / factor)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.tensordot(weights, values, axes=1)


def test_reduction_is_antialiased_bicubic(tmp_path: Path) -> None:
    smooth = np.random.default_rng(3).integers(60, 200, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.png")
    ours = Photo(tmp_path / "a.png", (60, 40), (25, 16))()
    expected = reduced(reduced(smooth.astype(np.float64), 16).swapaxes(0, 1), 25).swapaxes(0, 1)
    assert ours.shape == (16, 25, 3)
    # Pillow rounds to 8 bit after each direction.
    assert np.abs(ours - np.clip(expected, 0, 255)).max() < 1.1


@pytest.mark.parametrize(
    ("size", "expected"),
    [  # Mip-NeRF 360 as the papers have it
        ((4946, 3286), (1600, 1063)),
        ((5187, 3361), (1600, 1036)),
        ((4978, 3300), (1600, 1060)),
        ((3114, 2075), (1600, 1066)),
        ((3115, 2078), (1600, 1067)),
        ((1600, 3000), (1600, 3000)),
        ((980, 545), (980, 545)),
        ((100000, 10), (1600, 1)),
    ],
)
def test_width_over_1600(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert target_size(*size, 1.0, 1600) == expected


@given(st.integers(1601, 65535), st.integers(1, 65535))
def test_heights_are_truncated(width: int, height: int) -> None:
    exact = Fraction(height) * 1600 / width
    assert target_size(width, height, 1.0, 1600) == (1600, max(1, exact.numerator // exact.denominator))


@pytest.mark.parametrize(
    ("size", "factor", "max_width", "expected"),
    [
        ((4946, 3286), 4.0, None, (1236, 822)),  # 1236.5 and 821.5: half to even, as gsplat's images_4_png
        ((5187, 3361), 4.0, None, (1297, 840)),
        ((3, 1), 8.0, None, (1, 1)),
        ((304, 540), 1.0, None, (304, 540)),
        ((1000, 500), 2.0, 200, (200, 100)),
        ((1000, 500), 2.0, 1600, (500, 250)),
    ],
)
def test_downscale(size: tuple[int, int], factor: float, max_width: int | None, expected: tuple[int, int]) -> None:
    assert target_size(*size, factor, max_width) == expected


@pytest.mark.parametrize(
    ("photo", "camera"),
    [
        ((1237, 822), (4946, 3286)),
        ((618, 411), (4946, 3286)),
        ((152, 270), (304, 540)),
        ((608, 1080), (304, 540)),
        ((980, 545), (1959, 1090)),
    ],
)
def test_reduced_photos_fit_their_camera(photo: tuple[int, int], camera: tuple[int, int]) -> None:
    for orientation in range(1, 9):  # COLMAP takes no notice of it
        assert turn_to_camera(Path("a.jpg"), PhotoHeader(*photo, orientation), camera) == 1


@pytest.mark.parametrize("photo", [(540, 304), (304, 530), (152, 290), (304, 304)])
def test_other_shapes_are_refused(photo: tuple[int, int]) -> None:
    with pytest.raises(SceneError, match=f"{photo[0]}x{photo[1]} pixels do not have the shape of its camera's 304x540"):
        turn_to_camera(Path("a.jpg"), PhotoHeader(*photo, 1), (304, 540))
    for orientation in (2, 3, 4):
        with pytest.raises(SceneError, match="do not have the shape"):
            turn_to_camera(Path("a.jpg"), PhotoHeader(*photo, orientation), (304, 540))


def turned(path: Path, orientation: int) -> PhotoHeader:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(path, exif=exif)
    return read_header(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_orientation_is_found(tmp_path: Path, suffix: str) -> None:
    for orientation in (1, 3, 6):
        assert turned(tmp_path / f"a.{suffix}", orientation) == PhotoHeader(20, 10, orientation)
    assert turned(tmp_path / f"a.{suffix}", 77).orientation == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_photos(tmp_path: Path, orientation: int) -> None:
    """Stored pixels count wherever their shape fits; where only the turned one fits, the photo is turned."""
    path = tmp_path / "a.png"
    header = turned(path, orientation)
    assert turn_to_camera(path, header, (20, 10)) == 1
    assert np.array_equal(Photo(path, (20, 10), (20, 10))(), RGB)
    if orientation < 5:
        with pytest.raises(SceneError, match="20x10 pixels do not have the shape of its camera's 10x20"):
            turn_to_camera(path, header, (10, 20))
        return
    assert turn_to_camera(path, header, (10, 20)) == orientation
    assert upright_size(header, orientation) == (10, 20)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(Photo(path, (20, 10), (10, 20), turn=orientation)(), expected)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_every_turn_is_pillows(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.png"
    header = turned(path, orientation)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    size = upright_size(header, orientation)
    assert np.array_equal(Photo(path, (20, 10), size, turn=orientation)(), expected)


def test_colmap_reads_photos_as_they_are_stored(tmp_path: Path) -> None:
    """What `turn_to_camera` relies on."""
    pycolmap = pytest.importorskip("pycolmap")
    for orientation in range(1, 9):
        turned(tmp_path / "a.png", orientation)
        assert np.array_equal(pycolmap.Bitmap.read(tmp_path / "a.png", True).to_array(), RGB)


def test_phone_files_with_several_jpegs(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    first, second = Image.fromarray(RGB), Image.fromarray(RGB[::-1].copy())
    first.save(path, format="MPO", save_all=True, append_images=[second], quality=95)
    first.save(tmp_path / "b.jpg", quality=95)
    assert np.array_equal(read(path), read(tmp_path / "b.jpg"))
