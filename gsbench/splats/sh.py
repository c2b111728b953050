"""Real spherical harmonics up to degree 4, in the order and with the signs of the original 3DGS code.

The basis is the real form of the complex harmonics with the Condon-Shortley phase, orthonormal over the unit sphere,
sorted by degree l and then by order m = -l ... l. The Cartesian forms are those of
https://en.wikipedia.org/wiki/Table_of_spherical_harmonics (real harmonics), where every odd order changes its sign for
the phase.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from gsbench.splats.splats import SH_BASES

#: The constant harmonic, 1 / (2 sqrt(pi)) = 0.28209479...
C0: Final = 0.5 * math.sqrt(1.0 / math.pi)

_C1: Final = 0.5 * math.sqrt(3.0 / math.pi)

_C2_2: Final = 0.5 * math.sqrt(15.0 / math.pi)
_C2_0: Final = 0.25 * math.sqrt(5.0 / math.pi)

_C3_3: Final = 0.25 * math.sqrt(35.0 / (2.0 * math.pi))
_C3_2: Final = 0.5 * math.sqrt(105.0 / math.pi)
_C3_1: Final = 0.25 * math.sqrt(21.0 / (2.0 * math.pi))
_C3_0: Final = 0.25 * math.sqrt(7.0 / math.pi)

_C4_4: Final = 0.75 * math.sqrt(35.0 / math.pi)
_C4_3: Final = 0.75 * math.sqrt(35.0 / (2.0 * math.pi))
_C4_2: Final = 0.75 * math.sqrt(5.0 / math.pi)
_C4_1: Final = 0.75 * math.sqrt(5.0 / (2.0 * math.pi))
_C4_0: Final = (3.0 / 16.0) * math.sqrt(1.0 / math.pi)


def sh_basis(degree: int, directions: Tensor) -> Tensor:
    """The harmonics of degree 0 to `degree` along unit directions.

    Args:
        degree: 0 to 4.
        directions: any floating dtype [..., 3], of length 1 (not normalized here, so that gradients are the
            polynomials' own).

    Returns:
        [..., (degree + 1)^2], of the dtype of `directions`; differentiable.

    Raises:
        ValueError: for another degree, or if the last dimension is not 3.
    """
    if not 0 <= degree < len(SH_BASES):
        raise ValueError(f"degree: expected 0 to {len(SH_BASES) - 1}, got {degree}")
    if directions.ndim == 0 or directions.shape[-1] != 3 or not directions.is_floating_point():
        raise ValueError(
            f"directions: expected floating point [..., 3], got {directions.dtype} {list(directions.shape)}"
        )
    x, y, z = directions.unbind(-1)
    basis = [torch.full_like(x, C0)]
    if degree >= 1:
        basis += [-_C1 * y, _C1 * z, -_C1 * x]
    if degree >= 2:
        xx, yy, zz = x * x, y * y, z * z
        basis += [
            _C2_2 * x * y,
            -_C2_2 * y * z,
            _C2_0 * (2.0 * zz - xx - yy),
            -_C2_2 * x * z,
            0.5 * _C2_2 * (xx - yy),
        ]
    if degree >= 3:
        basis += [
            -_C3_3 * y * (3.0 * xx - yy),
            _C3_2 * x * y * z,
            -_C3_1 * y * (4.0 * zz - xx - yy),
            _C3_0 * z * (2.0 * zz - 3.0 * xx - 3.0 * yy),
            -_C3_1 * x * (4.0 * zz - xx - yy),
            0.5 * _C3_2 * z * (xx - yy),
            -_C3_3 * x * (xx - 3.0 * yy),
        ]
    if degree >= 4:
        basis += [
            _C4_4 * x * y * (xx - yy),
            -_C4_3 * y * z * (3.0 * xx - yy),
            _C4_2 * x * y * (7.0 * zz - 1.0),
            -_C4_1 * y * z * (7.0 * zz - 3.0),
            _C4_0 * (zz * (35.0 * zz - 30.0) + 3.0),
            -_C4_1 * x * z * (7.0 * zz - 3.0),
            0.5 * _C4_2 * (xx - yy) * (7.0 * zz - 1.0),
            -_C4_3 * x * z * (xx - 3.0 * yy),
            0.25 * _C4_4 * (xx * (xx - 3.0 * yy) - yy * (3.0 * xx - yy)),
        ]
    return torch.stack(basis, dim=-1)


def sh_to_rgb(sh: Tensor, directions: Tensor, degree: int | None = None) -> Tensor:
    """The colors that coefficients show along unit directions: max(SH + 0.5, 0).

    Args:
        sh: coefficients [..., K, 3] with K = (degree of the storage + 1)^2.
        directions: [..., 3], unit vectors from the camera to the Gaussians, of the dtype of `sh`.
        degree: use only the harmonics up to this degree; None for all that are stored.

    Returns:
        RGB [..., 3], not bounded above.

    Raises:
        ValueError: if a shape is wrong or `degree` exceeds what is stored.
    """
    stored = sh.shape[-2] if sh.ndim >= 2 else 0
    if stored not in SH_BASES or sh.shape[-1] != 3:
        raise ValueError(f"sh: expected [..., K, 3] with K in {SH_BASES}, got {list(sh.shape)}")
    if degree is None:
        degree = SH_BASES.index(stored)
    basis = sh_basis(degree, directions)
    if basis.shape[-1] > stored:
        raise ValueError(f"degree: expected at most {SH_BASES.index(stored)} as stored in sh, got {degree}")
    return ((basis.unsqueeze(-1) * sh[..., : basis.shape[-1], :]).sum(dim=-2) + 0.5).clamp_min(0.0)


def rgb_to_sh_dc(rgb: Tensor) -> Tensor:
    """The constant coefficient that shows `rgb` (any shape, in [0, 1]) from everywhere: (rgb - 0.5) / C0."""
    return (rgb - 0.5) / C0


def sh_dc_to_rgb(dc: Tensor) -> Tensor:
    """The color that a constant coefficient shows, of the shape of `dc`: C0 dc + 0.5, not clamped."""
    return C0 * dc + 0.5
