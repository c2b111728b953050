"""gsplat 1.5.3's functions that run on the CPU, where its conventions are ours.

They are not where (each is a test here or a filter with its reason):

* gsplat's culling by depth is strict (near < z < far), ours includes the planes;
* its torch projection gives radii of 3.33 sigma whatever the opacity, and culls by them;
* its antialiasing factor is sqrt(max(0, .)), ours sqrt(max(0.005^2, .));
* its blending on the CPU needs nerfacc and clamps alpha at .999 (ours .99), so images are not compared;
* its spherical harmonics come without the offset of 1/2 and the clamp at 0, which its `rasterization` adds.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gsbench.raster import rasterization
from gsbench.testing.dense.pixels import directions, shaded
from gsbench.testing.dense.projection import world_covariances
from gsbench.testing.raster_case import HEIGHT, WIDTH, Case, cameras, random_scene
from gsbench.testing.reference import reference_rasterization

gsplat = pytest.importorskip("gsplat.cuda._torch_impl", reason="gsplat is an optional oracle")

COUNT = 300


def inputs(dtype: torch.dtype) -> dict[str, Tensor]:
    scene = random_scene(COUNT, 8) | cameras(2)
    return {name: value.to(dtype) for name, value in scene.items()}


def test_covariances_of_the_reference() -> None:
    scene = inputs(torch.float64)
    theirs, _ = gsplat._quat_scale_to_covar_preci(scene["quats"], scene["scales"], compute_preci=False)
    torch.testing.assert_close(world_covariances(scene["quats"], scene["scales"], None), theirs)


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 4])
def test_spherical_harmonics_of_the_reference(degree: int) -> None:
    scene = random_scene(COUNT, 2, sh_degree=4)
    means, sh = scene["means"].double(), scene["colors"].double()
    center = torch.tensor([0.3, -2.0, 0.7], dtype=torch.float64)
    theirs = gsplat._spherical_harmonics(degree, means - center, sh)
    ours = shaded(sh, degree, directions(means, center))
    torch.testing.assert_close(ours, torch.clamp_min(theirs + 0.5, 0.0))


def project(scene: dict[str, Tensor], covars: Tensor, compensate: bool = False) -> tuple[Any, ...]:
    found: tuple[Any, ...] = gsplat._fully_fused_projection(
        scene["means"], covars, scene["viewmats"], scene["Ks"], WIDTH, HEIGHT, calc_compensations=compensate
    )
    return found


def check_radii(ours: Tensor, theirs: Tensor, rasterize_mode: str) -> None:
    """3.33 sigma, and sqrt(2 ln 255) = 3.329 sigma: next to always the same whole number. Less, where antialiasing made
    ours less opaque.
    """
    assert (ours <= theirs).all()
    assert rasterize_mode == "antialiased" or int((theirs - ours).max()) <= 1


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
def test_projection_of_the_reference(rasterize_mode: str) -> None:
    """Values, and the gradients of a random loss on them, for the means, shapes and cameras."""
    scene = inputs(torch.float64)
    scene["opacities"] = torch.ones(COUNT, dtype=torch.float64)
    results = []
    for ours in (True, False):
        leaves = {name: scene[name].clone().requires_grad_() for name in ("means", "quats", "scales", "viewmats")}
        call = {**scene, **leaves}
        if ours:
            _, _, meta = reference_rasterization(**call, width=WIDTH, height=HEIGHT, rasterize_mode=rasterize_mode)
            values = [meta[name] for name in ("radii", "means2d", "depths", "conics", "opacities")]
            touched = (values[0] > 0).any(dim=-1)
        else:
            covars, _ = gsplat._quat_scale_to_covar_preci(call["quats"], call["scales"], compute_preci=False)
            values = list(project(call, covars, compensate=True))
            if rasterize_mode == "classic":
                values[4] = torch.ones_like(values[4])
        results.append((values, leaves))
    (mine, my_leaves), (theirs, their_leaves) = results
    both = touched & (theirs[0] > 0).all(dim=-1)
    if rasterize_mode == "antialiased":
        both &= theirs[4] > 0.0051  # where our least factor does not count
    assert int(both.sum()) > 200
    check_radii(mine[0][both], theirs[0][both], rasterize_mode)
    losses = [torch.zeros((), dtype=torch.float64) for _ in results]
    g = torch.Generator().manual_seed(0)
    for k in range(1, 5):
        torch.testing.assert_close(mine[k][both], theirs[k][both], rtol=1e-9, atol=1e-9)
        weight = torch.randn(mine[k][both].shape, generator=g, dtype=torch.float64)
        for j, values in enumerate((mine, theirs)):
            losses[j] = losses[j] + (weight * values[k][both]).sum()
    for loss in losses:
        torch.autograd.backward(loss)
    for name, leaf in my_leaves.items():
        expected = their_leaves[name].grad
        assert leaf.grad is not None
        assert expected is not None
        torch.testing.assert_close(leaf.grad, expected, rtol=1e-7, atol=1e-7 * float(expected.abs().max()))


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
def test_projection_of_the_backends(backend: Any, rasterize_mode: str) -> None:
    scene = inputs(torch.float32)
    scene["opacities"] = torch.ones(COUNT)
    drawn = backend.run(Case(scene, {"rasterize_mode": rasterize_mode}), packed=False)
    exact = inputs(torch.float64)
    covars, _ = gsplat._quat_scale_to_covar_preci(exact["quats"], exact["scales"], compute_preci=False)
    radii, *rest = project(exact, covars, compensate=True)
    both = drawn.visible & (radii > 0).all(dim=-1)
    if rasterize_mode == "antialiased":
        both &= rest[3] > 0.0051
    else:
        rest[3] = torch.ones_like(rest[3])
    assert int(both.sum()) > 200
    check_radii(drawn.rows["radii"][both], radii[both], rasterize_mode)
    for name, theirs in zip(("means2d", "depths", "conics", "opacities"), rest, strict=True):
        ours = drawn.rows[name][both].double()
        torch.testing.assert_close(ours, theirs[both], rtol=1e-4, atol=1e-4)
    # Whoever gsplat's larger radii do not let in is not drawn by us.
    beyond = (radii == 0).any(dim=-1)
    assert not (drawn.visible & beyond & (rest[0][..., 0] > -1e3)).any()


def test_covariances_from_gsplat_draw_the_same(backend: Any) -> None:
    scene = inputs(torch.float32)
    covars, _ = gsplat._quat_scale_to_covar_preci(
        scene["quats"].double(), scene["scales"].double(), compute_preci=False
    )
    ours = backend.run(Case(scene, {"rasterize_mode": "antialiased"}))
    del scene["quats"], scene["scales"]
    theirs = backend.run(Case(scene | {"covars": covars.float()}, {"rasterize_mode": "antialiased"}))
    error = (ours.images["colors"] - theirs.images["colors"]).abs()
    assert float((error > 1e-4).float().mean()) < 1e-3  # counted: threshold flips
    assert float(error.max()) < 2.5 / 255


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 4])
def test_spherical_harmonics_of_the_backends(backend: Any, degree: int) -> None:
    """The color of a lone Gaussian is its image divided by its alpha."""
    scene = random_scene(1, 5, sh_degree=4)
    scene["means"] = torch.tensor([[0.3, -0.2, 0.1]])
    scene["scales"] = torch.full((1, 3), 0.5)
    scene["opacities"] = torch.ones(1)
    view = cameras(4)
    call = {name: value.to(backend.device) for name, value in (scene | view).items()}
    image, alpha, _ = rasterization(**call, width=WIDTH, height=HEIGHT, sh_degree=degree, backend=backend.name)
    for c in range(4):
        center = -view["viewmats"][c, :3, :3].T.double() @ view["viewmats"][c, :3, 3].double()
        expected = gsplat._spherical_harmonics(degree, scene["means"].double() - center, scene["colors"].double())
        shown = (image[c].double() / alpha[c].double())[alpha[c, ..., 0] > 0.5]
        assert len(shown) > 10
        expected = torch.clamp_min(expected + 0.5, 0.0).expand_as(shown)
        torch.testing.assert_close(shown.cpu(), expected, rtol=1e-5, atol=1e-5)


def test_planes_are_included(backend: Any) -> None:
    """Exactly on a plane we draw and gsplat does not."""
    scene = random_scene(2, 1)
    scene["means"] = torch.tensor([[0.0, 0.0, 0.5], [0.0, 0.0, 2.0]])
    scene["opacities"] = torch.ones(2)
    view = {"viewmats": torch.eye(4)[None], "Ks": cameras(1)["Ks"]}
    covars, _ = gsplat._quat_scale_to_covar_preci(scene["quats"], scene["scales"], compute_preci=False)
    planes = {"near_plane": 0.5, "far_plane": 2.0}
    radii = gsplat._fully_fused_projection(
        scene["means"], covars, view["viewmats"], view["Ks"], WIDTH, HEIGHT, **planes
    )[0]
    assert not radii.any()
    drawn = backend.run(Case(scene | view, planes), packed=False)
    assert drawn.visible.all()
