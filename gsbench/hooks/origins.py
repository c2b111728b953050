"""Where a method's code comes from: its class, its distribution, and a digest of that distribution's code."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import inspect
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from gsbench import registry
from gsbench.errors import PluginError
from gsbench.hooks.discovery import canonical_name
from gsbench.hooks.manager import load_plugins
from gsbench.methods import Method, MethodSpec, Model

#: Folders whose Python files do not take part in a result.
_IGNORED: Final = frozenset({"__pycache__", "tests", "test"})


def method_class(name: str) -> type[Method]:
    """The class that implements the method `name`; this imports the method's code, and most often torch.

    Raises:
        UsageError: if no plugin supplies a method of this name.
        PluginError: if its target does not import or is no complete `Method`; the message names the distribution.
    """
    load_plugins()
    entry = registry.methods.entry(name)
    spec: MethodSpec = entry.load()
    where = f"method {name!r} of {entry.origin}"
    try:
        cls = registry.resolve_target(spec.target)
    except PluginError as error:
        raise PluginError(f"{where}: {error}") from error
    if not (isinstance(cls, type) and issubclass(cls, Method)):
        raise PluginError(f"{where}: {spec.target} is not a subclass of gsbench.Method")
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(cls.__abstractmethods__))
        raise PluginError(f"{where}: {spec.target} does not implement {missing}")
    config = getattr(cls, "Config", None)
    if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        raise PluginError(f"{where}: {spec.target}.Config is not a dataclass")
    model = getattr(cls, "model_class", None)
    if not (isinstance(model, type) and issubclass(model, Model)):
        raise PluginError(f"{where}: {spec.target}.model_class is not a subclass of gsbench.Model")
    return cls


def method_origin(name: str) -> tuple[str, str]:
    """Name and version of the distribution that supplies the method `name`.

    Raises:
        UsageError: if no plugin supplies a method of this name.
        PluginError: if it was registered by something that is not installed as a distribution.
    """
    load_plugins()
    origin = registry.methods.entry(name).origin
    return origin, _distribution(origin).version


def distribution_digest(name: str) -> str:
    """SHA-256 (64 hex digits) over the Python files of an installed distribution.

    The files are hashed in the order of their names relative to the import root (``package/module.py``), each as
    name, size and content. The value is the same for a wheel and for an editable install of the same sources.
    Compiled files, metadata, ``tests`` folders and everything that is not Python do not count.

    Raises:
        PluginError: if the distribution is not installed or no Python file of it can be found or read.
    """
    files = distribution_files(name)
    digest = hashlib.sha256()
    for relative in sorted(files):
        try:
            content = files[relative].read_bytes()
        except OSError as error:
            raise PluginError(f"distribution {name!r}: {relative} cannot be read: {error}") from error
        digest.update(f"{relative}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def distribution_files(name: str) -> dict[str, Path]:
    """The Python files of an installed distribution, by name relative to the import root (``package/module.py``).

    Raises:
        PluginError: if the distribution is not installed or no Python file of it can be found.
    """
    distribution = _distribution(name)
    files = _recorded_files(distribution) or _package_files(distribution)
    if not files:
        raise PluginError(f"distribution {name!r}: none of its Python files can be found; reinstall it")
    return files


def _distribution(name: str) -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution(name)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        raise PluginError(f"distribution {name!r} is not installed") from None


def _counts(relative: PurePosixPath) -> bool:
    return relative.suffix == ".py" and ".." not in relative.parts and _IGNORED.isdisjoint(relative.parts)


def _recorded_files(distribution: importlib.metadata.Distribution) -> dict[str, Path]:
    """The Python files that a wheel's RECORD lists, by name relative to the import root; none for an editable
    install, whose RECORD holds only the import hook.
    """
    if distribution.read_text("RECORD") is None or _editable_root(distribution) is not None:
        return {}
    return {
        path.as_posix(): Path(str(distribution.locate_file(path)))
        for path in distribution.files or []
        if _counts(path) and not path.is_absolute()
    }


def _editable_root(distribution: importlib.metadata.Distribution) -> Path | None:
    """The source tree of an editable install (PEP 610), or None."""
    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        if origin.get("dir_info", {}).get("editable"):
            return Path(url2pathname(urlsplit(origin["url"]).path)).resolve()
    except (ValueError, AttributeError, KeyError, TypeError):
        pass  # metadata damaged by hand: treated as an ordinary install
    return None


def _package_files(distribution: importlib.metadata.Distribution) -> dict[str, Path]:
    """The Python files of the distribution's top-level modules, wherever its import hook finds them."""
    root = _editable_root(distribution)
    found: dict[str, Path] = {}
    for module in sorted(_top_level_modules(distribution)):
        locations = list(_locations(module))
        # A namespace package is spread over several distributions: only what lies in this one's tree is its own.
        own = [path for path in locations if root is not None and path.resolve().is_relative_to(root)]
        for location in own or locations:
            for path in [location] if location.is_file() else location.rglob("*.py"):
                relative = PurePosixPath(path.relative_to(location.parent).as_posix())
                if _counts(relative):
                    found.setdefault(relative.as_posix(), path)
    return found


def _top_level_modules(distribution: importlib.metadata.Distribution) -> set[str]:
    name = canonical_name(distribution.metadata["Name"])
    modules = set((distribution.read_text("top_level.txt") or "").split())
    modules |= {entry_point.module for entry_point in distribution.entry_points}
    for each in registry.ALL:
        for entry in each.entries():
            target = entry.value if isinstance(entry.value, str) else getattr(entry.value, "target", None)
            if canonical_name(entry.origin) == name and isinstance(target, str):
                modules.add(target.partition(":")[0])
    return {module.partition(".")[0] for module in modules if module}


def _locations(module: str) -> Iterator[Path]:
    """Folders of a top-level package, or the file of a top-level module. Imports nothing."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return
    if spec is None:
        return
    if spec.submodule_search_locations is not None:
        yield from (path for path in map(Path, spec.submodule_search_locations) if path.is_dir())
    elif spec.origin is not None and Path(spec.origin).is_file():
        yield Path(spec.origin)
