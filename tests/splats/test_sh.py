from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import sph_harm_y

from gsbench.splats import SH_BASES, rgb_to_sh_dc, sh_basis, sh_dc_to_rgb, sh_to_rgb

# As published with the original 3DGS; the one of order -1 of degree 3 is off from the 12th digit on.
PUBLISHED = {
    (0, 0): 0.28209479177387814,
    (1, 0): 0.4886025119029199,
    (2, -2): 1.0925484305920792,
    (2, 0): 0.31539156525252005,
    (2, 2): 0.5462742152960396,
    (3, -3): 0.5900435899266435,
    (3, -2): 2.890611442640554,
    (3, -1): 0.4570457994658208,
    (3, 0): 0.3731763325901154,
    (3, 2): 1.445305721320277,
}


def directions(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return vectors / vectors.norm(dim=1, keepdim=True)


def real_harmonics_by_scipy(degree: int, unit: np.ndarray) -> np.ndarray:
    """The real harmonics from scipy's complex ones, which carry the Condon-Shortley phase."""
    theta, phi = np.arccos(unit[:, 2]), np.arctan2(unit[:, 1], unit[:, 0])
    columns = []
    for degree_l in range(degree + 1):
        for order in range(-degree_l, degree_l + 1):
            value = sph_harm_y(degree_l, abs(order), theta, phi)
            part = value.imag if order < 0 else value.real
            columns.append(part if order == 0 else math.sqrt(2.0) * part)
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("degree", range(5))
def test_agrees_with_scipy(degree: int) -> None:
    unit = directions(300)
    torch.testing.assert_close(
        sh_basis(degree, unit), torch.from_numpy(real_harmonics_by_scipy(degree, unit.numpy())), atol=1e-13, rtol=0
    )


def test_orthonormal_over_the_sphere() -> None:
    # Gauss-Legendre in z and equal steps in longitude integrate every product of two degree-4 polynomials exactly.
    nodes, weights = np.polynomial.legendre.leggauss(8)
    longitude = np.arange(16) * (2.0 * np.pi / 16)
    z, phi = np.meshgrid(nodes, longitude, indexing="ij")
    radius = np.sqrt(1.0 - z**2)
    unit = torch.from_numpy(np.stack([radius * np.cos(phi), radius * np.sin(phi), z], axis=-1))
    area = torch.from_numpy(np.broadcast_to(weights[:, None] * (2.0 * np.pi / 16), z.shape).copy())
    basis = sh_basis(4, unit)
    gram = torch.einsum("ijk,ijl,ij->kl", basis, basis, area)
    torch.testing.assert_close(gram, torch.eye(25, dtype=torch.float64), atol=1e-13, rtol=0)


def test_published_constants_and_signs() -> None:
    x, y, z = 0.36, 0.48, 0.8
    got = sh_basis(3, torch.tensor([x, y, z], dtype=torch.float64))
    c = PUBLISHED
    want = [
        c[0, 0],
        -c[1, 0] * y,
        c[1, 0] * z,
        -c[1, 0] * x,
        c[2, -2] * x * y,
        -c[2, -2] * y * z,
        c[2, 0] * (2 * z * z - x * x - y * y),
        -c[2, -2] * x * z,
        c[2, 2] * (x * x - y * y),
        -c[3, -3] * y * (3 * x * x - y * y),
        c[3, -2] * x * y * z,
        -c[3, -1] * y * (4 * z * z - x * x - y * y),
        c[3, 0] * z * (2 * z * z - 3 * x * x - 3 * y * y),
        -c[3, -1] * x * (4 * z * z - x * x - y * y),
        c[3, 2] * z * (x * x - y * y),
        -c[3, -3] * x * (x * x - 3 * y * y),
    ]
    torch.testing.assert_close(got, torch.tensor(want, dtype=torch.float64), atol=0, rtol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3,), (0, 3), (5, 3), (2, 4, 3)])
def test_shapes_and_dtypes(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    for degree, count in enumerate(SH_BASES):
        basis = sh_basis(degree, torch.zeros(shape, dtype=dtype))
        assert basis.shape == (*shape[:-1], count)
        assert basis.dtype == dtype


def test_lower_degrees_are_prefixes() -> None:
    unit = directions(10)
    for degree, count in enumerate(SH_BASES):
        assert torch.equal(sh_basis(4, unit)[:, :count], sh_basis(degree, unit))


def test_gradient() -> None:
    unit = directions(4).requires_grad_()
    assert torch.autograd.gradcheck(lambda d: sh_basis(4, d), (unit,))


def test_colors() -> None:
    unit = directions(20)
    sh = torch.randn(20, 16, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    by_hand = np.maximum(
        np.einsum("nk,nkc->nc", real_harmonics_by_scipy(3, unit.numpy()), sh.numpy()) + 0.5,
        0.0,
    )
    assert (by_hand == 0).any()
    assert (by_hand > 1).any()
    torch.testing.assert_close(sh_to_rgb(sh, unit), torch.from_numpy(by_hand), atol=1e-13, rtol=0)
    torch.testing.assert_close(sh_to_rgb(sh, unit, degree=1), sh_to_rgb(sh[:, :4].contiguous(), unit))
    # Nothing depends on the direction at degree 0.
    torch.testing.assert_close(sh_to_rgb(sh, unit, degree=0), sh_dc_to_rgb(sh[:, 0]).clamp_min(0))


@given(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3))
def test_dc_round_trip(rgb: list[float]) -> None:
    color = torch.tensor(rgb, dtype=torch.float64)
    torch.testing.assert_close(sh_dc_to_rgb(rgb_to_sh_dc(color)), color, atol=1e-15, rtol=0)
    # A coefficient of rgb_to_sh_dc shows the color itself.
    torch.testing.assert_close(sh_to_rgb(rgb_to_sh_dc(color)[None, :], torch.zeros(3).double()), color)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="degree: expected 0 to 4, got 5"):
        sh_basis(5, torch.zeros(1, 3))
    with pytest.raises(ValueError, match="degree: expected 0 to 4, got -1"):
        sh_basis(-1, torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"directions: expected floating point \[\.\.\., 3\].*\[1, 2\]"):
        sh_basis(0, torch.zeros(1, 2))
    with pytest.raises(ValueError, match="int64"):
        sh_basis(0, torch.zeros(1, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"sh: expected .* got \[1, 5, 3\]"):
        sh_to_rgb(torch.zeros(1, 5, 3), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="degree: expected at most 1"):
        sh_to_rgb(torch.zeros(1, 4, 3), torch.zeros(1, 3), degree=2)
