"""Gradients: of one input or one result alone, through meta, by symmetry, and backward more than once.

Those of every input in every mode are compared with the reference in test_modes.py and test_outputs.py.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gsbench.raster import rasterization
from gsbench.testing.raster_case import HEIGHT, WIDTH, Case, cameras, clear_case, loss_of, random_scene
from gsbench.testing.reference import PER_PIXEL, reference_rasterization

INPUTS = ("means", "quats", "scales", "opacities", "colors", "viewmats", "backgrounds")


def full_case(**options: Any) -> Case:
    def make(seed: int) -> Case:
        scene = random_scene(40, seed, sh_degree=options.get("sh_degree")) | cameras(2)
        return Case(scene | {"backgrounds": torch.rand(2, 3, generator=torch.Generator().manual_seed(3))}, options)

    return clear_case(make, seed=300)


def draw(call: dict[str, Any], backend: Any, **options: Any) -> tuple[Tensor, Tensor, dict[str, Any]]:
    return rasterization(**{**call, "backend": backend.name, **options})


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
def test_one_input_alone(backend: Any, name: str, rasterize_mode: str) -> None:
    """Its gradient is what it is beside all others."""
    case = full_case(render_mode="RGB+ED", sh_degree=1, outputs=PER_PIXEL, rasterize_mode=rasterize_mode)
    together = backend.run(case).gradients[name]
    call = case.arguments(torch.float32, backend.device)
    call = {k: v.detach() if isinstance(v, Tensor) and k != name else v for k, v in call.items()}
    colors, alphas, meta = draw(call, backend)
    images = {"colors": colors, "alphas": alphas} | {output: meta[output] for output in PER_PIXEL}
    torch.autograd.backward(loss_of(images))
    torch.testing.assert_close(call[name].grad.cpu(), together, rtol=1e-5, atol=1e-6 * float(together.abs().max()))


@pytest.mark.parametrize("result", ["colors", "alphas", *PER_PIXEL])
@pytest.mark.parametrize("render_mode", ["RGB", "ED"])
def test_one_result_alone(backend: Any, result: str, render_mode: str) -> None:
    """A loss on one image, the others being asked for as well; against the reference.

    The tolerance is that of expected depth, which divides by alpha, 1 - T: near 1/255 few digits of that are left.
    """
    outcomes = []
    case = full_case(render_mode=render_mode, outputs=PER_PIXEL)
    for dtype, device in ((torch.float32, backend.device), (torch.float64, "cpu")):
        call = case.arguments(dtype, device)
        drawn = draw(call, backend) if dtype == torch.float32 else reference_rasterization(**call)
        image = drawn[0] if result == "colors" else drawn[1] if result == "alphas" else drawn[2][result]
        torch.autograd.backward(loss_of({result: image}))
        outcomes.append({name: call[name].grad for name in INPUTS})
    for name in INPUTS:
        ours, theirs = (outcome[name] for outcome in outcomes)
        theirs = torch.zeros_like(case.tensors[name]).double() if theirs is None else theirs
        ours = torch.zeros_like(case.tensors[name]) if ours is None else ours
        assert float((ours.cpu().double() - theirs).norm()) <= 5e-4 * float(theirs.norm()) + 1e-6, name


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("with_image", [False, True])
def test_through_meta(backend: Any, packed: bool, external: bool, with_image: bool) -> None:
    """A loss on means2d, depths, conics and opacities reaches the inputs, alone and together with one on the image."""

    def make(seed: int) -> Case:
        scene = random_scene(40, seed) | cameras(2)
        if external:
            root = torch.randn(40, 3, 3, generator=torch.Generator().manual_seed(seed))
            scene["covars"] = 0.04 * root @ root.mT
            del scene["quats"], scene["scales"]
        return Case(scene, {"rasterize_mode": "antialiased"})

    case = clear_case(make, seed=320)
    call = case.arguments(torch.float32, backend.device)
    image, _, meta = draw(call, backend, packed=packed)
    exact = case.arguments(torch.float64, "cpu")
    image_exact, _, meta_exact = reference_rasterization(**exact)
    if packed:
        rows = (meta["camera_ids"].cpu(), meta["gaussian_ids"].cpu())
    else:
        rows = torch.nonzero((meta["radii"].cpu() > 0).any(dim=-1), as_tuple=True)
    seen = meta_exact["hidden"][rows]
    loss, loss_exact = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    g = torch.Generator().manual_seed(0)
    for name in ("means2d", "depths", "conics", "opacities"):
        values = meta[name].cpu().double()
        values = values if packed else values[rows]
        weight = torch.randn(values.shape, generator=g, dtype=torch.float64)
        weight[seen] = 0.0
        loss = loss + (weight * values).sum()
        loss_exact = loss_exact + (weight * meta_exact[name][rows]).sum()
    if with_image:
        loss, loss_exact = loss + loss_of({"image": image}), loss_exact + loss_of({"image": image_exact})
    torch.autograd.backward(loss)
    torch.autograd.backward(loss_exact)
    for name in case.leaves:
        ours, theirs = call[name].grad, exact[name].grad
        if theirs is None:
            assert ours is None or not ours.any()
            continue
        assert float((ours.cpu().double() - theirs).norm()) <= 1e-4 * float(theirs.norm()), name


@pytest.mark.parametrize("sh_degree", [None, 3])
@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
def test_moving_everything_changes_nothing(backend: Any, sh_degree: int | None, rasterize_mode: str) -> None:
    """Gaussians and camera moved alike show the same, so the gradients of both cancel (view directions included)."""
    scene = random_scene(150, 4, sh_degree=sh_degree) | cameras(1)
    options = {"sh_degree": sh_degree, "rasterize_mode": rasterize_mode, "render_mode": "RGB+ED"}
    gradients = backend.run(Case(scene, options)).gradients
    rotation = scene["viewmats"][0, :3, :3]
    of_camera = rotation.T @ gradients["viewmats"][0, :3, 3]
    of_means = gradients["means"].sum(dim=0)
    assert float((of_camera - of_means).norm()) < 1e-4 * float(gradients["means"].norm())


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
def test_turning_everything_changes_nothing(backend: Any, rasterize_mode: str) -> None:
    """The same for a rotation about the origin, with covariances, which turn along."""
    scene = random_scene(150, 5) | cameras(1)
    root = torch.randn(150, 3, 3, generator=torch.Generator().manual_seed(5))
    scene["covars"] = 0.04 * root @ root.mT
    del scene["quats"], scene["scales"]
    options = {"rasterize_mode": rasterize_mode, "outputs": ("distortion",)}
    gradients = {name: value.double() for name, value in backend.run(Case(scene, options)).gradients.items()}
    rotation = scene["viewmats"][0, :3, :3].double()
    means, covars = scene["means"].double(), scene["covars"].double()
    terms = []
    for axis in torch.eye(3, dtype=torch.float64):
        cross = torch.linalg.cross(axis.expand(3, 3), torch.eye(3, dtype=torch.float64)).T  # cross @ v = axis x v
        by_means = (gradients["means"] * (means @ cross.T)).sum()
        by_covars = (gradients["covars"] * (cross @ covars - covars @ cross)).sum()
        by_camera = (gradients["viewmats"][0, :3, :3] * (rotation @ cross)).sum()
        terms.append([by_means, by_covars, by_camera])
        assert abs(by_means + by_covars - by_camera) < 1e-4 * float(gradients["means"].norm()), axis
    assert max(abs(float(t)) for row in terms for t in row) > 1.0


def test_backward_twice(backend: Any) -> None:
    """With retain_graph, again and for another loss; gradients add up."""
    case = full_case(render_mode="RGB+ED", outputs=("distortion",))
    call = case.arguments(torch.float32, backend.device)
    image, alpha, meta = draw(call, backend)
    losses = [image.square().sum(), alpha.sum() + meta["distortion"].sum()]
    for loss in (losses[0], losses[0], losses[1]):
        loss.backward(retain_graph=True)
    for name in INPUTS:
        parts = []
        for loss in losses:
            (part,) = torch.autograd.grad(loss, call[name], retain_graph=True, allow_unused=True)
            parts.append(torch.zeros_like(call[name]) if part is None else part)
        expected = 2 * parts[0] + parts[1]
        torch.testing.assert_close(call[name].grad, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_two_calls_at_once(backend: Any) -> None:
    """Graphs of several calls live side by side and may be walked in any order."""
    cases = [full_case(), full_case(render_mode="D", outputs=("hits",))]
    alone = [backend.run(case).gradients["means"] for case in cases]
    calls = [case.arguments(torch.float32, backend.device) for case in cases]
    drawn = [draw(call, backend) for call in calls]
    for k in (0, 1):
        torch.autograd.backward(loss_of({"colors": drawn[k][0], "alphas": drawn[k][1]}))
    for call, expected in zip(calls, alone, strict=True):
        assert torch.equal(call["means"].grad.cpu(), expected)


def test_absgrad_of_a_second_backward(backend: Any) -> None:
    """`absgrad` is of the last backward pass, like the gradient that a strategy reads after each step."""
    case = full_case()
    call = case.arguments(torch.float32, backend.device)
    image, _, meta = draw(call, backend, absgrad=True)
    image.square().sum().backward(retain_graph=True)
    first = meta["means2d"].absgrad.clone()
    (2 * image).square().sum().backward()
    torch.testing.assert_close(meta["means2d"].absgrad, 4 * first, rtol=1e-4, atol=1e-6)


def test_only_alpha_in_the_loss(backend: Any) -> None:
    call = Case(random_scene(5, 1) | cameras(1)).arguments(torch.float32, backend.device)
    _, alpha, _ = draw(call, backend)
    alpha.sum().backward()
    assert call["opacities"].grad.any()
    assert call["colors"].grad is None or not call["colors"].grad.any()


def test_gradients_to_intrinsics_are_refused(backend: Any) -> None:
    call = Case(random_scene(4) | cameras(1)).arguments(torch.float32, backend.device)
    with pytest.raises(NotImplementedError, match="Ks"):
        draw({**call, "Ks": call["Ks"].requires_grad_()}, backend)


def test_through_a_clamped_jacobian(backend: Any) -> None:
    """A large Gaussian whose mean is outside the margin still covers pixels; only its Jacobian is clamped."""

    def make(seed: int) -> Case:
        scene = random_scene(3, seed) | cameras(1)
        right, down, away = scene["viewmats"][0, :3, :3]
        scene["means"][0] = -2.0 * away + 2.5 * right + 1.8 * down
        scene["scales"][0] = torch.tensor([2.0, 1.5, 1.8])
        scene["opacities"][0] = 0.9
        return Case(scene, {"rasterize_mode": "antialiased", "outputs": ("fisher", "sensitivity")})

    drawn = backend.check(clear_case(make, seed=340))
    assert float(drawn.gradients["means"][0].norm()) > 0


def test_images_are_not_leaves_that_hold_memory() -> None:
    image = rasterization(**(random_scene(3) | cameras(1)), width=WIDTH, height=HEIGHT)[0]
    assert not image.requires_grad
    assert image.grad_fn is None
