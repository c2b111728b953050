"""The pages of a site, from Jinja2 templates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gsbench.leaderboard.board import METRIC_COLUMNS, Board, MethodCard, MetricColumn, Reported, Section
from gsbench.leaderboard.site.colors import ERROR_COLORS
from gsbench.leaderboard.site.names import slug
from gsbench.leaderboard.site.prose import PROTOCOLS, TRUST, ProtocolText, protocol_text

#: Metrics that the small picture of a section shows, the first that it has.
_THUMB_METRICS: Final = ("psnr", "ssim")
_WIDTH, _HEIGHT = 280, 130


class Pages:
    """Writes the pages of `board` below `root`."""

    def __init__(self, board: Board, root: Path) -> None:
        self._board, self._root = board, root
        self._templates = Environment(
            loader=PackageLoader("gsbench.leaderboard.site", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self._templates.filters["slug"] = slug
        self._templates.filters["summary"] = _summary
        self._templates.filters["grouped"] = lambda count: f"{count:,}"

    def index(self) -> None:
        """The first page: the sections, and how to read them."""
        pictures = {section.slug: thumbnail(section) for section in self._board.sections}
        self._write("index.html", "index.html", pictures=pictures, trust=TRUST)

    def section(self, section: Section) -> None:
        """The page of a protocol and data set."""
        self._write(
            "section.html",
            f"{section.slug}/index.html",
            section=section,
            scene_slugs={scene: slug(scene) for scene in section.scenes},
            methods=sorted({entry.method for entry in section.entries}),
            reported=[row for row in self._board.reported if row.dataset == section.dataset],
            missing=_missing(section),
        )

    def scene(self, section: Section, scene: str, data: str, *, has_viewer: bool) -> None:
        """The page of a scene; `data` is the name of its data file."""
        place = section.scenes.index(scene)
        around = [section.scenes[i] if 0 <= i < len(section.scenes) else None for i in (place - 1, place + 1)]
        self._write(
            "scene.html",
            f"{section.slug}/{slug(scene)}.html",
            section=section,
            scene=scene,
            data=data,
            has_viewer=has_viewer,
            previous=around[0],
            following=around[1],
            ramp=", ".join(f"rgb({r} {g} {b})" for r, g, b in ERROR_COLORS),
        )

    def methods(self) -> None:
        """The list of methods, and a page for each."""
        self._write("methods.html", "methods/index.html", cards=self._board.methods)
        for name, card in self._board.methods.items():
            self._write(
                "method.html",
                f"methods/{slug(name)}.html",
                card=card,
                sections=[section for section in self._board.sections if _rows(section, card)],
                rows={section.slug: _rows(section, card) for section in self._board.sections},
            )

    def protocols(self) -> None:
        """The page that says how everything is measured."""
        used = {section.protocol: section.protocol_hash for section in self._board.sections}
        shown: list[ProtocolText] = [protocol_text(identifier, hashed) for identifier, hashed in used.items()]
        shown += [text for text in PROTOCOLS if text.id not in used]
        self._write("protocols.html", "protocols.html", protocols=shown, used=used, metrics=METRIC_COLUMNS, trust=TRUST)

    def reported(self) -> None:
        """The page of numbers from publications."""
        groups: dict[str, list[Reported]] = {}
        for row in self._board.reported:
            groups.setdefault(row.dataset, []).append(row)
        self._write("reported.html", "reported.html", groups=groups)

    def _write(self, template: str, path: str, **values: Any) -> None:
        depth = path.count("/")
        text = self._templates.get_template(template).render(
            board=self._board, root="../" * depth, page=path, number=_number, **values
        )
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


def _number(value: float | None, digits: int) -> str:
    """A number for a table of the page itself; a dash where there is none."""
    return "\N{EM DASH}" if value is None else f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _rows(section: Section, card: MethodCard) -> list[Any]:
    return [entry for entry in section.entries if entry.method == card.name]


def _has_value(section: Section, metric: MetricColumn) -> bool:
    return any(
        metric.name in of.metrics and of.metrics[metric.name].mean is not None
        for entry in section.entries
        for of in entry.scenes
    )


def _missing(section: Section) -> dict[str, list[str]]:
    """Why metrics have no value: reason -> their titles."""
    found: dict[str, list[str]] = {}
    for metric in section.metrics:
        if not _has_value(section, metric):
            values = [of.metrics.get(metric.name) for entry in section.entries for of in entry.scenes]
            reason = next((value.reason for value in values if value is not None and value.reason), "not computed")
            found.setdefault(reason, []).append(metric.title)
    return found


def _summary(section: Section) -> str:
    """What the data set's title says beyond its name, as a sentence; "" if nothing."""
    text = section.dataset_title.removeprefix(section.dataset).lstrip(": ")
    return text if not text or text.endswith(".") else f"{text}."


def thumbnail(section: Section) -> Markup | None:
    """A small rate-distortion plot as SVG, None where no row has a size and a quality."""
    for name in _THUMB_METRICS:
        metric = next((metric for metric in section.metrics if metric.name == name), None)
        found = [
            (section.curves.index(entry.curve), math.log10(entry.bytes.mean), value.mean)
            for entry in section.entries
            if (value := entry.metrics.get(name)) is not None and value.mean is not None and entry.bytes.mean
        ]
        if metric is not None and found:
            return _thumbnail(metric, found)
    return None


def _thumbnail(metric: MetricColumn, found: Sequence[tuple[int, float, float]]) -> Markup:
    left, right, top, bottom = 26.0, _WIDTH - 12.0, 12.0, _HEIGHT - 22.0
    (x0, x1), (y0, y1) = ((min(p[i] for p in found), max(p[i] for p in found)) for i in (1, 2))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x0) / (x1 - x0) if x1 > x0 else 0.5
        up = (y - y0) / (y1 - y0) if y1 > y0 else 0.5
        return left + 8 + across * (right - left - 16), bottom - 8 - up * (bottom - top - 16)

    parts = [f'<path class="thumb-axis" d="M{left:g} {top:g}V{bottom:g}H{right:g}"/>']
    for curve in sorted({p[0] for p in found}):
        points = [place(x, y) for _, x, y in sorted(p for p in found if p[0] == curve)]
        if len(points) > 1:
            line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            parts.append(f'<polyline class="thumb-line c{curve % 8}" points="{line}"/>')
        parts += [f'<circle class="thumb-dot c{curve % 8}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points[:200]]
    parts.append(f'<text class="thumb-text" x="{right:g}" y="{_HEIGHT - 7}" text-anchor="end">log MB</text>')
    title = Markup.escape(metric.title)
    parts.append(f'<text class="thumb-text" transform="translate(17 {bottom:g}) rotate(-90)">{title}</text>')
    # Every part is made of numbers and escaped text.
    return Markup(f'<svg class="thumb" viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-hidden="true">{"".join(parts)}</svg>')
