"""`KnownMethods`: what a planner asks about methods, wherever they are installed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gsbench import registry
from gsbench.bench.elsewhere import describe, find_python, this_interpreter
from gsbench.bench.model import Interpreter
from gsbench.bench.settings import encode_only_fields, resolve_config
from gsbench.errors import PluginError, UsageError
from gsbench.hooks import method_class
from gsbench.methods import MethodSpec, RatePoint


@dataclass(frozen=True)
class _Elsewhere:
    """A method of another interpreter, as that one describes it."""

    spec: MethodSpec
    distribution: str
    interpreter: Interpreter
    configs: Mapping[str, dict[str, Any]]
    encode_fields: list[str]


class KnownMethods:
    """The methods of this interpreter, and those of others that a run names.

    Args:
        envs: method -> the environment that it is installed in, as the user gave it.
        settings: ``METHOD.field=value`` of the run.

    Raises:
        UsageError, PluginError: if an environment has no gsbench of this version, or not its method.
    """

    def __init__(self, envs: Mapping[str, Path], settings: Sequence[str]) -> None:
        self._settings = list(settings)
        self._elsewhere: dict[str, _Elsewhere] = {}
        for method, place in envs.items():
            self._add(method, find_python(method, place))

    def _add(self, method: str, python: Path) -> None:
        texts = [text for text in self._settings if text.startswith(f"{method}.")]
        found = describe(method, python, texts)
        fields = dict(found["spec"])
        fields["rates"] = tuple(RatePoint(rate["name"], rate["settings"]) for rate in fields["rates"])
        fields["pretrained"] = tuple(fields["pretrained"])
        self._elsewhere[method] = _Elsewhere(
            MethodSpec(**fields),
            found["distribution"],
            Interpreter(python=python, prefix=found["prefix"]),
            found["configs"],
            found["encode_fields"],
        )

    def spec(self, name: str) -> MethodSpec:
        """The method `name`.

        Raises:
            UsageError: if it is installed nowhere that is known.
        """
        if name in self._elsewhere:
            return self._elsewhere[name].spec
        spec: MethodSpec = registry.methods.get(name)
        return spec

    def distribution(self, name: str) -> str:
        """The distribution that supplies the method."""
        return self._elsewhere[name].distribution if name in self._elsewhere else registry.methods.entry(name).origin

    def interpreter(self, name: str) -> Interpreter | None:
        """What the method's jobs run under, None for this interpreter."""
        return self._elsewhere[name].interpreter if name in self._elsewhere else None

    def base_interpreter(self, base: str, method: str) -> Interpreter | None:
        """As `interpreter`, said for the jobs of `method`, which may run under another one."""
        own = self.interpreter(base)
        if own is None and self.interpreter(method) is not None:
            return this_interpreter()
        return own

    def config(
        self, spec: MethodSpec, rate: RatePoint, texts: Sequence[tuple[str, str]]
    ) -> tuple[dict[str, Any], list[str]]:
        """The resolved Config of a method at a rate point with the user's settings, and its encode-only fields."""
        if spec.name in self._elsewhere:
            other = self._elsewhere[spec.name]
            return dict(other.configs[rate.name]), list(other.encode_fields)
        cls = method_class(spec.name).Config
        return resolve_config(spec.name, cls, rate.settings, texts), encode_only_fields(cls)

    def bases(self, methods: Iterable[MethodSpec]) -> list[MethodSpec]:
        """The bases of the methods, and theirs. One that is not installed here is looked for beside its method.

        Raises:
            UsageError: if one is not installed.
            PluginError: if they go in a circle.
        """
        found: dict[str, MethodSpec] = {}
        for spec in methods:
            chain = [spec.name]
            while spec.base is not None:
                if spec.base in chain:
                    raise PluginError(
                        f"the bases of method {chain[0]!r} go in a circle: {' -> '.join([*chain, spec.base])}"
                    )
                if spec.base not in self._elsewhere and spec.base not in registry.methods:
                    beside = self.interpreter(spec.name)
                    if beside is None:
                        raise UsageError(
                            f"method {spec.name!r} needs the base {spec.base!r}, which no installed plugin supplies"
                        )
                    self._add(spec.base, beside.python)
                chain.append(spec.base)
                spec = found[spec.base] = self.spec(spec.base)
        return list(found.values())

    def require_used(self, methods: Iterable[str]) -> None:
        """Refuse environments of methods that are no part of the run.

        Raises:
            UsageError: naming the first.
        """
        used = set(methods)
        for name in self._elsewhere:
            if name not in used:
                raise UsageError(f"--env {name}=...: method {name!r} is not part of this run")
