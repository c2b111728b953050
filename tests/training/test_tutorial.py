"""docs/tutorial-model.md: its code is installed as it stands; it trains, saves, encodes and decodes."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gsbench import ArtifactReader, ArtifactWriter, Context, load_scene, resolve_scenes
from gsbench.hooks import load_plugins, method_class, unload_plugins
from gsbench.metrics import psnr
from gsbench.scenes import Scene
from gsbench.testing import random_splats, tiny_scene, write_distribution
from gsbench.training import BaseGaussianModel, OptimizationParams, PipelineParams, RenderResult, Trainer

#: What section A of the interface promises, each written out in the tutorial.
WRITTEN_OUT = [
    "__init__", "setup_functions", "training_setup", "update_learning_rate", "replace_tensor_to_optimizer",
    "_prune_optimizer", "prune_points", "cat_tensors_to_optimizer", "densification_postfix", "densify_and_split",
    "densify_and_clone", "densify_and_prune", "add_densification_stats", "densify_and_prune_task", "render",
    "loss_func", "register_pre_task", "register_post_task",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Images this small are not worth sharing; the fixture of all tests restores the number."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def files(repository: Path) -> dict[str, str]:
    """The code blocks that begin with a comment naming their file; blocks of one file follow each other."""
    text = (repository / "docs" / "tutorial-model.md").read_text(encoding="utf-8")
    found: dict[str, list[str]] = {}
    for name, block in re.findall(r"```\w+\n# (\S+)\n(.*?)```", text, re.DOTALL):
        found.setdefault(name, []).append(block)
    assert {name: len(blocks) for name, blocks in found.items()} == {
        "gsbench_mygs/model.py": 5,
        "gsbench_mygs/method.py": 1,
        "gsbench_mygs/plugin.py": 1,
        "pyproject.toml": 1,
        "tests/test_mygs.py": 1,
    }
    return {name: "\n".join(blocks) for name, blocks in found.items()}


@pytest.fixture(scope="module")
def site(files: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The distribution that the tutorial describes, installed into a folder of its own."""
    folder = tmp_path_factory.mktemp("tutorial")
    project = tomllib.loads(files["pyproject.toml"])["project"]
    modules = {"gsbench_mygs/__init__.py": ""}
    modules |= {name: text for name, text in files.items() if name.startswith("gsbench_mygs/")}
    points = project["entry-points"]["gsbench"]
    write_distribution(folder, project["name"], modules, entry_points=points, version=project["version"])
    return folder


@pytest.fixture(scope="module")
def model(site: Path) -> Iterator[ModuleType]:
    """The tutorial's module, imported from where it is installed, and its plugin loaded."""
    sys.path.insert(0, str(site))
    importlib.invalidate_caches()
    unload_plugins()
    (row,) = [row for row in load_plugins() if row.distribution == "gsbench-mygs"]
    assert row.status == "ok", row
    yield importlib.import_module("gsbench_mygs.model")
    sys.path.remove(str(site))
    unload_plugins()
    for name in [name for name in sys.modules if name.split(".")[0] == "gsbench_mygs"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def scene() -> Scene:
    return tiny_scene(views=12, width=40, height=30, points=300)


@pytest.fixture(scope="module")
def demo() -> Scene:
    load_plugins()
    (ref,) = resolve_scenes(["demo"])
    return load_scene(ref)


def busy(model: ModuleType, **changes: Any) -> Any:
    """The tutorial's schedule, shrunk so that everything happens within 120 steps."""
    opt = model.GSOptimizationParams(densify_grad_threshold=5e-5, densification_interval=20, **changes)
    return opt.scaled(120)


def quality(model: BaseGaussianModel, scene: Scene) -> float:
    with torch.no_grad():
        images = [model.render(v, scene.background, PipelineParams()).image for v in scene.test]
    return float(np.mean([psnr(i, v.pixels) for i, v in zip(images, scene.test, strict=True)]))


def test_nothing_is_inherited_that_the_tutorial_claims_to_write(model: ModuleType) -> None:
    own = vars(model.GSModel)
    assert [name for name in WRITTEN_OUT if name not in own] == []


def test_it_behaves_like_the_base_class(model: ModuleType, scene: Scene) -> None:
    """Two independent implementations of one method: the same decisions, and the same values up to rounding."""
    mine = Trainer(model.GSModel(model.GSModelParams()), scene, busy(model))
    base = Trainer(BaseGaussianModel(), scene, busy(model))
    rows = [
        [dataclasses.replace(row, task=row.task.rpartition(".")[2]) for row in trainer.scheduler.timeline()]
        for trainer in (mine, base)
    ]
    assert rows[0] == rows[1]
    for step in range(120):
        mine.train_step()
        base.train_step()
        if step == 19:
            # Before the first densification. Turning a sphere changes nothing, so that the gradient of rotations is
            # nothing but rounding at first, which Adam brings to full size: they say nothing.
            tolerances = {"means": 1e-4, "f_dc": 1e-3, "f_rest": 1e-4, "scales": 1e-2, "opacities": 1e-2}
            for role, tolerance in tolerances.items():
                torch.testing.assert_close(
                    mine.model.tensors()[role], base.model.tensors()[role], rtol=0, atol=tolerance
                )
            assert quality(mine.model, scene) == pytest.approx(quality(base.model, scene), abs=0.01)
        if step == 20:
            assert len(mine.model) == len(base.model) > 300
    assert len(mine.model) == pytest.approx(len(base.model), rel=0.02)
    assert mine.model.active_sh_degree == base.model.active_sh_degree == 3
    assert quality(mine.model, scene) == pytest.approx(quality(base.model, scene), abs=0.5)


@pytest.mark.parametrize("parts", [2, 3])
def test_density_control_is_that_of_the_base_class(model: ModuleType, parts: int) -> None:
    """From the same Gaussians, moments and generator."""
    models: list[BaseGaussianModel] = []
    for cls in (model.GSModel, BaseGaussianModel):
        made = cls(model.GSModelParams())
        made.create_from_splats(random_splats(40), 1.0)
        made.training_setup(OptimizationParams(percent_dense=0.02))
        generator = torch.Generator().manual_seed(1)
        for tensor in made.tensors().values():
            tensor.grad = torch.randn(tensor.shape, generator=generator)
        made.optimizer_step()
        grads = torch.rand(40, 1, generator=generator)
        with torch.no_grad():
            made.densify_and_clone(grads, 0.5, 10.0)
            made.densify_and_split(grads, 0.5, 10.0, N=parts)
            made.prune_points(torch.arange(len(made)) % 5 == 0)
            made.reset_opacity()
        models.append(made)
    mine, base = models
    assert len(mine) == len(base) != 40
    for role, tensor in base.tensors().items():
        other = mine.tensors()[role]
        torch.testing.assert_close(other, tensor, rtol=1e-5, atol=1e-6)
        for key in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(mine.optimizer.state[other][key], base.optimizer.state[tensor][key])
    assert not mine.optimizer.state[mine.tensors()["opacities"]]["exp_avg"].any()
    assert len(mine.optimizer.state) == 6
    for name, value in base.statistics().items():
        assert mine.statistics()[name].shape == value.shape


def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(model: ModuleType, scene: Scene) -> None:
    def trainer(seed: int = 0) -> Trainer:
        return Trainer(model.GSModel(model.GSModelParams()), scene, busy(model), seed=seed)

    whole = trainer()
    whole.train()
    first = trainer()
    for _ in range(50):
        first.train_step()
    state = first.state_dict()
    for _ in range(2):  # a state can be used more than once: nothing in it is changed by the training that uses it
        second = trainer(seed=99)
        second.load_state_dict(state)
        second.train()
        for role, tensor in whole.model.tensors().items():
            assert torch.equal(second.model.tensors()[role], tensor)


def test_a_saved_model_renders_the_same(model: ModuleType, scene: Scene) -> None:
    trained = Trainer(model.GSModel(model.GSModelParams(sh_degree=2)), scene, busy(model)).train()
    again = model.GSModel.from_state(trained.state(), model.GSModelParams(sh_degree=2))
    assert type(again) is model.GSModel
    assert again.max_sh_degree == 2
    view = scene.test[0]
    images: list[Tensor] = [m.render(view, scene.background, PipelineParams()).image for m in (trained, again)]
    assert torch.equal(*images)


def test_its_own_settings_have_their_effect(model: ModuleType, scene: Scene) -> None:
    def trained(**changes: Any) -> BaseGaussianModel:
        opt = busy(model, densify_until_iter=0, **changes)
        return Trainer(model.GSModel(model.GSModelParams()), scene, opt).train()

    assert trained(lambda_scale=10.0).get_scaling.mean() < 0.8 * trained().get_scaling.mean()
    small, usual = (model.GSModel(model.GSModelParams(init_scale=s)) for s in (0.5, 1.0))
    for made in (small, usual):
        made.create_from_points(scene.points, 1.0)
    torch.testing.assert_close(small.get_scaling, 0.5 * usual.get_scaling)


def test_it_learns_the_demo_and_is_stored_and_read_back(model: ModuleType, demo: Scene, tmp_path: Path) -> None:
    cls: Any = method_class("mygs")
    config = cls.Config(densification_interval=50)
    context = Context(torch.device("cpu"), 2, 0, tmp_path, iterations=250)
    trained = cls().fit(demo.for_training(), config, context)
    assert isinstance(trained.gaussians, model.GSModel)
    start = model.GSModel(model.GSModelParams())
    start.create_from_points(demo.points, demo.extent)
    assert len(trained.splats()) > 1.2 * len(demo.points)
    assert quality(trained.gaussians, demo) > quality(start, demo) + 6.0

    path = tmp_path / "artifact.ply"
    with ArtifactWriter(path, "mygs", "1.0") as out:
        cls().encode(trained, config, out, context)
    decoded = cls.decode(ArtifactReader(path), context)
    assert cls.counts(decoded) == {"gaussians": len(trained.splats())}
    view = demo.test[0]
    torch.testing.assert_close(
        decoded.render(view, demo.background), trained.render(view, demo.background), rtol=1e-4, atol=1e-5
    )


def gsbench(site: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    inherited = os.environ.get("PYTHONPATH")
    entries = [str(site), *([inherited] if inherited else [])]
    return subprocess.run(
        [sys.executable, "-c", "import sys; from gsbench.cli import main; sys.exit(main(sys.argv[1:]))", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entries)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_commands_of_the_tutorial(files: dict[str, str], site: Path, repository: Path, tmp_path: Path) -> None:
    """With fewer steps; the settings, inherited and new, end up in the record."""
    text = (repository / "docs" / "tutorial-model.md").read_text(encoding="utf-8")
    commands = re.findall(r"^gsbench (.*)$", text, re.MULTILINE)
    plan, _, run = (command.split() for command in commands)
    done = gsbench(site, *plan, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "GSModel.densify_and_prune_task" in done.stdout
    done = gsbench(site, *run, "--iterations", "20", "--threads", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "runs" / "gs1600" / "demo" / "demo" / "mygs" / "default.json").read_text())
    assert record["config"]["lambda_scale"] == 0.01
    assert record["config"]["densify_grad_threshold"] == 1e-4
    assert record["config"]["init_scale"] == 1.0


@pytest.mark.slow
def test_the_method_of_the_tutorial_conforms(files: dict[str, str], site: Path, tmp_path: Path) -> None:
    (tmp_path / "test_mygs.py").write_text(files["tests/test_mygs.py"])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "test_mygs.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]).rstrip(":")},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert re.search(r"\b1\d passed", done.stdout), done.stdout[-500:]


# A program written for another implementation of the interface, with nothing but its imports changed.

ELSEWHERE = """
from dataclasses import dataclass
from typing import Optional

import torch

import gsbench
from gsbench import (
    BaseGaussianModel, CameraIterator, LossPack, OptimizationParams, PipelineParams, RenderResult, Scheduler, task
)


@dataclass
class GSOptimizationParams(OptimizationParams):
    quiet: bool = False


@dataclass
class GSRenderResult(RenderResult):
    count: int = None


class GSModel(BaseGaussianModel):

    def __init__(self):
        super().__init__()
        self.calls = []
        self._xyz = torch.empty(0)
        self._mask = torch.nn.Parameter(torch.ones(3))
        self.net = torch.nn.Linear(2, 1)
        self.setup_functions()

    def setup_functions(self):
        self.scaling_activation = torch.exp
        self.opacity_activation = torch.sigmoid

    def training_setup(self, opt: OptimizationParams):
        super().training_setup(opt)
        self.net_optimizer = torch.optim.Adam(self.net.parameters(), lr=0.01)

    @task
    def update_learning_rate(self, step: int):
        return 1e-3

    def register_pre_task(
        self, scheduler: Scheduler, ppl: PipelineParams, opt: OptimizationParams
    ):
        scheduler.register_task(
            range(opt.iterations),
            task=self.update_learning_rate
        )
        scheduler.register_task(1, task=self.once, priority=1, logging=True)

    def register_post_task(
        self, scheduler: Scheduler, ppl: PipelineParams, opt: OptimizationParams
    ):
        scheduler.register_task(
            range(opt.densify_until_iter),
            task=self.add_densification_stats)

        scheduler.register_task(
            range(opt.densify_from_iter, opt.densify_until_iter, opt.densification_interval),
            task=self.densify_and_prune_task
        )

    @task
    def once(self, cams: "CameraIterator", opt: "GSOptimizationParams", before: Optional[RenderResult], step: int):
        self.calls.append((len(cams), type(opt).__name__, before, step))

    @task
    def densify_and_prune_task(self, opt: OptimizationParams, step: int):
        size_threshold = 20 if step > opt.opacity_reset_interval else None
        self.densify_and_prune(
            opt.densify_grad_threshold, 0.005,
            self.spatial_lr_scale, size_threshold
        )

    @task
    @torch.no_grad()
    def add_densification_stats(self, render_result: GSRenderResult):
        f = render_result.visibility_filter
        self.xyz_gradient_accum[f] += torch.norm(
            render_result.viewspace_points.grad[f, :2], dim=-1, keepdim=True)
        self.denom[f] += 1
        self.max_radii2D[f] = torch.max(self.max_radii2D[f], render_result.radii[f])

    def render(self, viewpoint_camera, bg_color, pipe, opt=None, step=0, scaling_modifier=1.0, override_color=None):
        pkg = super().render(viewpoint_camera, bg_color, pipe, opt, step, scaling_modifier, override_color)
        return GSRenderResult(
            rendered_image=pkg["render"],
            viewspace_points=pkg["viewspace_points"],
            visibility_filter=pkg["visibility_filter"],
            radii=pkg["radii"],
            count=len(self),
        )

    def loss_func(self, viewpoint_cam, render_result: RenderResult, opt) -> (torch.Tensor, LossPack):
        gt_image = viewpoint_cam.original_image
        Ll1 = (render_result.rendered_image - gt_image).abs().mean()
        loss = Ll1 + 0.01 * (self.net(torch.ones(1, 2)) ** 2).sum()
        return loss, LossPack(l1_loss=Ll1, ssim_loss=None, loss=loss)

    def optimizer_step(self):
        super().optimizer_step()
        self.net_optimizer.step()
        self.net_optimizer.zero_grad()


class Elsewhere(gsbench.TrainedMethod):
    gaussian_model = GSModel
    optimization_params = GSOptimizationParams
"""


@pytest.fixture
def elsewhere() -> Iterator[ModuleType]:
    module = ModuleType("written_elsewhere")
    sys.modules[module.__name__] = module
    exec(compile(ELSEWHERE, "written_elsewhere.py", "exec"), vars(module))
    yield module
    del sys.modules[module.__name__]


def test_a_program_written_elsewhere_runs(elsewhere: ModuleType, scene: Scene, tmp_path: Path) -> None:
    method, context = elsewhere.Elsewhere, Context(torch.device("cpu"), 1, 0, tmp_path)
    config = method.Config(
        iterations=60, densify_from_iter=20, densify_until_iter=50, densification_interval=20,
        densify_grad_threshold=1e-6, sh_degree=1,
    )  # fmt: skip
    fitted = method().fit(scene.for_training(), config, context)
    model = fitted.gaussians
    assert model.calls == [(len(scene.train), "GSOptimizationParams", None, 1)]
    assert model.max_sh_degree == 1  # although its __init__ takes no params
    assert len(model) > 300
    # What the class adds is saved with it.
    again = method.model_class.from_state(fitted.state(), config)
    assert torch.equal(again.gaussians.net.weight, model.net.weight)
    assert torch.equal(again.gaussians._mask, model._mask)
    view = scene.test[0]
    assert torch.equal(again.render(view, scene.background), fitted.render(view, scene.background))
    rendered = model.render(view, scene.background, PipelineParams())
    assert isinstance(rendered, RenderResult)
    assert rendered.count == len(model)  # type: ignore[attr-defined]
    assert torch.equal(rendered.image, rendered.rendered_image.permute(1, 2, 0))


def test_further_optimizers_are_part_of_a_checkpoint(elsewhere: ModuleType, scene: Scene) -> None:
    opt = elsewhere.GSOptimizationParams(iterations=20, densify_until_iter=0)
    first = Trainer(elsewhere.GSModel(), scene, opt)
    for _ in range(10):
        first.train_step()
    state = first.state_dict()
    first.train()
    second = Trainer(elsewhere.GSModel(), scene, dataclasses.replace(opt))
    second.load_state_dict(state)
    second.train()
    assert torch.equal(first.model.net.weight, second.model.net.weight)  # type: ignore[attr-defined]
