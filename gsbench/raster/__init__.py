"""The rasterizer: one call, several backends."""

from gsbench.raster.api import RenderOptions, RenderOutput, rasterization, render
from gsbench.raster.backend import Backend, RasterInputs, get_backend

__all__ = [
    "Backend",
    "RasterInputs",
    "RenderOptions",
    "RenderOutput",
    "get_backend",
    "rasterization",
    "render",
]
