"""`rasterization`, which takes gsplat's arguments, and `render`, the typed core that methods call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from gsbench.raster.backend import RasterInputs, get_backend
from gsbench.splats import Camera, Splats
from gsbench.splats.camera import FAR, NEAR

#: Arguments of gsplat's call that this version does not support, with the value that means "not asked for".
_LATER: Final[dict[str, Any]] = {
    "radius_clip": 0.0,
    "render_mode": "RGB",
    "sparse_grad": False,
    "absgrad": False,
    "rasterize_mode": "classic",
    "distributed": False,
    "camera_model": "pinhole",
    "covars": None,
    "with_ut": False,
    "with_eval3d": False,
    "radial_coeffs": None,
    "tangential_coeffs": None,
    "thin_prism_coeffs": None,
    "ftheta_coeffs": None,
    "rolling_shutter": None,
    "viewmats_rs": None,
}


def _checked(name: str, tensor: Tensor, shape: Sequence[int | str], device: torch.device) -> Tensor:
    """A contiguous version of `tensor`, or a ValueError that names it. Strings in `shape` match any size."""
    fits = tensor.ndim == len(shape) and all(
        isinstance(want, str) or want == got for want, got in zip(shape, tensor.shape, strict=True)
    )
    if not fits:
        expected = ", ".join(str(s) for s in shape)
        raise ValueError(f"{name}: expected shape [{expected}], got {list(tensor.shape)}")
    if tensor.dtype != torch.float32:
        raise ValueError(f"{name}: expected float32, got {tensor.dtype}")
    if tensor.device != device:
        raise ValueError(f"{name}: expected a tensor on {device} like means, got one on {tensor.device}")
    return tensor.contiguous()


def _checked_colors(colors: Tensor, sh_degree: int | None, n: int, c: int, device: torch.device) -> Tensor:
    if sh_degree is None:
        if colors.shape[-1:] != (3,) and colors.ndim in (2, 3):
            raise NotImplementedError(f"colors with {colors.shape[-1]} channels: this version draws 3")
        return _checked("colors", colors, (n, 3) if colors.ndim == 2 else (c, n, 3), device)
    if colors.ndim == 4:
        raise NotImplementedError("colors: spherical harmonics per camera [C, N, K, 3] are not supported yet")
    colors = _checked("colors", colors, (n, "K", 3), device)
    if not 0 <= sh_degree <= 4:
        raise ValueError(f"sh_degree: expected 0 to 4, got {sh_degree}")
    if (sh_degree + 1) ** 2 > colors.shape[1]:
        raise ValueError(
            f"colors: degree {sh_degree} needs {(sh_degree + 1) ** 2} coefficients per channel, got {colors.shape[1]}"
        )
    return colors


def rasterization(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
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
    render_mode: str = "RGB",
    sparse_grad: bool = False,
    absgrad: bool = False,
    rasterize_mode: str = "classic",
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
    outputs: Sequence[str] = (),
    backend: str = "auto",
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Draw N Gaussians for C cameras; takes the arguments of gsplat's function of this name and returns what it does.

    Differentiable with respect to means, quats, scales, opacities, colors and backgrounds, and through meta's means2d,
    conics, depths and opacities. The formulas, thresholds and the order of blending are those of ARCHITECTURE.md,
    section 3.

    Args:
        means: float32 [N, 3], scene units.
        quats: float32 [N, 4], wxyz; normalized inside.
        scales: float32 [N, 3], standard deviations in scene units (not logarithms).
        opacities: float32 [N] in [0, 1].
        colors: float32 [N, 3] or [C, N, 3]; with `sh_degree`, spherical harmonics [N, K, 3].
        viewmats: float32 [C, 4, 4], world to camera, +z forward.
        Ks: float32 [C, 3, 3], intrinsics in pixels.
        width, height: pixels.
        near_plane, far_plane: Gaussians whose camera z lies outside are not drawn, scene units.
        eps2d: added to the diagonal of the projected covariance, square pixels.
        sh_degree: degree to evaluate, 0 to 4; None for direct colors.
        packed: meta holds only the visible combinations of Gaussian and camera.
        tile_size, channel_chunk, segmented: tuning arguments of gsplat, accepted and without effect.
        backgrounds: float32 [C, 3], or None for black.
        outputs: names of further results to put in meta; none in this version.
        backend: "auto" (by device), "cpu", or what a plugin registers.

    Returns:
        colors: float32 [C, H, W, 3].
        alphas: float32 [C, H, W, 1].
        meta: means2d [..., 2] (in the graph: `retain_grad()` works), radii int32 [..., 2], depths [...],
            conics [..., 3] (xx, xy, yy), opacities [...], camera_ids and gaussian_ids int64 [R] (None unless packed),
            width, height, n_cameras; "..." is R if packed, else C, N. Rows of invisible Gaussians are zero.

    Raises:
        ValueError: an argument has the wrong shape, dtype or device, or holds NaN, infinity, a zero quaternion or an
            opacity outside [0, 1]; the message names it.
        NotImplementedError: an argument asks for what this version does not support; the message names it.
    """
    arguments = locals()
    for name, neutral in _LATER.items():
        if arguments[name] is not neutral and arguments[name] != neutral:
            raise NotImplementedError(f"{name}={arguments[name]!r} is not supported yet")
    if outputs:
        raise NotImplementedError(f"outputs={list(outputs)!r} are not supported yet")
    for name, value in (("tile_size", tile_size), ("channel_chunk", channel_chunk)):
        if not (isinstance(value, int) and value > 0):
            raise ValueError(f"{name}: expected a positive integer, got {value!r}")
    if means.ndim > 2:
        raise NotImplementedError(f"means of shape {list(means.shape)}: batches of scenes are not supported yet")
    for name, tensor in (("viewmats", viewmats), ("Ks", Ks)):
        if tensor.requires_grad:
            raise NotImplementedError(f"gradients with respect to {name} are not supported yet")
    device = means.device
    means = _checked("means", means, ("N", 3), device)
    n = int(means.shape[0])
    viewmats = _checked("viewmats", viewmats, ("C", 4, 4), device)
    c = int(viewmats.shape[0])
    inputs = RasterInputs(
        means=means,
        quats=_checked("quats", quats, (n, 4), device),
        scales=_checked("scales", scales, (n, 3), device),
        opacities=_checked("opacities", opacities, (n,), device),
        colors=_checked_colors(colors, sh_degree, n, c, device),
        viewmats=viewmats,
        Ks=_checked("Ks", Ks, (c, 3, 3), device),
        width=int(width),
        height=int(height),
        sh_degree=sh_degree,
        backgrounds=None if backgrounds is None else _checked("backgrounds", backgrounds, (c, 3), device),
        near_plane=float(near_plane),
        far_plane=float(far_plane),
        eps2d=float(eps2d),
        packed=bool(packed),
    )
    image, alpha, meta = get_backend(backend, device).rasterize(inputs)
    meta.update(width=int(width), height=int(height), n_cameras=c)
    return image, alpha, meta


@dataclass(frozen=True)
class RenderOptions:
    """How to draw.

    Fields:
        sh_degree: degree to evaluate; None for all that the Gaussians have.
        background: float32 [3], RGB; None for black.
        near, far: scene units along the optical axis.
        eps2d: added to the diagonal of the projected covariance, square pixels.
        antialiased: compensate the opacity for `eps2d` (Mip-Splatting); not supported yet.
        outputs: names of further results; none in this version.
        backend: as for `rasterization`.
    """

    sh_degree: int | None = None
    background: Tensor | None = None
    near: float = NEAR
    far: float = FAR
    eps2d: float = 0.3
    antialiased: bool = False
    outputs: tuple[str, ...] = ()
    backend: str = "auto"


_DEFAULT_OPTIONS: Final = RenderOptions()


@dataclass(frozen=True)
class RenderOutput:
    """An image float32 [H, W, 3] (not clamped), its alpha float32 [H, W, 1], and meta as `rasterization` returns it
    for one camera, unpacked: means2d [1, N, 2], radii [1, N, 2], ...
    """

    image: Tensor
    alpha: Tensor
    meta: dict[str, Any]


def render(splats: Splats, camera: Camera, options: RenderOptions = _DEFAULT_OPTIONS) -> RenderOutput:
    """Draw `splats` for one camera; differentiable with respect to the tensors in `splats`.

    Raises:
        ValueError, NotImplementedError: as `rasterization`.
    """
    device = splats.means.device
    background = options.background
    image, alpha, meta = rasterization(
        splats.means,
        splats.quats,
        splats.scales,
        splats.opacities,
        splats.sh,
        camera.viewmat.to(device)[None],
        camera.K.to(device)[None],
        camera.width,
        camera.height,
        near_plane=options.near,
        far_plane=options.far,
        eps2d=options.eps2d,
        sh_degree=splats.sh_degree if options.sh_degree is None else options.sh_degree,
        packed=False,
        backgrounds=None if background is None else background.to(device)[None],
        rasterize_mode="antialiased" if options.antialiased else "classic",
        outputs=options.outputs,
        backend=options.backend,
    )
    return RenderOutput(image[0], alpha[0], meta)
