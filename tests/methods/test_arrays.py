"""Tensors and networks as sections of an artifact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gsbench.artifact import ArtifactReader, ArtifactWriter
from gsbench.errors import ArtifactError
from gsbench.methods.arrays import read_network, read_tensor, write_network, write_tensor


def written(folder: Path, write: Callable[[ArtifactWriter], None]) -> ArtifactReader:
    path = folder / "it.gsb"
    with ArtifactWriter(path, "it", "1.0") as out:
        write(out)
    return ArtifactReader(path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int32])
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (2, 3, 4)])
def test_tensors_come_back_as_they_were(tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    values: Tensor = (torch.randn(shape) * 100).to(dtype)
    artifact = written(tmp_path, lambda out: write_tensor(out, "x", values))
    found = read_tensor(artifact, "x", shape)
    assert found.dtype == dtype
    assert torch.equal(found, values)
    if values.numel():
        with pytest.raises(ArtifactError, match=r"section 'x'"):
            read_tensor(artifact, "x", (*shape, 2))


def test_a_tensor_that_is_not_contiguous_and_has_a_gradient(tmp_path: Path) -> None:
    values = torch.arange(12.0).reshape(3, 4).requires_grad_().T
    artifact = written(tmp_path, lambda out: write_tensor(out, "x", values))
    assert torch.equal(read_tensor(artifact, "x", (4, 3)), values.detach())


def test_other_types_are_refused_with_the_section(tmp_path: Path) -> None:
    expected = pytest.raises(ValueError, match=r"section 'x': expected float32, float16 or int32, got torch\.float64")
    with ArtifactWriter(tmp_path / "it.gsb", "it", "1.0") as out, expected:
        write_tensor(out, "x", torch.zeros(2, dtype=torch.float64))


def test_what_is_not_finite_is_damage(tmp_path: Path) -> None:
    artifact = written(tmp_path, lambda out: write_tensor(out, "x", torch.tensor([1.0, float("nan")])))
    with pytest.raises(ArtifactError, match="NaN or infinity"):
        read_tensor(artifact, "x", (2,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_networks(tmp_path: Path, dtype: torch.dtype) -> None:
    network = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    artifact = written(tmp_path, lambda out: write_network(out, "net", network, dtype))
    other = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    read_network(artifact, "net", other)
    for mine, theirs in zip(other.parameters(), network.parameters(), strict=True):
        assert torch.equal(mine, theirs.to(dtype).float())
    with pytest.raises(ArtifactError, match=r"section 'net'"):
        read_network(artifact, "net", nn.Linear(3, 5))
