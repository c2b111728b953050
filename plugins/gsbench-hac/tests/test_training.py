"""The training of hac and hac++: stages, schedule, rate, masks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gsbench_hac.context import GROUPS
from gsbench_hac.model import CodedAnchors, HacModel, HacPlusModel
from gsbench_hac.params import HacModelParams, HacParams, HacPlusModelParams

from gsbench import PointCloud, Trainer, UsageError
from gsbench.hooks import method_class
from gsbench.testing import tiny_scene


def small(kind: type[HacModel] = HacModel, **settings: Any) -> HacModel:
    params = HacPlusModelParams if kind is HacPlusModel else HacModelParams
    model = kind(params(feat_dim=10, n_offsets=4, hash_space_entries=64, hash_plane_entries=64, **settings))  # type: ignore[arg-type]
    xyz = torch.rand(200, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1
    model.create_from_points(PointCloud(xyz, torch.zeros(200, 3, dtype=torch.uint8)), 1.0)
    with torch.no_grad():
        model._anchor_feat.normal_(generator=model.generator)
        model._offset.normal_(generator=model.generator)
    return model


OPT = HacParams(iterations=1000, noise_from_iter=10, pause_until_iter=20, rate_from_iter=30)


def drawn(model: HacModel, step: int, opt: HacParams | None = OPT) -> Any:
    """All anchors as they are drawn, in the graph."""
    return model.drawn(torch.arange(len(model)), step, opt)


def test_noise_begins_after_its_step_and_has_the_width_of_the_base_steps() -> None:
    model = small()
    for group in GROUPS:
        values = model.values_of(group)
        assert torch.equal(getattr(drawn(model, 10), group), values)
        difference = (getattr(drawn(model, 11), group) - values).detach()
        assert bool((difference.abs() <= 0.5001 * model.context.steps[group]).all())
        assert float(difference.abs().max()) > 0.45 * model.context.steps[group]


def test_adaptive_noise_and_rounding() -> None:
    model = small()
    model.freeze_box()
    with torch.no_grad():
        model.context.network.second.bias[-3:] = torch.tensor([0.5, -0.4, 9.0])  # r is clamped to 3
    found = drawn(model, 31)
    assert isinstance(found, CodedAnchors)
    assert found.steps is not None
    last = drawn(model, 0, None)
    for group, r in zip(GROUPS, (0.5, -0.4, 3.0), strict=True):
        step = found.steps[group].detach()
        expected = model.context.steps[group] * (1.0 + torch.tanh(torch.tensor(r)))
        # The hidden layer moves r a little.
        assert float((step / expected).log().abs().max()) < 0.5
        width = step[:, :, None] if group == "offsets" else step
        assert bool(((getattr(found, group) - model.values_of(group)).detach().abs() <= 0.5001 * width).all())
        symbols = (getattr(last, group) / width).detach()
        torch.testing.assert_close(symbols, symbols.round(), rtol=0, atol=2e-3)
    assert torch.equal(found.masks, torch.ones_like(found.masks))


def test_the_box_is_a_fifth_larger_on_each_side_and_holds_all_points() -> None:
    model = small(voxel_size=0.01)
    model.freeze_box()
    low, high = model._voxels.amin(dim=0), model._voxels.amax(dim=0)
    for axis in range(3):
        size = int(high[axis] - low[axis])
        assert model.low[axis] == pytest.approx(int(low[axis]) - 0.2 * size, abs=1)
        assert model.low[axis] + model.extent[axis] == pytest.approx(int(high[axis]) + 0.2 * size, abs=1)
    points = model.points(model._voxels)
    assert torch.equal(points + torch.tensor(model.low), model._voxels)
    outside = model.points(torch.tensor([[-10_000, 0, 10_000]], dtype=torch.int32))
    assert (outside[0, 0], outside[0, 2]) == (0, model.extent[2])


@pytest.mark.parametrize("kind", [HacModel, HacPlusModel])
def test_the_context_starts_with_the_statistics_of_the_values(kind: type[HacModel]) -> None:
    """Right after the start a value costs about what a Gaussian of its group's mean and deviation costs."""
    model = small(kind)
    model.freeze_box()
    anchors = drawn(model, 31)
    with torch.no_grad():
        values = {"features": anchors.features, "scales": anchors.scales, "offsets": anchors.offsets.flatten(1)}
        bits = model.context.bits(anchors.hidden, values, anchors.steps)
    entropy = 0.5 * torch.log2(2 * torch.pi * torch.e * values["features"].detach().var(dim=0)).detach()
    assert float(bits["features"].mean()) == pytest.approx(float(entropy.clamp_min(0).mean()), abs=0.4)
    assert all(bool(b.isfinite().all()) for b in bits.values())


@pytest.mark.parametrize("kind", [HacModel, HacPlusModel])
def test_the_rate_has_gradients_to_all_that_it_depends_on(kind: type[HacModel]) -> None:
    model = small(kind)
    model.freeze_box()
    anchors = drawn(model, 31)
    bits = model.bits_per_parameter(anchors, 1.0) + anchors.grid_bits / 1e4
    bits.backward()
    wanted = [model._anchor_feat, model._offset, model._scaling, *model.context.parameters()]
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in wanted)
    assert all(bool((p.grad != 0).any()) for p in wanted)
    assert model._mask.grad is not None
    # Offsets that live cost: the gradient lowers every mask.
    assert bool((model._mask.grad > 0).all())


def test_masked_offsets_cost_nothing_and_in_hac_plus_neither_do_anchors_without_any() -> None:
    for kind in (HacModel, HacPlusModel):
        model = small(kind)
        model.freeze_box()
        with torch.no_grad():
            model._mask[0], model._mask[1, 1:] = -10.0, -10.0
        anchors = drawn(model, 31)
        with torch.no_grad():
            bits = model.bits(anchors, torch.arange(3))
            values = {"features": anchors.features, "scales": anchors.scales, "offsets": anchors.offsets.flatten(1)}
            each = model.context.bits(anchors.hidden, values, anchors.steps)
        rest = each["features"].sum(dim=1) + each["scales"].sum(dim=1)
        assert float(bits[0]) == pytest.approx(0.0 if kind is HacPlusModel else float(rest[0]), abs=1e-3)
        assert float(bits[1]) == pytest.approx(float(rest[1] + each["offsets"][1, :3].sum()), rel=1e-4)
        assert float(bits[2]) == pytest.approx(float(rest[2] + each["offsets"][2].sum()), rel=1e-4)
        assert model.useless()[:3].tolist() == [True, False, False]


def test_density_control_pauses_and_scales() -> None:
    opt = HacParams()
    steps = list(opt.adjustment_steps())
    assert steps[0] == 1_600
    assert steps[-1] == 14_900
    assert not any(3_000 <= step < 4_000 for step in steps)
    assert 2_900 in steps
    assert 4_000 in steps
    short = opt.scaled(3_000)
    assert (short.noise_from_iter, short.pause_until_iter, short.rate_from_iter) == (300, 400, 1_000)
    for iterations in (1, 2, 3):
        tiny = opt.scaled(iterations)
        assert tiny.noise_from_iter <= tiny.rate_from_iter < tiny.iterations == iterations


@pytest.mark.parametrize("iterations", [1, 2, 7])
def test_the_shortest_runs_end_with_a_context(iterations: int) -> None:
    model = HacModel(HacModelParams(feat_dim=8, n_offsets=2, hash_space_entries=64, hash_plane_entries=64))
    Trainer(model, tiny_scene().for_training(), HacParams().scaled(iterations)).train()
    assert min(model.extent) >= 1


def test_training_goes_on_after_an_interruption() -> None:
    scene = tiny_scene(views=6).for_training()
    opt = HacParams().scaled(40)

    def trainer() -> Trainer:
        params = HacModelParams(feat_dim=8, n_offsets=3, hash_space_entries=64, hash_plane_entries=64)
        return Trainer(HacModel(params), scene, opt, seed=2)

    whole = trainer()
    whole.train()
    half = trainer()
    while half.step < 25:
        half.train_step()
    resumed = trainer()
    resumed.load_state_dict(half.state_dict())
    resumed.train()
    for role, tensor in whole.model.tensors().items():
        assert torch.equal(tensor, resumed.model.tensors()[role]), role


def test_rates_are_the_weights_of_the_publications() -> None:
    from gsbench_hac.plugin import gsbench_methods

    for spec in gsbench_methods():
        assert [rate.settings["lmbda"] for rate in spec.rates] == [0.004, 0.003, 0.002, 0.001, 0.0005]
        assert spec.rate("default").name == "0.002"
        assert method_class(spec.name).Config().lmbda == 0.002


@pytest.mark.parametrize(
    ("params", "settings", "message"),
    [
        (HacParams, {"rate_from_iter": 30_000}, "rate_from_iter = 30000"),
        (HacParams, {"rate_share": 0.0}, "rate_share"),
        (HacParams, {"lmbda": float("nan")}, "lmbda = nan"),
        (HacModelParams, {"q_scales": 0.0}, "q_scales"),
        (HacModelParams, {"hash_plane_entries": 0}, "hash_plane_entries"),
        (HacPlusModelParams, {"chunks": 7}, "chunks = 7: expected a divisor of feat_dim = 50"),
        (HacPlusModelParams, {"chunk_width": -1}, "chunk_width = -1"),
    ],
)
def test_settings_that_make_no_sense_are_named(params: type, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        params(**settings)


def test_networks_of_chunks_suit_the_number_of_anchors() -> None:
    assert [HacPlusModelParams().chunk_width_for(n) for n in (1, 4_001, 16_000, 1_000_000)] == [4, 5, 16, 40]
    assert HacPlusModelParams(chunk_width=40).chunk_width_for(1) == 40
    model = HacPlusModel.construct(HacPlusModelParams(chunk_width=7))
    model.create_from_scene(tiny_scene().for_training())
    other = HacPlusModel.from_state(model.state(), HacPlusModelParams())  # what was trained is what counts
    assert other.context.chunks[0].first.out_features == 7
    assert torch.equal(other.context.chunks[0].first.weight, model.context.chunks[0].first.weight)
