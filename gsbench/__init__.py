"""gsbench: the benchmark suite for compressed 3D Gaussian Splatting.

The public names are imported when they are first used, so that ``import gsbench`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gsbench._lazy import lazy_names

if TYPE_CHECKING:
    from gsbench.artifact import ArtifactReader as ArtifactReader
    from gsbench.artifact import ArtifactWriter as ArtifactWriter
    from gsbench.artifact import inspect_artifact as inspect_artifact
    from gsbench.errors import ArtifactError as ArtifactError
    from gsbench.errors import GsbenchError as GsbenchError
    from gsbench.errors import PluginError as PluginError
    from gsbench.errors import SceneError as SceneError
    from gsbench.errors import UsageError as UsageError
    from gsbench.formats.ply import read_ply as read_ply
    from gsbench.formats.ply import write_ply as write_ply
    from gsbench.hooks.hookspecs import hookimpl as hookimpl
    from gsbench.methods import Context as Context
    from gsbench.methods import Method as Method
    from gsbench.methods import MethodSpec as MethodSpec
    from gsbench.methods import Model as Model
    from gsbench.methods import RatePoint as RatePoint
    from gsbench.methods import Renderable as Renderable
    from gsbench.methods import SplatsModel as SplatsModel
    from gsbench.methods import TrainedMethod as TrainedMethod
    from gsbench.methods import field as field
    from gsbench.metrics import MetricSpec as MetricSpec
    from gsbench.metrics import compute_metrics as compute_metrics
    from gsbench.protocols import Protocol as Protocol
    from gsbench.raster import Gaussians as Gaussians
    from gsbench.raster import RenderOptions as RenderOptions
    from gsbench.raster import RenderOutput as RenderOutput
    from gsbench.raster import rasterization as rasterization
    from gsbench.raster import render as render
    from gsbench.raster import visible as visible
    from gsbench.records import Record as Record
    from gsbench.scenes import DatasetSpec as DatasetSpec
    from gsbench.scenes import PointCloud as PointCloud
    from gsbench.scenes import Scene as Scene
    from gsbench.scenes import SceneOptions as SceneOptions
    from gsbench.scenes import View as View
    from gsbench.scenes import load_scene as load_scene
    from gsbench.scenes import resolve_scenes as resolve_scenes
    from gsbench.splats import Camera as Camera
    from gsbench.splats import Splats as Splats
    from gsbench.training import BaseGaussianModel as BaseGaussianModel
    from gsbench.training import CameraIterator as CameraIterator
    from gsbench.training import DefaultStrategy as DefaultStrategy
    from gsbench.training import LossPack as LossPack
    from gsbench.training import MCMCStrategy as MCMCStrategy
    from gsbench.training import ModelParams as ModelParams
    from gsbench.training import OptimizationParams as OptimizationParams
    from gsbench.training import PipelineParams as PipelineParams
    from gsbench.training import RenderResult as RenderResult
    from gsbench.training import Scheduler as Scheduler
    from gsbench.training import Trainer as Trainer
    from gsbench.training import schedule_field as schedule_field
    from gsbench.training import setting as setting
    from gsbench.training import task as task

__version__ = "0.1.0"

_NAMES: Final = {
    "gsbench.artifact": ("ArtifactReader", "ArtifactWriter", "inspect_artifact"),
    "gsbench.errors": ("ArtifactError", "GsbenchError", "PluginError", "SceneError", "UsageError"),
    "gsbench.formats.ply": ("read_ply", "write_ply"),
    "gsbench.hooks.hookspecs": ("hookimpl",),
    "gsbench.methods": (
        "Context",
        "Method",
        "MethodSpec",
        "Model",
        "RatePoint",
        "Renderable",
        "SplatsModel",
        "TrainedMethod",
        "field",
    ),
    "gsbench.metrics": ("MetricSpec", "compute_metrics"),
    "gsbench.protocols": ("Protocol",),
    "gsbench.raster": ("Gaussians", "RenderOptions", "RenderOutput", "rasterization", "render", "visible"),
    "gsbench.records": ("Record",),
    "gsbench.scenes": ("DatasetSpec", "PointCloud", "Scene", "SceneOptions", "View", "load_scene", "resolve_scenes"),
    "gsbench.splats": ("Camera", "Splats"),
    "gsbench.training": (
        "BaseGaussianModel",
        "CameraIterator",
        "DefaultStrategy",
        "LossPack",
        "MCMCStrategy",
        "ModelParams",
        "OptimizationParams",
        "PipelineParams",
        "RenderResult",
        "Scheduler",
        "Trainer",
        "schedule_field",
        "setting",
        "task",
    ),
}
_EXPORTS: Final = {name: module for module, names in _NAMES.items() for name in names}

__all__ = ["__version__", *sorted(_EXPORTS)]

__getattr__, __dir__ = lazy_names(__name__, _EXPORTS)
