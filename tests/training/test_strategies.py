from __future__ import annotations

import logging
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from gsbench.training import DefaultStrategy, MCMCStrategy
from gsbench.training.strategies import Strategy

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


def made_up_info(n: int, g: torch.Generator, packed: bool) -> tuple[dict[str, Any], Tensor]:
    """What a rasterization for one camera reports, and the 2D gradient to come."""
    info: dict[str, Any] = {"width": WIDTH, "height": HEIGHT, "n_cameras": 1, "camera_ids": None, "gaussian_ids": None}
    radii = torch.randint(0, 4, (1, n, 2), generator=g, dtype=torch.int32)
    # Such that about one in six reaches the threshold of 2e-4, averaged over the views between refinements.
    gradient = torch.randn(1, n, 2, generator=g) * 5.1e-6
    if packed:
        camera_ids, gaussian_ids = torch.where((radii > 0).all(dim=-1))
        info.update(camera_ids=camera_ids, gaussian_ids=gaussian_ids)
        radii, gradient = radii[camera_ids, gaussian_ids], gradient[camera_ids, gaussian_ids]
    info["radii"] = radii
    info["means2d"] = torch.zeros_like(gradient).requires_grad_()
    return info, gradient


def drive(strategy: DefaultStrategy, steps: int) -> Any:
    """A loop as in gsplat's documentation, with made-up gradients for everything. Returns the parameters."""
    params, optimizers = make()
    strategy.check_sanity(params, optimizers)
    state = strategy.initialize_state(scene_scale=1.3)
    g = torch.Generator().manual_seed(3)
    for step in range(steps):
        info, gradient = made_up_info(len(params["means"]), g, packed=False)
        strategy.step_pre_backward(params, optimizers, state, step, info)
        loss = (info["means2d"] * gradient).sum()
        for p in params.values():
            loss = loss + (p * torch.randn(p.shape, generator=g)).sum()
        loss.backward()
        for optimizer in optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        strategy.step_post_backward(params, optimizers, state, step, info)
    return params


SHORT: dict[str, Any] = {"refine_start_iter": 20, "refine_every": 20, "refine_stop_iter": 250, "reset_every": 60}


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
    a = drive(DefaultStrategy(**SHORT), 60)
    torch.rand(5)  # the global generator plays no part
    b = drive(DefaultStrategy(**SHORT), 60)
    assert len(a["means"]) > N
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_nothing_happens_after_the_end(caplog: pytest.LogCaptureFixture) -> None:
    params, optimizers = make()
    strategy = DefaultStrategy(refine_stop_iter=10, verbose=True)
    state = strategy.initialize_state()
    strategy.step_post_backward(params, optimizers, state, 10, {})
    assert state["grad2d"] is None


def test_verbose_writes_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="gsbench"):
        drive(DefaultStrategy(**SHORT, verbose=True), 100)
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


@pytest.mark.parametrize(
    ("strategy", "name"),
    [(DefaultStrategy, "refine_every"), (DefaultStrategy, "reset_every"), (MCMCStrategy, "refine_every")],
)
def test_intervals_of_no_steps_are_refused(strategy: type[Strategy], name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected at least 1 step, got 0"):
        strategy(**{name: 0})


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


def test_packed_batches_are_refused_too() -> None:
    info, gradient = made_up_info(N, torch.Generator().manual_seed(0), packed=True)
    # Two scenes: their Gaussians are numbered anew, so the shapes alone would not tell.
    with pytest.raises(ValueError, match="expected the render of one scene, got a batch of 2"):
        one_step(DefaultStrategy(), {**info, "n_batches": 2}, gradient)
    one_step(DefaultStrategy(), {**info, "n_batches": 1}, gradient)
    beyond = info["gaussian_ids"].clone()
    beyond[-1] = N
    with pytest.raises(ValueError, match=r"info\['gaussian_ids'\]: expected indices below 60, got \d+ to 60"):
        one_step(DefaultStrategy(), {**info, "gaussian_ids": beyond}, gradient)


def test_a_saved_state_continues() -> None:
    def cut(steps: int, saved: dict[str, Any] | None) -> tuple[dict[str, Any], Tensor]:
        state = strategy.initialize_state(scene_scale=2.0)
        if saved is not None:
            strategy.load_state_dict(state, saved)
        for step in range(steps):
            info, gradient = made_up_info(N, torch.Generator().manual_seed(step), packed=False)
            params, optimizers = make()
            strategy.step_pre_backward(params, optimizers, state, step, info)
            (info["means2d"] * gradient).sum().backward()
            strategy.step_post_backward(params, optimizers, state, step, info)
        return state, torch.rand(4, generator=state["generator"])

    strategy = DefaultStrategy(refine_scale2d_stop_iter=9)
    state, _ = cut(3, None)
    saved = strategy.state_dict(state)
    assert not any(isinstance(v, torch.Generator) for v in saved.values())
    torch.rand(9, generator=state["generator"])
    state["grad2d"].zero_()  # the copy is another one
    again, numbers = cut(0, saved)
    assert set(again) == {"grad2d", "count", "radii", "scene_scale", "generator"}
    assert again["grad2d"].any()
    assert again["scene_scale"] == 2.0
    assert torch.equal(numbers, torch.rand(4, generator=torch.Generator().set_state(saved["generator"])))


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
