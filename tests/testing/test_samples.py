"""The small data for tests: it is what it claims to be, checked against plain geometry."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gsbench.splats import Camera
from gsbench.testing import orbit_cameras, random_splats, tiny_scene


def project(camera: Camera, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixel coordinates [P, 2] and depths [P]."""
    local = points @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    return (local @ camera.K.T)[:, :2] / local[:, 2:], local[:, 2]


def test_cameras_look_at_the_origin_with_x_right_and_y_down() -> None:
    for camera in orbit_cameras(7, 40, 30, radius=2.5, fov=60.0):
        rotation = camera.viewmat[:3, :3].double()
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(3).double(), atol=1e-6, rtol=0)
        assert float(torch.linalg.det(rotation)) == pytest.approx(1.0)
        assert float(camera.camera_center.norm()) == pytest.approx(2.5, abs=1e-5)
        assert math.degrees(camera.FoVx) == pytest.approx(60.0, abs=1e-4)
        pixel, depth = project(camera, torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.2]]))
        assert pixel[0].tolist() == pytest.approx([20.0, 15.0], abs=1e-4)
        assert float(depth[0]) == pytest.approx(2.5, abs=1e-5)
        assert float(pixel[1, 1]) < 15.0, "what is higher in the world is higher in the image"


def test_the_scene_has_the_split_of_the_protocols_and_opens_its_photographs() -> None:
    scene = tiny_scene(10, 32, 24)
    assert [view.name for view in scene.test] == ["view_000", "view_008"]
    assert len(scene.train) == 8
    names = [view.name for view in scene.train]
    assert names == sorted(names)
    assert not {view.name for view in scene.test} & set(names)
    for view in [*scene.train, *scene.test]:
        assert view.pixels.shape == (24, 32, 3)
        assert view.pixels.dtype == torch.uint8
    assert scene.for_training().test == ()
    assert 0.5 < scene.extent < 10.0


def test_points_have_the_colors_of_the_photographs_where_nothing_hides_them() -> None:
    """Ties the ray tracer, the cameras and the points together: a point projects onto its own color."""
    scene = tiny_scene(10, 320, 240, points=4000)
    upper = scene.points.xyz[:, 2] > 0.1  # of the ball: visible from wherever the surface faces
    xyz, rgb = scene.points.xyz[upper], scene.points.rgb[upper].float()
    for view in scene.train:
        pixel, _ = project(view, xyz)
        toward = view.camera_center - xyz
        facing = ((xyz / xyz.norm(dim=1, keepdim=True)) * toward).sum(1) > 0.3 * toward.norm(dim=1)
        column, row = pixel[facing].long().unbind(1)
        difference = (view.pixels[row, column].float() - rgb[facing]).abs().mean()
        assert int(facing.sum()) > 100
        assert float(difference) < 4.0, "8-bit levels"


def test_views_differ_enough_to_be_worth_learning() -> None:
    scene = tiny_scene()
    truth = scene.test[0].pixels.double()
    errors = [float(((view.pixels.double() - truth) / 255.0).square().mean()) for view in scene.train]
    assert all(-10.0 * math.log10(error) < 25.0 for error in errors)


@pytest.mark.parametrize("count", [0, 1, 1000])
@pytest.mark.parametrize("degree", [0, 3, 4])
def test_random_splats_are_valid_and_repeatable(count: int, degree: int) -> None:
    first, again = random_splats(count, 5, sh_degree=degree), random_splats(count, 5, sh_degree=degree)
    assert len(first) == count
    assert first.sh_degree == degree
    for name in ("means", "log_scales", "quats", "opacity_logits", "sh"):
        assert torch.equal(getattr(first, name), getattr(again, name))
        assert getattr(first, name).isfinite().all()
    if count == 1000:
        assert not torch.equal(first.means, random_splats(count, 6, sh_degree=degree).means)
        distance = first.means.norm(dim=1)
        assert float(distance.max()) <= 1.0 + 1e-6
        # Uniform in the ball: an eighth of the points lies within half the radius.
        assert 0.08 < float((distance < 0.5).float().mean()) < 0.17


def test_the_scene_is_the_same_in_another_process() -> None:
    code = "from gsbench.testing import tiny_scene; s = tiny_scene(); print(s.hash, float(s.points.xyz.sum()))"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120)
    scene = tiny_scene()
    assert output.stdout.split() == [scene.hash, str(float(scene.points.xyz.sum()))]


def test_each_photograph_is_a_copy() -> None:
    view = tiny_scene().train[0]
    assert view.load_image is not None
    first = view.load_image()
    first[:] = 0
    assert np.any(view.load_image() != 0)


def test_a_scene_that_was_written_loads_again(tmp_path: Path) -> None:
    from gsbench.scenes import SceneOptions, SceneRef, load_scene
    from gsbench.testing.samples import write_scene

    scene = tiny_scene()
    again = load_scene(SceneRef("path", "tiny", write_scene(scene, tmp_path / "tiny")), SceneOptions())
    assert [v.name.removesuffix(".png") for v in again.test] == [v.name for v in scene.test]
    for view, other in zip([*scene.train, *scene.test], [*again.train, *again.test], strict=True):
        assert torch.equal(view.pixels, other.pixels)
        torch.testing.assert_close(view.viewmat, other.viewmat, atol=1e-6, rtol=0)
        assert torch.equal(view.K, other.K)
    assert torch.equal(scene.points.rgb, again.points.rgb)
    assert len(again.files) == 10 + 3
