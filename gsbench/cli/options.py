"""The options that say what to run, shared by the verbs, and the file that can hold them."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from gsbench.errors import UsageError
from gsbench.registry import did_you_mean

if TYPE_CHECKING:
    from gsbench.bench import Plan, RunRequest

F = TypeVar("F", bound=Callable[..., Any])

_COLORS: Final = {"black": (0.0, 0.0, 0.0), "white": (1.0, 1.0, 1.0)}


def names(text: str) -> tuple[str, ...]:
    """``a,b`` as a tuple. A ``path:`` whose folder exists is taken as it is, commas and all.

    Raises:
        click.BadParameter: if a name is empty.
    """
    text = text.strip()
    if text.startswith("path:") and "," in text and Path(text.removeprefix("path:")).expanduser().is_dir():
        return (text,)
    parts = tuple(part.strip() for part in text.split(","))
    if not all(parts):
        raise click.BadParameter(f"{text!r} has an empty name; expected names separated by commas")
    return parts


def color(text: str) -> tuple[float, float, float]:
    """``black``, ``white`` or ``R,G,B`` as three numbers.

    Raises:
        click.BadParameter: if it is neither.
    """
    if text in _COLORS:
        return _COLORS[text]
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError:
        message = f"{text!r} is not a color; expected black, white or R,G,B such as 0.5,0.5,0.5"
        raise click.BadParameter(message) from None
    return red, green, blue


def _size(text: str) -> int:
    """``8G`` in bytes."""
    from gsbench.bench.limits import parse_size

    try:
        return parse_size(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _flatten(ctx: click.Context, param: click.Parameter, value: Sequence[Sequence[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for group in value for name in group))


def _seeds(ctx: click.Context, param: click.Parameter, value: Sequence[Sequence[str]]) -> tuple[int, ...]:
    seeds = []
    for text in _flatten(ctx, param, value):
        if not text.isascii() or not text.isdigit():
            raise click.BadParameter(f"{text!r} is not a number of 0 or more", ctx, param)
        seeds.append(int(text))
    return tuple(dict.fromkeys(seeds))


def read_config(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Make the file's values the defaults of the other options: what is typed wins."""
    if value is not None:
        ctx.default_map = {**(ctx.default_map or {}), **config_defaults(value, ctx.command)}
    return value


def scene_options(function: F) -> F:
    """Options that say how photos become ground truth."""
    for option in reversed(
        [
            click.option("--protocol", metavar="ID", help="Evaluation protocol; the data set's own if not given."),
            click.option("--images", metavar="DIR", help="Folder of the photos inside the scene, such as images_2."),
            click.option("--downscale", type=float, metavar="F", help="Reduce photos by this factor."),
            click.option("--max-width", type=int, metavar="W", help="Reduce photos wider than this many pixels."),
            click.option("--background", type=color, metavar="COLOR", help="black, white or R,G,B in [0, 1]."),
            click.option("--init", metavar="random:N", help="Start from N random points, not from the scene's."),
        ]
    ):
        function = option(function)
    return function


def metric_option(function: F) -> F:
    """``--metrics``."""
    return click.option(
        "--metrics",
        type=names,
        multiple=True,
        callback=_flatten,
        metavar="A,B",
        help="Metrics to compute. [default: psnr, psnr_channelwise, ssim, lpips_vgg, lpips_vgg_raw, lpips_alex]",
    )(function)


def machine_options(function: F) -> F:
    """Options that say where work is done."""
    for option in reversed(
        [
            click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."),
            click.option("--threads", type=click.IntRange(1), metavar="N", help="CPU threads of a job."),
        ]
    ):
        function = option(function)
    return function


def request_options(function: F) -> F:
    """Everything that makes a run: what, where, how."""
    for option in reversed(
        [
            click.option(
                "--methods",
                type=names,
                multiple=True,
                callback=_flatten,
                metavar="A,B",
                help="Methods to run (gsbench plugins lists them).",
            ),
            click.option(
                "--scenes",
                type=names,
                multiple=True,
                callback=_flatten,
                metavar="A,B",
                help="demo, a data set, DATASET/SCENE, a glob, or path:/my/scene.",
            ),
            click.option(
                "--out",
                type=click.Path(file_okay=False, path_type=Path),
                default=Path("runs"),
                show_default=True,
                help="Folder of records and artifacts. What is there already is not done again.",
            ),
            click.option(
                "--set",
                "settings",
                multiple=True,
                metavar="METHOD.field=value",
                help="Change a setting of a method; repeatable.",
            ),
            click.option(
                "--rates",
                type=names,
                multiple=True,
                default=("default",),
                callback=_flatten,
                metavar="A,B",
                help="Rate points by name, or all. [default: each method's default]",
            ),
            click.option(
                "--seeds",
                type=names,
                multiple=True,
                default=("0",),
                callback=_seeds,
                metavar="0,1",
                help="Random seeds, each a job of its own. [default: 0]",
            ),
            click.option(
                "--iterations",
                type=click.IntRange(1),
                metavar="N",
                help="Training steps; schedules scale in proportion. [default: the data set's or method's own]",
            ),
            click.option(
                "--base",
                type=click.Path(path_type=Path),
                metavar="PLY|DIR",
                help="Your own model, for methods that compress one: a .ply, or a folder with one per scene.",
            ),
            scene_options,
            machine_options,
            metric_option,
            click.option("--keep-frames", is_flag=True, help="Keep the float32 renders, not only the 8-bit images."),
            click.option(
                "--decode-timeout",
                type=click.FloatRange(0, min_open=True),
                metavar="S",
                help="Stop a decoder that takes longer than this many seconds.",
            ),
            click.option(
                "--checkpoint-every",
                type=click.IntRange(0),
                metavar="N",
                help="Training steps between checkpoints; 0: none. [default: now and then, for 1% of the time]",
            ),
            click.option(
                "--env",
                "envs",
                multiple=True,
                metavar="METHOD=VENV",
                help="Run a method's jobs in another virtual environment that has gsbench and the method; repeatable.",
            ),
            click.option(
                "--timeout",
                type=click.FloatRange(0, min_open=True),
                metavar="S",
                help="Stop a job that takes longer than this many seconds; the others go on.",
            ),
            click.option(
                "--memory-limit",
                type=_size,
                metavar="SIZE",
                help="Stop a job whose processes hold more memory than this, such as 8G (10^9 bytes each); looked at "
                "four times a second, mapped files not counted.",
            ),
            click.option("--jobs", type=click.IntRange(1), metavar="N", help="Jobs at the same time."),
            click.option("--engine", default="local", show_default=True, help="Where jobs run."),
            click.option(
                "--config",
                type=click.Path(path_type=Path),
                callback=read_config,
                is_eager=True,
                expose_value=False,
                help="TOML file with any of these options; what is typed here wins.",
            ),
        ]
    ):
        function = option(function)
    return function


def build_request(
    methods: tuple[str, ...], scenes: tuple[str, ...], rates: tuple[str, ...], seeds: tuple[int, ...], **others: Any
) -> RunRequest:
    """The request that the options of `request_options` make.

    Raises:
        UsageError: if methods or scenes are missing, or a value is refused.
    """
    if not methods:
        raise UsageError("no method is given; expected --methods NAME, such as --methods 3dgs (see: gsbench plugins)")
    if not scenes:
        raise UsageError("no scene is given; expected --scenes NAME, such as --scenes demo or --scenes path:/my/scene")
    from pydantic import ValidationError

    from gsbench.bench import RunRequest

    given = {"methods": methods, "scenes": scenes, "rates": rates, "seeds": seeds, **others}
    given["metrics"] = others.get("metrics") or None
    given["envs"] = dict(_env(text) for text in others.get("envs") or ())
    try:
        return RunRequest.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"][0] == "device":
            raise UsageError(f"--device {first['input']}: expected auto, cpu, cuda or cuda:N") from None
        option = str(first["loc"][0]).replace("_", "-")
        raise UsageError(f"--{option}: {first['msg']}, got {first['input']!r}") from None


def _env(text: str) -> tuple[str, Path]:
    """``METHOD=VENV`` as two.

    Raises:
        UsageError: if it is not of this form.
    """
    method, equals, place = text.partition("=")
    if not (equals and method.strip() and place.strip()):
        raise UsageError(f"--env {text}: expected METHOD=/path/to/venv")
    return method.strip(), Path(place.strip())


def build_plan(request: RunRequest, quiet: bool = False) -> Plan:
    """The plan of a request. Where it has the demo, and this is the first time, that is made before.

    Raises:
        GsbenchError: as `gsbench.bench.build_plan`.
    """
    from gsbench import bench, registry
    from gsbench.cli.views import make_demo
    from gsbench.hooks import load_plugins

    load_plugins()
    for name in request.methods:  # a misspelled method is told at once
        if name not in request.envs:
            registry.methods.entry(name)
    make_demo(request.scenes, quiet)
    return bench.build_plan(request)


def config_defaults(path: Path, command: click.Command) -> dict[str, Any]:
    """The values of a TOML file as defaults of `command`'s options, by parameter name.

    Keys are the options' names, with or without dashes; lists may be written as TOML lists, and settings as a table
    per method (``[set.3dgs]``).

    Raises:
        UsageError: if the file cannot be read or has a key that is no option.
    """
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise UsageError(f"--config {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path}: not a TOML file: {error}") from None
    options = {
        name.removeprefix("--"): param
        for param in command.params
        if isinstance(param, click.Option) and param.name not in (None, "help")
        for name in param.opts
        if name.startswith("--") and name != "--config"
    }
    defaults = {}
    for key, value in table.items():
        name = key.replace("_", "-")
        option = options.get(name)
        if option is None or option.name is None:
            raise UsageError(f"--config {path}: unknown key {key!r}{did_you_mean(name, sorted(options))}")
        defaults[option.name] = _config_value(path, key, value, option)
    return defaults


def _config_value(path: Path, key: str, value: Any, option: click.Option) -> Any:
    """`value` in the words of the command line."""
    if option.is_flag:
        if not isinstance(value, bool):
            raise UsageError(f"--config {path}: {key}: expected true or false, got {value!r}")
        return value
    if option.name == "settings" and isinstance(value, dict):
        return [f"{method}.{field}={_word(path, key, v)}" for method, fields in value.items()
                for field, v in _table(path, f"{key}.{method}", fields).items()]  # fmt: skip
    if option.name == "envs" and isinstance(value, dict):
        return [f"{method}={_word(path, key, place)}" for method, place in value.items()]
    if option.multiple:
        return [_word(path, key, v) for v in value] if isinstance(value, list) else [_word(path, key, value)]
    if isinstance(value, list):
        return ",".join(_word(path, key, v) for v in value)
    return _word(path, key, value)


def _table(path: Path, key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"--config {path}: {key}: expected a table of settings, got {value!r}")
    return value


def _word(path: Path, key: str, value: Any) -> str:
    """A TOML value as it would be typed."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise UsageError(f"--config {path}: {key}: expected text, a number or a list of them, got {value!r}")
