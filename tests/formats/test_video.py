"""Videos, read back by Pillow and ffmpeg."""

from __future__ import annotations

import gc
import json
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageSequence

from gsbench.errors import StoreError, UsageError
from gsbench.formats import video
from gsbench.formats.video import check_video, find_ffmpeg, write_video

Frame = npt.NDArray[np.uint8]
SIZE = (48, 32)


def frame(index: int, size: tuple[int, int] = SIZE) -> Frame:
    """A smooth picture with a bright square that moves."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    picture = np.stack([4 * x + index, 5 * y, 255 - 2 * (x + y)], axis=-1).clip(0, 255).astype(np.uint8)
    picture[4:12, 4 + 3 * index : 12 + 3 * index] = 250  # gray: 4:2:0 blurs the edges of colors
    return picture


def frames(count: int, size: tuple[int, int] = SIZE) -> Iterator[Frame]:
    return (frame(index, size) for index in range(count))


def psnr(one: Frame, other: Frame) -> float:
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other.astype(float)) ** 2)))


def read_pillow(path: Path) -> tuple[list[Frame], list[float]]:
    with Image.open(path) as image:
        pages = [(np.asarray(page.convert("RGB")), page.info["duration"]) for page in ImageSequence.Iterator(image)]
        assert image.info["loop"] == 0, "it plays in a loop"
    return [page for page, _ in pages], [time for _, time in pages]


def test_an_animated_png_is_lossless(tmp_path: Path) -> None:
    path = tmp_path / "turn.png"
    write_video(path, frames(5), 5, SIZE, 24)
    pages, times = read_pillow(path)
    assert len(pages) == 5
    for index, page in enumerate(pages):
        np.testing.assert_array_equal(page, frame(index))
    assert times == pytest.approx([1000 / 24] * 5)
    with Image.open(path) as image:
        assert (image.format, image.size) == ("PNG", SIZE)
    assert [p.name for p in tmp_path.iterdir()] == ["turn.png"]


def test_an_animated_webp(tmp_path: Path) -> None:
    path = tmp_path / "turn.webp"
    write_video(path, frames(7), 7, SIZE, 30)
    pages, times = read_pillow(path)
    assert len(pages) == 7
    for index, page in enumerate(pages):
        assert page.shape == (32, 48, 3)
        assert psnr(page, frame(index)) > 28
        assert psnr(page, frame(index)) > psnr(page, frame(index + 1)) + 5
    assert sum(times) == round(1000 * 7 / 30), "rounding to milliseconds does not add up"
    data = path.read_bytes()
    assert struct.unpack("<I", data[4:8])[0] == len(data) - 8


@pytest.mark.parametrize("suffix", [".png", ".webp"])
@pytest.mark.parametrize("size", [(1, 1), (33, 17)])
def test_one_frame_and_odd_sizes(suffix: str, size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / f"one{suffix}"
    write_video(path, frames(1, size), 1, size, 12.5)
    with Image.open(path) as image:
        assert image.size == size
        assert getattr(image, "n_frames", 1) == 1


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_slow_and_fast(suffix: str, tmp_path: Path) -> None:
    for fps in (0.5, 29.97, 500):
        path = tmp_path / f"v{suffix}"
        write_video(path, frames(3), 3, SIZE, fps)
        _, times = read_pillow(path)
        assert sum(times) == pytest.approx(3000 / fps, abs=1)


def read_mp4(ffmpeg: str, path: Path, size: tuple[int, int] = SIZE) -> list[Frame]:
    command = [ffmpeg, "-loglevel", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    return list(np.frombuffer(data, np.uint8).reshape(-1, size[1], size[0], 3))


def facts_of(ffmpeg: str, path: Path) -> str:
    """What ffmpeg says about a file; it wants an output as well and fails for that."""
    return subprocess.run([ffmpeg, "-i", str(path)], capture_output=True, text=True).stderr


@pytest.fixture
def ffmpeg() -> str:
    pytest.importorskip("imageio_ffmpeg", reason="the extra video is not installed")
    return find_ffmpeg()


def test_an_mp4(ffmpeg: str, tmp_path: Path) -> None:
    path = tmp_path / "turn é.mp4"
    write_video(path, frames(9), 9, SIZE, 24)
    facts = facts_of(ffmpeg, path)
    for fact in ("Video: h264", "yuv420p(tv, bt709, progressive)", "48x32", "24 fps", "Duration: 00:00:00.3"):
        assert fact in facts
    pages = read_mp4(ffmpeg, path)
    assert len(pages) == 9
    for index, page in enumerate(pages):
        assert psnr(page, frame(index)) > 28
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_colors_survive_an_mp4(ffmpeg: str, tmp_path: Path) -> None:
    """Flat colors come back within rounding: the same matrix both ways, not one of standard definition."""
    for color in ((200, 30, 40), (20, 180, 60), (30, 50, 220), (255, 255, 255), (0, 0, 0)):
        picture = np.broadcast_to(np.array(color, np.uint8), (32, 48, 3))
        write_video(tmp_path / "flat.mp4", iter([picture, picture]), 2, SIZE, 10)
        page = read_mp4(ffmpeg, tmp_path / "flat.mp4")[0]
        assert np.abs(page.astype(int) - color).max() <= 4


def test_ffmpeg_that_fails_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('Unknown encoder libx264')\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    assert find_ffmpeg() == str(program)
    (tmp_path / "out").mkdir()
    with pytest.raises(StoreError, match="ffmpeg ended with status 1: Unknown encoder libx264"):
        write_video(tmp_path / "out" / "turn.mp4", frames(50, (640, 480)), 50, (640, 480), 24)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"pip install 'gsbench-core\[video\]'; \.webp and \.png do without it"):
        write_video(tmp_path / "turn.mp4", frames(2), 2, SIZE, 24)
    assert list(tmp_path.iterdir()) == []
    write_video(tmp_path / "turn.webp", frames(2), 2, SIZE, 24)


@pytest.mark.parametrize(
    ("name", "size", "fps", "message"),
    [
        ("a.gif", SIZE, 24, r"unknown kind of video '\.gif'; expected \.mp4, \.webp, \.png"),
        ("a", SIZE, 24, "unknown kind of video ''"),
        ("a.png", SIZE, 0, "0 frames per second: expected 0.01 to 1000"),
        ("a.png", SIZE, float("nan"), "nan frames per second"),
        ("a.webp", (16385, 10), 24, "WebP ends at 16384 pixels a side"),
        ("a.mp4", (15, 10), 24, "even width and height, these are 15x10"),
        ("a.png", (0, 10), 24, "nothing to show"),
    ],
)
def test_what_cannot_be_written(name: str, size: tuple[int, int], fps: float, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        check_video(tmp_path / name, size, fps)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_nothing_half_written(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"turn{suffix}"

    def broken() -> Iterator[Frame]:
        yield frame(0)
        raise RuntimeError("the renderer stopped")

    wrong = [
        (broken(), "the renderer stopped"),
        (frames(2), "expected 3 frames, got 2"),
        (frames(4), "frame 4 of 3"),
        (iter([frame(0), frame(0)[:-1]]), r"frame 2 of 3: expected uint8 \[32, 48, 3\], got uint8 \[31, 48, 3\]"),
        (iter([frame(0).astype(np.float32)] * 3), "got float32"),
    ]  # fmt: skip
    for given, message in wrong:
        with pytest.raises((ValueError, RuntimeError), match=message):
            write_video(path, given, 3, SIZE, 24)  # type: ignore[arg-type]
        assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"before")
    with pytest.raises(RuntimeError):
        write_video(path, broken(), 3, SIZE, 24)
    assert path.read_bytes() == b"before"
    with pytest.raises(StoreError, match="cannot write"):
        write_video(tmp_path / "none" / path.name, frames(3), 3, SIZE, 24)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".mp4"])
def test_frames_are_written_as_they_come(suffix: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Never more than two of them are there at once."""
    if suffix == ".mp4":
        request.getfixturevalue("ffmpeg")
    size = (64, 48)
    alive: list[int] = []
    count = 0

    class Counted(np.ndarray):
        def __array_finalize__(self, other: object) -> None:
            nonlocal count
            self.counted = other is not None and getattr(other, "shape", ()) == (48, 64, 3)
            count += self.counted

        def __del__(self) -> None:
            nonlocal count
            count -= self.counted

    def made() -> Iterator[Frame]:
        for index in range(20):
            gc.collect()
            alive.append(count)
            yield frame(index, size).view(Counted)

    write_video(tmp_path / f"v{suffix}", made(), 20, size, 24)
    assert max(alive) <= 6, json.dumps(alive)  # views of the one or two at hand
    assert alive[-1] <= alive[5], "and it does not grow"


def test_a_frame_longer_than_a_png_can_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "slow.png", frames(2), 2, SIZE, 0.01)
    assert read_pillow(tmp_path / "slow.png")[1] == [100_000, 100_000]
    monkeypatch.setattr(video, "_RIFF_MAX_BYTES", 1000)
    with pytest.raises(UsageError, match="a WebP ends at 4 GiB"):
        write_video(tmp_path / "long.webp", frames(20), 20, SIZE, 24)
    assert [p.name for p in tmp_path.iterdir()] == ["slow.png"]
