from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from gsbench import ArtifactReader, ArtifactWriter, Context
from gsbench.errors import ArtifactError, UsageError
from gsbench.methods import Method, TrainedMethod
from gsbench.scenes import Scene
from gsbench.testing import random_splats, tiny_scene
from gsbench.training import (
    BaseGaussianModel,
    ModelParams,
    OptimizationParams,
    PipelineParams,
    schedule_field,
    setting,
)


@dataclass
class MyModelParams(ModelParams):
    codes: int = setting(64, "entries of the codebook")


@dataclass
class MyOptimizationParams(OptimizationParams):
    quantize_from: int = schedule_field(3_000, "first step with quantization noise")


class MyModel(BaseGaussianModel):
    def __init__(self, model_params: ModelParams | None = None) -> None:
        super().__init__(model_params)
        assert isinstance(self.model_params, MyModelParams)

    def state(self) -> dict[str, Any]:
        assert isinstance(self.model_params, MyModelParams)
        return {**super().state(), "codes": self.model_params.codes}


class Mine(TrainedMethod):
    gaussian_model = MyModel
    model_params = MyModelParams
    optimization_params = MyOptimizationParams


@pytest.fixture(scope="module")
def scene() -> Scene:
    return tiny_scene(views=9, width=24, height=18, points=120)


def context(folder: Path, **changes: Any) -> Context:
    return dataclasses.replace(Context(torch.device("cpu"), 1, 0, folder, iterations=10), **changes)


def test_the_config_has_every_field_of_the_params() -> None:
    config = Mine.Config()
    for params in (MyModelParams, MyOptimizationParams, PipelineParams):
        for field in dataclasses.fields(params):
            assert getattr(config, field.name) == field.default
    own = {f.name: f for f in dataclasses.fields(Mine.Config)}
    assert own["codes"].metadata["help"] == "entries of the codebook"
    assert own["lambda_dssim"].metadata["gsbench.stage"] == "train"
    assert (own["codes"].type, own["lambda_dssim"].type, own["backend"].type) == (int, float, str)
    assert dataclasses.replace(config, lambda_dssim=0.1, codes=8).lambda_dssim == 0.1


def test_the_config_refuses_what_the_params_refuse() -> None:
    with pytest.raises(UsageError, match=r"lambda_dssim = 2\.0"):
        Mine.Config(lambda_dssim=2.0)


def test_two_fields_of_one_name_are_an_error() -> None:
    @dataclass
    class Clash(ModelParams):
        iterations: int = setting(5, "of something else")

    with pytest.raises(TypeError, match="field 'iterations' is in Clash and in OptimizationParams"):

        class Wrong(TrainedMethod):
            model_params = Clash

    @dataclass
    class Needs(ModelParams):
        size: int = dataclasses.field(kw_only=True)

    with pytest.raises(TypeError, match="field 'size' of Needs has no default"):

        class Incomplete(TrainedMethod):
            model_params = Needs


def test_iterations_scale_the_whole_schedule() -> None:
    config = Mine.Config(opacity_reset_interval=1_500)
    assert Mine.optimization(config, None).iterations == 30_000
    opt = Mine.optimization(config, 3_000)
    assert isinstance(opt, MyOptimizationParams)
    assert (opt.iterations, opt.opacity_reset_interval, opt.quantize_from) == (3_000, 150, 300)


def test_the_schedule_can_be_shown_without_a_scene() -> None:
    table = Mine.schedule(Mine.Config(), 2_000).table()
    assert "MyModel.densify_and_prune_task" in table
    assert "1999" in table


def test_fit_state_and_back(scene: Scene, tmp_path: Path) -> None:
    method = Mine()
    config = Mine.Config(codes=7)
    steps: list[tuple[int, int]] = []
    model = method.fit(
        scene.for_training(),
        config,
        context(tmp_path, progress=lambda step, total, values: steps.append((step, total))),
    )
    assert steps == [(10, 10)]
    assert isinstance(model, Mine.model_class)
    assert isinstance(model.gaussians, MyModel)
    state = model.state()
    assert state["codes"] == 7
    again = Mine.model_class.from_state(state, config)
    view = scene.train[0]
    assert torch.equal(model.render(view, scene.background), again.render(view, scene.background))
    assert not model.render(view, scene.background).requires_grad
    assert torch.equal(model.splats().means, again.splats().means)
    assert again.gaussians.model_params.codes == 7  # type: ignore[attr-defined]


def test_every_method_has_its_own_model_class() -> None:
    class Other(TrainedMethod):
        pass

    assert issubclass(Other, Method)
    assert Other.model_class is not Mine.model_class
    assert Other.model_class.method is Other  # type: ignore[attr-defined]
    assert Other.Config is not Mine.Config


def test_a_base_is_where_training_starts(scene: Scene, tmp_path: Path) -> None:
    base = random_splats(77)
    model = Mine().fit(
        scene, Mine.Config(densify_until_iter=0, iterations=1), context(tmp_path, base=base, iterations=1)
    )
    assert len(model.splats()) == 77
    torch.testing.assert_close(model.splats().means, base.means, atol=1e-2, rtol=0)


def test_the_default_artifact_is_a_ply(scene: Scene, tmp_path: Path) -> None:
    method, config = Mine(), Mine.Config()
    model = method.fit(scene, config, context(tmp_path))
    path = tmp_path / "model.ply"
    with ArtifactWriter(path, "mine", "1") as out:
        method.encode(model, config, out, context(tmp_path))
    assert path.read_bytes().startswith(b"ply\n")
    decoded = Mine.decode(ArtifactReader(path), context(tmp_path))
    view = scene.train[0]
    assert torch.equal(decoded.render(view, scene.background), model.render(view, scene.background))
    assert Mine.counts(decoded) == {"gaussians": len(model.splats())}

    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ArtifactError, match=r"model\.ply"):
        Mine.decode(ArtifactReader(path), context(tmp_path))


def test_a_container_is_not_a_ply(tmp_path: Path) -> None:
    path = tmp_path / "model.gsb"
    with ArtifactWriter(path, "mine", "1") as out:
        out.section("data", b"123")
    with pytest.raises(ArtifactError, match=r"expected an Inria \.ply"):
        Mine.decode(ArtifactReader(path), context(tmp_path))
