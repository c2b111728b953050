from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gsbench import MCMCStrategy
from gsbench.training import densify
from gsbench.training.optim import FusedAdam
from gsbench.training.relocation import MAX_COPIES, MAX_OPACITY, draw, relocated

SHAPES: dict[str, tuple[int, ...]] = {"means": (3,), "scales": (3,), "quats": (4,), "opacities": (), "colors": (4, 3)}
Optimizers = dict[str, torch.optim.Optimizer]


def make(n: int = 40, seed: int = 0, steps: int = 2, column: bool = False) -> tuple[Any, Optimizers]:
    """Random parameters, some of the opacities around the smallest that lives, and Adams with moments."""
    g = torch.Generator().manual_seed(seed)
    params = torch.nn.ParameterDict({k: torch.nn.Parameter(torch.randn(n, *s, generator=g)) for k, s in SHAPES.items()})
    with torch.no_grad():
        params["opacities"].mul_(4.0).sub_(3.0)
    if column:
        params["opacities"] = torch.nn.Parameter(params["opacities"].detach()[:, None])
    optimizers: Optimizers = {k: FusedAdam([p], lr=0.001) for k, p in params.items()}
    for _ in range(steps):
        for name, p in params.items():
            p.grad = torch.randn(p.shape, generator=g)
            optimizers[name].step()
            p.grad = None
    return params, optimizers


def values(params: Any) -> dict[str, Tensor]:
    return {k: p.detach().clone() for k, p in params.items()}


# The formula.


def equation_9(o: float, n: int) -> tuple[float, float]:
    """The new opacity and the factor on scales, term by term as printed in the paper, summed exactly."""
    new = 1.0 - (1.0 - o) ** (1.0 / n)
    terms = [
        math.comb(i - 1, k) * (-1) ** k * new ** (k + 1) / math.sqrt(k + 1) for i in range(1, n + 1) for k in range(i)
    ]
    return new, o / math.fsum(terms)


def one(o: float, n: int, min_opacity: float = 0.0) -> tuple[float, float]:
    """The new opacity and the factor on scales, ours, in float64."""
    logit = torch.tensor([math.log(o / (1.0 - o))], dtype=torch.float64)
    zero = torch.zeros(1, 3, dtype=torch.float64)
    logits, scales = relocated(logit, zero, torch.tensor([n]), min_opacity)
    assert scales[0, 0] == scales[0, 1] == scales[0, 2]
    return float(torch.sigmoid(logits)), float(scales[0, 0].exp())


@given(o=st.floats(1e-4, 0.9999), n=st.integers(1, MAX_COPIES))
@settings(max_examples=300, deadline=None)
def test_relocation_is_equation_9(o: float, n: int) -> None:
    new, factor = one(o, n)
    expected_new, expected_factor = equation_9(o, n)
    assert new == pytest.approx(expected_new, rel=1e-9)
    assert factor == pytest.approx(expected_factor, rel=1e-7)


@given(o=st.floats(1e-3, 0.999), n=st.integers(1, MAX_COPIES))
@settings(max_examples=100, deadline=None)
def test_copies_look_together_as_the_one_did(o: float, n: int) -> None:
    new, factor = one(o, n)
    # The same opacity in the middle, and across a line through it the same total opacity: what the formula was derived
    # from. Composited, n Gaussians leave (1 - alpha)^n of the light.
    x = np.linspace(-12.0, 12.0, 24_001)
    before = o * np.exp(-0.5 * x**2)
    after = 1.0 - (1.0 - new * np.exp(-0.5 * (x / factor) ** 2)) ** n
    assert 1.0 - (1.0 - new) ** n == pytest.approx(o, rel=1e-9)
    assert after.sum() == pytest.approx(before.sum(), rel=1e-6)


def test_extremes_of_the_formula() -> None:
    # One copy is the Gaussian itself.
    assert one(0.7, 1) == (pytest.approx(0.7, rel=1e-12), pytest.approx(1.0, rel=1e-12))
    # More copies than the largest table of binomials count as that many.
    assert one(0.7, 1000) == one(0.7, MAX_COPIES)
    # Infinite logits are opaque or empty, and stay finite, respectively empty.
    logits = torch.tensor([math.inf, 40.0, -math.inf, -200.0])
    new, scales = relocated(logits, torch.zeros(4, 3), torch.tensor([MAX_COPIES, 2, 3, 3]))
    assert torch.isfinite(scales).all()
    assert new[1].double().sigmoid() == pytest.approx(1.0 - math.sqrt(1.0 - MAX_OPACITY), rel=1e-6)
    assert new[2] == -math.inf
    assert new[3] == pytest.approx(-200.0 - math.log(3.0))
    assert scales[2:].abs().max() == 0.0
    # The least opacity is left to all.
    new, _ = relocated(logits, torch.zeros(4, 3), torch.tensor([1, 1, 9, 9]), min_opacity=0.005)
    assert new.double().sigmoid()[2:].tolist() == pytest.approx([0.005, 0.005])


# Drawing.


def test_draws_follow_the_weights() -> None:
    weights = torch.tensor([0.0, 1.0, 0.0, 0.25, 3.0, 0.0])
    counts = torch.bincount(draw(weights, 100_000, torch.Generator().manual_seed(0)), minlength=6)
    assert counts[[0, 2, 5]].tolist() == [0, 0, 0]
    expected = 100_000 * weights[[1, 3, 4]] / weights.sum()
    chi_square = float(((counts[[1, 3, 4]] - expected) ** 2 / expected).sum())
    assert chi_square < 13.8  # 2 degrees of freedom, one in a thousand


@given(
    weights=st.lists(st.one_of(st.just(0.0), st.floats(0.0, 1.0, width=32)), min_size=1, max_size=30),
    seed=st.integers(0, 2**32),
    count=st.integers(0, 50),
)
@settings(max_examples=150, deadline=None)
def test_draws_invert_the_distribution(weights: list[float], seed: int, count: int) -> None:
    tensor = torch.tensor(weights)
    generator = torch.Generator().manual_seed(seed)
    if not tensor.double().sum() > 0:
        with pytest.raises(ValueError, match="weights: expected finite ones, at least one of them positive"):
            draw(tensor, count, generator)
        return
    drawn = draw(tensor, count, generator)
    assert drawn.dtype == torch.int64
    total = math.fsum(tensor.double().tolist())
    uniform = torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for index, u in zip(drawn.tolist(), uniform.tolist(), strict=True):
        assert weights[index] > 0.0
        below = math.fsum(tensor[:index].double().tolist())
        slack = 1e-12 * total
        assert below - slack <= u * total <= below + float(tensor[index]) + slack


def test_the_ends_of_the_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    uniform = [0.0, 0.5, 1.0 - 2.0**-53]
    monkeypatch.setattr(torch, "rand", lambda n, **_: torch.tensor(uniform[:n], dtype=torch.float64))
    assert draw(torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0]), 3, None).tolist() == [1, 3, 3]
    # The smallest number times nearly one is itself again.
    assert draw(torch.tensor([0.0, 5e-324, 0.0], dtype=torch.float64), 3, None).tolist() == [1, 1, 1]


def test_weights_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="weights: expected finite ones"):
        draw(torch.tensor([1.0, math.nan]), 3, None)


# The operations.


def check_shared(after: Any, before: dict[str, Tensor], source: int, copies: int, rows: list[int]) -> None:
    """All of `rows` are alike: `source` as it was, divided among this many."""
    new, factor = equation_9(float(before["opacities"].double().sigmoid().reshape(-1)[source]), copies)
    for row in rows:
        for name in before:
            assert torch.equal(after[name][row], after[name][rows[0]])
        for name in ("means", "quats", "colors"):
            assert torch.equal(after[name][row], before[name][source])
        assert float(after["opacities"].double().sigmoid().reshape(-1)[row]) == pytest.approx(max(new, 0.005), rel=1e-5)
        expected = before["scales"][source] + math.log(factor)
        torch.testing.assert_close(after["scales"][row], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("column", [False, True])
def test_relocate(column: bool) -> None:
    params, optimizers = make(column=column)
    before = values(params)
    moments = {k: optimizers[k].state[p]["exp_avg"].clone() for k, p in params.items()}
    dead = before["opacities"].sigmoid().flatten() <= 0.005
    state = {"visits": torch.arange(40.0) + 1.0, "generator": torch.Generator().manual_seed(4)}
    densify.relocate(params, optimizers, state, dead)
    after = values(params)

    alive = (~dead).nonzero().squeeze(1)
    weights = before["opacities"].flatten()[alive].sigmoid()
    sources = alive[draw(weights, int(dead.sum()), torch.Generator().manual_seed(4))]
    assert 3 < int(dead.sum()) < 40
    touched = set(sources.tolist())
    for source in touched:
        moved = dead.nonzero().squeeze(1)[sources == source].tolist()
        check_shared(after, before, source, len(moved) + 1, [source, *moved])
    others = [i for i in alive.tolist() if i not in touched]
    for name, p in params.items():
        assert torch.equal(after[name][others], before[name][others])
        new = optimizers[name].state[p]
        # As in gsplat: zero where a Gaussian was copied from, otherwise as it was.
        kept = [i for i in range(40) if i not in touched]
        assert torch.equal(new["exp_avg"][kept], moments[name][kept])
        assert not new["exp_avg"][sorted(touched)].any()
        assert not new["exp_avg_sq"][sorted(touched)].any()
        assert new["step"] == 2
    visits = torch.arange(40.0) + 1.0
    visits[sorted(touched)] = 0.0
    assert torch.equal(state["visits"], visits)


def test_relocate_without_dead_ones_changes_nothing() -> None:
    params, optimizers = make()
    before = dict(params.items())
    densify.relocate(params, optimizers, {}, torch.zeros(40, dtype=torch.bool))
    assert all(params[k] is p for k, p in before.items())


def test_nowhere_to_go_is_an_error() -> None:
    params, optimizers = make()
    with pytest.raises(ValueError, match="weights: expected finite ones, at least one of them positive"):
        densify.relocate(params, optimizers, {}, torch.ones(40, dtype=torch.bool))


@pytest.mark.parametrize("column", [False, True])
def test_sample_add(column: bool) -> None:
    params, optimizers = make(column=column)
    before = values(params)
    moments = {k: optimizers[k].state[p]["exp_avg"].clone() for k, p in params.items()}
    state = {"visits": torch.arange(40.0)}
    densify.sample_add(params, optimizers, state, 25, generator=torch.Generator().manual_seed(4))
    after = values(params)
    weights = before["opacities"].flatten().sigmoid()
    sources = draw(weights, 25, torch.Generator().manual_seed(4)).tolist()
    for source in set(sources):
        rows = [40 + i for i, s in enumerate(sources) if s == source]
        check_shared(after, before, source, len(rows) + 1, [source, *rows])
    others = [i for i in range(40) if i not in sources]
    for name, p in params.items():
        assert len(p) == 65
        assert torch.equal(after[name][others], before[name][others])
        new = optimizers[name].state[p]
        assert torch.equal(new["exp_avg"][:40], moments[name])
        assert not new["exp_avg"][40:].any()
        assert new["step"] == 2
    assert torch.equal(state["visits"], torch.cat([torch.arange(40.0), torch.zeros(25)]))


def noise_reference(before: dict[str, Tensor], scaler: float, seed: int) -> Tensor:
    """Equation 8 in float64, with covariances written out as matrices."""
    eta = torch.randn(before["means"].shape, generator=torch.Generator().manual_seed(seed)).double()
    w, x, y, z = (before["quats"].double() / before["quats"].double().norm(dim=1, keepdim=True)).unbind(1)
    rotation = torch.stack(
        [
            *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
            *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
            *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
        ],
        dim=1,
    ).reshape(-1, 3, 3)
    axes = rotation * before["scales"].double().exp()[:, None, :]
    covariance = axes @ axes.transpose(1, 2)
    opacity = before["opacities"].double().sigmoid().flatten()
    gate = 1.0 / (1.0 + torch.exp(-100.0 * ((1.0 - opacity) - 0.995)))
    moves: Tensor = (covariance @ (eta * (gate * scaler)[:, None])[..., None]).squeeze(-1)
    return moves


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.floats(-6.0, 1.0),
    stretch=st.floats(0.0, 2.0),
    opacity=st.floats(-12.0, 0.0),
    scaler=st.floats(0.0, 10.0),
)
@settings(max_examples=60, deadline=None)
def test_noise_is_equation_8(seed: int, size: float, stretch: float, opacity: float, scaler: float) -> None:
    params, optimizers = make(steps=0, seed=seed)
    with torch.no_grad():
        params["means"].zero_()  # so that the moves are not rounded
        params["scales"].mul_(stretch).add_(size)
        params["opacities"].add_(opacity + 3.0)
    before = values(params)
    densify.inject_noise_to_position(
        params, optimizers, {}, scaler, generator=torch.Generator().manual_seed(seed % 1000)
    )
    expected = noise_reference(before, scaler, seed % 1000)
    # Relative to the length of the move before its projection: a rotation there and back rounds at that scale.
    lengths = expected.norm(dim=1) + scaler * (2.0 * before["scales"].double().amax(dim=1)).exp() * 1e-2
    assert ((params["means"].detach().double() - expected).norm(dim=1) <= 2e-4 * lengths + 1e-30).all()
    for name in before:
        assert name == "means" or torch.equal(params[name].detach(), before[name])


def test_noise_is_in_place_and_for_transparent_ones() -> None:
    params, optimizers = make(n=3, steps=0)
    with torch.no_grad():
        params["opacities"].copy_(torch.tensor([0.001, 0.005, 0.2]).logit())
        params["scales"].zero_()
    before, held = values(params), params["means"]
    moments = optimizers["means"].state_dict()
    densify.inject_noise_to_position(params, optimizers, {}, 1.0, generator=torch.Generator().manual_seed(1))
    eta = torch.randn(3, 3, generator=torch.Generator().manual_seed(1))
    assert params["means"] is held
    assert optimizers["means"].state_dict() == moments
    share = (params["means"].detach() - before["means"]).norm(dim=1) / eta.norm(dim=1)
    assert share.tolist() == pytest.approx([1 / (1 + math.exp(-0.4)), 0.5, math.exp(-19.5)], rel=1e-3, abs=1e-7)


def test_operations_do_not_depend_on_the_number_of_threads() -> None:
    n = 70_001
    results = []
    for threads in (1, 2, 7):
        torch.set_num_threads(threads)
        params, optimizers = make(n=n, steps=0)
        state: dict[str, Any] = {"generator": torch.Generator().manual_seed(1)}
        dead = params["opacities"].detach() < -5.3
        densify.relocate(params, optimizers, state, dead)
        densify.sample_add(params, optimizers, state, 3501)
        densify.inject_noise_to_position(params, optimizers, state, 0.3)
        results.append(values(params))
    for other in results[1:]:
        assert all(torch.equal(results[0][k], other[k]) for k in other)


# The strategy.


def test_the_cap_is_never_exceeded() -> None:
    params, optimizers = make(n=100)
    strategy = MCMCStrategy(cap_max=131, refine_start_iter=0, refine_every=1, noise_lr=0.0)
    state = strategy.initialize_state()
    counts = []
    for step in range(12):
        strategy.step_post_backward(params, optimizers, state, step, {})
        counts.append(len(params["means"]))
    assert counts == [100, 105, 110, 115, 120, 126, 131, 131, 131, 131, 131, 131]


@given(n=st.integers(1, 60), cap=st.integers(1, 70), seed=st.integers(0, 99), column=st.booleans())
@settings(max_examples=40, deadline=None)
def test_growth_is_five_percent_up_to_the_cap(n: int, cap: int, seed: int, column: bool) -> None:
    params, optimizers = make(n=n, seed=seed, column=column)
    strategy = MCMCStrategy(cap_max=cap, refine_start_iter=0, refine_every=1)
    state = strategy.initialize_state(seed)
    for step in range(1, 8):
        before = len(params["means"])
        all_dead = bool((params["opacities"].detach().sigmoid() <= 0.005).all())
        strategy.step_post_backward(params, optimizers, state, step, {}, lr=1e-9)
        after = len(params["means"])
        assert after == (before if all_dead else max(before, min(cap, int(1.05 * before))))
        if not all_dead:
            assert float(params["opacities"].detach().double().sigmoid().min()) >= 0.005 * (1 - 1e-6)
        assert all(torch.isfinite(p).all() for p in params.values())


def test_when_it_refines_and_shakes(caplog: pytest.LogCaptureFixture) -> None:
    params, optimizers = make(n=100)
    strategy = MCMCStrategy(
        refine_start_iter=3, refine_every=2, refine_stop_iter=10, noise_injection_stop_iter=12, verbose=True
    )
    state = strategy.initialize_state()
    shaken = []
    with caplog.at_level(logging.INFO, logger="gsbench"):
        for step in range(15):
            before = values(params)["means"]
            strategy.step_post_backward(params, optimizers, state, step, {})
            shaken.append(not torch.equal(params["means"].detach()[: len(before)], before))
    assert [r.message.split(":")[0] for r in caplog.records] == ["step 4", "step 6", "step 8"]
    assert shaken == [True] * 12 + [False] * 3


@pytest.mark.parametrize("shared", [False, True])
def test_the_noise_follows_the_learning_rate_of_the_means(shared: bool) -> None:
    def move(rate: float | None, present: float) -> Tensor:
        params, optimizers = make(steps=0)
        groups = [{"params": [p], "lr": 7.0, "name": k} for k, p in params.items()]
        if shared:
            optimizers = dict.fromkeys(params, torch.optim.Adam(groups))
        for group in optimizers["means"].param_groups:
            if group["params"][0] is params["means"]:
                group["lr"] = present
        before = values(params)["means"]
        strategy = MCMCStrategy(noise_lr=100.0)
        strategy.step_post_backward(params, optimizers, strategy.initialize_state(), 0, {}, lr=rate)
        moves: Tensor = params["means"].detach() - before
        return moves

    assert torch.equal(move(None, 0.02), move(0.02, 5.0))
    assert not torch.equal(move(None, 0.02), move(None, 0.01))


def test_a_learning_rate_that_is_not_known_is_asked_for() -> None:
    params, optimizers = make()
    del optimizers["means"]
    strategy = MCMCStrategy()
    with pytest.raises(ValueError, match="so its learning rate is not known; pass lr="):
        strategy.step_post_backward(params, optimizers, strategy.initialize_state(), 0, {})


def test_the_state_is_saved_and_restored() -> None:
    def run(params: Any, optimizers: Optimizers, state: Any, steps: range) -> None:
        for step in steps:
            strategy.step_post_backward(params, optimizers, state, step, {})

    strategy = MCMCStrategy(refine_start_iter=0, refine_every=3, noise_lr=10.0)
    params, optimizers = make()
    state = strategy.initialize_state(seed=3)
    run(params, optimizers, state, range(5))
    saved, copied = strategy.state_dict(state), values(params)
    run(params, optimizers, state, range(5, 12))

    others = torch.nn.ParameterDict({k: torch.nn.Parameter(v) for k, v in copied.items()})
    their_optimizers: Optimizers = {k: FusedAdam([p], lr=0.001) for k, p in others.items()}
    state = strategy.initialize_state(seed=99)
    strategy.load_state_dict(state, saved)
    run(others, their_optimizers, state, range(5, 12))
    assert all(torch.equal(params[k], others[k]) for k in copied)
    with pytest.raises(ValueError, match=r"state: expected the names \['generator'\], got \['binoms'\]"):
        strategy.load_state_dict(state, {"binoms": torch.zeros(51, 51)})


def test_who_has_just_the_least_opacity_is_dead() -> None:
    params, optimizers = make(n=3)
    with torch.no_grad():
        params["opacities"].copy_(torch.tensor([0.005, 0.0051, 0.9], dtype=torch.float64).logit())
    strategy = MCMCStrategy(refine_start_iter=0, refine_every=1, noise_lr=0.0)
    before = values(params)
    strategy.step_post_backward(params, optimizers, strategy.initialize_state(), 1, {})
    moved = (params["means"].detach() != before["means"]).any(dim=1)
    assert moved.tolist() == [True, False, False]


def test_everything_dead_stays_where_it_is() -> None:
    params, optimizers = make()
    with torch.no_grad():
        params["opacities"].fill_(-9.0)
    strategy = MCMCStrategy(refine_start_iter=0, refine_every=1, noise_lr=0.0)
    before = values(params)
    strategy.step_post_backward(params, optimizers, strategy.initialize_state(), 1, {})
    assert all(torch.equal(params[k], v) for k, v in before.items())


def test_a_negative_cap_is_refused() -> None:
    from gsbench import MCMCStrategy

    with pytest.raises(ValueError, match="cap_max: expected 0 or more, got -1"):
        MCMCStrategy(cap_max=-1)
