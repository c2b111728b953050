"""``gsbench doctor``: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
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


#: Where a failure leaves everything else working.
_NOT_ESSENTIAL: Final = frozenset({"plugin", "metric", "data set", "extra"})
#: Optional dependencies: extra -> (module, what it is for).
EXTRAS: Final = {
    "undistort": (("pycolmap",), "photos of lenses with distortion"),
    "video": (("imageio_ffmpeg",), "gsbench render -o video.mp4"),
    "plot": (("matplotlib",), "gsbench plot"),
    "interop": (("gsplat", "gsply"), "tests against other software"),
    "constriction": (("constriction",), "the entropy coder of this name"),
    "torchac": (("torchac", "ninja"), "the entropy coder of this name, which compiles itself at first"),
}
#: With less free space than this, not even the demo scene can be kept.
_LEAST_FREE: Final = 100_000_000
_IMPORT_SECONDS: Final = 120

#: Imports each module named by an argument, and says in a line of JSON each what came of it.
_IMPORTER: Final = """
import contextlib, importlib, json, os, sys
sys.path[:] = json.loads(sys.argv[1])
for name in sys.argv[2:]:
    problem = None
    with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
        try:
            importlib.import_module(name)
        except BaseException as error:
            problem = f"{type(error).__name__}: {error}"
    print(json.dumps([name, problem]), flush=True)
"""


@click.command("doctor", short_help="Say what works on this machine, and what to do about the rest.")
@click.option(
    "--compare-backends",
    is_flag=True,
    help="Draw a few scenes with every rasterizer of this machine, and print how far each is from the reference.",
)
@json_option
def command(as_json: bool, compare_backends: bool) -> int:
    """Say what works on this machine: versions, instruction sets, CUDA, rasterizers, coders, metrics and their weights,
    data sets, plugins, isolation, optional extras, the cache.

    Exit code 1 if something essential is broken; what is merely not there is fine.
    """
    if compare_backends:
        from gsbench.cli.compare_backends import report

        with without_warnings("gsbench"):
            return report(as_json)
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
    return 1 if any(check.status == "failed" and check.name not in _NOT_ESSENTIAL for check in checks) else 0


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
    from gsbench.bench.environment import cpu_model
    from gsbench.bench.memory import available_bytes, usable_cores

    free = available_bytes()
    memory = "" if free is None else f", {free / 2**30:.1f} GiB of memory free"
    cores = f"{usable_cores()} usable of {os.cpu_count()} cores"
    yield Check("processor", "ok", f"{cpu_model()}, {platform.machine()}, {cores}{memory}")


def _torch() -> Iterable[Check]:
    import torch

    yield Check("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")


def _native() -> Iterable[Check]:
    from gsbench import native

    yield Check("native library", "ok", f"build {native.build_id()}, {native.library_path()}")
    chosen = native.cpu_isa()
    usable = []
    try:
        for name in ("baseline", "avx2", "avx512"):
            with contextlib.suppress(ValueError):
                native.set_cpu_isa(name)
                usable.append(name)
    finally:
        native.set_cpu_isa(chosen)
    why = ", as GSBENCH_ISA says" if os.environ.get("GSBENCH_ISA", "auto") != "auto" else ""
    yield Check("instruction set", "ok", f"{chosen}{why}; usable here: {', '.join(usable)}")


def _cuda() -> Iterable[Check]:
    import torch

    yield _cuda_library()
    if not torch.cuda.is_available():
        build = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built without CUDA"
        yield Check("cuda", "missing", f"no device ({build})")
        return
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = properties.total_memory / 2**30
        yield Check("cuda", "ok", f"cuda:{index} {properties.name}, {memory:.1f} GiB, CUDA {torch.version.cuda}")


def _cuda_library() -> Check:
    """Whether gsbench has code for GPUs, and finds one to run it on; this needs no torch with CUDA."""
    from gsbench.native.cuda import cuda_library, cuda_library_path

    if cuda_library_path() is None:
        hint = "for GPUs, install it again where nvcc is on the PATH"
        return Check("cuda library", "missing", "gsbench-core was built without CUDA", hint)
    library = cuda_library()
    built = f"build {library.build_id()} for compute capabilities {library.targets.replace(',', ', ')}, {library.path}"
    count = library.device_count()
    if count == 0:
        return Check("cuda library", "ok", f"{built}; no device: {library.why_no_device()}")
    return Check("cuda library", "ok", f"{built}; devices: {count}")


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
    from gsbench.raster.backend import ON_GPU

    load_plugins()
    for name in registry.rasterizers:
        device = "cuda" if name in ON_GPU else "cpu"
        if device == "cuda" and not torch.cuda.is_available():
            yield Check("rasterizer", "missing", f"{name}: draws on CUDA devices, and torch finds none")
            continue
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
    """The metrics of a run, then the others."""
    from gsbench import registry
    from gsbench.hooks import load_plugins
    from gsbench.metrics import DEFAULT_METRICS, unavailable

    load_plugins()
    for name in dict.fromkeys([*DEFAULT_METRICS, *registry.metrics]):
        reason = unavailable(name)
        if reason is None:
            yield Check("metric", "ok", name)
        else:
            yield Check("metric", "missing", f"{name}: {reason}", "its column stays empty; everything else works")


def _data() -> Iterable[Check]:
    """The folder of the data sets, and how much of each is there."""
    from gsbench.fetch import data_root, dataset_folder, load_catalog
    from gsbench.scenes.datasets import FETCHED

    root = data_root()
    yield Check("data root", "ok", f"{root} ({_free(root)})" if root.is_dir() else f"{root} (not there yet)")
    catalog = load_catalog()
    for spec in FETCHED:
        there = [scene for scene in spec.scenes if dataset_folder(spec.name, scene).is_dir()]
        detail = f"{spec.name}: {len(there)} of {len(spec.scenes)} scenes"
        if len(there) == len(spec.scenes):
            yield Check("data set", "ok", detail)
            continue
        known = catalog.datasets.get(spec.name)
        hint = f"gsbench fetch {spec.name}"
        if known is not None and known.manual:
            hint = f"place it by hand: {known.manual}"
        if there:
            yield Check("data set", "ok", f"{detail} ({', '.join(there)})", hint)
        else:
            yield Check("data set", "missing", detail, hint)


def _extras() -> Iterable[Check]:
    """Whether optional dependencies import, in a process of their own: a crash there is none here."""
    modules = [module for names, _ in EXTRAS.values() for module in names]
    found = _imports([module for module in modules if importlib.util.find_spec(module) is not None])
    for extra, (names, purpose) in EXTRAS.items():
        absent = [name for name in names if name not in found]
        broken = [f"{name}: {found[name]}" for name in names if found.get(name) is not None]
        if broken:
            yield Check("extra", "failed", f"{extra}: {'; '.join(broken)}", "reinstall it")
        elif absent:
            detail = f"{extra}: {', '.join(absent)} not installed; for {purpose}"
            yield Check("extra", "missing", detail, f"pip install 'gsbench-core[{extra}]'")
        else:
            yield Check("extra", "ok", f"{extra}: {', '.join(names)}; for {purpose}{_ffmpeg(extra)}")


def _imports(modules: Sequence[str]) -> dict[str, str | None]:
    """Module -> why it does not import, None if it does."""
    command = [sys.executable, "-c", _IMPORTER, json.dumps([entry or str(Path.cwd()) for entry in sys.path])]
    try:
        done = subprocess.run([*command, *modules], capture_output=True, text=True, timeout=_IMPORT_SECONDS)
        lines, ended = done.stdout.splitlines(), f"importing it ended Python with status {done.returncode}"
    except subprocess.TimeoutExpired:
        lines, ended = [], f"importing takes more than {_IMPORT_SECONDS} s"
    told: dict[str, str | None] = dict(json.loads(line) for line in lines if line.startswith('["'))  # else a child's
    return {module: told.get(module, ended) for module in modules}


def _ffmpeg(extra: str) -> str:
    if extra != "video":
        return ""
    from gsbench.formats.video import find_ffmpeg

    return f", by {find_ffmpeg()}"


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
    """What keeps decoders from everything but their artifact; the audit hook is part of Python."""
    from gsbench.bench.isolation import ISOLATION_VARIABLE, choose_isolation
    from gsbench.bench.sealed import namespaces_unavailable
    from gsbench.native.linux import landlock_version

    forced = f", as {ISOLATION_VARIABLE} says" if os.environ.get(ISOLATION_VARIABLE) else ""
    yield Check("isolation", "ok", f"decoders run under {choose_isolation()}{forced}; records say so")
    reason = namespaces_unavailable()
    if reason is None:
        yield Check("isolation", "ok", "namespaces: user, mount, network, PID and IPC")
    else:
        yield Check("isolation", "missing", f"namespaces: {reason}")
    version = landlock_version() if sys.platform.startswith("linux") else 0
    if version:
        yield Check("isolation", "ok", f"Landlock: version {version}")
    else:
        yield Check(
            "isolation", "missing", "Landlock: the kernel has none; native code is then watched by nothing else"
        )
    yield Check("isolation", "ok", "audit hook: always there")


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
        low = shutil.disk_usage(folder).free < _LEAST_FREE
        hint = "make room, or set GSBENCH_CACHE to a folder that has it" if low else ""
        yield Check("cache", "failed" if low else "ok", f"{folder} ({_free(folder)})", hint)


def _free(folder: Path) -> str:
    return f"{shutil.disk_usage(folder).free / 1e9:.1f} GB free"


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
    "extra": _extras,
    "data root": _data,
    "cache": _cache,
}
