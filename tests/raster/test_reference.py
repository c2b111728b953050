"""The dense reference itself, which everything else is compared with: against loops over pixels, finite differences and
brute-force derivatives.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from gsbench.splats.sh import sh_to_rgb
from gsbench.testing.raster_case import Case, cameras, compare, random_scene, run_reference
from gsbench.testing.reference import (
    PER_GAUSSIAN,
    PER_PIXEL,
    RENDER_MODES,
    absolute_gradients,
    reference_rasterization,
    reference_visible,
)

WIDTH, HEIGHT, COUNT = 13, 9, 7


def scene(seed: int = 0, sh_degree: int | None = None, cameras: int = 1, count: int = COUNT) -> dict[str, Tensor]:
    """Overlapping Gaussians in front of cameras on the z axis, looking along it with slightly turned heads."""
    g = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=g, dtype=torch.float64)

    viewmats = torch.eye(4, dtype=torch.float64).repeat(cameras, 1, 1)
    for c in range(cameras):
        angle = 0.15 * c - 0.1
        viewmats[c, 0, 0] = viewmats[c, 2, 2] = math.cos(angle)
        viewmats[c, 0, 2], viewmats[c, 2, 0] = math.sin(angle), -math.sin(angle)
        viewmats[c, :3, 3] = torch.tensor([0.1 * c, -0.1, 3.0])
    K = torch.tensor([[11.0, 0, 0.5 * WIDTH], [0, 12.0, 0.5 * HEIGHT], [0, 0, 1]], dtype=torch.float64)
    bases = 0 if sh_degree is None else (sh_degree + 1) ** 2
    return {
        "means": 1.6 * uniform(count, 3) - 0.8,
        "quats": uniform(count, 4) - 0.5,
        "scales": 0.1 + 0.4 * uniform(count, 3),
        "opacities": 0.2 + 0.75 * uniform(count),
        "colors": uniform(count, 3) if sh_degree is None else uniform(count, bases, 3) - 0.3,
        "viewmats": viewmats,
        "Ks": K.repeat(cameras, 1, 1),
    }


def draw(inputs: dict[str, Tensor], **options: Any) -> tuple[Tensor, Tensor, dict[str, Any]]:
    call: dict[str, Any] = {"quats": None, "scales": None, **inputs, **options}
    return reference_rasterization(**call, width=WIDTH, height=HEIGHT)


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("opaque", [False, True])
def test_blending_by_hand(rasterize_mode: str, opaque: bool) -> None:
    """Every image and every count, pixel by pixel and Gaussian by Gaussian, from what is on the screen."""
    inputs = scene(1, count=20)
    if opaque:  # several stops and clamped alphas
        inputs["opacities"] = 0.9 + 0.1 * inputs["opacities"]
        inputs["scales"] = 2.0 * inputs["scales"]
    background = torch.tensor([[0.3, 0.6, 0.9]], dtype=torch.float64)
    mask = torch.ones(1, HEIGHT, WIDTH, dtype=torch.bool)
    mask[0, 2:4, 5:9] = False
    names = [name for name in (*PER_GAUSSIAN, *PER_PIXEL) if name not in ("fisher", "normal")]
    image, alpha, meta = draw(
        inputs, backgrounds=background, masks=mask, outputs=names, rasterize_mode=rasterize_mode, render_mode="RGB+D"
    )
    z, seen = meta["depths"][0].tolist(), meta["radii"][0, :, 0].tolist()
    order = sorted((g for g in range(20) if seen[g] > 0), key=lambda g: z[g])
    counted = {name: [0.0] * 20 for name in ("hits", "weight", "opacity_transmittance", "max_weight", "dominant")}
    stops = 0
    for row in range(HEIGHT):
        for column in range(WIDTH):
            transmittance, pixel = 1.0, [0.0, 0.0, 0.0]
            drawn: list[tuple[int, float]] = []
            median = 0.0
            for g in order if mask[0, row, column] else []:
                dx = column + 0.5 - float(meta["means2d"][0, g, 0])
                dy = row + 0.5 - float(meta["means2d"][0, g, 1])
                a, b, c = meta["conics"][0, g].tolist()
                opacity = float(meta["opacities"][0, g])
                value = min(0.99, opacity * math.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy))
                if value < 1 / 255:
                    continue
                if transmittance * (1 - value) <= 1e-4:
                    stops += 1
                    break
                if transmittance > 0.5:
                    median = z[g]
                drawn.append((g, value * transmittance))
                counted["hits"][g] += 1
                counted["weight"][g] += value * transmittance
                counted["opacity_transmittance"][g] += opacity * transmittance
                counted["max_weight"][g] = max(counted["max_weight"][g], value * transmittance)
                transmittance *= 1 - value
            if drawn:
                counted["dominant"][max(drawn, key=lambda pair: pair[1])[0]] += 1
            for channel in range(3):
                pixel[channel] = sum(w * float(inputs["colors"][g, channel]) for g, w in drawn)
                pixel[channel] += transmittance * float(background[0, channel])
            depth = sum(w * z[g] for g, w in drawn)
            at = (0, row, column)
            assert image[at].tolist() == pytest.approx([*pixel, depth], abs=1e-12)
            assert float(alpha[at]) == pytest.approx(1 - transmittance, abs=1e-12)
            assert float(meta["depth"][at]) == pytest.approx(depth, abs=1e-12)
            assert float(meta["expected_depth"][at]) == pytest.approx(depth / max(1 - transmittance, 1e-10))
            assert float(meta["median_depth"][at]) == pytest.approx(median, abs=1e-12)
            pairs = sum(v * w * abs(z[g] - z[h]) for g, v in drawn for h, w in drawn)
            assert float(meta["distortion"][at]) == pytest.approx(pairs, abs=1e-12)
    assert (stops > 0) == opaque
    for name, expected in counted.items():
        assert meta[name][0].tolist() == pytest.approx(expected, abs=1e-12), name


def differentiable(**options: Any) -> list[str]:
    return [name for name in options.get("outputs", ()) if name in PER_PIXEL]


def gradcheck(inputs: dict[str, Tensor], **options: Any) -> None:
    """Autograd against central differences, along random directions of all inputs and results together."""
    leaves = {name: value.clone().requires_grad_() for name, value in inputs.items() if name != "Ks"}

    def results(*values: Tensor) -> tuple[Tensor, ...]:
        image, alpha, meta = draw({**dict(zip(leaves, values, strict=True)), "Ks": inputs["Ks"]}, **options)
        return image, alpha, *(meta[name] for name in differentiable(**options))

    assert torch.autograd.gradcheck(results, tuple(leaves.values()), eps=1e-7, atol=1e-5, rtol=1e-5, fast_mode=True)


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("render_mode", RENDER_MODES)
@pytest.mark.parametrize("sh_degree", [None, 0, 4])
def test_gradients_are_finite_differences(render_mode: str, rasterize_mode: str, sh_degree: int | None) -> None:
    inputs = scene(2, sh_degree=sh_degree, cameras=2)
    inputs["backgrounds"] = torch.rand(2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradcheck(inputs, render_mode=render_mode, rasterize_mode=rasterize_mode, sh_degree=sh_degree)


@pytest.mark.parametrize("output", PER_PIXEL)
@pytest.mark.parametrize("external", [False, True])
def test_gradients_of_outputs_are_finite_differences(output: str, external: bool) -> None:
    inputs = scene(3, cameras=2)
    if external:
        inputs["covars"] = covariances_of(inputs.pop("quats"), inputs.pop("scales"))
    gradcheck(inputs, outputs=(output,), rasterize_mode="antialiased")


def covariances_of(quats: Tensor, scales: Tensor) -> Tensor:
    """By rotating the axes with quaternion products, not with a rotation matrix."""

    def product(p: Tensor, q: Tensor) -> Tensor:
        w = p[..., 0] * q[..., 0] - (p[..., 1:] * q[..., 1:]).sum(-1)
        v = p[..., :1] * q[..., 1:] + q[..., :1] * p[..., 1:] + torch.linalg.cross(p[..., 1:], q[..., 1:])
        return torch.cat([w[..., None], v], dim=-1)

    unit = quats / quats.norm(dim=-1, keepdim=True)
    turned = []
    for k in range(3):
        axis = torch.zeros_like(unit)
        axis[:, k + 1] = scales[:, k]
        turned.append(product(product(unit, axis), unit * torch.tensor([1.0, -1, -1, -1], dtype=unit.dtype))[:, 1:])
    axes = torch.stack(turned, dim=-1)
    return axes @ axes.mT


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
def test_external_covariances_draw_the_same(rasterize_mode: str) -> None:
    inputs = scene(4, cameras=2)
    names = [name for name in (*PER_GAUSSIAN, *PER_PIXEL) if name != "fisher"]
    image, alpha, meta = draw(inputs, outputs=names, rasterize_mode=rasterize_mode)
    inputs["covars"] = covariances_of(inputs.pop("quats"), inputs.pop("scales"))
    again, alpha_again, meta_again = draw(inputs, outputs=names, rasterize_mode=rasterize_mode)
    torch.testing.assert_close(image, again, rtol=0, atol=1e-12)
    torch.testing.assert_close(alpha, alpha_again, rtol=0, atol=1e-12)
    for name in names:
        torch.testing.assert_close(meta[name], meta_again[name], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
def test_fisher_is_the_sum_over_every_pixel(rasterize_mode: str) -> None:
    """Against the whole Jacobian of the image, one row for each channel of each pixel."""
    inputs = scene(5, sh_degree=2)
    mask = torch.rand(1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)) > 0.2
    background = torch.tensor([[0.3, 0.6, 0.9]], dtype=torch.float64)
    options = {"masks": mask, "backgrounds": background, "rasterize_mode": rasterize_mode}
    _, _, meta = draw(inputs, outputs=("fisher",), sh_degree=2, **options)
    # Colors held fixed: those that the camera sees, as direct colors.
    eye = -inputs["viewmats"][0, :3, :3].T @ inputs["viewmats"][0, :3, 3]
    along = torch.nn.functional.normalize(inputs["means"] - eye, dim=1)
    inputs["colors"] = sh_to_rgb(inputs["colors"], along)

    def image(means: Tensor, scales: Tensor) -> Tensor:
        return draw({**inputs, "means": means, "scales": scales}, **options)[0].flatten()

    by_mean, by_scale = torch.autograd.functional.jacobian(image, (inputs["means"], inputs["scales"]))
    g = torch.cat([by_mean, by_scale], dim=-1)  # [pixels and channels, N, 6]
    matrix = torch.einsum("pni,pnj->nij", g, g)
    expected = torch.stack([matrix[:, i, j] for i in range(6) for j in range(i, 6)], dim=-1)
    torch.testing.assert_close(meta["fisher"][0], expected, rtol=1e-9, atol=1e-9)
    assert (expected[:, 0] > 0).any()


@pytest.mark.parametrize("sh_degree", [None, 1])
def test_sensitivity_by_finite_differences(sh_degree: int | None) -> None:
    inputs = scene(6, sh_degree=sh_degree, cameras=2)
    background = torch.tensor([[0.3, 0.6, 0.9], [0.5, 0.4, 0.1]], dtype=torch.float64)
    options = {"backgrounds": background, "rasterize_mode": "antialiased", "render_mode": "RGB+ED"}
    _, _, meta = draw(inputs, outputs=("sensitivity",), sh_degree=sh_degree, **options)
    assert set(meta["sensitivity"]) == {"means", "quats", "scales", "opacities", "colors"}
    step = 1e-6
    for name, got in meta["sensitivity"].items():
        assert got.shape == (2, *inputs[name].shape)
        for index in (0, COUNT // 2, COUNT - 1):
            entry = (index, *(0 for _ in inputs[name].shape[1:]))
            totals = []
            for sign in (1, -1):
                moved = inputs[name].clone()
                moved[entry] += sign * step
                image = draw({**inputs, name: moved}, sh_degree=sh_degree, **options)[0]
                totals.append(image[..., :3].sum(dim=(1, 2, 3)))
            expected = ((totals[0] - totals[1]) / (2 * step)).abs()
            torch.testing.assert_close(got[(slice(None), *entry)], expected, rtol=1e-5, atol=1e-5)


def test_absolute_gradients_pixel_by_pixel() -> None:
    """Against one backward pass for every pixel, to the centers on the screen."""
    inputs = scene(7, cameras=2)
    inputs["means"].requires_grad_()
    names = ("depth", "distortion", "grad_abs")
    image, alpha, meta = draw(inputs, outputs=names, render_mode="RGB+ED")
    loss = image.square().sum(dim=-1) + 0.3 * alpha[..., 0]
    loss = loss + 0.7 * meta["depth"][..., 0] + 0.1 * meta["distortion"][..., 0]
    expected = torch.zeros_like(meta["means2d"])
    for pixel in loss.flatten():
        expected += torch.autograd.grad(pixel, meta["means2d"], retain_graph=True)[0].abs()
    image, alpha, meta = draw(inputs, outputs=names, render_mode="RGB+ED")
    loss = image.square().sum() + 0.3 * alpha.sum() + 0.7 * meta["depth"].sum() + 0.1 * meta["distortion"].sum()
    loss.backward()
    torch.testing.assert_close(absolute_gradients(meta, COUNT), expected)
    assert float(expected.max()) > 0


def test_ties_in_distortion_count_in_the_order_of_blending() -> None:
    inputs = scene(8, count=3)
    inputs["viewmats"][0, :3, :3] = torch.eye(3)
    inputs["means"] = torch.zeros(3, 3, dtype=torch.float64).requires_grad_()
    _, _, meta = draw(inputs, outputs=("distortion",))
    meta["distortion"].sum().backward()
    assert not meta["distortion"].any()
    assert inputs["means"].grad is not None
    assert inputs["means"].grad[0, 2] < 0 < inputs["means"].grad[2, 2]


def test_radius_clip_and_visibility() -> None:
    inputs = scene(9, count=30)
    inputs["means"] = 4.0 * inputs["means"]
    _, _, meta = draw(inputs, outputs=("hits",))
    radii = meta["radii"][0]
    clip = int(radii.amax(dim=1).median())
    _, _, clipped = draw(inputs, radius_clip=float(clip), outputs=("hits",))
    gone = (clipped["radii"][0] == 0).all(dim=1)
    assert torch.equal(gone, (radii.amax(dim=1) <= clip))
    assert 0 < int(gone.sum()) < 30
    assert not clipped["hits"][0][gone].any()
    assert not meta["hits"][0][(radii == 0).all(dim=1)].any()  # whoever touches no pixel is drawn nowhere
    opaque = draw({**inputs, "opacities": torch.ones(30, dtype=torch.float64)})[2]
    geometry = [inputs[name] for name in ("means", "quats", "scales")]
    visible = reference_visible(*geometry, inputs["viewmats"][0], inputs["Ks"][0], WIDTH, HEIGHT)
    assert torch.equal(visible, (opaque["radii"][0] > 0).any(dim=1))
    assert 0 < int(visible.sum()) < 30


@pytest.mark.parametrize("kind", ["images", "rows", "gradients"])
def test_comparisons_notice(kind: str) -> None:
    """A backend that is off by a little, in any one result, does not pass."""
    outputs = (*PER_GAUSSIAN, "sensitivity", *PER_PIXEL)
    case = Case(random_scene(30, 3) | cameras(1), {"outputs": outputs, "render_mode": "RGB+D"})
    theirs = run_reference(case)
    ours = {
        name: {
            key: value.float() if value.is_floating_point() else value for key, value in getattr(theirs, name).items()
        }
        for name in ("images", "rows", "gradients")
    }
    compare(replace(theirs, **ours), theirs)
    assert len(ours[kind]) > 6
    for name, value in ours[kind].items():
        wrong = value.clone()
        largest = wrong.abs().flatten().argmax()
        wrong.flatten()[largest] += 2 if not value.is_floating_point() else 0.01 * wrong.flatten()[largest]
        with pytest.raises(AssertionError, match=name):
            compare(replace(theirs, **{**ours, kind: {**ours[kind], name: wrong}}), theirs)
