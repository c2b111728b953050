"""`Coded`: what a file of hac holds, in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gsbench.coding.arrays import place
from gsbench.coding.intnet import IntegerNetwork
from gsbench.methods.arrays import QuantizedWeights
from gsbench.training.hashgrid import HashLayout
from gsbench_hac.context import GROUPS
from gsbench_hac.integers import Box, grid_features

Int32 = npt.NDArray[np.int32]
UInt8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Coded:
    """What a file holds.

    Fields:
        voxel_size, steps: scene units and base steps, numbers that float32 has.
        box, layout: of the hash grid.
        voxels: int32 [n, 3], in the order of the file.
        masks: bool [n, K].
        signs: uint8 [rows], by `pack_signs`; 0 for rows that no anchor touches.
        context: from the grid's features to what codes the attributes.
        symbols: int32: features [n, F], scales [n, 6], offsets [live, 3].
        mlps: the weights of `AnchorNetworks`.
        further: integer networks that a subclass of `Codec` needs.
    """

    voxel_size: float
    steps: dict[str, float]
    box: Box
    layout: HashLayout
    voxels: Int32
    masks: Bool
    signs: UInt8
    context: IntegerNetwork
    symbols: dict[str, Int32]
    mlps: QuantizedWeights
    further: tuple[IntegerNetwork, ...] = ()

    def outputs(self, device: torch.device | str) -> Any:
        """What the context says of every anchor, int32 [n, ...], computed on `device` (`gsbench.coding.arrays`)."""
        points, signs = place(self.box.points(self.voxels), device), place(self.signs, device)
        return self.context.forward(grid_features(points, self.box.extent, self.layout.levels(), signs))

    def state(self) -> dict[str, Any]:
        """All that as tensors and plain values, for `from_state`."""
        arrays = {
            "voxels": self.voxels,
            "masks": self.masks,
            "signs": self.signs,
            "weights": self.mlps.values,
            "exponents": self.mlps.exponents,
            **self.symbols,
        }
        networks = {f"network_{i}": n.to_bytes() for i, n in enumerate((self.context, *self.further))}
        streams = {name: np.frombuffer(data, np.uint8) for name, data in networks.items()}
        return {
            "tensors": {name: torch.from_numpy(np.array(value)) for name, value in {**arrays, **streams}.items()},
            "voxel_size": self.voxel_size,
            "steps": dict(self.steps),
            "box": [list(self.box.low), list(self.box.extent)],
            "entries": [self.layout.space_entries, self.layout.plane_entries],
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Coded:
        """Inverse of `state`."""
        arrays = {name: value.cpu().numpy() for name, value in state["tensors"].items()}
        count = sum(name.startswith("network_") for name in arrays)
        networks = [IntegerNetwork.from_bytes(arrays[f"network_{i}"].tobytes()) for i in range(count)]
        low, extent = state["box"]
        return cls(
            voxel_size=state["voxel_size"],
            steps=dict(state["steps"]),
            box=Box(triple(low), triple(extent)),
            layout=HashLayout(space_entries=state["entries"][0], plane_entries=state["entries"][1]),
            voxels=arrays["voxels"],
            masks=arrays["masks"],
            signs=arrays["signs"],
            context=networks[0],
            symbols={group: arrays[group] for group in GROUPS},
            mlps=QuantizedWeights(arrays["weights"], arrays["exponents"]),
            further=tuple(networks[1:]),
        )


def triple(values: Any) -> tuple[int, int, int]:
    """Three plain integers."""
    x, y, z = (int(v) for v in values)
    return x, y, z
