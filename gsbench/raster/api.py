"""`rasterization`, which takes gsplat's arguments; `render`, the typed core that methods call; `visible`."""

from __future__ import annotations

import numbers
import operator
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import torch
from torch import Tensor

from gsbench.native import raster as native
from gsbench.raster.backend import RasterInputs, get_backend
from gsbench.raster.types import OUTPUTS, RENDER_MODES, Gaussians, RenderMode, RenderOptions
from gsbench.splats import Camera, Splats
from gsbench.splats.camera import FAR, NEAR

#: Arguments of gsplat's call that are not supported, with the value that means "not asked for".
_UNSUPPORTED: Final[dict[str, Any]] = {
    "sparse_grad": False,
    "distributed": False,
    "camera_model": "pinhole",
    "with_ut": False,
    "with_eval3d": False,
    "radial_coeffs": None,
    "tangential_coeffs": None,
    "thin_prism_coeffs": None,
    "ftheta_coeffs": None,
    "rolling_shutter": None,
    "viewmats_rs": None,
}

_DEFAULT_OPTIONS: Final = RenderOptions()


@dataclass(frozen=True)
class RenderOutput:
    """An image float32 [H, W, X] (not clamped; X as `render_mode` says), its alpha float32 [H, W, 1], and meta as
    `rasterization` returns it for one camera: means2d [1, N, 2], radii [1, N, 2], ... unless packed.
    """

    image: Tensor
    alpha: Tensor
    meta: dict[str, Any]


def _checked(
    name: str, tensor: Tensor, shape: tuple[int | str, ...], device: torch.device, dtype: torch.dtype = torch.float32
) -> Tensor:
    """A contiguous version of `tensor`, or a ValueError that names it. Strings in `shape` match any size."""
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{name}: expected a tensor, got {type(tensor).__name__}")
    if tensor.layout != torch.strided:
        raise ValueError(f"{name}: expected a dense tensor, got {tensor.layout}")
    fits = tensor.shape == shape or (
        tensor.ndim == len(shape)
        and all(isinstance(want, str) or want == got for want, got in zip(shape, tensor.shape, strict=True))
    )
    if not fits:
        expected = ", ".join(str(s) for s in shape)
        raise ValueError(f"{name}: expected shape [{expected}], got {list(tensor.shape)}")
    if tensor.dtype != dtype:
        raise ValueError(f"{name}: expected {str(dtype).removeprefix('torch.')}, got {tensor.dtype}")
    if tensor.device != device:
        raise ValueError(f"{name}: expected a tensor on {device} like means, got one on {tensor.device}")
    return tensor.contiguous()


def _whole(name: str, value: object) -> int:
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ValueError(f"{name}: expected a whole number of pixels, got {value!r}") from None


def _number(name: str, value: object) -> float:
    if type(value) is float:
        return value
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ValueError(f"{name}: expected a number, got {value!r}")
    return float(value)


def _checked_colors(colors: Tensor | None, sh_degree: int | None, n: int, c: int, device: torch.device) -> Tensor:
    if colors is None:
        raise ValueError("colors: expected a tensor; only render_mode 'D' and 'ED' draw none")
    if sh_degree is None:
        colors = _checked("colors", colors, (n, "D") if colors.ndim == 2 else (c, n, "D"), device)
        if colors.shape[-1] == 0:
            raise ValueError("colors: expected at least one channel, got none")
        return colors
    colors = _checked("colors", colors, (n, "K", 3) if colors.ndim == 3 else (c, n, "K", 3), device)
    if isinstance(sh_degree, bool) or not isinstance(sh_degree, int) or not 0 <= sh_degree <= 4:
        raise ValueError(f"sh_degree: expected 0 to 4, got {sh_degree!r}")
    if (sh_degree + 1) ** 2 > colors.shape[-2]:
        raise ValueError(
            f"colors: degree {sh_degree} needs {(sh_degree + 1) ** 2} coefficients per channel, got {colors.shape[-2]}"
        )
    return colors


def _checked_shape(
    quats: Tensor | None, scales: Tensor | None, covars: Tensor | None, n: int, device: torch.device
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The shapes as quats and scales, or as covars."""
    if covars is not None:
        return None, None, _checked("covars", covars, (n, 3, 3), device)
    if quats is None or scales is None:
        missing = "quats" if quats is None else "scales"
        raise ValueError(f"{missing}: expected a tensor, since covars are not given")
    return _checked("quats", quats, (n, 4), device), _checked("scales", scales, (n, 3), device), None


def _checked_outputs(outputs: Sequence[str], covars: Tensor | None, render_mode: str) -> tuple[str, ...]:
    """The outputs, sorted and each once."""
    if isinstance(outputs, str) or not isinstance(outputs, Collection):
        raise ValueError(f"outputs: expected names in a tuple or list, got {outputs!r}")
    for name in outputs:
        if name not in OUTPUTS:
            raise ValueError(f"outputs: unknown name {name!r}; known: {', '.join(OUTPUTS)}")
    if "fisher" in outputs and covars is not None:
        raise ValueError("outputs: 'fisher' is by scales, and cannot be had with covars")
    for name in ("fisher", "sensitivity"):
        if name in outputs and not render_mode.startswith("RGB"):
            raise ValueError(f"outputs: {name!r} is of colors, and render_mode={render_mode!r} draws none")
    return tuple(sorted(set(outputs)))


def render_cameras(
    gaussians: Gaussians, viewmats: Tensor, Ks: Tensor, width: int, height: int, options: RenderOptions
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Draw for C cameras of one image size: viewmats [C, 4, 4], Ks [C, 3, 3]. What `render` and `rasterization` call.

    Returns:
        Image, alpha and meta as `rasterization`.

    Raises:
        ValueError, NotImplementedError: as `rasterization`.
    """
    means = gaussians.means
    if isinstance(means, Tensor) and means.ndim > 2:
        raise NotImplementedError(
            f"means of shape {list(means.shape)}: batches of scenes are not supported; call once for each scene"
        )
    if isinstance(Ks, Tensor) and Ks.requires_grad:
        raise NotImplementedError("Ks: gradients with respect to intrinsics are not supported; pass Ks.detach()")
    if options.render_mode not in RENDER_MODES:
        raise ValueError(f"render_mode: expected one of {', '.join(RENDER_MODES)}, got {options.render_mode!r}")
    device = means.device if isinstance(means, Tensor) else torch.device("cpu")
    means = _checked("means", means, ("N", 3), device)
    n = int(means.shape[0])
    viewmats = _checked("viewmats", viewmats, ("C", 4, 4), device)
    c = int(viewmats.shape[0])
    width, height = _whole("width", width), _whole("height", height)
    draws_colors = options.render_mode.startswith("RGB")
    colors = _checked_colors(gaussians.colors, gaussians.sh_degree, n, c, device) if draws_colors else None
    quats, scales, covars = _checked_shape(gaussians.quats, gaussians.scales, gaussians.covars, n, device)
    background, mask = options.background, options.mask
    if background is not None and colors is not None:
        if isinstance(background, Tensor) and background.ndim == 1:
            background = background.expand(c, -1)
        background = _checked("backgrounds", background, (c, int(colors.shape[-1])), device)
        # On a GPU the backend finds out, where it waits anyway.
        if not background.is_cuda and not bool(background.isfinite().all()):
            raise ValueError("backgrounds: expected finite numbers")
    if mask is not None:
        mask = mask.expand(c, -1, -1) if isinstance(mask, Tensor) and mask.ndim == 2 else mask
        mask = _checked("masks", mask, (c, height, width), device, torch.bool)
    checked = Gaussians(
        means=means,
        opacities=_checked("opacities", gaussians.opacities, (n,), device),
        colors=colors,
        quats=quats,
        scales=scales,
        covars=covars,
        sh_degree=gaussians.sh_degree if draws_colors else None,
    )
    outputs = _checked_outputs(options.outputs, covars, options.render_mode)
    as_checked: dict[str, Any] = {
        "background": background,
        "mask": mask,
        "outputs": outputs,
        "near": _number("near_plane", options.near),
        "far": _number("far_plane", options.far),
        "eps2d": _number("eps2d", options.eps2d),
        "radius_clip": _number("radius_clip", options.radius_clip),
        "packed": bool(options.packed),
    }
    if any(getattr(options, name) is not value for name, value in as_checked.items()):
        options = replace(options, **as_checked)
    inputs = RasterInputs(checked, viewmats, _checked("Ks", Ks, (c, 3, 3), device), width, height, options)
    image, alpha, meta = get_backend(options.backend, device).rasterize(inputs)
    meta.update(width=width, height=height, n_cameras=c)
    return image, alpha, meta


def _refuse_unsupported(arguments: dict[str, Any]) -> None:
    for name, neutral in _UNSUPPORTED.items():
        if arguments[name] is not neutral and arguments[name] != neutral:
            raise NotImplementedError(f"{name}={arguments[name]!r} is not supported")


def rasterization(
    means: Tensor,
    quats: Tensor | None,
    scales: Tensor | None,
    opacities: Tensor,
    colors: Tensor | None,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    near_plane: float = NEAR,
    far_plane: float = FAR,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    sh_degree: int | None = None,
    packed: bool = True,
    tile_size: int = 16,
    backgrounds: Tensor | None = None,
    render_mode: RenderMode = "RGB",
    sparse_grad: bool = False,
    absgrad: bool = False,
    rasterize_mode: Literal["classic", "antialiased"] = "classic",
    channel_chunk: int = 32,
    distributed: bool = False,
    camera_model: str = "pinhole",
    segmented: bool = False,
    covars: Tensor | None = None,
    with_ut: bool = False,
    with_eval3d: bool = False,
    radial_coeffs: Tensor | None = None,
    tangential_coeffs: Tensor | None = None,
    thin_prism_coeffs: Tensor | None = None,
    ftheta_coeffs: Any = None,
    rolling_shutter: Any = None,
    viewmats_rs: Tensor | None = None,
    *,
    masks: Tensor | None = None,
    outputs: Sequence[str] = (),
    backend: str = "auto",
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Draw N Gaussians for C cameras; takes the arguments of gsplat's function of this name and returns what it does.

    Differentiable with respect to means, quats, scales, covars, opacities, colors, backgrounds and viewmats, and
    through meta's means2d, conics, depths and opacities. The formulas, thresholds and the order of blending are those
    of ARCHITECTURE.md, section 3. A camera's center is taken as -R^T t, whatever R is (gsplat inverts the viewmat).

    Args:
        means: float32 [N, 3], scene units.
        quats: float32 [N, 4], wxyz; normalized inside. May be None with covars.
        scales: float32 [N, 3], standard deviations in scene units (not logarithms). May be None with covars.
        opacities: float32 [N] in [0, 1].
        colors: float32 [N, D] or [C, N, D]; with `sh_degree`, spherical harmonics [N, K, 3] or [C, N, K, 3]. May be
            None where render_mode draws none.
        viewmats: float32 [C, 4, 4], world to camera, +z forward.
        Ks: float32 [C, 3, 3], intrinsics in pixels.
        width, height: pixels.
        near_plane, far_plane: Gaussians whose camera z lies outside are not drawn, scene units.
        radius_clip: Gaussians of which both radii are at most this are not drawn, pixels.
        eps2d: added to the diagonal of the projected covariance, square pixels.
        sh_degree: degree to evaluate, 0 to 4; None for direct colors.
        packed: meta holds only the visible combinations of Gaussian and camera.
        tile_size, channel_chunk, segmented: tuning arguments of gsplat, accepted and without effect.
        backgrounds: float32 [C, D], or None for black. Depths have none.
        render_mode: "RGB" (the colors, whatever they are), "D" (depth: sum of alpha T z), "ED" (expected depth: that
            divided by alpha), "RGB+D", "RGB+ED" (depth is the last channel).
        absgrad: the backward pass sets meta["means2d"].absgrad, sums over pixels of absolute gradients, like means2d
            (AbsGS, Ye et al. 2024).
        rasterize_mode: "classic", or "antialiased": opacities are multiplied by sqrt(max(0.005^2, |S| / |S + eps2d|))
            for the projected covariance S (Mip-Splatting, Yu et al. 2024).
        covars: float32 [N, 3, 3] instead of quats and scales; (covars + covars^T) / 2 counts.
        masks: bool [C, H, W]; where False nothing is drawn: the background, alpha 0, no gradient, no statistics.
        outputs: names of further results to put in meta. Per Gaussian, shaped like radii without its last axis:

            * hits: int32, pixels where it is drawn.
            * weight: sum of alpha T over them.
            * opacity_transmittance: sum of opacity T over them.
            * max_weight: the largest alpha T.
            * dominant: int32, pixels where its alpha T is the largest.
            * grad_abs [..., 2]: as absgrad, zero until the backward pass.
            * sensitivity: for each parameter the absolute value of the gradient of the sum of the image's color
              channels, per camera (dict).
            * fisher [..., 21]: upper triangle of the sum over pixels and color channels of g g^T, with g the derivative
              by mean and scale while colors stay fixed.

            Per pixel [C, H, W, 1], with gradients:

            * depth, expected_depth: as D and ED.
            * median_depth: z of the last Gaussian drawn where T > 0.5, 0 if none is.
            * distortion: sum over pairs of w_i w_j |z_i - z_j|, w = alpha T.
            * normal [C, H, W, 3]: sum of alpha T n, n the unit axis of the smallest scale, in the world, towards the
              camera.
        backend: "auto" (by device), "cpu", or what a plugin registers.

    Returns:
        (colors, alphas, meta)

        * colors: float32 [C, H, W, X], the channels that render_mode names.
        * alphas: float32 [C, H, W, 1].
        * meta: means2d [..., 2] (in the graph: `retain_grad()` works), radii int32 [..., 2], depths [...],
          conics [..., 3] (xx, xy, yy), opacities [...] (antialiasing included), camera_ids and gaussian_ids int64
          [R] (None unless packed), width, height, n_cameras, and the outputs; "..." is R if packed, else C, N. Rows
          of invisible Gaussians are zero.

    Raises:
        ValueError: an argument has the wrong shape, dtype or device, or holds NaN, infinity, a zero quaternion or an
            opacity outside [0, 1]; the message names it.
        NotImplementedError: an argument asks for what is not supported; the message names it.
    """
    _refuse_unsupported(locals())
    for name, value in (("tile_size", tile_size), ("channel_chunk", channel_chunk)):
        if not (isinstance(value, int) and value > 0):
            raise ValueError(f"{name}: expected a positive integer, got {value!r}")
    if rasterize_mode not in ("classic", "antialiased"):
        raise ValueError(f"rasterize_mode: expected 'classic' or 'antialiased', got {rasterize_mode!r}")
    options = RenderOptions(
        background=backgrounds,
        near=near_plane,
        far=far_plane,
        eps2d=eps2d,
        antialiased=rasterize_mode == "antialiased",
        radius_clip=radius_clip,
        mask=masks,
        packed=packed,
        render_mode=render_mode,
        absgrad=absgrad,
        outputs=outputs,
        backend=backend,
    )
    gaussians = Gaussians(means, opacities, colors, quats, scales, covars, sh_degree)
    return render_cameras(gaussians, viewmats, Ks, width, height, options)


def render(gaussians: Splats | Gaussians, camera: Camera, options: RenderOptions = _DEFAULT_OPTIONS) -> RenderOutput:
    """Draw for one camera; differentiable with respect to the tensors in `gaussians`.

    Raises:
        ValueError, NotImplementedError: as `rasterization`.
    """
    if isinstance(gaussians, Splats):
        gaussians = Gaussians.of(gaussians, options.sh_degree)
    device = gaussians.means.device
    if options.background is not None:
        options = replace(options, background=options.background.to(device))
    image, alpha, meta = render_cameras(
        gaussians, camera.viewmat.to(device)[None], camera.K.to(device)[None], camera.width, camera.height, options
    )
    # Not image[0], whose gradient is made by filling zeros and copying.
    return RenderOutput(image.squeeze(0), alpha.squeeze(0), meta)


def visible(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    camera: Camera,
    *,
    near: float = NEAR,
    far: float = FAR,
    eps2d: float = 0.3,
    radius_clip: float = 0.0,
) -> Tensor:
    """Which of N Gaussians `camera` would draw if they were opaque: those whose projected radius is positive and whose
    image touches the screen. The cheap filter that anchor methods begin with; not differentiable.

    Args:
        means, quats, scales: as for `rasterization`, float32 [N, 3], [N, 4] and [N, 3], on the CPU or a GPU.
        camera: its viewmat and K are moved there.
        near, far, eps2d, radius_clip: as for `rasterization`.

    Returns:
        bool [N].

    Raises:
        ValueError: an argument has the wrong shape, dtype or device, or holds NaN, infinity or a zero quaternion.
    """
    device = means.device if isinstance(means, Tensor) and means.is_cuda else torch.device("cpu")
    means = _checked("means", means, ("N", 3), device)
    n = int(means.shape[0])
    settings = native.RasterSettings(
        width=camera.width,
        height=camera.height,
        near_plane=near,
        far_plane=far,
        eps2d=eps2d,
        radius_clip=radius_clip,
        antialiased=False,
        sh_degree=None,
        packed=False,
        threads=torch.get_num_threads(),
    )
    seen = native.visible
    if device.type == "cuda":
        from gsbench.native.cuda import raster as cuda

        seen = cuda.visible
    return seen(
        means,
        _checked("quats", quats, (n, 4), device),
        _checked("scales", scales, (n, 3), device),
        _checked("viewmat", camera.viewmat.to(device), (4, 4), device),
        _checked("K", camera.K.to(device), (3, 3), device),
        settings,
    )
