"""The rasterizer: one call, several backends."""

from gsbench.raster.api import Gaussians, RenderOptions, RenderOutput, rasterization, render, render_cameras, visible
from gsbench.raster.backend import OUTPUTS, Backend, RasterInputs, get_backend

__all__ = [
    "OUTPUTS",
    "Backend",
    "Gaussians",
    "RasterInputs",
    "RenderOptions",
    "RenderOutput",
    "get_backend",
    "rasterization",
    "render",
    "render_cameras",
    "visible",
]
