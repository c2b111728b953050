"""Anchor models: voxels, growth, pruning, training."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from gsbench import PipelineParams, PointCloud, SceneError, Trainer, UsageError
from gsbench.testing import tiny_scene
from gsbench.training.anchors import AnchorModel, AnchorModelParams, AnchorParams
from gsbench.training.anchors.growth import free_cells, median_distance, rounded_quotient, row_keys, to_voxels


def points(xyz: Tensor) -> PointCloud:
    return PointCloud(xyz, torch.zeros(len(xyz), 3, dtype=torch.uint8))


def model(xyz: Tensor, **settings: float) -> AnchorModel:
    params = AnchorModelParams(**{"voxel_size": 0.1, "feat_dim": 4, "n_offsets": 2, **settings})  # type: ignore[arg-type]
    result = AnchorModel(params)
    result.create_from_points(points(xyz), 1.0)
    return result


def test_one_anchor_per_voxel() -> None:
    xyz = torch.tensor([[0.0, 0.0, 0.0], [0.02, -0.04, 0.01], [0.11, 0.0, 0.0], [-0.26, 0.3, 7.0]])
    anchors = model(xyz)
    assert anchors._voxels.tolist() == [[-3, 3, 70], [0, 0, 0], [1, 0, 0]]
    torch.testing.assert_close(anchors.get_xyz[0], torch.tensor([-0.3, 0.3, 7.0]))
    assert len(anchors) == 3
    assert not anchors._offset.any()


def test_the_default_voxel_is_the_median_distance() -> None:
    xyz = torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [3.0, 0, 0], [3.0, 0, 0], [9.0, 0, 0]])
    assert median_distance(xyz) == 1.0  # of 1, 1, 6; points in one place say nothing
    anchors = AnchorModel()
    anchors.create_from_points(points(xyz), 1.0)
    assert anchors.voxel_size == 1.0


@pytest.mark.parametrize(
    ("dataset", "voxel_size", "factor"),
    [
        ("mipnerf360", 0.001, 16),
        ("tandt", 0.01, 16),
        ("nerf_synthetic", 0.001, 4),
        ("demo", None, 16),
        ("own", None, 4),
    ],
)
def test_data_sets_have_voxels_of_their_own(dataset: str, voxel_size: float | None, factor: int) -> None:
    scene = dataclasses.replace(tiny_scene(), dataset=dataset)
    anchors = AnchorModel()
    anchors.create_from_scene(scene)
    assert anchors.update_init_factor == factor
    assert anchors.voxel_size == pytest.approx(median_distance(scene.points.xyz) if voxel_size is None else voxel_size)


def test_settings_of_voxels_win() -> None:
    scene = tiny_scene()
    anchors = AnchorModel(AnchorModelParams(voxel_size=0.5, update_init_factor=64))
    anchors.create_from_scene(scene)
    assert (anchors.voxel_size, anchors.update_init_factor) == (0.5, 64)


def test_growth_grids() -> None:
    params = AnchorModelParams()
    assert params.growth_factors(16) == [16, 4, 1]
    assert params.growth_factors(128) == [128, 32, 8]
    assert params.growth_factors(4) == [4, 1]  # a third one would be finer than the voxels


def test_voxels_that_are_too_small_are_refused() -> None:
    with pytest.raises(SceneError, match="voxel_size 1e-09: too small"):
        to_voxels(torch.tensor([[5.0, 0, 0]]), 1e-9)
    strays = torch.tensor([[0.0, 0, 1.0], [0, -3e6, 0], [2.0, 0, 0]])
    assert to_voxels(strays, 1.0).tolist() == [[0, 0, 1], [2, 0, 0]]


@pytest.mark.parametrize("reach", [5, 2**28])
def test_keys_are_equal_where_rows_are_and_in_their_order(reach: int) -> None:
    g = torch.Generator().manual_seed(0)
    a = torch.randint(-3, 4, (60, 3), generator=g) * (reach // 4)
    b = torch.randint(-3, 4, (50, 3), generator=g) * (reach // 4)
    keys_a, keys_b = row_keys(a, b)
    keys, rows = torch.cat([keys_a, keys_b]).tolist(), torch.cat([a, b]).tolist()
    for i in range(len(rows)):
        for j in range(len(rows)):
            assert (keys[i] < keys[j]) == (rows[i] < rows[j])
            assert (keys[i] == keys[j]) == (rows[i] == rows[j])


def test_free_cells() -> None:
    wanted = torch.tensor([[2, 0, 0], [1, 1, 1], [0, 0, 5], [2, 0, 0], [1, 1, 1]])
    cells, of_row = free_cells(wanted, torch.tensor([[1, 1, 1], [9, 9, 9]]))
    assert cells.tolist() == [[0, 0, 5], [2, 0, 0]]
    assert of_row.tolist() == [1, -1, 0, 1, -1]
    assert rounded_quotient(torch.tensor([-3, -2, -1, 1, 2, 5, 6]), 4).tolist() == [-1, 0, 0, 0, 1, 1, 2]


def with_statistics(opt: AnchorParams) -> AnchorModel:
    """Three anchors that were all seen often; the first's second offset points far away and has a large gradient."""
    xyz = torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [1.0, 0.0, 0.0]])
    anchors = model(xyz, update_init_factor=1)
    anchors.training_setup(opt)
    with torch.no_grad():
        anchors._scaling.fill_(0.0)
        anchors._offset[0, 1] = torch.tensor([3.0, 0.0, 0.0])
        anchors._anchor_feat[0] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    anchors.offset_denom.fill_(90.0)
    anchors.offset_gradient_accum[0, 1] = 90.0 * 3e-4
    anchors.anchor_demon.fill_(90.0)
    anchors.opacity_accum.copy_(torch.tensor([90.0, 90.0, 0.1]))
    return anchors


def step_once(anchors: AnchorModel) -> None:
    for parameter in anchors.trained_groups()["anchor_feat"]:
        parameter.grad = torch.ones_like(parameter)
    anchors.optimizer_step()


def test_anchors_grow_where_gradients_are_and_go_where_nothing_is_seen() -> None:
    opt = AnchorParams()
    grown = 0
    for seed in range(8):
        anchors = with_statistics(opt)
        anchors.generator.manual_seed(seed)
        step_once(anchors)
        features = anchors._anchor_feat.detach().clone()
        anchors.adjust_anchors(opt)
        # The third goes: its Gaussians have a mean opacity below 0.005 in all. Candidates are drawn at random.
        assert anchors._voxels[:2].tolist() == [[0, 0, 0], [5, 0, 0]]
        moments = anchors.optimizer.state[anchors._anchor_feat]["exp_avg"]
        assert moments.shape == anchors._anchor_feat.shape
        assert torch.equal(anchors._anchor_feat[:2], features[:2])
        assert bool((moments[:2] != 0).all())
        if len(anchors) == 3:
            grown += 1
            assert anchors._voxels[2].tolist() == [30, 0, 0]
            assert torch.equal(anchors._anchor_feat[2], features[0])
            torch.testing.assert_close(anchors._scaling[2], torch.full((6,), math.log(0.1)))
            assert not anchors._offset[2].any()
            assert not moments[2].any()
        assert all(len(v) == len(anchors) and not v.any() for v in anchors.statistics().values())
    assert 0 < grown < 8


def test_statistics_that_are_too_few_wait() -> None:
    opt = AnchorParams()
    anchors = with_statistics(opt)
    anchors.offset_denom.fill_(40.0)
    anchors.anchor_demon.fill_(80.0)
    anchors.adjust_anchors(opt)
    assert len(anchors) == 3
    assert bool((anchors.offset_denom == 40.0).all())
    assert anchors.opacity_accum.tolist() == pytest.approx([90.0, 90.0, 0.1])


def test_a_cell_that_is_taken_grows_nothing() -> None:
    opt = AnchorParams()
    for seed in range(4):
        anchors = with_statistics(opt)
        anchors.generator.manual_seed(seed)
        with torch.no_grad():
            anchors._offset[0, 1] = torch.tensor([0.5, 0.0, 0.0])
        anchors.adjust_anchors(opt)
        assert len(anchors) == 2


def short(**changes: int) -> AnchorParams:
    return AnchorParams(**{**vars(AnchorParams().scaled(60)), "densification_interval": 10, **changes})


def test_training_lowers_the_loss_repeats_and_goes_on_after_an_interruption() -> None:
    scene = tiny_scene(views=6).for_training()
    opt = short(densify_grad_threshold=1e-5)  # type: ignore[arg-type]

    def trainer() -> Trainer:
        return Trainer(AnchorModel(AnchorModelParams(feat_dim=8, n_offsets=4)), scene, opt, seed=3)

    whole = trainer()
    losses = []
    while whole.step < opt.iterations:
        whole.train_step()
        losses.append(float(whole._last_loss))  # type: ignore[arg-type]
    assert sum(losses[-6:]) < 0.8 * sum(losses[:6])
    assert len(whole.model) != len(to_voxels(scene.points.xyz, whole.model.voxel_size))  # type: ignore[attr-defined]

    half = trainer()
    while half.step < 35:
        half.train_step()
    resumed = trainer()
    resumed.load_state_dict(half.state_dict())
    resumed.train()
    for role, tensor in whole.model.tensors().items():
        assert torch.equal(tensor, resumed.model.tensors()[role]), role
    weights = zip(whole.model.networks.parameters(), resumed.model.networks.parameters(), strict=True)  # type: ignore[attr-defined]
    assert all(torch.equal(a, b) for a, b in weights)


def test_what_has_no_meaning_is_refused() -> None:
    with pytest.raises(UsageError, match=r"rotation_lr = 1\.0: anchor models do not use it"):
        AnchorParams(rotation_lr=1.0)
    with pytest.raises(UsageError, match="no meaning for anchors"):
        AnchorModelParams(sh_degree=3)
    anchors = model(torch.zeros(1, 3))
    view = tiny_scene().train[0]
    with pytest.raises(NotImplementedError, match="scaling_modifier"):
        anchors.render(view, torch.zeros(3), PipelineParams(), scaling_modifier=2.0)
    with pytest.raises(NotImplementedError, match="depend on where they are seen from"):
        anchors.splats()


def test_a_view_that_sees_no_anchor_is_background() -> None:
    anchors = model(torch.tensor([[0.0, 0.0, 1e4]]))
    view = tiny_scene().train[0]
    image = anchors.render(view, torch.tensor([0.2, 0.4, 0.6]), PipelineParams()).image
    assert torch.equal(image, torch.tensor([0.2, 0.4, 0.6]).expand_as(image))
