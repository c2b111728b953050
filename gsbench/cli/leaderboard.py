"""``gsbench leaderboard``: boards from records, records to boards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from gsbench.cli.output import json_option, print_json
from gsbench.errors import UsageError

if TYPE_CHECKING:
    from gsbench.leaderboard.board import Board

BUILD_SCHEMA: Final = "gsbench.leaderboard.build/1"
ADD_SCHEMA: Final = "gsbench.leaderboard.add/1"
CHECK_SCHEMA: Final = "gsbench.leaderboard.check/1"

#: Folder of the exports below that of the site.
EXPORTS_FOLDER: Final = "exports"

_EXIT_FAILED: Final = 1
_PATH: Final = click.Path(path_type=Path)


@click.group("leaderboard", short_help="Leaderboards: a site and tables from records; published records.")
def command() -> None:
    """Leaderboards: a static site and tables from records, and folders of published records.

    build writes a site and tables, add publishes the records of a run, and check is what CI runs on published ones.
    """


@command.command("build", short_help="Write a site and tables.")
@click.argument("records", type=_PATH, nargs=-1, metavar="[RECORDS]...")
@click.option("--output", "-o", type=_PATH, default=Path("site"), show_default=True, metavar="DIR", help="Where to.")
@click.option("--title", default="gsbench leaderboard", show_default=True, help="Title of the board.")
@click.option("--anchor", metavar="METHOD", help="BD-rates are against this one. [default: that with most rate points]")
@click.option(
    "--reported",
    type=_PATH,
    multiple=True,
    metavar="PATH",
    help="Numbers of publications, a .csv or a folder of them; shown apart. [default: RECORDS/reported, if there]",
)
@click.option("--views", type=click.IntRange(1), default=3, show_default=True, help="Held-out views shown per scene.")
@click.option("--images/--no-images", default=True, show_default=True, help="Show renders beside ground truth.")
@click.option("--viewer/--no-viewer", default=True, show_default=True, help="Make what the viewer in the page shows.")
@click.option("--artifacts/--no-artifacts", default=True, show_default=True, help="Offer artifacts for download.")
@click.option(
    "--scene",
    "scenes",
    multiple=True,
    metavar="NAME=DIR",
    help="Folder of a scene that was given as path:...; its photos are shown. Repeatable.",
)
@click.option("--tables-only", is_flag=True, help="Write CSV, JSON, Markdown and LaTeX, and no site.")
@json_option
def build(
    records: tuple[Path, ...],
    output: Path,
    title: str,
    anchor: str | None,
    reported: tuple[Path, ...],
    views: int,
    images: bool,
    viewer: bool,
    artifacts: bool,
    scenes: tuple[str, ...],
    tables_only: bool,
    as_json: bool,
) -> None:
    """Write a leaderboard of RECORDS: record files, results folders, boards, or folders of these. [default: runs]

    The site in DIR works from disk, without a network: open DIR/index.html. The tables are in DIR/exports: CSV, with
    the files that the 3DGS.zip survey collects, CompressAI-style JSON, Markdown and LaTeX. The same records give the
    same bytes.

    Records that are damaged, were changed by hand, or have another artifact than they say are refused, each with its
    path and the reason. Results of different protocols or settings are never averaged.
    """
    from gsbench.leaderboard.build import build_board
    from gsbench.leaderboard.exports import write_exports
    from gsbench.leaderboard.reported import read_reported

    folders = _scene_folders(scenes)
    sources = records or (Path("runs"),)
    given = reported or tuple(path / "reported" for path in sources if (path / "reported").is_dir())
    board = build_board(sources, title=title, anchor=anchor, reported=read_reported(given))
    output.mkdir(parents=True, exist_ok=True)
    if not tables_only:
        from gsbench.leaderboard.site import SiteOptions, write_site

        options = SiteOptions(
            views=views,
            images=images,
            viewer=viewer,
            artifacts=artifacts,
            scene_folders=folders,
            progress=lambda text: click.echo(text, err=True),
        )
        write_site(board, output, options=options)
    exports = write_exports(board, output / EXPORTS_FOLDER)
    if as_json:
        print_json(
            {
                "schema": BUILD_SCHEMA,
                "output": str(output.absolute()),
                "index": None if tables_only else str((output / "index.html").absolute()),
                "exports": [str(path.absolute()) for path in exports],
                "records": board.records,
                "sections": [
                    {"slug": s.slug, "protocol": s.protocol, "dataset": s.dataset, "entries": len(s.entries)}
                    for s in board.sections
                ],
            }
        )
        return
    click.echo(_built(board, output, tables_only))


def _built(board: Board, output: Path, tables_only: bool) -> str:
    lines = []
    for section in board.sections:
        methods = len({entry.method for entry in section.entries})
        line = f"{section.dataset}, protocol {section.protocol}: {_count(len(section.entries), 'entry', 'entries')} of "
        line += _count(methods, "method")
        if section.failed:
            line += f", {_count(len(section.failed), 'failed job')} not among them"
        lines.append(line)
    if board.reported:
        lines.append(f"reported: {_count(len(board.reported), 'row')}, apart")
    lines.append(f"Tables: {output / EXPORTS_FOLDER}")
    if not tables_only:
        lines.append(f"Site:   {output / 'index.html'}")
    return "\n".join(lines)


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _scene_folders(texts: Sequence[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        path = Path(folder.removeprefix("path:")).expanduser()
        if not (name and equals and folder):
            raise UsageError(f"--scene {text!r}: expected NAME=DIR, such as fox=/data/fox")
        if not path.is_dir():
            raise UsageError(f"--scene {text!r}: {path} is not a folder")
        found[name] = path.resolve()
    return found


@command.command("add", short_help="Publish the records of a run.")
@click.argument("records", type=_PATH, nargs=-1, required=True, metavar="RECORDS...")
@click.option(
    "--to", type=_PATH, default=Path("leaderboards"), show_default=True, metavar="DIR", help="Folder of boards."
)
@click.option("--board", metavar="NAME", help="Name of the board. [default: the records' data set]")
@click.option(
    "--max-artifact",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    metavar="MB",
    help="Publish artifacts up to this size with their records; 0 for none.",
)
@click.option("--replace", is_flag=True, help="Let results that are there be replaced; needs --reason.")
@click.option("--reason", metavar="TEXT", help="Why published results are replaced; it is kept beside them.")
@json_option
def add(
    records: tuple[Path, ...],
    to: Path,
    board: str | None,
    max_artifact: float,
    replace: bool,
    reason: str | None,
    as_json: bool,
) -> None:
    """Copy RECORDS (files, or folders of them) to DIR/NAME, with their artifacts and the notes of gsbench verify.

    All is checked before anything is written. A record is refused if it is damaged or was edited, if its artifact is
    missing or another one, or if it would change a number that is published (unless you --replace it).
    """
    from gsbench.leaderboard.publish import add_records

    done = add_records(
        records, to, board=board, max_artifact_bytes=round(max_artifact * 1e6), replace=replace, reason=reason
    )
    if as_json:
        print_json({"schema": ADD_SCHEMA, "to": str(to.absolute()), **vars(done)})
        return
    for name, why in sorted(done.left_out.items()):
        click.echo(f"gsbench: left out: {name}: {why}", err=True)
    for name in done.replaced:
        click.echo(f"replaced  {name}")
    for name in done.added:
        click.echo(f"added     {name}")
    records_done = f"{_count(len(done.added), 'record')} added, {len(done.replaced)} replaced"
    artifacts = _count(len(done.artifacts), "artifact")
    click.echo(f"{records_done}, {len(done.unchanged)} there already; with {artifacts}, in {to}")


@command.command("check", short_help="Check published records.")
@click.argument("folder", type=_PATH, default=Path("leaderboards"), metavar="[DIR]")
@json_option
def check(folder: Path, as_json: bool) -> int:
    """Check the shape and contents of a folder of boards: records, artifacts, hashes, schema. [default: leaderboards]

    Exits with 1 if anything is wrong. It decodes nothing: gsbench verify does.
    """
    from gsbench.leaderboard.publish import check_folder

    found = check_folder(folder)
    if as_json:
        print_json({"schema": CHECK_SCHEMA, "folder": str(folder.absolute()), **vars(found)})
    else:
        for problem in found.problems:
            click.echo(problem)
        counted = [_count(found.boards, "board"), _count(found.records, "record")]
        counted += [_count(found.artifacts, "artifact"), _count(found.reported, "reported row")]
        result = "all good" if not found.problems else _count(len(found.problems), "problem")
        click.echo(f"{folder}: {', '.join(counted)}: {result}")
    return _EXIT_FAILED if found.problems else 0


@command.command("import-reported", short_help="Numbers of publications, into our columns.")
@click.argument("tables", type=_PATH, nargs=-1, required=True, metavar="CSV...")
@click.option(
    "--output",
    "-o",
    type=_PATH,
    default=Path("leaderboards/reported/published.csv"),
    show_default=True,
    metavar="FILE",
    help="The file to write.",
)
def import_reported(tables: tuple[Path, ...], output: Path) -> None:
    """Read tables of published numbers and write them with our names of data sets, in bytes, with their sources.

    Columns: method, variant, dataset, psnr, ssim, lpips, bytes (or size_mb, in 10^6 bytes), gaussians (or gaussians_k),
    source, source_url. Rows without a source are refused. Such numbers are always shown apart from measured ones.
    """
    from gsbench.leaderboard.reported import read_reported, write_reported

    rows = read_reported(tables)
    if not output.parent.is_dir():
        raise UsageError(f"-o {output}: there is no folder {output.parent}")
    write_reported(rows, output)
    click.echo(f"{_count(len(rows), 'row')} from {_count(len({row.source for row in rows}), 'source')} in {output}")
