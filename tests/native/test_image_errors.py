"""Squared errors of renders, against NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gsbench.native.image import image_errors


def images(height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A render that leaves [0, 1] here and there, and a photograph."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=generator)
    return truth.float() / 255.0 + 0.2 * torch.randn(truth.shape, generator=generator), truth


#: 4,096 pixels are one block of sums, 16 one step of the loop.
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (4, 4), (1, 17), (64, 64), (1, 4097), (90, 91), (211, 333)])
def test_against_numpy(size: tuple[int, int]) -> None:
    render, truth = images(*size)
    found = image_errors(render, truth, images=True)
    clamped = np.clip(render.numpy(), 0, 1)
    target = truth.numpy().astype(np.float32) / np.float32(255)
    rounded = np.rint(clamped * np.float32(255)).astype(np.int64) - truth.numpy()
    squares = ((clamped.astype(np.float64) - target) ** 2).reshape(-1, 3)
    assert found.rounded == (rounded**2).sum()
    assert found.channels == pytest.approx([math.fsum(channel) for channel in squares.T], rel=1e-13)
    assert found.not_finite == 0
    assert found.clamped is not None
    assert found.target is not None
    assert np.array_equal(found.clamped.numpy(), clamped)
    assert np.array_equal(found.target.numpy(), target)
    assert image_errors(render, truth)._replace(clamped=None) == (*found[:3], None, None)


@given(st.integers(0, 255), st.floats(0, 255, width=32))
@settings(max_examples=200, deadline=None)
def test_rounding_is_numpys(level: int, value: float) -> None:
    """Halves go to the even gray level, also where the product with 255 is a half only after rounding."""
    render = torch.full((1, 2, 3), value) / 255.0
    truth = torch.full((1, 2, 3), level, dtype=torch.uint8)
    seen = np.rint(render.numpy() * np.float32(255)).astype(np.int64)
    assert image_errors(render, truth).rounded == int(((seen - level) ** 2).sum())


def test_halves() -> None:
    halves = (torch.arange(255) + 0.5) / 255.0
    exact = halves[(halves * 255.0).frac() == 0.5]
    assert len(exact) > 100
    render = exact.repeat_interleave(3).reshape(1, -1, 3).contiguous()
    seen = np.rint(render.numpy() * np.float32(255))
    assert (seen % 2 == 0).all()
    assert image_errors(render, torch.from_numpy(seen.astype(np.uint8))).rounded == 0


def test_threads_do_not_matter() -> None:
    render, truth = images(157, 203)
    assert image_errors(render, truth, threads=1) == image_errors(render, truth, threads=2)
    assert image_errors(render, truth, threads=7) == image_errors(render, truth, threads=2)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_counted(bad: float) -> None:
    render, truth = images(70, 71)
    for row, column, channel in ((0, 0, 0), (69, 70, 2), (31, 5, 1)):
        render[row, column, channel] = bad
    assert image_errors(render, truth).not_finite == 3


def test_largest_errors_fit() -> None:
    truth = torch.full((300, 300, 3), 255, dtype=torch.uint8)
    found = image_errors(torch.zeros(300, 300, 3), truth)
    assert found.rounded == 300 * 300 * 3 * 255**2
    assert found.channels == (90_000.0,) * 3


def test_wrong_arguments() -> None:
    render, truth = images(4, 5)
    cases = [
        (render.double(), truth, "render: expected torch.float32"),
        (render, truth.float(), "truth: expected torch.uint8"),
        (render[..., :2], truth, r"render: expected shape \[H, W, 3\], got \[4, 5, 2\]"),
        (render, truth[1:], r"truth: expected shape \[4, 5, 3\], got \[3, 5, 3\]"),
        (render[:, ::2], truth, "render: expected a contiguous tensor"),
        (render[:0], truth[:0], "pixels: expected 1 to"),
    ]
    for bad_render, bad_truth, message in cases:
        with pytest.raises(ValueError, match=message):
            image_errors(bad_render, bad_truth)
    with pytest.raises(ValueError, match="threads: expected at least 1"):
        image_errors(render, truth, threads=0)
