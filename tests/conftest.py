"""Fixtures that every test folder shares."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# Before torch loads OpenMP, for the reason that gsbench.bench.job gives.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Whether this machine has the weights of LPIPS must not decide what tests see; those that need some bring their own.
os.environ["GSBENCH_WEIGHTS"] = str(Path(__file__).with_name("no-weights"))

# A shell starts what it puts into the background with interrupts ignored, and children inherit that; the processes that
# tests interrupt must not.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

try:
    import torch
except ImportError:  # the light environments of tox.ini run the tests marked so without it
    torch = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from gsbench.hooks import PluginStatus
    from gsbench.native.cuda import CudaLibrary
    from gsbench.testing.simulated_cuda import Log

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real captures and models, which are not part of the repository: GSBENCH_TEST_DATA, or shared/data beside it."""
    folder = Path(os.environ.get("GSBENCH_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real captures at {folder}; set GSBENCH_TEST_DATA to a folder that has them")
    return folder


@pytest.fixture(autouse=True)
def _restore_global_state() -> Iterator[None]:
    """Tests may change torch's thread count and generator; the next test does not notice."""
    if torch is None:
        yield
        return
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    yield
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


@pytest.fixture(scope="session")
def cuda_twin(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> CudaLibrary:
    """The CUDA library's twin: csrc/cuda compiled by the C++ compiler, its kernels run as loops on the host. It is kept
    under build/, by what it was made from.
    """
    from gsbench.native.cuda import CudaLibrary

    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler to build the CUDA library's twin with")
    sources = sorted((repository / "csrc" / "cuda").glob("*.cu"))
    flags = ["-std=gnu++17", "-O1", "-ffp-contract=off", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"]
    flags += ['-DGSB_BUILD_ID="twin"', '-DGSB_CUDA_TARGETS="host"', f"-I{repository / 'csrc'}"]
    if platform.machine() == "x86_64":
        flags.append("-mfma")  # else each fused operation is a call
    digest = hashlib.sha256(repr((compiler, flags)).encode())
    for path in sorted((repository / "csrc").rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(repository)).encode() + path.read_bytes())
    folder = repository / "build"
    if not os.access(folder if folder.exists() else repository, os.W_OK):
        folder = tmp_path_factory.getbasetemp()
    library = folder / "cuda-twin" / f"{digest.hexdigest()[:16]}.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        parts = tmp_path_factory.mktemp("cuda-twin")
        objects = [parts / f"{source.stem}.o" for source in sources]
        commands = [
            [compiler, *flags, "-x", "c++", "-c", str(source), "-o", str(target)]
            for source, target in zip(sources, objects, strict=True)
        ]
        running = [subprocess.Popen(c, stderr=subprocess.PIPE, text=True) for c in commands]
        problems = [text for text in (process.communicate()[1] for process in running) if text]
        assert not problems, "\n".join(problems)
        made = parts / "twin.so"
        subprocess.run([compiler, "-shared", *map(str, objects), "-o", str(made)], check=True)
        shutil.copy(made, library.with_suffix(f".{os.getpid()}"))
        library.with_suffix(f".{os.getpid()}").replace(library)
    return CudaLibrary(library)


@pytest.fixture(params=["simulated", pytest.param("cuda", marks=pytest.mark.cuda)])
def gpu(request: pytest.FixtureRequest) -> Iterator[Log | None]:
    """A CUDA device: a simulated one, with the log of what happens on it; and this machine's, without a log."""
    from gsbench import native
    from gsbench.native.cuda import cuda_library_path
    from gsbench.testing.simulated_cuda import simulated_cuda

    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device on this machine")
        if cuda_library_path() is None:
            pytest.skip("gsbench was built without CUDA")
        yield None
        return
    torch.set_num_threads(1)
    twin = request.getfixturevalue("cuda_twin")
    with contextlib.ExitStack() as stack:
        # The instruction set whose bits the twin has.
        with contextlib.suppress(ValueError):
            native.set_cpu_isa("avx2")
        stack.callback(native.set_cpu_isa, "auto")
        yield stack.enter_context(simulated_cuda(twin))


class PluginFolder:
    """A folder on sys.path into which tests install distributions; see the fixture `plugin_folder`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def install(
        self,
        name: str,
        source: str,
        *,
        files: dict[str, str] | None = None,
        version: str = "1.0",
        entry_points: dict[str, str] | None = None,
    ) -> str:
        """Install the distribution `name` whose plugin module, ``<name with _>.plugin``, has this source text.

        `files` are further modules, by their name inside the package. Returns the package's name.
        """
        from gsbench.testing import write_distribution

        package = name.replace("-", "_").replace(".", "_")
        modules = {f"{package}/__init__.py": "", f"{package}/plugin.py": source}
        modules |= {f"{package}/{relative}": text for relative, text in (files or {}).items()}
        points = {name: f"{package}.plugin"} if entry_points is None else entry_points
        write_distribution(self.path, name, modules, entry_points=points, version=version)
        return package

    def load(self) -> dict[str, PluginStatus]:
        """Load all plugins afresh; the rows by distribution."""
        import importlib

        from gsbench.hooks import load_plugins, unload_plugins

        unload_plugins()
        self.forget_modules()
        importlib.invalidate_caches()
        return {row.distribution: row for row in load_plugins()}

    def forget_modules(self) -> None:
        """Make the next import of what is installed here a fresh one."""
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if file is not None and Path(file).is_relative_to(self.path):
                del sys.modules[name]


@pytest.fixture
def plugin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PluginFolder]:
    """An empty folder on sys.path, here and in child processes, whose distributions gsbench sees as installed."""
    from gsbench.hooks import unload_plugins

    folder = PluginFolder(tmp_path / "installed")
    folder.path.mkdir()
    monkeypatch.syspath_prepend(folder.path)
    inherited = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder.path), *([inherited] if inherited else [])]))
    monkeypatch.delenv("GSBENCH_DISABLE_PLUGINS", raising=False)
    yield folder
    unload_plugins()
    folder.forget_modules()
