"""One test body for every backend: fixtures that draw with each that this machine has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from gsbench import native, registry
from gsbench.hooks import load_plugins, unload_plugins
from gsbench.native.cuda import cuda_library_path
from gsbench.raster.backend import CORE_BACKENDS
from gsbench.testing.raster_case import Case, Outcome, compare, run, run_reference
from gsbench.testing.simulated_cuda import simulated_cuda


def instruction_sets() -> list[str]:
    """Those that this machine has, for `native.set_cpu_isa`."""
    found = []
    for name in ("baseline", "avx2", "avx512"):
        try:
            native.set_cpu_isa(name)
        except ValueError:
            continue
        found.append(name)
    native.set_cpu_isa("auto")
    return found


@dataclass(frozen=True)
class Drawer:
    """A backend, on its device (a simulated one if it says so), with an instruction set if it has several."""

    name: str
    device: str
    isa: str | None
    simulated: bool = False

    def run(self, case: Case, **how: Any) -> Outcome:
        return run(case, self.name, device=self.device, **how)

    def check(self, case: Case, *, flips: int = 0, tolerance: float = 1e-4, **how: Any) -> Outcome:
        """Draws like the reference; returns what was drawn."""
        ours = self.run(case, **how)
        compare(ours, run_reference(case), flips=flips, tolerance=tolerance)
        return ours


def drawers() -> list[Any]:
    load_plugins()
    # Those of other packages have other conventions; test_adapters.py is about them.
    names = sorted({*CORE_BACKENDS, *registry.rasterizers} - {"gsplat", "inria"})
    unload_plugins()
    found: list[Any] = []
    for name in names:
        if name == "cpu":
            found += [pytest.param(Drawer(name, "cpu", isa), id=f"cpu-{isa}") for isa in instruction_sets()]
        else:
            device = "cuda" if "cuda" in name else "cpu"
            marks = [pytest.mark.cuda] if device == "cuda" else []
            found.append(pytest.param(Drawer(name, device, None), id=name, marks=marks))
    found.append(pytest.param(Drawer("cuda", "cuda", None, simulated=True), id="simulated-cuda"))
    return found


@pytest.fixture(params=drawers())
def backend(request: pytest.FixtureRequest) -> Iterator[Drawer]:
    """Every backend that is registered: the one on the CPU with every instruction set that this machine has, the one
    for GPUs also on a simulated one, where its kernels are loops on the host.
    """
    drawer: Drawer = request.param
    if drawer.simulated:
        with simulated_cuda(request.getfixturevalue("cuda_twin")):
            yield drawer
        return
    if drawer.device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    if drawer.name == "cuda" and cuda_library_path() is None:
        pytest.skip("gsbench was built without CUDA")
    if drawer.name not in CORE_BACKENDS and drawer.name not in registry.rasterizers:
        load_plugins()
    if drawer.isa is not None:
        native.set_cpu_isa(drawer.isa)
    yield drawer
    native.set_cpu_isa("auto")


@pytest.fixture(scope="session")
def isas() -> list[str]:
    """The instruction sets that this machine has."""
    return instruction_sets()
