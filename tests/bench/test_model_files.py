"""A trained model survives the way to disk and back, or is refused with the place that cannot."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gsbench.bench import model_files
from gsbench.bench.model_files import load_state, save_state
from gsbench.errors import JobError


def test_tensors_of_every_kind(tmp_path: Path) -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    state: dict[str, Any] = {
        "plain": whole,
        "transposed": whole.T,
        "part": whole[1:3, ::2],
        "same": whole,
        "parameter": torch.nn.Parameter(whole + 1),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "flags": torch.tensor([True, False]),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "bytes": torch.tensor([255, 0], dtype=torch.uint8),
        "nested": {"deeper": [whole[0], {"x": whole[1]}]},
        "a": {"b": torch.ones(1)},
        "a.b": torch.zeros(1),
    }
    save_state(state, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(model_files.FILES)
    found = load_state(tmp_path)
    assert list(found) == list(state)
    for name in ("plain", "transposed", "part", "same", "parameter", "empty", "scalar", "flags", "half", "bytes"):
        assert torch.equal(found[name], state[name].detach()), name
        assert found[name].dtype == state[name].dtype
    assert torch.equal(found["nested"]["deeper"][1]["x"], whole[1])
    assert found["a"]["b"].item() == 1.0
    assert found["a.b"].item() == 0.0


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return (math.isnan(one) and math.isnan(other)) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.text(max_size=5), plain, max_size=4))
def test_plain_values(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("model")
    save_state(state, folder)
    assert same(load_state(folder), state)


@pytest.mark.parametrize(
    ("state", "where"),
    [
        ({"a": {"b": [1, object()]}}, r"state\.a\.b\[1\] of a model's state is a builtins\.object"),
        ({"a": np.zeros(3)}, r"state\.a of a model's state is a numpy\.ndarray"),
        ({"a": {1: 2}}, r"state\.a: key 1"),
        ({"$tensor": 1}, "reserved"),
        ({"a": b"x"}, "builtins.bytes"),
        ({"a": {1, 2}}, "builtins.set"),
    ],
)
def test_what_cannot_be_kept(tmp_path: Path, state: dict[str, Any], where: str) -> None:
    with pytest.raises(JobError, match=where):
        save_state(state, tmp_path)


def test_endless_nesting(tmp_path: Path) -> None:
    state: dict[str, Any] = {}
    state["self"] = state
    with pytest.raises(JobError, match="nested more than"):
        save_state(state, tmp_path)


@pytest.mark.parametrize("name", model_files.FILES)
@pytest.mark.parametrize("damage", ["missing", "truncated", "garbage"])
def test_damaged_models_are_refused(tmp_path: Path, name: str, damage: str) -> None:
    save_state({"a": torch.ones(3), "b": 1}, tmp_path)
    path = tmp_path / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-2] if damage == "truncated" else b"\xff" * 40)
    with pytest.raises(JobError, match="cannot be read"):
        load_state(tmp_path)


def test_the_same_state_gives_the_same_bytes(tmp_path: Path) -> None:
    state = {"b": torch.arange(3), "a": {"x": torch.ones(2)}, "n": 1}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        save_state(state, tmp_path / name)
    for name in model_files.FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
