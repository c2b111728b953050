from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from gsbench.splats import Splats


def fields(n: int = 4, bases: int = 9) -> dict[str, torch.Tensor]:
    return {
        "means": torch.zeros(n, 3),
        "log_scales": torch.zeros(n, 3),
        "quats": torch.zeros(n, 4),
        "opacity_logits": torch.zeros(n),
        "sh": torch.zeros(n, bases, 3),
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"means": torch.zeros(4, 2)}, r"means: expected shape \[4, 3\], got \[4, 2\]"),
        ({"means": torch.zeros(())}, r"means: expected shape \[-1, 3\], got \[\]"),
        ({"means": torch.zeros(5, 3)}, r"log_scales: expected shape \[5, 3\], got \[4, 3\]"),
        ({"log_scales": torch.zeros(4)}, r"log_scales: expected shape \[4, 3\], got \[4\]"),
        ({"quats": torch.zeros(4, 3)}, r"quats: expected shape \[4, 4\], got \[4, 3\]"),
        ({"opacity_logits": torch.zeros(4, 1)}, r"opacity_logits: expected shape \[4\], got \[4, 1\]"),
        ({"sh": torch.zeros(4, 27)}, r"sh: expected shape \[4, 'K', 3\], got \[4, 27\]"),
        ({"sh": torch.zeros(4, 9, 4)}, r"sh: expected shape \[4, 'K', 3\], got \[4, 9, 4\]"),
        ({"sh": torch.zeros(4, 8, 3)}, r"sh: expected K in \(1, 4, 9, 16, 25\), got 8"),
        ({"quats": torch.zeros(4, 4).double()}, "quats: expected float32, got torch.float64"),
        ({"sh": torch.zeros(4, 9, 3).half()}, "sh: expected float32, got torch.float16"),
        ({"opacity_logits": torch.zeros(4, dtype=torch.int32)}, "opacity_logits: expected float32, got torch.int32"),
    ],
)
def test_wrong_fields(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Splats(**{**fields(), **changes})


@pytest.mark.parametrize(("bases", "degree"), [(1, 0), (4, 1), (9, 2), (16, 3), (25, 4)])
def test_degrees(bases: int, degree: int) -> None:
    splats = Splats(**fields(2, bases))
    assert (len(splats), splats.sh_degree) == (2, degree)
    assert (len(Splats.empty(degree)), Splats.empty(degree).sh_degree) == (0, degree)


@pytest.mark.parametrize("degree", [-1, 5])
def test_no_such_degree(degree: int) -> None:
    with pytest.raises(ValueError, match=f"sh_degree: expected 0 to 4, got {degree}"):
        Splats.empty(degree)


def test_activations() -> None:
    splats = Splats(
        **{
            **fields(3),
            "log_scales": torch.tensor([[0.0, math.log(2.0), -math.inf]] * 3),
            "opacity_logits": torch.tensor([math.inf, -math.inf, math.log(3.0)]),
        }
    )
    torch.testing.assert_close(splats.scales[0], torch.tensor([1.0, 2.0, 0.0]))
    assert splats.opacities.tolist()[:2] == [1.0, 0.0]
    assert float(splats.opacities[2]) == pytest.approx(0.75)


def test_nothing_is_copied_or_changed() -> None:
    # What goes in comes out: the same tensors, in the graph if they were.
    values = {name: tensor.requires_grad_() for name, tensor in fields().items()}
    splats = Splats(**values)
    for name, tensor in values.items():
        assert getattr(splats, name) is tensor
    (splats.scales.sum() + splats.opacities.sum()).backward()
    assert torch.equal(values["log_scales"].grad, torch.ones(4, 3))
    assert torch.equal(values["opacity_logits"].grad, torch.full((4,), 0.25))


def test_to_keeps_every_field() -> None:
    values = {name: torch.randn_like(tensor) for name, tensor in fields().items()}
    moved = Splats(**values).to("cpu")
    for name, tensor in values.items():
        assert torch.equal(getattr(moved, name), tensor)


def test_comparison_is_by_identity() -> None:
    # Comparing tensors field by field would raise; Splats can be keys and members.
    a, b = Splats(**fields()), Splats(**fields())
    assert a != b
    assert len({a, b}) == 2
