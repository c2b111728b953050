from __future__ import annotations

import dataclasses
import logging
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from gsbench.training import DefaultStrategy

N, WIDTH, HEIGHT = 60, 64, 48
SHAPES: dict[str, tuple[int, ...]] = {"means": (3,), "scales": (3,), "quats": (4,), "opacities": (), "colors": (4, 3)}

pytestmark = pytest.mark.usefixtures("_one_thread")


@pytest.fixture
def _one_thread() -> None:
    """Tensors this small are not worth sharing; the fixture of all tests restores the number."""
    torch.set_num_threads(1)


def make(n: int = N, seed: int = 0) -> tuple[Any, dict[str, torch.optim.Optimizer]]:
    g = torch.Generator().manual_seed(seed)
    params = torch.nn.ParameterDict({k: torch.nn.Parameter(torch.randn(n, *s, generator=g)) for k, s in SHAPES.items()})
    with torch.no_grad():
        # Sizes around the thresholds .01 and .1 of the scene.
        params["scales"].copy_(torch.rand(n, 3, generator=g) * 5.0 - 6.5)
    return params, {k: torch.optim.Adam([p], lr=0.01) for k, p in params.items()}


def made_up_info(
    n: int, g: torch.Generator, packed: bool, cameras: int = 1, absgrad: bool = False
) -> tuple[dict[str, Any], Tensor]:
    """What a rasterization reports, and the 2D gradient to come."""
    info: dict[str, Any] = {"width": WIDTH, "height": HEIGHT, "n_cameras": cameras}
    # Mostly below the screen thresholds of .05 and .15 of 64 pixels, now and then above.
    radii = torch.randint(0, 4, (cameras, n, 2), generator=g, dtype=torch.int32)
    radii += 8 * (torch.rand(cameras, n, 2, generator=g) < 0.001)
    # Such that about one in six reaches the threshold of 2e-4, averaged over the views between refinements.
    gradient = torch.randn(cameras, n, 2, generator=g) * (5.1e-6 / cameras)
    if packed:
        camera_ids, gaussian_ids = torch.where((radii > 0).all(dim=-1))
        info.update(camera_ids=camera_ids, gaussian_ids=gaussian_ids)
        radii, gradient = radii[camera_ids, gaussian_ids], gradient[camera_ids, gaussian_ids]
    else:
        info.update(camera_ids=None, gaussian_ids=None)
    info["radii"] = radii
    info["means2d"] = torch.zeros_like(gradient).requires_grad_()
    if absgrad:
        info["means2d"].absgrad = gradient.abs()
    return info, gradient


def drive(
    strategy: Any, steps: int, *, packed: bool, cameras: int = 1, absgrad: bool = False, **arguments: Any
) -> tuple[Any, dict[str, torch.optim.Optimizer], dict[str, Any], list[int]]:
    """A loop as in gsplat's documentation, with made-up gradients for everything."""
    params, optimizers = make()
    strategy.check_sanity(params, optimizers)
    state = strategy.initialize_state(scene_scale=1.3)
    g = torch.Generator().manual_seed(3)
    torch.manual_seed(0)  # what gsplat's split draws from; ours has a generator with the same seed
    counts = []
    for step in range(steps):
        info, gradient = made_up_info(len(params["means"]), g, packed, cameras, absgrad)
        strategy.step_pre_backward(params, optimizers, state, step, info)
        loss = (info["means2d"] * gradient).sum()
        for p in params.values():
            loss = loss + (p * torch.randn(p.shape, generator=g)).sum()
        loss.backward()
        for optimizer in optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        strategy.step_post_backward(params, optimizers, state, step, info, **arguments)
        counts.append(len(params["means"]))
    return params, optimizers, state, counts


SHORT: dict[str, Any] = {"refine_start_iter": 20, "refine_every": 20, "refine_stop_iter": 250, "reset_every": 60}
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "unpacked": ({}, {"packed": False}),
    "packed": ({}, {"packed": True}),
    "three cameras": ({}, {"packed": False, "cameras": 3}),
    "three cameras, packed": ({}, {"packed": True, "cameras": 3}),
    "screen size": ({"refine_scale2d_stop_iter": 200}, {"packed": False}),
    "screen size, packed": ({"refine_scale2d_stop_iter": 200}, {"packed": True}),
    "revised opacity": ({"revised_opacity": True}, {"packed": False}),
    "absolute gradients": ({"absgrad": True}, {"packed": False, "absgrad": True}),
    "paused": ({"pause_refine_after_reset": 30}, {"packed": False}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_step_by_step_as_gsplat(variant: str) -> None:
    gsplat = pytest.importorskip("gsplat", reason="gsplat is an optional oracle: pip install gsplat==1.5.3")
    settings, how = VARIANTS[variant]
    ours = drive(DefaultStrategy(**SHORT, **settings), 300, **how)
    reference = drive_gsplat(gsplat.DefaultStrategy(**SHORT, **settings), how)
    assert ours[3] == reference[3]
    # Something happened: growth, shrinkage, or both.
    assert len(set(ours[3])) >= 4
    for name, p in ours[0].items():
        torch.testing.assert_close(p.detach(), reference[0][name].detach(), rtol=1e-5, atol=1e-5)
        mine, other = ours[1][name].state[p], reference[1][name].state[reference[0][name]]
        assert mine["step"] == other["step"]
        for key in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(mine[key], other[key], rtol=1e-5, atol=1e-6)
    for key in ("grad2d", "count"):
        torch.testing.assert_close(ours[2][key], reference[2][key], rtol=1e-5, atol=1e-9)


def drive_gsplat(strategy: Any, how: dict[str, Any]) -> Any:
    """gsplat must be told whether info is packed. And its version 1.5.3 never resets opacities: its condition
    ``step % reset_every == 0 & step > 0`` reads as ``... == (0 & step) > 0``, which is never true. So its own operation
    is called here where its documentation says that it is.
    """
    from gsplat.strategy.ops import reset_opa

    post = strategy.step_post_backward

    def step_post_backward(params: Any, optimizers: Any, state: Any, step: int, info: Any) -> None:
        post(params, optimizers, state, step, info, packed=how["packed"])
        if step < strategy.refine_stop_iter and step % strategy.reset_every == 0 and step > 0:
            reset_opa(params=params, optimizers=optimizers, state=state, value=2.0 * strategy.prune_opa)

    strategy.step_post_backward = step_post_backward
    return drive(strategy, 300, **how)


def test_the_defaults_are_gsplats() -> None:
    gsplat = pytest.importorskip("gsplat", reason="gsplat is an optional oracle: pip install gsplat==1.5.3")
    theirs = {f.name: f.default for f in dataclasses.fields(gsplat.DefaultStrategy)}
    assert {f.name: f.default for f in dataclasses.fields(DefaultStrategy)} == theirs


def one_step(strategy: DefaultStrategy, info: dict[str, Any], gradient: Tensor, n: int = N) -> dict[str, Any]:
    params, optimizers = make(n)
    state = strategy.initialize_state()
    strategy.step_pre_backward(params, optimizers, state, 0, info)
    (info["means2d"] * gradient).sum().backward()
    strategy.step_post_backward(params, optimizers, state, 0, info)
    return state


def test_gradients_are_scaled_to_normalized_coordinates_and_by_the_cameras() -> None:
    info: dict[str, Any] = {
        "width": 64,
        "height": 48,
        "n_cameras": 2,
        "radii": torch.tensor([[[1, 1], [1, 0], [4, 4]], [[2, 2], [1, 1], [0, 0]]], dtype=torch.int32),
        "means2d": torch.zeros(2, 3, 2).requires_grad_(),
    }
    gradient = torch.tensor([[[3.0, 0.0], [9.0, 9.0], [0.0, 1.0]], [[0.0, 4.0], [1.0, 1.0], [9.0, 9.0]]])
    state = one_step(DefaultStrategy(), info, gradient, n=3)
    x, y = 0.5 * 64 * 2, 0.5 * 48 * 2
    # Gaussian 1 is visible only in the second view, Gaussian 2 only in the first.
    expected = torch.tensor([3 * x + 4 * y, math.hypot(x, y), y])
    torch.testing.assert_close(state["grad2d"], expected)
    assert state["count"].tolist() == [2, 1, 1]


def test_new_duplicates_are_not_split() -> None:
    params, optimizers = make(4)
    with torch.no_grad():
        # Two small ones that will be duplicated, two large ones that will be split.
        params["scales"].copy_(torch.tensor([0.001, 0.5, 0.001, 0.5]).log()[:, None].expand(4, 3))
        params["opacities"].fill_(3.0)
    strategy = DefaultStrategy(refine_start_iter=0, refine_every=1, reset_every=100)
    state = strategy.initialize_state()
    state.update(grad2d=torch.ones(4), count=torch.ones(4))
    before = params["means"].detach().clone()
    info = {
        "width": 8,
        "height": 8,
        "n_cameras": 1,
        "radii": torch.zeros(1, 4, 2, dtype=torch.int32),
        "means2d": torch.zeros(1, 4, 2).requires_grad_(),
    }
    strategy.step_pre_backward(params, optimizers, state, 1, info)
    info["means2d"].sum().backward()
    strategy.step_post_backward(params, optimizers, state, 1, info)
    # The two that stay, their two duplicates, then the parts of the split ones.
    assert len(params["means"]) == 8
    assert torch.equal(params["means"].detach()[:4], before[[0, 2, 0, 2]])
    expected = torch.tensor([0.001] * 4 + [0.5 / 1.6] * 4)[:, None].expand(8, 3)
    torch.testing.assert_close(params["scales"].detach().exp(), expected)
    assert not state["grad2d"].any()


def test_splits_repeat_with_the_seed_in_the_state() -> None:
    a = drive(DefaultStrategy(**SHORT), 60, packed=False)
    torch.rand(5)  # the global generator plays no part
    b = drive(DefaultStrategy(**SHORT), 60, packed=False)
    assert all(torch.equal(a[0][k], b[0][k]) for k in a[0])


def test_nothing_happens_after_the_end(caplog: pytest.LogCaptureFixture) -> None:
    params, optimizers = make()
    strategy = DefaultStrategy(refine_stop_iter=10, verbose=True)
    state = strategy.initialize_state()
    strategy.step_post_backward(params, optimizers, state, 10, {})
    assert state["grad2d"] is None


def test_verbose_writes_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="gsbench"):
        drive(DefaultStrategy(**SHORT, verbose=True), 100, packed=False)
    assert [r.message.split(":")[0] for r in caplog.records] == ["step 40", "step 60", "step 80"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scales": torch.zeros(N)}, r"params\['scales'\]: expected shape \[N, 3\], got \[60\]"),
        ({"quats": torch.zeros(N, 3)}, r"params\['quats'\]: expected shape \[N, 4\], got \[60, 3\]"),
        ({"opacities": torch.zeros(N, 2)}, r"params\['opacities'\]: expected shape \[N\] or \[N, 1\]"),
        ({"means": torch.zeros(5, 3)}, r"params\['\w+'\]: expected \d+ rows"),
    ],
)
def test_check_sanity_names_what_is_wrong(change: dict[str, Tensor], message: str) -> None:
    params, optimizers = make()
    for name, value in change.items():
        params[name] = torch.nn.Parameter(value)
        optimizers[name] = torch.optim.Adam([params[name]])
    with pytest.raises(ValueError, match=message):
        DefaultStrategy().check_sanity(params, optimizers)


def test_check_sanity_looks_at_the_optimizers() -> None:
    params, optimizers = make()
    strategy = DefaultStrategy()
    strategy.check_sanity(params, optimizers)
    missing = {k: v for k, v in optimizers.items() if k != "colors"}
    with pytest.raises(ValueError, match="optimizers: expected one for each trainable parameter"):
        strategy.check_sanity(params, missing)
    with pytest.raises(ValueError, match=r"optimizers\['means'\] does not hold params\['means'\]"):
        strategy.check_sanity(params, {**optimizers, "means": optimizers["quats"]})
    with pytest.raises(ValueError, match="params: expected 'quats' among the names"):
        strategy.check_sanity({k: v for k, v in params.items() if k != "quats"}, optimizers)


def unpacked() -> tuple[dict[str, Any], Tensor]:
    return made_up_info(N, torch.Generator().manual_seed(0), packed=False)


def test_batched_info_is_refused_not_miscounted() -> None:
    info, gradient = unpacked()
    info["means2d"] = torch.zeros(2, 1, N, 2).requires_grad_()
    info["radii"] = info["radii"].expand(2, 1, N, 2)
    with pytest.raises(ValueError, match=r"expected a gradient of shape \[1, 60, 2\], got \[2, 1, 60, 2\]"):
        one_step(DefaultStrategy(), info, gradient.expand(2, 1, N, 2))


def test_info_that_does_not_fit_is_refused() -> None:
    info, gradient = unpacked()
    with pytest.raises(ValueError, match="expected 'means2d' among the names"):
        one_step(DefaultStrategy(), {}, gradient)
    with pytest.raises(ValueError, match=r"info\['radii'\]: expected shape \[1, 60, 2\], got \[1, 59, 2\]"):
        one_step(DefaultStrategy(), {**info, "radii": info["radii"][:, 1:]}, gradient)
    info, gradient = unpacked()
    with pytest.raises(ValueError, match="has no gradient: expected absgrad=True"):
        one_step(DefaultStrategy(absgrad=True), info, gradient)
    info, gradient = unpacked()
    with pytest.raises(ValueError, match=r"expected a gradient of shape \[1, 61, 2\]"):
        one_step(DefaultStrategy(), info, gradient, n=N + 1)
    info, gradient = made_up_info(N, torch.Generator().manual_seed(0), packed=True)
    del info["gaussian_ids"]
    with pytest.raises(ValueError, match="is packed; expected 'gaussian_ids'"):
        one_step(DefaultStrategy(), info, gradient)


def test_one_radius_per_gaussian_works_too() -> None:
    info, gradient = unpacked()
    both = one_step(DefaultStrategy(), dict(info), gradient)
    info, gradient = unpacked()
    info["radii"] = torch.where((info["radii"] > 0).all(-1), info["radii"].amax(-1), 0)
    one = one_step(DefaultStrategy(), info, gradient)
    assert torch.equal(both["grad2d"], one["grad2d"])
    assert torch.equal(both["count"], one["count"])
