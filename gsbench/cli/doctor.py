"""``gsbench doctor``: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import click

from gsbench import __version__
from gsbench.cli.output import json_option, print_json, table_width, without_warnings
from gsbench.cli.tables import Column, Row, text_table

DOCTOR_SCHEMA: Final = "gsbench.doctor/1"

#: ok: it works. missing: it is not there, and gsbench works without it. failed: it is there, or must be, and is broken.
Status = Literal["ok", "missing", "failed"]

_COLORS: Final = {"ok": "green", "missing": "yellow", "failed": "red"}


@dataclass(frozen=True)
class Check:
    """One line of the report; `hint` says what to do where the status is not ok."""

    name: str
    status: Status
    detail: str
    hint: str = ""


@click.command("doctor", short_help="Say what works on this machine, and what to do about the rest.")
@json_option
def command(as_json: bool) -> int:
    """Say what works on this machine: backends, CUDA, LPIPS weights, coders, plugins.

    Exit code 1 if something is broken; what is merely not there is fine.
    """
    with without_warnings("gsbench"):
        checks = run_checks()
    if as_json:
        print_json({"schema": DOCTOR_SCHEMA, "checks": [asdict(check) for check in checks]})
    else:
        rows = []
        for check in checks:
            color = None if check.status == "ok" else _COLORS[check.status]
            rows.append(Row([check.name, check.status, check.detail], color))
            if check.hint:
                rows.append(Row(["", "", f"-> {check.hint}"], color))
        columns = [Column("check", "<"), Column("status", "<"), Column("detail", "<"), Column("", "<")]
        click.echo(text_table(columns, rows, table_width()))
    return 1 if any(check.status == "failed" for check in checks) else 0


def run_checks() -> list[Check]:
    """All checks. One that raises is a failed line, never an error."""
    checks: list[Check] = []
    for name, function in _CHECKS.items():
        try:
            checks += function()
        except (Exception, SystemExit) as error:
            checks.append(Check(name, "failed", f"{type(error).__name__}: {error}"))
    return checks


def _python() -> Iterable[Check]:
    yield Check("python", "ok", f"{platform.python_version()}, {sys.executable}")


def _gsbench() -> Iterable[Check]:
    import gsbench

    where = Path(gsbench.__file__).parent
    try:
        installed = importlib.metadata.version("gsbench-core")
    except importlib.metadata.PackageNotFoundError:
        hint = "install it: pip install -c constraints.txt . ./plugins/*"
        yield Check("gsbench", "failed", f"{__version__} in {where}, but gsbench-core is not installed", hint)
        return
    if installed != __version__:
        detail = f"sources {__version__} in {where}, installed gsbench-core {installed}"
        yield Check("gsbench", "failed", detail, "install again: the native library is of another version")
        return
    yield Check("gsbench", "ok", f"{installed}, {where}")


def _packages() -> Iterable[Check]:
    """What gsbench-core requires, extras aside."""
    texts = [text for text in importlib.metadata.requires("gsbench-core") or [] if "extra ==" not in text]
    names = [match[0] for text in texts if (match := re.match(r"[A-Za-z0-9._-]+", text))]
    found, lacking = [], []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            lacking.append(name)
    if lacking:
        yield Check("packages", "failed", f"not installed: {', '.join(lacking)}", f"pip install {' '.join(lacking)}")
    else:
        yield Check("packages", "ok", ", ".join(found))


def _processor() -> Iterable[Check]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Check("processor", "ok", f"{usable} usable of {os.cpu_count()} cores, {platform.machine()}")


def _torch() -> Iterable[Check]:
    import torch

    yield Check("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")


def _native() -> Iterable[Check]:
    from gsbench import native

    yield Check("native library", "ok", f"build {native.build_id()}, {native.cpu_isa()}, {native.library_path()}")


def _cuda() -> Iterable[Check]:
    import torch

    if not torch.cuda.is_available():
        build = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built without CUDA"
        yield Check("cuda", "missing", f"no device ({build})")
        return
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = properties.total_memory / 2**30
        yield Check("cuda", "ok", f"cuda:{index} {properties.name}, {memory:.1f} GiB, CUDA {torch.version.cuda}")


def _plugins() -> Iterable[Check]:
    from gsbench.hooks import load_plugins

    for row in load_plugins():
        detail = f"{row.label} {row.version}"
        if row.methods:
            detail += f": methods {', '.join(row.methods)}"
        if row.status == "failed":
            yield Check("plugin", "failed", f"{detail}: {row.reason}", "reinstall the plugin, or uninstall it")
        elif row.status == "disabled":
            yield Check("plugin", "missing", f"{detail}: {row.reason}")
        else:
            yield Check("plugin", "ok", detail, "; ".join(row.warnings))


def _rasterizers() -> Iterable[Check]:
    """Each backend that is registered draws one Gaussian, or says why it cannot."""
    import torch

    from gsbench import registry
    from gsbench.hooks import load_plugins
    from gsbench.raster import rasterization

    load_plugins()
    for name in registry.rasterizers:
        device = "cuda" if name == "cuda" else "cpu"
        try:
            colors, _, _ = rasterization(
                means=torch.tensor([[0.0, 0.0, 2.0]], device=device),
                quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]], device=device),
                scales=torch.full((1, 3), 0.1, device=device),
                opacities=torch.tensor([0.9], device=device),
                colors=torch.ones(1, 3, device=device),
                viewmats=torch.eye(4, device=device)[None],
                Ks=torch.tensor([[[16.0, 0.0, 8.0], [0.0, 16.0, 8.0], [0.0, 0.0, 1.0]]], device=device),
                width=16,
                height=16,
                backend=name,
            )
        except (NotImplementedError, ImportError) as error:
            yield Check("rasterizer", "missing", f"{name}: {error}")
            continue
        except Exception as error:
            yield Check("rasterizer", "failed", f"{name}: {type(error).__name__}: {error}")
            continue
        brightest = float(colors.max())
        drawn = 0.5 < brightest <= 0.99
        yield Check("rasterizer", "ok" if drawn else "failed", f"{name}: one Gaussian peaks at {brightest:.3f}")


def _metrics() -> Iterable[Check]:
    from gsbench.metrics import DEFAULT_METRICS, unavailable

    for name in DEFAULT_METRICS:
        reason = unavailable(name)
        if reason is None:
            yield Check("metric", "ok", name)
        else:
            yield Check("metric", "missing", f"{name}: {reason}", "its column stays empty; everything else works")


def _coders() -> Iterable[Check]:
    from gsbench import registry
    from gsbench.hooks import load_plugins

    load_plugins()
    if not len(registry.entropy_coders):
        yield Check("entropy coder", "missing", "none is registered; no installed method needs one")
    for entry in registry.entropy_coders.entries():
        try:
            entry.load()
        except Exception as error:
            yield Check("entropy coder", "failed", f"{entry.name} ({entry.origin}): {error}")
        else:
            yield Check("entropy coder", "ok", f"{entry.name} ({entry.origin})")


def _isolation() -> Iterable[Check]:
    from gsbench.bench.sealed import namespaces_unavailable

    reason = namespaces_unavailable()
    if reason is None:
        yield Check("isolation", "ok", "decoding runs in user and network namespaces")
    else:
        detail = f"no namespaces ({reason}); decoding is watched by an audit hook instead, and records say so"
        yield Check("isolation", "missing", detail)


def _cache() -> Iterable[Check]:
    from gsbench.scenes.demo_cache import cache_root

    folder = cache_root()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        yield Check("cache", "failed", f"{folder}: {error.strerror}", "set GSBENCH_CACHE to a folder you can write to")
    else:
        yield Check("cache", "ok", str(folder))


_CHECKS: Final[dict[str, Callable[[], Iterable[Check]]]] = {
    "python": _python,
    "gsbench": _gsbench,
    "packages": _packages,
    "processor": _processor,
    "torch": _torch,
    "native library": _native,
    "rasterizer": _rasterizers,
    "cuda": _cuda,
    "isolation": _isolation,
    "metric": _metrics,
    "entropy coder": _coders,
    "plugin": _plugins,
    "cache": _cache,
}
