"""The conventions of ARCHITECTURE.md, section 3, on scenes made for each; meta; `render`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gsbench.raster import Gaussians, RenderOptions, rasterization, render
from gsbench.splats import Camera
from gsbench.testing import orbit_cameras, random_splats
from gsbench.testing.raster_case import HEIGHT, WIDTH, Case, cameras, clear_case, compare, random_scene, run_reference


@pytest.mark.parametrize("n", [0, 1, 2, 40])
@pytest.mark.parametrize("sh_degree", [None, 3])
@pytest.mark.parametrize("count", [1, 3])
def test_matches_the_reference(backend: Any, n: int, sh_degree: int | None, count: int) -> None:
    def make(seed: int) -> Case:
        return Case(random_scene(n, seed, sh_degree=sh_degree) | cameras(count), {"sh_degree": sh_degree})

    backend.check(clear_case(make, seed=n))


def test_long_lists(backend: Any) -> None:
    """Several chunks of Gaussians, tiles with hundreds of them; pixels at a threshold are counted."""
    options = {"sh_degree": 1, "outputs": ("hits", "depth"), "width": 36, "height": 20}
    case = Case(random_scene(4200, 11, sh_degree=1) | cameras(1, 36, 20), options)
    compare(backend.run(case), run_reference(case), flips=60, tolerance=2e-2)


def test_opaque_stack_stops(backend: Any) -> None:
    """Forty opaque Gaussians behind each other: alpha is clamped at .99 and blending stops at T <= 1e-4."""
    n = 40
    scene = random_scene(n, 6) | cameras(1)
    away = scene["viewmats"][0, 2, :3]
    scene["means"] = torch.linspace(-2, 2, n)[:, None] * away
    scene["scales"] = torch.tensor([0.3, 0.5, 0.4]).repeat(n, 1)
    scene["opacities"] = torch.linspace(0.6, 1.0, n)
    case = Case(scene, {"outputs": ("hits", "weight")})
    ours = backend.run(case)
    compare(ours, run_reference(case), flips=4, tolerance=5e-3)
    assert 0.999 < float(ours.images["alphas"].max()) <= 1 - 1e-4
    assert float(ours.rows["hits"][0, -1]) < float(ours.rows["hits"][0, 0]) / 2


def test_ties_in_depth_go_by_index(backend: Any) -> None:
    scene = random_scene(2, 1) | cameras(1)
    scene["means"][:] = 0.0
    scene["scales"][:] = 0.5
    scene["opacities"][:] = 0.99
    scene["colors"] = torch.eye(3)[:2].contiguous()
    for first in (0, 1):
        swapped = scene | {"colors": scene["colors"].roll(first, dims=0)}
        center = backend.run(Case(swapped)).images["colors"][0, HEIGHT // 2, WIDTH // 2]
        assert center[first] > 0.9
        assert center[1 - first] < 0.05


def test_order_does_not_depend_on_the_camera_of_another(backend: Any) -> None:
    """An image is the same alone and among others."""
    scene, views = random_scene(300, 8), cameras(3)
    together = backend.run(Case(scene | views, {"outputs": ("hits",)}))
    for c in range(3):
        alone = backend.run(Case(scene | {name: value[c : c + 1] for name, value in views.items()}))
        assert torch.equal(alone.images["colors"][0], together.images["colors"][c])
        assert torch.equal(alone.images["alphas"][0], together.images["alphas"][c])


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
def test_meta(backend: Any, packed: bool, rasterize_mode: str) -> None:
    """What holds of meta besides its values, which `compare` checks."""
    n, count = 60, 2
    scene = random_scene(n, 3)
    scene["means"] = 2.0 * scene["means"]
    case = Case(scene | cameras(count), {"rasterize_mode": rasterize_mode})
    call = case.arguments(torch.float32, backend.device)
    image, alpha, meta = rasterization(**call, packed=packed, backend=backend.name)
    assert image.shape == (count, HEIGHT, WIDTH, 3)
    assert alpha.shape == (count, HEIGHT, WIDTH, 1)
    assert (meta["width"], meta["height"], meta["n_cameras"]) == (WIDTH, HEIGHT, count)
    assert not any(name.startswith("isect") for name in meta)
    assert meta["radii"].dtype == torch.int32
    visible = (run_reference(case).rows["radii"] > 0).any(dim=-1)
    if packed:
        rows = meta["camera_ids"].shape[0]
        assert 0 < rows < n * count
        assert meta["camera_ids"].dtype == meta["gaussian_ids"].dtype == torch.int64
        assert ((meta["camera_ids"] * n + meta["gaussian_ids"]).diff() > 0).all()
        leading: tuple[int, ...] = (rows,)
        assert abs(rows - int(visible.sum())) <= 1
    else:
        assert meta["camera_ids"] is None
        assert meta["gaussian_ids"] is None
        leading = (count, n)
    for name, trailing in (("means2d", (2,)), ("radii", (2,)), ("depths", ()), ("conics", (3,)), ("opacities", ())):
        assert meta[name].shape == leading + trailing, name
        assert meta[name].requires_grad == (name != "radii"), name
    meta["means2d"].retain_grad()
    image.square().sum().backward()
    assert meta["means2d"].grad.shape == meta["means2d"].shape
    assert meta["means2d"].grad.any()


def test_tuning_arguments_have_no_influence(backend: Any) -> None:
    call = {name: value.to(backend.device) for name, value in (random_scene(100, 2) | cameras(1)).items()}
    images = [
        rasterization(**call, width=WIDTH, height=HEIGHT, backend=backend.name, **tuning)[0]
        for tuning in ({}, {"tile_size": 8}, {"channel_chunk": 1}, {"segmented": True})
    ]
    assert all(torch.equal(images[0], image) for image in images[1:])


def camera_of(view: dict[str, Tensor]) -> Camera:
    return Camera("one", view["viewmats"][0], view["Ks"][0], WIDTH, HEIGHT)


@pytest.mark.parametrize("options", [{}, {"render_mode": "RGB+ED", "antialiased": True}, {"radius_clip": 3.0}])
def test_render_is_rasterization(options: dict[str, Any]) -> None:
    scene, view = random_scene(80, 4), cameras(1)
    background = torch.tensor([0.1, 0.5, 0.9])
    mask = torch.rand(HEIGHT, WIDTH) > 0.3
    drawn = render(
        Gaussians(**scene),
        camera_of(view),
        RenderOptions(background=background, mask=mask, outputs=("hits", "depth"), **options),
    )
    if options.pop("antialiased", False):
        options["rasterize_mode"] = "antialiased"
    image, alpha, meta = rasterization(
        **scene,
        **view,
        width=WIDTH,
        height=HEIGHT,
        packed=False,
        backgrounds=background[None],
        masks=mask[None],
        outputs=("hits", "depth"),
        **options,
    )
    assert torch.equal(drawn.image, image[0])
    assert torch.equal(drawn.alpha, alpha[0])
    assert set(drawn.meta) == set(meta)
    assert torch.equal(drawn.meta["hits"], meta["hits"])
    assert torch.equal(drawn.meta["depth"], meta["depth"])


def test_render_of_splats() -> None:
    """Stored logits and logarithms are activated, up to the degree that is asked for."""
    splats = random_splats(50, 3, sh_degree=2)
    camera = orbit_cameras(1, WIDTH, HEIGHT)[0]
    for degree in (None, 0, 2):
        drawn = render(splats, camera, RenderOptions(sh_degree=degree))
        image, _, _ = rasterization(
            splats.means,
            splats.quats,
            splats.scales,
            splats.opacities,
            splats.sh,
            camera.viewmat[None],
            camera.K[None],
            WIDTH,
            HEIGHT,
            sh_degree=2 if degree is None else degree,
        )
        assert torch.equal(drawn.image, image[0])
