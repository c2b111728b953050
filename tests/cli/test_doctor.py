"""``gsbench doctor`` reports and never breaks."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import tomllib
from pathlib import Path
from typing import NoReturn

import click
import pytest
import torch
from packaging.requirements import Requirement

from gsbench import native
from gsbench.cli import doctor, main
from gsbench.cli.doctor import Check, run_checks
from gsbench.native.cuda import cuda_library_path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GSBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out what takes seconds: importing the extras."""
    monkeypatch.setitem(doctor._CHECKS, "extra", lambda: [])


def named(name: str) -> list[Check]:
    """The lines of one check."""
    return list(doctor._CHECKS[name]())


def test_what_it_says_is_true(tmp_path: Path) -> None:
    lines = run_checks()
    checks = {check.name: check for check in lines}
    assert not [check for check in lines if check.status == "failed" and check.name != "extra"]
    assert {check.detail.partition(":")[0] for check in lines if check.name == "extra"} == set(doctor.EXTRAS)
    assert sys.version.split()[0] in checks["python"].detail
    assert importlib.metadata.version("numpy") in checks["packages"].detail
    assert torch.__version__ in checks["torch"].detail
    for fact in (native.build_id(), str(native.library_path())):
        assert fact in checks["native library"].detail
    assert f" usable of {os.cpu_count()} cores" in checks["processor"].detail
    assert str(tmp_path / "cache") in checks["cache"].detail
    assert (checks["cuda"].status == "ok") == torch.cuda.is_available()
    assert any(c.detail.startswith("cpu: one Gaussian peaks at 0.") for c in lines if c.name == "rasterizer")
    built = cuda_library_path() is not None
    assert checks["cuda library"].status == ("ok" if built else "missing")
    assert ("for compute capabilities" if built else "built without CUDA") in checks["cuda library"].detail


def test_instruction_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one in use is among the usable ones, each of which can be chosen; and it stays the one in use."""
    before = native.cpu_isa()
    (check,) = [check for check in named("native library") if check.name == "instruction set"]
    chosen, _, usable = check.detail.partition("; usable here: ")
    assert chosen == before == native.cpu_isa()
    assert before in usable.split(", ")
    assert "baseline" in usable.split(", ")
    try:
        for name in ("baseline", "avx2", "avx512"):
            if name in usable.split(", "):
                native.set_cpu_isa(name)
                assert native.cpu_isa() == name
            else:
                with pytest.raises(ValueError, match=name):
                    native.set_cpu_isa(name)
        native.set_cpu_isa("baseline")
        monkeypatch.setenv("GSBENCH_ISA", "baseline")
        (check,) = [check for check in named("native library") if check.name == "instruction set"]
        assert check.detail.startswith("baseline, as GSBENCH_ISA says; usable here: baseline")
    finally:
        native.set_cpu_isa(before)


def test_isolation(monkeypatch: pytest.MonkeyPatch) -> None:
    first, namespaces, landlock, hook = named("isolation")
    assert first.detail in (
        "decoders run under namespaces; records say so",
        "decoders run under audit-hook; records say so",
    )
    assert (namespaces.status == "ok") == ("under namespaces" in first.detail)
    assert landlock.detail.startswith("Landlock: ")
    assert hook.status == "ok"
    monkeypatch.setenv("GSBENCH_ISOLATION", "audit-hook")
    monkeypatch.setattr("gsbench.bench.sealed.namespaces_unavailable", lambda: "unshare is not installed")
    monkeypatch.setattr("gsbench.native.linux.landlock_version", lambda: 0)
    first, namespaces, landlock, _ = named("isolation")
    assert first.detail == "decoders run under audit-hook, as GSBENCH_ISOLATION says; records say so"
    assert (namespaces.status, namespaces.detail) == ("missing", "namespaces: unshare is not installed")
    assert landlock.status == "missing"


def test_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GSBENCH_DATA", str(tmp_path / "data"))
    root, *sets = named("data root")
    assert root.detail == f"{tmp_path / 'data'} (not there yet)"
    assert {check.status for check in sets} == {"missing"}
    hints = {check.detail.partition(":")[0]: check.hint for check in sets}
    assert hints["mipnerf360"] == "gsbench fetch mipnerf360"
    assert hints["bungee"].startswith("place it by hand: ")
    for scene in ("tandt/train", "tandt/truck", "db/playroom"):
        (tmp_path / "data" / scene).mkdir(parents=True)
    root, *sets = named("data root")
    assert "GB free" in root.detail
    details = {check.detail.partition(":")[0]: check for check in sets}
    assert (details["tandt"].status, details["tandt"].detail) == ("ok", "tandt: 2 of 2 scenes")
    assert (details["db"].status, details["db"].detail) == ("ok", "db: 1 of 2 scenes (playroom)")
    assert details["db"].hint == "gsbench fetch db"


def test_the_extras_are_those_of_the_project(repository: Path) -> None:
    with (repository / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    assert set(doctor.EXTRAS) == set(extras) - {"test", "lint", "docs"}
    for extra, (modules, _) in doctor.EXTRAS.items():
        wanted = {Requirement(text).name.replace("-", "_") for text in extras[extra]}
        assert wanted == set(modules)


def test_an_extra_that_does_not_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that crashes Python, one that raises, one that is not there: each a line, none of them the end."""
    (tmp_path / "crashing.py").write_text("import os\nos._exit(7)\n")
    (tmp_path / "raising.py").write_text("print('noise')\nraise OSError('libfoo.so.2: cannot open')\n")
    (tmp_path / "fine.py").write_text("print('noise')\n")
    monkeypatch.syspath_prepend(tmp_path)
    extras = {
        "good": (("fine",), "tests"),
        "absent": (("nowhere_to_be_found",), "tests"),
        "bad": (("raising", "fine"), "tests"),
        "worse": (("crashing",), "tests"),
    }
    monkeypatch.setattr(doctor, "EXTRAS", extras)
    good, absent, bad, worse = named("extra")
    assert (good.status, good.detail) == ("ok", "good: fine; for tests")
    assert (absent.status, absent.detail) == ("missing", "absent: nowhere_to_be_found not installed; for tests")
    assert absent.hint == "pip install 'gsbench-core[absent]'"
    assert (bad.status, bad.detail) == ("failed", "bad: raising: OSError: libfoo.so.2: cannot open")
    assert (worse.status, worse.detail) == (
        "failed",
        "worse: crashing: importing it ended Python with status 7",
    )


@pytest.mark.usefixtures("quick")
def test_only_what_is_essential_fails_the_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = lambda name: lambda: [Check(name, "failed", "broken")]  # noqa: E731
    for name in ("plugin", "extra", "data set", "metric"):
        with monkeypatch.context() as patch:
            patch.setitem(doctor._CHECKS, name, broken(name))
            assert main(["doctor"]) == 0
    with monkeypatch.context() as patch:
        patch.setitem(doctor._CHECKS, "rasterizer", broken("rasterizer"))
        assert main(["doctor"]) == 1
    capsys.readouterr()


def test_it_lists_every_plugin_and_metric() -> None:
    assert any("gsbench-core" in check.detail for check in named("plugin"))
    metrics = {check.detail.partition(":")[0]: check.status for check in named("metric")}
    assert metrics["psnr"] == metrics["ssim"] == "ok"
    assert {"lpips_vgg", "lpips_alex"} < set(metrics)
    assert "gsbench fetch lpips" in next(c.detail for c in named("metric") if c.detail.startswith("lpips_vgg"))


@pytest.mark.usefixtures("quick")
def test_json_and_text_tell_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert output["schema"] == "gsbench.doctor/1"
    assert main(["doctor"]) == 0
    text = click.unstyle(capsys.readouterr().out)
    for check in output["checks"]:
        assert set(check) == {"name", "status", "detail", "hint"}
        assert any(line.split()[-1] == check["detail"].split()[-1] for line in text.splitlines())


@pytest.mark.usefixtures("quick")
def test_a_check_that_breaks_is_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> NoReturn:
        raise OSError("libcuda.so.1: wrong ELF class")

    monkeypatch.setitem(doctor._CHECKS, "cuda", broken)
    assert main(["doctor"]) == 1
    (line,) = [x for x in click.unstyle(capsys.readouterr().out).splitlines() if x.startswith("cuda")]
    assert line.split()[1] == "failed"
    assert line.endswith("OSError: libcuda.so.1: wrong ELF class")


def test_a_full_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: FullDisk())
    (check,) = named("cache")
    assert (check.status, check.detail) == ("failed", f"{tmp_path / 'cache'} (0.1 GB free)")
    assert "make room" in check.hint


class FullDisk:
    free = 60_000_000


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o500)
    (check,) = named("cache")
    assert check.status == "failed"
    assert "GSBENCH_CACHE" in check.hint


def test_a_cache_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    (check,) = named("cache")
    assert check.status == "failed"
    assert "GSBENCH_CACHE" in check.hint


def test_a_missing_distribution_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    (check,) = named("gsbench")
    assert check.status == "failed"
    assert "pip install" in check.hint


def test_backends_are_compared(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from gsbench import registry
    from gsbench.cli import compare_backends
    from gsbench.raster.cpu import CpuBackend

    class Wrong(CpuBackend):
        """Too bright."""

        def rasterize(self, inputs: object) -> object:  # type: ignore[override]
            image, alpha, meta = super().rasterize(inputs)  # type: ignore[arg-type]
            return image + 1e-3, alpha, meta

    cases = compare_backends._cases()
    monkeypatch.setattr(compare_backends, "_cases", lambda: {"RGB": cases["RGB"], "depth": cases["depth"]})
    registry.rasterizers.register("wrong", Wrong)
    try:
        assert main(["doctor", "--compare-backends", "--json"]) == 0
    finally:
        registry.rasterizers.unregister("wrong")
    rows = json.loads(capsys.readouterr().out)["differences"]
    by_name = {(row["backend"], row["case"]): row for row in rows}
    assert by_name["cpu", "RGB"]["agrees"] is True
    assert by_name["cpu", "RGB"]["image"] < 1e-5
    assert by_name["wrong", "RGB"]["agrees"] is False
    assert by_name["wrong", "RGB"]["image"] == pytest.approx(1e-3, rel=0.02)
    if not torch.cuda.is_available():
        assert by_name["cuda", "-"]["note"] == "draws on CUDA devices, and torch finds none"
    assert main(["doctor", "--compare-backends"]) == 0
    assert "agrees" in capsys.readouterr().out
