"""Scores: means, reasons for what is missing, and the distortion against the base."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from gsbench import registry
from gsbench.bench.parallel import ROOM
from gsbench.bench.score import PSNR_TO_BASE, load_frame, save_image, save_images, score_frames
from gsbench.errors import JobError, SceneError, UsageError
from gsbench.metrics import MetricSpec
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


def big_views(count: int, masked: bool = False) -> list[View]:
    """Views of 61 x 83 pixels; the masks leave out a corner."""

    def load(index: int) -> npt.NDArray[np.uint8]:
        return np.random.default_rng(index).integers(0, 256, (61, 83, 3), dtype=np.uint8)

    def mask() -> npt.NDArray[np.bool_]:
        counts = np.ones((61, 83), bool)
        counts[:20, :30] = False
        return counts

    return [
        View(f"v{i}", torch.eye(4), torch.eye(3), 83, 61, lambda i=i: load(i), mask if masked else None)
        for i in range(count)
    ]


@pytest.mark.parametrize("masked", [False, True])
def test_views_at_a_time_do_not_matter(tmp_path: Path, masked: bool) -> None:
    views = big_views(7, masked)
    frames = []
    for index, view in enumerate(views):
        frames.append(tmp_path / f"{index}.npy")
        noise = 0.1 * torch.randn(view.pixels.shape, generator=torch.Generator().manual_seed(index))
        np.save(frames[-1], (view.pixels.float() / 255 + noise).numpy())
    found = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        found.append(score_frames(frames, views, ["psnr", "psnr_channelwise", "ssim"]))
        assert torch.get_num_threads() == threads
    assert found[0] == found[1] == found[2]
    # Each as if it were alone, and in its place.
    for frame, view, scored in zip(frames, views, found[2].views, strict=True):
        assert scored == score_frames([frame], [view], ["psnr", "psnr_channelwise", "ssim"]).views[0]


def test_images_are_written_several_at_a_time(tmp_path: Path) -> None:
    frames = [tmp_path / f"{index}.npy" for index in range(5)]
    for index, path in enumerate(frames):
        np.save(path, photo(index).astype(np.float32) / 255)
    images = [path.with_suffix(".png") for path in frames]
    torch.set_num_threads(3)
    save_images(frames, images)
    for index, path in enumerate(images):
        assert np.array_equal(np.array(Image.open(path)), photo(index))


_running = threading.Semaphore(1)


def alone(render: torch.Tensor, truth: torch.Tensor) -> float:
    """A metric that finds out whether another thread is in it."""
    assert _running.acquire(blocking=False)
    time.sleep(0.01)
    _running.release()
    return 1.0


def together(render: torch.Tensor, truth: torch.Tensor) -> float:
    """A metric that returns once two threads are in it."""
    _meeting.wait(timeout=30)
    return float(torch.get_num_threads())


_meeting = threading.Barrier(2)


def test_metrics_that_take_one_call_at_a_time(frames: list[Path], views: list[View]) -> None:
    torch.set_num_threads(4)
    registry.metrics.register("alone", MetricSpec("alone", f"{__name__}:alone", "test", True), "test-score")
    spec = MetricSpec("together", f"{__name__}:together", "test", True, memory=(ROOM // 3, 0))
    registry.metrics.register("together", spec, "test-score")
    try:
        assert score_frames(frames, views, ["alone"]).means == {"alone": 1.0}
        # Two views fit into memory, each with half of the threads.
        assert score_frames(frames[:2], views[:2], ["together"]).means == {"together": 2.0}
    finally:
        registry.metrics.unregister_origin("test-score")
