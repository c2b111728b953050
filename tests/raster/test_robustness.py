"""Shapes and values at the edge: hypothesis against the reference, nothing to draw, odd layouts, many frames, many
Gaussians.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from gsbench import native
from gsbench.raster import rasterization
from gsbench.testing.raster_case import CLEAR, Case, cameras, compare, random_scene, run, run_reference
from gsbench.testing.reference import PER_GAUSSIAN, PER_PIXEL, RENDER_MODES

EVERYTHING = (*PER_GAUSSIAN, "sensitivity", "grad_abs", *PER_PIXEL)
WIDTH, HEIGHT = 53, 37
STATM = Path("/proc/self/statm")


def edit(scene: dict[str, Tensor], row: int, what: str) -> None:
    """Make one Gaussian degenerate. The cameras look along their z axis at the origin from a distance of 4."""
    away, right = scene["viewmats"][0, 2, :3], scene["viewmats"][0, 0, :3]
    if what == "zero scale":
        scene["scales"][row] = 0.0
    elif what == "flat":
        scene["scales"][row] = torch.tensor([0.5, 0.0, 0.5])
    elif what == "huge scale":
        scene["scales"][row] = 200.0
    elif what == "overflow":
        scene["scales"][row] = 1e25
    elif what == "needle":
        scene["scales"][row] = torch.tensor([3.0, 1e-5, 1e-5])
    elif what == "behind":
        scene["means"][row] = -6.0 * away
    elif what == "at the camera":
        scene["means"][row] = -4.0 * away
    elif what == "beside the camera":
        scene["means"][row] = -3.5 * away + 8.0 * right
        scene["scales"][row] = 1.0
    elif what == "transparent":
        scene["opacities"][row] = 0.0
    elif what == "opaque":
        scene["opacities"][row] = 1.0
    elif what == "twin":  # identical depth, next index
        for name in ("means", "quats", "scales", "opacities"):
            scene[name][row] = scene[name][row - 1]
    elif what == "long quaternion":
        scene["quats"][row] *= 1e6


EDITS = (
    "zero scale",
    "flat",
    "huge scale",
    "overflow",
    "needle",
    "behind",
    "at the camera",
    "beside the camera",
    "transparent",
    "opaque",
    "twin",
    "long quaternion",
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Case, bool]:
    """A call, and whether the scene is an ordinary one."""
    n = draw(st.integers(0, 24))
    count = draw(st.integers(1, 3))
    degree = draw(st.sampled_from([None, None, 0, 1, 3]))
    channels = draw(st.sampled_from([1, 2, 3, 4, 6]))
    width, height = draw(st.integers(0, 40)), draw(st.integers(0, 24))
    scene = random_scene(
        n,
        draw(st.integers(0, 1000)),
        sh_degree=degree,
        channels=channels,
        per_camera=draw(st.sampled_from([0, count])),
    )
    scene |= cameras(count, width, height)
    rows = draw(st.lists(st.tuples(st.integers(0, n - 1), st.sampled_from(EDITS)), max_size=6)) if n else []
    for row, what in rows:
        edit(scene, row, what)
    mode = draw(st.sampled_from(RENDER_MODES))
    if "RGB" in mode and draw(st.booleans()):
        scene["backgrounds"] = torch.rand(count, 3 if degree is not None else channels)
    if draw(st.booleans()):
        scene["masks"] = torch.rand(count, height, width) > 0.2
    known = [name for name in EVERYTHING if "RGB" in mode or name not in ("fisher", "sensitivity")]
    options = {
        "width": width,
        "height": height,
        "sh_degree": degree,
        "render_mode": mode,
        "rasterize_mode": draw(st.sampled_from(["classic", "antialiased"])),
        "outputs": tuple(draw(st.lists(st.sampled_from(known), unique=True, max_size=4))),
    }
    return Case(scene, options), not rows


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(drawn=cases(), packed=st.booleans())
def test_any_shape_and_degenerate_input(backend: Any, drawn: tuple[Case, bool], packed: bool) -> None:
    case, ordinary = drawn
    ours, theirs = backend.run(case, packed=packed), run_reference(case)
    for named in (ours.images, ours.rows, ours.gradients):
        assert all(value.isfinite().all() for value in named.values())
    if ordinary and theirs.margin > CLEAR:
        compare(ours, theirs, tolerance=2e-3)
    # Needles and Gaussians beside the camera are ill-conditioned in float32: their edges may move by a pixel.
    for name in ("colors", "alphas"):
        error = (ours.images[name].double() - theirs.images[name]).abs()
        if error.numel() > 0 and name == "alphas":
            assert float((error > 1e-4).double().mean()) < 0.02, name
            assert float(error.max()) < 0.05, name


@pytest.mark.parametrize("what", EDITS)
@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
def test_one_degenerate_gaussian(backend: Any, what: str, rasterize_mode: str) -> None:
    """Among ordinary ones, with everything that is derived from them, gradients included."""

    def make(seed: int) -> Case:
        scene = random_scene(12, seed) | cameras(2)
        edit(scene, 5, what)
        outputs = tuple(name for name in EVERYTHING if not (what == "flat" and name == "normal"))
        return Case(scene, {"outputs": outputs, "rasterize_mode": rasterize_mode, "render_mode": "RGB+D"})

    seed = next(seed for seed in range(400, 450) if run_reference(make(seed)).margin > CLEAR)
    ours = backend.run(make(seed))
    # A needle's place across its axis counts in float32 rounding errors.
    flips, tolerance = (20, 1e-2) if what == "needle" else (0, 1e-3)
    compare(ours, run_reference(make(seed)), flips=flips, tolerance=tolerance)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0), (1, 1)])
@pytest.mark.parametrize("packed", [True, False])
def test_empty_images(backend: Any, size: tuple[int, int], packed: bool) -> None:
    width, height = size
    scene = random_scene(4) | cameras(2, width, height)
    options = {"width": width, "height": height, "outputs": EVERYTHING, "render_mode": "RGB+ED"}
    drawn = backend.check(Case(scene, options), packed=packed, absgrad=True)
    assert drawn.images["colors"].shape == (2, height, width, 4)
    assert drawn.images["normal"].shape == (2, height, width, 3)


@pytest.mark.parametrize("packed", [True, False])
def test_no_cameras(backend: Any, packed: bool) -> None:
    call = Case(random_scene(4) | cameras(0)).arguments(torch.float32, backend.device)
    outputs = ("hits", "depth", "normal", "fisher", "sensitivity")
    image, alpha, meta = rasterization(**call, packed=packed, outputs=outputs, backend=backend.name)
    assert image.shape == (0, HEIGHT, WIDTH, 3)
    assert alpha.shape == (0, HEIGHT, WIDTH, 1)
    assert meta["normal"].shape == (0, HEIGHT, WIDTH, 3)
    assert meta["hits"].shape == ((0,) if packed else (0, 4))
    assert meta["n_cameras"] == 0
    image.sum().backward()
    assert call["means"].grad is None or not call["means"].grad.any()


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("n", [0, 4])
def test_nothing_to_draw_shows_the_background(backend: Any, n: int, packed: bool) -> None:
    scene = random_scene(n) | cameras(1) | {"backgrounds": torch.tensor([[0.25, 0.5, 0.75]])}
    scene["means"] = scene["means"] + 100.0
    drawn = backend.run(Case(scene, {"render_mode": "RGB+ED"}), packed=packed)
    assert torch.equal(drawn.images["colors"][..., :3], scene["backgrounds"].expand(1, HEIGHT, WIDTH, 3))
    assert not drawn.images["colors"][..., 3].any()
    assert not drawn.images["alphas"].any()
    assert not any(value.any() for name, value in drawn.gradients.items() if name != "backgrounds")


def test_non_contiguous_inputs(backend: Any) -> None:
    scene = random_scene(30, seed=5) | cameras(2) | {"backgrounds": torch.rand(2, 3)}
    root = torch.randn(30, 3, 3, generator=torch.Generator().manual_seed(0))
    for extra in ({}, {"covars": 0.04 * root @ root.mT}):
        plain = Case(scene | extra, {"outputs": ("depth", "hits")})
        call = plain.arguments(torch.float32, backend.device)
        expected = rasterization(**call, backend=backend.name)
        strided = {
            name: torch.stack([value.detach(), value.detach()], dim=-1)[..., 0] if isinstance(value, Tensor) else value
            for name, value in call.items()
        }
        assert not strided["means"].is_contiguous()
        strided["masks"] = torch.ones(2, HEIGHT, 2 * WIDTH, dtype=torch.bool, device=backend.device)[..., ::2]
        leaves = [strided[name].requires_grad_() for name in plain.leaves]
        drawn = rasterization(**strided, backend=backend.name)
        assert torch.equal(expected[0], drawn[0])
        for result in (expected, drawn):  # gradients that come in may have any layout, too
            image = result[0].permute(0, 3, 2, 1)
            (image * torch.linspace(0, 1, image.numel(), device=image.device).view(image.shape)).sum().backward()
        for name, leaf in zip(plain.leaves, leaves, strict=True):
            assert (leaf.grad is None) == (call[name].grad is None)
            assert leaf.grad is None or torch.equal(leaf.grad, call[name].grad), name


def test_expanded_gradients(backend: Any) -> None:
    """`image.sum()` hands down a gradient without memory of its own."""
    case = Case(random_scene(30, 5) | cameras(1), {"outputs": PER_PIXEL, "render_mode": "RGB+ED"})
    found = []
    for expanded in (True, False):
        call = case.arguments(torch.float32, backend.device)
        image, alpha, meta = rasterization(**call, backend=backend.name)
        images = [image, alpha, *(meta[name] for name in PER_PIXEL)]
        if expanded:
            torch.autograd.backward([value.sum() for value in images])
        else:
            torch.autograd.backward(images, [torch.ones_like(value) for value in images])
        found.append(call["means"].grad)
    assert torch.equal(found[0], found[1])


def test_inputs_are_not_changed(backend: Any) -> None:
    case = Case(random_scene(50, 5) | cameras(2) | {"backgrounds": torch.rand(2, 3)}, {"outputs": EVERYTHING})
    before = {name: value.clone() for name, value in case.tensors.items()}
    call = {name: value.to(backend.device) for name, value in case.tensors.items()}
    rasterization(**call, width=WIDTH, height=HEIGHT, outputs=EVERYTHING, backend=backend.name)
    for name, value in before.items():
        assert torch.equal(value, call[name].cpu())


def test_overflowing_covariance_is_not_drawn(backend: Any) -> None:
    scene = random_scene(2, seed=5) | cameras(1)
    scene["scales"][0] = 1e25
    drawn = backend.run(Case(scene))
    assert torch.isfinite(drawn.images["colors"]).all()
    assert not drawn.visible[0, 0]


def test_indefinite_covariances(isas: list[str]) -> None:
    """Not Gaussians; whatever is done about them, the image stays finite, and so do the gradients of the others."""
    scene = random_scene(200) | cameras(1)
    half = 0.3 * torch.randn(200, 3, 3, generator=torch.Generator().manual_seed(0))
    scene["covars"] = half + half.mT
    for isa in isas:
        native.set_cpu_isa(isa)
        try:
            for mode in ("classic", "antialiased"):
                drawn = run(Case(scene, {"rasterize_mode": mode}))
                assert all(value.isfinite().all() for value in drawn.images.values()), isa
                assert all(value.isfinite().all() for value in drawn.gradients.values()), isa
        finally:
            native.set_cpu_isa("auto")


def test_wide_image(backend: Any) -> None:
    """More rows and columns of tiles than fit one batch of spans."""
    scene = random_scene(3, seed=5)
    scene["means"] *= 0.1
    scene["scales"][:] = torch.tensor([1.5, 1.2, 0.1])
    width, height = 24, 64 * 16 + 40
    view = cameras(1) | {"Ks": torch.tensor([[[200.0, 0, width / 2], [0, 1500.0, height / 2], [0, 0, 1]]])}
    options = {"width": width, "height": height, "outputs": ("hits", "median_depth")}
    backend.check(Case(scene | view, options), flips=30, tolerance=1e-3)


def resident() -> int:
    """Bytes of this process in memory."""
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not STATM.exists(), reason="reads /proc")
def test_a_thousand_frames_take_no_more_memory_than_a_hundred() -> None:
    case = Case(random_scene(60) | cameras(1, 32, 24), {"width": 32, "height": 24, "render_mode": "RGB+ED"})
    call = case.arguments(torch.float32, "cpu")

    def frame(k: int) -> None:
        outputs = (("hits", "grad_abs"), ("distortion",), ("fisher",), ("sensitivity",), ())[k % 5]
        image, _, meta = rasterization(**call, outputs=outputs, packed=k % 2 == 0)
        meta["means2d"].retain_grad()
        image.sum().backward()

    for k in range(100):
        frame(k)
    gc.collect()
    before = resident()
    for k in range(1000):
        frame(k)
    gc.collect()
    assert resident() - before < 4 << 20


def test_no_memory_is_kept_from_call_to_call(backend: Any) -> None:
    """No reference cycle holds the buffers of a finished call."""
    case = Case(random_scene(50) | cameras(1), {"outputs": EVERYTHING, "render_mode": "RGB+ED"})
    call = case.arguments(torch.float32, backend.device)

    def step() -> None:
        image, _, meta = rasterization(**call, backend=backend.name, absgrad=True)
        meta["means2d"].retain_grad()
        image.sum().backward()

    step()
    gc.collect()
    gc.disable()
    try:
        before = sum(issubclass(type(o), Tensor) for o in gc.get_objects())
        for _ in range(5):
            step()
        after = sum(issubclass(type(o), Tensor) for o in gc.get_objects())
    finally:
        gc.enable()
    assert after <= before + 2


@pytest.mark.slow
@pytest.mark.parametrize("render_mode", ["RGB", "RGB+ED"])
def test_a_million_gaussians(backend: Any, render_mode: str) -> None:
    """At 1600 x 1060, forward and backward; a window of it is compared with the reference."""
    n, width, height = 1_000_000, 1600, 1060
    g = torch.Generator().manual_seed(0)
    scene = random_scene(n, 1, sh_degree=1)
    scene["scales"] = torch.exp(-5.0 + 0.7 * torch.randn(n, 3, generator=g))
    view = cameras(1, width, height)
    view["Ks"][0, 0, 0] = view["Ks"][0, 1, 1] = 1100.0
    options = {"width": width, "height": height, "sh_degree": 1, "render_mode": render_mode, "outputs": ("hits",)}
    whole = backend.run(Case(scene | view, options))
    assert int(whole.visible.sum()) > 300_000
    assert int(whole.rows["hits"].sum()) > 10_000_000
    for named in (whole.images, whole.gradients):
        assert all(value.isfinite().all() for value in named.values())
    # The same camera with its principal point moved sees a window of the image, but for the clamp of the Jacobian far
    # outside of it and the rounding of larger coordinates.
    top, left, small = 500, 700, 24
    window = {"viewmats": view["viewmats"], "Ks": view["Ks"].clone()}
    window["Ks"][0, 0, 2] -= left
    window["Ks"][0, 1, 2] -= top
    options |= {"width": small, "height": small}
    part = backend.run(Case(scene | window, options))
    expected = whole.images["colors"][:, top : top + small, left : left + small]
    assert float((part.images["colors"] - expected).abs().mean()) < 1e-3
    # In the window, the few thousand Gaussians that it shows, against the reference.
    shown = part.visible[0]
    few = {name: value[shown] for name, value in scene.items()}
    assert 500 < int(shown.sum()) < 20_000
    compare(
        backend.run(Case(few | window, options)), run_reference(Case(few | window, options)), flips=20, tolerance=0.05
    )
    assert torch.equal(backend.run(Case(few | window, options)).images["colors"], part.images["colors"])
