"""`PluginStatus`: one row of ``gsbench plugins``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from gsbench.methods import MethodSpec

#: "disabled" is said of plugins that the environment variable GSBENCH_DISABLE_PLUGINS names.
Status = Literal["ok", "failed", "disabled"]


@dataclass
class PluginStatus:
    """What became of one plugin: one entry point of the group ``gsbench``, or the core itself.

    Fields:
        distribution, version: the installed distribution that brought it.
        module: the module (or ``module:attribute``) that the entry point names.
        entry_point: name of the entry point, "" for the core.
        status: "ok", "failed" (nothing of it is registered) or "disabled" (it was not even imported).
        reason: why it is not "ok", else None.
        methods, scenes, metrics, protocols, entropy_coders, rasterizers, engines: the names it registered.
        hooks: the hooks it implements.
        warnings: what is wrong with it without being fatal.
        specs: the methods in full.
    """

    distribution: str
    version: str
    module: str
    entry_point: str
    status: Status = "ok"
    reason: str | None = None
    methods: list[str] = field(default_factory=list)
    scenes: list[str] = field(default_factory=list)
    metrics: list[str] = field(default_factory=list)
    protocols: list[str] = field(default_factory=list)
    entropy_coders: list[str] = field(default_factory=list)
    rasterizers: list[str] = field(default_factory=list)
    engines: list[str] = field(default_factory=list)
    hooks: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    specs: list[MethodSpec] = field(default_factory=list, repr=False)

    @property
    def label(self) -> str:
        """How messages name the plugin: the distribution, and the entry point where it is called otherwise."""
        if self.entry_point in ("", self.distribution):
            return self.distribution
        return f"{self.distribution} ({self.entry_point})"

    def method_rows(self) -> list[dict[str, Any]]:
        """The methods as plain values: name, summary, kind, base, rates, default_rate, suffix, paper, pretrained."""
        return [_method_row(spec) for spec in self.specs]

    def to_json(self) -> dict[str, Any]:
        """The row as plain values, for ``gsbench plugins --json``."""
        return {
            "distribution": self.distribution,
            "version": self.version,
            "module": self.module,
            "entry_point": self.entry_point,
            "status": self.status,
            "reason": self.reason,
            "methods": self.method_rows(),
            "scenes": list(self.scenes),
            "metrics": list(self.metrics),
            "protocols": list(self.protocols),
            "entropy_coders": list(self.entropy_coders),
            "rasterizers": list(self.rasterizers),
            "engines": list(self.engines),
            "hooks": list(self.hooks),
            "warnings": list(self.warnings),
        }


def _method_row(spec: MethodSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "summary": spec.summary,
        "kind": spec.kind,
        "base": spec.base,
        "rates": [{"name": rate.name, "settings": dict(rate.settings)} for rate in spec.rates],
        "default_rate": spec.rate("default").name,
        "suffix": spec.suffix,
        "paper": spec.paper,
        "pretrained": list(spec.pretrained),
    }
