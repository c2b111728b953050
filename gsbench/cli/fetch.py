"""``gsbench fetch``: data sets and the weights of LPIPS, from their publishers to this machine."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from gsbench.cli.options import names
from gsbench.cli.output import json_option, print_json, table_width
from gsbench.cli.progress import Display, display
from gsbench.cli.tables import MISSING, Column, Row, text_table
from gsbench.errors import StoreError, UsageError, VerificationError

if TYPE_CHECKING:
    from gsbench.fetch.options import Outcome
    from gsbench.fetch.targets import Target

FETCH_SCHEMA: Final = "gsbench.fetch/1"

#: Seconds between two reports of the same download.
_INTERVAL: Final = 0.1


@click.command("fetch", short_help="Fetch data sets and the weights of LPIPS.")
@click.argument("targets", nargs=-1, metavar="TARGET...")
@click.option("--list", "listing", is_flag=True, help="Say what can be fetched, and what is there.")
@click.option("--verify", is_flag=True, help="Compare what is there with the hashes recorded when it was fetched.")
@click.option(
    "--images",
    type=names,
    multiple=True,
    metavar="DIR",
    help="Take only these folders of photos, such as images_4; repeatable. [default: all]",
)
@click.option("--url", metavar="URL|PATH", help="Take the archive from a mirror or a local file (lpips: a folder).")
@click.option("--force", is_flag=True, help="Fetch what is there, too, and replace it.")
@click.option("--keep-archive", is_flag=True, help="Keep an archive that had to be fetched whole.")
@click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")
@json_option
def command(
    targets: tuple[str, ...],
    listing: bool,
    verify: bool,
    images: tuple[tuple[str, ...], ...],
    url: str | None,
    force: bool,
    keep_archive: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Fetch data sets, single scenes, or the weights that LPIPS needs.

    \b
    gsbench fetch --list
    gsbench fetch lpips
    gsbench fetch mipnerf360/garden tandt
    gsbench fetch 'mipnerf360/*' --images images_4,images_2

    Of a large archive, only the parts that the scenes need are downloaded, where the server sends parts. A download
    that was broken off goes on where it stopped. Scenes appear complete or not at all, below $GSBENCH_DATA (by
    default, data/ in the cache folder).

    The weights are checked against SHA-256 hashes that are part of gsbench. The data sets' publishers state none: the
    hashes of what the first fetch brings are recorded, and --verify compares with those.
    """  # noqa: D301 (\\b keeps click from filling the examples)
    from gsbench.fetch.catalog import load_catalog
    from gsbench.fetch.targets import resolve_targets

    if listing and (verify or url or images or force):
        raise UsageError("--list goes with targets and --json only")
    if verify and (url or images or force):
        raise UsageError("--verify goes with targets and --json only; it fetches nothing")
    catalog = load_catalog()
    everything = (listing or verify) and not targets
    if not targets and not everything:
        known = ", ".join([*catalog.datasets, "lpips"])
        raise UsageError(f"nothing to fetch is given; expected a data set, DATASET/SCENE or lpips (known: {known})")
    scenes, lpips = resolve_targets(targets or ["*", "lpips"], catalog, manual=listing or verify)
    if listing:
        return _list(scenes, lpips, as_json)
    if verify:
        return _verify(scenes, lpips, everything, quiet, as_json)
    if url is not None and lpips and scenes:
        raise UsageError("--url stands for one archive, or for a folder with the weights; fetch lpips by itself")
    if url is not None and "://" in url and not url.lower().startswith(("http://", "https://")):
        raise UsageError(f"--url {url}: expected http://..., https://... or a path")
    from gsbench.fetch.options import FetchOptions

    chosen = tuple(dict.fromkeys(name for group in images for name in group)) or None
    options = FetchOptions(force=force, url=url, images=chosen, keep=keep_archive)
    outcomes = []
    with display(len(scenes) + lpips, quiet) as shown:
        for outcome in _fetch(scenes, lpips, options, shown):
            outcomes.append(outcome)
            shown.end(outcome.target, _end(outcome), outcome.status == "failed")
    return _report(outcomes, as_json)


def _fetch(scenes: Sequence[Target], lpips: bool, options: Any, shown: Display) -> Iterator[Outcome]:
    from gsbench.fetch.catalog import load_catalog
    from gsbench.fetch.scenes import fetch_scenes
    from gsbench.fetch.weights import fetch_lpips

    catalog = load_catalog()
    if lpips:
        yield fetch_lpips(options, catalog, Shown("lpips", shown))
    if scenes:
        yield from fetch_scenes(scenes, options, catalog, lambda title: Shown(title, shown))


class Shown:
    """The progress of one target on a display: in MB, with the rate."""

    def __init__(self, title: str, shown: Display) -> None:
        self._title, self._display = title, shown
        self._stage = ""
        self._begun: tuple[float, int] | None = None
        self._last = 0.0

    def stage(self, name: str) -> None:
        """See `gsbench.fetch.download.Progress`."""
        self._stage, self._begun, self._last = f"{name} (MB)" if name != "read directory" else name, None, 0.0
        self._display.stage(self._title, self._stage)

    def step(self, done: int, total: int | None) -> None:
        """See `gsbench.fetch.download.Progress`."""
        now = time.monotonic()
        if self._begun is None:
            self._begun = (now, done)
        if now - self._last < _INTERVAL and done != total:
            return
        self._last = now
        since, first = self._begun
        seconds = now - since
        rate = {"megabytes_per_second": (done - first) / 1e6 / seconds} if seconds > 0 else {}
        self._display.step(self._title, self._stage, done // 10**6, -(-(total or 0) // 10**6), rate)

    def note(self, text: str) -> None:
        """See `gsbench.fetch.download.Progress`."""
        self._display.line(self._title, text)


def _end(outcome: Outcome) -> str:
    if outcome.error is not None:
        return f"failed: {outcome.error}"
    return f"{_STATUS[outcome.status]}, {outcome.bytes / 1e6:,.1f} MB in {outcome.files:,} files"


_STATUS_COLORS: Final = {
    "fetched": "green", "by hand": "green", "incomplete": "yellow", "changed": "red", "damaged": "red",
}  # fmt: skip
_STATUS: Final = {"fetched": "fetched", "present": "there already"}


def _report(outcomes: Sequence[Outcome], as_json: bool) -> int:
    """Print what came of the targets, errors on stderr; the exit code."""
    failed = [outcome.error for outcome in outcomes if outcome.error is not None]
    if as_json:
        listed = [
            {
                "target": o.target,
                "status": o.status,
                "folder": str(o.folder),
                "files": o.files,
                "bytes": o.bytes,
                "note": o.note,
                "error": None if o.error is None else str(o.error),
            }
            for o in outcomes
        ]
        print_json({"schema": FETCH_SCHEMA, "targets": listed})
    else:
        columns = [Column("target", "<"), Column("status", "<"), Column("files"), Column("MB"), Column("folder", "<")]
        rows = [
            Row([o.target, _STATUS[o.status], *_sizes(o.files, o.bytes), str(o.folder)])
            for o in outcomes
            if o.status != "failed"
        ]
        if rows:
            click.echo(text_table(columns, rows, table_width()))
        notes = {f"{o.target}: {o.note}" for o in outcomes if o.note and o.status != "failed"}
        for note in sorted(notes):
            click.echo(note)
    for outcome in outcomes:
        if outcome.error is not None:
            click.echo(f"gsbench: error: {outcome.target}: {outcome.error}", err=True)
    codes = {error.exit_code for error in failed}
    return codes.pop() if len(codes) == 1 else int(bool(codes))


def _sizes(files: int, size: int) -> list[str]:
    return [f"{files:,}" if files else MISSING, f"{size / 1e6:,.1f}" if size else MISSING]


@dataclass(frozen=True)
class _There:
    """What is on this machine of a target."""

    target: str
    title: str
    status: str
    folder: Path
    files: int
    bytes: int
    about: int | None
    terms: str
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "status": self.status,
            "folder": str(self.folder),
            "files": self.files,
            "bytes": self.bytes,
            "archive_bytes": self.about,
            "terms": self.terms,
            "note": self.note,
        }


def _look(scenes: Iterable[Target]) -> Iterator[_There]:
    from gsbench.fetch.catalog import load_catalog
    from gsbench.fetch.places import dataset_folder
    from gsbench.fetch.record import missing_files, read_record

    for target in scenes:
        dataset = load_catalog().datasets[target.dataset]
        archive = dataset.archive(target.scene)
        folder = dataset_folder(target.dataset, target.scene)
        files = size = 0
        note = "" if archive is not None else f"to be placed by hand: gsbench fetch {target} says how"
        try:
            record = read_record(folder)
            there = folder.is_dir()
            missing = [] if record is None or not there else missing_files(folder, record)
        except (StoreError, OSError) as error:
            yield _There(str(target), dataset.title, "damaged", folder, 0, 0, None, dataset.terms, str(error))
            continue
        if not there:
            status = "absent"
        elif record is None:
            status = "by hand"
        else:
            status, files, size = "incomplete" if missing else "fetched", len(record.files), record.bytes
            note = f"{len(missing)} files are missing" if missing else ""
            if record.images is not None:
                note = "; ".join(filter(None, [note, f"photos: {', '.join(record.images)} only"]))
        about = None if archive is None else archive.about_bytes
        yield _There(str(target), dataset.title, status, folder, files, size, about, dataset.terms, note)


def _look_at_lpips() -> _There:
    from gsbench.fetch.catalog import load_catalog
    from gsbench.fetch.places import lpips_folder
    from gsbench.fetch.weights import file_problem

    weights, folder = load_catalog().lpips, lpips_folder()
    problems = {name: file_problem(folder / name, pinned) for name, pinned in weights.files.items()}
    there = [weights.files[name] for name, problem in problems.items() if problem is None]
    broken = [f"{n}: {p}" for n, p in problems.items() if p is not None and (folder / n).exists()]
    status = "fetched" if len(there) == len(problems) else "changed" if broken else "incomplete" if there else "absent"
    size, total = sum(file.bytes for file in there), sum(file.bytes for file in weights.files.values())
    return _There(
        "lpips", weights.title, status, folder, len(there), size, total, weights.terms, note="; ".join(broken)
    )


def _list(scenes: Sequence[Target], lpips: bool, as_json: bool) -> int:
    """Print what can be fetched."""
    from gsbench.fetch.places import data_root

    found = [*_look(scenes), *([_look_at_lpips()] if lpips else [])]
    if as_json:
        print_json({"schema": FETCH_SCHEMA, "data": str(data_root()), "targets": [t.to_json() for t in found]})
        return 0
    columns = [
        Column("target", "<"), Column("status", "<"), Column("files"), Column("MB"), Column("archive MB"),
        Column("note", "<"),
    ]  # fmt: skip
    rows = []
    for there in found:
        about = MISSING if there.about is None else f"{there.about / 1e6:,.0f}"
        color = _STATUS_COLORS.get(there.status)
        rows.append(Row([there.target, there.status, *_sizes(there.files, there.bytes), about, there.note], color))
    click.echo(text_table(columns, rows, table_width()))
    click.echo(f"\nData sets lie in {data_root()} (set GSBENCH_DATA to change that). Their terms of use:")
    for title, terms in dict.fromkeys((there.title, there.terms) for there in found):
        click.echo(f"  {title}: {terms}")
    return 0


def _verify(scenes: Sequence[Target], lpips: bool, everything: bool, quiet: bool, as_json: bool) -> int:
    """Compare what is there with what was recorded; the exit code is that of a mismatch if there is one."""
    from gsbench.fetch.places import dataset_folder
    from gsbench.fetch.record import check_files, read_record

    found: list[_There] = []
    looked = [*_look(scenes), *([_look_at_lpips()] if lpips else [])]
    looked = [there for there in looked if not (everything and there.status == "absent")]
    with display(len(looked), quiet) as shown:
        for there in looked:
            checked = there
            if there.target != "lpips" and there.status in ("fetched", "incomplete"):
                progress = Shown(there.target, shown)
                progress.stage("verify")
                dataset, _, scene = there.target.partition("/")
                folder = dataset_folder(dataset, scene)
                record = read_record(folder)
                if record is not None:
                    result = check_files(folder, record, progress.step)
                    checked = _checked(there, result)
            found.append(checked)
            shown.end(checked.target, checked.status, checked.status == "changed")
    if as_json:
        print_json({"schema": FETCH_SCHEMA, "targets": [there.to_json() for there in found]})
    else:
        columns = [Column("target", "<"), Column("status", "<"), Column("files"), Column("MB"), Column("note", "<")]
        rows = [Row([t.target, t.status, *_sizes(t.files, t.bytes), t.note]) for t in found]
        click.echo(text_table(columns, rows, table_width()) if rows else "Nothing is fetched yet.")
    changed = [there.target for there in found if there.status in ("changed", "incomplete", "damaged")]
    if changed:
        raise VerificationError(
            f"{', '.join(changed)}: not as fetched; gsbench fetch --force {' '.join(changed)} replaces them"
        )
    return 1 if any(there.status == "absent" for there in found) else 0


def _checked(there: _There, result: Any) -> _There:
    """`there` with what the comparison found."""
    from dataclasses import replace

    notes = []
    for names_, what in (
        (result.missing, "missing"),
        (result.changed, "changed"),
        (result.added, "not from the fetch"),
    ):
        if names_:
            more = f" and {len(names_) - 1:,} more" if len(names_) > 1 else ""
            notes.append(f"{what}: {names_[0]}{more}")
    return replace(there, status="verified" if result.ok else "changed", note="; ".join(notes))
