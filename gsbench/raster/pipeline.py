"""One rasterization, from checked inputs to image and meta, around the stages of a native rasterizer.

The native code draws rows of features; which features those are (colors, depth, normals), and what their images mean,
is decided here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from gsbench.native.raster import (
    STATISTICS,
    Canvas,
    InputTensors,
    Projected,
    RasterSettings,
    RasterStages,
)
from gsbench.raster.autograd import Blend, BlendCall, GatherRows, JoinColumns, Normals, Project, SplitChannels
from gsbench.raster.backend import RasterInputs
from gsbench.raster.normals import facing_normals, thinnest_axes
from gsbench.raster.types import PIXEL_OUTPUTS, RenderMode

#: Alphas below this count as this where a depth is divided by them, as in gsplat.
_MIN_ALPHA: Final = 1e-10


@dataclass(frozen=True)
class _Channels:
    """Which channels are drawn, in this order: colors, depth, normal."""

    colors: int
    depth: bool
    normal: bool

    @classmethod
    def of(cls, inputs: RasterInputs) -> _Channels:
        drawn, options = inputs.gaussians.colors, inputs.options
        colors = 0 if drawn is None else int(drawn.shape[-1])
        depth = options.render_mode != "RGB" or not {"depth", "expected_depth"}.isdisjoint(options.outputs)
        return cls(colors, depth, "normal" in options.outputs)

    @property
    def total(self) -> int:
        return self.colors + self.depth + 3 * self.normal


def _settings(inputs: RasterInputs) -> RasterSettings:
    options = inputs.options
    return RasterSettings(
        width=inputs.width,
        height=inputs.height,
        near_plane=options.near,
        far_plane=options.far,
        eps2d=options.eps2d,
        radius_clip=options.radius_clip,
        antialiased=options.antialiased,
        sh_degree=inputs.gaussians.sh_degree,
        packed=options.packed,
        threads=torch.get_num_threads(),
    )


class _Slots:
    """Per-projection rows of values that are given per Gaussian."""

    def __init__(self, inputs: RasterInputs, projected: Projected) -> None:
        self._n, self._c = len(inputs.gaussians.means), len(inputs.viewmats)
        self._cameras, self._gaussians = projected.camera_ids, projected.gaussian_ids

    def rows(self, table: Tensor) -> Tensor:
        """Rows [S, D] of a table [N, D] or [C, N, D]."""
        n, c, columns = self._n, self._c, int(table.shape[-1])
        if self._cameras is None or self._gaussians is None:
            return (table if table.ndim == 3 else table.expand(c, n, columns)).reshape(c * n, columns)
        if table.ndim == 3:
            ids, counts = self._cameras * n + self._gaussians, [int(self._cameras.numel())]
            table = table.reshape(c * n, columns)
        else:
            ids, counts = self._gaussians, torch.bincount(self._cameras, minlength=c).tolist()
        result: Tensor = GatherRows.apply(table, ids, counts)  # type: ignore[no-untyped-call]
        return result


def _normals(inputs: RasterInputs, rasterizer: RasterStages, tensors: InputTensors, slots: _Slots) -> Tensor:
    """Normals [S, 3]."""
    if tensors.covars is None:
        normals: Tensor = Normals.apply(rasterizer, *tensors)  # type: ignore[no-untyped-call]
        return normals
    axes = thinnest_axes(tensors.covars)
    return slots.rows(facing_normals(axes, tensors.means, inputs.viewmats))


def _features(
    inputs: RasterInputs, channels: _Channels, projected: Projected, rasterizer: RasterStages, tensors: InputTensors
) -> Tensor | None:
    """What is drawn, [S, channels]; None for the projection's own colors.

    Raises:
        ValueError: if a color is not finite.
    """
    if channels.total == channels.colors and projected.colors is not None:
        return None
    slots, parts = _Slots(inputs, projected), []
    if channels.colors and projected.colors is not None:
        parts.append(projected.colors)
    elif channels.colors:
        assert inputs.gaussians.colors is not None
        rows = slots.rows(inputs.gaussians.colors)
        if not rows.detach().isfinite().all():
            raise ValueError("colors: a row is not finite")
        parts.append(rows)
    if channels.depth:
        parts.append(projected.depths[:, None])
    if channels.normal:
        parts.append(_normals(inputs, rasterizer, tensors, slots))
    if len(parts) == 1:
        return parts[0].contiguous()
    features: Tensor = JoinColumns.apply(*parts)  # type: ignore[no-untyped-call]
    return features


def _backgrounds(inputs: RasterInputs, channels: _Channels) -> Tensor | None:
    """Backgrounds [C, channels]: depth and normals have none."""
    backgrounds = inputs.options.background
    if backgrounds is None or channels.colors == 0:
        return None
    missing = channels.total - channels.colors
    return torch.cat([backgrounds, backgrounds.new_zeros(len(backgrounds), missing)], dim=1) if missing else backgrounds


def _median_depth(depths: Tensor, median_slots: Tensor) -> Tensor:
    """Depths [S] of the Gaussians in `median_slots` [C, H, W], as [C, H, W, 1]; 0 where there is none."""
    if depths.numel() == 0:
        return depths.new_zeros(*median_slots.shape, 1)
    found = median_slots >= 0
    chosen_slots = median_slots.clamp_min(0)
    if depths.is_cuda:  # there, the gradient of indexing is added in order, that of index_select is not
        chosen = depths[chosen_slots]
    else:
        chosen = depths.index_select(0, chosen_slots.flatten()).view(median_slots.shape)
    return torch.where(found, chosen, 0.0)[..., None]


def _sensitivity(
    inputs: RasterInputs,
    channels: _Channels,
    rasterizer: RasterStages,
    tensors: InputTensors,
    canvas: Canvas,
    slots: _Slots,
) -> dict[str, Tensor]:
    """|sum over pixels and color channels of d color / d parameter| per parameter, [S, ...]."""
    c = len(inputs.viewmats)
    ones = torch.zeros(c, inputs.height, inputs.width, channels.total, device=inputs.viewmats.device)
    ones[..., : channels.colors] = 1.0
    grads = rasterizer.blend_backward(canvas, ones)
    assert grads.features is not None
    of_colors = grads.features[:, : channels.colors].contiguous()
    projected_colors = of_colors if tensors.colors is not None else None
    by_parameter = rasterizer.project_backward(
        tensors, grads._replace(features=projected_colors), separate_cameras=True
    )
    result = {}
    for name, gradient in zip(by_parameter._fields, by_parameter, strict=True):
        if gradient is not None and name != "viewmats":
            rows = slots.rows(gradient.flatten(2) if gradient.ndim > 2 else gradient[..., None])
            result[name] = rows.abs().view(len(rows), *gradient.shape[2:])
    if tensors.colors is None or inputs.gaussians.sh_degree is None:
        result["colors"] = of_colors.abs()
    return result


def rasterize(
    inputs: RasterInputs, make_rasterizer: Callable[[InputTensors, RasterSettings], RasterStages]
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Image [C, H, W, X], alpha [C, H, W, 1] and meta."""
    gaussians, options = inputs.gaussians, inputs.options
    n, c = gaussians.means.shape[0], inputs.viewmats.shape[0]
    asked = frozenset(options.outputs)
    channels = _Channels.of(inputs)
    # The projection evaluates spherical harmonics, and passes RGB along; other features are gathered afterwards.
    projects_colors = channels.colors > 0 and (gaussians.sh_degree is not None or channels.colors == 3)
    tensors = InputTensors(
        gaussians.means,
        gaussians.quats,
        gaussians.scales,
        gaussians.covars,
        gaussians.opacities,
        gaussians.colors if projects_colors else None,
        inputs.viewmats,
        inputs.Ks,
    )
    rasterizer = make_rasterizer(tensors, _settings(inputs))
    undifferentiable: list[Any] = []
    differentiable = Project.apply(rasterizer, undifferentiable, *tensors)  # type: ignore[no-untyped-call]
    projected = Projected(*differentiable, *undifferentiable)
    features = _features(inputs, channels, projected, rasterizer, tensors)
    backgrounds = _backgrounds(inputs, channels)

    def shaped(rows: Tensor) -> Tensor:
        """Per-projection rows [S, ...] in the shape that gsplat gives them."""
        return rows if options.packed else rows.view(c, n, *rows.shape[1:])

    # The image depends on meta's tensors as they are, so that their gradients can be retained.
    means2d, depths = shaped(projected.means2d), shaped(projected.depths)
    conics, opacities = shaped(projected.conics), shaped(projected.opacities)
    blend = BlendCall(
        rasterizer,
        masks=None if options.mask is None else options.mask.view(torch.uint8),
        statistics=not asked.isdisjoint(STATISTICS),
        surface=not asked.isdisjoint({"distortion", "median_depth"}),
    )
    if options.absgrad or "grad_abs" in asked:
        blend.means2d, blend.grad_abs = means2d, torch.zeros_like(projected.means2d)
    geometry = means2d, conics, opacities, depths
    if not options.packed:
        geometry = means2d.view(-1, 2), conics.view(-1, 3), opacities.view(-1), depths.view(-1)
    image, alpha, distortion = Blend.apply(  # type: ignore[no-untyped-call]
        blend,
        *geometry,
        projected.colors,
        features,
        backgrounds,
    )
    meta: dict[str, Any] = {
        "means2d": means2d,
        "radii": shaped(projected.radii),
        "depths": depths,
        "conics": conics,
        "opacities": opacities,
        "camera_ids": projected.camera_ids,
        "gaussian_ids": projected.gaussian_ids,
    }
    meta.update({name: shaped(rows) for name, rows in blend.found.items() if name in asked})
    if "grad_abs" in asked:
        assert blend.grad_abs is not None
        meta["grad_abs"] = shaped(blend.grad_abs)
    if not asked.isdisjoint({"sensitivity", "fisher"}):
        with torch.no_grad():
            detached = None if features is None else features.detach()
            canvas = Canvas(detached, None if backgrounds is None else backgrounds.detach(), blend.masks)
            if "sensitivity" in asked:
                rows = _sensitivity(inputs, channels, rasterizer, tensors, canvas, _Slots(inputs, projected))
                meta["sensitivity"] = {name: shaped(values) for name, values in rows.items()}
            if "fisher" in asked:
                meta["fisher"] = shaped(_fisher(channels, rasterizer, tensors, canvas))
    if options.render_mode == "RGB" and asked.isdisjoint(PIXEL_OUTPUTS):
        return image, alpha, meta
    parts = _Parts.of(channels, image)
    meta.update(_pixel_outputs(asked, parts, alpha, distortion, depths.view(-1), blend.median_slots))
    return _drawn(options.render_mode, parts, alpha), alpha, meta


def _fisher(channels: _Channels, rasterizer: RasterStages, tensors: InputTensors, canvas: Canvas) -> Tensor:
    """`Rasterizer.fisher` of the color channels alone."""
    if canvas.features is not None and channels.colors < channels.total:
        features = canvas.features.clone()
        features[:, channels.colors :] = 0.0  # what is zero everywhere has no derivative
        canvas = canvas._replace(features=features)
    return rasterizer.fisher(tensors, canvas)


@dataclass(frozen=True)
class _Parts:
    """The channels of an image [C, H, W, X], apart. `joined` is all of it."""

    joined: Tensor
    colors: Tensor | None
    depth: Tensor | None
    normal: Tensor | None

    @classmethod
    def of(cls, channels: _Channels, image: Tensor) -> _Parts:
        widths = {"colors": channels.colors, "depth": int(channels.depth), "normal": 3 * channels.normal}
        present = {name: width for name, width in widths.items() if width}
        parts = (image,)
        if len(present) > 1:
            parts = SplitChannels.apply(image, *present.values())  # type: ignore[no-untyped-call]
        named: dict[str, Tensor] = dict(zip(present, parts, strict=True))
        return cls(image, named.get("colors"), named.get("depth"), named.get("normal"))


def _expected(depth: Tensor | None, alpha: Tensor) -> Tensor:
    assert depth is not None
    return depth / alpha.clamp_min(_MIN_ALPHA)


def _pixel_outputs(
    asked: frozenset[str],
    parts: _Parts,
    alpha: Tensor,
    distortion: Tensor | None,
    depths: Tensor,
    median_slots: Tensor | None,
) -> dict[str, Tensor]:
    """The outputs per pixel that were asked for, [C, H, W, 1 or 3]."""
    found: dict[str, Tensor | None] = {"depth": parts.depth, "normal": parts.normal, "distortion": distortion}
    if "expected_depth" in asked:
        found["expected_depth"] = _expected(parts.depth, alpha)
    if "median_depth" in asked:
        assert median_slots is not None
        found["median_depth"] = _median_depth(depths, median_slots)
    return {name: image for name, image in found.items() if name in asked and image is not None}


def _drawn(render_mode: RenderMode, parts: _Parts, alpha: Tensor) -> Tensor:
    """The channels that `render_mode` names."""
    if render_mode == "RGB":
        assert parts.colors is not None
        return parts.colors
    if not render_mode.endswith("ED") and parts.normal is None:
        return parts.joined
    assert parts.depth is not None
    depth = _expected(parts.depth, alpha) if render_mode.endswith("ED") else parts.depth
    return depth if parts.colors is None else torch.cat([parts.colors, depth], dim=-1)
