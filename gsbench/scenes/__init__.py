"""Scenes: data sets, readers, the demo.

The names are imported when they are first used: plugins import `DatasetSpec` from here whenever gsbench lists what
is installed, and that must not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gsbench._lazy import lazy_names

if TYPE_CHECKING:
    from gsbench.scenes.colmap import ColmapModel as ColmapModel
    from gsbench.scenes.datasets import core_datasets as core_datasets
    from gsbench.scenes.folder import load_folder as load_folder
    from gsbench.scenes.load import load_scene as load_scene
    from gsbench.scenes.resolve import resolve_scenes as resolve_scenes
    from gsbench.scenes.scene import PointCloud as PointCloud
    from gsbench.scenes.scene import Scene as Scene
    from gsbench.scenes.scene import View as View
    from gsbench.scenes.spec import DatasetSpec as DatasetSpec
    from gsbench.scenes.spec import SceneOptions as SceneOptions
    from gsbench.scenes.spec import SceneRef as SceneRef

_EXPORTS: Final = {
    "ColmapModel": "gsbench.scenes.colmap",
    "DatasetSpec": "gsbench.scenes.spec",
    "PointCloud": "gsbench.scenes.scene",
    "Scene": "gsbench.scenes.scene",
    "SceneOptions": "gsbench.scenes.spec",
    "SceneRef": "gsbench.scenes.spec",
    "View": "gsbench.scenes.scene",
    "core_datasets": "gsbench.scenes.datasets",
    "load_folder": "gsbench.scenes.folder",
    "load_scene": "gsbench.scenes.load",
    "resolve_scenes": "gsbench.scenes.resolve",
}

__all__ = sorted(_EXPORTS)

__getattr__, __dir__ = lazy_names(__name__, _EXPORTS)
