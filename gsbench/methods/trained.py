"""`TrainedMethod`: a `BaseGaussianModel` as a method."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, TypeVar, cast, get_type_hints

import torch
from torch import Tensor

from gsbench.artifact import ArtifactReader, ArtifactWriter
from gsbench.errors import ArtifactError
from gsbench.formats.ply import read_ply, write_ply
from gsbench.methods.api import CONFIG_STAGE_KEY, Context, Method, Model, Renderable
from gsbench.methods.rendering import SplatsRenderable
from gsbench.scenes import Scene
from gsbench.splats import Camera, Splats
from gsbench.training import BaseGaussianModel, ModelParams, OptimizationParams, PipelineParams, Scheduler, Trainer
from gsbench.training.params import field_metadata
from gsbench.training.trainer import build_schedule

P = TypeVar("P")


class TrainedModel(Model):
    """A trained `BaseGaussianModel` as the stages pass it on. Each method has a subclass that knows its classes."""

    method: ClassVar[type[TrainedMethod]]

    def __init__(self, gaussians: BaseGaussianModel, pipe: PipelineParams) -> None:
        self.gaussians = gaussians
        self.pipe = pipe

    @torch.no_grad()
    def render(self, camera: Camera, background: Tensor) -> Tensor:
        """The image, float32 [H, W, 3], over `background`, float32 [3]."""
        return self.gaussians.render(camera, background, self.pipe).image

    def splats(self) -> Splats:
        """The trained Gaussians."""
        return self.gaussians.splats()

    def state(self) -> dict[str, Any]:
        """The model's tensors and plain values."""
        return self.gaussians.state()

    @classmethod
    def from_state(cls, state: dict[str, Any], config: Any) -> TrainedModel:
        """The model that `state` describes, under the config it was trained with."""
        gaussians = cls.method.gaussian_model.from_state(state, _part(cls.method.model_params, config))
        return cls(gaussians, _part(cls.method.pipeline_params, config))


class TrainedMethod(Method):
    """A method that trains a `BaseGaussianModel`.

    A subclass names its model class, and its params classes where it has its own:

        class Mine(TrainedMethod):
            gaussian_model = MyModel
            model_params = MyModelParams

    The model is constructed with the model params, or with nothing if its `__init__` takes nothing. The Config consists
    of the fields of the three params classes, so that each can be set: ``--set mine.lambda_dssim=0.1``; a name that two
    of them have is an error when the class is made. They describe the full schedule; ``--iterations N`` then scales all
    of it, explicit settings included (``--set mine.iterations=N`` instead sets the number of steps and nothing else).

    `fit` is the `Trainer`. `encode` and `decode` store the Gaussians as an Inria .ply (give the `MethodSpec` the suffix
    ".ply"); a compression method overrides both.
    """

    gaussian_model: ClassVar[type[BaseGaussianModel]] = BaseGaussianModel
    model_params: ClassVar[type[ModelParams]] = ModelParams
    optimization_params: ClassVar[type[OptimizationParams]] = OptimizationParams
    pipeline_params: ClassVar[type[PipelineParams]] = PipelineParams
    #: What `model_class` is made from, where a class does not set it.
    trained_model: ClassVar[type[TrainedModel]] = TrainedModel

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "Config" not in cls.__dict__:
            cls.Config = _merged_config(cls)
        if "model_class" not in cls.__dict__:
            cls.model_class = type(
                f"{cls.__name__}Model", (cls.trained_model,), {"method": cls, "__module__": cls.__module__}
            )

    @classmethod
    def optimization(cls, config: Any, iterations: int | None) -> OptimizationParams:
        """The schedule of a run: that of the config, scaled to `iterations` steps if they are given."""
        opt = _part(cls.optimization_params, config)
        return opt if iterations is None else opt.scaled(iterations)

    @classmethod
    def schedule(cls, config: Any, iterations: int | None = None) -> Scheduler:
        """The tasks of a run, for showing: ``schedule(config).table()``. Arguments as for `optimization`."""
        model = cls.gaussian_model.construct(_part(cls.model_params, config))
        return build_schedule(model, cls.optimization(config, iterations), _part(cls.pipeline_params, config))

    def fit(self, scene: Scene, config: Any, context: Context) -> TrainedModel:
        """Train on the scene's training views; from `context.base`, where the method has a base. A training that was
        interrupted goes on from its last checkpoint.
        """
        pipe = _part(self.pipeline_params, config)

        def start() -> Trainer:
            model = self.gaussian_model.construct(_part(self.model_params, config))
            if context.base is not None:
                model.device = torch.device(context.device)
                model.create_from_splats(context.base, scene.extent)
            return Trainer(
                model,
                scene,
                self.optimization(config, context.iterations),
                pipe,
                seed=context.seed,
                device=context.device,
                threads=context.threads,
                progress=context.progress,
                checkpoint=context.checkpoint,
            )

        trainer: Trainer | None = None

        def load(state: dict[str, Any]) -> None:
            nonlocal trainer
            restored = start()
            restored.load_state_dict(state)
            trainer = restored

        context.checkpoint.resume(load)
        trained = (trainer or start()).train()
        return cast("type[TrainedModel]", self.model_class)(trained, pipe)

    def from_splats(self, splats: Splats, config: Any, context: Context) -> TrainedModel:
        """A model that holds these Gaussians as they are, at their own SH degree.

        Raises:
            NotImplementedError: if the model class makes its parameters in a way of its own from points, and has none
                from Gaussians (`BaseGaussianModel.create_from_splats`).
        """
        kind, plain = self.gaussian_model, BaseGaussianModel
        if (
            kind.create_from_points is not plain.create_from_points
            and kind.create_from_splats is plain.create_from_splats
        ):
            raise NotImplementedError("its model has parameters that only training on photos gives")
        params = dataclasses.replace(_part(self.model_params, config), sh_degree=splats.sh_degree)
        model = kind.construct(params)
        model.device = torch.device(context.device)
        model.create_from_splats(splats, 1.0)
        return cast("type[TrainedModel]", self.model_class)(model, _part(self.pipeline_params, config))

    def encode(self, model: Any, config: Any, out: ArtifactWriter, context: Context) -> None:
        """Write the Gaussians as an Inria .ply; `config` plays no part."""
        write_ply(out.native(".ply"), model.splats())

    @classmethod
    def decode(cls, artifact: ArtifactReader, context: Context) -> Renderable:
        """Read them back, to the device of `context`.

        Raises:
            ArtifactError: if the artifact is not a .ply, or damaged.
        """
        if not artifact.is_native:
            raise ArtifactError(f"{artifact.path}: expected an Inria .ply, got a gsbench container")
        return SplatsRenderable(read_ply(artifact.path).to(context.device))


def _merged_config(cls: type[TrainedMethod]) -> type:
    """A dataclass with the fields of the three params classes, and their values checked by those classes."""
    parts = (cls.model_params, cls.optimization_params, cls.pipeline_params)
    fields: dict[str, tuple[str, Any, Any]] = {}
    owner: dict[str, str] = {}
    for part in parts:
        hints = get_type_hints(part)
        for entry in _settable(part):
            if entry.name in fields:
                raise TypeError(
                    f"{cls.__name__}: field {entry.name!r} is in {owner[entry.name]} and in {part.__name__}; rename one"
                )
            options: dict[str, Any] = {"metadata": {CONFIG_STAGE_KEY: "train", **field_metadata(part, entry.name)}}
            if entry.default is not dataclasses.MISSING:
                options["default"] = entry.default
            elif entry.default_factory is not dataclasses.MISSING:
                options["default_factory"] = entry.default_factory
            else:
                raise TypeError(f"{cls.__name__}: field {entry.name!r} of {part.__name__} has no default")
            fields[entry.name] = (entry.name, hints[entry.name], dataclasses.field(**options))
            owner[entry.name] = part.__name__

    def check(self: Any) -> None:
        for part in parts:
            _part(part, self)

    return dataclasses.make_dataclass(
        f"{cls.__name__}Config", list(fields.values()), namespace={"__post_init__": check, "__module__": cls.__module__}
    )


def _part(params: type[P], config: Any) -> P:
    """The params object of one class, its fields taken from the config."""
    return params(**{entry.name: getattr(config, entry.name) for entry in _settable(params)})


def _settable(params: type) -> list[dataclasses.Field[Any]]:
    """The fields that the constructor takes; the others follow from them."""
    return [entry for entry in dataclasses.fields(params) if entry.init]
