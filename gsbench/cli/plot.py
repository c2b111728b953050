"""``gsbench plot``: rate-distortion figures for papers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import click

from gsbench.cli.options import names
from gsbench.errors import UsageError

if TYPE_CHECKING:
    from gsbench.leaderboard.board import Board, Section


@click.command("plot", short_help="Rate-distortion figures for papers: PDF, SVG or PNG.")
@click.argument("records", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="RECORDS...")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="The figure: .pdf, .svg or .png.",
)
@click.option(
    "--metrics",
    type=names,
    default="psnr",
    show_default=True,
    metavar="A,B",
    help="One panel each: psnr, ssim, lpips_vgg, ...",
)
@click.option("--dataset", metavar="NAME", help="Data set, where RECORDS have several.")
@click.option("--protocol", metavar="ID", help="Protocol, where RECORDS have several.")
@click.option("--scene", metavar="NAME", help="One scene. [default: the mean over the data set]")
@click.option("--methods", type=names, metavar="A,B", help="Curves to draw, in this order. [default: all]")
@click.option(
    "--width",
    type=click.Choice(["single", "double"]),
    default="single",
    show_default=True,
    help="Of one or two columns of a page.",
)
@click.option("--height", type=click.FloatRange(0.5, 20), metavar="INCHES", help="Height of the figure.")
@click.option("--front/--no-front", default=True, show_default=True, help="Draw the Pareto front over all methods.")
@click.option("--labels", is_flag=True, help="Write names of rate points beside the points.")
@click.option("--title", default="", metavar="TEXT", help="Above the figure. [default: none]")
def command(
    records: tuple[Path, ...],
    output: Path,
    metrics: tuple[str, ...],
    dataset: str | None,
    protocol: str | None,
    scene: str | None,
    methods: tuple[str, ...] | None,
    width: str,
    height: float | None,
    front: bool,
    labels: bool,
    title: str,
) -> None:
    """Draw RECORDS (files, or folders of them): size on disk, on a logarithmic axis, against metrics.

    A figure shows one protocol and one data set. Points are means over the data set, which needs all its scenes; bars
    are sample standard deviations over seeds. Needs matplotlib: pip install 'gsbench-core[plot]'.
    """
    from gsbench.leaderboard.build import build_board
    from gsbench.leaderboard.plot import FORMATS, PlotOptions, plot_section

    if output.suffix.lower() not in FORMATS:
        raise UsageError(f"-o {output}: expected a name that ends in {', '.join(FORMATS)}")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"-o {output}: there is no folder {output.parent}")
    section = _section(build_board(records), dataset, protocol)
    options = PlotOptions(
        metrics=metrics,
        scene=scene,
        width=cast(Literal["single", "double"], width),
        height=height,
        front=front,
        labels=labels,
        methods=methods or (),
        title=title,
    )
    plot_section(section, output, options)
    what = f"{section.dataset}/{scene}" if scene else section.dataset
    click.echo(f"{output}: {what}, protocol {section.protocol}, {', '.join(metrics)}")


def _section(board: Board, dataset: str | None, protocol: str | None) -> Section:
    """The one section that is meant.

    Raises:
        UsageError: if that is none or several.
    """
    found = [
        section
        for section in board.sections
        if dataset in (None, section.dataset) and protocol in (None, section.protocol)
    ]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"--dataset {section.dataset} --protocol {section.protocol}" for section in board.sections)
    problem = "several protocols or data sets" if found else "nothing of that protocol and data set"
    raise UsageError(f"RECORDS have {problem}; expected one of: {known}")
