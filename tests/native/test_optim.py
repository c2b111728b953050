"""The native Adam step against the formula in float64."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from gsbench.native import AdamUpdate, adam_step, adam_steps, cpu_isa, set_cpu_isa


@pytest.fixture(params=["baseline", "avx2", "avx512"])
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = cpu_isa()
    try:
        set_cpu_isa(request.param)
    except ValueError as error:
        pytest.skip(str(error))
    yield request.param
    set_cpu_isa(before)


def state(count: int, seed: int = 0) -> list[Tensor]:
    """parameter, gradient, exp_avg, exp_avg_sq."""
    generator = torch.Generator().manual_seed(seed)
    tensors = [torch.randn(count, generator=generator) for _ in range(4)]
    tensors[3] = tensors[3].square() * 0.1
    return tensors


@pytest.mark.parametrize("count", [0, 1, 3, 4, 15, 16, 17, 4095, 4096, 4097, 70001])
def test_one_step_follows_the_paper(isa: str, count: int) -> None:
    parameter, gradient, mean, square = state(count)
    lr, (b1, b2), eps, step = 0.01, (0.9, 0.999), 1e-8, 5
    g = gradient.double()
    m = b1 * mean.double() + (1 - b1) * g
    v = b2 * square.double() + (1 - b2) * g * g
    p = parameter.double() - lr * (m / (1 - b1**step)) / ((v / (1 - b2**step)).sqrt() + eps)
    adam_step(parameter, gradient, mean, square, lr=lr, betas=(b1, b2), eps=eps, step=step)
    torch.testing.assert_close(mean.double(), m, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(square.double(), v, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(parameter.double(), p, rtol=1e-6, atol=1e-7)
    assert torch.equal(gradient.double(), g)


def test_same_bytes_for_any_number_of_threads(isa: str) -> None:
    results = []
    for threads in (1, 2, 7):
        tensors = state(300_001)
        for step in range(1, 4):
            adam_step(*tensors, lr=1e-3, betas=(0.9, 0.999), eps=1e-15, step=step, threads=threads)
        results.append(b"".join(t.numpy().tobytes() for t in tensors))
    assert results[0] == results[1] == results[2]


def test_elements_do_not_depend_on_their_place(isa: str) -> None:
    """The last elements of an array, which do not fill a vector, are updated as all others."""
    whole = state(64)
    part = [t[:61].clone() for t in whole]
    for tensors in (whole, part):
        adam_step(*tensors, lr=1e-3, betas=(0.9, 0.999), eps=1e-15, step=1)
    for a, b in zip(whole, part, strict=True):
        assert torch.equal(a[:61], b)


def test_neighboring_memory_is_not_touched(isa: str) -> None:
    buffers = [torch.full((100,), 7.0) for _ in range(4)]
    views = [b[50:63] for b in buffers]
    for view, values in zip(views, state(13), strict=True):
        view.copy_(values)
    adam_step(*views, lr=1e-3, betas=(0.9, 0.999), eps=1e-15, step=1)
    for b in buffers:
        assert (b[:50] == 7.0).all()
        assert (b[63:] == 7.0).all()


def test_no_gradient_from_the_start_changes_nothing(isa: str) -> None:
    parameter = state(100)[0]
    before = parameter.clone()
    zeros = [torch.zeros(100) for _ in range(3)]
    adam_step(parameter, *zeros, lr=1e-3, betas=(0.9, 0.999), eps=1e-15, step=1)
    assert torch.equal(parameter, before)


def test_autograd_notices_the_change() -> None:
    tensors = state(10)
    versions = [t._version for t in tensors]
    adam_step(*tensors, lr=1e-3, betas=(0.9, 0.999), eps=1e-15, step=1)
    changed = [t._version > v for t, v in zip(tensors, versions, strict=True)]
    assert changed == [True, False, True, True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"betas": (1.0, 0.999)}, r"betas: expected values in \[0, 1\)"),
        ({"betas": (0.9, float("nan"))}, r"betas: expected values in \[0, 1\)"),
        ({"step": 0}, "step: expected at least 1"),
        ({"threads": 0}, "threads: expected at least 1"),
    ],
)
def test_wrong_hyperparameters_are_named(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "step": 1, "threads": 1}
    with pytest.raises(ValueError, match=message):
        adam_step(*state(10), **{**arguments, **change})  # type: ignore[arg-type]


def test_wrong_tensors_are_named() -> None:
    parameter, gradient, mean, square = state(10)
    options = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "step": 1}
    with pytest.raises(ValueError, match=r"gradient: expected shape \[10\], got \[9\]"):
        adam_step(parameter, gradient[:9], mean, square, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"exp_avg_sq: expected torch.float32"):
        adam_step(parameter, gradient, mean, square.double(), **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"parameter: expected a contiguous tensor"):
        adam_step(state(20)[0][::2], gradient, mean, square, **options)  # type: ignore[arg-type]


SIZES = (0, 1, 17, 4096, 4097, 70_001, 3, 150_000)


def updates(sizes: tuple[int, ...] = SIZES) -> list[AdamUpdate]:
    """Of tensors of these sizes, each with its own hyperparameters."""
    return [
        AdamUpdate(*state(size, seed=k), lr=0.01 / (k + 1), betas=(0.9 - 0.1 * k, 0.99), eps=1e-8, step=k + 1)
        for k, size in enumerate(sizes)
    ]


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_many_tensors_at_once_are_as_one_by_one(isa: str, threads: int) -> None:
    together, apart = updates(), updates()
    adam_steps(together, threads=threads)
    for parameter, gradient, mean, square, lr, betas, eps, step in apart:
        adam_step(parameter, gradient, mean, square, lr=lr, betas=betas, eps=eps, step=step, threads=1)
    for one, other in zip(together, apart, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one[:4], other[:4], strict=True))


def test_no_tensors() -> None:
    adam_steps([])


def test_one_bad_update_and_none_is_made() -> None:
    good, bad = updates((10, 20))
    before = good.parameter.clone()
    for wrong in (bad._replace(step=0), bad._replace(exp_avg=bad.exp_avg[1:]), bad._replace(betas=(0.9, 1.0))):
        with pytest.raises(ValueError, match=r"step|exp_avg|betas"):
            adam_steps([good, wrong])
    assert torch.equal(good.parameter, before)
    assert good.parameter._version == 0
