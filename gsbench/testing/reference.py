"""The rasterizer as it is defined: dense, slow, float64, differentiable. The oracle for every backend.

Every Gaussian is evaluated at every pixel: no tiles, no culling by extent. Written to be compared with ARCHITECTURE.md,
section 3, line by line; gradients are autograd's. Here is the call; the formulas are in `gsbench/testing/dense`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from gsbench.testing.dense import derivatives, pixels, statistics
from gsbench.testing.dense.blending import Blend, alphas, blend, margin, pixel_centers
from gsbench.testing.dense.projection import (
    Projection,
    View,
    depth_margin,
    project,
    projected_covariances,
    rotation_matrices,
    shortest_axes,
    world_covariances,
)

__all__ = [
    "absolute_gradients",
    "projected_covariances",
    "reference_rasterization",
    "reference_visible",
    "rotation_matrices",
]

RENDER_MODES: Final = ("RGB", "D", "ED", "RGB+D", "RGB+ED")
PER_GAUSSIAN: Final = ("hits", "weight", "opacity_transmittance", "max_weight", "dominant", "fisher")
PER_PIXEL: Final = ("depth", "expected_depth", "median_depth", "normal", "distortion")


@dataclass(frozen=True)
class Scene:
    """What is drawn for one camera. `colors` are this camera's: [N, D], or SH [N, K, 3] with `sh_degree`."""

    parameters: dict[str, Tensor]
    view: View
    mask: Tensor | None
    background: Tensor | None
    sh_degree: int | None
    has_color: bool
    options: dict[str, Any]

    def project(self, parameters: dict[str, Tensor]) -> Projection:
        """The Gaussians on the screen."""
        covariances = world_covariances(*(parameters.get(name) for name in ("quats", "scales", "covars")))
        return project(parameters["means"], covariances, parameters["opacities"], self.view, **self.options)

    def values(self, parameters: dict[str, Tensor], rows: Tensor) -> Tensor:
        """The color channels [K, D] of the Gaussians `rows`; none in a mode that shows only depth."""
        colors = parameters["colors"]
        if not self.has_color:
            return colors.new_zeros(len(rows), 0)
        if self.sh_degree is None:
            return colors[rows]
        along = pixels.directions(parameters["means"][rows], self.view.center)
        return pixels.shaded(colors[rows], self.sh_degree, along)

    def image(self, parameters: dict[str, Tensor]) -> Tensor:
        """The color channels [P, D] alone."""
        seen = self.project(parameters)
        blended = blend(self.alphas(seen), self.mask)
        return pixels.color(blended, self.values(parameters, seen.rows), self.background)

    def alphas(self, seen: Projection, centers: Tensor | None = None) -> Tensor:
        """Alpha [K, P]; with `centers`, for centers that are given for every pixel [K, P, 2]."""
        if centers is None:
            centers = seen.centers[:, None].expand(-1, len(self.grid), -1)
        return alphas(centers, seen.conics, seen.opacities, self.grid)

    @property
    def grid(self) -> Tensor:
        """Where pixels are sampled [P, 2]."""
        return pixel_centers(self.view.width, self.view.height)


def spread(values: Tensor, rows: Tensor, count: int) -> Tensor:
    """`values` [K, ...] at their `rows` among `count`, zero elsewhere."""
    return torch.zeros(count, *values.shape[1:], dtype=values.dtype).index_copy(0, rows, values)


def on_screen(projections: Sequence[Projection], count: int) -> dict[str, Tensor]:
    """The part of meta that says where Gaussians are on the screen; zero where they cover no pixel."""
    found: dict[str, list[Tensor]] = {}
    for seen in projections:
        conics = torch.stack([seen.conics[:, 0, 0], seen.conics[:, 0, 1], seen.conics[:, 1, 1]], dim=1)
        fields = {
            "means2d": seen.centers,
            "radii": seen.radii.int(),
            "depths": seen.points[:, 2],
            "conics": conics,
            "opacities": seen.opacities,
        }
        for name, values in fields.items():
            found.setdefault(name, []).append(spread(values[seen.touches], seen.rows[seen.touches], count))
        found.setdefault("hidden", []).append(spread(~seen.touches, seen.rows, count))
    return {name: torch.stack(values) for name, values in found.items()}


def per_gaussian(name: str, scene: Scene, seen: Projection, blended: Blend) -> Tensor:
    """One statistic [N, ...] of a camera."""
    if name == "fisher":
        quats = scene.parameters["quats"].detach()
        fixed = {name: value.detach() for name, value in scene.parameters.items()}

        def project_again(means: Tensor, scales: Tensor) -> Projection:
            return scene.project({**fixed, "means": means, "quats": quats, "scales": scales})

        by_parameters = derivatives.alpha_by_parameters(
            project_again, scene.parameters["means"], scene.parameters["scales"], scene.grid
        )
        values = scene.values(scene.parameters, seen.rows)
        by_alpha = derivatives.color_by_alpha(scene.alphas(seen), scene.mask, values, scene.background)
        found = derivatives.fisher(by_alpha, by_parameters, blended)
    elif name == "opacity_transmittance":
        found = statistics.opacity_transmittance(blended, seen.opacities)
    else:
        found = getattr(statistics, name)(blended)
    return spread(found.detach(), seen.rows, len(scene.parameters["means"]))


def per_pixel(name: str, scene: Scene, seen: Projection, blended: Blend) -> Tensor:
    """One image [H, W, 1 or 3] of a camera."""
    if name == "normal":
        axes = shortest_axes(*(scene.parameters.get(name) for name in ("quats", "scales", "covars")))
        axes = pixels.facing(axes, scene.parameters["means"], scene.view.center)
        found = pixels.normal(blended, axes[seen.rows])
    else:
        found = getattr(pixels, name)(blended, seen.points[:, 2])[:, None]
    return found.reshape(scene.view.height, scene.view.width, found.shape[1])


def reference_rasterization(
    means: Tensor,
    quats: Tensor | None,
    scales: Tensor | None,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    sh_degree: int | None = None,
    backgrounds: Tensor | None = None,
    render_mode: str = "RGB",
    rasterize_mode: str = "classic",
    covars: Tensor | None = None,
    masks: Tensor | None = None,
    outputs: Sequence[str] = (),
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Colors [C, H, W, X], alphas [C, H, W, 1] and meta in float64; arguments as for `gsbench.rasterization`.

    Differentiable with respect to every floating-point argument. Arguments may have another dtype; gradients arrive in
    that of the leaf.

    Returns:
        colors, alphas, and meta as the unpacked meta of `gsbench.rasterization`: means2d [C, N, 2], radii int32
        [C, N, 2], depths [C, N], conics [C, N, 3], opacities [C, N], with zeros where a Gaussian is culled or its
        extent holds no pixel; and the named `outputs`. `hidden` bool [C, N] marks those that pass every test but
        that last one; `margin` is how far, relatively, the nearest decision is from its threshold. For "grad_abs" see
        `absolute_gradients`.
    """
    if render_mode not in RENDER_MODES or rasterize_mode not in ("classic", "antialiased"):
        raise ValueError(f"no such mode: {render_mode!r}, {rasterize_mode!r}")
    given = {"means": means, "quats": quats, "scales": scales, "covars": covars, "opacities": opacities}
    if covars is not None:
        given["quats"] = given["scales"] = None
    shared = {name: value.double() for name, value in given.items() if value is not None}
    colors, viewmats, Ks = colors.double(), viewmats.double(), Ks.double()
    shared_colors = colors.ndim == (2 if sh_degree is None else 3)
    options = {
        "near_plane": near_plane,
        "far_plane": far_plane,
        "radius_clip": radius_clip,
        "eps2d": eps2d,
        "antialiased": rasterize_mode == "antialiased",
    }
    has_color = "RGB" in render_mode
    scenes = [
        Scene(
            parameters={**shared, "colors": colors if shared_colors else colors[c]},
            view=View(viewmats[c, :3, :3], viewmats[c, :3, 3], Ks[c], width, height),
            mask=None if masks is None else masks[c].flatten(),
            background=None if backgrounds is None or not has_color else backgrounds[c].double(),
            sh_degree=sh_degree,
            has_color=has_color,
            options=options,
        )
        for c in range(len(viewmats))
    ]
    projections = [scene.project(scene.parameters) for scene in scenes]
    count = int(means.shape[0])
    meta: dict[str, Any] = {"width": width, "height": height, "n_cameras": len(scenes), "at_every_pixel": []}
    meta["margin"] = math.inf
    meta |= on_screen(projections, count)

    images: list[Tensor] = []
    transparent: list[Tensor] = []
    found: dict[str, list[Any]] = {}
    for c, (scene, seen) in enumerate(zip(scenes, projections, strict=True)):
        # The image depends on meta's means2d as such, and on a copy of them for every pixel.
        centers = torch.where(seen.touches[:, None], meta["means2d"][c, seen.rows], seen.centers)
        centers = centers[:, None].expand(-1, width * height, -1)
        if centers.requires_grad and "grad_abs" in outputs:
            centers.retain_grad()
        meta["at_every_pixel"].append((seen.rows, centers))
        alpha = scene.alphas(seen, centers)
        blended = blend(alpha, scene.mask)
        meta["margin"] = min(meta["margin"], margin(alpha, blended), depth_margin(seen))

        shown = [pixels.color(blended, scene.values(scene.parameters, seen.rows), scene.background)]
        if render_mode.endswith("ED"):
            shown.append(pixels.expected_depth(blended, seen.points[:, 2])[:, None])
        elif render_mode.endswith("D"):
            shown.append(pixels.depth(blended, seen.points[:, 2])[:, None])
        image = torch.cat(shown, dim=1)
        images.append(image.reshape(height, width, image.shape[1]))
        transparent.append((1 - blended.behind).reshape(height, width, 1))
        for name in outputs:
            if name in PER_GAUSSIAN:
                found.setdefault(name, []).append(per_gaussian(name, scene, seen, blended))
            elif name in PER_PIXEL:
                found.setdefault(name, []).append(per_pixel(name, scene, seen, blended))
            elif name == "sensitivity":
                found.setdefault(name, []).append(derivatives.sensitivity(scene.image, scene.parameters))
            elif name != "grad_abs":
                raise ValueError(f"no such output: {name!r}")
    if "sensitivity" in found:
        values = found.pop("sensitivity")
        meta["sensitivity"] = {key: torch.stack([value[key] for value in values]) for key in values[0]}
    meta |= {name: torch.stack(values) for name, values in found.items()}
    return torch.stack(images), torch.stack(transparent), meta


def absolute_gradients(meta: dict[str, Any], count: int) -> Tensor:
    """What `grad_abs` is after the backward pass: sum over pixels of |d loss / d mean2d|, [C, N, 2].

    `meta` is of a call with "grad_abs" among its `outputs`, on whose results `backward` has been called; `count` is N.
    """
    found = []
    for rows, centers in meta["at_every_pixel"]:
        grad = torch.zeros_like(centers) if centers.grad is None else centers.grad
        found.append(spread(grad.abs().sum(dim=1), rows, count))
    return torch.stack(found)


def reference_visible(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    viewmat: Tensor,
    K: Tensor,
    width: int,
    height: int,
    near: float = 0.01,
    far: float = 1e10,
    eps2d: float = 0.3,
    radius_clip: float = 0.0,
) -> Tensor:
    """Which Gaussians could be seen if their opacity were one: bool [N]. As `gsbench.raster.visible`."""
    view = View(viewmat[:3, :3].double(), viewmat[:3, 3].double(), K.double(), width, height)
    covariances = world_covariances(quats.double(), scales.double(), None)
    opaque = torch.ones(len(means), dtype=torch.float64)
    seen = project(
        means.double(), covariances, opaque, view, near_plane=near, far_plane=far, eps2d=eps2d, radius_clip=radius_clip
    )
    return spread(seen.touches, seen.rows, len(means))
