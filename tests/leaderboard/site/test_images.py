"""Renders, ground truth and error maps of a scene's page."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gsbench.leaderboard.board import Board, Result
from gsbench.leaderboard.build import build_board
from gsbench.leaderboard.site.colors import ERROR_COLORS, ERROR_FULL
from gsbench.leaderboard.site.frames import FrameFinder
from gsbench.leaderboard.site.images import ImageWriter, chosen_views, error_map
from gsbench.leaderboard.site.options import SiteOptions
from gsbench.leaderboard.site.scenes import find_scene


@pytest.mark.parametrize(
    ("count", "wanted", "views"),
    [(7, 3, [1, 3, 5]), (3, 3, [0, 1, 2]), (2, 5, [0, 1]), (40, 2, [10, 30]), (1, 1, [0]), (0, 3, [])],
)
def test_views_are_spread_evenly(count: int, wanted: int, views: list[int]) -> None:
    assert chosen_views(count, wanted) == views


def test_error_maps_go_from_black_to_light() -> None:
    truth = np.zeros((1, 256, 3), np.uint8)
    render = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    found = error_map(render, truth)
    np.testing.assert_array_equal(found, error_map(truth, render))
    np.testing.assert_array_equal(found[0, 0], ERROR_COLORS[0])
    np.testing.assert_array_equal(found[0, ERROR_FULL:], np.tile(ERROR_COLORS[-1], (256 - ERROR_FULL, 1)))
    # Lightness (Rec. 709 luma) rises with the error.
    light = found[0].astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light) >= 0).all()
    assert (np.diff(light[:ERROR_FULL:8]) > 1).all()


def test_error_is_the_mean_over_channels() -> None:
    truth = np.zeros((1, 1, 3), np.uint8)
    one = np.array([[[30, 0, 0]]], np.uint8)
    all_three = np.array([[[10, 10, 10]]], np.uint8)
    np.testing.assert_array_equal(error_map(one, truth), error_map(all_three, truth))


def one_result(board: Board, method: str) -> Result:
    (entry,) = (entry for entry in board.sections[0].entries if entry.method == method)
    return entry.scenes[0].results[0]


@pytest.fixture
def own(results: Path, tmp_path: Path) -> Path:
    """A copy of the results folder that a test may change."""
    return Path(shutil.copytree(results, tmp_path / "runs"))


def test_renders_of_the_run_are_taken_as_they_are(own: Path) -> None:
    result = one_result(build_board([own]), "3dgs")
    found = FrameFinder(SiteOptions()).find(result, None, [0, 2])
    assert sorted(found.images) == [0, 2]
    stored = sorted((own / "stages" / "decode").glob("*/images/0002.png"))
    assert any(np.array_equal(np.asarray(Image.open(path)), found.images[2]) for path in stored)


def test_damaged_renders_are_made_again_from_the_artifact(own: Path) -> None:
    before = FrameFinder(SiteOptions()).find(one_result(build_board([own]), "3dgs"), None, [1]).images[1]
    for path in (own / "stages" / "decode").glob("*/images/0001.png"):
        Image.new("RGB", (before.shape[1], before.shape[0]), "red").save(path)
    result = one_result(build_board([own]), "3dgs")
    lines: list[str] = []
    options = SiteOptions(threads=1, progress=lines.append)
    scene = find_scene(result.record, options).scene
    assert scene is not None
    found = FrameFinder(options).find(result, scene, [1])
    assert lines == [f"rendering {result.name}"]
    np.testing.assert_array_equal(found.images[1], before)


def test_without_the_scene_an_artifact_cannot_be_rendered(own: Path) -> None:
    shutil.rmtree(own / "stages")
    found = FrameFinder(SiteOptions()).find(one_result(build_board([own]), "3dgs"), None, [0])
    assert found.images == {}
    assert found.reason == "rendering the artifact needs the scene's cameras"


def test_another_scene_is_not_shown_as_ground_truth(results: Path) -> None:
    record = one_result(build_board([results]), "3dgs").record
    found = find_scene(record.model_copy(update={"scene_hash": "0" * 64}), SiteOptions())
    assert found.scene is None
    assert "differ from the record's" in found.reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"dataset": "path"}, "folder of somebody's own"), ({"dataset": "nowhere"}, "is not known")],
)
def test_scenes_that_are_not_here(results: Path, changes: dict[str, str], reason: str) -> None:
    record = one_result(build_board([results]), "3dgs").record
    found = find_scene(record.model_copy(update=changes), SiteOptions())
    assert found.scene is None
    assert reason in found.reason


def test_images_of_a_page_are_those_of_the_record(results: Path, site: Callable[[], Path]) -> None:
    folder = site() / "images" / "gs1600-demo" / "demo"
    truth = np.asarray(Image.open(folder / "0001.truth.webp"))
    render = np.asarray(Image.open(folder / "3dgs-default" / "0001.webp"))
    record = one_result(build_board([results]), "3dgs").record
    # Stored without loss: the PSNR of what the page shows is the record's.
    mse = np.mean((truth.astype(float) - render.astype(float)) ** 2)
    assert record.views[1].metrics["psnr"] == pytest.approx(10 * np.log10(255**2 / mse), abs=1e-6)
    error = np.asarray(Image.open(folder / "3dgs-default" / "0001.error.webp"))
    np.testing.assert_array_equal(error, error_map(render, truth))


def test_large_images_are_stored_with_loss_and_pages_say_so(results: Path, tmp_path: Path) -> None:
    section = build_board([results]).sections[0]
    result = section.entries[0].scenes[0].results[0]
    options = SiteOptions(views=1, lossless_pixels=1000, quality=80)
    found = ImageWriter(tmp_path, options).scene(section, "demo", find_scene(result.record, options))
    assert found["quality"] == 80
    (view,) = found["views"]
    lossy = np.asarray(Image.open(tmp_path / view["truth"])).astype(float)
    assert lossy.shape == (view["height"], view["width"], 3)
    exact = ImageWriter(tmp_path / "exact", SiteOptions(views=1)).scene(
        section, "demo", find_scene(result.record, options)
    )
    assert exact["quality"] is None
    truth = np.asarray(Image.open(tmp_path / "exact" / view["truth"])).astype(float)
    assert 0 < np.mean((truth - lossy) ** 2) < 60
