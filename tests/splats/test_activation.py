from __future__ import annotations

import torch

from gsbench.splats.activation import logistic


def test_the_function_and_its_gradient() -> None:
    x = torch.linspace(-30.0, 30.0, 4001)
    logits = x.clone().requires_grad_()
    value = logistic(logits)
    value.sum().backward()
    exact = x.double().sigmoid()
    torch.testing.assert_close(value.detach().double(), exact, rtol=3e-7, atol=0)
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad.double(), exact * (1 - exact), rtol=3e-7, atol=1e-7)


def test_the_ends() -> None:
    logits = torch.tensor([-torch.inf, -1e30, -200.0, 200.0, 1e30, torch.inf], requires_grad=True)
    value = logistic(logits)
    assert value.tolist() == [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    value.sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [0.0] * 6
    assert logistic(torch.empty(0, 1)).shape == (0, 1)
    assert torch.isnan(logistic(torch.tensor([torch.nan]))).all()


def test_the_same_bits_for_any_number_of_threads() -> None:
    logits = 3.0 * torch.randn(100_007, generator=torch.Generator().manual_seed(0))
    torch.set_num_threads(1)
    one = logistic(logits)
    for threads in (2, 3, 4, 7):
        torch.set_num_threads(threads)
        assert torch.equal(logistic(logits), one)
