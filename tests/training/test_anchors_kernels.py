"""Gaussians of anchors against the formulas in float64; quantizers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from gsbench.native import cpu_isa, set_cpu_isa
from gsbench.native.anchors import AnchorInputs, anchor_gaussians, anchor_gradients
from gsbench.training.anchors.neural import select_rows
from gsbench.training.quantize import add_noise, straight_mask, straight_round, straight_sign

NAMES = ("offsets", "scales", "opacities", "shapes", "colors", "masks")


@pytest.fixture(params=["baseline", "avx2", "avx512"])
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = cpu_isa()
    try:
        set_cpu_isa(request.param)
    except ValueError as error:
        pytest.skip(str(error))
    yield request.param
    set_cpu_isa(before)


def sample(n: int, k: int, masked: bool = True) -> AnchorInputs:
    g = torch.Generator().manual_seed(n * 100 + k)
    masks = (torch.rand(n, k, generator=g) > 0.3).float() if masked else None
    return AnchorInputs(
        positions=torch.randn(n, 3, generator=g),
        offsets=torch.randn(n, k, 3, generator=g),
        scales=torch.rand(n, 6, generator=g) + 0.1,
        opacities=3.0 * torch.randn(n, k, generator=g),
        shapes=3.0 * torch.randn(n, k, 7, generator=g),
        colors=20.0 * torch.randn(n, k, 3, generator=g),
        masks=masks,
    )


def reference(i: AnchorInputs, leaves: dict[str, Tensor]) -> tuple[Tensor, ...]:
    masks = leaves.get("masks", torch.ones_like(leaves["opacities"]))
    opacities = torch.tanh(leaves["opacities"]) * masks
    live = opacities > 0
    scales = leaves["scales"][:, None, :]
    means = i.positions.double()[:, None] + leaves["offsets"] * scales[..., :3]
    sizes = masks[..., None] * scales[..., 3:] * torch.sigmoid(leaves["shapes"][..., :3])
    quats = leaves["shapes"][..., 3:]
    return means[live], sizes[live], quats[live], opacities[live], torch.sigmoid(leaves["colors"])[live]


@pytest.mark.parametrize(
    ("n", "k", "masked"), [(700, 10, True), (3, 7, True), (1, 1, False), (50, 16, False), (0, 10, True)]
)
def test_values_and_gradients(isa: str, n: int, k: int, masked: bool) -> None:
    inputs = sample(n, k, masked)
    names = NAMES if masked else NAMES[:-1]
    leaves = {name: getattr(inputs, name).double().requires_grad_() for name in names}
    expected = reference(inputs, leaves)
    found = anchor_gaussians(inputs)
    assert torch.equal(found.rows, (found.dense_opacities > 0).reshape(-1).nonzero().squeeze(1))
    assert found.starts.tolist() == [0, *(found.dense_opacities > 0).sum(dim=1).cumsum(0).tolist()]
    values = (found.means, found.scales, found.quats, found.opacities, found.colors)
    for value, wanted in zip(values, expected, strict=True):
        torch.testing.assert_close(value.double(), wanted.detach(), rtol=3e-6, atol=1e-6)

    g = torch.Generator().manual_seed(5)
    weights = [torch.randn(value.shape, generator=g) for value in values]
    if n:
        torch.stack([(e * w.double()).sum() for e, w in zip(expected, weights, strict=True)]).sum().backward()
    gradients = anchor_gradients(inputs, found.rows, found.starts, *weights)
    for name in names:
        wanted = leaves[name].grad if n else torch.zeros_like(leaves[name])
        assert wanted is not None
        torch.testing.assert_close(getattr(gradients, name).double(), wanted, rtol=2e-5, atol=5e-6, msg=name)


def test_same_bytes_for_any_number_of_threads(isa: str) -> None:
    inputs = sample(3000, 10)
    results = []
    for threads in (1, 2, 5):
        found = anchor_gaussians(inputs, threads=threads)
        weights = [torch.ones_like(v) for v in (found.means, found.scales, found.quats, found.opacities, found.colors)]
        gradients = anchor_gradients(inputs, found.rows, found.starts, *weights, threads=threads)
        tensors = [found.means, found.scales, found.opacities, found.colors, found.rows]
        tensors += [getattr(gradients, name) for name in NAMES]
        results.append(b"".join(t.numpy().tobytes() for t in tensors))
    assert results[0] == results[1] == results[2]


def test_nothing_lives() -> None:
    inputs = sample(5, 4)
    found = anchor_gaussians(AnchorInputs(**{**vars(inputs), "masks": torch.zeros(5, 4)}))
    assert found.rows.numel() == 0
    empty = (torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, 3))
    gradients = anchor_gradients(inputs, found.rows, found.starts, *empty)
    assert all(not getattr(gradients, name).any() for name in NAMES)


def test_wrong_tensors_are_named() -> None:
    inputs = sample(5, 4)
    for name, value in {"shapes": torch.zeros(5, 4, 6), "scales": torch.zeros(5, 6, dtype=torch.float64)}.items():
        with pytest.raises(ValueError, match=f"{name}: expected"):
            anchor_gaussians(AnchorInputs(**{**vars(inputs), name: value}))


def test_select_rows_has_the_gradient_of_indexing() -> None:
    values = torch.randn(9, 2, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    index = torch.tensor([7, 0, 3])
    weights = torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(1))
    (expected,) = torch.autograd.grad((values[index] * weights).sum(), values)
    (found,) = torch.autograd.grad((select_rows(values, index) * weights).sum(), values)
    assert torch.equal(expected, found)


def test_rounding_is_straight_through() -> None:
    values = torch.tensor([[0.24, -0.26, 2.0], [0.5, 1.5, -0.1]]).requires_grad_()
    step = torch.tensor([[0.5], [1.0]]).requires_grad_()
    result = straight_round(values, step)
    assert result.tolist() == [[0.0, -0.5, 2.0], [0.0, 2.0, -0.0]]
    weights = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    (result * weights).sum().backward()  # type: ignore[no-untyped-call]
    assert values.grad is not None
    assert step.grad is not None
    assert torch.equal(values.grad, weights)
    assert step.grad.tolist() == [[-1.0 * 2.0 + 4.0 * 3.0], [2.0 * 5.0]]


def test_signs_and_masks() -> None:
    values = torch.tensor([-2.0, -1.0, -0.0, 0.0, 1.0, 1.5]).requires_grad_()
    signs = straight_sign(values)
    assert signs.tolist() == [-1, -1, 1, 1, 1, 1]
    signs.sum().backward()  # type: ignore[no-untyped-call]
    assert values.grad is not None
    assert values.grad.tolist() == [0, 1, 1, 1, 1, 0]

    logits = torch.tensor([-10.0, -4.595, -4.596, 0.0], requires_grad=True)
    masks = straight_mask(logits, 0.01)
    assert masks.tolist() == [0, 1, 0, 1]
    masks.sum().backward()  # type: ignore[no-untyped-call]
    soft = torch.sigmoid(logits.detach())
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, soft * (1 - soft))


def test_noise_has_the_width_of_a_step_and_repeats() -> None:
    values = torch.zeros(2, 50_000)
    step = torch.tensor([[0.5], [3.0]])
    noise = add_noise(values, step, torch.Generator().manual_seed(3))
    assert torch.equal(noise, add_noise(values, step, torch.Generator().manual_seed(3)))
    assert bool((noise.abs() <= 0.5 * step).all())
    torch.testing.assert_close(noise.var(dim=1, keepdim=True), step.square() / 12, rtol=0.02, atol=0)
    torch.testing.assert_close(noise.mean(dim=1), torch.zeros(2), rtol=0, atol=0.02)
