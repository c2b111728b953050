"""The image loss against torchmetrics in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from gsbench.training.losses import l1_dssim_loss


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    """The references are small: more threads only wait for each other on a busy machine."""
    torch.set_num_threads(1)


def images(height: int = 40, width: int = 56, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    # Not by interpolate(), whose last bits depend on torch's thread count.
    coarse = torch.rand((height // 8 + 1, width // 8 + 1, 3), generator=generator)
    target = coarse.repeat_interleave(8, dim=0).repeat_interleave(8, dim=1)[:height, :width].contiguous()
    image = target + 0.05 * torch.randn(target.shape, generator=generator)
    return image.requires_grad_(), target


def reference(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """L1 and SSIM in float64. torchmetrics reflects at the border; with a frame of zeros, it does so outside of it."""
    x, y = (torch.nn.functional.pad(t.permute(2, 0, 1)[None], (5, 5, 5, 5)) for t in (image, target))
    _, values = structural_similarity_index_measure(x, y, sigma=1.5, data_range=1.0, return_full_image=True)
    return (image - target).abs().mean(), values[..., 5:-5, 5:-5].mean()


@pytest.mark.parametrize("lambda_dssim", [0.0, 0.2, 1.0])
def test_agrees_with_torchmetrics(lambda_dssim: float) -> None:
    image, target = images()
    loss, l1, ssim = l1_dssim_loss(image, target, lambda_dssim)
    loss.backward()
    x = image.detach().double().requires_grad_()
    expected_l1, expected_ssim = reference(x, target.double())
    expected = (1 - lambda_dssim) * expected_l1 + lambda_dssim * (1 - expected_ssim)
    expected.backward()
    for value, wanted in ((loss, expected), (l1, expected_l1), (ssim, expected_ssim)):
        assert value.dtype == torch.float32
        assert value.shape == ()
        assert value.item() == pytest.approx(wanted.item(), rel=1e-6)
    assert image.grad is not None
    assert x.grad is not None
    assert float((image.grad - x.grad).norm() / x.grad.norm()) < 1e-5


def test_every_result_can_be_derived() -> None:
    """The parts too, in any mixture; the loss alone, times anything, takes the short way."""
    weights = (1.7, -0.3, 0.9)
    image, target = images()
    results = l1_dssim_loss(image, target)
    (mixed,) = torch.autograd.grad(sum(w * r for w, r in zip(weights, results, strict=True)), image)  # type: ignore[arg-type]
    x = image.detach().double().requires_grad_()
    l1, ssim = reference(x, target.double())
    loss = 0.8 * l1 + 0.2 * (1 - ssim)
    (expected,) = torch.autograd.grad(weights[0] * loss + weights[1] * l1 + weights[2] * ssim, x)
    assert float((mixed - expected).norm() / expected.norm()) < 1e-5


def test_the_loss_is_linear_in_what_follows() -> None:
    image, target = images()
    (once,) = torch.autograd.grad(l1_dssim_loss(image, target)[0], image)
    (thrice,) = torch.autograd.grad(3.0 * l1_dssim_loss(image, target)[0], image)
    torch.testing.assert_close(thrice, 3.0 * once)


def test_derived_twice_from_one_graph() -> None:
    image, target = images()
    loss = l1_dssim_loss(image, target)[0]
    (first,) = torch.autograd.grad(loss, image, retain_graph=True)
    (second,) = torch.autograd.grad(loss, image)
    assert torch.equal(first, second)


def test_descent_reaches_the_target() -> None:
    image, target = images(24, 24)
    optimizer = torch.optim.Adam([image], lr=0.01)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = l1_dssim_loss(image, target)[0]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_images_in_another_memory_layout() -> None:
    image, target = images()
    planar = image.detach().permute(2, 0, 1).contiguous().permute(1, 2, 0).requires_grad_()
    assert not planar.is_contiguous()
    for x in (image, planar):
        l1_dssim_loss(x, target)[0].backward()
    assert torch.equal(planar.grad, image.grad)  # type: ignore[arg-type]


def test_bytes_do_not_depend_on_torch_threads() -> None:
    results = []
    for threads in (1, 2, 7):
        torch.set_num_threads(threads)
        image, target = images(50, 300)
        values = l1_dssim_loss(image, target)
        values[0].backward()
        assert image.grad is not None
        results.append((*(v.item() for v in values), image.grad.numpy().tobytes()))
    assert results[0] == results[1] == results[2]


def test_without_gradient() -> None:
    image, target = images()
    with torch.no_grad():
        loss, l1, ssim = l1_dssim_loss(image, target)
    assert not loss.requires_grad
    assert float(loss) == pytest.approx(0.8 * float(l1) + 0.2 * (1 - float(ssim)), rel=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (4, 7), (10, 3)])
def test_images_smaller_than_the_window(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    target = torch.rand((*size, 3), generator=generator)
    image = torch.rand((*size, 3), generator=generator).requires_grad_()
    loss, _, _ = l1_dssim_loss(image, target)
    loss.backward()
    assert image.grad is not None
    assert image.grad.isfinite().all()
    assert loss.item() > 0.0


def test_wrong_arguments_are_named() -> None:
    image, target = images()
    with pytest.raises(ValueError, match=r"image: expected shape \[H, W, 3\]"):
        l1_dssim_loss(image.permute(2, 0, 1), target)
    with pytest.raises(ValueError, match=r"target: expected shape"):
        l1_dssim_loss(image, target[1:])
    with pytest.raises(ValueError, match=r"image: expected torch.float32"):
        l1_dssim_loss(image.double(), target)
    with pytest.raises(ValueError, match=r"at least one pixel"):
        l1_dssim_loss(image[:0], target[:0])
    with pytest.raises(ValueError, match=r"target: expected a tensor that requires no gradient"):
        l1_dssim_loss(image, target.requires_grad_())
    with pytest.raises(NotImplementedError, match=r"image: .* not available on meta"):
        l1_dssim_loss(image.to("meta"), target)
