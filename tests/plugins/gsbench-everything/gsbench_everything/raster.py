"""The rasterizer: that of the core, by another name, with a note that it was used."""

from gsbench.raster.cpu import CpuBackend
from gsbench_everything.plugin import note


class AnyBackend:
    name = "any-raster"

    def rasterize(self, inputs):
        note("rasterized")
        return CpuBackend().rasterize(inputs)
