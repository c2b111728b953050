"""The CUDA backend."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from gsbench.native.cuda import CudaLibrary, cuda_library
from gsbench.native.cuda.raster import CudaRasterizer
from gsbench.raster.backend import RasterInputs
from gsbench.raster.pipeline import rasterize


class CudaBackend:
    """Draws on a GPU, by the same formulas as the CPU backend and with all of its outputs. The same bytes in every run
    on one kind of device, forward and backward. Powers of 2 are the device's (two units in the last place), so that
    images differ from the CPU's by rounding.

    Args:
        library: another than the installed one; tests draw with its twin for the host.
    """

    name = "cuda"

    def __init__(self, library: CudaLibrary | None = None) -> None:
        self._library = library

    def rasterize(self, inputs: RasterInputs) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """As `gsbench.raster.Backend.rasterize`.

        Raises:
            NotImplementedError: if the tensors are not where this backend draws.
            NativeError: if gsbench was built without CUDA.
        """
        library = cuda_library() if self._library is None else self._library
        device = inputs.viewmats.device
        if device.type != library.device_type:
            raise NotImplementedError(f"the backend draws on {library.device_type}, and the tensors are on {device}")
        backgrounds = None if inputs.gaussians.colors is None else inputs.options.background
        return rasterize(inputs, partial(CudaRasterizer, library=library, backgrounds=backgrounds))
