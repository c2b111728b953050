"""Autograd around the stages of a native rasterizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable as refuse_second_order

from gsbench.native._pool import empty_result
from gsbench.native.raster import Canvas, InputTensors, RasterStages, SlotGradients

_Backward = Callable[..., Any]


def once_differentiable(backward: _Backward) -> _Backward:
    """The decorator of torch, where it has something to do: with `create_graph`."""
    careful = refuse_second_order(backward)

    def chosen(ctx: Any, *grads: Tensor | None) -> Any:
        return (careful if torch.is_grad_enabled() else backward)(ctx, *grads)

    return chosen


def _dense(gradient: Tensor | None, like: Tensor, *columns: int) -> Tensor:
    """The gradient, or zeros with as many rows as `like`."""
    return like.new_zeros(len(like), *columns) if gradient is None else gradient.contiguous()


def _empty(like: Tensor, shape: Sequence[int]) -> Tensor:
    """What leaves gsbench: on the CPU in memory that is used again; torch does that itself on a GPU."""
    return like.new_empty(shape) if like.is_cuda else empty_result(*shape)


class Project(torch.autograd.Function):
    """From Gaussians (the fields of `InputTensors`) to their images on the screen: means2d, depths, conics, colors,
    opacities. The other fields of `Projected`, which have no gradient, go into the list `found`.
    """

    @staticmethod
    def forward(
        ctx: Any, rasterizer: RasterStages, found: list[Tensor | None], *tensors: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Project."""
        projected = rasterizer.project(InputTensors(*tensors))  # type: ignore[arg-type]
        ctx.rasterizer = rasterizer
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        found.extend(projected[5:])
        return projected[:5]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        """Gradients of the inputs; none for Ks."""
        inputs = InputTensors(*ctx.saved_tensors)
        means2d, depths, conics, colors, opacities = grads
        present = [g for g in grads if g is not None]
        if not present:
            return (None,) * (2 + len(inputs))
        result = ctx.rasterizer.project_backward(
            inputs,
            SlotGradients(
                _dense(means2d, present[0], 2),
                _dense(conics, present[0], 3),
                None if colors is None else colors.contiguous(),
                _dense(opacities, present[0]),
                None if depths is None else depths.contiguous(),
            ),
            viewmats=ctx.needs_input_grad[2 + InputTensors._fields.index("viewmats")],
        )
        return (None, None, *result, None)


@dataclass
class BlendCall:
    """What a blending does besides drawing, and what it finds besides the image.

    Fields:
        masks: uint8 [C, H, W], 0 where nothing is drawn; or None.
        statistics, surface: as in `Rasterizer.blend`.
        means2d: the tensor whose `absgrad` the backward pass sets; None if that is not wanted.
        grad_abs: its values, [S, 2]; zero until then.
        found, median_slots: results of the drawing that have no gradient. (Image and alpha must not be kept here: their
            graph refers to this.)
    """

    rasterizer: RasterStages
    masks: Tensor | None = None
    statistics: bool = False
    surface: bool = False
    means2d: Tensor | None = None
    grad_abs: Tensor | None = None
    found: dict[str, Tensor] = field(default_factory=dict, init=False)
    median_slots: Tensor | None = field(default=None, init=False)


class Blend(torch.autograd.Function):
    """From images of Gaussians to image, alpha and distortion. Geometry and depths reach the rasterizer through its own
    records; here they are arguments so that gradients pass through them (and `means2d.retain_grad()` works).
    """

    @staticmethod
    def forward(
        ctx: Any,
        blend: BlendCall,
        means2d: Tensor,
        conics: Tensor,
        opacities: Tensor,
        depths: Tensor,
        colors: Tensor,
        features: Tensor | None,
        backgrounds: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Draw the rows of `features` or, where that is None, the projection's own `colors`."""
        canvas = Canvas(features, backgrounds, blend.masks)
        blended = blend.rasterizer.blend(canvas, statistics=blend.statistics, surface=blend.surface)
        blend.found, blend.median_slots = blended.statistics, blended.median_slots
        ctx.blend = blend
        for_backgrounds = backgrounds is not None and backgrounds.requires_grad
        ctx.save_for_backward(features, backgrounds, blended.alpha if for_backgrounds else None)
        ctx.set_materialize_grads(False)
        return blended.image, blended.alpha, blended.distortion

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_image: Tensor | None, grad_alpha: Tensor | None, grad_distortion: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Gradients of the images of the Gaussians and of the backgrounds."""
        blend: BlendCall = ctx.blend
        present = [g for g in (grad_image, grad_alpha, grad_distortion) if g is not None]
        if not present:
            return (None,) * 8
        features, backgrounds, alpha = ctx.saved_tensors
        if grad_image is None:
            grad_image = present[0].new_zeros(*present[0].shape[:3], 3 if features is None else features.shape[1])
        grads = blend.rasterizer.blend_backward(
            Canvas(features, backgrounds, blend.masks),
            grad_image.contiguous(),
            None if grad_alpha is None else grad_alpha.contiguous(),
            None if grad_distortion is None else grad_distortion.contiguous(),
            absolute=blend.means2d is not None,
        )
        if blend.means2d is not None:
            assert blend.grad_abs is not None
            assert grads.means2d_abs is not None
            blend.grad_abs.copy_(grads.means2d_abs)
            blend.means2d.absgrad = blend.grad_abs.view(blend.means2d.shape)  # type: ignore[attr-defined]
        grad_backgrounds = None
        if alpha is not None:  # image = ... + (1 - alpha) * background
            # Row by row: torch never splits such a sum between threads.
            passed = grad_image.double() * (1.0 - alpha.double())
            grad_backgrounds = passed.sum(dim=2).sum(dim=1).float()
        colors, of_features = (grads.features, None) if features is None else (None, grads.features)
        return (
            None,
            grads.means2d,
            grads.conics,
            grads.opacities,
            grads.depths,
            colors,
            of_features,
            grad_backgrounds,
        )


class Normals(torch.autograd.Function):
    """`Rasterizer.normals` from the fields of `InputTensors`. Its gradient is that of quats."""

    @staticmethod
    def forward(ctx: Any, rasterizer: RasterStages, *tensors: Tensor | None) -> Tensor:
        """Find the normals."""
        ctx.rasterizer = rasterizer
        ctx.save_for_backward(*tensors)
        return rasterizer.normals(InputTensors(*tensors))  # type: ignore[arg-type]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of quats."""
        inputs = InputTensors(*ctx.saved_tensors)
        result: list[Tensor | None] = [None] * (1 + len(inputs))
        result[1 + InputTensors._fields.index("quats")] = ctx.rasterizer.normals_backward(inputs, grad.contiguous())
        return tuple(result)


class JoinColumns(torch.autograd.Function):
    """``torch.cat(parts, dim=1)`` of [S, D_i] float32, in memory that is used again, whose gradients are
    contiguous, so that nothing copies them once more.
    """

    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        """Join."""
        ctx.widths = [int(part.shape[1]) for part in parts]
        result = _empty(parts[0], (len(parts[0]), sum(ctx.widths)))
        for to, part in zip(torch.split(result, ctx.widths, dim=1), parts, strict=True):
            to.copy_(part)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        """Split."""
        return tuple(_empty(part, part.shape).copy_(part) for part in torch.split(grad, ctx.widths, dim=1))


class SplitChannels(torch.autograd.Function):
    """``torch.split(image, list(widths), dim=-1)`` of float32 into contiguous parts. Slices would each fill an
    image of zeros on the way back.
    """

    @staticmethod
    def forward(ctx: Any, image: Tensor, *widths: int) -> tuple[Tensor, ...]:
        """Split."""
        ctx.widths, ctx.shape, ctx.device = widths, image.shape, image.device
        ctx.set_materialize_grads(False)
        return tuple(_empty(part, part.shape).copy_(part) for part in torch.split(image, list(widths), dim=-1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        """Join, with zeros for what nobody used."""
        result = _empty(torch.empty(0, device=ctx.device), ctx.shape)
        for to, grad in zip(torch.split(result, ctx.widths, dim=-1), grads, strict=True):
            if grad is None:
                to.zero_()
            else:
                to.copy_(grad)
        return (result, *(None for _ in ctx.widths))


class GatherRows(torch.autograd.Function):
    """Rows of a table [N, D], chosen by `ids` [R], in which the ids of each of the C consecutive groups of `counts`
    rows are unique. Unlike indexing, its gradient is added in a fixed order.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor, counts: list[int]) -> Tensor:
        """Gather."""
        ctx.save_for_backward(ids)
        ctx.counts, ctx.rows = counts, int(table.shape[0])
        return table.index_select(0, ids)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """Add, group by group."""
        (ids,) = ctx.saved_tensors
        result = grad.new_zeros(ctx.rows, *grad.shape[1:])
        for group, rows in zip(torch.split(ids, ctx.counts), torch.split(grad, ctx.counts), strict=True):
            result[group] = result[group] + rows
        return result, None, None
