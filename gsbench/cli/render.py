"""``gsbench render``: images and videos of an artifact, from cameras that are given or made."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from gsbench.cli.artifacts import method_of
from gsbench.cli.files import make_parent, new_folder, require_new_file, require_new_folder, scratch_folder
from gsbench.cli.frames import frame_names
from gsbench.cli.frames_sealed import SealedFrames
from gsbench.cli.inspect import require_file
from gsbench.cli.options import color, machine_options
from gsbench.cli.output import json_option, print_json
from gsbench.cli.progress import display
from gsbench.cli.tables import megabytes
from gsbench.cli.views import cameras_of
from gsbench.errors import UsageError

if TYPE_CHECKING:
    from gsbench.splats import Camera
    from gsbench.splats.paths import Orbit

RENDER_SCHEMA: Final = "gsbench.render/1"

FRAMES: Final = 120
FPS: Final = 30.0
#: Of videos that are made without cameras: width, height, and the smaller field of view in degrees.
SIZE: Final = (800, 600)
FIELD_OF_VIEW: Final = 50.0


def _vector(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, float, float] | None:
    """``X,Y,Z``, or an axis such as -y."""
    if value is None:
        return None
    axes = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}
    sign, name = (-1.0, value[1:]) if value.startswith("-") else (1.0, value.removeprefix("+"))
    if name in axes:
        x, y, z = axes[name]
        return sign * x, sign * y, sign * z
    try:
        x, y, z = (float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r}: expected three numbers such as 0,-1,0, or an axis such as -y") from None
    return x, y, z


@dataclass(frozen=True)
class Wanted:
    """What is asked for, as typed; None where it is not.

    Fields:
        turntable, path, closed: which way cameras are made, if they are.
        frames, fps: of a video.
        elevation, radius, center, up: of a turntable, degrees and scene units.
        width, height, downscale: size of the images.
    """

    turntable: bool
    path: bool
    closed: bool
    frames: int | None
    fps: float | None
    elevation: float | None
    radius: float | None
    center: tuple[float, float, float] | None
    up: tuple[float, float, float] | None
    width: int | None
    height: int | None
    downscale: float | None

    def check(self, cameras: str | None, output: Path, is_video: bool) -> None:
        """Refuse what does not go together.

        Raises:
            UsageError: saying what was expected.
        """
        if self.turntable and self.path:
            raise UsageError("--turntable and --path: expected one of them")
        if self.path and cameras is None:
            raise UsageError("--path goes through cameras; expected --cameras with a scene, a cameras.json or a folder")
        if not self.turntable and not self.path and cameras is None:
            raise UsageError("expected --cameras, to know which views to render, or --turntable")
        for group, allowed, names in (
            ("--turntable", self.turntable, ("elevation", "radius", "center", "up")),
            ("--path", self.path, ("closed",)),
            ("--turntable or --path", self.turntable or self.path, ("frames",)),
            ("a video", is_video, ("fps",)),
        ):
            given = [f"--{name}" for name in names if getattr(self, name) not in (None, False)]
            if given and not allowed:
                raise UsageError(f"{', '.join(given)}: only with {group}")
        if self.downscale is not None and (self.width is not None or self.height is not None):
            raise UsageError("--downscale and --width or --height: expected one way to say the size")
        if is_video and not (self.turntable or self.path):
            raise UsageError(f"{output} is a video, which needs --turntable or --path; for images, name a new folder")


@click.command("render", short_help="Images or a video of an artifact.")
@click.argument("artifact", type=click.Path(path_type=Path), metavar="FILE")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR|VIDEO",
    help="New folder for PNG images, or a video: its name ends in .mp4, .webp or .png.",
)
@click.option(
    "--cameras", metavar="WHERE", help="Scene (demo, path:/my/scene), cameras.json, or folder with a COLMAP model."
)
@click.option(
    "--views", type=click.Choice(["test", "train", "all"]), help="Of --cameras. [default: test; in a cameras.json, all]"
)
@click.option("--turntable", is_flag=True, help="Turn once around what the cameras look at, or around the model.")
@click.option("--path", "path_", is_flag=True, help="Move smoothly through the cameras, in the order of their names.")
@click.option("--closed", is_flag=True, help="Let --path end where it began.")
@click.option("--frames", type=click.IntRange(1, 100_000), metavar="N", help=f"Number of frames. [default: {FRAMES}]")
@click.option("--fps", type=click.FloatRange(0.01, 1000), metavar="F", help=f"Frames per second. [default: {FPS:g}]")
@click.option("--elevation", type=float, metavar="DEG", help="Height of the turntable's camera above the horizon.")
@click.option("--radius", type=float, metavar="R", help="Its distance from the center, in scene units.")
@click.option("--center", callback=_vector, metavar="X,Y,Z", help="What it turns around.")
@click.option(
    "--up", callback=_vector, metavar="X,Y,Z", help="What is up, or an axis: z, -y. [default: the cameras' own]"
)
@click.option("--width", type=click.IntRange(1, 65535), metavar="W", help="Width of the images in pixels.")
@click.option("--height", type=click.IntRange(1, 65535), metavar="H", help="Height; with --width, sides are cut off.")
@click.option("--downscale", type=click.FloatRange(1), metavar="F", help="Make images smaller by this factor.")
@click.option("--background", type=color, metavar="COLOR", help="black, white or R,G,B in [0, 1].")
@click.option("--method", metavar="NAME", help="Method that decodes; told by the file if not given.")
@machine_options
@click.option("--force", is_flag=True, help="Replace the video if it exists.")
@click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")
@json_option
def command(
    artifact: Path,
    output: Path,
    cameras: str | None,
    views: str | None,
    path_: bool,
    background: tuple[float, float, float] | None,
    method: str | None,
    device: str,
    threads: int | None,
    force: bool,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Render an artifact of any method, or a .ply of your own.

    \b
    gsbench render scene.gsb --cameras path:/my/scene -o images
    gsbench render point_cloud.ply --turntable -o turntable.mp4
    gsbench render scene.gsb --cameras demo --path --views all -o flight.webp

    Images are named after the photos of their views. A turntable or path whose output is a folder becomes numbered
    images. MP4 needs the extra "video" (pip install 'gsbench-core[video]'); .webp and .png (an animated PNG, lossless)
    need nothing. Decoding is sealed as in gsbench run.
    """  # noqa: D301 (\\b keeps click from filling the examples)
    wanted = Wanted(path=path_, **options)
    require_file(artifact)
    is_video = output.suffix.lower() in (".mp4", ".webp", ".png")
    wanted.check(cameras, output, is_video)
    if is_video:
        require_new_file(output, force)
    elif force:
        raise UsageError(f"--force replaces a video; {output} is to be a folder, which must be new")
    else:
        _require_folder(output)
    if background is not None and not all(0.0 <= part <= 1.0 for part in background):
        raise UsageError(f"--background: expected three numbers in [0, 1], got {','.join(map(str, background))}")
    from gsbench.bench.memory import usable_cores
    from gsbench.bench.plan import resolve_device

    name = method_of(artifact, method)
    where = resolve_device(device)
    given, own_background = cameras_of(cameras, views) if cameras is not None else ([], (0.0, 0.0, 0.0))
    chosen = _cameras(wanted, given, artifact, even=output.suffix.lower() == ".mp4")
    make_parent(output)
    title = f"{artifact.name} {name}"
    with display(1, quiet) as shown, scratch_folder(output) as scratch:
        shown.stage(title, "render")
        frames = SealedFrames(
            name,
            artifact,
            chosen,
            background or own_background,
            where,
            threads or usable_cores(),
            scratch,
            lambda done: shown.step(title, "render", done, len(chosen), {}),
        )
        files = _write_video(output, frames, chosen, wanted) if is_video else _write_images(output, frames, chosen)
        shown.end(title, f"{len(chosen)} {'frames' if is_video else 'images'}")
    _report(name, artifact, output, files, chosen, frames, wanted.fps or FPS if is_video else None, as_json)


def _require_folder(output: Path) -> None:
    """A folder, and not the name of a kind of video that is not written."""
    if output.suffix.lower() in (".avi", ".gif", ".mkv", ".mov", ".apng", ".webm", ".m4v", ".jpg", ".jpeg"):
        raise UsageError(f"{output}: expected .mp4, .webp or .png for a video, or the name of a new folder for images")
    require_new_folder(output)


def _cameras(wanted: Wanted, given: Sequence[Camera], artifact: Path, *, even: bool) -> Sequence[Camera]:
    """The cameras to render, at their size."""
    from gsbench.splats.paths import camera_path, pinhole, resized, turntable

    def sized(camera: Camera) -> Camera:
        width, height = _size(wanted, camera, even=even)
        return resized(camera, width, height)

    if not wanted.turntable and not wanted.path:
        return [sized(camera) for camera in given]
    count = wanted.frames or FRAMES
    if wanted.path:
        first = sized(given[0])
        return camera_path(
            [resized(camera, first.width, first.height) for camera in given], count, closed=wanted.closed
        )
    camera = sized(given[0] if given else pinhole(*SIZE, math.radians(FIELD_OF_VIEW)))
    return turntable(_orbit(wanted, given, camera, artifact), camera, count)


def _size(wanted: Wanted, camera: Camera, *, even: bool) -> tuple[int, int]:
    """Width and height of the images of a camera; `even` rounds what is not said down to even numbers."""
    scale = 1.0 / (wanted.downscale or 1.0)
    if wanted.height is not None:
        scale = wanted.height / camera.height
    elif wanted.width is not None:
        scale = wanted.width / camera.width
    size = []
    for said, own in ((wanted.width, camera.width), (wanted.height, camera.height)):
        side = said if said is not None else max(1, round(own * scale))
        if even and side % 2:
            if said is not None:
                raise UsageError(f"an .mp4 needs an even width and height, got {said}")
            side = max(2, side - 1)
        size.append(side)
    return size[0], size[1]


def _orbit(wanted: Wanted, given: Sequence[Camera], camera: Camera, artifact: Path) -> Orbit:
    """The turntable's movement: what is typed, and for the rest the cameras', or else the model's own."""
    import torch

    from gsbench.formats.ply import read_ply
    from gsbench.splats.paths import Orbit, orbit_of_cameras, orbit_of_splats

    up = None if wanted.up is None else torch.tensor(wanted.up, dtype=torch.float64)
    if given:
        orbit = orbit_of_cameras(given)
    elif artifact.suffix.lower() == ".ply":
        orbit = orbit_of_splats(read_ply(artifact), min(camera.FoVx, camera.FoVy), up)
    elif wanted.center is not None and wanted.radius is not None:
        front = torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64)
        upward = torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64)
        orbit = Orbit(torch.tensor(wanted.center, dtype=torch.float64), upward, wanted.radius, 15.0, front)
    else:
        raise UsageError(
            f"{artifact}: where the scene is, only a .ply tells; expected --cameras, or --center X,Y,Z and --radius R"
        )
    if up is not None:
        orbit = replace(orbit, up=up)
    if wanted.center is not None:
        orbit = replace(orbit, center=torch.tensor(wanted.center, dtype=torch.float64))
    if wanted.radius is not None:
        orbit = replace(orbit, radius=wanted.radius)
    return orbit if wanted.elevation is None else replace(orbit, elevation=wanted.elevation)


def _write_images(output: Path, frames: SealedFrames, cameras: Sequence[Camera]) -> list[Path]:
    from gsbench.bench.score import save_image

    names = [f"{name}.png" for name in frame_names(cameras)]
    with new_folder(output) as folder:
        for frame, name in zip(frames, names, strict=True):
            save_image(frame, folder / name)
    return [output / name for name in names]


def _write_video(output: Path, frames: SealedFrames, cameras: Sequence[Camera], wanted: Wanted) -> list[Path]:
    from gsbench.bench.score import eight_bit
    from gsbench.formats.video import check_video, write_video

    size, fps = (cameras[0].width, cameras[0].height), wanted.fps or FPS
    check_video(output, size, fps)
    write_video(output, (eight_bit(frame) for frame in frames), len(cameras), size, fps)
    return [output]


def _report(
    method: str,
    artifact: Path,
    output: Path,
    files: Sequence[Path],
    cameras: Sequence[Camera],
    frames: SealedFrames,
    fps: float | None,
    as_json: bool,
) -> None:
    first = frames.results[0]
    times = [value for result in frames.results for value in result.timing.render_ms]
    sizes = sorted({(camera.width, camera.height) for camera in cameras})
    if as_json:
        print_json(
            {
                "schema": RENDER_SCHEMA,
                "artifact": str(artifact),
                "method": method,
                "output": str(output),
                "files": [str(path) for path in files],
                "frames": len(cameras),
                "sizes": [list(size) for size in sizes],
                "fps": fps,
                "seconds": {"decode": first.timing.decode_seconds},
                "render_ms": {"median": statistics.median(times)},
                "gaussians": first.gaussians,
                "anchors": first.anchors,
                "isolation": first.isolation,
            }
        )
        return
    shape = f"{sizes[0][0]}x{sizes[0][1]}" if len(sizes) == 1 else f"{len(sizes)} sizes"
    what = f"{len(cameras)} images of {shape} in {output}"
    if fps is not None:
        seconds = len(cameras) / fps
        what = f"{output}: {len(cameras)} frames of {shape}, {seconds:.1f} s, {megabytes(output.stat().st_size)} MB"
    speed = 1000.0 / statistics.median(times)
    click.echo(f"{what}; method {method}, isolation {first.isolation}, {speed:.0f} FPS")
