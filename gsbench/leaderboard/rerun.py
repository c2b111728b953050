"""The command that repeats a result, and the scene options that a protocol's id stands for."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gsbench import registry
from gsbench.errors import GsbenchError
from gsbench.protocols import Protocol
from gsbench.records import ProtocolInfo, Record
from gsbench.scenes.spec import PATH_DATASET, DatasetSpec


@dataclass(frozen=True)
class ProtocolOptions:
    """Options of the command line that lead to a protocol.

    Fields:
        protocol: id of a registered protocol.
        images, downscale, max_width, background: see `gsbench.scenes.SceneOptions`.
    """

    protocol: str
    images: str | None = None
    downscale: float | None = None
    max_width: int | None = None
    background: tuple[float, float, float] | None = None

    def arguments(self, default: str | None) -> list[str]:
        """The options as one types them; the protocol is left out where it is the data set's own (`default`)."""
        found = [] if self.protocol == default else ["--protocol", self.protocol]
        if self.images is not None:
            found += ["--images", self.images]
        if self.downscale is not None:
            found += ["--downscale", f"{self.downscale:g}"]
        if self.max_width is not None:
            found += ["--max-width", str(self.max_width)]
        if self.background is not None:
            found += ["--background", ",".join(f"{part:g}" for part in self.background)]
        return found


def protocol_options(info: ProtocolInfo) -> ProtocolOptions | None:
    """The options whose protocol has this id and hash (``gs1600+w800``), None where there are none: a protocol of a
    plugin that is not installed, or a folder of photos whose name the id does not give back.
    """
    for known in sorted(registry.protocols, key=len, reverse=True):
        if info.id == known or info.id.startswith(f"{known}+"):
            found = _from_marks(known, info.id[len(known) :].split("+")[1:])
            if found is not None and _leads_to(found, info):
                return found
    return None


def _from_marks(protocol: str, marks: Sequence[str]) -> ProtocolOptions | None:
    """What `Protocol.with_overrides` marked."""
    values: dict[str, Any] = {}
    for mark in marks:
        if mark == "undistorted":
            continue  # follows from the scene
        if match := re.fullmatch(r"w([0-9]+)", mark):
            values["max_width"] = int(match[1])
        elif match := re.fullmatch(r"d([0-9.]+)", mark):
            values["downscale"] = float(match[1])
        elif match := re.fullmatch(r"bg([0-9.e]+)-([0-9.e]+)-([0-9.e]+)", mark):
            values["background"] = tuple(float(part) for part in match.groups())
        elif "images" not in values:
            values["images"] = mark
        else:
            return None
    return ProtocolOptions(protocol, **values)


def _leads_to(options: ProtocolOptions, info: ProtocolInfo) -> bool:
    base: Protocol = registry.protocols.get(options.protocol)
    try:
        made = base.with_overrides(
            images=options.images,
            downscale=options.downscale,
            max_width=options.max_width,
            background=options.background,
        )
    except GsbenchError:
        return False
    if "undistorted" in info.id.split("+"):
        made = made.with_undistortion()
    return (made.id, made.hash) == (info.id, info.hash)


def rerun_command(records: Sequence[Record]) -> str:
    """``gsbench run ...``: repeats these records, which are of one method and data set and share their settings.

    Settings that differ from those of the rate point are spelled out where the method's plugin is installed, and all
    of them where it is not.

    Raises:
        ValueError: if there is no record.
    """
    if not records:
        raise ValueError("no records")
    first = records[0]
    dataset, method = first.dataset, first.method
    spec: DatasetSpec | None = registry.scenes.get(dataset) if dataset in registry.scenes else None
    present = sorted({record.scene for record in records})
    words = ["gsbench", "run", "--methods", method, "--scenes", _scenes(dataset, present, spec)]
    rates = _in_order(record.rate for record in records)
    if rates != ["default"]:
        words += ["--rates", ",".join(rates)]
    seeds = sorted({record.seed for record in records})
    if seeds != [0]:
        words += ["--seeds", ",".join(map(str, seeds))]
    if first.iterations is not None and not _own_iterations(first, spec):
        words += ["--iterations", str(first.iterations)]
    options = protocol_options(first.protocol)
    if options is not None:
        words += options.arguments(None if spec is None else spec.protocol.id)
    if first.base is not None and first.base.own:
        words += ["--base", first.base.name]
    for name, value in sorted(_settings(first, spec).items()):
        words += ["--set", f"{method}.{name}={value}"]
    return shlex.join(words)


def _scenes(dataset: str, scenes: Sequence[str], spec: DatasetSpec | None) -> str:
    if dataset == PATH_DATASET:
        return ",".join(f"path:{scene}" for scene in scenes)
    if spec is not None and set(scenes) == set(spec.scenes):
        return dataset
    return ",".join(f"{dataset}/{scene}" for scene in scenes)


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _own_iterations(record: Record, spec: DatasetSpec | None) -> bool:
    """Whether a run without ``--iterations`` takes this number of steps."""
    if spec is not None and spec.iterations is not None:
        return record.iterations == spec.iterations
    return record.config.get("iterations") == record.iterations


def _settings(record: Record, spec: DatasetSpec | None) -> dict[str, str]:
    """Dotted name -> text of the settings that the rate point does not already have."""
    defaults: Mapping[str, Any] = {}
    if record.method in registry.methods:
        from gsbench.bench.settings import resolve_config
        from gsbench.hooks import method_class

        try:
            known = registry.methods.get(record.method)
            defaults = resolve_config(
                record.method, method_class(known.name).Config, known.rate(record.rate).settings, []
            )
        except GsbenchError:
            defaults = {}
    flat, own = _flat(record.config), _flat(defaults)
    return {name: _text(value) for name, value in flat.items() if name not in own or own[name] != value}


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def _text(value: Any) -> str:
    """A setting as `gsbench.bench.settings.parse_value` reads it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(_text(item) for item in value)
    return str(value)
