"""`MethodSpec`: what is known of a method without importing it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from gsbench.errors import PluginError, UsageError
from gsbench.registry import check_target, did_you_mean

Kind = Literal["trained", "post", "format"]

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._+-]*")
_SUFFIX: Final = re.compile(r"(\.[a-z0-9]+)+")


@dataclass(frozen=True)
class RatePoint:
    """A named operating point: the settings of the method's Config that produce it."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MethodSpec:
    """A method as a plugin announces it. Listing methods imports neither torch nor the method's code.

    Fields:
        name: lower case, as typed after ``--methods``.
        target: ``"package.module:Class"``, a subclass of `gsbench.methods.Method`.
        summary: one line.
        paper: title or address of the publication, "" if there is none.
        kind: "trained" (fits a model to photos), "post" (compresses a model of `base`), "format" (a file format).
        base: the method whose decoded artifact arrives as `Context.base`, or None.
        rates: the rate points, lowest rate first; at least one.
        default_rate: name of the one that runs when ``--rates`` is not given; the first if empty.
        suffix: of the artifact file: ".gsb" for the container, another for native formats.
        pretrained: package data that serves all scenes and takes part in decoding (``"package:path"``); marks
            results as `pretrained`.

    Raises:
        PluginError: if a field is malformed.
    """

    name: str
    target: str
    summary: str
    paper: str = ""
    kind: Kind = "trained"
    base: str | None = None
    rates: tuple[RatePoint, ...] = (RatePoint("default"),)
    default_rate: str = ""
    suffix: str = ".gsb"
    pretrained: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise PluginError(f"method name {self.name!r}: expected lower-case letters, digits and . _ + -")
        check_target(self.target)
        if self.kind not in get_args(Kind):
            raise PluginError(f"method {self.name!r}: kind {self.kind!r} is not one of {', '.join(get_args(Kind))}")
        if self.base == self.name:
            raise PluginError(f"method {self.name!r} cannot be its own base")
        names = [r.name for r in self.rates]
        if not names or len(set(names)) != len(names):
            raise PluginError(f"method {self.name!r}: rate points must be there and differ by name, got {names}")
        for name in names:
            if not _NAME.fullmatch(name) or (name in ("all", "default") and len(names) > 1):
                raise PluginError(f"method {self.name!r}: {name!r} cannot name one of several rate points")
        for name in names:
            # Records of seeds above 0 are called <rate>.<seed>.json.
            stem, _, seed = name.rpartition(".")
            if stem in names and re.fullmatch(r"[1-9]\d*", seed):
                raise PluginError(
                    f"method {self.name!r}: rate point {name!r} has the file name of seed {seed} of rate point {stem!r}"
                )
        if self.default_rate and self.default_rate not in names:
            raise PluginError(f"method {self.name!r}: default_rate {self.default_rate!r} is not one of {names}")
        if not _SUFFIX.fullmatch(self.suffix):
            raise PluginError(f"method {self.name!r}: suffix {self.suffix!r} does not look like '.gsb'")

    def rate(self, name: str) -> RatePoint:
        """The rate point called `name`; "default" is the default one.

        Raises:
            UsageError: if there is none.
        """
        if name == "default":
            name = self.default_rate or self.rates[0].name
        for rate in self.rates:
            if rate.name == name:
                return rate
        hint = did_you_mean(name, [r.name for r in self.rates])
        raise UsageError(f"method {self.name!r} has no rate point {name!r}{hint}")
