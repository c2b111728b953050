"""Octrees, dense integer layers and grids of signs in C++ (csrc/coding).

Arrays are NumPy's: no torch is needed to decode. `gsbench.coding` gives these their public form and checks values; here
are types, shapes and memory.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from gsbench.native import _abi
from gsbench.native._arrays import array_pointer, empty_array
from gsbench.native._library import call

Int16 = npt.NDArray[np.int16]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]

#: Outputs of a dense layer are padded to a multiple of this.
COLUMNS: Final = 32


def default_threads() -> int:
    """How many threads native code uses where nothing was said: the processors this process may run on."""
    return len(os.sched_getaffinity(0))


def octree_encode(points: Int32, depth: int) -> tuple[bytes, Int64]:
    """The stream and the order (int64 [N]) of points int32 [N, 3] in [0, 2^depth)."""
    count = len(points)
    address = array_pointer("points", points, np.int32, (count, 3))
    order = np.empty(count, np.int64)
    size = ctypes.c_int64()
    capacity = 256 + count * (3 * depth + 7) // 8
    while True:
        out = np.empty(capacity, np.uint8)
        call("gsb_octree_encode", address, count, depth, _at(order), _at(out), capacity, ctypes.byref(size))
        if size.value <= capacity:
            return out[: size.value].tobytes(), order
        capacity = size.value


def octree_codes(points: Int32, depth: int) -> UInt8:
    """The occupancy codes of all nodes, breadth first; bit 7 - c stands for child c."""
    count = len(points)
    capacity = count * depth
    out = np.empty(capacity, np.uint8)
    size = ctypes.c_int64()
    address = array_pointer("points", points, np.int32, (count, 3))
    call("gsb_octree_codes", address, count, depth, _at(out), capacity, ctypes.byref(size))
    return out[: size.value]


def octree_decode(data: bytes, count: int, depth: int) -> Int32:
    """The points of a stream of `octree_encode`, int32 [count, 3]. Raises ArtifactError if it is damaged."""
    points = np.empty((count, 3), np.int32)
    source = np.frombuffer(data, np.uint8)
    call("gsb_octree_decode", _at(source), len(source), count, depth, _at(points))
    return points


class PackedLayer(NamedTuple):
    """A dense layer as csrc/coding/dense.h has it.

    Fields:
        weights: int16 [stride / 2, padded, 2].
        bias: int32 [padded], rounding included.
        shift: int32 [padded], 0 to 30.
        outputs: how many of the padded ones count.
        activation: 0 none, 1 ReLU, 2 leaky ReLU.
        leak: shift of the leaky ReLU.
        limit: clamp of a hidden layer; None for the last layer.
    """

    weights: Int16
    bias: Int32
    shift: Int32
    outputs: int
    activation: int
    leak: int
    limit: int | None


def dense_hidden(layer: PackedLayer, inputs: Int16, stride: int, threads: int) -> Int16:
    """A hidden layer: int16 [M, stride], zero beyond its outputs."""
    hidden = np.empty((len(inputs), stride), np.int16)
    assert layer.limit is not None
    _dense(layer, inputs, threads, hidden=_at(hidden), hidden_stride=stride, limit=layer.limit)
    return hidden


def dense_last(layer: PackedLayer, inputs: Int16, threads: int) -> Int32:
    """The last layer: int32 [M, outputs]."""
    last = np.empty((len(inputs), layer.outputs), np.int32)
    _dense(layer, inputs, threads, last=_at(last))
    return last


def _dense(layer: PackedLayer, inputs: Int16, threads: int, **output: ctypes.c_void_p | int) -> None:
    pairs, padded, _ = layer.weights.shape
    call(
        "gsb_dense_run",
        ctypes.byref(
            _abi.DenseLayer(
                threads=threads,
                inputs=array_pointer("inputs", inputs, np.int16, (len(inputs), 2 * pairs)),
                weights=array_pointer("weights", layer.weights, np.int16, (pairs, padded, 2)),
                bias=array_pointer("bias", layer.bias, np.int32, (padded,)),
                shift=array_pointer("shift", layer.shift, np.int32, (padded,)),
                count=len(inputs),
                stride=2 * pairs,
                outputs=layer.outputs,
                padded=padded,
                activation=layer.activation,
                leak=layer.leak,
                **output,
            )
        ),
    )


def sign_grid_features(
    points: Int32, extent: Sequence[int], levels: Int64, signs: UInt8, fraction_bits: int, threads: int
) -> Int16:
    """Interpolated signs, int16 [N, 4 L] in 2^-fraction_bits; see csrc/coding/sign_grid.h."""
    count, level_count = len(points), len(levels)
    features = empty_array((count, 4 * level_count), np.int16)
    call(
        "gsb_sign_grid_features",
        *(array_pointer("points", points, np.int32, (count, 3)), count, _extent(extent)),
        *(array_pointer("levels", levels, np.int64, (level_count, 4)), level_count),
        *(array_pointer("signs", signs, np.uint8), len(signs), fraction_bits, _at(features), threads),
    )
    return features


def sign_grid_touched(
    points: Int32, extent: Sequence[int], levels: Int64, rows: int, threads: int
) -> npt.NDArray[np.bool_]:
    """Which rows have a weight at some point, bool [rows]."""
    count, level_count = len(points), len(levels)
    touched = np.zeros(rows, np.uint8)
    call(
        "gsb_sign_grid_touched",
        *(array_pointer("points", points, np.int32, (count, 3)), count, _extent(extent)),
        *(array_pointer("levels", levels, np.int64, (level_count, 4)), level_count),
        *(_at(touched), rows, threads),
    )
    return touched.view(np.bool_)


def _extent(extent: Sequence[int]) -> ctypes.Array[ctypes.c_int32]:
    if len(extent) != 3 or not all(1 <= e < 2**31 for e in extent):
        raise ValueError(f"extent: expected three numbers of at least 1, got {list(extent)}")
    return (ctypes.c_int32 * 3)(*extent)


def _at(array: npt.NDArray[np.generic]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
