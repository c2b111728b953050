"""The ``gsbench`` command: its verbs, found when they are asked for, and what an error looks like.

``gsbench --help`` must answer at once, so the verb modules import click and little else at their top; torch, pandas,
pydantic and rich are imported by the verb that needs them, when it runs. Plugins are loaded when the help lists all
verbs, or a word is none of ours.
"""

from __future__ import annotations

import errno
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final

import click

from gsbench import __version__
from gsbench.errors import GsbenchError
from gsbench.registry import did_you_mean

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERNAL: Final = 3
EXIT_INTERRUPTED: Final = 130

#: Verb -> module with a click command named `command`, in the order of the help.
VERBS: Final = {
    "run": "gsbench.cli.run",
    "plan": "gsbench.cli.plan",
    "train": "gsbench.cli.train",
    "encode": "gsbench.cli.encode",
    "plugins": "gsbench.cli.plugins",
    "inspect": "gsbench.cli.inspect",
    "decode": "gsbench.cli.decode",
    "render": "gsbench.cli.render",
    "score": "gsbench.cli.score",
    "verify": "gsbench.cli.verify",
    "leaderboard": "gsbench.cli.leaderboard",
    "plot": "gsbench.cli.plot",
    "fetch": "gsbench.cli.fetch",
    "new-plugin": "gsbench.cli.new_plugin",
    "check": "gsbench.cli.check",
    "doctor": "gsbench.cli.doctor",
    "job": "gsbench.cli.job",
}


class App(click.Group):
    """A group whose verbs are imported when they are used, and to which plugins may add."""

    _plugins_asked = False

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Our verbs, then those of plugins."""
        self._ask_plugins()
        return [*VERBS, *sorted(self.commands)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb `cmd_name`; plugins are loaded only if it is none of ours."""
        module = VERBS.get(cmd_name)
        if module is not None:
            command: click.Command = importlib.import_module(module).command
            return command
        self._ask_plugins()
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, but an unknown verb names the nearest one."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            known = [n for n in self.list_commands(ctx) if n != "job"]
            raise click.UsageError(f"unknown verb {name!r}{did_you_mean(name, known)}", ctx)
        return super().resolve_command(ctx, args)

    def _ask_plugins(self) -> None:
        """Let plugins add verbs, once."""
        if not self._plugins_asked:
            self._plugins_asked = True
            from gsbench.hooks import extend_cli

            extend_cli(self)


def _switch_plugins(ctx: click.Context, param: click.Parameter, value: Sequence[str]) -> None:
    """Leave plugins out, here and in the processes that a run starts."""
    if not value:
        return
    for wish in value:
        if not wish.removeprefix("no:").strip() or ("," in wish or " " in wish):
            raise click.BadParameter(f"{wish!r}: expected the name of one plugin, or no:NAME", ctx, param)
    from gsbench.hooks import unload_plugins
    from gsbench.hooks.discovery import DISABLE_VARIABLE, switched

    os.environ[DISABLE_VARIABLE] = switched(os.environ.get(DISABLE_VARIABLE, ""), value)
    unload_plugins()


@click.group(
    cls=App,
    no_args_is_help=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 all done, 1 some jobs failed or a file is damaged, 2 wrong usage or a bad scene, 3 internal, "
    "4 verification mismatch, 130 interrupted.",
)
@click.option(
    "-p",
    "plugin_wishes",
    multiple=True,
    metavar="[no:]NAME",
    is_eager=True,
    expose_value=False,
    callback=_switch_plugins,
    help="no:NAME leaves a plugin out, NAME loads one that GSBENCH_DISABLE_PLUGINS leaves out; repeatable.",
)
@click.version_option(__version__, prog_name="gsbench", message="%(prog)s %(version)s")
@click.pass_context
def app(ctx: click.Context) -> int:
    """How many bytes buy how much image quality? Benchmark compressed 3D Gaussian Splatting.

    To begin: gsbench run --methods hac,3dgs --scenes demo
    """
    if ctx.invoked_subcommand is None:
        _say(ctx.get_help())
        return EXIT_USAGE
    return EXIT_OK


class _Warnings(logging.Handler):
    """What modules log, as lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say one line."""
        _say(f"gsbench: {record.levelname.lower()}: {record.getMessage()}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; `arguments` defaults to those of the process."""
    handler = _Warnings(logging.WARNING)
    logger = logging.getLogger("gsbench")
    logger.addHandler(handler)
    disabled = os.environ.get("GSBENCH_DISABLE_PLUGINS")
    try:
        return _run(arguments)
    finally:
        logger.removeHandler(handler)
        if os.environ.get("GSBENCH_DISABLE_PLUGINS") != disabled:  # -p counts for this command alone
            _restore_plugins(disabled)


def _restore_plugins(disabled: str | None) -> None:
    from gsbench.hooks import unload_plugins

    if disabled is None:
        os.environ.pop("GSBENCH_DISABLE_PLUGINS", None)
    else:
        os.environ["GSBENCH_DISABLE_PLUGINS"] = disabled
    unload_plugins()


def _run(arguments: Sequence[str] | None) -> int:
    try:
        result = app.main(args=arguments, prog_name="gsbench", standalone_mode=False)
    except click.ClickException as error:
        return _usage_error(error)
    except (KeyboardInterrupt, click.Abort):
        _say("gsbench: interrupted; the same command goes on from here")
        return EXIT_INTERRUPTED
    except GsbenchError as error:
        _say(f"gsbench: error: {error}")
        return error.exit_code
    except NotImplementedError as error:
        if not error.args:
            return _bug(error)
        _say(f"gsbench: error: not available: {error}")
        return EXIT_USAGE
    except BrokenPipeError:
        # Whoever read our output stopped reading (gsbench plugins | head). Python would complain while closing stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            return _bug(error)
        _say(f"gsbench: error: {error.filename or 'the output'} cannot be written: {error.strerror}")
        return EXIT_FAILED
    except Exception as error:
        return _bug(error)
    return result if isinstance(result, int) else EXIT_OK


def _usage_error(error: click.ClickException) -> int:
    _say(f"gsbench: error: {error.format_message()}")
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is not None and context.command.get_help_option(context) is not None:
        _say(f"Try '{context.command_path} --help'.")
    return EXIT_USAGE


def _bug(error: Exception) -> int:
    traceback.print_exception(error)
    _say(
        f"gsbench: internal error: {type(error).__name__}: {error}\n"
        "This is a bug in gsbench or in a plugin. Please report it with the lines above and the output of: "
        "gsbench doctor --json"
    )
    return EXIT_INTERNAL


def _say(message: str) -> None:
    click.echo(message, err=True)
