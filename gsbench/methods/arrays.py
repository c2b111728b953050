"""Tensors and networks as sections of an artifact: as they are (little-endian, in C order), or quantized."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gsbench.artifact import ArtifactReader, ArtifactWriter
from gsbench.coding.integers import decode_integers, encode_integers
from gsbench.errors import ArtifactError

_KINDS: Final = {torch.float32: "float32", torch.float16: "float16", torch.int32: "int32"}
_STORED: Final = {"float32": "<f4", "float16": "<f2", "int32": "<i4"}


def write_tensor(out: ArtifactWriter, name: str, values: Tensor) -> None:
    """Add a section with a tensor: its values, little-endian, in C order. Its shape is not stored.

    Args:
        out: the artifact.
        name: of the section.
        values: float32, float16 or int32, of any shape, on any device.

    Raises:
        ValueError: for another dtype, and as `ArtifactWriter.section`.
    """
    kind = _KINDS.get(values.dtype)
    if kind is None:
        raise ValueError(f"section {name!r}: expected float32, float16 or int32, got {values.dtype}")
    out.section(name, values.detach().cpu().contiguous().numpy().astype(_STORED[kind]).tobytes(), kind=kind)


def read_tensor(artifact: ArtifactReader, name: str, shape: Sequence[int]) -> Tensor:
    """The tensor of a section, whose kind gives the dtype: float32, float16 or int32; on the CPU.

    Args:
        artifact: the artifact.
        name: of the section.
        shape: what the tensor must have; no more memory is taken than that needs.

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
    """Add a section with all parameters of a network (not its buffers), one after the other in their order.

    Args:
        out: the artifact.
        name: of the section.
        network: with at least one parameter.
        dtype: torch.float32 or torch.float16, to which they are rounded.

    Raises:
        ValueError: as `ArtifactWriter.section`.
    """
    flat = torch.cat([p.detach().reshape(-1) for p in network.parameters()])
    write_tensor(out, name, flat.to(dtype))


def read_network(artifact: ArtifactReader, name: str, network: nn.Module) -> None:
    """Fill a network with the parameters of a section, from `write_network`.

    Args:
        artifact: the artifact.
        name: of the section.
        network: of the same shapes as the one that was written; its parameters are overwritten in place.

    Raises:
        ArtifactError: as `read_tensor`.
    """
    parameters = list(network.parameters())
    flat = read_tensor(artifact, name, [sum(p.numel() for p in parameters)]).to(torch.float32)
    with torch.no_grad():
        for parameter, values in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
            parameter.copy_(values.view_as(parameter))


@contextmanager
def in_section(artifact: ArtifactReader, name: str) -> Iterator[None]:
    """A context in which an `ArtifactError`, such as a coder's, gets the file and the section that it was met in.

    Args:
        artifact: the artifact.
        name: of the section.
    """
    try:
        yield
    except ArtifactError as error:
        where = f"{artifact.path}: section {name!r}"
        if str(artifact.path) in str(error):
            raise
        raise ArtifactError(f"{where}: {error}") from None


def header_int(artifact: ArtifactReader, name: str, least: int, most: int) -> int:
    """An integer of the header.

    Args:
        artifact: whose header.
        name: in the header.
        least: smallest value that is accepted.
        most: largest value that is accepted.

    Raises:
        ArtifactError: if it is missing, not an integer, or outside [least, most].
    """
    value = artifact.header.get(name)
    if type(value) is not int or not least <= value <= most:
        raise ArtifactError(f"{artifact.path}: header: {name}: expected an integer {least} to {most}, got {value!r}")
    return value


def header_float(artifact: ArtifactReader, name: str, most: float = 1e30) -> float:
    """A positive number of the header that a float32 holds.

    Args:
        artifact: whose header.
        name: in the header.
        most: the number must be below this, at most 1e30: choose it so that nothing it is multiplied with overflows.

    Raises:
        ArtifactError: if it is missing or no such number.
    """
    value = artifact.header.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 1e-30 < value < most:
        raise ArtifactError(
            f"{artifact.path}: header: {name}: expected a positive number below {most:g}, got {value!r}"
        )
    return float(value)


@dataclass(frozen=True)
class QuantizedWeights:
    """The parameters of a network as integers: each is `values` times 2^-`exponents` of its output (or row).

    Fields:
        values: int32 [parameters], in the network's order.
        exponents: int32, one for each row of every parameter, in the same order.
    """

    values: npt.NDArray[np.int32]
    exponents: npt.NDArray[np.int32]


def quantize_weights(network: nn.Module, bits: int = 8) -> QuantizedWeights:
    """The weights of every row (output) as integers and a power of two, so that the largest of a row uses all bits.

    Args:
        network: parameters with several dimensions have a row for each index of the first, others are one row.
        bits: of an integer, sign included.
    """
    values, exponents = [], []
    for parameter in network.parameters():
        rows = parameter.detach().cpu().double().numpy()
        rows = rows.reshape(len(rows), -1) if rows.ndim > 1 else rows.reshape(1, -1)
        largest = np.maximum(np.abs(rows).max(axis=1), 2.0**-20)
        # The largest is below 2^(bits - 1).
        exponent = bits - 1 - np.frexp(largest)[1]
        scaled = np.rint(rows * np.exp2(exponent.astype(np.float64))[:, None])
        values.append(np.clip(scaled, 1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1).astype(np.int32).reshape(-1))
        exponents.append(exponent.astype(np.int32))
    return QuantizedWeights(np.concatenate(values), np.concatenate(exponents))


def fill_weights(network: nn.Module, weights: QuantizedWeights) -> None:
    """Give a network these parameters; each is one exact product in float32.

    Args:
        network: of the same shapes as the one that was quantized; its parameters are overwritten in place.
        weights: the parameters.
    """
    place = row = 0
    with torch.no_grad():
        for parameter in network.parameters():
            rows = len(parameter) if parameter.ndim > 1 else 1
            values = weights.values[place : place + parameter.numel()].reshape(rows, -1).astype(np.float64)
            values *= np.exp2(-weights.exponents[row : row + rows].astype(np.float64))[:, None]
            parameter.copy_(torch.from_numpy(values.astype(np.float32)).view_as(parameter))
            place, row = place + parameter.numel(), row + rows


def write_weights(out: ArtifactWriter, name: str, weights: QuantizedWeights) -> None:
    """Add a section with quantized parameters, coded by their histograms.

    Args:
        out: the artifact.
        name: of the section.
        weights: the parameters.

    Raises:
        ValueError: as `ArtifactWriter.section`.
    """
    streams = [encode_integers(weights.exponents), encode_integers(weights.values)]
    out.section(name, len(streams[0]).to_bytes(4, "little") + b"".join(streams), kind="weights", coder="raw")


def read_weights(artifact: ArtifactReader, name: str, network: nn.Module) -> QuantizedWeights:
    """The quantized parameters of a section.

    Args:
        artifact: the artifact.
        name: of the section.
        network: of the same shapes as the one that was written; it is not changed (`fill_weights` does that).

    Raises:
        ArtifactError: if the section is missing or damaged, or is of another network.
    """
    sizes = [p.numel() for p in network.parameters()]
    rows = [len(p) if p.ndim > 1 else 1 for p in network.parameters()]
    where = f"{artifact.path}: section {name!r}"
    data = artifact.read(name)
    length = int.from_bytes(data[:4], "little")
    if len(data) < 4 + length:
        raise ArtifactError(f"{where}: damaged: expected at least {4 + length} bytes, got {len(data)}")
    try:
        exponents = decode_integers(data[4 : 4 + length], sum(rows))
        values = decode_integers(data[4 + length :], sum(sizes))
    except ArtifactError as error:
        raise ArtifactError(f"{where}: {error}") from None
    if len(exponents) != sum(rows) or len(values) != sum(sizes):
        raise ArtifactError(
            f"{where}: expected {sum(sizes)} weights in {sum(rows)} rows, got {len(values)} in {len(exponents)}"
        )
    if np.abs(exponents).max(initial=0) > 64 or np.abs(values.astype(np.int64)).max(initial=0) > 2**24:
        raise ArtifactError(f"{where}: damaged: a weight out of range")
    return QuantizedWeights(values, exponents)
