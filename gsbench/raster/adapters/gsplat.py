"""gsplat (Ye et al. 2024), https://github.com/nerfstudio-project/gsplat, as a backend."""

from __future__ import annotations

from typing import Any, Final

from torch import Tensor

from gsbench.raster.adapters.common import load, need_cuda, refuse
from gsbench.raster.backend import RasterInputs

#: What meta holds, by gsplat's names.
_META: Final = ("means2d", "radii", "depths", "conics", "opacities", "camera_ids", "gaussian_ids")


class GsplatBackend:
    """Draws with `gsplat.rasterization`, version 1.5.

    It deviates from ARCHITECTURE.md, section 3: its gradients are added in no fixed order; tiles are visited by a
    bounding box; the exponential and its thresholds are evaluated in another order, so that some pixels near a
    threshold differ; inputs are not checked for NaN, infinity or their ranges.

    Not supported: `outputs`, masks, colors per camera with spherical harmonics.
    """

    name = "gsplat"

    def rasterize(self, inputs: RasterInputs) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """As `gsbench.raster.Backend.rasterize`.

        Raises:
            NotImplementedError: if gsplat does not import, the tensors are not on a CUDA device, or gsplat cannot do
                what is asked for; the message names it.
        """
        gsplat = load(self.name, "gsplat", "pip install 'gsbench-core[interop]'")
        g, options = inputs.gaussians, inputs.options
        colors = g.colors
        refuse(
            self.name,
            {
                f"outputs={tuple(options.outputs)!r}": bool(options.outputs),
                "masks": options.mask is not None,
                "spherical harmonics per camera": g.sh_degree is not None and colors is not None and colors.ndim == 4,
            },
        )
        need_cuda(self.name, inputs)
        if colors is None:  # depth alone; gsplat wants some colors all the same
            colors = g.means.new_zeros(len(g.means), 3)
        image, alpha, meta = gsplat.rasterization(
            means=g.means,
            quats=g.quats,
            scales=g.scales,
            opacities=g.opacities,
            colors=colors,
            viewmats=inputs.viewmats,
            Ks=inputs.Ks,
            width=inputs.width,
            height=inputs.height,
            near_plane=options.near,
            far_plane=options.far,
            radius_clip=options.radius_clip,
            eps2d=options.eps2d,
            sh_degree=g.sh_degree,
            packed=options.packed,
            backgrounds=options.background,
            render_mode=options.render_mode,
            absgrad=options.absgrad,
            rasterize_mode="antialiased" if options.antialiased else "classic",
            covars=g.covars,
        )
        return image, alpha, {name: meta.get(name) for name in _META}
