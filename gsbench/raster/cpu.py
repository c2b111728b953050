"""The CPU backend: autograd around the native stages."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gsbench.native.raster import InputTensors, Rasterizer, RasterSettings
from gsbench.raster.backend import RasterInputs


def _dense(gradient: Tensor | None, like: tuple[int, ...]) -> Tensor:
    return torch.zeros(like) if gradient is None else gradient.contiguous()


class _Project(torch.autograd.Function):
    """From Gaussians to their images on the screen; differentiable but for radii and ids."""

    @staticmethod
    def forward(ctx: Any, rasterizer: Rasterizer, *tensors: Tensor) -> tuple[Tensor, ...]:
        inputs = InputTensors(*tensors)
        projected = rasterizer.project(inputs)
        ctx.rasterizer = rasterizer
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        fixed = [t for t in projected[5:] if t is not None]
        ctx.mark_non_differentiable(*fixed)
        return (*projected[:5], *fixed)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        means2d, depths, conics, colors, opacities = grads[:5]
        if all(g is None for g in grads[:5]):
            return (None,) * 8
        rows = next(int(g.shape[0]) for g in grads[:5] if g is not None)
        result = ctx.rasterizer.project_backward(
            InputTensors(*ctx.saved_tensors),
            _dense(means2d, (rows, 2)),
            _dense(conics, (rows, 3)),
            _dense(colors, (rows, 3)),
            _dense(opacities, (rows,)),
            None if depths is None else depths.contiguous(),
        )
        return (None, *result, None, None)


class _Blend(torch.autograd.Function):
    """From images of Gaussians to an image. The values arrive through the rasterizer's records; the tensors are
    arguments so that gradients pass through them (and `means2d.retain_grad()` works).
    """

    @staticmethod
    def forward(
        ctx: Any,
        rasterizer: Rasterizer,
        means2d: Tensor,
        conics: Tensor,
        colors: Tensor,
        opacities: Tensor,
        backgrounds: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        image, alpha = rasterizer.blend(backgrounds)
        ctx.rasterizer = rasterizer
        ctx.save_for_backward(backgrounds, alpha if backgrounds is not None and backgrounds.requires_grad else None)
        ctx.set_materialize_grads(False)
        return image, alpha

    @staticmethod
    def backward(ctx: Any, grad_image: Tensor | None, grad_alpha: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad_image is None and grad_alpha is None:
            return (None,) * 6
        backgrounds, alpha = ctx.saved_tensors
        if grad_image is None:
            assert grad_alpha is not None
            grad_image = torch.zeros(*grad_alpha.shape[:3], 3)
        grad_alpha = None if grad_alpha is None else grad_alpha.contiguous()
        grads = ctx.rasterizer.blend_backward(backgrounds, grad_image.contiguous(), grad_alpha)
        grad_backgrounds = None
        if alpha is not None:  # image = ... + (1 - alpha) * background
            grad_backgrounds = (grad_image.double() * (1.0 - alpha.double())).sum(dim=(1, 2)).float()
        return (None, *grads, grad_backgrounds)


class CpuBackend:
    """Draws on the CPU, with AVX-512, AVX2 or plain code. Same inputs and instruction set: the same bytes, forward and
    backward, for any number of threads.
    """

    name = "cpu"

    def rasterize(self, inputs: RasterInputs) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """As `gsbench.raster.Backend.rasterize`."""
        n, c = int(inputs.means.shape[0]), int(inputs.viewmats.shape[0])
        tensors = InputTensors(
            inputs.means,
            inputs.quats,
            inputs.scales,
            inputs.opacities,
            inputs.colors,
            inputs.viewmats,
            inputs.Ks,
        )
        settings = RasterSettings(
            inputs.width,
            inputs.height,
            inputs.near_plane,
            inputs.far_plane,
            inputs.eps2d,
            inputs.sh_degree,
            inputs.packed,
            torch.get_num_threads(),
        )
        rasterizer = Rasterizer(tensors, settings)
        projected = _Project.apply(rasterizer, *tensors)  # type: ignore[no-untyped-call]
        means2d, depths, conics, colors, opacities, radii, *ids = projected
        if not inputs.packed:
            # The tensors in meta have gsplat's shapes, and the image depends on them as such.
            means2d, depths, conics = means2d.view(c, n, 2), depths.view(c, n), conics.view(c, n, 3)
            opacities, radii = opacities.view(c, n), radii.view(c, n, 2)
        image, alpha = _Blend.apply(  # type: ignore[no-untyped-call]
            rasterizer,
            means2d.view(-1, 2),
            conics.view(-1, 3),
            colors,
            opacities.view(-1),
            inputs.backgrounds,
        )
        meta = {
            "means2d": means2d,
            "radii": radii,
            "depths": depths,
            "conics": conics,
            "opacities": opacities,
            "camera_ids": ids[0] if ids else None,
            "gaussian_ids": ids[1] if ids else None,
        }
        return image, alpha, meta
