from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gsbench.errors import UsageError
from gsbench.training import ModelParams, OptimizationParams, schedule_field, setting
from gsbench.training.params import exponential_decay


def test_the_defaults_are_the_published_schedule() -> None:
    opt = OptimizationParams()
    assert opt.iterations == opt.position_lr_max_steps == 30_000
    assert (opt.position_lr_init, opt.position_lr_final) == (1.6e-4, 1.6e-6)
    assert (opt.feature_lr, opt.scaling_lr, opt.rotation_lr) == (0.0025, 0.005, 0.001)
    assert (opt.lambda_dssim, opt.percent_dense, opt.densify_grad_threshold) == (0.2, 0.01, 2e-4)
    assert opt.densification_steps() == range(600, 15_000, 100)
    assert opt.opacity_reset_steps() == range(3_000, 15_000, 3_000)
    assert list(opt.sh_degree_steps())[:3] == [1_000, 2_000, 3_000]


def test_fewer_iterations_scale_everything_but_the_spacing_of_densification() -> None:
    full, short = OptimizationParams(), OptimizationParams().scaled(2_000)
    assert short.iterations == short.position_lr_max_steps == 2_000
    assert (short.densify_from_iter, short.densify_until_iter, short.opacity_reset_interval) == (33, 1_000, 200)
    assert short.sh_degree_interval == 67
    assert short.densification_interval == 100
    assert short.densification_steps() == range(100, 1_000, 100)
    assert short.opacity_reset_steps() == range(200, 1_000, 200)
    unscaled = {f.name for f in dataclasses.fields(full) if not f.metadata.get("gsbench.scales")}
    assert all(getattr(full, name) == getattr(short, name) for name in unscaled)


def test_the_decay_ends_at_the_same_rate_in_any_number_of_iterations() -> None:
    for iterations in (100, 2_000, 30_000, 90_000):
        opt = OptimizationParams().scaled(iterations)
        rate = exponential_decay(opt.position_lr_init, opt.position_lr_final, opt.position_lr_max_steps)
        assert rate(0) == pytest.approx(1.6e-4, rel=1e-12)
        assert rate(iterations // 2) == pytest.approx(1.6e-5, rel=1e-12)
        assert rate(iterations) == pytest.approx(1.6e-6, rel=1e-12)
        assert rate(2 * iterations) == pytest.approx(1.6e-6, rel=1e-12)


def test_the_decay_can_be_eased_in() -> None:
    rate = exponential_decay(1.0, 1.0, 100, delay_steps=10, delay_mult=0.01)
    assert rate(0) == pytest.approx(0.01)
    assert rate(5) == pytest.approx(0.01 + 0.99 * math.sqrt(0.5))
    assert rate(10) == rate(90) == pytest.approx(1.0)


@given(st.integers(1, 100_000))
def test_any_number_of_iterations_gives_a_valid_schedule(iterations: int) -> None:
    opt = OptimizationParams().scaled(iterations)
    assert opt.iterations == iterations
    for steps in (opt.densification_steps(), opt.opacity_reset_steps(), opt.sh_degree_steps()):
        assert all(0 < s < iterations for s in steps)


def test_what_is_switched_off_stays_off() -> None:
    opt = OptimizationParams(opacity_reset_interval=0, densify_until_iter=0).scaled(100)
    assert opt.opacity_reset_interval == opt.densify_until_iter == 0
    assert not opt.opacity_reset_steps()
    assert not opt.densification_steps()


def test_fields_of_subclasses_scale_if_they_say_so() -> None:
    @dataclass
    class Mine(OptimizationParams):
        quantize_from: int = schedule_field(3_000, "first step with quantization noise")
        codes: int = setting(4_096, "entries of the codebook")

    opt = Mine().scaled(3_000)
    assert type(opt) is Mine
    assert (opt.quantize_from, opt.codes) == (300, 4_096)


def test_a_field_that_only_changes_its_default_still_scales() -> None:
    @dataclass
    class Longer(OptimizationParams):
        densify_until_iter: int = 25_000
        lambda_dssim: float = 0.1

    @dataclass
    class Longest(Longer):
        densify_until_iter: int = 30_000

    assert Longer().scaled(3_000).densify_until_iter == 2_500
    assert Longest().scaled(3_000).densify_until_iter == 3_000
    assert Longest().scaled(3_000).lambda_dssim == 0.1


#: The names that programs in this field read from their optimization params, and the published values.
ORIGINAL_NAMES = {
    "iterations": 30_000,
    "position_lr_init": 1.6e-4,
    "position_lr_final": 1.6e-6,
    "position_lr_delay_mult": 0.01,
    "position_lr_max_steps": 30_000,
    "feature_lr": 0.0025,
    "opacity_lr": 0.05,
    "scaling_lr": 0.005,
    "rotation_lr": 0.001,
    "percent_dense": 0.01,
    "lambda_dssim": 0.2,
    "densification_interval": 100,
    "opacity_reset_interval": 3_000,
    "densify_from_iter": 500,
    "densify_until_iter": 15_000,
    "densify_grad_threshold": 2e-4,
}


def test_the_names_are_those_of_the_field() -> None:
    opt = OptimizationParams()
    assert {name: getattr(opt, name) for name in ORIGINAL_NAMES} == ORIGINAL_NAMES
    assert {f.name for f in dataclasses.fields(opt)} >= ORIGINAL_NAMES.keys()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iterations", 0),
        ("densification_interval", 0),
        ("sh_degree_interval", 0),
        ("lambda_dssim", 1.5),
        ("lambda_dssim", math.nan),
        ("position_lr_final", 0.0),
        ("feature_lr", -1.0),
        ("max_gaussians", -1),
        ("prune_opacity", 1.0),
    ],
)
def test_values_without_meaning_are_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"{name} = .*: expected"):
        OptimizationParams(**{name: value})


def test_model_params_are_checked() -> None:
    with pytest.raises(UsageError, match="sh_degree = 4"):
        ModelParams(sh_degree=4)
    with pytest.raises(UsageError, match=r"init_opacity = 1\.0"):
        ModelParams(init_opacity=1.0)


def test_iterations_below_one_are_refused() -> None:
    with pytest.raises(UsageError, match="--iterations 0"):
        OptimizationParams().scaled(0)


def test_every_field_is_explained() -> None:
    for params in (ModelParams, OptimizationParams):
        assert all(f.metadata["help"] for f in dataclasses.fields(params))
