"""What the core itself supplies, through the hooks that plugins use."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from gsbench.hooks.hookspecs import API_VERSION, hookimpl

if TYPE_CHECKING:
    from gsbench.metrics import MetricSpec
    from gsbench.protocols import Protocol
    from gsbench.scenes import DatasetSpec

GSBENCH_API: Final = API_VERSION


@hookimpl
def gsbench_scenes() -> Iterable[DatasetSpec]:
    """The data sets that gsbench knows, the demo among them."""
    from gsbench.scenes import core_datasets

    return core_datasets()


@hookimpl
def gsbench_metrics() -> Iterable[MetricSpec | Protocol]:
    """The image metrics and the evaluation protocols."""
    from gsbench import protocols
    from gsbench.metrics import core_metrics

    return [*core_metrics(), protocols.GS1600, protocols.SHIPPED, protocols.PNG4, protocols.BLENDER, protocols.BUNGEE]


@hookimpl
def gsbench_entropy_coders() -> Iterable[tuple[str, str]]:
    """The range coder, and adapters to the coders of other packages that are installed."""
    others = [
        ("constriction", "gsbench.coding.constriction:ConstrictionCoder"),
        ("torchac", "gsbench.coding.torchac:TorchacCoder"),
    ]
    return [
        ("range", "gsbench.coding.range:RangeCoder"),
        *(pair for pair in others if importlib.util.find_spec(pair[0]) is not None),
    ]


@hookimpl
def gsbench_rasterizers() -> Iterable[tuple[str, str]]:
    """The native rasterizers, and those of other packages that are installed. (One that was not built for GPUs has no
    backend for them.)
    """
    from gsbench.native.cuda import cuda_library_path

    found = [("cpu", "gsbench.raster.cpu:CpuBackend")]
    if cuda_library_path() is not None:
        found.append(("cuda", "gsbench.raster.cuda:CudaBackend"))
    adapters = [
        ("gsplat", "gsplat", "gsbench.raster.adapters.gsplat:GsplatBackend"),
        ("inria", "diff_gaussian_rasterization", "gsbench.raster.adapters.inria:InriaBackend"),
    ]
    found += [(name, target) for name, package, target in adapters if importlib.util.find_spec(package) is not None]
    return found


@hookimpl
def gsbench_engines() -> Iterable[tuple[str, str]]:
    """The pool of processes on this machine."""
    return [("local", "gsbench.bench.engines.local:LocalEngine")]
