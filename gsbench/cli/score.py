"""``gsbench score``: images against the photographs of a scene, by the definitions that records use."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from gsbench.cli.frames import find_frames, read_frame
from gsbench.cli.options import metric_option, scene_options
from gsbench.cli.output import json_option, print_json, table_width
from gsbench.cli.tables import MISSING, Column, Row, number, text_table
from gsbench.cli.views import load_one_scene
from gsbench.errors import UsageError

if TYPE_CHECKING:
    from gsbench.bench import Scores
    from gsbench.scenes import View

SCORE_SCHEMA: Final = "gsbench.score/1"

_DIGITS: Final = {"psnr": 2, "psnr_channelwise": 2}


@click.command("score", short_help="Score images against the held-out photographs of a scene.")
@click.argument("frames", type=click.Path(path_type=Path), metavar="FRAMES_DIR")
@click.option("--scene", required=True, metavar="SCENE", help="demo, DATASET/SCENE or path:/my/scene.")
@click.option("--split", type=click.Choice(["test", "train"]), default="test", show_default=True, help="Of the scene.")
@metric_option
@scene_options
@json_option
def command(
    frames: Path,
    scene: str,
    split: str,
    metrics: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Score a folder of images against the held-out photographs of a scene.

    An image (8-bit .png, or .npy of float32 [H, W, 3]) belongs to the view whose photo has its name, or, numbered
    0000, 0001, ..., to the views in order. gsbench decode writes such folders; with --format npy the numbers are those
    of a record to the last digit, where 8-bit images move SSIM a little.
    """
    if not frames.is_dir():
        raise UsageError(f"{frames} is not a folder; expected one with a .png or .npy file per view")
    loaded = load_one_scene(scene, **options)
    views: Sequence[View] = loaded.test if split == "test" else loaded.train
    if not views:
        raise UsageError(f"scene {scene} has no {split} views")
    from gsbench.metrics import DEFAULT_METRICS

    scores = _score(find_frames(frames, views), views, metrics or DEFAULT_METRICS)
    if as_json:
        print_json(
            {
                "schema": SCORE_SCHEMA,
                "dataset": loaded.dataset,
                "scene": loaded.name,
                "protocol": {"id": loaded.protocol.id, "hash": loaded.protocol.hash},
                "split": split,
                "metrics": scores.means,
                "views": [view.model_dump(mode="json") for view in scores.views],
                "reasons": scores.reasons,
            }
        )
        return
    click.echo(f"{loaded.dataset}/{loaded.name}, {len(views)} {split} views, protocol {loaded.protocol.id}\n")
    click.echo(_table(scores))


def _score(files: Sequence[Path], views: Sequence[View], metrics: Sequence[str]) -> Scores:
    """Scores of image files of either kind."""
    import numpy as np

    from gsbench.bench import score_frames

    with tempfile.TemporaryDirectory(prefix="gsbench-score-") as scratch:
        arrays = []
        for index, (path, view) in enumerate(zip(files, views, strict=True)):
            arrays.append(Path(scratch) / f"{index:04d}.npy")
            np.save(arrays[-1], read_frame(path, view))
        return score_frames(arrays, views, metrics)


def _table(scores: Scores) -> str:
    names = list(scores.means)
    columns = [Column("view", "<"), *(Column(name) for name in names)]
    rows = [Row([view.name, *_cells(view.metrics, names)]) for view in scores.views]
    rows.append(Row([f"mean of {len(scores.views)}", *_cells(scores.means, names)]))
    notes = [f"{MISSING} {name}: {reason}" for name, reason in scores.reasons.items()]
    return "\n".join([text_table(columns, rows, table_width()), *([""] if notes else []), *notes])


def _cells(metrics: dict[str, float | None], names: Sequence[str]) -> list[str]:
    return [number(metrics.get(name), _DIGITS.get(name, 4)) for name in names]
