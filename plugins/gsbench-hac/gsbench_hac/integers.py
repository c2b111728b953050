"""The context in integers: what decides probabilities when files are written and read.

All is computed from coded integers by `gsbench.coding`, so that every machine finds the same probabilities: voxels give
rows and weights of the grid of signs; its features (int16, in 2^-12) go through an `IntegerNetwork`, whose outputs (in
2^-12) are means, logarithms of standard deviations, and r of the adaptive steps. These arrays are NumPy's or on a GPU
(`gsbench.coding.arrays`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from gsbench.coding.arrays import Array, host
from gsbench.coding.intnet import IntegerNetwork
from gsbench.coding.sign_grid import look_up, pack_signs
from gsbench.coding.steps import mean_in_steps, scale_in_steps, step_index
from gsbench.training.anchors.networks import TwoLayers
from gsbench_hac.context import GROUPS, MEAN_SHIFT, HacContext

#: Bits after the point, of the features of the grid and of the network's outputs.
GRID_BITS: Final = 12
OUTPUT_BITS: Final = 12
#: Of a weight, the sign included, from which the encoder chooses.
WEIGHT_BITS: Final = (4, 5, 6, 8)
#: Rows on which networks are calibrated.
_CALIBRATION: Final = 1 << 12

Int16 = npt.NDArray[np.int16]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Box:
    """The box of the hash grid: its lowest voxel and its extent along each axis, in voxels, at least 1."""

    low: tuple[int, int, int]
    extent: tuple[int, int, int]

    def points(self, voxels: Int32) -> Int32:
        """Where voxels [n, 3] lie, int32 in 0..extent; those outside are moved to the surface."""
        inside = voxels.astype(np.int64) - np.array(self.low, np.int64)
        points: Int32 = np.clip(inside, 0, np.array(self.extent, np.int64)).astype(np.int32)
        return points


@dataclass(frozen=True)
class GroupModel(Generic[Array]):
    """What codes a group: `index` int32 [n, 1] of the step; for each value mean64 and scale_index, [n, size]."""

    index: Array
    mean64: Array
    scale_index: Array


def signs_of(context: HacContext) -> UInt8:
    """The signs of the grid's entries, packed by rows."""
    return pack_signs((context.grid.table.detach() >= 0.0).cpu().numpy())


def cheapest(
    network: TwoLayers, inputs: Array, input_bits: int, limit: int, cost: Callable[[IntegerNetwork], float]
) -> IntegerNetwork:
    """Of the integer networks that come near `network` on `inputs` [n, ...] of magnitude at most `limit`, with fewer or
    more bits per weight, the one for which its own bytes and `cost`, those of what it predicts, are least.
    """
    sample = host(inputs[:: max(1, len(inputs) // _CALIBRATION)])
    if len(sample) == 0:
        sample = np.zeros((1, inputs.shape[1]), np.int16)
    activation: nn.Module = nn.LeakyReLU(network.leak) if network.leak else nn.ReLU()
    layers = [network.first, activation, network.second]
    candidates = [
        IntegerNetwork.from_float(
            layers, sample, input_bits=input_bits, output_bits=OUTPUT_BITS, weight_bits=bits, input_limit=limit
        )
        for bits in WEIGHT_BITS
    ]
    return min(candidates, key=lambda candidate: len(candidate.to_bytes()) + cost(candidate))


def grid_features(points: Array, extent: Sequence[int], levels: torch.Tensor, signs: Array) -> Array:
    """int16 [n, 4 levels] in 2^-GRID_BITS."""
    return look_up(points, extent, levels.numpy(), signs, fraction_bits=GRID_BITS)


def split_outputs(outputs: Array, sizes: Sequence[int]) -> dict[str, Array]:
    """The network's outputs [n, ...] of each group."""
    ends = np.cumsum(sizes).tolist()
    return {group: outputs[:, end - size : end] for group, size, end in zip(GROUPS, sizes, ends, strict=True)}


def step_indices(outputs: Array) -> dict[str, Array]:
    """The index of the step of each group, int32 [n, 1]: from the last outputs."""
    r = step_index(outputs[:, -len(GROUPS) :], OUTPUT_BITS)
    return {group: r[:, i : i + 1] for i, group in enumerate(GROUPS)}


def group_model(group: str, mean: Array, log2: Array, index: Array) -> GroupModel[Array]:
    """The Gaussians of means and logarithms [n, size] that are outputs of a network."""
    return GroupModel(index, mean_in_steps(mean, OUTPUT_BITS - MEAN_SHIFT[group], index), scale_in_steps(log2, index))
