"""What a rasterizer backend is, and how one is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from gsbench import registry
from gsbench.errors import UsageError
from gsbench.raster.types import Gaussians, RenderOptions

#: Backends that come with the core, by name; others are registered by plugins.
CORE_BACKENDS: Final = {"cpu": "gsbench.raster.cpu:CpuBackend", "cuda": "gsbench.raster.cuda:CudaBackend"}

#: Backends of the core and its adapters that draw on CUDA devices only.
ON_GPU: Final = frozenset({"cuda", "gsplat", "inria"})


@dataclass(frozen=True)
class RasterInputs:
    """A rasterization for C cameras of one image size, with everything checked: float32, contiguous, on one device.

    Fields:
        gaussians: as described there; colors are None if `options.render_mode` draws none.
        viewmats: [C, 4, 4] world to camera. Ks: [C, 3, 3] in pixels. width, height: pixels.
        options: background is None or [C, D], mask None or [C, H, W]; outputs are names out of `OUTPUTS`.
    """

    gaussians: Gaussians
    viewmats: Tensor
    Ks: Tensor
    width: int
    height: int
    options: RenderOptions


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
                f"no rasterizer for tensors on {device}: this version draws on CPUs and CUDA devices; move the tensors "
                f"there or install a plugin that registers a backend {name!r}"
            )
    if name in CORE_BACKENDS:
        return _core_backend(name)
    if name not in registry.rasterizers:
        known = sorted({*CORE_BACKENDS, *registry.rasterizers})
        raise UsageError(f"backend: there is no rasterizer {name!r}; there are: {', '.join(known)}")
    backend: Backend = registry.rasterizers.get(name)()
    return backend
