"""`load_scene`: from a `SceneRef` to a `Scene`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gsbench import registry
from gsbench.errors import PluginError, UsageError
from gsbench.registry import did_you_mean, resolve_target
from gsbench.scenes.folder import default_protocol, load_folder
from gsbench.scenes.scene import Scene
from gsbench.scenes.spec import DatasetSpec, SceneOptions, SceneRef


def load_scene(ref: SceneRef, options: SceneOptions | None = None) -> Scene:
    """Load a scene: its cameras, points and split; photos are checked, and decoded when asked for.

    Args:
        ref: from `resolve_scenes`. Data sets are looked up in `gsbench.registry.scenes`.
        options: protocol and changes to it, starting points; None for the data set's own.

    Raises:
        SceneError: if the scene is missing, damaged or contradictory.
        UsageError: if the scene is unknown, or an option has no meaning for it.
        PluginError: if a plugin's loader returns something else than this scene.
    """
    options = options or SceneOptions()
    if ref.path is not None:
        protocol = options.effective_protocol(default_protocol(ref.path))
        return load_folder(ref.path, protocol, options, dataset=ref.dataset, name=ref.scene)
    spec: DatasetSpec = registry.scenes.get(ref.dataset)
    if ref.scene not in spec.scenes:
        hint = did_you_mean(ref.scene, list(spec.scenes))
        raise UsageError(f"data set {spec.name!r} has no scene {ref.scene!r}{hint}")
    loader: Callable[[str, SceneOptions], Scene] = resolve_target(spec.target)
    scene = loader(ref.scene, replace(options, protocol=options.protocol or spec.protocol))
    if not isinstance(scene, Scene) or (scene.dataset, scene.name) != (ref.dataset, ref.scene):
        got = f"{scene.dataset}/{scene.name}" if isinstance(scene, Scene) else type(scene).__name__
        raise PluginError(f"{spec.target} was asked for scene {ref} and returned {got}")
    return scene if options.held_out else scene.for_training()
