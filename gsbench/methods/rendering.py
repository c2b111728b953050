"""`SplatsRenderable`: Gaussians with the rasterizer, the `Renderable` of every method that decodes to plain splats."""

from __future__ import annotations

import torch
from torch import Tensor

from gsbench.raster import RenderOptions, render
from gsbench.splats import Camera, Splats


class SplatsRenderable:
    """Decoded Gaussians.

    Args:
        splats: on the device where they are to be rendered.
    """

    def __init__(self, splats: Splats) -> None:
        self._splats = splats

    @torch.no_grad()
    def render(self, camera: Camera, background: Tensor) -> Tensor:
        """The image, float32 [H, W, 3], over `background`, float32 [3]."""
        image: Tensor = render(self._splats, camera, RenderOptions(background=background)).image
        return image

    def splats(self) -> Splats:
        """The Gaussians."""
        return self._splats
