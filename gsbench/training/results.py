"""What passes between render, loss and tasks: `RenderResult` and `LossPack`."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor


class ViewspacePoints:
    """Projected centers with the gradient in the units of the original code.

    `means2d` is the rasterizer's tensor [1, N, 2] in pixels. `grad` is float32 [N, 2], the gradient with respect to
    normalized device coordinates (the pixel gradient times half the width and half the height), or None before the
    backward pass. So ``result.viewspace_points.grad[result.visibility_filter, :2]`` means what it means there.
    """

    def __init__(self, means2d: Tensor, width: int, height: int) -> None:
        self.means2d = means2d
        self._half = (0.5 * width, 0.5 * height)

    @cached_property
    def _scaled(self) -> Tensor:
        gradient = self.means2d.grad
        assert gradient is not None
        return gradient.reshape(-1, 2) * gradient.new_tensor(self._half)

    @property
    def grad(self) -> Tensor | None:
        """The gradient, float32 [N, 2], or None if there is none yet."""
        return None if self.means2d.grad is None else self._scaled


@dataclass
class RenderResult:
    """One rendered view. Methods subclass it to carry more.

    Shapes:
        image: float32 [H, W, 3], in the graph, not clamped.
        alpha: float32 [H, W, 1].
        meta: what the rasterizer reports, unpacked, for one camera: means2d [1, N, 2], radii int32 [1, N, 2], ...
    """

    image: Tensor
    alpha: Tensor
    meta: dict[str, Any]

    @property
    def rendered_image(self) -> Tensor:
        """The image as the original code has it, float32 [3, H, W]."""
        return self.image.permute(2, 0, 1)

    @cached_property
    def viewspace_points(self) -> ViewspacePoints:
        """The projected centers and their gradient."""
        height, width = self.image.shape[:2]
        return ViewspacePoints(self.meta["means2d"], int(width), int(height))

    @cached_property
    def radii(self) -> Tensor:
        """Radius in pixels of each Gaussian's footprint (the larger axis), int32 [N]; 0 where invisible."""
        radii: Tensor = self.meta["radii"][0]
        return torch.maximum(radii[:, 0], radii[:, 1])

    @cached_property
    def visibility_filter(self) -> Tensor:
        """True where a Gaussian is visible in this view, bool [N]."""
        # The rows of invisible Gaussians are zero, those of visible ones positive along both axes.
        radii: Tensor = self.meta["radii"][0]
        return radii[:, 0] > 0


@dataclass
class LossPack:
    """The parts of a loss, detached scalars, for progress displays and tasks.

    Fields:
        loss: what was minimized.
        l1, ssim: its usual parts, None where a method has no such part.
        extras: further parts by name.
    """

    loss: Tensor
    l1: Tensor | None = None
    ssim: Tensor | None = None
    extras: dict[str, Tensor] = field(default_factory=dict)
