"""The data set."""

from dataclasses import replace

from gsbench.errors import SceneError
from gsbench.testing import tiny_scene
from gsbench_everything.plugin import PROTOCOL


def load(scene, options):
    sizes = {"ball": 32, "small-ball": 24}
    if scene not in sizes:
        raise SceneError(f"there is no scene {scene!r}")
    loaded = tiny_scene(width=sizes[scene])
    return replace(loaded, dataset="any-set", name=scene, protocol=options.effective_protocol(PROTOCOL))
