"""Random points to start from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from gsbench.scenes.colmap import ColmapImage
from gsbench.scenes.initial import camera_box, random_points


def looking(position: Any, target: Any) -> ColmapImage:
    """A camera at `position` whose axis goes through `target`, by scipy's rotations."""
    position, forward = np.asarray(position, float), np.subtract(target, position).astype(float)
    forward /= np.linalg.norm(forward)
    right = np.cross([0.1, -1.0, 0.2], forward)
    right /= np.linalg.norm(right)
    matrix = np.array([right, np.cross(forward, right), forward])
    x, y, z, w = Rotation.from_matrix(matrix).as_quat()
    t = -matrix @ position
    return ColmapImage(1, (float(w), float(x), float(y), float(z)), (float(t[0]), float(t[1]), float(t[2])), 1, "a")


def ring(radius: float, middle: Any, count: int = 12) -> list[np.ndarray]:
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return [middle + radius * np.array([np.cos(a), 0.3 * np.sin(3 * a), np.sin(a)]) for a in angles]


def test_cameras_around_an_object() -> None:
    target = np.array([3.0, -2.0, 7.0])
    positions = ring(5.0, target)
    center, half = camera_box([looking(p, target) for p in positions])
    assert center == pytest.approx(target, abs=1e-9)
    assert half == pytest.approx(max(np.linalg.norm(p - target) for p in positions), rel=1e-9)


def test_cameras_looking_outwards() -> None:
    middle = np.array([1.0, 2.0, 3.0])
    positions = ring(0.5, middle)
    center, half = camera_box([looking(p, p + (p - middle)) for p in positions])
    mean = np.mean(positions, axis=0)
    assert center == pytest.approx(mean, abs=1e-9)
    assert half == pytest.approx(3 * max(np.linalg.norm(p - mean) for p in positions))


def test_cameras_side_by_side() -> None:
    center, half = camera_box([looking([x, 0, 0], [x, 0, 1]) for x in (-1.0, 0.0, 1.0)])
    assert center == pytest.approx(np.zeros(3), abs=1e-9)
    assert half == pytest.approx(3.0)


@pytest.mark.parametrize("count", [1, 4])
def test_cameras_at_one_place(count: int) -> None:
    images = [looking([4, 5, 6], [4 + i, 5, 9]) for i in range(count)]
    center, half = camera_box(images)
    assert center == pytest.approx([4, 5, 6], abs=1e-9)
    assert half == 1.0


def test_points_fill_the_box() -> None:
    images = [looking(p, [0, 0, 0]) for p in ring(2.0, np.zeros(3))]
    center, half = camera_box(images)
    xyz, rgb = random_points(20_000, images)
    unit = (xyz - center) / half
    assert np.abs(unit).max() <= 1.0
    assert unit.mean(axis=0) == pytest.approx(np.zeros(3), abs=0.02)
    assert unit.var(axis=0) == pytest.approx(np.full(3, 1 / 3), rel=0.03)
    assert np.abs(np.corrcoef(unit.T) - np.eye(3)).max() < 0.03
    assert rgb.shape == (20_000, 3)
    assert (rgb == 128).all()


def test_points_are_the_same_everywhere() -> None:
    """Golden values: PCG64's raw output is guaranteed by NumPy."""
    images = [looking([4, 5, 6], [4, 5, 9])]
    xyz, _ = random_points(2, images)
    raw = np.random.PCG64(20230808).random_raw(6)
    expected = [4, 5, 6] + 2 * (raw.reshape(2, 3) / 2.0**64) - 1
    assert xyz == pytest.approx(expected, abs=1e-12)
    assert xyz[0].round(6).tolist() == [4.127208, 5.94549, 5.472951]
