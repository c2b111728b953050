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
    """The cameras of a ``cameras.json`` file: ours, or the one that the original 3DGS code leaves beside a model.

    Raises:
        UsageError: if it cannot be read, or has none.
    """
    from gsbench.formats.inria_cameras import cameras_from_inria, is_inria
    from gsbench.splats import cameras_from_json

    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--cameras {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"--cameras {path}: not a text file") from None
    try:
        cameras = cameras_from_inria(text) if is_inria(text) else cameras_from_json(text)
    except UsageError as error:
        raise UsageError(f"--cameras {path}: {error}") from None
    if not cameras:
        raise UsageError(f"--cameras {path}: it has no camera")
    return cameras


def cameras_of(where: str, views: str | None) -> tuple[Sequence[Camera], tuple[float, float, float]]:
    """The cameras that ``--cameras WHERE`` means, and the background that suits them.

    Args:
        where: a cameras.json file, a folder with a COLMAP model, or a scene.
        views: "test", "train" or "all"; None for the held-out views of a scene, and for all in a file.

    Raises:
        UsageError: if there are none, or `views` is given for a file, which has no split.
        SceneError: if a scene or a model cannot be read.
    """
    path = Path(where).expanduser()
    if path.is_file() or path.suffix == ".json":
        if views not in (None, "all"):
            raise UsageError(f"--views {views}: {where} has no held-out views; expected all, or a scene for --cameras")
        return read_cameras(path), (0.0, 0.0, 0.0)
    if path.is_dir():
        return _colmap_cameras(path, views or "test"), (0.0, 0.0, 0.0)
    # Points to start from are not needed, and a scene that has none is not refused.
    loaded = load_one_scene(where, None, option="--cameras", init="random:1")
    return _chosen(where, loaded.train, loaded.test, views or "test"), loaded.protocol.background


def _chosen(where: str, train: Sequence[Camera], test: Sequence[Camera], views: str) -> Sequence[Camera]:
    wanted = {"train": train, "test": test, "all": sorted([*train, *test], key=lambda camera: camera.name)}[views]
    if not wanted:
        raise UsageError(f"--cameras {where} has no {views} views")
    return wanted


def _colmap_cameras(folder: Path, views: str) -> Sequence[Camera]:
    """The cameras of a COLMAP model, without its photos; of lenses with distortion, the pinhole part."""
    import numpy as np
    import torch

    from gsbench.scenes.colmap import read_model
    from gsbench.scenes.listing import HOLD_EVERY
    from gsbench.splats import Camera

    model = read_model(folder, points=False)
    made = []
    for image in sorted(model.images.values(), key=lambda image: image.name):
        lens = model.cameras[image.camera_id]
        viewmat = np.eye(4)
        viewmat[:3, :3], viewmat[:3, 3] = image.rotation, image.tvec
        K = [[lens.fx, 0.0, lens.cx], [0.0, lens.fy, lens.cy], [0.0, 0.0, 1.0]]
        matrices = torch.tensor(viewmat, dtype=torch.float32), torch.tensor(K, dtype=torch.float32)
        made.append(Camera(image.name, *matrices, lens.width, lens.height))
    train = [camera for index, camera in enumerate(made) if index % HOLD_EVERY]
    return _chosen(str(folder), train, made[::HOLD_EVERY], views)


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


def load_one_scene(name: str, protocol: str | None, option: str = "--scene", **options: Any) -> Scene:
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
        raise UsageError(f"{option} {name}: expected one scene, this means {', '.join(str(ref) for ref in refs)}")
    make_demo([name])
    chosen = None if protocol is None else registry.protocols.get(protocol)
    return load_scene(refs[0], SceneOptions(protocol=chosen, **options))
