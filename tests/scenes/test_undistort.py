"""Distorted cameras: against `colmap image_undistorter` itself, the formulas in NumPy, and without the library."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import map_coordinates

from gsbench.errors import SceneError
from gsbench.protocols import GS1600
from gsbench.scenes import Scene, SceneOptions, SceneRef, load_scene
from gsbench.scenes.colmap import ColmapCamera, read_model, write_model
from gsbench.scenes.undistort import scale_camera, undistortion

pycolmap = pytest.importorskip("pycolmap")

CAMERAS = {
    "SIMPLE_RADIAL": ColmapCamera(7, "SIMPLE_RADIAL", 60, 44, 50.0, 50.0, 30.5, 21.0, (-0.12,)),
    "RADIAL": ColmapCamera(7, "RADIAL", 60, 44, 50.0, 50.0, 30.5, 21.0, (0.08, -0.03)),
    "OPENCV": ColmapCamera(7, "OPENCV", 60, 44, 50.0, 53.0, 29.0, 21.5, (-0.1, 0.02, 0.004, -0.003)),
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GSBENCH_CACHE", str(tmp_path / "cache"))


def smooth(width: int, height: int, seed: int = 0) -> np.ndarray:
    """A picture without edges, so that interpolation is accurate: uint8 [H, W, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [128 + 90 * np.sin(0.13 * x + seed + c) * np.cos(0.11 * y - 0.7 * c) for c in range(3)]
    return np.stack(waves, axis=2).round().astype(np.uint8)


def distorted_capture(capture: Any, camera: ColmapCamera) -> Path:
    folder: Path = capture(names=[f"{i}.png" for i in range(4)], width=camera.width, height=camera.height)
    for index, path in enumerate(sorted((folder / "images").iterdir())):
        Image.fromarray(smooth(camera.width, camera.height, index)).save(path)
    model = read_model(folder)
    write_model(folder / "sparse" / "0", replace(model, cameras={7: camera}))
    return folder


def load(folder: Path, **options: Any) -> Scene:
    return load_scene(SceneRef("path", folder.name, folder), SceneOptions(**options))


@pytest.mark.parametrize("model", CAMERAS)
def test_as_colmaps_image_undistorter(capture: Any, tmp_path: Path, model: str) -> None:
    """The same cameras and the same pixels as loading what COLMAP's own command makes of the folder."""
    folder = distorted_capture(capture, CAMERAS[model])
    out = tmp_path / "undistorted"
    pycolmap.undistort_images(out, folder / "sparse" / "0", folder / "images")
    if not (out / "sparse" / "0").exists():
        (out / "sparse").rename(out / "moved")
        (out / "sparse").mkdir()
        (out / "moved").rename(out / "sparse" / "0")
    ours, theirs = load(folder), load(out)
    assert ours.protocol == GS1600.with_undistortion()
    assert theirs.protocol == GS1600
    for a, b in zip([*ours.train, *ours.test], [*theirs.train, *theirs.test], strict=True):
        assert a.name == b.name
        assert (a.width, a.height) == (b.width, b.height) != (60, 44)
        assert np.allclose(a.K.numpy(), b.K.numpy(), rtol=1e-6)
        assert np.allclose(a.viewmat.numpy(), b.viewmat.numpy(), atol=1e-6)
        assert np.array_equal(a.pixels.numpy(), b.pixels.numpy())
    assert ours.notes == (
        f"cameras are {model}: photos are undistorted (pycolmap {pycolmap.__version__}), protocol gs1600+undistorted",
    )


def distort(camera: ColmapCamera, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the ray (u, v, 1) is in the distorted photo: Brown's model, as COLMAP's documentation states it."""
    k1, k2, p1, p2 = (*camera.distortion, 0.0, 0.0, 0.0)[:4]
    r2 = u * u + v * v
    radial = 1 + k1 * r2 + k2 * r2 * r2
    x = u * radial + 2 * p1 * u * v + p2 * (r2 + 2 * u * u)
    y = v * radial + 2 * p2 * u * v + p1 * (r2 + 2 * v * v)
    return camera.fx * x + camera.cx, camera.fy * y + camera.cy


@pytest.mark.parametrize("model", CAMERAS)
@pytest.mark.parametrize("factor", [1, 2])
def test_pixels_are_where_the_formulas_say(model: str, factor: int) -> None:
    """Also for photos of another size than their camera's."""
    camera = CAMERAS[model]
    size = (60 * factor, 44 * factor)
    image = smooth(*size)
    made = undistortion("here", camera, size)
    target = made.target
    assert (target.fx, target.fy) == (camera.fx * factor, camera.fy * factor)
    pixels = made(image)
    assert pixels.shape == (target.height, target.width, 3)
    y, x = np.mgrid[0 : target.height, 0 : target.width] + 0.5
    u, v = (x - target.cx) / target.fx, (y - target.cy) / target.fy
    at_x, at_y = distort(scale_camera(camera, size), u, v)
    for channel in range(3):
        expected = map_coordinates(image[..., channel].astype(float), [at_y - 0.5, at_x - 0.5], order=1, mode="nearest")
        inside = (at_x > 1) & (at_x < size[0] - 1) & (at_y > 1) & (at_y < size[1] - 1)
        assert inside.mean() > 0.8
        assert np.abs(pixels[..., channel] - expected)[inside].max() <= 1.0


@pytest.mark.parametrize("model", CAMERAS)
def test_no_blank_pixels(model: str) -> None:
    camera = CAMERAS[model]
    made = undistortion("here", camera, (60, 44))
    white = made(np.full((44, 60), 255, np.uint8))
    assert white.shape == (made.target.height, made.target.width)
    assert (white[1:-1, 1:-1] >= 254).all()


def test_scaling_a_camera() -> None:
    camera = CAMERAS["RADIAL"]
    assert scale_camera(camera, (60, 44)) is camera
    scaled = scale_camera(camera, (30, 11))
    assert scaled == ColmapCamera(7, "OPENCV", 30, 11, 25.0, 12.5, 15.25, 5.25, (0.08, -0.03, 0.0, 0.0))
    pinhole = ColmapCamera(1, "SIMPLE_PINHOLE", 10, 10, 5.0, 5.0, 5.0, 5.0)
    assert scale_camera(pinhole, (20, 10)) == ColmapCamera(1, "PINHOLE", 20, 10, 10.0, 5.0, 10.0, 5.0)


def test_no_distortion_is_a_pinhole_camera(capture: Any) -> None:
    """Coefficients of zero change nothing: no resampling, no mark, and no library."""
    folder = distorted_capture(capture, replace(CAMERAS["OPENCV"], distortion=(0.0, 0.0, 0.0, 0.0)))
    scene = load(folder)
    assert scene.protocol == GS1600
    view = scene.train[0]
    assert view.K.tolist() == [[50.0, 0.0, 29.0], [0.0, 53.0, 21.5], [0.0, 0.0, 1.0]]
    assert np.array_equal(view.pixels.numpy(), np.asarray(Image.open(folder / "images" / view.name)))


def test_reduced_after_it_is_undistorted(capture: Any) -> None:
    folder = distorted_capture(capture, CAMERAS["OPENCV"])
    whole, reduced = load(folder).train[0], load(folder, max_width=20).train[0]
    assert reduced.width == 20
    direct = Image.fromarray(whole.pixels.numpy()).resize((20, reduced.height), Image.Resampling.BICUBIC)
    assert np.array_equal(reduced.pixels.numpy(), np.asarray(direct))
    assert float(reduced.K[0, 0]) == pytest.approx(float(whole.K[0, 0]) * 20 / whole.width, rel=1e-6)
    assert load(folder, max_width=20).protocol.id == "gs1600+w20+undistorted"


def test_kept_in_the_cache(capture: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = distorted_capture(capture, CAMERAS["RADIAL"])
    first = load(folder).train[0].pixels
    assert len(list((tmp_path / "cache" / "images").rglob("*.png"))) == 1
    monkeypatch.setattr("gsbench.scenes.undistort.Undistortion.__call__", lambda *_: pytest.fail("made again"))
    assert np.array_equal(load(folder).train[0].pixels.numpy(), first.numpy())


def test_the_librarys_version_is_in_the_hash(capture: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = distorted_capture(capture, CAMERAS["RADIAL"])
    first = load(folder).hash
    monkeypatch.setattr(pycolmap, "__version__", "99.0")
    assert load(folder).hash != first


def test_without_the_library(capture: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = distorted_capture(capture, CAMERAS["SIMPLE_RADIAL"])
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    message = (
        r"0\.png: a camera with lens distortion \(SIMPLE_RADIAL\) needs pycolmap, which is not installed; expected "
        r"pip install 'gsbench-core\[undistort\]', or photos that are undistorted already"
    )
    with pytest.raises(SceneError, match=message):
        load(folder)
    shutil.rmtree(folder / "sparse")
    write_model(folder / "sparse" / "0", read_model(capture("plain", names=["0.png", "1.png"], width=60, height=44)))
    assert load(folder).protocol == GS1600


@pytest.mark.parametrize("k", [100.0, -100.0, 5.0, -5.0, 1e-12])
@pytest.mark.parametrize("focal", [1e-3, 10.0, 1e9])
def test_absurd_lenses_end(k: float, focal: float) -> None:
    """Sizes stay between 0.2 and 2 times the photo's, whatever the coefficients: or there is a clear error."""
    camera = ColmapCamera(1, "OPENCV", 60, 44, focal, focal, 30.0, 22.0, (k, -k, k / 3, k))
    try:
        made = undistortion("here", camera, (60, 44))
    except SceneError:
        return
    assert 11 <= made.target.width <= 121
    assert 8 <= made.target.height <= 89
    assert made(smooth(60, 44)).shape == (made.target.height, made.target.width, 3)
