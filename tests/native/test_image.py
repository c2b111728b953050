"""The native image loss against scipy and a float64 reference."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torch import Tensor

from gsbench.native import cpu_isa, image_loss, set_cpu_isa
from gsbench.native._library import call

#: 480 is two strips of the kernel, 700 three of unequal width; the small ones are narrower than the window.
SIZES = [(1, 1), (1, 40), (40, 1), (3, 2), (11, 11), (23, 31), (9, 480), (70, 270), (17, 700)]


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    """The references are small: more threads only wait for each other on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(params=["baseline", "avx2", "avx512"])
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = cpu_isa()
    try:
        set_cpu_isa(request.param)
    except ValueError as error:
        pytest.skip(str(error))
    yield request.param
    set_cpu_isa(before)


def photo_and_render(height: int, width: int, seed: int = 0, noise: float = 0.05) -> tuple[Tensor, Tensor]:
    """Edges and gradients, and a noisy version of them."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((height // 8 + 1, width // 8 + 1, 3), generator=generator)
    target = coarse.repeat_interleave(8, dim=0).repeat_interleave(8, dim=1)[:height, :width]
    target = (target * torch.linspace(0.5, 1.0, width)[:, None]).contiguous()
    return target + noise * torch.randn(target.shape, generator=generator), target


def reference(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """L1 and SSIM in float64, written as in the paper, with a dense window."""
    t = torch.arange(-5, 6, dtype=torch.float64)
    window = torch.exp(-(t**2) / (2 * 1.5**2))
    window = (window / window.sum()).outer(window / window.sum()).expand(3, 1, 11, 11)

    def blur(values: Tensor) -> Tensor:
        return torch.nn.functional.conv2d(values, window, padding=5, groups=3)

    x, y = image.permute(2, 0, 1)[None], target.permute(2, 0, 1)[None]
    mx, my = blur(x), blur(y)
    vx, vy, cxy = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    ssim = (2 * mx * my + c1) * (2 * cxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return (x - y).abs().mean(), ssim.mean()


def reference_gradient(image: Tensor, target: Tensor, l1_weight: float, ssim_weight: float) -> Tensor:
    x = image.double().requires_grad_()
    l1, ssim = reference(x, target.double())
    (l1_weight * l1 + ssim_weight * ssim).backward()
    assert x.grad is not None
    return x.grad


def scipy_ssim(image: Tensor, target: Tensor) -> float:
    def blur(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, sigma=(1.5, 1.5, 0), truncate=3.5, mode="constant")

    x, y = image.double().numpy(), target.double().numpy()
    mx, my = blur(x), blur(y)
    vx, vy, cxy = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    ssim = (2 * mx * my + 1e-4) * (2 * cxy + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
    return float(ssim.mean())


@pytest.mark.parametrize("size", SIZES)
def test_values_agree_with_scipy(isa: str, size: tuple[int, int]) -> None:
    image, target = photo_and_render(*size)
    result = image_loss(image, target)
    assert result.gradient is None
    assert result.l1 == pytest.approx(float((image.double() - target.double()).abs().mean()), rel=1e-6)
    assert result.ssim == pytest.approx(scipy_ssim(image, target), abs=3e-7)


@pytest.mark.parametrize("weights", [(0.8, -0.2), (1.0, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("size", SIZES)
def test_gradient_agrees_with_autograd_in_float64(
    isa: str, size: tuple[int, int], weights: tuple[float, float]
) -> None:
    image, target = photo_and_render(*size)
    result = image_loss(image, target, l1_weight=weights[0], ssim_weight=weights[1], gradient=True)
    expected = reference_gradient(image, target, *weights)
    assert result.gradient is not None
    assert float((result.gradient - expected).norm() / expected.norm()) < 2e-5
    assert float((result.gradient - expected).abs().max() / expected.abs().max()) < 1e-4


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 60),
    seed=st.integers(0, 1000),
    noise=st.sampled_from([0.0, 0.004, 0.05, 1.0]),
)
def test_any_size(height: int, width: int, seed: int, noise: float) -> None:
    image, target = photo_and_render(height, width, seed, noise)
    result = image_loss(image, target, l1_weight=0.8, ssim_weight=-0.2, gradient=True, threads=3)
    l1, ssim = reference(image.double(), target.double())
    assert result.l1 == pytest.approx(float(l1), rel=1e-5, abs=1e-12)
    assert result.ssim == pytest.approx(float(ssim), abs=2e-6)
    expected = reference_gradient(image, target, 0.8, -0.2)
    assert result.gradient is not None
    # In units of the L1 gradient of a pixel: where both images are equal there is nothing else to compare with.
    scale = 0.8 / expected.numel()
    assert float((result.gradient - expected).abs().max()) < 1e-4 * float(expected.abs().max()) + 2e-3 * scale


def test_saturated_flat_regions_stay_accurate(isa: str) -> None:
    """A white background is where the variances cancel worst: E[x^2] - E[x]^2 near 1 - 1."""
    generator = torch.Generator().manual_seed(3)
    target = torch.ones(64, 64, 3)
    image = target - torch.rand(target.shape, generator=generator) / 255.0
    result = image_loss(image, target, ssim_weight=1.0, gradient=True)
    expected = reference_gradient(image, target, 0.0, 1.0)
    assert result.ssim == pytest.approx(scipy_ssim(image, target), abs=1e-4)
    assert result.gradient is not None
    assert float((result.gradient - expected).norm() / expected.norm()) < 1e-3


@pytest.mark.parametrize("size", [(1, 1), (7, 40), (67, 480), (40, 700)])
def test_same_bytes_for_any_number_of_threads(isa: str, size: tuple[int, int]) -> None:
    image, target = photo_and_render(*size)
    results = [
        image_loss(image, target, l1_weight=0.8, ssim_weight=-0.2, gradient=True, threads=threads)
        for threads in (1, 2, 3, 7, 1)
    ]
    for other in results[1:]:
        assert (other.l1, other.ssim) == (results[0].l1, results[0].ssim)
        assert other.gradient is not None
        assert results[0].gradient is not None
        assert other.gradient.numpy().tobytes() == results[0].gradient.numpy().tobytes()


def test_means_do_not_depend_on_the_gradient(isa: str) -> None:
    image, target = photo_and_render(61, 500)
    with_gradient = image_loss(image, target, l1_weight=1.0, ssim_weight=1.0, gradient=True, threads=2)
    without = image_loss(image, target, threads=1)
    assert (with_gradient.l1, with_gradient.ssim) == (without.l1, without.ssim)


def test_instruction_sets_agree() -> None:
    image, target = photo_and_render(50, 333)
    before = cpu_isa()
    results = []
    for name in ("baseline", "avx2", "avx512"):
        try:
            set_cpu_isa(name)
        except ValueError:
            continue
        results.append(image_loss(image, target, l1_weight=0.8, ssim_weight=-0.2, gradient=True))
    set_cpu_isa(before)
    for other in results[1:]:
        assert other.ssim == pytest.approx(results[0].ssim, abs=1e-6)
        assert other.l1 == pytest.approx(results[0].l1, rel=1e-6)
        torch.testing.assert_close(other.gradient, results[0].gradient, rtol=0, atol=5e-4 / image.numel())


def test_equal_images(isa: str) -> None:
    _, target = photo_and_render(30, 50)
    result = image_loss(target, target.clone(), l1_weight=1.0, gradient=True)
    assert result.l1 == 0.0
    assert result.ssim == pytest.approx(1.0, abs=1e-7)
    assert result.gradient is not None
    assert not result.gradient.any()  # the subgradient of |x| at 0 is 0


def test_nan_reaches_the_loss(isa: str) -> None:
    image, target = photo_and_render(30, 50)
    image[3, 4, 1] = math.nan
    result = image_loss(image, target)
    assert math.isnan(result.l1)
    assert math.isnan(result.ssim)


def test_neighboring_memory_is_not_touched(isa: str) -> None:
    """Inputs and output in the middle of larger buffers full of NaN: nothing beyond them is read or written."""
    height, width = 13, 21
    image, target = photo_and_render(height, width)
    expected = image_loss(image, target, l1_weight=0.8, ssim_weight=-0.2, gradient=True)
    count = image.numel()
    buffers = torch.full((2, count + 200), math.nan)
    buffers[0, 100 : 100 + count] = image.flatten()
    buffers[1, 100 : 100 + count] = target.flatten()
    views = [b[100 : 100 + count].view(height, width, 3) for b in buffers]
    result = image_loss(views[0], views[1], l1_weight=0.8, ssim_weight=-0.2, gradient=True)
    assert (result.l1, result.ssim) == (expected.l1, expected.ssim)
    assert result.gradient is not None
    assert torch.equal(result.gradient, expected.gradient)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("image", "target", "threads", "message"),
    [
        (torch.zeros(4, 5), torch.zeros(4, 5), 1, r"image: expected shape \[H, W, 3\], got \[4, 5\]"),
        (torch.zeros(4, 5, 4), torch.zeros(4, 5, 4), 1, r"image: expected shape \[H, W, 3\]"),
        (torch.zeros(4, 5, 3), torch.zeros(4, 6, 3), 1, r"target: expected shape \[4, 5, 3\], got \[4, 6, 3\]"),
        (torch.zeros(4, 5, 3).double(), torch.zeros(4, 5, 3), 1, r"image: expected torch.float32"),
        (torch.zeros(4, 5, 3), torch.zeros(4, 5, 3, dtype=torch.uint8), 1, r"target: expected torch.float32"),
        (torch.zeros(5, 4, 3).transpose(0, 1), torch.zeros(4, 5, 3), 1, r"image: expected a contiguous tensor"),
        (torch.zeros(0, 5, 3), torch.zeros(0, 5, 3), 1, r"expected at least one pixel, got 5 x 0"),
        (torch.zeros(4, 0, 3), torch.zeros(4, 0, 3), 1, r"expected at least one pixel"),
        (torch.zeros(4, 5, 3), torch.zeros(4, 5, 3), 0, r"threads: expected at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_named(image: Tensor, target: Tensor, threads: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        image_loss(image, target, threads=threads)


def test_the_library_checks_sizes_itself() -> None:
    with pytest.raises(ValueError, match="too large"):
        call("gsb_image_loss_sizes", 2**31, 2**31, 1, None)
    with pytest.raises(ValueError, match=r"workspace: expected \d+ bytes, got 10"):
        call("gsb_image_loss_run", None, None, 4, 4, 0.0, 0.0, None, None, None, 10, 1)
