from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from gsbench import ArtifactReader, ArtifactWriter, Context
from gsbench.bench.settings import build_config, resolve_config, split_setting
from gsbench.cli import main
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


@dataclass
class Codes(ModelParams):
    codes: int = 64
    kind: Literal["vector", "scalar"] = "vector"


@dataclass
class Rates(OptimizationParams):
    rates: tuple[float, float] = (0.1, 0.2)
    limit: float | None = None
    warm_up: int = schedule_field(300, "steps before the codebook learns")
    total: float = dataclasses.field(init=False, default=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.total = sum(self.rates)


@dataclass
class Pipes(PipelineParams):
    deterministic: bool = False


class Settable(TrainedMethod):
    model_params = Codes
    optimization_params = Rates
    pipeline_params = Pipes


def configured(*texts: str) -> Any:
    """The Config after ``--set settable.field=value`` for each of the texts, through the JSON of a job."""
    pairs = [split_setting(f"settable.{text}", ["settable"])[1:] for text in texts]
    values = json.loads(json.dumps(resolve_config("settable", Settable.Config, {}, pairs)))
    return build_config(Settable.Config, values)


def another(value: Any) -> Any:
    """A value that differs, of the same type, valid wherever the value is."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return 2 if value == 3 else value + 1
    return value + "x" if isinstance(value, str) else 0.5 * value + 1e-7


@pytest.mark.parametrize(
    "field",
    [
        pytest.param(field, id=field.name)
        for params in (ModelParams, OptimizationParams, PipelineParams)
        for field in dataclasses.fields(params)
    ],
)
def test_every_inherited_field_can_be_set_as_text_and_nothing_else_changes(field: dataclasses.Field[Any]) -> None:
    value = another(field.default)
    config, usual = configured(f"{field.name}={value}"), Settable.Config()
    changed = {f.name for f in dataclasses.fields(config) if getattr(config, f.name) != getattr(usual, f.name)}
    assert changed == {field.name}
    assert getattr(config, field.name) == value
    assert type(getattr(config, field.name)) is type(field.default)


def test_fields_of_subclasses_can_be_set_and_reach_the_training(scene: Scene, tmp_path: Path) -> None:
    config = configured(
        "codes=8", "kind=scalar", "rates=0.5,0.25", "limit=2", "warm_up=60", "deterministic=yes", "sh_degree=1"
    )
    seen: list[Any] = []

    class Watching(BaseGaussianModel):
        def render(self, camera: Any, background: Any, pipe: Any, opt: Any = None, *rest: Any, **more: Any) -> Any:
            seen.append((pipe, opt))
            return super().render(camera, background, pipe, opt, *rest, **more)

    class Watched(Settable):
        gaussian_model = Watching

    fitted = Watched().fit(scene, config, context(tmp_path, iterations=3_000 // 300))
    assert fitted.gaussians.model_params == Codes(sh_degree=1, codes=8, kind="scalar")
    pipe, opt = seen[0]
    assert pipe == Pipes(deterministic=True)
    assert (type(opt), opt.rates, opt.limit, opt.total) == (Rates, (0.5, 0.25), 2.0, 0.75)
    assert (opt.iterations, opt.warm_up) == (10, 1)  # 60 of 30,000, and at least one
    assert configured("limit=none").limit is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("codez=3", "there is no field 'codez'; did you mean 'codes'"),
        ("codes=many", "settable.codes=many: expected a whole number"),
        ("kind=both", "expected one of vector, scalar"),
        ("rates=1", "expected 2 values separated by commas, got 1"),
        ("lambda_dssim=3", r"lambda_dssim = 3\.0: expected a number from 0 to 1"),
        ("total=1", "there is no field 'total'"),
    ],
)
def test_wrong_settings_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        configured(text)


def clashing(base: type, name: str) -> type:
    return dataclasses.make_dataclass(
        "Clash", [(name, int, dataclasses.field(default=5))], bases=(base,), namespace={"__module__": __name__}
    )


@pytest.mark.parametrize(
    ("attribute", "base", "name", "owners"),
    [
        ("model_params", ModelParams, "iterations", "Clash and in OptimizationParams"),
        ("optimization_params", OptimizationParams, "sh_degree", "ModelParams and in Clash"),
        ("model_params", ModelParams, "backend", "Clash and in PipelineParams"),
        ("pipeline_params", PipelineParams, "sh_degree", "ModelParams and in Clash"),
        ("optimization_params", OptimizationParams, "backend", "Clash and in PipelineParams"),
        ("pipeline_params", PipelineParams, "iterations", "OptimizationParams and in Clash"),
    ],
)
def test_two_fields_of_one_name_are_an_error(attribute: str, base: type, name: str, owners: str) -> None:
    with pytest.raises(TypeError, match=f"Wrong: field '{name}' is in {owners}; rename one"):
        type("Wrong", (TrainedMethod,), {attribute: clashing(base, name), "__module__": __name__})


@dataclass
class Softer(OptimizationParams):
    lambda_dssim: float = 0.1
    densify_until_iter: int = 20_000


def test_a_subclass_may_change_the_default_of_what_it_inherits() -> None:
    class Halved(TrainedMethod):
        optimization_params = Softer

    config = Halved.Config()
    assert (config.lambda_dssim, config.densify_until_iter) == (0.1, 20_000)
    help = {f.name: f.metadata["help"] for f in dataclasses.fields(Halved.Config)}
    assert help["lambda_dssim"] == "weight of 1 - SSIM in the loss; L1 has the rest"
    assert Halved.optimization(config, 3_000).densify_until_iter == 2_000


def test_a_field_needs_a_default() -> None:
    @dataclass
    class Needs(ModelParams):
        size: int = dataclasses.field(kw_only=True)

    with pytest.raises(TypeError, match="field 'size' of Needs has no default"):

        class Incomplete(TrainedMethod):
            model_params = Needs


CLASH = """
from dataclasses import dataclass

import gsbench


@dataclass
class Params(gsbench.ModelParams):
    lambda_dssim: float = 0.1


class Clash(gsbench.TrainedMethod):
    model_params = Params
"""
CLASH_PLUGIN = """
import gsbench

GSBENCH_API = 1


@gsbench.hookimpl
def gsbench_methods():
    return [gsbench.MethodSpec("clash", "gsbench_clash.method:Clash", "two fields of one name", suffix=".ply")]
"""


def test_a_clash_is_one_line_on_the_command_line(plugin_folder: Any, capsys: pytest.CaptureFixture[str]) -> None:
    plugin_folder.install("gsbench-clash", CLASH_PLUGIN, files={"method.py": CLASH})
    assert plugin_folder.load()["gsbench-clash"].status == "ok"
    assert main(["plan", "--schedule", "clash"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "field 'lambda_dssim' is in Params and in OptimizationParams; rename one" in line
    assert "gsbench-clash" in line


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
