"""What is asked for by name: statistics per Gaussian, images per pixel, `visible`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gsbench.raster import rasterization
from gsbench.splats import Camera
from gsbench.testing.raster_case import HEIGHT, WIDTH, Case, cameras, clear_case, random_scene
from gsbench.testing.reference import PER_GAUSSIAN, PER_PIXEL, reference_visible

STATISTICS = tuple(name for name in PER_GAUSSIAN if name != "fisher")
EVERYTHING = (*PER_GAUSSIAN, "sensitivity", "grad_abs", *PER_PIXEL)
ANTIALIASING = pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
PACKING = pytest.mark.parametrize("packed", [True, False])


def make_case(
    outputs: tuple[str, ...], *, masked: bool = False, external: bool = False, n: int = 40, **options: Any
) -> Case:
    """A clear case with two cameras and backgrounds."""
    g = torch.Generator().manual_seed(1)
    channels = options.pop("channels", 3)
    extra = {"backgrounds": torch.rand(2, channels, generator=g)}
    if masked:
        extra["masks"] = torch.rand(2, HEIGHT, WIDTH, generator=g) > 0.3

    def make(seed: int) -> Case:
        scene = random_scene(n, seed, sh_degree=options.get("sh_degree"), channels=channels) | cameras(2) | extra
        if external:
            root = torch.randn(n, 3, 3, generator=torch.Generator().manual_seed(seed))
            scene["covars"] = 0.04 * root @ root.mT
            del scene["quats"], scene["scales"]
        return Case(scene, {"outputs": outputs, **options})

    return clear_case(make, seed=200)


@pytest.mark.parametrize("output", PER_PIXEL)
@ANTIALIASING
@PACKING
def test_images(backend: Any, output: str, rasterize_mode: str, packed: bool) -> None:
    """With the gradients of every input."""
    drawn = backend.check(make_case((output,), rasterize_mode=rasterize_mode), packed=packed)
    assert drawn.images[output].shape == (2, HEIGHT, WIDTH, 3 if output == "normal" else 1)
    assert drawn.images[output].any()


@pytest.mark.parametrize("scales", [(0.3, 0.3, 0.3), (0.4, 0.2, 0.2), (0.2, 0.4, 0.2)])
def test_normals_of_equal_scales(backend: Any, scales: tuple[float, float, float]) -> None:
    """The first of the smallest scales counts."""

    def make(seed: int) -> Case:
        scene = random_scene(20, seed) | cameras(2)
        scene["scales"] = torch.tensor(scales).repeat(20, 1)
        return Case(scene, {"outputs": ("normal",)})

    backend.check(clear_case(make, seed=260))


@pytest.mark.parametrize("render_mode", ["RGB", "D", "RGB+ED"])
@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_all_images_at_once(backend: Any, render_mode: str, external: bool, masked: bool) -> None:
    case = make_case(PER_PIXEL, render_mode=render_mode, external=external, masked=masked)
    if render_mode == "D":
        del case.tensors["backgrounds"]
    drawn = backend.check(case)
    if masked:
        off = ~case.tensors["masks"]
        assert not any(drawn.images[name][off].any() for name in PER_PIXEL)


@ANTIALIASING
@PACKING
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("channels", [3, 17])
def test_statistics(backend: Any, rasterize_mode: str, packed: bool, masked: bool, channels: int) -> None:
    case = make_case(STATISTICS, rasterize_mode=rasterize_mode, masked=masked, channels=channels)
    drawn = backend.check(case, packed=packed)
    assert int(drawn.rows["hits"].sum()) > 1000
    assert int(drawn.rows["dominant"].sum()) == int((drawn.images["alphas"] > 0).sum())


@pytest.mark.parametrize("output", STATISTICS)
def test_one_statistic_alone(backend: Any, output: str) -> None:
    drawn = backend.check(make_case((output,)))
    assert [name for name in drawn.rows if name in PER_GAUSSIAN] == [output]


@pytest.mark.parametrize("render_mode", ["D", "ED", "RGB+D", "RGB+ED"])
def test_statistics_in_modes_of_depth(backend: Any, render_mode: str) -> None:
    case = make_case(STATISTICS, render_mode=render_mode)
    if "RGB" not in render_mode:
        del case.tensors["backgrounds"]
    backend.check(case)


def test_statistics_of_an_opaque_stack(backend: Any) -> None:
    """Alpha clamped at .99, blending that stops: who comes after has no hit, and its opacity counts as it is."""
    n = 14

    def make(seed: int) -> Case:
        scene = random_scene(n, seed) | cameras(1)
        away = scene["viewmats"][0, 2, :3]
        scene["means"] = 0.05 * scene["means"] + torch.linspace(-2, 2, n)[:, None] * away
        scene["scales"] = 0.5 * scene["scales"] + torch.tensor([0.3, 0.5, 0.4])
        scene["opacities"] = torch.linspace(0.5, 1.0, n)
        return Case(scene, {"outputs": (*STATISTICS, *PER_PIXEL)})

    # Near the clamp of alpha the derivative jumps; values do not.
    drawn = backend.check(clear_case(make, seed=220), tolerance=1e-3)
    assert 0.999 < float(drawn.images["alphas"].max()) <= 1 - 1e-4
    assert float(drawn.rows["max_weight"].max()) <= 0.99


@ANTIALIASING
@PACKING
@pytest.mark.parametrize("colors", ["direct", "sh", "7 channels", "covars"])
def test_sensitivity(backend: Any, rasterize_mode: str, packed: bool, colors: str) -> None:
    options: dict[str, Any] = {"rasterize_mode": rasterize_mode, "external": colors == "covars"}
    if colors == "sh":
        options["sh_degree"] = 3
    if colors == "7 channels":
        options["channels"] = 7
    case = make_case(("sensitivity",), masked=True, **options)
    drawn = backend.check(case, packed=packed)
    expected = {name for name in case.leaves if name not in ("viewmats", "backgrounds")}
    found = {name.removeprefix("sensitivity."): rows for name, rows in drawn.rows.items() if "." in name}
    assert set(found) == expected
    for name, rows in found.items():
        assert rows.shape == (2, *case.tensors[name].shape)
        assert (rows >= 0).all()
        assert rows.any()


def test_sensitivity_of_colors_per_camera(backend: Any) -> None:
    def make(seed: int) -> Case:
        scene = random_scene(30, seed, per_camera=2, sh_degree=1) | cameras(2)
        return Case(scene, {"outputs": ("sensitivity",), "sh_degree": 1, "render_mode": "RGB+ED"})

    drawn = backend.check(clear_case(make, seed=240))
    assert drawn.rows["sensitivity.colors"].shape == (2, 30, 4, 3)


@ANTIALIASING
@PACKING
@pytest.mark.parametrize("colors", ["direct", "sh", "17 channels"])
def test_fisher(backend: Any, rasterize_mode: str, packed: bool, colors: str) -> None:
    options: dict[str, Any] = {"rasterize_mode": rasterize_mode}
    if colors == "sh":
        options["sh_degree"] = 3
    if colors == "17 channels":
        options["channels"] = 17
    drawn = backend.check(make_case(("fisher",), masked=True, **options), packed=packed)
    packed_rows = drawn.rows["fisher"]
    assert packed_rows.shape == (2, 40, 21)
    row, column = torch.triu_indices(6, 6)
    matrix = torch.zeros(2, 40, 6, 6, dtype=torch.float64)
    matrix[..., row, column] = matrix[..., column, row] = packed_rows.double()
    eigenvalues = torch.linalg.eigvalsh(matrix)
    assert (eigenvalues[..., 0] > -1e-5 * eigenvalues[..., -1] - 1e-9).all()  # a sum of squares


def test_fisher_needs_scales(backend: Any) -> None:
    case = make_case(("hits",), external=True)
    with pytest.raises((ValueError, NotImplementedError), match="fisher"):
        backend.run(Case(case.tensors, {"outputs": ("fisher",)}))


@ANTIALIASING
@PACKING
@pytest.mark.parametrize("render_mode", ["RGB", "RGB+ED", "D"])
@pytest.mark.parametrize("how", ["absgrad", "output", "both"])
def test_absolute_gradients(backend: Any, rasterize_mode: str, packed: bool, render_mode: str, how: str) -> None:
    outputs = () if how == "absgrad" else ("grad_abs",)
    case = make_case(outputs, rasterize_mode=rasterize_mode, render_mode=render_mode, masked=True)
    if render_mode == "D":
        del case.tensors["backgrounds"]
    drawn = backend.check(case, packed=packed, absgrad=how != "output")
    found = [drawn.gradients[name] for name in ("grad_abs", "means2d.absgrad") if name in drawn.gradients]
    assert len(found) == (2 if how == "both" else 1)
    for absolute in found:
        assert (absolute >= drawn.gradients["means2d.grad"].abs() * (1 - 1e-4) - 1e-6).all()


def test_absolute_gradients_of_images_per_pixel(backend: Any) -> None:
    """They count what reaches the centers from any image, the depths and the distortion included."""
    backend.check(make_case((*PER_PIXEL, "grad_abs"), sh_degree=1), absgrad=True)


def tensors(case: Case, device: str) -> dict[str, Tensor]:
    return {name: value.to(device) for name, value in case.tensors.items()}


@PACKING
def test_nothing_is_there_that_was_not_asked_for(backend: Any, packed: bool) -> None:
    case = make_case(())
    call = tensors(case, backend.device)
    for leaf in call.values():
        leaf.requires_grad_(leaf is not call["Ks"])
    plain = rasterization(**call, width=WIDTH, height=HEIGHT, packed=packed, backend=backend.name)
    assert not set(plain[2]) & set(EVERYTHING)
    plain[0].sum().backward()
    assert not hasattr(plain[2]["means2d"], "absgrad")
    asked = rasterization(
        **call, width=WIDTH, height=HEIGHT, packed=packed, backend=backend.name, outputs=EVERYTHING, absgrad=True
    )
    assert set(asked[2]) >= set(EVERYTHING)
    assert set(asked[2]) - set(EVERYTHING) == set(plain[2])
    assert torch.equal(plain[0], asked[0])
    assert torch.equal(plain[1], asked[1])
    rows = plain[2]["radii"].shape[:-1]
    for name in PER_GAUSSIAN:
        assert asked[2][name].shape[: len(rows)] == rows
        assert not asked[2][name].requires_grad
    assert asked[2]["fisher"].shape == (*rows, 21)


def test_gradients_do_not_depend_on_statistics(backend: Any) -> None:
    case = make_case(())
    asked = Case(case.tensors, {"outputs": (*PER_GAUSSIAN, "sensitivity", "grad_abs")})
    plain, counted = backend.run(case), backend.run(asked)
    for name, gradient in plain.gradients.items():
        assert torch.equal(gradient, counted.gradients[name]), name


def test_statistics_without_gradients(backend: Any) -> None:
    """Under no_grad, from inputs that ask for gradients or do not: the same numbers, and no graph."""
    case = make_case(())
    names = (*PER_GAUSSIAN, "sensitivity", *PER_PIXEL)
    metas = []
    for wanted in (True, False):
        call = tensors(case, backend.device)
        for name in case.leaves:
            call[name] = call[name].clone().requires_grad_(wanted)
        with torch.no_grad():
            image, _, meta = rasterization(**call, width=WIDTH, height=HEIGHT, outputs=names, backend=backend.name)
        assert not image.requires_grad
        metas.append(meta)
    for name in names:
        if name == "sensitivity":
            for key, value in metas[0][name].items():
                assert torch.equal(value, metas[1][name][key])
                assert not value.requires_grad
        else:
            assert torch.equal(metas[0][name], metas[1][name]), name
            assert not metas[0][name].requires_grad


@pytest.mark.parametrize("outputs", [("hit",), ("hits", "Depth"), ("",)])
def test_unknown_outputs_are_named(backend: Any, outputs: tuple[str, ...]) -> None:
    call = tensors(make_case(()), backend.device)
    with pytest.raises(ValueError, match="outputs"):
        rasterization(**call, width=WIDTH, height=HEIGHT, outputs=outputs, backend=backend.name)


@pytest.mark.parametrize("n", [0, 3])
@PACKING
def test_every_output_of_nothing(backend: Any, n: int, packed: bool) -> None:
    """No Gaussians, and none that is visible."""
    scene = random_scene(n, 1) | cameras(2)
    scene["means"] = scene["means"] + 100.0
    drawn = backend.check(Case(scene, {"outputs": EVERYTHING, "render_mode": "RGB+ED"}), packed=packed, absgrad=True)
    assert not any(image.any() for image in drawn.images.values())
    assert drawn.rows["fisher"].shape == (2, n, 21)


@pytest.mark.parametrize(("radius_clip", "eps2d"), [(0.0, 0.3), (4.0, 0.3), (0.0, 2.0)])
@pytest.mark.parametrize("planes", [(0.01, 1e10), (3.5, 4.5)])
def test_visible(isas: list[str], radius_clip: float, eps2d: float, planes: tuple[float, float]) -> None:
    from gsbench import native
    from gsbench.raster import visible

    scene = random_scene(3000, 7)
    scene["means"] = 3.0 * scene["means"]
    scene["scales"][::5] *= 0.01
    view = cameras(2)
    geometry = [scene[name] for name in ("means", "quats", "scales")]
    options = {"near": planes[0], "far": planes[1], "radius_clip": radius_clip, "eps2d": eps2d}
    for c in range(2):
        camera = Camera("c", view["viewmats"][c], view["Ks"][c], WIDTH, HEIGHT)
        expected = reference_visible(*geometry, view["viewmats"][c], view["Ks"][c], WIDTH, HEIGHT, **options)
        assert 20 < int(expected.sum()) < 2700
        for isa in isas:
            native.set_cpu_isa(isa)
            found = visible(*geometry, camera, **options)
            assert found.dtype == torch.bool
            assert found.shape == (3000,)
            assert int((found != expected).sum()) <= 2  # extents within rounding of a pixel's center
        native.set_cpu_isa("auto")
        # It is what an opaque Gaussian is: everything that is drawn at lower opacity is among them.
        one = {name: value[c : c + 1] for name, value in view.items()}
        call = dict(zip(("near_plane", "far_plane"), planes, strict=True)) | {"eps2d": eps2d}
        hits = rasterization(**scene, **one, width=WIDTH, height=HEIGHT, packed=False, outputs=("hits",), **call)[2]
        if radius_clip == 0:
            assert not (hits["hits"][0] > 0)[~found].any()


def test_visible_of_nothing() -> None:
    from gsbench.raster import visible

    view = cameras(1)
    camera = Camera("c", view["viewmats"][0], view["Ks"][0], WIDTH, HEIGHT)
    assert visible(torch.zeros(0, 3), torch.zeros(0, 4), torch.zeros(0, 3), camera).shape == (0,)
    away = visible(torch.full((4, 3), 1e3), torch.ones(4, 4), torch.ones(4, 3), camera)
    assert not away.any()
    with pytest.raises(ValueError, match="quats"):
        visible(torch.zeros(2, 3), torch.zeros(2, 4), torch.zeros(2, 3), camera)
    with pytest.raises(ValueError, match="scales"):
        visible(torch.zeros(2, 3), torch.ones(2, 4), torch.zeros(3, 3), camera)
