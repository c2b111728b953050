"""What a rasterizer backend is, and how one is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal, Protocol

import torch
from torch import Tensor

from gsbench import registry
from gsbench.native.raster import STATISTICS

#: Backends that come with the core, by name; others are registered by plugins.
CORE_BACKENDS: Final = {"cpu": "gsbench.raster.cpu:CpuBackend"}

RenderMode = Literal["RGB", "D", "ED", "RGB+D", "RGB+ED"]
RENDER_MODES: Final[tuple[RenderMode, ...]] = ("RGB", "D", "ED", "RGB+D", "RGB+ED")

#: Results per Gaussian and camera that can be asked for by name.
GAUSSIAN_OUTPUTS: Final = (*STATISTICS, "grad_abs", "sensitivity", "fisher")
#: Results per pixel that can be asked for by name.
PIXEL_OUTPUTS: Final = ("depth", "expected_depth", "median_depth", "normal", "distortion")
OUTPUTS: Final = (*GAUSSIAN_OUTPUTS, *PIXEL_OUTPUTS)


@dataclass(frozen=True)
class RasterInputs:
    """Checked arguments of a rasterization: N Gaussians, C cameras; float32, contiguous, on one device.

    Fields:
        means [N, 3]; quats [N, 4] wxyz and scales [N, 3] linear, or covars [N, 3, 3]; opacities [N] in [0, 1].
        colors: spherical harmonics [N, K, 3] or [C, N, K, 3] if `sh_degree` is given, else [N, D] or [C, N, D]; None
            if `render_mode` draws none.
        viewmats [C, 4, 4] world to camera; Ks [C, 3, 3] in pixels.
        backgrounds: [C, D] or None (black). masks: bool [C, H, W], False where nothing is drawn, or None.
        near_plane, far_plane: scene units. eps2d: square pixels. radius_clip: pixels.
        packed: whether meta's per-projection tensors hold only the visible combinations.
        absgrad: whether the backward pass sets `means2d.absgrad`. outputs: names out of `OUTPUTS`.
    """

    means: Tensor
    quats: Tensor | None
    scales: Tensor | None
    covars: Tensor | None
    opacities: Tensor
    colors: Tensor | None
    viewmats: Tensor
    Ks: Tensor
    width: int
    height: int
    sh_degree: int | None
    backgrounds: Tensor | None
    masks: Tensor | None
    near_plane: float
    far_plane: float
    eps2d: float
    radius_clip: float
    antialiased: bool
    packed: bool
    render_mode: RenderMode
    absgrad: bool
    outputs: frozenset[str]


class Backend(Protocol):
    """A rasterizer. Conventions are those of ARCHITECTURE.md, section 3; deviations are documented by the backend."""

    name: str

    def rasterize(self, inputs: RasterInputs) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Image [C, H, W, X], alpha [C, H, W, 1], and meta as `rasterization` guarantees it."""
        ...


@cache
def _core_backend(name: str) -> Backend:
    backend: Backend = registry.resolve_target(CORE_BACKENDS[name])()
    return backend


def get_backend(name: str, device: torch.device) -> Backend:
    """The backend called `name`; "auto" takes the one for the tensors' device.

    Raises:
        UsageError: if there is none of this name.
        NotImplementedError: if no backend draws on this device.
    """
    if name == "auto":
        name = device.type
        if name not in CORE_BACKENDS and name not in registry.rasterizers:
            raise NotImplementedError(
                f"no rasterizer for tensors on {device}: this version draws on the CPU; move the tensors there or "
                f"install a plugin that registers a backend {name!r}"
            )
    if name in CORE_BACKENDS:
        return _core_backend(name)
    backend: Backend = registry.rasterizers.get(name)()
    return backend
