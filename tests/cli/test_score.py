"""``gsbench score`` on a small capture."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

from gsbench.cli import main


@pytest.fixture
def frames(tiny_capture: Path, tmp_path: Path) -> Path:
    """The held-out photos with noise, as 8-bit images with the names of the photos."""
    folder = tmp_path / "frames"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for path in sorted((tiny_capture / "images").iterdir())[::8]:
        pixels = np.asarray(Image.open(path)).astype(np.int64)
        noisy = np.clip(pixels + rng.integers(-20, 21, pixels.shape), 0, 255)
        Image.fromarray(noisy.astype(np.uint8)).save(folder / path.name)
    return folder


def expected_psnr(capture: Path, frames: Path) -> list[float]:
    values = []
    for path in sorted(frames.iterdir()):
        truth = np.asarray(Image.open(capture / "images" / path.name), np.float64)
        error = np.mean((truth - np.asarray(Image.open(path), np.float64)) ** 2)
        values.append(float(10 * np.log10(255.0**2 / error)))
    return values


def test_scores_are_those_of_the_images(tiny_capture: Path, frames: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(frames), "--scene", f"path:{tiny_capture}", "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    expected = expected_psnr(tiny_capture, frames)
    assert len(expected) == 2
    assert [v["metrics"]["psnr"] for v in output["views"]] == pytest.approx(expected, abs=1e-4)
    assert output["metrics"]["psnr"] == pytest.approx(np.mean(expected), abs=1e-4)
    assert output["schema"] == "gsbench.score/1"
    assert output["scene"] == "tiny"
    assert output["split"] == "test"
    assert output["protocol"]["id"] == "gs1600"
    assert output["metrics"]["lpips_vgg"] is None
    assert output["reasons"]["lpips_vgg"]


def test_scores_as_a_table(tiny_capture: Path, frames: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(frames), "--scene", f"path:{tiny_capture}", "--metrics", "psnr,ssim"]) == 0
    lines = click.unstyle(capsys.readouterr().out).splitlines()
    assert lines[0] == "path/tiny, 2 test views, protocol gs1600"
    assert lines[2].split() == ["view", "psnr", "ssim"]
    assert lines[-1].split()[:3] == ["mean", "of", "2"]
    assert float(lines[-1].split()[3]) == pytest.approx(np.mean(expected_psnr(tiny_capture, frames)), abs=0.006)


def test_training_views_need_their_own_frames(
    tiny_capture: Path, frames: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(frames), "--scene", f"path:{tiny_capture}", "--split", "train"]) == 2
    assert "no image of 8 of 8 views" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{frames}", "--scene", "dmo"], "did you mean 'demo'"),
        (["{frames}", "--scene", "path:{capture}", "--metrics", "pnsr"], "did you mean"),
        (["{frames}", "--scene", "path:{capture}/none"], "does not exist"),
        (["{frames}/none", "--scene", "path:{capture}"], "is not a folder"),
        (["{frames}"], "--scene"),
        (["{frames}", "--scene", "path:{capture}", "--max-width", "16"], "expected 16x12 RGB, got shape [24, 32, 3]"),
        (["{frames}", "--scene", "path:{capture}", "--protocol", "gs160"], "did you mean 'gs1600'"),
    ],
)
def test_wrong_requests(
    arguments: list[str], message: str, tiny_capture: Path, frames: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", *(text.format(frames=frames, capture=tiny_capture) for text in arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert "Traceback" not in captured.err
