"""Loading plugins so that none of them can take the tool down, and calling their hooks one by one."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import pluggy

from gsbench import __version__, registry
from gsbench.errors import PluginError
from gsbench.hooks import core, discovery, hookspecs
from gsbench.hooks.contributions import (
    Contribution,
    call,
    check_implementations,
    collect,
    implementations,
)
from gsbench.hooks.discovery import Candidate
from gsbench.hooks.status import PluginStatus

if TYPE_CHECKING:
    import click

    from gsbench.records import Record

_log = logging.getLogger("gsbench.hooks")

#: Name under which the core registers what it supplies.
CORE: Final = "gsbench-core"

#: What a plugin may raise without stopping gsbench. A keyboard interrupt still does.
_PLUGIN_ERRORS: Final = (Exception, SystemExit)

#: A plugin that takes longer than this to load is named.
PATIENCE_SECONDS: Final = 10.0

#: PluginStatus field of each registry.
_FIELDS: Final = {
    registry.methods.kind: "methods",
    registry.scenes.kind: "scenes",
    registry.metrics.kind: "metrics",
    registry.protocols.kind: "protocols",
    registry.entropy_coders.kind: "entropy_coders",
    registry.rasterizers.kind: "rasterizers",
    registry.engines.kind: "engines",
}


class _Plugins:
    """The plugins of this process: their rows, and what each put into the registries."""

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.rows: list[PluginStatus] = []
        self.registered: list[Contribution] = []
        self._objects: dict[int, object] = {}  # by position in `rows`

    def load_core(self) -> None:
        """Register what the core supplies. An error here is a bug of ours and is not caught."""
        row = PluginStatus(CORE, __version__, core.__name__, "")
        self._adopt(row, core)
        self.rows.append(row)

    def load(self, candidate: Candidate, disabled: list[str]) -> None:
        """Import one plugin, check it and register it as a whole, or make it a failed row."""
        entry_point = candidate.entry_point
        row = PluginStatus(
            candidate.distribution,
            candidate.version,
            entry_point.value if entry_point else "",
            entry_point.name if entry_point else "",
        )
        self.rows.append(row)
        if discovery.is_disabled(candidate, disabled):
            row.status, row.reason = "disabled", f"disabled by {discovery.DISABLE_VARIABLE}"
            return
        try:
            if entry_point is None:
                raise PluginError(candidate.problem or "it has no entry point")
            with _impatience(row):
                had_torch = "torch" in sys.modules
                plugin = _import(entry_point.load, entry_point.value)
                if "torch" in sys.modules and not had_torch:
                    row.warnings.append("imports torch at its top, which slows down every gsbench command")
                self._adopt(row, plugin)
        except PluginError as error:
            row.status, row.reason = "failed", str(error)
            _log.warning("plugin %s is not used: %s", row.label, error, exc_info=_log.isEnabledFor(logging.DEBUG))

    def _adopt(self, row: PluginStatus, plugin: object) -> None:
        """Check and register `plugin`; where anything is wrong, nothing of it remains.

        Raises:
            PluginError: with the reason.
        """
        _check_api(plugin)
        name = f"{row.distribution}:{row.entry_point}={row.module}"
        if self.manager.is_registered(plugin):
            raise PluginError(f"{row.module} is already in use, as {self.manager.get_name(plugin)}")
        try:
            self.manager.register(plugin, name)
        except _PLUGIN_ERRORS as error:
            # Some versions of pluggy keep the name, and the hooks before the one they refused.
            if self.manager.is_registered(plugin):
                self.manager.unregister(plugin)
            raise PluginError(f"its hooks are not as specified: {error}") from error
        try:
            found = implementations(self.manager, plugin)
            check_implementations(plugin, found)
            contributions = collect(found)
            self._register(contributions, row.distribution)
        except _PLUGIN_ERRORS as error:
            self.manager.unregister(plugin)
            if isinstance(error, PluginError):
                raise
            raise PluginError(f"it cannot be registered: {type(error).__name__}: {error}") from error
        row.hooks = sorted(found)
        for contribution in contributions:
            getattr(row, _FIELDS[contribution.registry.kind]).append(contribution.name)
        row.specs = [c.value for c in contributions if c.registry is registry.methods]
        self._objects[id(row)] = plugin

    def _register(self, contributions: list[Contribution], origin: str) -> None:
        """Put all of `contributions` into the registries, or none."""
        done: list[Contribution] = []
        try:
            for contribution in contributions:
                contribution.registry.register(contribution.name, contribution.value, origin)
                done.append(contribution)
        except PluginError:
            for contribution in done:
                contribution.registry.unregister(contribution.name)
            raise
        self.registered += done

    def finish(self) -> None:
        """Checks that need all plugins: bases that nobody supplies, and the hint about plugins that failed."""
        for row in self.rows:
            for spec in row.specs:
                if spec.base is not None and spec.base not in registry.methods:
                    row.warnings.append(f"method {spec.name!r} needs the base {spec.base!r}, which no plugin supplies")
        unused = [f"{row.label} ({row.status})" for row in self.rows if row.status != "ok"]
        if unused:
            note = f"; not loaded: {', '.join(unused)}; see: gsbench plugins"
            for each in registry.ALL:
                each.note = note

    def unload(self) -> None:
        """Take everything out of the registries again."""
        for contribution in self.registered:
            contribution.registry.unregister(contribution.name)
        for each in registry.ALL:
            each.note = ""

    def each(self, hook: str) -> Iterator[tuple[PluginStatus, pluggy.HookImpl]]:
        """The implementations of one hook, with the row of their plugin, in the order of the rows."""
        for row in self.rows:
            plugin = self._objects.get(id(row))
            if plugin is not None:
                for impl in implementations(self.manager, plugin).get(hook, []):
                    yield row, impl


_lock: Final = threading.RLock()
_plugins: _Plugins | None = None
_loading = False


def _load() -> _Plugins:
    global _plugins, _loading
    with _lock:
        if _plugins is not None:
            return _plugins
        if _loading:
            raise PluginError("plugins cannot be listed while they are being loaded; do it when a hook is called")
        plugins = _Plugins()
        _loading = True
        try:
            plugins.load_core()
            disabled = discovery.disabled_names()
            candidates = discovery.discover()
            discovery.warn_of_unknown(disabled, candidates)
            for candidate in candidates:
                plugins.load(candidate, disabled)
            plugins.finish()
        except BaseException:
            plugins.unload()
            raise
        finally:
            _loading = False
        _plugins = plugins
        return plugins


def load_plugins() -> list[PluginStatus]:
    """Load the core and every installed plugin, once per process, and fill the registries of `gsbench.registry`.

    The core comes first, then plugins sorted by the name of their distribution, so that the outcome never depends
    on the order in which they are found. A plugin that does not import, wants another API, returns nonsense or
    claims a name that is taken becomes a row with status "failed" and a reason; nothing of it is registered.
    ``GSBENCH_DISABLE_PLUGINS`` (names of distributions or entry points, or ``all``) leaves plugins out.

    Returns:
        One row per plugin, the core's first.
    """
    return list(_load().rows)


def unload_plugins() -> None:
    """Forget all plugins and what they registered; the next `load_plugins` looks again. Meant for tests."""
    global _plugins
    with _lock:
        if _plugins is not None:
            _plugins.unload()
            _plugins = None


def plugin_manager() -> pluggy.PluginManager:
    """The pluggy manager that holds the working plugins.

    Hooks called through it stop at the first plugin that raises: for the observers use `job_started`,
    `job_finished` and `job_failed`, which survive that.
    """
    return _load().manager


def job_started(job: Any) -> None:
    """Tell every observer that `job` (a `gsbench.bench.JobSpec`) was started; their errors are logged."""
    _observe("gsbench_job_started", job=job)


def job_finished(job: Any, record: Record) -> None:
    """Tell every observer that `job` ended well, or was skipped; their errors are logged."""
    _observe("gsbench_job_finished", job=job, record=record)


def job_failed(job: Any, record: Record) -> None:
    """Tell every observer that `job` failed; their errors are logged."""
    _observe("gsbench_job_failed", job=job, record=record)


def _observe(hook: str, **arguments: Any) -> None:
    for row, impl in _load().each(hook):
        try:
            call(impl, **arguments)
        except _PLUGIN_ERRORS as error:
            _log.warning("%s of plugin %s raised %s: %s", hook, row.label, type(error).__name__, error, exc_info=True)


def extend_cli(app: click.Group) -> None:
    """Let plugins add verbs to `app`.

    The verbs of a plugin whose `gsbench_cli` raises, or that would replace or remove an existing verb, are taken
    out again; its row gets a warning, and everything else of it stays.
    """
    import click

    for row, impl in _load().each("gsbench_cli"):
        before = dict(app.commands)
        taken = {*before, *app.list_commands(click.Context(app))}
        try:
            call(impl, app=app)
            changed = {name for name in {*before, *app.commands} if before.get(name) is not app.commands.get(name)}
            if clashes := sorted(changed & taken):
                raise PluginError(f"{', '.join(repr(name) for name in clashes)} is already a verb")
        except _PLUGIN_ERRORS as error:
            app.commands.clear()
            app.commands.update(before)
            kind = "" if isinstance(error, PluginError) else f"{type(error).__name__}: "
            warning = f"its verbs are left out: {kind}{error}"
            if warning not in row.warnings:
                row.warnings.append(warning)
            _log.warning("plugin %s: %s", row.label, warning, exc_info=_log.isEnabledFor(logging.DEBUG))


@contextlib.contextmanager
def _impatience(row: PluginStatus) -> Iterator[None]:
    """Say which plugin it is that gsbench waits for, and how to go on without it."""
    name = row.entry_point or row.distribution

    def tell() -> None:
        _log.warning(
            "plugin %s has been loading for %g s; to go on without it: gsbench -p no:%s ...",
            row.label,
            PATIENCE_SECONDS,
            name,
        )

    timer = threading.Timer(PATIENCE_SECONDS, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _import(load: Any, module: str) -> object:
    try:
        plugin: object = load()
    except _PLUGIN_ERRORS as error:
        raise PluginError(f"{module} cannot be imported: {type(error).__name__}: {error}") from error
    return plugin


def _check_api(plugin: object) -> None:
    try:
        version = getattr(plugin, "GSBENCH_API", None)
    except _PLUGIN_ERRORS as error:
        raise PluginError(f"its GSBENCH_API cannot be read: {type(error).__name__}: {error}") from error
    if version is None:
        raise PluginError(f"its module does not set GSBENCH_API = {hookspecs.API_VERSION}")
    if type(version) is not int or version != hookspecs.API_VERSION:
        raise PluginError(
            f"it is written for plugin API {version!r}, but gsbench {__version__} has API {hookspecs.API_VERSION}"
        )
