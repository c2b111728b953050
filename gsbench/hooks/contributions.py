"""Calling a plugin's hooks and checking what they return, before anything of it is registered."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pluggy

from gsbench import registry
from gsbench.errors import PluginError
from gsbench.hooks import hookspecs

if TYPE_CHECKING:
    from gsbench.registry import Registry

#: A hook that yields more than this is taken for one that never ends.
MAX_ITEMS: Final = 10_000

#: The names of all hooks.
HOOKS: Final = tuple(name for name in vars(hookspecs) if name.startswith("gsbench_"))


class Contribution(NamedTuple):
    """One thing that a plugin supplies: `value` is to be registered in `registry` under `name`."""

    registry: Registry[Any]
    name: str
    value: Any


def implementations(manager: pluggy.PluginManager, plugin: object) -> dict[str, list[pluggy.HookImpl]]:
    """The hook implementations of one registered plugin, by hook."""
    callers = manager.get_hookcallers(plugin) or []
    return {
        caller.name: [impl for impl in caller.get_hookimpls() if impl.plugin is plugin]
        for caller in sorted(callers, key=lambda caller: caller.name)
    }


def call(impl: pluggy.HookImpl, **arguments: Any) -> Any:
    """Call one implementation of one plugin with those arguments that it takes.

    Hooks are not called through pluggy's relay, where an error in one plugin keeps the others from being called.
    """
    return impl.function(*(arguments[name] for name in impl.argnames))


def check_implementations(plugin: object, found: dict[str, list[pluggy.HookImpl]]) -> None:
    """Refuse plugins whose hooks would silently do nothing.

    Raises:
        PluginError: for a hook that does not exist, a hook without its marker, wrappers, or no hook at all.
    """
    marked = {impl.function.__name__ for impls in found.values() for impl in impls}
    for name in dir(plugin):
        if name in HOOKS and name not in marked and callable(getattr(plugin, name)):
            raise PluginError(f"its {name} is not marked with @gsbench.hookimpl")
    for name, impls in found.items():
        if name not in HOOKS:
            raise PluginError(f"it implements an unknown hook {name!r}{registry.did_you_mean(name, list(HOOKS))}")
        if any(impl.hookwrapper or impl.wrapper for impl in impls):
            raise PluginError(f"its {name} is a hook wrapper, which gsbench does not support")
    if not found:
        raise PluginError("it implements none of the hooks in gsbench.hooks.hookspecs")


def collect(found: dict[str, list[pluggy.HookImpl]]) -> list[Contribution]:
    """Call the hooks that supply things and check every item.

    Raises:
        PluginError: if a hook raises, or returns something else than its specification says.
    """
    return [
        contribution
        for hook, convert in _CONVERTERS.items()
        for impl in found.get(hook, [])
        for contribution in _collect_one(hook, impl, convert)
    ]


def _collect_one(hook: str, impl: pluggy.HookImpl, convert: Callable[[Any], Contribution]) -> Iterable[Contribution]:
    try:
        returned = call(impl)
        if returned is None or isinstance(returned, str | bytes) or not isinstance(returned, Iterable):
            raise PluginError(f"expected an iterable, got {_describe(returned)}")
        items = list(itertools.islice(returned, MAX_ITEMS + 1))
        if len(items) > MAX_ITEMS:
            raise PluginError(f"expected at most {MAX_ITEMS} items")
        return [_named(convert(item)) for item in items]
    except PluginError as error:
        raise PluginError(f"{hook}: {error}") from error
    except (Exception, SystemExit) as error:
        raise PluginError(f"{hook} raised {type(error).__name__}: {error}") from error


def _named(contribution: Contribution) -> Contribution:
    if not (isinstance(contribution.name, str) and registry.NAME.fullmatch(contribution.name)):
        raise PluginError(
            f"{contribution.registry.kind} name {contribution.name!r}: expected letters, digits and . _ + -, "
            "beginning with a letter or digit"
        )
    return contribution


def _describe(value: object) -> str:
    return "None" if value is None else f"{type(value).__name__} {value!r:.80}"


def _method(item: Any) -> Contribution:
    from gsbench.methods import MethodSpec

    if not isinstance(item, MethodSpec):
        raise PluginError(f"expected gsbench.MethodSpec objects, got {_describe(item)}")
    return Contribution(registry.methods, item.name, item)


def _dataset(item: Any) -> Contribution:
    from gsbench.scenes import DatasetSpec

    if not isinstance(item, DatasetSpec):
        raise PluginError(f"expected gsbench.scenes.DatasetSpec objects, got {_describe(item)}")
    return Contribution(registry.scenes, item.name, item)


def _metric(item: Any) -> Contribution:
    from gsbench.metrics import MetricSpec
    from gsbench.protocols import Protocol

    if isinstance(item, MetricSpec):
        return Contribution(registry.metrics, item.name, item)
    if isinstance(item, Protocol):
        return Contribution(registry.protocols, item.id, item)
    raise PluginError(
        f"expected gsbench.metrics.MetricSpec or gsbench.protocols.Protocol objects, got {_describe(item)}"
    )


def _named_target(target_registry: Registry[Any]) -> Callable[[Any], Contribution]:
    def convert(item: Any) -> Contribution:
        if not (isinstance(item, tuple | list) and len(item) == 2 and isinstance(item[0], str)):
            raise PluginError(f"expected (name, 'package.module:Class') pairs, got {_describe(item)}")
        return Contribution(target_registry, item[0], registry.check_target(item[1]))

    return convert


_CONVERTERS: Final[dict[str, Callable[[Any], Contribution]]] = {
    "gsbench_methods": _method,
    "gsbench_scenes": _dataset,
    "gsbench_metrics": _metric,
    "gsbench_entropy_coders": _named_target(registry.entropy_coders),
    "gsbench_rasterizers": _named_target(registry.rasterizers),
    "gsbench_engines": _named_target(registry.engines),
}
