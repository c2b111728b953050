"""``gsbench check``: what every method must hold, as a report."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from gsbench.cli.options import names
from gsbench.cli.output import json_option, print_json, table_width
from gsbench.cli.tables import Column, Row, text_table
from gsbench.errors import GsbenchError, UsageError

if TYPE_CHECKING:
    from gsbench.methods import MethodSpec
    from gsbench.scenes import Scene
    from gsbench.splats import Splats
    from gsbench.testing.case import Case
    from gsbench.testing.checks import Check

CHECK_SCHEMA: Final = "gsbench.check/1"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one check: "ok" or "failed", and why, in a sentence."""

    check: str
    title: str
    result: str
    sentence: str
    details: str
    seconds: float


@click.command("check")
@click.argument("method", metavar="METHOD")
@click.option(
    "--scene",
    metavar="SCENE",
    help="demo, DATASET/SCENE or path:/my/scene. [default: a few tiny photos made on the spot]",
)
@click.option("--set", "settings", multiple=True, metavar="METHOD.field=value", help="Change a setting; repeatable.")
@click.option("--iterations", type=click.IntRange(1), default=20, show_default=True, help="Training steps.")
@click.option("--only", type=names, default=None, metavar="A,B", help="Only checks whose name contains one of these.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=300.0,
    show_default=True,
    metavar="S",
    help="Seconds that each process of a check may take.",
)
@click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")
@json_option
def command(
    method: str,
    scene: str | None,
    settings: tuple[str, ...],
    iterations: int,
    only: tuple[str, ...] | None,
    timeout: float,
    quiet: bool,
    as_json: bool,
) -> int:
    """Check that METHOD holds what the benchmark relies on, and does not cheat.

    \b
    gsbench check my-method
    gsbench check my-method --scene demo --iterations 200 --json

    These are the tests of gsbench.testing.MethodConformance: no held-out image is opened, encoding is deterministic,
    the artifact alone is enough for decoding, damage is refused, an interrupted training goes on to the same bytes, ...
    Exit code 1 if a check failed.
    """  # noqa: D301 (\\b keeps click from filling the examples)
    from gsbench import registry
    from gsbench.hooks import load_plugins
    from gsbench.testing.checks import CHECKS

    load_plugins()
    origin = registry.methods.entry(method).origin
    chosen = [check for check in CHECKS if only is None or any(part in check.name for part in only)]
    if not chosen:
        raise UsageError(f"--only {','.join(only or ())}: no check is called so; {', '.join(c.name for c in CHECKS)}")
    with tempfile.TemporaryDirectory(prefix="gsbench-check-") as folder:
        case = _case(method, scene, settings, iterations, timeout, Path(folder), quiet)
        outcomes = []
        for number, check in enumerate(chosen, 1):
            if not quiet:
                click.echo(f"[{number}/{len(chosen)}] {check.name}", err=True)
            outcomes.append(_outcome(check, case))
    failed = [outcome for outcome in outcomes if outcome.result == "failed"]
    if as_json:
        checks = [dataclasses.asdict(outcome) for outcome in outcomes]
        print_json(
            {"schema": CHECK_SCHEMA, "method": method, "distribution": origin, "ok": not failed, "checks": checks}
        )
    else:
        click.echo(_report(method, origin, outcomes))
    return 1 if failed else 0


def _case(
    method: str,
    scene: str | None,
    settings: tuple[str, ...],
    iterations: int,
    timeout: float,
    folder: Path,
    quiet: bool,
) -> Case:
    from gsbench import registry
    from gsbench.bench.settings import resolve_config, split_setting
    from gsbench.hooks import method_class
    from gsbench.testing.case import Case
    from gsbench.testing.samples import random_splats, tiny_scene

    spec: MethodSpec = registry.methods.get(method)
    config = method_class(method).Config
    texts = [split_setting(text, [method])[1:] for text in settings]
    resolved = resolve_config(method, config, spec.rate("default").settings, texts)
    changed = {field: _at(resolved, field) for field in _leaves(resolved)} if texts else {}
    if scene is None:
        loaded: Scene = tiny_scene()
        return Case(method, changed, iterations, loaded, random_splats(300), folder, timeout)
    loaded, place = _scene(scene, quiet)
    base = None if spec.base is None else _base(spec.base, loaded, iterations, folder)
    return Case(method, changed, iterations, loaded, base, folder, timeout, place)


def _scene(name: str, quiet: bool) -> tuple[Scene, Path | None]:
    from gsbench.cli.views import make_demo
    from gsbench.scenes import SceneOptions, check_fetched, load_scene, resolve_scenes

    make_demo([name], quiet)
    refs = resolve_scenes([name])
    if len(refs) != 1:
        raise UsageError(f"--scene {name}: expected one scene, that names {len(refs)}")
    check_fetched(refs)
    return load_scene(refs[0], SceneOptions()), refs[0].path


def _base(method: str, scene: Scene, iterations: int, folder: Path) -> Splats:
    """What methods with a base start from: the base, trained for as many steps."""
    import torch

    from gsbench import registry
    from gsbench.hooks import method_class
    from gsbench.methods import Context
    from gsbench.testing.child import repeatable

    if method not in registry.methods:
        raise UsageError(f"the base {method!r} is of no installed plugin")
    cls = method_class(method)
    spec: MethodSpec = registry.methods.get(method)
    if spec.base is not None:
        raise UsageError(f"the base {method!r} has a base itself; check it with the scene that is made on the spot")
    work = folder / "base"
    work.mkdir()
    context = Context(torch.device("cpu"), torch.get_num_threads(), 0, work, iterations)
    with repeatable(0):
        return cls().fit(scene.for_training(), cls.Config(), context).splats()


def _outcome(check: Check, case: Case) -> Outcome:
    from gsbench.bench.capture import captured

    begin = time.monotonic()
    result, sentence, details = "ok", "", ""
    try:
        with captured(case.folder / "output" / f"{check.name}.log"):  # standard output is for the report
            check.run(case)
    except (Exception, SystemExit) as error:
        result = "failed"
        first, _, rest = str(error).strip().partition("\n")
        known = isinstance(error, AssertionError | GsbenchError) and first
        sentence = first if known else f"{type(error).__name__}: {first or 'no message'}"
        details = rest if rest or known else _trace(error)
    return Outcome(check.name, check.title, result, sentence, details, round(time.monotonic() - begin, 2))


def _trace(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(error)[-3:]).rstrip()


def _report(method: str, origin: str, outcomes: list[Outcome]) -> str:
    columns = [Column("check", "<"), Column("result", "<"), Column("", "<")]
    colors: dict[str, str] = {"failed": "red"}
    rows = [Row([o.check, o.result, o.sentence or o.title], colors.get(o.result)) for o in outcomes]
    failed = [o for o in outcomes if o.result == "failed"]
    parts = [text_table(columns, rows, table_width())]
    parts += [f"\n{o.check}:\n{o.details}" for o in failed if o.details]
    conclusion = "conforms" if not failed else f"{len(failed)} of {len(outcomes)} checks failed"
    parts.append(f"\n{method} of {origin}: {conclusion}")
    return "\n".join(parts)


def _leaves(values: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of the settings."""
    found = []
    for name, value in values.items():
        found += _leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name]
    return found


def _at(values: dict[str, Any], name: str) -> Any:
    for part in name.split("."):
        values = values[part]
    return values
