"""`Scene`, `View` and `PointCloud` as values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gsbench.errors import SceneError
from gsbench.protocols import BLENDER, GS1600
from gsbench.scenes import PointCloud, Scene, View


def view(center: list[float], name: str = "a", pixels: np.ndarray | None = None) -> View:
    viewmat = torch.eye(4)
    viewmat[:3, 3] = -torch.tensor(center)
    return View(name, viewmat, torch.eye(3), 4, 2, None if pixels is None else lambda: pixels)


def scene(*views: View) -> Scene:
    points = PointCloud(torch.zeros(5, 3), torch.zeros(5, 3, dtype=torch.uint8))
    return Scene("lab", "desk", BLENDER, views, [view([0, 0, 0], "t")], points, "0" * 64)


def test_extent_is_that_of_the_original_code() -> None:
    """1.1 times the farthest camera's distance from the mean."""
    centers = [[0.0, 0.0, 0.0], [4.0, 0.0, 0.0], [2.0, 3.0, 0.0], [2.0, -3.0, 8.0]]
    mean = np.mean(centers, axis=0)
    expected = 1.1 * max(np.linalg.norm(np.array(c) - mean) for c in centers)
    assert scene(*(view(c) for c in centers)).extent == pytest.approx(expected, rel=1e-6)


def test_extent_of_cameras_at_one_place() -> None:
    assert scene(view([1e5, 2.0, 3.0])).extent == 1.0
    assert scene(view([1.0, 2.0, 3.0]), view([1.0, 2.0, 3.0])).extent == 1.0


def test_pixels_are_kept_and_sealed_off() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    open_view = view([0, 0, 0], "a", pixels)
    assert torch.equal(open_view.pixels, torch.from_numpy(pixels))
    assert open_view.pixels is open_view.pixels
    assert open_view.original_image.shape == (3, 2, 4)
    assert float(open_view.original_image[2, 1, 3]) == pytest.approx(23 / 255)
    with pytest.raises(SceneError, match="the image of held-out view 'a' is not available here"):
        _ = open_view.sealed().pixels


def test_pixels_of_another_size() -> None:
    with pytest.raises(SceneError, match=r"image 'a': expected 4x2 RGB, got shape \[4, 2, 3\]"):
        _ = view([0, 0, 0], "a", np.zeros((4, 2, 3), np.uint8)).pixels


def test_values() -> None:
    lab = scene(view([0, 0, 0]))
    assert lab.background.tolist() == [1.0, 1.0, 1.0]
    assert lab.background.dtype == torch.float32
    assert len(lab.points) == 5
    assert (len(lab.test), len(lab.for_training().test)) == (1, 0)
    assert lab.for_training().hash == lab.hash
    assert GS1600.background == (0.0, 0.0, 0.0)
