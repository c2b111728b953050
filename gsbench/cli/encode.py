"""``gsbench encode``: a model of one's own, compressed without photos."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from gsbench.cli.files import make_parent, require_new_file, scratch_folder
from gsbench.cli.options import machine_options
from gsbench.cli.output import json_option, print_json, table_width
from gsbench.cli.progress import display
from gsbench.cli.tables import Column, Row, megabytes, text_table
from gsbench.errors import FormatError, JobError, StoreError, UsageError

if TYPE_CHECKING:
    from gsbench.bench import SealedResult
    from gsbench.bench.model import OwnModel
    from gsbench.bench.own_encode import Encoded
    from gsbench.methods import MethodSpec, RatePoint

ENCODE_SCHEMA: Final = "gsbench.encode/1"


@dataclass(frozen=True)
class _Source:
    """What is encoded.

    Fields:
        model: Gaussians; None where the method goes on from a state of its own.
        state: folder of that state.
        base: what the state was trained from.
        rate, config: the settings that it was trained with.
        ply_bytes: size of the Gaussians as a .ply, None where there are none.
    """

    model: OwnModel | None = None
    state: Path | None = None
    base: OwnModel | None = None
    rate: str | None = None
    config: dict[str, Any] | None = None
    ply_bytes: int | None = None


@click.command("encode", short_help="Compress a model of your own, without photos.")
@click.argument("method", metavar="METHOD")
@click.argument("model", type=click.Path(path_type=Path), metavar="MODEL")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The artifact to write."
)
@click.option(
    "--rate", metavar="NAME", help="Rate point. [default: the method's own, or what the model was trained for]"
)
@click.option(
    "--set", "settings", multiple=True, metavar="METHOD.field=value", help="Change a setting of the method; repeatable."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Random seed.")
@machine_options
@click.option("--verify/--no-verify", default=True, show_default=True, help="Decode the file in a sealed process.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")
@json_option
def command(
    method: str,
    model: Path,
    output: Path,
    rate: str | None,
    settings: tuple[str, ...],
    seed: int,
    device: str,
    threads: int | None,
    verify: bool,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Compress a model: a .ply of 3D Gaussians, the folder that the original 3DGS code or gsbench train left.

    \b
    gsbench encode METHOD point_cloud.ply -o scene.gsb
    gsbench encode METHOD model --rate low --set METHOD.field=value -o scene.gsb

    Nothing is trained, so the method must be one that compresses finished models (gsbench plugins shows its base), or
    one that trained the model itself (gsbench train METHOD -o model). To let a method that needs photos start from a
    model of yours: gsbench run --base.
    """  # noqa: D301 (\\b keeps click from filling the examples)
    from gsbench import registry
    from gsbench.bench.memory import usable_cores
    from gsbench.bench.model import EncodeSpec
    from gsbench.bench.own_encode import encode_own
    from gsbench.bench.plan import resolve_device
    from gsbench.bench.visible import take_inventory
    from gsbench.hooks import load_plugins, method_origin

    load_plugins()
    spec: MethodSpec = registry.methods.get(method)
    if not output.name.endswith(spec.suffix) or output.name == spec.suffix:
        raise UsageError(f"-o {output}: artifacts of method {method!r} end in {spec.suffix}")
    require_new_file(output, force)
    source = _source(model, spec)
    point = spec.rate(rate or source.rate or "default")
    config = _config(spec, point, settings, source)
    where, count = resolve_device(device), threads or usable_cores()
    make_parent(output)
    inventory = take_inventory()  # before the method's code has run
    title = f"{model.name} {method} {point.name}"
    with display(1, quiet) as shown, scratch_folder(output) as folder:
        shown.stage(title, "encode")
        encoded = encode_own(
            EncodeSpec(
                method=method,
                version=method_origin(method)[1],
                suffix=spec.suffix,
                config=config,
                device=where,
                threads=count,
                seed=seed,
                model=source.model,
                state=source.state,
                base=source.base,
                folder=folder,
            ),
            lambda step, total, values: shown.step(title, "encode", step, total, values),
        )
        shown.line(title, f"encode done in {encoded.seconds:.1f} s")
        decoded = None
        if verify:
            from gsbench.bench import decode_sealed

            shown.stage(title, "decode")
            (folder / "decoded").mkdir()
            decoded = decode_sealed(
                method, encoded.path, [], (0.0, 0.0, 0.0), where, count, folder / "decoded", inventory=inventory
            )
        try:
            encoded.path.replace(output)
        except OSError as error:
            raise StoreError(f"cannot write {output}: {error.strerror or error}") from None
        shown.end(title, f"{megabytes(encoded.bytes)} MB")
    _report(method, point, model, output, source, encoded, decoded, as_json)


def _source(path: Path, spec: MethodSpec) -> _Source:
    """What the argument MODEL means to the method.

    Raises:
        UsageError: if nothing is there, or it is the model of a method that this one cannot start from.
        FormatError: if it is damaged.
    """
    from gsbench.bench.model_folder import BASE, CLOUD, read_model_info
    from gsbench.bench.own_models import describe_model, find_ply

    if not path.exists():
        raise UsageError(f"{path} does not exist; expected a .ply of 3D Gaussians, or a folder with one")
    if path.is_file():
        found = describe_model(path.name, path.absolute())
        return _Source(model=found, ply_bytes=found.bytes)
    info = read_model_info(path)
    cloud = path / CLOUD
    if info is not None and info.method == spec.name:
        base = None
        if spec.base is not None:
            if not (path / BASE).is_file():
                raise FormatError(f"{path / BASE} is missing; expected what the model was trained from")
            base = describe_model(path.name, (path / BASE).absolute())
        size = cloud.stat().st_size if cloud.is_file() else None
        return _Source(state=path.absolute(), base=base, rate=info.rate, config=info.config, ply_bytes=size)
    found_ply = find_ply(path)
    if found_ply is None and info is not None:
        raise UsageError(
            f"{path} is a model of method {info.method!r}, which is not made of plain Gaussians; only {info.method} "
            "encodes it"
        )
    if found_ply is None:
        raise UsageError(
            f"{path} has no model; expected {CLOUD} in it or in point_cloud/iteration_30000, or a .ply file"
        )
    found = describe_model(path.name, found_ply.absolute())
    return _Source(model=found, ply_bytes=found.bytes)


def _config(spec: MethodSpec, point: RatePoint, settings: tuple[str, ...], source: _Source) -> dict[str, Any]:
    """The settings to encode with.

    A model that the method trained keeps the settings of its training; those of encoding are the rate point's and the
    user's.

    Raises:
        UsageError: if a setting is unknown or wrong, or one of training is to be changed for a model that is trained.
    """
    from gsbench.bench.settings import encode_only_fields, resolve_config, split_setting, without_fields
    from gsbench.hooks import method_class

    texts = [split_setting(text, [spec.name])[1:] for text in settings]
    cls = method_class(spec.name).Config
    config = resolve_config(spec.name, cls, point.settings, texts)
    if source.config is None:
        return config
    free = encode_only_fields(cls)
    for field, _ in texts:
        if field not in free:
            raise UsageError(
                f"{spec.name}.{field} is a setting of training, and the model is trained already; "
                + (f"expected one of {', '.join(free)}" if free else "the method has no settings of encoding")
            )
    if without_fields(config, free).keys() != without_fields(source.config, free).keys():
        raise UsageError(f"the model was trained by another version of method {spec.name!r}, with other settings")
    return _merged(config, source.config, free)


def _merged(config: dict[str, Any], trained: dict[str, Any], free: list[str], prefix: str = "") -> dict[str, Any]:
    """`trained`, with the fields named by `free` taken from `config`."""
    made = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        inner = trained.get(key)
        if name in free or key not in trained:
            made[key] = value
        elif isinstance(value, dict) and isinstance(inner, dict):
            made[key] = _merged(value, inner, free, f"{name}.")
        else:
            made[key] = inner
    return made


def _report(
    method: str,
    point: RatePoint,
    model: Path,
    output: Path,
    source: _Source,
    encoded: Encoded,
    decoded: SealedResult | None,
    as_json: bool,
) -> None:
    if sum(encoded.sections.values()) != encoded.bytes:
        raise JobError(f"{output}: its sections have {sum(encoded.sections.values())} bytes, the file {encoded.bytes}")
    ratio = None if source.ply_bytes is None else source.ply_bytes / encoded.bytes
    if as_json:
        print_json(
            {
                "schema": ENCODE_SCHEMA,
                "method": method,
                "rate": point.name,
                "model": str(model),
                "output": str(output),
                "bytes": encoded.bytes,
                "sha256": encoded.sha256,
                "sections": encoded.sections,
                "ply_bytes": source.ply_bytes,
                "ratio": ratio,
                "seconds": {
                    "encode": encoded.seconds,
                    "decode": None if decoded is None else decoded.timing.decode_seconds,
                },
                "verified": decoded is not None,
                "gaussians": None if decoded is None else decoded.gaussians,
                "anchors": None if decoded is None else decoded.anchors,
                "decoded_sha256": None if decoded is None else decoded.decoded_sha256,
                "isolation": None if decoded is None else decoded.isolation,
            }
        )
        return
    line = f"{output}: {encoded.bytes:,} bytes, {megabytes(encoded.bytes)} MB"
    if ratio is not None and source.ply_bytes is not None:
        line += f", {100 / ratio:.3g} % of the .ply ({megabytes(source.ply_bytes)} MB, ratio {ratio:.3g})"
    click.echo(line)
    if decoded is not None:
        what = "" if decoded.gaussians is None else f" to {decoded.gaussians:,} Gaussians"
        click.echo(f"decodes{what} in {decoded.timing.decode_seconds:.2f} s, isolation {decoded.isolation}")
    rows = [Row([name, f"{n:,}", f"{100 * n / encoded.bytes:.1f} %"]) for name, n in encoded.sections.items()]
    columns = [Column("section", "<"), Column("bytes"), Column("share")]
    click.echo("\n" + text_table(columns, rows, table_width()))
    click.echo(f"\nNext:    gsbench render {shlex.quote(str(output))} --cameras path:/my/scene -o images")
