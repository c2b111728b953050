"""Rate-distortion figures for papers: size on a logarithmic axis against a metric, drawn by matplotlib."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from gsbench import _files
from gsbench.errors import UsageError
from gsbench.leaderboard.board import Entry, MetricColumn, Section, Value
from gsbench.registry import did_you_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Inches: a column and the whole width of a two-column page.
WIDTHS: Final[Mapping[str, float]] = {"single": 3.45, "double": 7.16}
FORMATS: Final = (".pdf", ".svg", ".png")

#: Colors that people with any color vision tell apart (Okabe and Ito, 2008), without their yellow, which white paper
#: swallows.
_COLORS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
_FRONT_COLOR: Final = "#9a9a9a"

#: Text of a paper's size, embedded as text that can be searched and edited.
_STYLE: Final[Mapping[str, Any]] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.0,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "gsbench",
    "figure.dpi": 100,
    "savefig.dpi": 300,
    "axes.unicode_minus": True,
}


#: Dates and versions would make the bytes differ.
_METADATA: Final[Mapping[str, Mapping[str, None]]] = {
    ".pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    ".svg": {"Date": None, "Creator": None},
    ".png": {"Software": None},
}


@dataclass(frozen=True)
class PlotOptions:
    """What to draw.

    Fields:
        metrics: one panel each.
        scene: draw this scene; None for the mean over the data set.
        width: "single" or "double" column.
        height: of a panel in inches; None for a pleasant one.
        front: draw the Pareto front over all methods.
        labels: write the names of rate points beside the points.
        methods: curves to draw, in this order; all if empty.
        title: above the panels; "" for none, as papers have captions.
    """

    metrics: tuple[str, ...] = ("psnr",)
    scene: str | None = None
    width: Literal["single", "double"] = "single"
    height: float | None = None
    front: bool = True
    labels: bool = False
    methods: tuple[str, ...] = ()
    title: str = ""


def plot_section(section: Section, path: Path, options: PlotOptions | None = None) -> None:
    """Draw a section and write the figure. The same section gives the same bytes with the same matplotlib.

    Args:
        section: see `gsbench.leaderboard.board`.
        path: ``.pdf``, ``.svg`` or ``.png``.
        options: what to draw.

    Raises:
        UsageError: if matplotlib is missing, the format is another, or a metric, scene or method is not in the section,
            or nothing is left to draw.
        StoreError: if the file cannot be written.
    """
    options = options or PlotOptions()
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: expected a name that ends in {', '.join(FORMATS)}")
    matplotlib = _matplotlib()
    metrics = [_metric(section, name) for name in options.metrics]
    curves = _curves(section, options)
    drawn = [(metric, _points(section, curves, metric, options.scene)) for metric in metrics]
    empty = [metric.name for metric, points in drawn if not points]
    if empty:
        where = "a mean over all scenes" if options.scene is None else f"a value on {options.scene}"
        raise UsageError(f"no entry of {section.dataset}, protocol {section.protocol}, has {where} of {empty[0]}")
    with matplotlib.rc_context(dict(_STYLE)):
        figure = _figure(section, drawn, curves, options)
        with _files.atomic_file(path) as file:
            suffix = path.suffix.lower()
            figure.savefig(
                file, format=suffix[1:], metadata=dict(_METADATA[suffix]), bbox_inches="tight", pad_inches=0.02
            )


def _matplotlib() -> Any:
    try:
        os.environ.setdefault("MPLBACKEND", "agg")
        import matplotlib
    except ImportError:
        raise UsageError("plots need matplotlib: pip install 'gsbench-core[plot]'") from None
    return matplotlib


def _metric(section: Section, name: str) -> MetricColumn:
    for metric in section.metrics:
        if metric.name == name:
            return metric
    known = [metric.name for metric in section.metrics]
    raise UsageError(f"no record of {section.dataset} has the metric {name!r}{did_you_mean(name, known)}")


def _curves(section: Section, options: PlotOptions) -> tuple[str, ...]:
    if options.scene is not None and options.scene not in section.scenes:
        raise UsageError(
            f"{section.dataset} has no scene {options.scene!r}{did_you_mean(options.scene, list(section.scenes))}"
        )
    for name in options.methods:
        if name not in section.curves:
            raise UsageError(f"no entry of {section.dataset} is of {name!r}{did_you_mean(name, list(section.curves))}")
    return options.methods or section.curves


@dataclass(frozen=True)
class _Point:
    """One rate point of a curve: MB and metric with their spreads (0 where there is none)."""

    rate: str
    megabytes: float
    value: float
    megabytes_spread: float
    value_spread: float


def _points(
    section: Section, curves: Sequence[str], metric: MetricColumn, scene: str | None
) -> dict[str, list[_Point]]:
    """Curve -> its points, from the smallest; curves without any are not there."""
    found: dict[str, list[_Point]] = {}
    for entry in section.entries:
        size, quality = _values(entry, metric, scene)
        if entry.curve in curves and size.mean and quality.mean is not None:
            point = _Point(entry.rate, size.mean / 1e6, quality.mean, (size.spread or 0.0) / 1e6, quality.spread or 0.0)
            found.setdefault(entry.curve, []).append(point)
    return {curve: sorted(found[curve], key=lambda p: p.megabytes) for curve in curves if curve in found}


def _values(entry: Entry, metric: MetricColumn, scene: str | None) -> tuple[Value, Value]:
    if scene is None:
        return entry.bytes, entry.metrics[metric.name]
    for found in entry.scenes:
        if found.scene == scene:
            return found.bytes, found.metrics[metric.name]
    return Value(None), Value(None)


def _figure(
    section: Section,
    drawn: Sequence[tuple[MetricColumn, Mapping[str, Sequence[_Point]]]],
    curves: Sequence[str],
    options: PlotOptions,
) -> Figure:
    from matplotlib.figure import Figure

    width = WIDTHS[options.width]
    panel = width / len(drawn)
    height = options.height or min(max(0.72 * panel, 1.9), 3.2)
    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(1, len(drawn), squeeze=False)[0]
    handles: dict[str, Any] = {}
    for axes, (metric, points) in zip(panels, drawn, strict=True):
        handles |= _panel(axes, metric, points, curves, options)
    if options.title:
        figure.suptitle(options.title, fontsize=9)
    ordered = [name for name in [*curves, _FRONT_LABEL] if name in handles]
    columns = max(1, min(len(ordered), int(width / 0.85)))
    figure.legend(
        [handles[name] for name in ordered], ordered, loc="outside lower center", ncols=columns, frameon=False,
        handlelength=1.8, columnspacing=1.2, borderaxespad=0.2,
    )  # fmt: skip
    return figure


_FRONT_LABEL: Final = "Pareto front"


def _panel(
    axes: Axes,
    metric: MetricColumn,
    points: Mapping[str, Sequence[_Point]],
    curves: Sequence[str],
    options: PlotOptions,
) -> dict[str, Any]:
    """Draw one metric; label -> what stands for it in the legend."""
    handles: dict[str, Any] = {}
    if options.front:
        front = _front([p for found in points.values() for p in found], metric.higher_is_better)
        if len(front) > 1:
            x, y = [p.megabytes for p in front], [p.value for p in front]
            (line,) = axes.step(x, y, where="post", color=_FRONT_COLOR, linestyle=(0, (4, 2)), linewidth=0.9, zorder=1)
            handles[_FRONT_LABEL] = line
    for curve, found in points.items():
        index = curves.index(curve)
        color, marker = _COLORS[index % len(_COLORS)], _MARKERS[index % len(_MARKERS)]
        drawn = axes.errorbar(
            [p.megabytes for p in found],
            [p.value for p in found],
            xerr=_errors([p.megabytes_spread for p in found]),
            yerr=_errors([p.value_spread for p in found]),
            color=color, marker=marker, markeredgecolor="white", markeredgewidth=0.4,
            elinewidth=0.7, capsize=1.5, capthick=0.7, zorder=3,
        )  # fmt: skip
        handles[curve] = drawn.lines[0]  # without bars
        if options.labels and len(found) > 1:
            for p in found:
                axes.annotate(
                    p.rate, (p.megabytes, p.value), xytext=(3, 3), textcoords="offset points", fontsize=6, color=color
                )
    axes.set_xscale("log")
    _size_ticks(axes, [p.megabytes for found in points.values() for p in found])
    unit = f" ({metric.unit})" if metric.unit else ""
    axes.set_xlabel("Size on disk (MB)")
    axes.set_ylabel(f"{metric.title}{unit} {'↑' if metric.higher_is_better else '↓'}")
    return handles


def _errors(spreads: Sequence[float]) -> list[float] | None:
    return list(spreads) if any(spreads) else None


def _front(points: Sequence[_Point], higher_is_better: bool) -> list[_Point]:
    """The points that no other is as small and as good as, from the smallest."""
    sign = 1.0 if higher_is_better else -1.0
    front: list[_Point] = []
    for point in sorted(points, key=lambda p: (p.megabytes, -sign * p.value)):
        if not front or sign * point.value > sign * front[-1].value:
            front.append(point)
    return front


def _size_ticks(axes: Axes, sizes: Sequence[float]) -> None:
    """Ticks at 1, 2 and 5 times powers of ten where the sizes span little, else at powers of ten; never as 10^x."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = min(sizes), max(sizes)
    axes.set_xlim(low / 1.25, high * 1.25)
    decades = math.log10(high / low * 1.25**2)
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1.0,) if decades > 3 else (1.0, 2.0, 5.0), numticks=30))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.10g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
