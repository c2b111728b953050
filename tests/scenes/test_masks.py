"""Masks: read, resized without losing a black pixel, and left out of training and scores."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gsbench.errors import SceneError
from gsbench.metrics import measure
from gsbench.scenes import Scene, SceneOptions, SceneRef, load_scene
from gsbench.scenes.masks import make_mask, resize_mask

NAMES = [f"{i}.png" for i in range(9)]


def load(folder: Path, **options: Any) -> Scene:
    return load_scene(SceneRef("path", folder.name, folder), SceneOptions(**options))


def add_mask(folder: Path, name: str, counts: np.ndarray, **save: Any) -> Path:
    path = folder / "masks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.where(counts, 255, 0).astype(np.uint8)).save(path, **save)
    return path


def half(width: int = 24, height: int = 16) -> np.ndarray:
    """All but a block in the middle, which touches no even boundary."""
    counts = np.ones((height, width), bool)
    counts[5:9, 7:12] = False
    return counts


@pytest.mark.parametrize("name", ["1.png.png", "1.png"])
def test_masks_of_a_colmap_folder(capture: Any, name: str) -> None:
    """By COLMAP's names (the photo's with .png) or the photo's own; photos without one count whole."""
    folder = capture(names=NAMES)
    plain = load(folder)
    add_mask(folder, name, half())
    scene = load(folder)
    views = {view.name: view for view in [*scene.train, *scene.test]}
    assert views["2.png"].mask is None
    mask = views["1.png"].mask
    assert mask is not None
    assert np.array_equal(mask.numpy(), half())
    assert scene.notes == ("1 of 9 photos have a mask; its black pixels count neither in training nor in scores",)
    assert scene.hash != plain.hash
    assert set(scene.files) - set(plain.files) == {f"masks/{name}"}
    assert views["1.png"].sealed().mask is None


def test_masks_of_nothing_are_noted_and_have_no_part(capture: Any) -> None:
    folder = capture(names=NAMES)
    plain = load(folder)
    add_mask(folder, "other.png", half())
    scene = load(folder)
    assert scene.notes == ("masks/ has no mask of a photo; expected names such as 1.png.png",)
    assert scene.hash == plain.hash


def covers(counts: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`resize_mask` by its definition: whatever a target pixel touches must count."""
    height, width = counts.shape
    out = np.ones((size[1], size[0]), bool)
    for i in range(size[1]):
        for j in range(size[0]):
            top, bottom = i * height // size[1], math.ceil((i + 1) * height / size[1])
            left, right = j * width // size[0], math.ceil((j + 1) * width / size[0])
            out[i, j] = counts[top:bottom, left:right].all()
    return out


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_resizing_keeps_every_black_pixel(width: int, height: int, new_width: int, new_height: int, seed: int) -> None:
    counts = np.random.default_rng(seed).random((height, width)) < 0.8
    resized = resize_mask(counts, (new_width, new_height))
    assert resized.dtype == np.bool_
    assert np.array_equal(resized, covers(counts, (new_width, new_height)))


def test_masks_follow_reduced_photos(capture: Any) -> None:
    folder = capture(names=NAMES)
    add_mask(folder, "1.png", half())
    mask = load(folder, downscale=3).train[0].mask
    assert mask is not None
    assert np.array_equal(mask.numpy(), covers(half(), (8, 5)))


def test_full_size_masks_of_reduced_photos(capture: Any) -> None:
    folder = capture(names=NAMES)
    (folder / "images_2").mkdir()
    for path in (folder / "images").iterdir():
        Image.open(path).resize((12, 8)).save(folder / "images_2" / path.name)
    add_mask(folder, "1.png", half())
    mask = load(folder, images="images_2").train[0].mask
    assert mask is not None
    assert np.array_equal(mask.numpy(), covers(half(), (12, 8)))


def test_masks_of_distorted_photos(capture: Any) -> None:
    """What was resampled from a black pixel is left out, and little else."""
    pytest.importorskip("pycolmap")
    from dataclasses import replace

    from gsbench.scenes.colmap import ColmapCamera, read_model, write_model

    folder = capture(names=NAMES, width=60, height=44)
    camera = ColmapCamera(7, "SIMPLE_RADIAL", 60, 44, 50.0, 50.0, 30.0, 22.0, (-0.15,))
    write_model(folder / "sparse/0", replace(read_model(folder), cameras={7: camera}))
    add_mask(folder, "1.png", np.ones((44, 60), bool))
    counts = np.ones((44, 60), bool)
    counts[10:20, 30:45] = False
    add_mask(folder, "2.png", counts)
    first, second = load(folder).train[:2]
    assert first.mask is not None
    assert second.mask is not None
    assert first.mask.shape == (first.height, first.width) != (44, 60)
    assert first.mask[1:-1, 1:-1].all()
    excluded = (first.mask & ~second.mask).numpy()
    y, x = np.nonzero(excluded)
    u, v = (x + 0.5 - float(second.K[0, 2])) / 50, (y + 0.5 - float(second.K[1, 2])) / 50
    radial = 1 - 0.15 * (u * u + v * v)
    at_x, at_y = 50 * u * radial + 30, 50 * v * radial + 22
    assert 29 < at_x.min() <= at_x.max() < 46
    assert 9 < at_y.min() <= at_y.max() < 21
    assert abs(excluded.sum() - 150) < 60


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.new("L", (16, 24)), r"a mask of 16x24 pixels for a photo of 24x16; expected the photo's size"),
        (Image.new("L", (24, 19)), r"a mask of 24x19 pixels for a photo of 24x16"),
        (Image.new("RGBA", (24, 16)), r"a mask with pixels of mode RGBA; expected gray, black and white, or RGB"),
        (None, r"not an image"),
    ],
)
def test_bad_masks(capture: Any, image: Image.Image | None, message: str) -> None:
    folder = capture(names=NAMES)
    path = add_mask(folder, "1.png", half())
    if image is None:
        path.write_bytes(b"nothing")
    else:
        image.save(path)
    with pytest.raises(SceneError, match=message) as caught:
        load(folder)
    assert str(path) in str(caught.value)


def test_jpegs_are_no_masks(capture: Any) -> None:
    folder = capture(names=NAMES)
    add_mask(folder, "1.png", half(), format="JPEG")
    with pytest.raises(SceneError, match=r"1\.png: not an image"):
        load(folder)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "I;16"])
def test_any_color_but_black_counts(tmp_path: Path, mode: str) -> None:
    counts = half()
    image = Image.fromarray(np.where(counts, 1, 0).astype(np.uint8))
    if mode == "1":
        image = Image.fromarray(counts)
    elif mode == "RGB":
        image = Image.merge("RGB", [image.point(lambda v: 0), image, image.point(lambda v: 0)])
    elif mode == "P":
        image.putpalette([0, 0, 0, 9, 0, 0])
    elif mode == "I;16":
        image = Image.fromarray(np.where(counts, 256, 0).astype(np.uint16))
    image.save(tmp_path / "m.png")
    with Image.open(tmp_path / "m.png") as opened:
        assert opened.mode == mode
    assert np.array_equal(make_mask(tmp_path / "m.png", (24, 16), (24, 16))(), counts)


def test_a_mask_that_changes_is_noticed(capture: Any) -> None:
    folder = capture(names=NAMES)
    add_mask(folder, "1.png", half())
    view = load(folder).train[0]
    add_mask(folder, "1.png", half(48, 32))
    with pytest.raises(SceneError, match="48x32 pixels; expected 24x16, which it had when the scene was loaded"):
        _ = view.mask


# Scores.


def error_of(size: int, shape: tuple[int, int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A photograph and a render that is off by `size` gray levels."""
    truth = np.random.default_rng(seed).integers(60, 190, (*shape, 3), dtype=np.uint8)
    return torch.from_numpy((truth.astype(np.float32) + size) / 255), torch.from_numpy(truth)


def test_psnr_is_over_the_pixels_that_count() -> None:
    counts = torch.from_numpy(half())
    render, truth = error_of(10, (16, 24))
    render[~counts] = 77.0  # anything
    expected = 10 * math.log10(255**2 / 100)
    for name in ("psnr", "psnr_channelwise"):
        value, reason = measure(name, render, truth, counts)
        assert reason is None
        assert value == pytest.approx(expected, abs=1e-4)


def test_ssim_does_not_see_what_is_masked() -> None:
    counts = torch.from_numpy(half())
    render, truth = error_of(10, (16, 24))
    values = []
    for garbage in (0.0, 1.0, 0.3):
        render[~counts], truth[~counts] = garbage, int(255 * (1 - garbage))
        values.append(measure("ssim", render, truth, counts)[0])
    assert values[0] == values[1] == values[2] != measure("ssim", render, truth)[0]
    everywhere = torch.ones(16, 24, dtype=torch.bool)
    assert measure("ssim", render, truth, everywhere) == measure("ssim", render, truth)


def test_nothing_left_to_score() -> None:
    render, truth = error_of(10, (16, 24))
    nothing = torch.zeros(16, 24, dtype=torch.bool)
    assert measure("psnr", render, truth, nothing) == (None, "the mask leaves no pixel")
    with pytest.raises(ValueError, match=r"mask: expected the size of the truth, \[16, 24\], got \[24, 16\]"):
        measure("psnr", render, truth, torch.ones(24, 16, dtype=torch.bool))


def test_masks_reach_the_scores(capture: Any, tmp_path: Path) -> None:
    from gsbench.bench.score import PSNR_TO_BASE, score_frames

    folder = capture(names=NAMES)
    for view in load(folder).test:
        add_mask(folder, view.name, half())
    scene = load(folder)
    frames, images = [], []
    for index, view in enumerate(scene.test):
        truth = view.pixels.numpy().astype(np.float32)
        frame = np.where(truth > 127, truth - 10, truth + 10)
        frame[~half()] = -1e6
        frames.append(tmp_path / f"{index}.npy")
        np.save(frames[-1], (frame / 255).astype(np.float32))
        images.append(tmp_path / f"{index}.png")
        base = np.where(truth > 127, truth - 5, truth + 5)
        base[~half()] = 0
        Image.fromarray(base.astype(np.uint8)).save(images[-1])
    means = score_frames(frames, scene.test, ["psnr"], images).means
    assert means["psnr"] == pytest.approx(10 * math.log10(255**2 / 100), abs=1e-6)
    assert means[PSNR_TO_BASE] == pytest.approx(10 * math.log10(255**2 / 25), abs=1e-6)


# Training.


def test_masked_pixels_have_no_gradient(capture: Any) -> None:
    """Two scenes that differ only behind their masks train to the same bytes; without masks they do not."""
    from gsbench.training import BaseGaussianModel, OptimizationParams, Trainer

    def train(name: str, color: int, *, masked: bool) -> torch.Tensor:
        folder = capture(name, names=NAMES, points=50)
        for path in (folder / "images").iterdir():
            pixels = np.array(Image.open(path))
            pixels[~half()] = color
            Image.fromarray(pixels).save(path)
            if masked:
                add_mask(folder, path.name, half())
        model = BaseGaussianModel()
        Trainer(model, load(folder), OptimizationParams(iterations=6), seed=3, threads=1).train()
        return torch.cat([tensor.flatten() for tensor in model.tensors().values()])

    assert torch.equal(train("a", 0, masked=True), train("b", 255, masked=True))
    assert not torch.equal(train("c", 0, masked=False), train("d", 255, masked=False))
