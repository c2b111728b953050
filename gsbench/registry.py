"""Names to things: rasterizers, entropy coders, metrics, engines, methods, scenes.

The registries are empty at import. `gsbench.hooks` fills them from the core and from the installed plugins; a
library user who needs no plugin can fill them alone. An entry may be the object itself or a lazy target
``"package.module:Name"``, so that listing names imports nothing heavy.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from gsbench.errors import PluginError, UsageError

T = TypeVar("T")

#: What names typed on command lines and used as parts of paths look like; `gsbench.hooks` holds plugins to it.
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_TARGET: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def did_you_mean(name: str, known: list[str]) -> str:
    """The end of an error message: the nearest known names, or all of them if there are few."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"; did you mean {' or '.join(repr(c) for c in close)}?"
    if known and len(known) <= 12:
        return f"; known: {', '.join(sorted(known))}"
    return ""


def check_target(target: object) -> str:
    """`target` itself, if it has the form ``"package.module:Name"``; nothing is imported.

    Raises:
        PluginError: if it has not.
    """
    if not (isinstance(target, str) and _TARGET.fullmatch(target)):
        raise PluginError(f"target {target!r} is not of the form 'package.module:Name'")
    return target


def resolve_target(target: str) -> Any:
    """Import ``"package.module:Name"`` and return the named attribute.

    Raises:
        PluginError: if the target is malformed or does not import.
    """
    module_name, _, attribute = check_target(target).partition(":")
    try:
        value: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            value = getattr(value, part)
    except Exception as error:
        raise PluginError(f"target {target!r} cannot be imported: {type(error).__name__}: {error}") from error
    return value


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A registered name, its value (or lazy target) and the distribution that registered it."""

    name: str
    value: T | str
    origin: str

    def load(self) -> T:
        """The value, imported if it was given as a ``"module:Name"`` target."""
        if isinstance(self.value, str):
            loaded: T = resolve_target(self.value)
            return loaded
        return self.value


class Registry(Generic[T]):
    """A mapping from names to values that refuses duplicates and helps with misspelled names."""

    def __init__(self, kind: str) -> None:
        self.kind: Final = kind
        #: Ends the message about an unknown name; says, for one, that a plugin did not load.
        self.note: str = ""
        self._entries: dict[str, Entry[T]] = {}

    def register(self, name: str, value: T | str, origin: str = "gsbench-core") -> None:
        """Register `value`, or a lazy target that leads to it, under `name`.

        Raises:
            PluginError: if the name is taken; the message names both distributions.
        """
        existing = self._entries.get(name)
        if existing is not None:
            raise PluginError(f"{self.kind} {name!r} of {origin} is already registered by {existing.origin}")
        self._entries[name] = Entry(name, value, origin)

    def unregister(self, name: str) -> None:
        """Remove the entry of `name`, if there is one."""
        self._entries.pop(name, None)

    def unregister_origin(self, origin: str) -> None:
        """Remove everything that the distribution `origin` registered."""
        self._entries = {n: e for n, e in self._entries.items() if e.origin != origin}

    def entry(self, name: str) -> Entry[T]:
        """The entry of `name`.

        Raises:
            UsageError: if nothing of this name is registered; similar names are suggested.
        """
        try:
            return self._entries[name]
        except KeyError:
            hint = did_you_mean(name, list(self._entries)) if self._entries else "; none is registered"
            raise UsageError(f"unknown {self.kind} {name!r}{hint}{self.note}") from None

    def get(self, name: str) -> T:
        """The value registered under `name`, imported if it is lazy. Raises as `entry` does."""
        return self.entry(name).load()

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def entries(self) -> list[Entry[T]]:
        """All entries, by name."""
        return [self._entries[n] for n in sorted(self._entries)]


# The values' types live in higher layers, which annotate what they take out.
rasterizers: Final[Registry[Any]] = Registry("rasterizer")
entropy_coders: Final[Registry[Any]] = Registry("entropy coder")
metrics: Final[Registry[Any]] = Registry("metric")
protocols: Final[Registry[Any]] = Registry("protocol")
engines: Final[Registry[Any]] = Registry("engine")
methods: Final[Registry[Any]] = Registry("method")
scenes: Final[Registry[Any]] = Registry("data set")

ALL: Final[tuple[Registry[Any], ...]] = (
    rasterizers,
    entropy_coders,
    metrics,
    protocols,
    engines,
    methods,
    scenes,
)
