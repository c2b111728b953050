"""``gsbench doctor`` reports and never breaks."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from pathlib import Path
from typing import NoReturn

import click
import pytest
import torch

from gsbench import native
from gsbench.cli import doctor, main
from gsbench.cli.doctor import Check, run_checks


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GSBENCH_CACHE", str(tmp_path / "cache"))


def named(name: str) -> list[Check]:
    return [check for check in run_checks() if check.name == name]


def test_what_it_says_is_true(tmp_path: Path) -> None:
    checks = {check.name: check for check in run_checks()}
    assert not [check for check in checks.values() if check.status == "failed"]
    assert sys.version.split()[0] in checks["python"].detail
    assert importlib.metadata.version("numpy") in checks["packages"].detail
    assert torch.__version__ in checks["torch"].detail
    for fact in (native.build_id(), native.cpu_isa(), str(native.library_path())):
        assert fact in checks["native library"].detail
    assert str(tmp_path / "cache") in checks["cache"].detail
    assert (checks["cuda"].status == "ok") == torch.cuda.is_available()
    assert checks["isolation"].status in ("ok", "missing")
    assert "cpu: one Gaussian peaks at 0." in checks["rasterizer"].detail


def test_it_lists_every_plugin_and_metric() -> None:
    assert any("gsbench-core" in check.detail for check in named("plugin"))
    metrics = {check.detail.partition(":")[0]: check.status for check in named("metric")}
    assert metrics["psnr"] == metrics["ssim"] == "ok"
    assert "lpips_vgg" in metrics


def test_json_and_text_tell_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert output["schema"] == "gsbench.doctor/1"
    assert main(["doctor"]) == 0
    text = click.unstyle(capsys.readouterr().out)
    for check in output["checks"]:
        assert set(check) == {"name", "status", "detail", "hint"}
        assert any(line.split()[-1] == check["detail"].split()[-1] for line in text.splitlines())


def test_a_check_that_breaks_is_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> NoReturn:
        raise OSError("libcuda.so.1: wrong ELF class")

    monkeypatch.setitem(doctor._CHECKS, "cuda", broken)
    assert main(["doctor"]) == 1
    (line,) = [x for x in click.unstyle(capsys.readouterr().out).splitlines() if x.startswith("cuda")]
    assert line.split()[1] == "failed"
    assert line.endswith("OSError: libcuda.so.1: wrong ELF class")


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
