"""The benchmark for GPUs runs: on the CPU, on a simulated GPU, beside a stand-in for gsplat; at small sizes."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gsbench import native
from gsbench.hooks import load_plugins, unload_plugins
from gsbench.native.cuda import CudaLibrary
from gsbench.testing.simulated_cuda import simulated_cuda

#: gsplat's interface as far as the adapter uses it, by our own backend; its gradients are of another run each time.
STAND_IN = """
import itertools
from gsbench.raster import rasterization as ours
runs = itertools.count()
def rasterization(*, covars=None, backgrounds=None, **options):
    options["colors"] = options["colors"] * (1.0 + 1e-3 * next(runs))
    return ours(**options, covars=covars, backgrounds=backgrounds, backend="cuda")
"""


def wheel(folder: Path, backend: str) -> Path:
    """A folder with a wheel of the stand-in, whose compiled part is what the text `backend` makes of it."""
    info = "gsplat-1.5.3.dist-info"
    files = {
        "gsplat/__init__.py": STAND_IN,
        "gsplat/cuda/__init__.py": "",
        "gsplat/cuda/_backend.py": backend,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: gsplat\nVersion: 1.5.3\n"
        "Requires-Dist: torch\nRequires-Dist: numpy\nRequires-Dist: black[jupyter]==22.3.0; extra == 'dev'\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    folder.mkdir()
    with zipfile.ZipFile(folder / "gsplat-1.5.3-py3-none-any.whl", "w") as out:
        for name, text in files.items():
            out.writestr(name, text)
    return folder


def run(repository: Path, *arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.cuda", *map(str, arguments)]
    return subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=120)


@pytest.fixture
def bench(repository: Path, monkeypatch: pytest.MonkeyPatch, cuda_twin: CudaLibrary, tmp_path: Path) -> Iterator[Any]:
    """The module, on a simulated GPU, with results in a temporary folder."""
    monkeypatch.syspath_prepend(repository)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    import benchmarks.cuda as module

    monkeypatch.setattr(module, "PER_MEASUREMENT", 0.01)
    monkeypatch.setattr(module, "LEAST", 2)
    monkeypatch.setattr(module, "SMALL_SIZES", ((40, 24),))
    monkeypatch.setattr(module, "SMALL_COUNTS", (60, 90))
    monkeypatch.setattr(module, "RESULTS", tmp_path / "RESULTS.md")
    try:
        native.set_cpu_isa("avx2")  # the bits of the twin
    except ValueError as error:
        pytest.skip(str(error))
    try:
        with simulated_cuda(cuda_twin):
            yield module
    finally:
        native.set_cpu_isa("auto")
        unload_plugins()
        for name in [n for n in sys.modules if n.partition(".")[0] in ("benchmarks", "gsplat")]:
            del sys.modules[name]


def test_it_measures_on_the_cpu(repository: Path, tmp_path: Path) -> None:
    file = tmp_path / "numbers.json"
    command = [
        sys.executable,
        "-c",
        "import benchmarks.cuda as b; b.PER_MEASUREMENT = 0.01; import sys; sys.exit(b.main())",
    ]
    done = subprocess.run(
        [*command, "--device", "cpu", "--json", file], cwd=repository, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(file.read_text())
    assert len(record["cells"]) == 4
    assert record["notes"] == []
    assert all(cell["forward"] > 0 and cell["both"] > 0 and cell["visible"] > 0 for cell in record["cells"])
    assert record["same_twice"] is True
    assert record["against_cpu"]["differ"] == 0


def test_without_a_device_it_says_so(repository: Path) -> None:
    if torch.cuda.is_available():
        return
    done = run(repository)
    assert done.returncode == 2
    assert done.stderr == "no CUDA device: torch finds none on this machine\n"


def test_wrong_arguments(bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in {
        ("--device", "tpu"): "--device: expected cuda, cuda:1, ... or cpu, got 'tpu'",
        ("--device", "mps"): "--device: expected cuda, cuda:1, ... or cpu, got 'mps'",
        ("--budget", "0"): "--budget: expected a positive number of seconds, got 0",
        ("--wheels", str(tmp_path / "none")): "none is no folder",
        ("--device", "cpu", "--write"): "--write: only what was measured on a GPU is kept",
    }.items():
        with pytest.raises(SystemExit) as ended:
            bench.main(arguments)
        assert ended.value.code == 2
        assert message in capsys.readouterr().err
    assert bench.main(["--device", "cuda:1"]) == 2
    assert capsys.readouterr().err == "no CUDA device cuda:1: torch finds 1\n"


def test_beside_gsplat(bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The stand-in is installed and measured on the same inputs; that it is not deterministic is seen."""
    wheels = wheel(tmp_path / "wheels", "_C = object()")
    numbers = tmp_path / "numbers.json"
    arguments = ["--small", "--write", "--json", numbers, "--wheels", wheels, "--folder", tmp_path / "gsplat"]
    assert bench.main([str(a) for a in arguments]) == 0
    record = json.loads(numbers.read_text())
    assert [(c["gaussians"], c["backend"], c["same_twice"]) for c in record["cells"]] == [
        (60, "cuda", True),
        (60, "gsplat", False),
        (90, "cuda", True),
        (90, "gsplat", False),
    ]
    assert record["same_twice"] is True
    assert record["gsplat"] == "1.5.3"
    assert record["cells"][0]["visible"] == record["cells"][1]["visible"] > 0
    assert record["against_cpu"]["gradients"] < 1e-5
    kept = (tmp_path / "RESULTS.md").read_text()
    assert "* GPU: simulated\n" in kept
    assert "* same bytes in every run: yes\n" in kept
    rows = [line for line in kept.splitlines() if line.startswith("| 40x24")]
    assert len(rows) == 2
    assert all("| yes        | no                |" in row for row in rows)
    assert "gsplat: 1.5.3, ready after" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("backend", "problem"),
    [
        ("_C = None", "gsplat found no CUDA toolkit (nvcc) to compile itself with"),
        ("raise RuntimeError('it does not compile')", "RuntimeError: it does not compile"),
        (None, "pip could not install gsplat==1.5.3; its reason is above"),
    ],
)
def test_it_goes_on_without_gsplat(bench: Any, tmp_path: Path, backend: str | None, problem: str) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir() if backend is None else wheel(wheels, backend)
    numbers = tmp_path / "numbers.json"
    arguments = ["--small", "--json", numbers, "--wheels", wheels, "--folder", tmp_path / "gsplat"]
    assert bench.main([str(a) for a in arguments]) == 0
    record = json.loads(numbers.read_text())
    assert {c["backend"] for c in record["cells"]} == {"cuda"}
    assert record["gsplat"].startswith(f"not measured: {problem} (all of it in")


def test_the_time_ends(bench: Any, tmp_path: Path) -> None:
    """A compilation that takes too long is ended, and cells for which there is no time are named."""
    wheels = wheel(tmp_path / "wheels", "import time\ntime.sleep(600)")
    numbers = tmp_path / "numbers.json"
    begin = time.monotonic()
    arguments = ["--small", "--budget", "4", "--json", numbers, "--wheels", wheels, "--folder", tmp_path / "gsplat"]
    assert bench.main([str(a) for a in arguments]) == 0
    assert time.monotonic() - begin < 500
    record = json.loads(numbers.read_text())
    assert record["gsplat"] == "not measured: was not compiled in the time there was"

    assert bench.main(["--small", "--without-gsplat", "--budget", "0.001", "--json", str(numbers)]) == 0
    record = json.loads(numbers.read_text())
    assert record["cells"] == []
    assert record["gsplat"] == "not measured: not asked for"
    assert record["notes"] == [f"40x24, {count} Gaussians: not measured, the time is over" for count in (60, 90)]


def test_without_our_library_it_is_built(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where that fails there is nothing to measure."""
    monkeypatch.setattr(bench, "cuda_library_path", functools.cache(lambda: None))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(bench, "ROOT", tmp_path / "no checkout")
    assert bench.main(["--small"]) == 2
    found = capfd.readouterr()
    assert "building it for compute capability 9.0" in found.out
    assert "no checkout" in found.err  # what pip says
    assert "gsbench's CUDA library could not be built; pip's reason is above" in found.err
    assert bench.main(["--small", "--budget", "0.01"]) == 2
    assert "gsbench's CUDA library was not built in the time there was" in capfd.readouterr().err


def test_a_measurement_that_would_not_end_in_time(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    device, calls = torch.device("cpu"), []

    def slow() -> None:
        calls.append(0)
        time.sleep(0.05)

    clock = bench.Clock(time.monotonic() + 600.0)
    assert bench.timed(slow, device, clock) >= 50.0
    calls.clear()
    monkeypatch.setattr(bench, "LEAST", 100_000)
    with pytest.raises(bench.OutOfTimeError):
        bench.timed(slow, device, clock)
    assert len(calls) == 2


def test_what_fails_does_not_end_the_rest(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    load_plugins()
    clock = bench.Clock(time.monotonic() + 60.0)
    found = list(bench.cells(["no-such", "cuda"], torch.device("cuda"), True, clock))
    assert [isinstance(cell, str) for cell in found] == [True, False] * 2
    assert found[0].startswith("40x24, 60 Gaussians, no-such: not measured: ")
    only = bench.table([cell for cell in found if not isinstance(cell, str)], "gsplat", "cuda").rows
    assert all(row[3] is None and row[5] is None and row[4] > 0 for row in only)
