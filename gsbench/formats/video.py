"""Videos: MP4 through ffmpeg, animated PNG and WebP through Pillow. Frames are written as they come.

* ``.mp4``: H.264, 4:2:0, BT.709, quality "crf 16"; sizes are even. ffmpeg is a program of its own; the package
  imageio-ffmpeg (the extra ``video``) brings one, and names another where IMAGEIO_FFMPEG_EXE is set.
* ``.png``: an animated PNG (https://www.w3.org/TR/png-3/#apng-chunks), lossless.
* ``.webp``: an animated WebP (https://developers.google.com/speed/webp/docs/riff_container), lossy, quality 90.

Pillow encodes the single images; the containers are put together here, because Pillow's own writers keep all frames of
an animation in memory.
"""

from __future__ import annotations

import importlib
import io
import os
import shutil
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from gsbench import _files
from gsbench.errors import StoreError, UsageError

#: The optional dependencies that bring ffmpeg.
EXTRA: Final = "gsbench-core[video]"

_MAX_FPS: Final = 1000.0
_WEBP_MAX_SIDE: Final = 16384
_WEBP_QUALITY: Final = 90
_RIFF_MAX_BYTES: Final = 2**32 - 2
#: Left to itself, ffmpeg would convert by the matrix of standard-definition television.
_TO_BT709: Final = "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int"
_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"

Frames = Iterator[npt.NDArray[np.uint8]]


def write_video(path: Path, frames: Frames, count: int, size: tuple[int, int], fps: float) -> None:
    """Write a video that plays in a loop where the format can say so.

    Args:
        path: ends in .mp4, .png or .webp. The file appears when it is complete.
        frames: `count` images, uint8 [height, width, 3]; each is taken when the one before has been written.
        count: at least 1.
        size: width, height in pixels.
        fps: frames per second.

    Raises:
        UsageError: if the suffix is another one, the format has no such size or speed, or ffmpeg is not there.
        ValueError: if a frame has another shape or there are fewer.
        StoreError: if the file cannot be written.
    """
    check_video(path, size, fps)
    writer = _WRITERS[path.suffix.lower()]
    temporary = _files.temporary_sibling(path, path.suffix.lower())
    try:
        try:
            writer(temporary, _checked(frames, count, size), count, size, Fraction(fps).limit_denominator(1000))
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
        _files.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def check_video(path: Path, size: tuple[int, int], fps: float) -> None:
    """Check that `write_video` can write such a video here.

    Raises:
        UsageError: if it cannot.
    """
    suffix = path.suffix.lower()
    if suffix not in _WRITERS:
        raise UsageError(f"{path}: unknown kind of video {suffix!r}; expected {', '.join(SUFFIXES)}")
    if not 0.01 <= fps <= _MAX_FPS:
        raise UsageError(f"{fps:g} frames per second: expected 0.01 to {_MAX_FPS:g}")
    width, height = size
    if width < 1 or height < 1:
        raise UsageError(f"{path}: a video of {width}x{height} pixels has nothing to show")
    if suffix == ".webp" and max(size) > _WEBP_MAX_SIDE:
        raise UsageError(f"{path}: WebP ends at {_WEBP_MAX_SIDE} pixels a side, these are {width}x{height}")
    if suffix == ".mp4":
        if width % 2 or height % 2:
            raise UsageError(f"{path}: MP4 needs an even width and height, these are {width}x{height}")
        find_ffmpeg()


def find_ffmpeg() -> str:
    """The ffmpeg program: the one that imageio-ffmpeg knows, or else one on the PATH.

    Raises:
        UsageError: if there is none; the message names the extra that brings one.
    """
    with suppress(ImportError, RuntimeError):
        name: str = importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()
        return name
    found = shutil.which("ffmpeg")
    if found is None:
        raise UsageError(f"MP4 needs ffmpeg: pip install '{EXTRA}'; .webp and .png do without it")
    return found


def _checked(frames: Frames, count: int, size: tuple[int, int]) -> Frames:
    seen, shape = 0, (size[1], size[0], 3)
    for seen, frame in enumerate(frames, start=1):
        if seen > count or frame.dtype != np.uint8 or frame.shape != shape:
            got = f"{frame.dtype} {list(frame.shape)}"
            raise ValueError(f"frame {seen} of {count}: expected uint8 {list(shape)}, got {got}")
        yield frame
    if seen != count:
        raise ValueError(f"expected {count} frames, got {seen}")


def _write_mp4(path: Path, frames: Frames, count: int, size: tuple[int, int], fps: Fraction) -> None:
    """Raises StoreError if ffmpeg fails, with its last line."""
    command = [
        *(find_ffmpeg(), "-nostdin", "-loglevel", "error", "-y"),
        *("-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{size[0]}x{size[1]}"),
        *("-framerate", str(fps), "-i", "pipe:0", "-an"),
        *("-vf", f"{_TO_BT709},setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"),
        *("-c:v", "libx264", "-preset", "medium", "-crf", "16", "-pix_fmt", "yuv420p"),
        *("-movflags", "+faststart", "-f", "mp4", os.fspath(path)),
    ]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said)
        try:
            if process.stdin is None:
                raise AssertionError("stdin was asked for")
            with suppress(BrokenPipeError):  # it ended early; why, it has said
                for frame in frames:
                    process.stdin.write(np.ascontiguousarray(frame).data)
            with suppress(BrokenPipeError):
                process.stdin.close()
            process.wait()
        finally:
            process.kill()
            process.wait()
        if process.returncode != 0:
            said.seek(0)
            lines = said.read()[-4000:].decode(errors="replace").strip().splitlines()
            raise StoreError(f"ffmpeg ended with status {process.returncode}: {lines[-1] if lines else 'no message'}")


def _write_png(path: Path, frames: Frames, count: int, size: tuple[int, int], fps: Fraction) -> None:
    delay = (1 / fps).limit_denominator(65535)
    if delay.numerator > 65535:
        raise UsageError(f"{path}: a frame of {float(delay):g} s is longer than a PNG can say")
    number = 0

    def chunk(kind: bytes, data: bytes) -> None:
        file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))

    with path.open("wb") as file:
        file.write(_PNG_SIGNATURE)
        for index, frame in enumerate(frames):
            parts = _png_chunks(_encoded(frame, "PNG", compress_level=6))
            if index == 0:
                chunk(b"IHDR", parts[0][1])
                chunk(b"acTL", struct.pack(">II", count, 0))
            control = (number, *size, 0, 0, delay.numerator, delay.denominator, 0, 0)
            chunk(b"fcTL", struct.pack(">IIIIIHHBB", *control))
            number += 1
            for data in (data for kind, data in parts if kind == b"IDAT"):
                if index == 0:
                    chunk(b"IDAT", data)
                else:
                    chunk(b"fdAT", struct.pack(">I", number) + data)
                    number += 1
        chunk(b"IEND", b"")


def _png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG that we made, as (kind, content)."""
    found, position = [], len(_PNG_SIGNATURE)
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        found.append((kind, data[position + 8 : position + 8 + length]))
        position += length + 12
    return found


def _write_webp(path: Path, frames: Frames, count: int, size: tuple[int, int], fps: Fraction) -> None:
    def chunk(kind: bytes, data: bytes) -> None:
        if file.tell() + len(data) + 9 > _RIFF_MAX_BYTES:
            raise UsageError(f"{path}: a WebP ends at 4 GiB; make it smaller or shorter, or write an .mp4")
        file.write(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2))

    extent = _uint24(size[0] - 1) + _uint24(size[1] - 1)
    with path.open("wb") as file:
        file.write(b"RIFF\0\0\0\0WEBP")
        chunk(b"VP8X", bytes([0b10, 0, 0, 0]) + extent)  # the flag of an animation
        chunk(b"ANIM", struct.pack("<IH", 0, 0))  # background, and 0: in a loop
        shown = 0
        for index, frame in enumerate(frames):
            ends = round(1000 * (index + 1) / fps)  # of the whole, so that rounding to milliseconds does not add up
            control = bytes(6) + extent + _uint24(ends - shown) + bytes([0b10])  # replaces what is below
            chunk(b"ANMF", control + _webp_chunks(_encoded(frame, "WEBP", quality=_WEBP_QUALITY, method=4)))
            shown = ends
        _set_riff_length(file)


def _webp_chunks(data: bytes) -> bytes:
    """What a WebP that we made holds of image data: its chunks but for VP8X and metadata."""
    kept, position = b"", 12
    while position < len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        end = position + 8 + length + length % 2
        if kind in (b"VP8 ", b"VP8L", b"ALPH"):
            kept += data[position:end]
        position = end
    return kept


def _set_riff_length(file: BinaryIO) -> None:
    length = file.tell() - 8
    file.seek(4)
    file.write(struct.pack("<I", length))


def _uint24(value: int) -> bytes:
    return struct.pack("<I", value)[:3]


def _encoded(frame: npt.NDArray[np.uint8], form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, format=form, **options)
    return buffer.getvalue()


_WRITERS: Final[dict[str, Callable[[Path, Frames, int, tuple[int, int], Fraction], None]]] = {
    ".mp4": _write_mp4,
    ".webp": _write_webp,
    ".png": _write_png,
}
#: How the names of videos end.
SUFFIXES: Final = tuple(_WRITERS)
