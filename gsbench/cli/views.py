"""Options that choose cameras, and the cameras they choose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gsbench.cli.progress import display
from gsbench.errors import UsageError

if TYPE_CHECKING:
    from gsbench.scenes import Scene
    from gsbench.splats import Camera

Split = Literal["test", "train"]


def read_cameras(path: Path) -> Sequence[Camera]:
    """The cameras of a ``cameras.json`` file.

    Raises:
        UsageError: if it cannot be read, or has none.
    """
    from gsbench.splats import cameras_from_json

    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--cameras {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"--cameras {path}: not a text file") from None
    cameras = cameras_from_json(text)
    if not cameras:
        raise UsageError(f"--cameras {path}: it has no camera")
    return cameras


def make_demo(scenes: Sequence[str], quiet: bool = False) -> None:
    """Make the demo if it is among `scenes` and not there yet, and show how far that is. It takes seconds, once.

    Raises:
        UsageError, SceneError: as `gsbench.scenes.resolve_scenes` and `load_scene`.
    """
    from gsbench.scenes import resolve_scenes
    from gsbench.scenes.datasets import DEMO
    from gsbench.scenes.demo_cache import demo_folder

    if all(ref.dataset != DEMO.name for ref in resolve_scenes(scenes)):
        return
    with display(1, quiet) as shown:
        begun = False

        def progress(done: int, total: int) -> None:
            nonlocal begun
            if not begun:
                shown.stage("demo", "ray-trace")
                begun = True
            shown.step("demo", "ray-trace", done, total, {})

        folder = demo_folder(progress=progress)
        if begun:
            shown.end("demo", f"made, in {folder}")


def load_one_scene(name: str, protocol: str | None, **options: Any) -> Scene:
    """The scene that the options of `gsbench.cli.options.scene_options` describe.

    Raises:
        UsageError: if `name` means several scenes or none.
        SceneError: if it cannot be read.
    """
    from gsbench import registry
    from gsbench.hooks import load_plugins
    from gsbench.scenes import SceneOptions, load_scene, resolve_scenes

    load_plugins()
    refs = resolve_scenes([name])
    if len(refs) > 1:
        raise UsageError(f"--scene {name}: expected one scene, this means {', '.join(str(ref) for ref in refs)}")
    make_demo([name])
    chosen = None if protocol is None else registry.protocols.get(protocol)
    return load_scene(refs[0], SceneOptions(protocol=chosen, **options))
