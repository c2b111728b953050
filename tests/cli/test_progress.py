"""Progress: lines away from a terminal, bars on one."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from gsbench.cli.progress import LINE_INTERVAL, Lines, Silence, display, duration, shown

Terminal = Callable[[Sequence[str], Path, Mapping[str, str]], tuple[int, str]]

#: A short run as its events would drive the display.
SCRIPT = """
import time
from gsbench.cli.progress import display
with display(2) as shown:
    shown.stage("3dgs demo default", "train")
    for step in range(0, 101, 20):
        shown.step("3dgs demo default", "train", step, 100, {"loss": 0.25, "gaussians": 43210})
        time.sleep(0.12)
    shown.line("3dgs demo default", "train done in 0.6 s")
    shown.end("3dgs demo default", "ok, 10.23 MB")
    shown.end("hac demo low", "failed in train: [bold]no[/bold]", failed=True)
"""


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lines(stream: io.StringIO) -> list[str]:
    """What was written, without the time at the beginning of every line."""
    written = stream.getvalue().splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in written)
    return [line[9:] for line in written]


def test_lines_come_at_most_every_ten_seconds() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Lines(1, stream, clock)
    progress.stage("3dgs demo default", "train")
    for step in range(0, 1001, 10):  # 0.5 s each: 50 s in all
        progress.step("3dgs demo default", "train", step, 1000, {"loss": 0.03125, "gaussians": 12345.0})
        clock.now += 0.5
    progress.end("3dgs demo default", "ok")
    assert lines(stream) == [
        "3dgs demo default: train",
        "3dgs demo default: train 200/1,000, loss 0.0312, 12,345 Gaussians, 0:40 left",
        "3dgs demo default: train 400/1,000, loss 0.0312, 12,345 Gaussians, 0:30 left",
        "3dgs demo default: train 600/1,000, loss 0.0312, 12,345 Gaussians, 0:20 left",
        "3dgs demo default: train 800/1,000, loss 0.0312, 12,345 Gaussians, 0:10 left",
        "3dgs demo default: train 1,000/1,000, loss 0.0312, 12,345 Gaussians, 0:00 left",
        "3dgs demo default: ok",
    ]
    assert LINE_INTERVAL == 10.0


def test_several_jobs_are_counted() -> None:
    stream = io.StringIO()
    progress = Lines(3, stream)
    progress.end("a", "ok")
    progress.line("b", "train done in 2.0 s")
    progress.end("b", "failed in train: no", failed=True)
    assert lines(stream) == ["a: ok (1 of 3 jobs)", "b: train done in 2.0 s", "b: failed in train: no (2 of 3 jobs)"]


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with display(1, quiet=True) as progress:
        assert type(progress) is Silence
        progress.stage("a", "train")
        progress.step("a", "train", 1, 2, {})
        progress.end("a", "ok")
    assert capsys.readouterr() == ("", "")


def test_values() -> None:
    assert shown({}) == ""
    assert shown({"psnr": 30.126, "gaussians": 1e6, "bits_per_anchor": 12.34567}) == (
        "PSNR 30.13 dB, 1,000,000 Gaussians, bits per anchor 12.35"
    )


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3723, "1:02:03")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_without_a_terminal_there_are_lines_without_control_characters(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert "\x1b" not in done.stderr
    assert "\r" not in done.stderr
    assert [line[9:] for line in done.stderr.splitlines()] == [
        "3dgs demo default: train",
        "3dgs demo default: train done in 0.6 s",
        "3dgs demo default: ok, 10.23 MB (1 of 2 jobs)",
        "hac demo low: failed in train: [bold]no[/bold] (2 of 2 jobs)",
    ]


def test_on_a_terminal_there_are_bars_and_the_results_stay(terminal: Terminal, tmp_path: Path) -> None:
    _, written = terminal([sys.executable, "-c", SCRIPT], tmp_path, os.environ)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    assert "\x1b[?25l" in written, "the cursor is hidden while bars are drawn"
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l"), "and shown again at the end"
    assert re.search(r"3dgs demo default: train.*━.*60/100.*loss 0\.2500, 43,210 Gaussians", text)
    assert re.search(r"2 jobs.*2/2", text)
    assert "3dgs demo default: ok, 10.23 MB" in text
    assert "hac demo low: failed in train: [bold]no[/bold]" in text


def test_a_dumb_terminal_gets_lines(terminal: Terminal, tmp_path: Path) -> None:
    code = "import os; os.environ['TERM'] = 'dumb'\n" + SCRIPT
    _, text = terminal([sys.executable, "-c", code], tmp_path, os.environ)
    assert "\x1b" not in text
    assert "3dgs demo default: train done in 0.6 s" in text
