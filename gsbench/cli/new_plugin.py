"""``gsbench new-plugin``: a distribution with a method that works, to be changed into one's own."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

import click

from gsbench.errors import UsageError

#: As in `gsbench.testing.new_plugin`.
_KINDS: Final = ("trained", "post-training", "codec")


@click.command("new-plugin")
@click.argument("name", metavar="NAME")
@click.option(
    "--kind",
    type=click.Choice(_KINDS),
    default="trained",
    show_default=True,
    help="trained: trains a model of its own; post-training: compresses what 3dgs trained; codec: a file format.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Where the folder gsbench-NAME is made. [default: here]",
)
def command(name: str, kind: str, out: Path) -> int:
    """Write a plugin with the method NAME: it works and compresses a little; the rest is yours.

    \b
    gsbench new-plugin my-method --kind post-training
    pip install -e ./gsbench-my-method
    gsbench check my-method
    gsbench run --methods my-method --scenes demo

    The folder has a pyproject.toml, the package, a test, a README and a file for CI.
    """  # noqa: D301 (\\b keeps click from filling the examples)
    from gsbench import registry
    from gsbench.hooks import load_plugins
    from gsbench.testing.new_plugin import write_plugin

    load_plugins()
    if name in registry.methods:
        origin = registry.methods.entry(name).origin
        raise UsageError(f"there is a method {name!r} already, of {origin}; choose another name")
    files = write_plugin(name, kind, out)
    folder = out / f"gsbench-{name}"
    for path in files:
        click.echo(path)
    shown = shlex.quote(str(folder) if folder.is_absolute() else f"./{folder}")
    click.echo(
        f"\nNext:    pip install -e {shown}\n"
        f"         gsbench check {name}\n"
        f"         gsbench run --methods {name} --scenes demo"
    )
    return 0
