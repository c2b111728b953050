"""What is drawn and how: the arguments of `gsbench.raster.render`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from torch import Tensor

from gsbench.native.raster import STATISTICS
from gsbench.splats import Splats
from gsbench.splats.camera import FAR, NEAR

RenderMode = Literal["RGB", "D", "ED", "RGB+D", "RGB+ED"]
RENDER_MODES: Final[tuple[RenderMode, ...]] = ("RGB", "D", "ED", "RGB+D", "RGB+ED")

#: Results per Gaussian and camera that can be asked for by name.
GAUSSIAN_OUTPUTS: Final = (*STATISTICS, "grad_abs", "sensitivity", "fisher")
#: Results per pixel that can be asked for by name.
PIXEL_OUTPUTS: Final = ("depth", "expected_depth", "median_depth", "normal", "distortion")
OUTPUTS: Final = (*GAUSSIAN_OUTPUTS, *PIXEL_OUTPUTS)


@dataclass(frozen=True)
class Gaussians:
    """N Gaussians as they are drawn: activated values, float32.

    Fields:
        means: [N, 3], scene units.
        opacities: [N] in [0, 1].
        colors: [N, D] or [C, N, D]; with `sh_degree`, spherical harmonics [N, K, 3] or [C, N, K, 3]; None if none are
            drawn.
        quats, scales: [N, 4] wxyz (normalized inside) and [N, 3] standard deviations in scene units; or
        covars: [N, 3, 3].
        sh_degree: degree to evaluate, 0 to 4; None for direct colors.
    """

    means: Tensor
    opacities: Tensor
    colors: Tensor | None
    quats: Tensor | None = None
    scales: Tensor | None = None
    covars: Tensor | None = None
    sh_degree: int | None = None

    @classmethod
    def of(cls, splats: Splats, sh_degree: int | None = None) -> Gaussians:
        """The Gaussians of `splats`, up to an SH degree (None: all that there is). Differentiable."""
        degree = splats.sh_degree if sh_degree is None else sh_degree
        return cls(splats.means, splats.opacities, splats.sh, splats.quats, splats.scales, sh_degree=degree)


@dataclass(frozen=True)
class RenderOptions:
    """How to draw.

    Fields:
        sh_degree: degree up to which `Splats` are evaluated; None for all that they have.
        background: float32 [D], or [C, D] by camera; None for black.
        near, far: scene units along the optical axis.
        eps2d: added to the diagonal of the projected covariance, square pixels.
        antialiased: compensate the opacity for `eps2d` (Mip-Splatting).
        radius_clip: Gaussians of which both radii are at most this are not drawn, pixels.
        mask: bool [H, W], or [C, H, W] by camera; False where nothing is to be drawn; None for everywhere.
        packed, render_mode, absgrad, outputs, backend: as for `rasterization`.
    """

    sh_degree: int | None = None
    background: Tensor | None = None
    near: float = NEAR
    far: float = FAR
    eps2d: float = 0.3
    antialiased: bool = False
    radius_clip: float = 0.0
    mask: Tensor | None = None
    packed: bool = False
    render_mode: RenderMode = "RGB"
    absgrad: bool = False
    outputs: Sequence[str] = ()
    backend: str = "auto"
