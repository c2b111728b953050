"""The rasterizer of the original 3DGS code (Kerbl et al. 2023), diff_gaussian_rasterization, as a backend."""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch import Tensor

from gsbench.raster.adapters.common import load, need_cuda, refuse
from gsbench.raster.backend import RasterInputs

#: Built into that code.
_NEAR: Final = 0.2
_EPS2D: Final = 0.3
_FAR: Final = 100.0  # of the projection matrix, which decides nothing
_INSTALL: Final = "build it from https://github.com/graphdeco-inria/diff-gaussian-rasterization"


class InriaBackend:
    """Draws with `diff_gaussian_rasterization`, one camera after the other.

    It deviates from ARCHITECTURE.md, section 3: Gaussians nearer than 0.2 are not drawn, whatever `near` is (`far` is
    ignored); a Gaussian's extent is 3 standard deviations of its longer axis; gradients are added in no fixed order;
    inputs are not checked. meta has radii, and means2d as a detached projection, which gets no gradient.

    Not supported: colors that are not RGB or differ by camera, depth, gradients to cameras, `outputs`, masks, absgrad,
    packed results, another eps2d than 0.3, radius_clip, principal points off the image's center, spherical harmonics
    beyond degree 3; antialiasing only with versions that have it.
    """

    name = "inria"

    def rasterize(self, inputs: RasterInputs) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """As `gsbench.raster.Backend.rasterize`.

        Raises:
            NotImplementedError: if the package does not import, the tensors are not on a CUDA device, or it cannot do
                what is asked for; the message names it.
        """
        package = load(self.name, "diff_gaussian_rasterization", _INSTALL)
        self._check(inputs, package)
        need_cuda(self.name, inputs)
        c, background = len(inputs.viewmats), inputs.options.background
        images, alphas, radii, means2d = [], [], [], []
        for i in range(c):
            black = inputs.viewmats.new_zeros(3)
            color, radius = self._draw(package, inputs, i, black, None)
            # The same Gaussians in white over black: their alpha.
            alpha, _ = self._draw(package, inputs, i, black, torch.ones_like(inputs.gaussians.means))
            alpha = alpha[:1].permute(1, 2, 0)
            image = color.permute(1, 2, 0)
            images.append(image if background is None else image + (1.0 - alpha) * background[i])
            alphas.append(alpha)
            radii.append(radius.to(torch.int32)[:, None].expand(-1, 2))
            means2d.append(_project(inputs, i))
        if not images:
            shape = (0, inputs.height, inputs.width)
            empty = inputs.viewmats.new_zeros
            return empty(*shape, 3), empty(*shape, 1), {"radii": empty(0, 0, 2), "means2d": empty(0, 0, 2)}
        meta = {"radii": torch.stack(radii), "means2d": torch.stack(means2d)}
        missing = dict.fromkeys(("depths", "conics", "opacities", "camera_ids", "gaussian_ids"))
        return torch.stack(images), torch.stack(alphas), {**missing, **meta}

    def _check(self, inputs: RasterInputs, package: Any) -> None:
        g, options = inputs.gaussians, inputs.options
        colors, Ks = g.colors, inputs.Ks
        center = Ks.new_tensor([inputs.width / 2, inputs.height / 2])
        fields = getattr(package.GaussianRasterizationSettings, "_fields", ())
        refuse(
            self.name,
            {
                f"render_mode={options.render_mode!r}": options.render_mode != "RGB",
                f"outputs={tuple(options.outputs)!r}": bool(options.outputs),
                "masks": options.mask is not None,
                "absgrad": options.absgrad,
                "packed=True": options.packed,
                "radius_clip": options.radius_clip > 0,
                f"eps2d={options.eps2d}, only {_EPS2D}": not math.isclose(options.eps2d, _EPS2D),
                "antialiasing in this version": options.antialiased and "antialiasing" not in fields,
                "gradients to viewmats": inputs.viewmats.requires_grad,
                "colors that are not RGB": colors is None or (g.sh_degree is None and colors.shape[-1] != 3),
                "spherical harmonics beyond degree 3": (g.sh_degree or 0) > 3,
                "colors per camera": colors is not None and colors.ndim == (3 if g.sh_degree is None else 4),
                "principal points off the center": bool(((Ks[:, :2, 2] - center).abs() > 1e-3).any()),
            },
        )

    def _draw(
        self, package: Any, inputs: RasterInputs, camera: int, background: Tensor, colors: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Image [3, H, W] and radii [N]; in `colors` [N, 3] if they are given, else in the Gaussians' own."""
        g, options, width, height = inputs.gaussians, inputs.options, inputs.width, inputs.height
        view, K = inputs.viewmats[camera], inputs.Ks[camera]
        tan_x, tan_y = width / (2.0 * float(K[0, 0])), height / (2.0 * float(K[1, 1]))
        # Matrices are passed transposed, as row vectors times matrix.
        to_view = view.T.contiguous()
        projection = view.new_zeros(4, 4)
        projection[0, 0], projection[1, 1] = 1.0 / tan_x, 1.0 / tan_y
        projection[2, 2], projection[2, 3] = _FAR / (_FAR - _NEAR), -_FAR * _NEAR / (_FAR - _NEAR)
        projection[3, 2] = 1.0
        extra = {"antialiasing": options.antialiased}
        fields = getattr(package.GaussianRasterizationSettings, "_fields", ())
        settings = package.GaussianRasterizationSettings(
            image_height=height,
            image_width=width,
            tanfovx=tan_x,
            tanfovy=tan_y,
            bg=background,
            scale_modifier=1.0,
            viewmatrix=to_view,
            projmatrix=(to_view @ projection.T).contiguous(),
            sh_degree=g.sh_degree or 0,
            campos=-(view[:3, :3].T @ view[:3, 3]),
            prefiltered=False,
            debug=False,
            **{name: value for name, value in extra.items() if name in fields},
        )
        shs = g.colors if colors is None and g.sh_degree is not None else None
        upper = None if g.covars is None else g.covars[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]].contiguous()
        quats = None if g.quats is None else torch.nn.functional.normalize(g.quats, dim=-1)
        result = package.GaussianRasterizer(settings)(
            means3D=g.means,
            means2D=torch.zeros_like(g.means),
            opacities=g.opacities[:, None],
            shs=shs,
            colors_precomp=None if shs is not None else (g.colors if colors is None else colors),
            scales=None if g.covars is not None else g.scales,
            rotations=None if g.covars is not None else quats,
            cov3D_precomp=upper,
        )
        return result[0], result[1]


def _project(inputs: RasterInputs, camera: int) -> Tensor:
    """Means in pixels, [N, 2], detached."""
    with torch.no_grad():
        view, K = inputs.viewmats[camera], inputs.Ks[camera]
        points = inputs.gaussians.means @ view[:3, :3].T + view[:3, 3]
        return points[:, :2] / points[:, 2:].clamp_min(_NEAR) * K.diagonal()[:2] + K[:2, 2]
