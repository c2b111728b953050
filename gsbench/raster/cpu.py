"""The CPU backend."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gsbench.native.raster import Rasterizer
from gsbench.raster.backend import RasterInputs
from gsbench.raster.pipeline import rasterize


class CpuBackend:
    """Draws on the CPU, with AVX-512, AVX2 or plain code. Same inputs and instruction set: the same bytes, forward and
    backward, for any number of threads.
    """

    name = "cpu"

    def rasterize(self, inputs: RasterInputs) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """As `gsbench.raster.Backend.rasterize`."""
        return rasterize(inputs, Rasterizer)
