"""Every mode against the dense reference: images, alphas, meta and the gradient of every input."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gsbench.raster import rasterization
from gsbench.testing.raster_case import HEIGHT, WIDTH, Case, cameras, clear_case, random_scene
from gsbench.testing.reference import RENDER_MODES

MODES = pytest.mark.parametrize("render_mode", RENDER_MODES)
ANTIALIASING = pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
PACKING = pytest.mark.parametrize("packed", [True, False])


def backgrounds(count: int, channels: int = 3) -> torch.Tensor:
    return torch.rand(count, channels, generator=torch.Generator().manual_seed(99))


def masks(count: int) -> torch.Tensor:
    return torch.rand(count, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(98)) > 0.3


@MODES
@ANTIALIASING
@PACKING
@pytest.mark.parametrize("sh_degree", [None, 2])
def test_modes(backend: Any, render_mode: str, rasterize_mode: str, packed: bool, sh_degree: int | None) -> None:
    def make(seed: int) -> Case:
        scene = random_scene(40, seed, sh_degree=sh_degree) | cameras(2)
        if "RGB" in render_mode:
            scene["backgrounds"] = backgrounds(2)
        return Case(scene, {"render_mode": render_mode, "rasterize_mode": rasterize_mode, "sh_degree": sh_degree})

    drawn = backend.check(clear_case(make), packed=packed)
    channels = (3 if "RGB" in render_mode else 0) + (1 if "D" in render_mode else 0)
    assert drawn.images["colors"].shape == (2, HEIGHT, WIDTH, channels)
    assert drawn.gradients["viewmats"][:, :3].any()
    assert not drawn.gradients["viewmats"][:, 3].any()
    assert drawn.gradients["colors"].any() == ("RGB" in render_mode)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 8, 17, 32, 33, 512])
@pytest.mark.parametrize("render_mode", ["RGB", "RGB+ED"])
def test_channels(backend: Any, channels: int, render_mode: str) -> None:
    def make(seed: int) -> Case:
        scene = random_scene(25, seed, channels=channels) | cameras(1) | {"backgrounds": backgrounds(1, channels)}
        return Case(scene, {"render_mode": render_mode})

    # Expected depth divides by alpha, 1 - T: near 1/255 few digits of that are left.
    tolerance = 5e-4 if render_mode == "RGB+ED" else 1e-4
    backend.check(clear_case(make, seed=20), packed=channels % 2 == 0, tolerance=tolerance)


@pytest.mark.parametrize("channels", [3, 7])
@PACKING
def test_colors_per_camera(backend: Any, channels: int, packed: bool) -> None:
    def make(seed: int) -> Case:
        scene = random_scene(40, seed, channels=channels, per_camera=3) | cameras(3)
        return Case(scene | {"backgrounds": backgrounds(3, channels)}, {"render_mode": "RGB+D"})

    backend.check(clear_case(make, seed=40), packed=packed)


@pytest.mark.parametrize("sh_degree", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("per_camera", [0, 2])
@pytest.mark.parametrize("stored", ["as many", "more"])
def test_spherical_harmonics(backend: Any, sh_degree: int, per_camera: int, stored: str) -> None:
    """Of more coefficients than the degree needs, the rest has no influence and no gradient."""
    degree = sh_degree if stored == "as many" else 4

    def make(seed: int) -> Case:
        scene = random_scene(30, seed, sh_degree=degree, per_camera=per_camera) | cameras(2)
        return Case(scene, {"sh_degree": sh_degree})

    drawn = backend.check(clear_case(make, seed=60))
    assert drawn.gradients["colors"][..., : (sh_degree + 1) ** 2, :].any()
    assert not drawn.gradients["colors"][..., (sh_degree + 1) ** 2 :, :].any()


@MODES
@ANTIALIASING
@PACKING
def test_masks(backend: Any, render_mode: str, rasterize_mode: str, packed: bool) -> None:
    def make(seed: int) -> Case:
        scene = random_scene(40, seed) | cameras(2) | {"masks": masks(2)}
        if "RGB" in render_mode:
            scene["backgrounds"] = backgrounds(2)
        return Case(scene, {"render_mode": render_mode, "rasterize_mode": rasterize_mode})

    case = clear_case(make, seed=80)
    drawn = backend.check(case, packed=packed)
    off = ~case.tensors["masks"]
    assert not drawn.images["alphas"][off].any()
    expected = torch.zeros_like(drawn.images["colors"])
    if "RGB" in render_mode:
        expected[..., :3] = case.tensors["backgrounds"][:, None, None]
    assert torch.equal(drawn.images["colors"][off], expected[off])


def test_a_mask_is_as_if_the_rest_were_cut_out(backend: Any) -> None:
    """What the mask leaves is bit for bit what is drawn without it; with nothing left, nothing has a gradient."""
    scene = random_scene(200, 3) | cameras(2)
    whole = backend.run(Case(scene))
    cut = backend.run(Case(scene | {"masks": masks(2)}))
    on = masks(2)
    assert torch.equal(whole.images["colors"][on], cut.images["colors"][on])
    assert torch.equal(whole.images["alphas"][on], cut.images["alphas"][on])
    all_on = backend.run(Case(scene | {"masks": torch.ones_like(on)}))
    for name, gradient in whole.gradients.items():
        assert torch.equal(gradient, all_on.gradients[name]), name
    nothing = backend.run(Case(scene | {"masks": torch.zeros_like(on), "backgrounds": backgrounds(2)}))
    assert torch.equal(nothing.images["colors"], backgrounds(2)[:, None, None].expand(-1, HEIGHT, WIDTH, 3))
    assert not any(gradient.any() for name, gradient in nothing.gradients.items() if name != "backgrounds")


@MODES
@ANTIALIASING
@PACKING
def test_external_covariances(backend: Any, render_mode: str, rasterize_mode: str, packed: bool) -> None:
    def make(seed: int) -> Case:
        scene = random_scene(40, seed) | cameras(2)
        root = torch.randn(40, 3, 3, generator=torch.Generator().manual_seed(seed))
        scene["covars"] = 0.04 * root @ root.mT
        del scene["quats"], scene["scales"]
        return Case(scene, {"render_mode": render_mode, "rasterize_mode": rasterize_mode})

    drawn = backend.check(clear_case(make, seed=100), packed=packed)
    covars = drawn.gradients["covars"]
    torch.testing.assert_close(covars, covars.mT, rtol=1e-4, atol=1e-6 * float(covars.abs().max()))


def test_covariances_win_over_quats_and_scales(backend: Any) -> None:
    scene = random_scene(20, 1) | cameras(1)
    root = torch.randn(20, 3, 3, generator=torch.Generator().manual_seed(1))
    covars = {"covars": 0.04 * root @ root.mT}
    alone = {name: value for name, value in scene.items() if name not in ("quats", "scales")}
    both, one = backend.run(Case(scene | covars)), backend.run(Case(alone | covars))
    assert torch.equal(both.images["colors"], one.images["colors"])
    assert not both.gradients["quats"].any()
    assert not both.gradients["scales"].any()


@ANTIALIASING
@pytest.mark.parametrize("radius_clip", [0.0, 3.0, 8.0, 1000.0])
def test_radius_clip(backend: Any, rasterize_mode: str, radius_clip: float) -> None:
    def make(seed: int) -> Case:
        options = {"radius_clip": radius_clip, "rasterize_mode": rasterize_mode, "outputs": ("hits",)}
        return Case(random_scene(40, seed) | cameras(2), options)

    drawn = backend.check(clear_case(make, seed=120))
    radii = drawn.rows["radii"].amax(dim=-1)[drawn.visible]
    assert (radii > radius_clip).all()
    assert (radii.numel() == 0) == (radius_clip == 1000.0)


@ANTIALIASING
@pytest.mark.parametrize("eps2d", [1e-3, 0.1, 2.0])
def test_low_pass(backend: Any, rasterize_mode: str, eps2d: float) -> None:
    def make(seed: int) -> Case:
        scene = random_scene(40, seed) | cameras(1)
        scene["scales"] = scene["scales"] + 0.02
        return Case(scene, {"eps2d": eps2d, "rasterize_mode": rasterize_mode})

    backend.check(clear_case(make, seed=140))


@pytest.mark.parametrize("planes", [(3.5, 1e10), (0.01, 4.0), (3.8, 4.2), (4.0, 4.0)])
def test_near_and_far(backend: Any, planes: tuple[float, float]) -> None:
    def make(seed: int) -> Case:
        options = {"near_plane": planes[0], "far_plane": planes[1], "render_mode": "RGB+D"}
        return Case(random_scene(60, seed) | cameras(2), options)

    drawn = backend.check(clear_case(make, seed=160))
    z = drawn.rows["depths"][drawn.visible]
    assert ((z >= planes[0]) & (z <= planes[1])).all()


def test_antialiasing_clamps_small_gaussians(backend: Any) -> None:
    """At the least factor of 0.005 no gradient passes to the shape through the opacity."""

    def make(seed: int) -> Case:
        scene = random_scene(30, seed) | cameras(1)
        scene["scales"] = 0.02 * scene["scales"]
        scene["scales"][::3] = 1.0 * scene["scales"][::3] + torch.tensor([0.0, 0.5, 0.5])
        scene["scales"][1::3] = torch.tensor([0.9, 1e-5, 1e-5])
        scene["opacities"] = 0.9 + 0.1 * scene["opacities"]
        return Case(scene, {"rasterize_mode": "antialiased"})

    drawn = backend.check(clear_case(make, seed=180))
    factor = drawn.rows["opacities"] / clear_case(make, seed=180).tensors["opacities"]
    assert float(factor[drawn.visible].min()) == pytest.approx(0.005, rel=1e-4)


def test_depth_modes_have_no_background(backend: Any) -> None:
    """Where nothing is drawn, color is the background and depth is zero; a mode of depth alone needs no color."""
    scene = random_scene(5, 1) | cameras(1)
    scene["means"] = 0.1 * scene["means"]
    for mode in ("RGB+D", "RGB+ED"):
        image = backend.run(Case(scene | {"backgrounds": backgrounds(1)}, {"render_mode": mode})).images["colors"]
        assert torch.equal(image[0, 0, 0], torch.cat([backgrounds(1)[0], torch.zeros(1)]))
    for mode in ("D", "ED"):
        with_background = backend.run(Case(scene | {"backgrounds": backgrounds(1)}, {"render_mode": mode}))
        without = backend.run(Case(scene, {"render_mode": mode}))
        assert torch.equal(with_background.images["colors"], without.images["colors"])


@MODES
def test_color_and_depth_do_not_depend_on_each_other(backend: Any, render_mode: str) -> None:
    """Each part of a mode is what it is alone."""
    scene = {name: value.to(backend.device) for name, value in (random_scene(200, 4) | cameras(1)).items()}

    def image(mode: str) -> torch.Tensor:
        drawn: torch.Tensor = rasterization(
            **scene, width=WIDTH, height=HEIGHT, render_mode=mode, backend=backend.name
        )[0]
        return drawn

    both = image(render_mode)
    if "RGB" in render_mode:
        torch.testing.assert_close(both[..., :3], image("RGB"), rtol=0, atol=1e-6)
    if "D" in render_mode:
        torch.testing.assert_close(both[..., -1:], image("ED" if "ED" in render_mode else "D"), rtol=1e-6, atol=1e-5)
