"""``gsbench decode``: from an artifact to images, by a process that has the artifact and nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from gsbench.cli.artifacts import method_of
from gsbench.cli.files import new_folder, require_new_folder
from gsbench.cli.frames import frame_names
from gsbench.cli.inspect import require_file
from gsbench.cli.options import machine_options, scene_options
from gsbench.cli.output import json_option, print_json
from gsbench.cli.views import load_one_scene, read_cameras
from gsbench.errors import UsageError

if TYPE_CHECKING:
    from gsbench.bench import SealedResult
    from gsbench.splats import Camera

DECODE_SCHEMA: Final = "gsbench.decode/1"


@click.command("decode", short_help="Turn an artifact into images, in a sealed process.")
@click.argument("artifact", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--method", metavar="NAME", help="Method that decodes; told by the file if not given.")
@click.option("--cameras", type=click.Path(path_type=Path), metavar="FILE", help="cameras.json: the views to render.")
@click.option("--scene", metavar="SCENE", help="Render the views of this scene instead.")
@click.option("--split", type=click.Choice(["test", "train"]), default="test", show_default=True, help="Of the scene.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), required=True, metavar="DIR", help="New folder for the images."
)
@click.option(
    "--format", "form", type=click.Choice(["png", "npy"]), default="png", show_default=True, help="8 bit, or float32."
)
@scene_options
@machine_options
@json_option
def command(
    artifact: Path,
    method: str | None,
    cameras: Path | None,
    scene: str | None,
    split: str,
    output: Path,
    form: str,
    device: str,
    threads: int | None,
    as_json: bool,
    background: tuple[float, float, float] | None,
    **options: Any,
) -> None:
    """Decode an artifact in a sealed process and write an image for every view.

    \b
    gsbench decode scene.gsb --cameras cameras.json -o images
    gsbench decode point_cloud.ply --scene path:/my/scene -o images

    The decoder sees the artifact and the cameras and nothing else, as in gsbench run.
    """  # noqa: D301 (\\b keeps click from filling the examples)
    require_file(artifact)
    if (cameras is None) == (scene is None):
        raise UsageError("expected either --cameras FILE or --scene SCENE, to know which views to render")
    if scene is None and any(value is not None for value in options.values()):
        given = ", ".join(f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None)
        raise UsageError(f"{given}: only with --scene")
    require_new_folder(output)
    name = method_of(artifact, method)
    views: Sequence[Camera]
    if cameras is not None:
        views, chosen = read_cameras(cameras), background or (0.0, 0.0, 0.0)
    else:
        loaded = load_one_scene(str(scene), background=background, **options)
        views, chosen = loaded.test if split == "test" else loaded.train, loaded.protocol.background
    from gsbench.bench import decode_sealed
    from gsbench.bench.memory import usable_cores
    from gsbench.bench.plan import resolve_device
    from gsbench.hooks import load_plugins

    load_plugins()
    where = resolve_device(device)

    with new_folder(output) as folder, tempfile.TemporaryDirectory(prefix=".decode-", dir=folder) as scratch:
        result = decode_sealed(name, artifact, views, chosen, where, threads or usable_cores(), Path(scratch))
        files = _place(result.frames, views, folder, form)
    _report(name, artifact, output, files, result, as_json)


def _place(frames: Sequence[Path], views: Sequence[Camera], folder: Path, form: str) -> list[str]:
    """Give the frames their names, as PNG if asked for."""
    from gsbench.bench.score import load_frame, save_image

    names = [f"{name}.{form}" for name in frame_names(views)]
    for frame, name in zip(frames, names, strict=True):
        if form == "npy":
            frame.replace(folder / name)
        else:
            save_image(load_frame(frame), folder / name)
    return names


def _report(
    method: str, artifact: Path, output: Path, files: Sequence[str], result: SealedResult, as_json: bool
) -> None:
    timing = result.timing
    if as_json:
        print_json(
            {
                "schema": DECODE_SCHEMA,
                "artifact": str(artifact),
                "method": method,
                "frames": [str(output / name) for name in files],
                "seconds": {"decode": timing.decode_seconds},
                "render_ms": {"median": timing.median_ms, "p95": timing.p95_ms},
                "gaussians": result.gaussians,
                "anchors": result.anchors,
                "decoded_sha256": result.decoded_sha256,
                "isolation": result.isolation,
            }
        )
        return
    click.echo(
        f"{len(files)} images in {output}; method {method}, isolation {result.isolation}, "
        f"decoded in {timing.decode_seconds:.2f} s, {1000.0 / timing.median_ms:.0f} FPS"
    )
