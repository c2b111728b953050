"""``gsbench verify``: does a published number follow from its artifact?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from gsbench.cli.options import machine_options, scene_options
from gsbench.cli.output import json_option, print_json, table_width
from gsbench.cli.tables import MISSING, Column, Row, text_table
from gsbench.errors import GsbenchError, UsageError, VerificationError

if TYPE_CHECKING:
    from gsbench.leaderboard.verify import Check, Verified
    from gsbench.scenes import SceneOptions

VERIFY_SCHEMA: Final = "gsbench.verify/1"

_COLORS: Final = {"mismatch": "red", "not checked": "yellow"}
_SHOWN_TEXT: Final = 20


@click.command("verify", short_help="Decode, render and score published artifacts again, and compare.")
@click.argument("records", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="RECORDS...")
@click.option("--scene", metavar="SCENE", help="Where the scene is, for records of path: scenes.")
@click.option(
    "--tolerance",
    "tolerances",
    multiple=True,
    metavar="METRIC=X",
    help="Largest accepted difference of a metric's mean. [default: psnr 0.01, ssim 0.0001, LPIPS 0.001]",
)
@click.option(
    "--rerun",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Compare with the same runs in this results folder as well: is the training reproduced?",
)
@click.option("--write", is_flag=True, help="Leave a note beside each record that was verified (NAME.verified.json).")
@click.option(
    "--with-artifact", is_flag=True, help="Of folders, take only records whose artifact is there; name the others."
)
@click.option(
    "--decode-timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="S",
    help="Stop a decoder that takes longer than this many seconds.",
)
@scene_options
@machine_options
@json_option
def command(
    records: tuple[Path, ...],
    scene: str | None,
    tolerances: tuple[str, ...],
    rerun: Path | None,
    write: bool,
    with_artifact: bool,
    decode_timeout: float | None,
    device: str,
    threads: int | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Check that the numbers of RECORDS (files, or folders of them) follow from their artifacts.

    Each artifact's size, hash and sections are compared with the record's; it is decoded in a sealed process of its
    own, the held-out views are rendered and scored again, and every number is compared within a tolerance that is
    printed beside it. Times are not compared.

    Exit codes: 0 if all agree, 4 if a number does not, 1 if a record could not be verified, for one because its
    artifact is missing.
    """
    from gsbench.bench.plan import resolve_device
    from gsbench.hooks import load_plugins
    from gsbench.leaderboard.load import find_records
    from gsbench.leaderboard.verify import VerifyOptions, verify_record, write_verification

    load_plugins()
    chosen = VerifyOptions(
        scene=scene,
        scene_options=_scene_options(options),
        device=resolve_device(device),
        threads=threads,
        tolerances=_tolerances(tolerances),
        rerun=rerun,
        timeout=decode_timeout,
        progress=lambda text: click.echo(text, err=True),
    )
    done: list[Verified] = []
    failed: dict[str, str] = {}
    code = 0
    for path in find_records(records):
        if with_artifact and not _has_artifact(path):
            click.echo(f"gsbench: left out: {path}: its artifact is not here", err=True)
            continue
        try:
            result = verify_record(path, chosen)
        except UsageError:
            raise
        except GsbenchError as error:
            failed[str(path)] = str(error)
            code = code or 1
            if not as_json:
                click.echo(f"gsbench: error: {error}", err=True)
            continue
        done.append(result)
        if not result.ok:
            code = VerificationError.exit_code
        elif write:
            write_verification(result)
        if not as_json:
            click.echo(_report(result) + "\n")
    if as_json:
        print_json({"schema": VERIFY_SCHEMA, "records": [_json(result) for result in done], "failed": failed})
    else:
        good = sum(result.ok for result in done)
        click.echo(f"{good} of {len(done) + len(failed)} verified")
    return code


def _has_artifact(path: Path) -> bool:
    from gsbench.leaderboard.load import artifact_beside
    from gsbench.records import read_record

    try:
        record = read_record(path)
        return record.status == "ok" and artifact_beside(path, record).is_file()
    except GsbenchError:
        return True  # that it is damaged is told when it is verified


def _scene_options(options: dict[str, Any]) -> SceneOptions | None:
    """What the options say about the scene; None if nothing."""
    if all(value is None for value in options.values()):
        return None
    from gsbench import registry
    from gsbench.scenes import SceneOptions

    protocol = options.pop("protocol")
    return SceneOptions(protocol=None if protocol is None else registry.protocols.get(protocol), **options)


def _tolerances(texts: tuple[str, ...]) -> dict[str, float]:
    found = {}
    for text in texts:
        name, equals, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not (name and equals and 0 <= value < float("inf")):
            raise UsageError(f"--tolerance {text!r}: expected METRIC=X with X of 0 or more, such as psnr=0.05")
        found[name] = value
    return found


def _report(result: Verified) -> str:
    record = result.record
    head = f"{result.path}: {record.method} {record.rate}, {record.dataset}/{record.scene}, seed {record.seed}"
    numbers = [Column("record"), Column("now"), Column("difference"), Column("tolerance")]
    columns = [Column("", "<"), *numbers, Column("result", "<")]
    rows = [_row(check) for check in result.checks]
    if result.ok:
        verdict = "reproduced: artifact, scores and a repeated training agree" if result.rerun else "verified"
    else:
        count = sum(check.outcome == "mismatch" for check in result.checks)
        verdict = f"{count} mismatch{'' if count == 1 else 'es'}"
        if result.environment is None:
            verdict += "; the artifact is not the record's, so it was not decoded"
    return "\n".join([head, text_table(columns, rows, table_width()), verdict])


def _row(check: Check) -> Row:
    difference = check.difference
    cells = [
        check.what,
        _shown(check.recorded),
        _shown(check.found),
        MISSING if difference is None else f"{difference:+.2g}" if difference else "0",
        "exact" if check.tolerance is None else f"{check.tolerance:g}",
        check.outcome + (f": {check.note}" if check.note else ""),
    ]
    return Row(cells, color=_COLORS.get(check.outcome))


def _shown(value: str | float | int | None) -> str:
    if value is None:
        return MISSING
    if isinstance(value, float):
        return f"{value:.6g}"
    text = f"{value:,}" if isinstance(value, int) else value
    return text if len(text) <= _SHOWN_TEXT else f"{text[:_SHOWN_TEXT]}..."


def _json(result: Verified) -> dict[str, Any]:
    return {
        "path": str(result.path.absolute()),
        "ok": result.ok,
        "rerun": result.rerun,
        "checks": [{**vars(check), "difference": check.difference} for check in result.checks],
        "environment": None if result.environment is None else result.environment.model_dump(mode="json"),
    }
