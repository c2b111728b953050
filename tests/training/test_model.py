from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from gsbench.raster import rasterization
from gsbench.scenes import PointCloud
from gsbench.splats import Splats, sh_dc_to_rgb
from gsbench.testing import orbit_cameras, random_splats, tiny_scene
from gsbench.training import BaseGaussianModel, ModelParams, OptimizationParams, PipelineParams

BLACK = torch.zeros(3)
PIPE = PipelineParams()
WIDTH, HEIGHT = 32, 24


def cloud(n: int = 50, seed: int = 0) -> PointCloud:
    g = torch.Generator().manual_seed(seed)
    return PointCloud(torch.randn(n, 3, generator=g), torch.randint(0, 256, (n, 3), generator=g, dtype=torch.uint8))


def trained_model(n: int = 40, opt: OptimizationParams | None = None, extent: float = 1.0) -> BaseGaussianModel:
    """A model with Gaussians of many sizes, and moments in its optimizer."""
    model = BaseGaussianModel()
    model.create_from_splats(random_splats(n), extent)
    model.training_setup(opt if opt is not None else OptimizationParams())
    g = torch.Generator().manual_seed(1)
    for tensor in model.tensors().values():
        tensor.grad = torch.randn(tensor.shape, generator=g)
    model.optimizer_step()
    return model


def moments(model: BaseGaussianModel, role: str) -> Tensor:
    exp_avg: Tensor = model.optimizer.state[model.tensors()[role]]["exp_avg"]
    return exp_avg


def check_consistent(model: BaseGaussianModel) -> None:
    """Parameters, optimizer and statistics agree about who is there."""
    n = len(model)
    held = {g["name"]: g["params"][0] for g in model.optimizer.param_groups}
    for role, (_, group) in model.attributes.items():
        tensor = model.tensors()[role]
        assert held[group] is tensor
        assert len(tensor) == n
        if tensor in model.optimizer.state:
            assert moments(model, role).shape == tensor.shape
    assert len(model.optimizer.state) <= len(held)
    assert all(len(value) == n for value in model.statistics().values())


# Initialization.


def test_initial_gaussians() -> None:
    points = cloud()
    model = BaseGaussianModel(ModelParams(sh_degree=2, init_opacity=0.3))
    model.create_from_points(points, 2.5)
    distance, _ = cKDTree(points.xyz.numpy()).query(points.xyz.numpy(), k=4)
    expected = np.repeat(distance[:, 1:].mean(axis=1)[:, None], 3, axis=1)
    np.testing.assert_allclose(model.get_scaling.detach().numpy(), expected, rtol=1e-5)
    assert torch.equal(model.get_xyz.detach(), points.xyz)
    torch.testing.assert_close(model.get_opacity.detach(), torch.full((50, 1), 0.3))
    assert model.get_rotation.tolist() == [[1.0, 0.0, 0.0, 0.0]] * 50
    assert model.get_features.shape == (50, 9, 3)
    torch.testing.assert_close(sh_dc_to_rgb(model._features_dc.detach()[:, 0]), points.rgb / 255.0)
    assert not model._features_rest.any()
    assert (model.spatial_lr_scale, model.active_sh_degree, model.max_sh_degree) == (2.5, 0, 2)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_few_or_coinciding_points_get_finite_sizes(n: int) -> None:
    points = PointCloud(torch.ones(n, 3), torch.zeros(n, 3, dtype=torch.uint8))
    model = BaseGaussianModel()
    model.create_from_points(points, 1.0)
    assert torch.isfinite(model._scaling).all()


def test_no_points_are_refused() -> None:
    with pytest.raises(ValueError, match="points: expected at least one"):
        BaseGaussianModel().create_from_points(cloud(0), 1.0)


# Rendering and loss.


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_render_draws_the_activated_gaussians(degree: int) -> None:
    splats, camera = random_splats(60), orbit_cameras(1, WIDTH, HEIGHT)[0]
    model = BaseGaussianModel()
    model.create_from_splats(splats, 1.0)
    model.active_sh_degree = degree
    background = torch.tensor([0.2, 0.5, 0.7])
    expected, alpha, _ = rasterization(
        splats.means,
        splats.quats,
        splats.log_scales.exp(),
        splats.opacity_logits.sigmoid(),
        splats.sh,
        camera.viewmat[None],
        camera.K[None],
        WIDTH,
        HEIGHT,
        sh_degree=degree,
        backgrounds=background[None],
    )
    result = model.render(camera, background, PIPE)
    torch.testing.assert_close(result.image.detach(), expected[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(result.alpha.detach(), alpha[0], rtol=1e-5, atol=1e-6)
    assert torch.equal(result.rendered_image, result.image.permute(2, 0, 1))


def test_scaling_modifier_and_override_color() -> None:
    splats, camera = random_splats(60), orbit_cameras(1, WIDTH, HEIGHT)[0]
    model, larger = BaseGaussianModel(), BaseGaussianModel()
    model.create_from_splats(splats, 1.0)
    larger.create_from_splats(
        Splats(splats.means, (splats.log_scales.exp() * 1.5).log(), splats.quats, splats.opacity_logits, splats.sh), 1.0
    )
    torch.testing.assert_close(
        model.render(camera, BLACK, PIPE, scaling_modifier=1.5).image,
        larger.render(camera, BLACK, PIPE).image,
        rtol=1e-4,
        atol=1e-5,
    )
    # In one color, the image is that color times alpha.
    red = torch.tensor([1.0, 0.0, 0.0]).expand(60, 3)
    result = model.render(camera, BLACK, PIPE, override_color=red)
    torch.testing.assert_close(result.image[..., :1], result.alpha)
    assert not result.image[..., 1:].any()


def test_other_activations_are_rendered_too() -> None:
    class Softplus(BaseGaussianModel):
        def setup_functions(self) -> None:
            super().setup_functions()
            self.scaling_activation = torch.nn.functional.softplus
            self.opacity_activation = lambda x: x.clamp(0.001, 0.999)

    splats, camera = random_splats(60), orbit_cameras(1, WIDTH, HEIGHT)[0]
    model, plain = Softplus(), BaseGaussianModel()
    plain.create_from_splats(splats, 1.0)
    model.create_from_splats(splats, 1.0)
    with torch.no_grad():
        model._scaling.copy_(torch.expm1(splats.log_scales.exp().double()).log().float())
        model._opacity.copy_(splats.opacities[:, None].clamp(0.001, 0.999))
    torch.testing.assert_close(
        model.render(camera, BLACK, PIPE).image, plain.render(camera, BLACK, PIPE).image, rtol=1e-3, atol=1e-3
    )


def test_the_loss_is_that_of_the_paper() -> None:
    view = tiny_scene().train[0]
    model = BaseGaussianModel()
    model.create_from_splats(random_splats(60), 1.0)
    opt = OptimizationParams(lambda_dssim=0.3)
    result = model.render(view, BLACK, PIPE)
    loss, pack = model.loss_func(view, result, opt)
    l1 = (result.image - view.pixels / 255.0).abs().mean()
    assert pack.l1_loss is not None
    assert pack.ssim_loss is not None
    torch.testing.assert_close(pack.l1_loss, l1.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(loss.detach(), 0.7 * pack.l1_loss + 0.3 * pack.ssim_loss, rtol=1e-5, atol=1e-6)
    assert loss.requires_grad
    assert not pack.loss.requires_grad


# The optimizer.


def test_learning_rates() -> None:
    opt = OptimizationParams()
    model = trained_model(opt=opt, extent=3.0)
    rates = {g["name"]: g["lr"] for g in model.optimizer.param_groups}
    assert rates == {
        "xyz": pytest.approx(1.6e-4 * 3.0),
        "f_dc": 0.0025,
        "f_rest": 0.0025 / 20.0,
        "opacity": 0.05,
        "scaling": 0.005,
        "rotation": 0.001,
    }
    model.update_learning_rate(15_000)
    changed = {g["name"]: g["lr"] for g in model.optimizer.param_groups}
    assert changed.pop("xyz") == pytest.approx(1.6e-5 * 3.0)
    assert changed == {k: v for k, v in rates.items() if k != "xyz"}


def test_sh_degrees_grow_to_the_maximum() -> None:
    model = BaseGaussianModel(ModelParams(sh_degree=2))
    degrees = []
    for _ in range(4):
        model.oneup_sh_degree()
        degrees.append(model.active_sh_degree)
    assert degrees == [1, 2, 2, 2]


# Density control under the original names.


def test_replace_tensor_to_optimizer() -> None:
    model = trained_model()
    before = moments(model, "scales").clone()
    new = model.replace_tensor_to_optimizer(torch.zeros(40, 1), "opacity")
    assert list(new) == ["opacity"]
    assert model._opacity is new["opacity"]
    assert not model._opacity.any()
    assert not moments(model, "opacities").any()
    assert torch.equal(moments(model, "scales"), before)
    check_consistent(model)
    with pytest.raises(ValueError, match="no per-Gaussian parameter group 'opacities'; expected one of"):
        model.replace_tensor_to_optimizer(torch.zeros(40, 1), "opacities")


def test_prune_points_and_prune_optimizer() -> None:
    model = trained_model()
    xyz, old = model._xyz.detach().clone(), moments(model, "means").clone()
    model.max_radii2D = torch.arange(40.0)
    gone = torch.arange(40) % 4 == 0
    model.prune_points(gone)
    assert torch.equal(model._xyz.detach(), xyz[~gone])
    assert torch.equal(moments(model, "means"), old[~gone])
    assert model.max_radii2D.tolist() == [i for i in range(40) if i % 4]
    check_consistent(model)

    keep = torch.arange(30) < 10
    groups = model._prune_optimizer(keep)
    assert set(groups) == {"xyz", "f_dc", "f_rest", "opacity", "scaling", "rotation"}
    assert all(len(p) == 10 for p in groups.values())
    assert groups["xyz"] is model._xyz


def test_densification_postfix_appends_and_clears() -> None:
    model = trained_model()
    model.xyz_gradient_accum += 1.0
    model.densification_postfix(
        torch.ones(2, 3),
        torch.ones(2, 1, 3),
        torch.ones(2, 15, 3),
        torch.ones(2, 1),
        torch.ones(2, 3),
        torch.ones(2, 4),
    )
    assert len(model) == 42
    assert torch.equal(model._xyz.detach()[40:], torch.ones(2, 3))
    assert not moments(model, "means")[40:].any()
    assert moments(model, "means")[:40].all()
    assert not model.xyz_gradient_accum.any()
    check_consistent(model)


def test_clone_takes_the_small_and_split_the_large() -> None:
    extent = 10.0
    opt = OptimizationParams(percent_dense=0.02)
    model = trained_model(opt=opt)
    sizes = model.get_scaling.detach().amax(dim=1)
    small = sizes <= 0.2
    assert 5 < int(small.sum()) < 35
    g = torch.Generator().manual_seed(5)
    grads = torch.rand(40, 1, generator=g)
    high = grads[:, 0] >= 0.5
    xyz = model._xyz.detach().clone()

    model.densify_and_clone(grads, 0.5, extent)
    clones = int((small & high).sum())
    assert torch.equal(model._xyz.detach(), torch.cat([xyz, xyz[small & high]]))
    check_consistent(model)

    model.densify_and_split(grads, 0.5, extent, N=3)
    split = ~small & high
    parts = int(split.sum())
    assert len(model) == 40 + clones + 2 * parts
    assert torch.equal(model._xyz.detach()[: 40 - parts], xyz[~split])
    torch.testing.assert_close(
        model.get_scaling.detach()[-3 * parts :].amax(dim=1), (sizes[split] / 2.4).repeat(3), rtol=1e-5, atol=1e-7
    )
    check_consistent(model)


def test_densify_and_prune() -> None:
    model = trained_model(opt=OptimizationParams(percent_dense=0.02))
    with torch.no_grad():
        model._opacity.fill_(2.0)
        model._opacity[:3] = math.log(0.004 / 0.996)
        model._scaling[:, :].clamp_(max=math.log(0.5))
        model._scaling[3] = math.log(2.0)
    model.xyz_gradient_accum[5:10] = 4.0
    model.denom[:] = 8.0
    xyz = model._xyz.detach().clone()

    # No size limit: the transparent ones go.
    model.densify_and_prune(max_grad=0.5, min_opacity=0.005, extent=10.0, max_screen_size=None)
    assert len(model) == 40 + 5 - 3
    assert not (model._xyz.detach()[:, None] == xyz[None, :3]).all(dim=-1).any()
    assert (model._xyz.detach() == xyz[3]).all(dim=-1).any()
    check_consistent(model)

    # A number: what is larger than a tenth of the extent goes as well.
    model.densify_and_prune(max_grad=0.5, min_opacity=0.005, extent=10.0, max_screen_size=20)
    assert len(model) == 41
    assert not (model._xyz.detach() == xyz[3]).all(dim=-1).any()
    assert not model.denom.any()


@pytest.mark.parametrize("limit", [40, 45, 47, 60, 1000])
def test_growth_stops_at_the_limit_with_the_largest_gradients(limit: int) -> None:
    model = trained_model(opt=OptimizationParams(max_gaussians=limit, percent_dense=1.0))
    with torch.no_grad():
        model._opacity.fill_(2.0)
    g = torch.Generator().manual_seed(3)
    model.xyz_gradient_accum = torch.randint(1, 30, (40, 1), generator=g).float()  # with ties
    model.denom[:] = 1.0
    grads, xyz = model.xyz_gradient_accum.flatten().clone(), model._xyz.detach().clone()
    model.densify_and_prune(10.0, 0.005, 100.0, None)
    wanted = int((grads >= 10.0).sum())
    assert len(model) <= limit
    clones = model._xyz.detach()[40:]
    grown = (clones[:, None] == xyz[None]).all(dim=-1).any(dim=0)
    assert len(clones) == int(grown.sum()) <= wanted
    if wanted <= limit - 40:
        assert len(clones) == wanted
    elif len(clones):
        # Nobody who stayed out has a larger gradient, and only a tie keeps a place free.
        assert grads[~grown].max() < grads[grown].min()
    ties = int((grads == grads[~grown].max()).sum()) if wanted > limit - 40 else 0
    assert limit - len(model) < max(ties, 1) or wanted <= limit - 40


def test_reset_opacity() -> None:
    model = trained_model()
    model.reset_opacity()
    assert float(model.get_opacity.detach().max()) == pytest.approx(0.01)
    assert not moments(model, "opacities").any()
    check_consistent(model)


def test_statistics_of_views_accumulate_in_normalized_coordinates() -> None:
    model = trained_model(60)
    expected, visits = torch.zeros(60, 1), torch.zeros(60, 1)
    largest = torch.zeros(60)
    for camera in orbit_cameras(3, WIDTH, HEIGHT):
        result = model.render(camera, BLACK, PIPE)
        assert result.viewspace_points.grad is None
        (result.image**2).sum().backward()
        model.add_densification_stats(result)
        gradient = result.meta["means2d"].grad[0]
        scaled = torch.stack([gradient[:, 0] * WIDTH / 2, gradient[:, 1] * HEIGHT / 2], dim=1)
        torch.testing.assert_close(result.viewspace_points.grad, scaled)
        seen = (result.meta["radii"][0] > 0).all(dim=1)
        assert torch.equal(result.visibility_filter, seen)
        expected[seen] += scaled[seen].norm(dim=1, keepdim=True)
        visits[seen] += 1
        largest[seen] = torch.maximum(largest[seen], result.meta["radii"][0][seen].amax(dim=1).float())
    torch.testing.assert_close(model.xyz_gradient_accum, expected)
    assert torch.equal(model.denom, visits)
    assert torch.equal(model.max_radii2D, largest)
    assert int((model.denom < 3).sum()) > 0 or int(visits.min()) == 3


def test_statistics_need_a_backward_pass() -> None:
    model = trained_model()
    result = model.render(orbit_cameras(1, WIDTH, HEIGHT)[0], BLACK, PIPE)
    with pytest.raises(ValueError, match="viewspace_points has no gradient"):
        model.add_densification_stats(result)


def test_further_tensors_are_edited_along() -> None:
    class Masked(BaseGaussianModel):
        attributes = {**BaseGaussianModel.attributes, "mask": ("_mask", "mask")}  # noqa: RUF012

        def __init__(self, model_params: ModelParams | None = None) -> None:
            self._mask = torch.empty(0, 1)
            super().__init__(model_params)

        def training_setup(self, opt: OptimizationParams) -> None:
            self._mask = torch.nn.Parameter(torch.arange(float(len(self)))[:, None])
            super().training_setup(opt)
            self.optimizer.add_param_group({"params": [self._mask], "lr": 0.01, "name": "mask"})

    model = Masked()
    model.create_from_splats(random_splats(10), 1.0)
    model.training_setup(OptimizationParams())
    model.prune_points(torch.arange(10) < 4)
    model.densify_and_clone(torch.tensor([1.0, 0, 0, 0, 0, 0]), 0.5, 1e6)
    assert model._mask.flatten().tolist() == [4, 5, 6, 7, 8, 9, 4]
    check_consistent(model)


# Export and state.


def test_splats_and_back() -> None:
    splats = random_splats(30, sh_degree=3)
    model = BaseGaussianModel()
    model.create_from_splats(splats, 1.0)
    back = model.splats()
    for name in ("means", "log_scales", "quats", "opacity_logits", "sh"):
        assert torch.equal(getattr(back, name), getattr(splats, name))
    back.means.zero_()
    assert model._xyz.any()
    model.active_sh_degree = 1
    assert torch.equal(model.splats().sh[:, :4], splats.sh[:, :4])
    assert not model.splats().sh[:, 4:].any()


def test_fewer_sh_degrees_are_filled_up_and_more_refused() -> None:
    model = BaseGaussianModel(ModelParams(sh_degree=2))
    model.create_from_splats(random_splats(5, sh_degree=1), 1.0)
    assert model.get_features.shape == (5, 9, 3)
    assert not model.get_features[:, 4:].any()
    with pytest.raises(ValueError, match="SH degree up to 2, got 3"):
        model.create_from_splats(random_splats(5), 1.0)


def test_state_restores_the_model() -> None:
    model = trained_model()
    model.active_sh_degree, model.spatial_lr_scale = 2, 7.0
    state: dict[str, Any] = model.state()
    again = BaseGaussianModel.from_state(state, ModelParams())
    assert (again.active_sh_degree, again.spatial_lr_scale) == (2, 7.0)
    for role, tensor in model.tensors().items():
        assert torch.equal(again.tensors()[role], tensor)
        state["tensors"][role].zero_()
    assert again._xyz.any()
    assert model._xyz.any()
    with pytest.raises(ValueError, match="tensors: expected"):
        BaseGaussianModel.from_state({**state, "tensors": {"means": torch.zeros(1, 3)}})
