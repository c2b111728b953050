"""The wheel and the editable install, each in an environment of its own.

Installing torch into every one of them would take minutes and gigabytes, so the packages that gsbench needs are lent
by the environment that runs the tests: a folder of links to them, without gsbench itself, on the new environment's
path.
"""

from __future__ import annotations

import os
import re
import shutil
import site
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

import gsbench

pytestmark = pytest.mark.slow

LIBRARY = "gsbench/native/libgsbench_cpu.so"
CUDA_LIBRARY = "gsbench/native/libgsbench_cuda.so"
REPORT = """
import sys, pathlib, importlib.metadata
import gsbench, gsbench.native as native
print(pathlib.Path(gsbench.__file__).resolve())
print(native.library_path().resolve())
print(native.build_id())
print(",".join(sorted(set(importlib.metadata.packages_distributions().get("gsbench", ())))))
"""


def run(command: Sequence[str | Path], cwd: Path) -> str:
    """Run `command` with nothing of this environment in its variables, and return what it printed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "GSBENCH"))}
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Environment:
    """A fresh virtual environment that borrows the packages of this one, except gsbench and its plugins."""

    def __init__(self, folder: Path) -> None:
        run([sys.executable, "-m", "venv", "--without-pip", folder], cwd=folder.parent)
        self.python = folder / "bin" / "python"
        self.packages = Path(
            run([self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder.parent).strip()
        )
        lent = folder / "lent"
        lent.mkdir()
        here = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()])
        for entry in (e for place in here if Path(place).is_dir() for e in Path(place).iterdir()):
            if "gsbench" not in entry.name.lower() and entry.suffix != ".pth" and not (lent / entry.name).exists():
                (lent / entry.name).symlink_to(entry)
        (self.packages / "lent.pth").write_text(f"{lent}\n")

    def install(self, *what: str | Path) -> None:
        """pip install, without dependencies."""
        folder = self.packages.parent
        run([sys.executable, "-m", "pip", "--python", self.python, "install", "-q", "--no-deps", *what], cwd=folder)

    def report(self, cwd: Path) -> tuple[Path, Path, str, str]:
        """(file of the package, library, build id, distributions) as seen from the folder `cwd`."""
        package, library, build, distributions = run([self.python, "-c", REPORT], cwd=cwd).splitlines()
        return Path(package), Path(library), build, distributions


@pytest.fixture(scope="module")
def sources(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree as a clone would have it: nothing built, nothing cached."""
    folder = tmp_path_factory.mktemp("sources") / "gsbench"
    unwanted = shutil.ignore_patterns(".git", "build", "dist", "runs", ".*", "__pycache__", "*.so", "*.egg-info")
    shutil.copytree(repository, folder, ignore=unwanted)
    return folder


@pytest.fixture(scope="module")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as pip builds it: in an isolated environment, which has no torch."""
    folder = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, sources], cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def test_one_wheel_serves_every_python_and_torch(wheel: Path) -> None:
    match = re.fullmatch(r"gsbench_core-(?P<version>[^-]+)-py3-none-(?P<platform>[^-]+)\.whl", wheel.name)
    assert match is not None, wheel.name
    assert match["version"] == gsbench.__version__
    assert match["platform"] != "any"


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path, repository: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"gsbench", f"gsbench_core-{gsbench.__version__}.dist-info"}
    assert LIBRARY in names
    # Where a working nvcc is found, there is a library for GPUs too.
    assert {n for n in names if n.endswith(".so")} - {CUDA_LIBRARY} == {LIBRARY}
    assert any(n.endswith("licenses/LICENSE") for n in names)
    assert "gsbench/py.typed" in names
    # Built in a copy of the sources or in a checkout.
    assert re.fullmatch(rb"([0-9a-f]{40}(-dirty)?)?\n", zipfile.ZipFile(wheel).read("gsbench/commit.txt"))
    modules = {p.relative_to(repository).as_posix() for p in (repository / "gsbench").rglob("*.py")}
    assert {n for n in names if n.endswith(".py")} == modules
    assert not [n for n in names if re.search(r"(^|/)(test_|conftest)|\.(cpp|inc|cu|pyc)$", n)]


def test_the_wheels_metadata_requires_torch_but_no_build_of_it(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
    metadata = archive.read(name).decode()
    assert re.search(r"^Requires-Dist: torch<3,>=2\.4$", metadata, re.MULTILINE)
    assert "License-Expression: Apache-2.0" in metadata


def test_the_library_exports_only_the_c_abi(wheel: Path, tmp_path: Path) -> None:
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("no nm on this machine")
    archive = zipfile.ZipFile(wheel)
    for library, prefix in ((LIBRARY, "gsb_"), (CUDA_LIBRARY, "gsb_cuda_")):
        if library not in archive.namelist():
            continue
        archive.extract(library, tmp_path)
        symbols = run([nm, "-D", "--defined-only", tmp_path / library], cwd=tmp_path)
        exported = {line.split()[-1].split("@")[0] for line in symbols.splitlines()}
        assert exported
        assert not [s for s in exported if not s.startswith(prefix)]


def test_installed_from_the_wheel(wheel: Path, sources: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv")
    environment.install(wheel)
    elsewhere = environment.report(tmp_path)
    assert elsewhere[0] == environment.packages / "gsbench" / "__init__.py"
    assert elsewhere[1] == environment.packages / LIBRARY
    assert elsewhere[3] == "gsbench-core"
    # With the repository as working directory the sources come first, and the library is still the installed one.
    at_root = environment.report(sources)
    assert at_root[0] == sources / "gsbench" / "__init__.py"
    assert at_root[1:] == elsewhere[1:]


def test_installed_for_editing(wheel: Path, sources: Path, tmp_path: Path) -> None:
    copy = tmp_path / "sources"
    shutil.copytree(sources, copy)
    environment = Environment(tmp_path / "venv")
    environment.install("-e", copy)
    reports = [environment.report(folder) for folder in (tmp_path, copy)]
    for package, library, build, distributions in reports:
        assert package == copy / "gsbench" / "__init__.py"
        assert library == environment.packages / LIBRARY
        assert len(build) == 16
        assert distributions in ("", "gsbench-core")  # an editable install holds no .py file
    # An edit is seen without installing again.
    edited = copy / "gsbench" / "errors.py"
    edited.write_text(edited.read_text() + "\nEDITED = True\n")
    run([environment.python, "-c", "import gsbench.errors; assert gsbench.errors.EDITED"], cwd=tmp_path)


def test_core_and_plugins_install_together(wheel: Path, sources: Path, tmp_path: Path) -> None:
    """``pip install . ./plugins/*``: the command is there and sees every method."""
    environment = Environment(tmp_path / "venv")
    plugins = sorted((sources / "plugins").iterdir())
    environment.install(wheel, *plugins)
    command = environment.python.parent / "gsbench"
    assert gsbench.__version__ in run([command, "--version"], cwd=tmp_path)
    listing = run([command, "plugins", "--json"], cwd=tmp_path)
    for plugin in plugins:
        assert plugin.name in listing
