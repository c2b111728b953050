"""Integer contexts on a GPU, with torch tensors: bit for bit those of `gsbench.native.contexts` and of the range coder.
Files that are written with one can be read with the other.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gsbench.native import _abi
from gsbench.native._check import pointer
from gsbench.native.contexts import Int64, PackedLayer
from gsbench.native.cuda._library import CudaLibrary, cuda_library

#: Scales with Gaussian tables of their own.
_OWN_SCALES = 72


class DeviceLayer(NamedTuple):
    """A `PackedLayer` whose arrays are on a device: weights int16, bias and shift int32."""

    weights: Tensor
    bias: Tensor
    shift: Tensor
    outputs: int
    activation: int
    leak: int
    limit: int | None

    @classmethod
    def of(cls, layer: PackedLayer, device: torch.device) -> DeviceLayer:
        """A copy of the layer on `device`."""
        weights, bias, shift = (torch.from_numpy(a).to(device) for a in (layer.weights, layer.bias, layer.shift))
        return cls(weights, bias, shift, layer.outputs, layer.activation, layer.leak, layer.limit)


def run_network(layers: Sequence[DeviceLayer], inputs: Tensor, library: CudaLibrary | None = None) -> Tensor:
    """The outputs of a network, int32 [M, outputs]: those of `gsbench.coding.IntegerNetwork.forward`, whose checks of
    weights and inputs are the caller's.

    Args:
        layers: each but the last with a limit.
        inputs: int16 [M, inputs of the first layer, padded to an even number with zeros].

    Raises:
        ValueError: if shapes do not fit.
    """
    library = cuda_library() if library is None else library
    device, count = library.place(inputs.device), int(inputs.shape[0])
    for layer in layers:
        pairs, padded, _ = layer.weights.shape
        fields = _abi.DenseLayer(
            inputs=pointer("inputs", inputs, torch.int16, (count, 2 * pairs), device),
            weights=pointer("weights", layer.weights, torch.int16, (pairs, padded, 2), device),
            bias=pointer("bias", layer.bias, torch.int32, (padded,), device),
            shift=pointer("shift", layer.shift, torch.int32, (padded,), device),
            count=count,
            stride=2 * pairs,
            outputs=layer.outputs,
            padded=padded,
            activation=layer.activation,
            leak=layer.leak,
            threads=1,
        )
        if layer.limit is None:
            outputs = torch.empty(count, layer.outputs, dtype=torch.int32, device=inputs.device)
            fields.last = outputs.data_ptr()
        else:
            stride = -(-layer.outputs // 2) * 2
            outputs = torch.empty(count, stride, dtype=torch.int16, device=inputs.device)
            fields.hidden, fields.hidden_stride, fields.limit = outputs.data_ptr(), stride, layer.limit
        library.call("gsb_cuda_dense_run", library.queue(inputs.device), ctypes.byref(fields))
        inputs = outputs
    return inputs


def levels_of(levels: Int64) -> Tensor:
    """The levels of a grid as the functions below have them: on the host, where each is read when it is its turn."""
    return torch.from_numpy(levels)


def sign_grid_features(
    points: Tensor,
    extent: Sequence[int],
    levels: Tensor,
    signs: Tensor,
    fraction_bits: int,
    library: CudaLibrary | None = None,
) -> Tensor:
    """Interpolated signs, int16 [N, 4 L] in 2^-fraction_bits, of points int32 [N, 3]; `levels`, int64 [L, 4], is on the
    host, `signs` is uint8 [rows]. csrc/coding/sign_grid.h defines them.

    Raises:
        ValueError: if an argument is not as stated.
    """
    library = cuda_library() if library is None else library
    count, level_count = int(points.shape[0]), int(levels.shape[0])
    features = torch.empty(count, 4 * level_count, dtype=torch.int16, device=points.device)
    library.call(
        "gsb_cuda_sign_grid_features",
        library.queue(points.device),
        pointer("points", points, torch.int32, (count, 3), library.place(points.device)),
        count,
        _extent(extent),
        pointer("levels", levels, torch.int64, (level_count, 4)),
        level_count,
        pointer("signs", signs, torch.uint8, (signs.shape[0],), library.place(points.device)),
        int(signs.shape[0]),
        fraction_bits,
        features.data_ptr(),
    )
    return features


def sign_grid_touched(
    points: Tensor, extent: Sequence[int], levels: Tensor, rows: int, library: CudaLibrary | None = None
) -> Tensor:
    """Which rows have a weight at some point, bool [rows]. Arguments as for `sign_grid_features`.

    Raises:
        ValueError: if an argument is not as stated there.
    """
    library = cuda_library() if library is None else library
    count, level_count = int(points.shape[0]), int(levels.shape[0])
    touched = torch.zeros(rows, dtype=torch.bool, device=points.device)
    library.call(
        "gsb_cuda_sign_grid_touched",
        library.queue(points.device),
        pointer("points", points, torch.int32, (count, 3), library.place(points.device)),
        count,
        _extent(extent),
        pointer("levels", levels, torch.int64, (level_count, 4)),
        level_count,
        touched.data_ptr(),
        rows,
    )
    return touched


class GaussianIntervals(NamedTuple):
    """What the range coder codes for each of M integers.

    Fields:
        starts, frequencies: int64 [M], of the interval in 2^-16; for values beyond their row that of the escape.
        shifts: int32 [M], how many of the lowest bits follow as they are.
        distances: int64 [M]; of escapes how far they are from the row (n >= 0 above it, -1 - n below), for others the
            least int64.
    """

    starts: Tensor
    frequencies: Tensor
    shifts: Tensor
    distances: Tensor


class DeviceTables(NamedTuple):
    """The Gaussian tables on a device: starts int16, offsets and sizes int32 [72]; see csrc/coding/symbols.h."""

    starts: Tensor
    offsets: Tensor
    sizes: Tensor


def gaussian_intervals(
    symbols: Tensor, means: Tensor, scales: Tensor, tables: DeviceTables, library: CudaLibrary | None = None
) -> GaussianIntervals:
    """The intervals of conditional Gaussians: symbols int32 [M], means in 1/64, int32 [M], scales as indices below 128,
    uint8 [M].

    Raises:
        ValueError: if a tensor is not as stated.
    """
    library = cuda_library() if library is None else library
    count, device = int(symbols.shape[0]), library.place(symbols.device)
    struct = _abi.GaussianTables(
        starts=pointer("starts", tables.starts, torch.int16, (tables.starts.shape[0],), device),
        offsets=pointer("offsets", tables.offsets, torch.int32, (_OWN_SCALES,), device),
        sizes=pointer("sizes", tables.sizes, torch.int32, (_OWN_SCALES,), device),
    )
    starts, frequencies, shifts = (torch.empty(count, dtype=torch.int32, device=symbols.device) for _ in range(3))
    distances = torch.empty(count, dtype=torch.int64, device=symbols.device)
    library.call(
        "gsb_cuda_gaussian_intervals",
        library.queue(symbols.device),
        pointer("symbols", symbols, torch.int32, (count,), device),
        pointer("mean64", means, torch.int32, (count,), device),
        pointer("scale_index", scales, torch.uint8, (count,), device),
        count,
        ctypes.byref(struct),
        starts.data_ptr(),
        frequencies.data_ptr(),
        shifts.data_ptr(),
        distances.data_ptr(),
    )
    return GaussianIntervals(starts.long(), frequencies.long(), shifts, distances)


def _extent(extent: Sequence[int]) -> ctypes.Array[ctypes.c_int32]:
    if len(extent) != 3 or not all(1 <= e < 2**31 for e in extent):
        raise ValueError(f"extent: expected three numbers of at least 1, got {list(extent)}")
    return (ctypes.c_int32 * 3)(*extent)
