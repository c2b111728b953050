"""The whole plugin API, on one page.

A plugin is a distribution with an entry point in the group ``gsbench``, whose module sets ``GSBENCH_API = 1`` and
implements any of these hooks:

    # my_method/plugin.py
    import gsbench

    GSBENCH_API = 1

    @gsbench.hookimpl
    def gsbench_methods():
        return [gsbench.MethodSpec(name="mine", target="my_method.method:Mine", summary="...")]

    # pyproject.toml
    [project.entry-points.gsbench]
    my-method = "my_method.plugin"

A plugin module must not import torch at its top: it is imported whenever gsbench lists what is installed.

The first six hooks return what the plugin supplies (any iterable of it); they are called once, when plugins are
loaded. A plugin that raises there, returns something else, or claims a name that is taken is not used at all;
``gsbench plugins`` says why. Errors in the other hooks are logged, and the work goes on. Hooks are called plugin by
plugin, sorted by the name of the distribution; pluggy's ordering options and wrappers have no effect here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import pluggy

if TYPE_CHECKING:
    import click

    from gsbench.methods import MethodSpec
    from gsbench.metrics import MetricSpec
    from gsbench.protocols import Protocol
    from gsbench.records import Record
    from gsbench.scenes import DatasetSpec

PROJECT: Final = "gsbench"
API_VERSION: Final = 1

hookspec: Final = pluggy.HookspecMarker(PROJECT)
hookimpl: Final = pluggy.HookimplMarker(PROJECT)


@hookspec
def gsbench_methods() -> Iterable[MethodSpec]:  # type: ignore[empty-body]
    """Compression methods: `gsbench.MethodSpec` objects, each naming its class by a lazy target.

    Example::

        return [MethodSpec(name="mine", target="my_method.method:Mine", summary="Vector-quantized everything",
                           rates=(RatePoint("low", {"codes": 256}), RatePoint("high", {"codes": 4096})))]
    """


@hookspec
def gsbench_scenes() -> Iterable[DatasetSpec]:  # type: ignore[empty-body]
    """Data sets: `gsbench.scenes.DatasetSpec` objects, each naming its scenes and a lazy loader.

    Example::

        return [DatasetSpec(name="lab", scenes=("desk", "shelf"), target="my_lab.scenes:load", summary="...")]
    """


@hookspec
def gsbench_metrics() -> Iterable[MetricSpec | Protocol]:  # type: ignore[empty-body]
    """Image metrics (`gsbench.metrics.MetricSpec`) and evaluation protocols (`gsbench.protocols.Protocol`).

    Example::

        return [MetricSpec(name="flip", target="my_metrics.flip:flip", summary="...", higher_is_better=False)]
    """


@hookspec
def gsbench_entropy_coders() -> Iterable[tuple[str, str]]:  # type: ignore[empty-body]
    """Entropy coders, as (name, "module:Class") pairs; see `gsbench.coding.EntropyCoder`.

    Example::

        return [("rans", "my_coders.rans:RansCoder")]
    """


@hookspec
def gsbench_rasterizers() -> Iterable[tuple[str, str]]:  # type: ignore[empty-body]
    """Rasterizer backends, as (name, "module:Class") pairs; see `gsbench.raster.Backend`.

    Example::

        return [("metal", "my_metal.backend:MetalBackend")]
    """


@hookspec
def gsbench_engines() -> Iterable[tuple[str, str]]:  # type: ignore[empty-body]
    """Execution engines, as (name, "module:Class") pairs; see `gsbench.bench.engines.Engine`.

    Example::

        return [("slurm", "my_cluster.engine:SlurmEngine")]
    """


@hookspec
def gsbench_cli(app: click.Group) -> None:
    """Add verbs to the command line. A verb that exists is never replaced.

    Example::

        @app.command()
        def hello() -> None:
            click.echo("hello")
    """


@hookspec
def gsbench_job_started(job: Any) -> None:
    """Observe: a job (`gsbench.bench.JobSpec`) was started. Runs in the driver.

    Example::

        print_to_my_dashboard(f"{job.method} on {job.scene}")
    """


@hookspec
def gsbench_job_finished(job: Any, record: Record) -> None:
    """Observe: a job ended with status ok or skipped, and this is its record. Runs in the driver.

    Example::

        upload(record.model_dump_json())
    """


@hookspec
def gsbench_job_failed(job: Any, record: Record) -> None:
    """Observe: a job failed; `record.error` says where. Runs in the driver.

    Example::

        alert(record.error.message)
    """
