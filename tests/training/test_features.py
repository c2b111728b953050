"""Spherical harmonics from two tensors, against torch.cat."""

from __future__ import annotations

import pytest
import torch

from gsbench.training.features import joined_features


#: The pool serves tensors from a few thousand Gaussians on; without higher degrees there is nothing to join.
@pytest.mark.parametrize(("count", "rest"), [(0, 15), (1, 15), (7, 3), (5, 0), (6_000, 15)])
def test_as_torch_cat(count: int, rest: int) -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(count, bases, 3, generator=generator).requires_grad_() for bases in (1, rest)]
    copies = [part.detach().clone().requires_grad_() for part in parts]
    outer = torch.randn(count, 1 + rest, 3, generator=generator)
    joined, expected = joined_features(*parts), torch.cat(copies, dim=1)
    assert torch.equal(joined, expected)
    assert joined.is_contiguous()
    joined.backward(outer)
    expected.backward(outer)
    for part, copy in zip(parts, copies, strict=True):
        assert part.grad is not None
        assert copy.grad is not None
        assert torch.equal(part.grad, copy.grad)
        assert part.grad.is_contiguous()


def test_gradients_are_their_own() -> None:
    """Memory is used again only when nobody holds it any more."""
    dc, rest = torch.zeros(6_000, 1, 3, requires_grad=True), torch.zeros(6_000, 15, 3, requires_grad=True)
    joined_features(dc, rest).sum().backward()
    kept = rest.grad
    assert kept is not None
    dc.grad = rest.grad = None
    for factor in (2.0, 3.0):
        (factor * joined_features(dc, rest)).sum().backward()
    assert torch.equal(kept, torch.ones_like(kept))
    assert rest.grad is not None
    assert torch.equal(rest.grad, torch.full_like(kept, 5.0))


def test_other_dtypes() -> None:
    dc, rest = torch.zeros(2, 1, 3, dtype=torch.float64), torch.ones(2, 3, 3, dtype=torch.float64)
    assert joined_features(dc, rest).dtype == torch.float64
