"""Plugins: the hook specifications and the manager that loads them."""

from gsbench.hooks.hookspecs import API_VERSION, hookimpl
from gsbench.hooks.manager import (
    extend_cli,
    job_failed,
    job_finished,
    job_started,
    load_plugins,
    plugin_manager,
    unload_plugins,
)
from gsbench.hooks.origins import distribution_digest, distribution_files, method_class, method_origin
from gsbench.hooks.status import PluginStatus

__all__ = [
    "API_VERSION",
    "PluginStatus",
    "distribution_digest",
    "distribution_files",
    "extend_cli",
    "hookimpl",
    "job_failed",
    "job_finished",
    "job_started",
    "load_plugins",
    "method_class",
    "method_origin",
    "plugin_manager",
    "unload_plugins",
]
