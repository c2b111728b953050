"""Metrics against torchmetrics, the original formula and hand-made cases."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from gsbench import registry
from gsbench.errors import PluginError, UsageError
from gsbench.metrics import (
    DEFAULT_METRICS,
    MetricSpec,
    UndefinedMetricError,
    compute_metrics,
    core_metrics,
    find_metric,
    measure,
    psnr,
    psnr_channelwise,
    ssim,
    unavailable,
)


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    """The references are small: more threads only wait for each other on a busy machine."""
    torch.set_num_threads(1)


def images(height: int = 45, width: int = 70, noise: float = 0.1, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A render that leaves [0, 1] here and there, and the truth."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((height // 8 + 1, width // 8 + 1, 3), generator=generator)
    smooth = coarse.repeat_interleave(8, dim=0).repeat_interleave(8, dim=1)[:height, :width]
    truth = (smooth * 255).to(torch.uint8).contiguous()
    return truth.float() / 255 + noise * torch.randn(truth.shape, generator=generator), truth


@pytest.fixture
def render_and_truth() -> tuple[Tensor, Tensor]:
    return images()


def test_psnr_agrees_with_torchmetrics(render_and_truth: tuple[Tensor, Tensor]) -> None:
    render, truth = render_and_truth
    saved = np.rint(np.clip(render.numpy().astype(np.float64), 0, 1) * 255)  # what a PNG of the render would hold
    expected = peak_signal_noise_ratio(torch.from_numpy(saved), truth.double(), data_range=255.0)
    assert psnr(render, truth) == pytest.approx(float(expected), abs=1e-6)


def test_psnr_by_hand() -> None:
    truth = torch.full((2, 2, 3), 100, dtype=torch.uint8)
    render = truth.float() / 255
    render[0, 0, 0] = 112.4 / 255  # rounds to 112: a squared error of 144 in one of 12 values
    assert psnr(render, truth) == pytest.approx(10 * math.log10(255**2 / 12.0), abs=1e-12)


def test_psnr_channelwise_follows_the_original_code(render_and_truth: tuple[Tensor, Tensor]) -> None:
    render, truth = render_and_truth
    img1, img2 = render.clamp(0, 1).permute(2, 0, 1).double(), (truth.float() / 255).permute(2, 0, 1).double()
    mse = [((a - b) ** 2).mean() for a, b in zip(img1, img2, strict=True)]
    expected = sum(20 * math.log10(1.0 / math.sqrt(float(m))) for m in mse) / 3
    assert psnr_channelwise(render, truth) == pytest.approx(expected, abs=1e-9)


def test_the_two_psnrs_differ_as_defined() -> None:
    """One bad channel: pooling averages errors, the original code averages decibels."""
    truth = torch.full((4, 4, 3), 50, dtype=torch.uint8)
    render = (truth.float() + torch.tensor([1.0, 1.0, 100.0])) / 255
    assert psnr(render, truth) == pytest.approx(10 * math.log10(255**2 * 3 / (1 + 1 + 100**2)), abs=1e-9)
    expected = (2 * 20 * math.log10(255) + 20 * math.log10(2.55)) / 3
    assert psnr_channelwise(render, truth) == pytest.approx(expected, abs=1e-4)


def test_ssim_agrees_with_torchmetrics(render_and_truth: tuple[Tensor, Tensor]) -> None:
    render, truth = render_and_truth
    # torchmetrics reflects at the border; with a frame of zeros, it does so outside of it.
    x, y = (
        torch.nn.functional.pad(t.permute(2, 0, 1)[None].double(), (5, 5, 5, 5))
        for t in (render.clamp(0, 1), truth.float() / 255)
    )
    _, values = structural_similarity_index_measure(x, y, sigma=1.5, data_range=1.0, return_full_image=True)
    assert ssim(render, truth) == pytest.approx(values[..., 5:-5, 5:-5].mean().item(), abs=1e-6)


def test_renders_are_clamped() -> None:
    truth = torch.tensor([0, 255], dtype=torch.uint8).repeat(8, 4, 3).reshape(8, 8, 3)
    clamped = truth.float() / 255
    beyond = torch.where(clamped > 0.5, clamped + 3.0, clamped - 3.0)
    assert ssim(beyond, truth) == ssim(clamped, truth) == pytest.approx(1.0, abs=1e-6)
    for metric in (psnr, psnr_channelwise):
        with pytest.raises(UndefinedMetricError, match="identical images"):
            metric(beyond, truth)


def test_identical_images_have_a_reason_instead_of_infinity() -> None:
    _, truth = images()
    render = truth.float() / 255
    assert measure("psnr", render, truth) == (None, "identical images")
    assert measure("psnr_channelwise", render, truth) == (None, "identical images")
    value, reason = measure("ssim", render, truth)
    assert value == pytest.approx(1.0, abs=1e-6)
    assert reason is None
    # Rounding hides a difference that the float metrics see.
    render[0, 0] += 0.3 / 255
    assert measure("psnr", render, truth) == (None, "identical images")
    assert psnr_channelwise(render, truth) > 80
    # One channel without error makes the mean over channels infinite.
    render = truth.float() / 255
    render[0, 0, 0] += 0.1
    assert measure("psnr_channelwise", render, truth) == (None, "identical images in one channel")


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (10, 200)])
def test_images_smaller_than_the_window(size: tuple[int, int]) -> None:
    render, truth = images(*size)
    values = compute_metrics(["psnr", "psnr_channelwise", "ssim"], render, truth)
    for value in values.values():
        assert value is not None
        assert math.isfinite(value)


def test_other_memory_layouts_give_the_same_values(render_and_truth: tuple[Tensor, Tensor]) -> None:
    render, truth = render_and_truth
    expected = compute_metrics(DEFAULT_METRICS, render, truth)
    planar = render.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    flipped = truth.flip(0).flip(0)
    assert compute_metrics(DEFAULT_METRICS, planar.requires_grad_(), flipped) == expected
    wide = torch.zeros(45, 140, 3)
    wide[:, ::2] = render
    assert compute_metrics(DEFAULT_METRICS, wide[:, ::2], truth) == expected


def test_values_do_not_depend_on_threads(render_and_truth: tuple[Tensor, Tensor]) -> None:
    results = []
    for threads in (1, 2, 7):
        torch.set_num_threads(threads)
        results.append(compute_metrics(DEFAULT_METRICS, *images(300, 400)))
    assert results[0] == results[1] == results[2]


def test_inputs_are_not_changed(render_and_truth: tuple[Tensor, Tensor]) -> None:
    render, truth = render_and_truth
    copies = render.clone(), truth.clone()
    compute_metrics(DEFAULT_METRICS, render, truth)
    assert torch.equal(render, copies[0])
    assert torch.equal(truth, copies[1])


def test_lpips_is_null_with_its_reason(render_and_truth: tuple[Tensor, Tensor]) -> None:
    reason = unavailable("lpips_vgg")
    assert reason is not None
    assert "LPIPS weights" in reason
    values = compute_metrics(DEFAULT_METRICS, *render_and_truth)
    assert list(values) == list(DEFAULT_METRICS)
    for name in DEFAULT_METRICS[3:]:
        assert values[name] is None
        assert measure(name, *render_and_truth) == (None, reason)
    assert all(values[name] is not None for name in DEFAULT_METRICS[:3])
    assert all(unavailable(name) is None for name in DEFAULT_METRICS[:3])


@pytest.mark.parametrize("name", ["psnr", "psnr_channelwise", "ssim"])
def test_wrong_images_are_named(name: str) -> None:
    render, truth = images(8, 9)
    cases = [
        (render.double(), truth, r"render: expected torch.float32"),
        (render, truth.float(), r"truth: expected torch.uint8"),
        (render[:, :, :2], truth, r"render: expected shape \[H, W, 3\]"),
        (render, truth[0], r"truth: expected shape \[H, W, 3\]"),
        (render[:0], truth[:0], r"at least one pixel, got \[0, 9, 3\]"),
        (render[1:], truth, r"render: expected the size of the truth, \[8, 9, 3\], got \[7, 9, 3\]"),
        (torch.where(render > 0.5, math.nan, render), truth, r"render: expected finite values, got \d+ of 216"),
        (torch.full_like(render, math.inf), truth, r"render: expected finite values, got 216 of 216"),
    ]
    for bad_render, bad_truth, message in cases:
        with pytest.raises(ValueError, match=message):
            measure(name, bad_render, bad_truth)


def test_unknown_metric() -> None:
    with pytest.raises(UsageError, match=r"unknown metric 'psrn'; did you mean 'psnr'"):
        find_metric("psrn")


@pytest.fixture
def plugin_metrics() -> Iterator[None]:
    origin = "test-metrics"
    for name, function in (("always_seven", "seven"), ("always_inf", "infinity")):
        spec = MetricSpec(name, f"{__name__}:{function}", "for tests", higher_is_better=True)
        registry.metrics.register(name, spec, origin)
    yield
    registry.metrics.unregister_origin(origin)


def seven(render: Tensor, truth: Tensor) -> float:
    assert render.is_contiguous()
    assert truth.is_contiguous()
    return 7.0


def infinity(render: Tensor, truth: Tensor) -> float:
    return math.inf


@pytest.mark.usefixtures("plugin_metrics")
def test_registered_metrics_are_found(render_and_truth: tuple[Tensor, Tensor]) -> None:
    render, truth = render_and_truth
    assert measure("always_seven", render.flip(1), truth.flip(1)) == (7.0, None)
    value, reason = measure("always_inf", render, truth)
    assert value is None
    assert reason == "always_inf gave inf, which is not a finite number"
    with pytest.raises(UsageError, match="always_seven"):
        find_metric("always_sevn")


def test_specs() -> None:
    specs = {spec.name: spec for spec in core_metrics()}
    assert set(DEFAULT_METRICS) <= set(specs)
    assert [specs[name].higher_is_better for name in DEFAULT_METRICS] == [True] * 3 + [False] * 3
    for spec in specs.values():
        assert callable(registry.resolve_target(spec.target))
        assert spec.summary
    for arguments in (("Not OK", "a:b"), ("ok", "a.b"), ("ok", "")):
        with pytest.raises(PluginError):
            MetricSpec(*arguments, summary="", higher_is_better=True)
    with pytest.raises(PluginError, match="availability"):
        MetricSpec("ok", "a:b", summary="", higher_is_better=True, availability="nonsense")


def test_listing_imports_no_torch() -> None:
    code = (
        "import sys; from gsbench.metrics import core_metrics, find_metric, unavailable, DEFAULT_METRICS;"
        "core_metrics(); [find_metric(n) for n in DEFAULT_METRICS]; unavailable('lpips_vgg');"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
