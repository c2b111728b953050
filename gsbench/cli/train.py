"""``gsbench train``: one method on one scene, and the model as files."""

from __future__ import annotations

import contextlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from gsbench.cli.files import make_parent, new_folder, require_new_file, require_new_folder
from gsbench.cli.options import build_plan, build_request, machine_options, read_config, scene_options
from gsbench.cli.output import json_option, print_json
from gsbench.cli.progress import display
from gsbench.cli.run import Events, print_notes, title
from gsbench.cli.tables import megabytes
from gsbench.errors import JobError, UsageError

if TYPE_CHECKING:
    from gsbench.bench import JobSpec
    from gsbench.bench.model_folder import ModelInfo
    from gsbench.bench.store import StageResult
    from gsbench.records import Record
    from gsbench.splats import Splats

TRAIN_SCHEMA: Final = "gsbench.train/1"
#: Names by which somebody asks for an artifact, which is not what training makes.
_ARTIFACTS: Final = frozenset({".gsb", ".spz", ".sog", ".ksplat", ".splat", ".glb", ".zip"})


@click.command("train", short_help="Train one method on one scene and write its model.")
@click.argument("method", metavar="METHOD")
@click.option("--scene", required=True, metavar="SCENE", help="demo, DATASET/SCENE or path:/my/scene.")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR|FILE.ply",
    help="New folder for the model, or a .ply with its Gaussians alone.",
)
@click.option("--rate", default="default", show_default=True, metavar="NAME", help="Rate point to train for.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Random seed.")
@click.option(
    "--iterations",
    type=click.IntRange(1),
    metavar="N",
    help="Training steps; schedules scale in proportion. [default: the data set's or method's own]",
)
@click.option(
    "--set", "settings", multiple=True, metavar="METHOD.field=value", help="Change a setting of a method; repeatable."
)
@click.option(
    "--base", type=click.Path(path_type=Path), metavar="PLY|DIR", help="Your own model, for methods that compress one."
)
@scene_options
@machine_options
@click.option(
    "--runs",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Results folder, as --out of gsbench run: what it has is not trained again.",
)
@click.option(
    "--checkpoint-every",
    type=click.IntRange(0),
    metavar="N",
    help="Training steps between checkpoints; 0: none. [default: now and then, for 1% of the time]",
)
@click.option("--force", is_flag=True, help="Replace the .ply if it exists.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    callback=read_config,
    is_eager=True,
    expose_value=False,
    help="TOML file with any of these options; what is typed here wins.",
)
@click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")
@json_option
def command(
    method: str,
    scene: str,
    output: Path,
    rate: str,
    seed: int,
    runs: Path,
    force: bool,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Train a method on the training views of a scene and write its model.

    \b
    gsbench train 3dgs --scene path:/my/scene -o model
    gsbench train 3dgs --scene demo --iterations 500 -o demo.ply

    A folder gets the Gaussians as point_cloud.ply where the method has them, and the model's whole state, from which
    gsbench encode goes on. Training is the stage of gsbench run: it is kept in --runs, an interrupted one goes on where
    it was, and gsbench run with the same options does not train again.
    """  # noqa: D301 (\\b keeps click from filling the examples)
    as_ply = output.suffix.lower() == ".ply"
    if output.suffix.lower() in _ARTIFACTS:
        raise UsageError(
            f"-o {output}: training makes a model, a folder or a .ply; gsbench encode {method} MODEL -o {output.name} "
            "makes an artifact of it"
        )
    if as_ply:
        require_new_file(output, force)
    elif force:
        raise UsageError(f"--force replaces a .ply; {output} is to be a folder, which must be new")
    else:
        require_new_folder(output)
    make_parent(output)
    request = build_request((method,), (scene,), (rate,), (seed,), out=runs, **options)
    plan = build_plan(request, quiet)
    wanted = [job for job in plan.jobs if not job.dependency]
    if len(wanted) != 1:
        scenes = ", ".join(dict.fromkeys(f"{job.dataset}/{job.scene}" for job in wanted))
        raise UsageError(f"expected one rate point on one scene, this means {len(wanted)}: {rate} on {scenes}")
    from gsbench.bench import run_plan

    # The job makes up for a base that is missing, so that of the base, too, nothing is done that is not needed.
    job = wanted[0].model_copy(update={"until": "train", "after": [], "requires": []})
    print_notes(plan)
    with display(1, quiet) as shown:
        (record,) = run_plan(plan.model_copy(update={"jobs": [job]}), Events({job.id: title(job)}, shown))
    if record.error is not None:
        log = "" if record.error.log is None else f" (log: {runs / record.error.log})"
        what, *tail = record.error.message.split("\n")
        raise JobError("\n".join([f"training failed in {record.error.stage}: {what}{log}", *tail]))
    with contextlib.redirect_stdout(sys.stderr):  # a method that prints must not spoil the result
        files, count = _write(job, record, output, as_ply)
    _report(job, record, output, files, count, as_json)
    return 0


def _write(job: JobSpec, record: Record, output: Path, as_ply: bool) -> tuple[list[Path], int | None]:
    """Write the model; returns the files, and the number of Gaussians where it has any."""
    from gsbench.bench.model_folder import describe_training, write_model_folder
    from gsbench.bench.runner import Job
    from gsbench.bench.store import Store
    from gsbench.formats.ply import write_ply

    done = Job(job, Store(job.out), lambda event: None, execute=False)
    trained = done.trained(intact=True)
    splats = _splats(job, trained)
    count = None if splats is None else len(splats)
    if as_ply:
        if splats is None:
            raise UsageError(
                f"method {job.method!r} is trained, but its model is not made of plain Gaussians, which a .ply holds; "
                "give -o the name of a folder (nothing will be trained again)"
            )
        write_ply(output, splats)
        return [output], count
    with new_folder(output) as folder:
        base = done.base_splats(folder / "base")
        info: ModelInfo = describe_training(job, record)
        names = write_model_folder(folder, info, trained.folder, splats, base)
    return [output / name for name in names], count


def _splats(job: JobSpec, trained: StageResult) -> Splats | None:
    """The Gaussians of a trained model, None where the representation has none."""
    from gsbench.bench.model_files import load_state
    from gsbench.bench.settings import build_config
    from gsbench.hooks import method_class

    cls = method_class(job.method)
    model = cls.model_class.from_state(load_state(trained.folder), build_config(cls.Config, job.config))
    try:
        return model.splats().to("cpu")
    except NotImplementedError:
        return None


def _report(job: JobSpec, record: Record, output: Path, files: list[Path], count: int | None, as_json: bool) -> None:
    seconds = record.seconds.train or 0.0
    if as_json:
        print_json(
            {
                "schema": TRAIN_SCHEMA,
                "method": job.method,
                "rate": job.rate,
                "seed": job.seed,
                "dataset": job.dataset,
                "scene": job.scene,
                "protocol": job.protocol.model_dump(),
                "iterations": record.iterations,
                "gaussians": count,
                "seconds": {"train": seconds},
                "base": None if record.base is None else record.base.model_dump(),
                "output": str(output),
                "files": [{"path": str(path), "bytes": path.stat().st_size} for path in files],
            }
        )
        return
    steps = "" if record.iterations is None else f" {record.iterations:,} steps"
    gaussians = "" if count is None else f", {count:,} Gaussians"
    click.echo(f"{title(job)}: trained{steps} in {seconds:.1f} s{gaussians}\n")
    for path in files:
        click.echo(f"{megabytes(path.stat().st_size):>10} MB  {path}")
    cloud = next((path for path in files if path.suffix == ".ply" and path.name != "base.ply"), None)
    if cloud is not None:
        click.echo(f"\nNext:    gsbench render {shlex.quote(str(cloud))} --turntable -o turntable.webp")
