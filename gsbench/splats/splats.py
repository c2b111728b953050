"""`Splats`: a set of 3D Gaussians as the Inria PLY stores them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from gsbench.splats.activation import logistic

#: Number of SH coefficients per channel of each degree.
SH_BASES: Final = (1, 4, 9, 16, 25)


@dataclass(frozen=True, eq=False)
class Splats:
    """N Gaussians, stored before activation, so that a round trip through a file loses nothing.

    Shapes and units:
        means: float32 [N, 3], in scene units.
        log_scales: float32 [N, 3], natural logarithm of the standard deviations along the principal axes.
        quats: float32 [N, 4], wxyz, not necessarily normalized.
        opacity_logits: float32 [N]; infinities are allowed and mean opacity 0 and 1.
        sh: float32 [N, K, 3], K = (degree + 1)^2 real spherical harmonics per channel; the color seen along a
            direction is max(SH + 0.5, 0).

    Raises:
        ValueError: if a shape or dtype is wrong; the message names the field.
    """

    means: Tensor
    log_scales: Tensor
    quats: Tensor
    opacity_logits: Tensor
    sh: Tensor

    def __post_init__(self) -> None:
        n = self.means.shape[0] if self.means.ndim else -1
        expected: dict[str, tuple[int | str, ...]] = {
            "means": (n, 3),
            "log_scales": (n, 3),
            "quats": (n, 4),
            "opacity_logits": (n,),
            "sh": (n, "K", 3),
        }
        for name, shape in expected.items():
            tensor: Tensor = getattr(self, name)
            fits = tensor.ndim == len(shape) and all(
                want == got for want, got in zip(shape, tensor.shape, strict=True) if want != "K"
            )
            if not fits:
                raise ValueError(f"{name}: expected shape {list(shape)}, got {list(tensor.shape)}")
            if tensor.dtype != torch.float32:
                raise ValueError(f"{name}: expected float32, got {tensor.dtype}")
        if self.sh.shape[1] not in SH_BASES:
            raise ValueError(f"sh: expected K in {SH_BASES}, got {self.sh.shape[1]}")

    def __len__(self) -> int:
        return int(self.means.shape[0])

    @property
    def sh_degree(self) -> int:
        """Degree of the spherical harmonics, 0 to 4."""
        return SH_BASES.index(int(self.sh.shape[1]))

    @property
    def scales(self) -> Tensor:
        """Standard deviations [N, 3], in scene units."""
        return self.log_scales.exp()

    @property
    def opacities(self) -> Tensor:
        """Opacities [N] in [0, 1]."""
        return logistic(self.opacity_logits)

    def to(self, device: torch.device | str) -> Splats:
        """The same Gaussians on another device."""
        return Splats(
            self.means.to(device),
            self.log_scales.to(device),
            self.quats.to(device),
            self.opacity_logits.to(device),
            self.sh.to(device),
        )

    @staticmethod
    def empty(sh_degree: int = 3) -> Splats:
        """No Gaussians at all.

        Raises:
            ValueError: if `sh_degree` is not 0 to 4.
        """
        if not 0 <= sh_degree < len(SH_BASES):
            raise ValueError(f"sh_degree: expected 0 to {len(SH_BASES) - 1}, got {sh_degree}")
        return Splats(
            torch.zeros(0, 3),
            torch.zeros(0, 3),
            torch.zeros(0, 4),
            torch.zeros(0),
            torch.zeros(0, SH_BASES[sh_degree], 3),
        )
