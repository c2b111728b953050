"""FusedAdam against torch.optim.Adam."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from gsbench.training.optim import FusedAdam

SHAPES = [(1000, 3), (777,), (50, 15, 3), (0, 3), ()]


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    """The references are small: more threads only wait for each other on a busy machine."""
    torch.set_num_threads(1)


def parameters(seed: int = 0) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def groups(params: list[torch.nn.Parameter]) -> list[dict[str, Any]]:
    """One group for each, as trainers of splats have it."""
    return [
        {"params": [p], "name": f"p{i}", "lr": 0.01 / (i + 1), "eps": 1e-15 if i % 2 else 1e-8}
        for i, p in enumerate(params)
    ]


def set_gradients(params: list[torch.nn.Parameter], step: int) -> None:
    """Gradients that pull to zero, with noise, of very different sizes, and exactly 0 for a part."""
    generator = torch.Generator().manual_seed(step)
    for i, p in enumerate(params):
        noise = torch.randn(p.shape, generator=generator)
        p.grad = (p.detach() + noise) * 10.0 ** (-2 * i) * (noise > -1)


def train(optimizer: torch.optim.Optimizer, params: list[torch.nn.Parameter], steps: range) -> None:
    for step in steps:
        set_gradients(params, step)
        optimizer.step()


def assert_same_training(ours: list[torch.nn.Parameter], theirs: list[torch.nn.Parameter]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.9), (0.5, 0.5)])
def test_follows_torch_over_hundreds_of_steps(betas: tuple[float, float]) -> None:
    ours, theirs = parameters(), parameters()
    fused = FusedAdam(groups(ours), betas=betas)
    adam = torch.optim.Adam(groups(theirs), betas=betas)
    # The gradients depend on the parameters: a wrong update would be fed back.
    train(fused, ours, range(400))
    train(adam, theirs, range(400))
    assert_same_training(ours, theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert set(fused.state[a]) == set(adam.state[b]) == {"step", "exp_avg", "exp_avg_sq"}
        assert torch.equal(fused.state[a]["step"], adam.state[b]["step"])
        assert fused.state[a]["step"].dtype == adam.state[b]["step"].dtype
        torch.testing.assert_close(fused.state[a]["exp_avg"], adam.state[b]["exp_avg"], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(fused.state[a]["exp_avg_sq"], adam.state[b]["exp_avg_sq"], rtol=1e-5, atol=1e-9)


def test_bytes_do_not_depend_on_torch_threads() -> None:
    results = []
    for threads in (1, 2, 7):
        torch.set_num_threads(threads)
        large = torch.nn.Parameter(torch.linspace(-1, 1, 300_000))
        optimizer = FusedAdam([large], lr=0.01)
        train(optimizer, [large], range(3))
        results.append(large.detach().numpy().tobytes())
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("direction", ["to ours", "to torch's"])
def test_state_dicts_are_interchangeable(direction: str) -> None:
    first, second = (torch.optim.Adam, FusedAdam) if direction == "to ours" else (FusedAdam, torch.optim.Adam)
    ours, theirs = parameters(), parameters()
    begun = first(groups(ours), lr=0.005)
    train(begun, ours, range(20))
    continued = second(groups(ours), lr=0.005)
    continued.load_state_dict(copy.deepcopy(begun.state_dict()))
    train(continued, ours, range(20, 40))
    whole = torch.optim.Adam(groups(theirs), lr=0.005)
    train(whole, theirs, range(40))
    assert_same_training(ours, theirs)


def test_resumed_training_is_the_same_to_the_bit() -> None:
    once, twice = parameters(), parameters()
    optimizer = FusedAdam(groups(once))
    train(optimizer, once, range(30))
    first = FusedAdam(groups(twice))
    train(first, twice, range(13))
    second = FusedAdam(groups(twice))
    second.load_state_dict(first.state_dict())
    assert [g["name"] for g in second.param_groups] == [f"p{i}" for i in range(len(SHAPES))]
    train(second, twice, range(13, 30))
    for a, b in zip(once, twice, strict=True):
        assert torch.equal(a, b)


def other_kinds() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {
        "float64": torch.randn(40, 3, generator=generator, dtype=torch.float64),
        "transposed": torch.randn(40, 3, generator=generator).T,
        "strided": torch.randn(80, generator=generator)[::2],
    }


@pytest.mark.parametrize("kind", list(other_kinds()))
def test_parameters_of_other_kinds_follow_torch_too(kind: str) -> None:
    ours, theirs = (torch.nn.Parameter(other_kinds()[kind]) for _ in range(2))
    train(FusedAdam([ours], lr=0.01), [ours], range(100))
    train(torch.optim.Adam([theirs], lr=0.01), [theirs], range(100))
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_expanded_gradients() -> None:
    """sum() has a gradient of stride 0."""
    ours, theirs = (torch.nn.Parameter(torch.linspace(0, 1, 33)) for _ in range(2))
    for p, optimizer in ((ours, FusedAdam([ours])), (theirs, torch.optim.Adam([theirs]))):
        p.sum().backward()
        optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_learning_rates_that_change() -> None:
    ours, theirs = parameters(), parameters()
    for params, optimizer in ((ours, FusedAdam(ours)), (theirs, torch.optim.Adam(theirs))):
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        for step in range(10):
            train(optimizer, params, range(step, step + 1))
            schedule.step()
    assert_same_training(ours, theirs)


def test_parameters_without_gradient_are_left_alone() -> None:
    moved, still = (torch.nn.Parameter(torch.ones(5)) for _ in range(2))
    optimizer = FusedAdam([moved, still])
    moved.grad = torch.ones(5)
    optimizer.step()
    assert torch.equal(still, torch.ones(5))
    assert still not in optimizer.state
    assert not torch.equal(moved, torch.ones(5))


def test_closure() -> None:
    parameter = torch.nn.Parameter(torch.tensor([3.0]))
    optimizer = FusedAdam([parameter], lr=0.1)

    def closure() -> float:
        optimizer.zero_grad()
        loss = parameter.square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 9.0
    assert parameter.item() == pytest.approx(2.9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, "lr: expected 0 or more"),
        ({"lr": float("nan")}, "lr: expected 0 or more"),
        ({"eps": -1e-8}, "eps: expected 0 or more"),
        ({"betas": (0.9, 1.0)}, "betas: expected two values"),
        ({"betas": (0.9,)}, "betas: expected two values"),
    ],
)
def test_wrong_hyperparameters_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FusedAdam([torch.nn.Parameter(torch.ones(2))], **options)
    with pytest.raises(ValueError, match=message):
        FusedAdam([{"params": [torch.nn.Parameter(torch.ones(2))], **options}])


@pytest.mark.parametrize("option", [{"weight_decay": 0.1}, {"amsgrad": True}, {"maximize": True}])
def test_what_it_does_not_do_is_refused(option: dict[str, Any]) -> None:
    """In a group, and in the state dict of a torch.optim.Adam that did it."""
    parameter = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(NotImplementedError, match=next(iter(option))):
        FusedAdam([{"params": [parameter], **option}])
    adam = torch.optim.Adam([parameter], **option)
    with pytest.raises(NotImplementedError, match=next(iter(option))):
        FusedAdam([parameter]).load_state_dict(adam.state_dict())


def test_gradients_and_parameters_that_cannot_be() -> None:
    parameter = torch.nn.Parameter(torch.ones(4))
    parameter.grad = torch.sparse_coo_tensor(torch.tensor([[1]]), torch.tensor([1.0]), (4,), check_invariants=True)
    with pytest.raises(NotImplementedError, match="dense gradients only"):
        FusedAdam([parameter]).step()
    parameter = torch.nn.Parameter(torch.ones(4, dtype=torch.complex64))
    parameter.grad = torch.ones(4, dtype=torch.complex64)
    with pytest.raises(NotImplementedError, match="real parameters only"):
        FusedAdam([parameter]).step()
