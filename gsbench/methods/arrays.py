"""Tensors and networks as sections of an artifact, uncompressed: little-endian, in C order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from gsbench.artifact import ArtifactReader, ArtifactWriter
from gsbench.errors import ArtifactError

_KINDS: Final = {torch.float32: "float32", torch.float16: "float16", torch.int32: "int32"}
_STORED: Final = {"float32": "<f4", "float16": "<f2", "int32": "<i4"}


def write_tensor(out: ArtifactWriter, name: str, values: Tensor) -> None:
    """Add a section with a float32, float16 or int32 tensor. Its shape is not stored."""
    kind = _KINDS[values.dtype]
    out.section(name, values.detach().cpu().contiguous().numpy().astype(_STORED[kind]).tobytes(), kind=kind)


def read_tensor(artifact: ArtifactReader, name: str, shape: Sequence[int]) -> Tensor:
    """The tensor of a section, whose kind gives the dtype.

    Raises:
        ArtifactError: if the section is missing, damaged, not a tensor, or not of this shape; or if it holds NaN or
            infinity.
    """
    kind = artifact.section(name).kind
    if kind not in _STORED:
        raise ArtifactError(
            f"{artifact.path}: section {name!r}: unknown kind {kind!r}; expected one of {list(_STORED)}"
        )
    dtype = np.dtype(_STORED[kind])
    expected = math.prod(shape) * dtype.itemsize
    data = artifact.read(name, max_bytes=expected)
    if len(data) != expected:
        raise ArtifactError(
            f"{artifact.path}: section {name!r}: expected {expected} bytes for shape {list(shape)}, got {len(data)}"
        )
    values = torch.from_numpy(np.frombuffer(data, dtype).astype(dtype.newbyteorder("=")).reshape(tuple(shape)))
    if values.is_floating_point() and not bool(values.isfinite().all()):
        raise ArtifactError(f"{artifact.path}: section {name!r}: holds NaN or infinity")
    return values


def write_network(out: ArtifactWriter, name: str, network: nn.Module, dtype: torch.dtype = torch.float32) -> None:
    """Add a section with all parameters of a network, one after the other in their order."""
    flat = torch.cat([p.detach().reshape(-1) for p in network.parameters()])
    write_tensor(out, name, flat.to(dtype))


def read_network(artifact: ArtifactReader, name: str, network: nn.Module) -> None:
    """Fill a network with the parameters of a section.

    Raises:
        ArtifactError: as `read_tensor`.
    """
    parameters = list(network.parameters())
    flat = read_tensor(artifact, name, [sum(p.numel() for p in parameters)]).to(torch.float32)
    with torch.no_grad():
        for parameter, values in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
            parameter.copy_(values.view_as(parameter))


def header_int(artifact: ArtifactReader, name: str, least: int, most: int) -> int:
    """An integer of the header.

    Raises:
        ArtifactError: if it is missing, not an integer, or outside [least, most].
    """
    value = artifact.header.get(name)
    if type(value) is not int or not least <= value <= most:
        raise ArtifactError(f"{artifact.path}: header: {name}: expected an integer {least} to {most}, got {value!r}")
    return value


def header_float(artifact: ArtifactReader, name: str) -> float:
    """A positive number of the header that a float32 holds.

    Raises:
        ArtifactError: if it is missing or no such number.
    """
    value = artifact.header.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 1e-30 < float(value) < 1e30:
        raise ArtifactError(f"{artifact.path}: header: {name}: expected a positive number, got {value!r}")
    return float(value)
