"""Scores: means, reasons for what is missing, and the distortion against the base."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from gsbench.bench.score import PSNR_TO_BASE, load_frame, save_image, score_frames
from gsbench.errors import JobError, SceneError, UsageError
from gsbench.scenes import View

WIDTH, HEIGHT = 9, 7


def photo(seed: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture
def views() -> list[View]:
    def view(index: int) -> View:
        return View(f"v{index}", torch.eye(4), torch.eye(3), WIDTH, HEIGHT, lambda: photo(index))

    return [view(index) for index in range(3)]


@pytest.fixture
def frames(tmp_path: Path) -> list[Path]:
    """Frames that differ from the photos by 10 gray levels, in float."""
    paths = []
    for index in range(3):
        paths.append(tmp_path / f"{index:04d}.npy")
        truth = photo(index).astype(np.float64)
        np.save(paths[-1], (np.where(truth > 127, truth - 10, truth + 10) / 255).astype(np.float32))
    return paths


def test_means_and_views(frames: list[Path], views: list[View]) -> None:
    means, per_view, reasons = score_frames(frames, views, ["psnr", "lpips_vgg"])
    expected = 10 * math.log10(255**2 / 100)  # an error of 10 everywhere
    assert means["psnr"] == pytest.approx(expected, abs=1e-9)
    assert [view.name for view in per_view] == ["v0", "v1", "v2"]
    assert all(view.metrics["psnr"] == pytest.approx(expected) for view in per_view)
    assert means["lpips_vgg"] is None
    assert "no LPIPS weights" in reasons["lpips_vgg"]
    assert list(reasons) == ["lpips_vgg"]


def test_a_view_without_a_value_leaves_the_mean_empty(frames: list[Path], views: list[View]) -> None:
    np.save(frames[1], photo(1).astype(np.float32) / 255)
    means, per_view, reasons = score_frames(frames, views, ["psnr"])
    assert means == {"psnr": None}
    assert per_view[1].metrics["psnr"] is None
    assert per_view[0].metrics["psnr"] is not None
    assert reasons["psnr"].startswith("1 of 3 views have none, such as v1: ")


def test_distortion_against_the_base(frames: list[Path], views: list[View], tmp_path: Path) -> None:
    """5 gray levels from the base's 8-bit render, whatever the photos are."""
    images = []
    for index, frame in enumerate(frames):
        images.append(tmp_path / f"{index}.png")
        rounded = np.round(np.load(frame) * 255).astype(np.uint8)
        Image.fromarray(np.where(rounded > 127, rounded - 5, rounded + 5).astype(np.uint8)).save(images[-1])
    means, per_view, reasons = score_frames(frames, views, ["psnr"], images)
    assert means[PSNR_TO_BASE] == pytest.approx(10 * math.log10(255**2 / 25), abs=1e-9)
    assert list(per_view[0].metrics) == ["psnr", PSNR_TO_BASE]
    assert reasons == {}


def test_images_are_what_psnr_sees(tmp_path: Path) -> None:
    frame = torch.tensor([[[-1.0, 0.5, 2.0], [0.2, 0.4999 / 255, 0.5001 / 255]]])
    save_image(frame, tmp_path / "x.png")
    assert np.array(Image.open(tmp_path / "x.png")).tolist() == [[[0, 128, 255], [51, 0, 1]]]


def test_wrong_input(frames: list[Path], views: list[View], tmp_path: Path) -> None:
    with pytest.raises(JobError, match="2 frames for 3 views"):
        score_frames(frames[:2], views, ["psnr"])
    with pytest.raises(JobError, match="3 frames for 3 views"):
        score_frames(frames, views, ["psnr"], frames[:1])
    with pytest.raises(UsageError, match="unknown metric"):
        score_frames(frames, views, ["psrn"])
    with pytest.raises(SceneError, match="not available"):
        score_frames(frames, [view.sealed() for view in views], ["psnr"])
    frames[0].write_bytes(b"nonsense")
    with pytest.raises(JobError, match="is not a frame"):
        score_frames(frames, views, ["psnr"])
    for value in (np.zeros((2, 2)), np.zeros((2, 2, 3)), np.zeros((2, 2, 4), np.float32)):
        np.save(frames[0], value)
        with pytest.raises(JobError, match="is not a frame"):
            load_frame(frames[0])
    np.save(frames[0], np.array({}, dtype=object), allow_pickle=True)
    with pytest.raises(JobError, match="is not a frame"):
        load_frame(frames[0])


def test_no_views() -> None:
    assert score_frames([], [], ["psnr"]) == ({"psnr": None}, [], {"psnr": "the scene has no held-out views"})
