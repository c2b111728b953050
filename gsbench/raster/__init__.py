"""The rasterizer: one call, several backends."""

from gsbench.raster.api import RenderOutput, rasterization, render, render_cameras, visible
from gsbench.raster.backend import Backend, RasterInputs, get_backend
from gsbench.raster.types import OUTPUTS, Gaussians, RenderOptions

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
