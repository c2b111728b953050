"""Figures: what they show, and that they are the same twice."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gsbench.cli import main

pytest.importorskip("matplotlib", reason="the extra plot is not installed")
Put = Callable[..., Path]


@pytest.fixture
def runs(tmp_path: Path, put: Put) -> Path:
    for index, rate in enumerate(("low", "mid", "high")):
        for seed in (0, 1):
            metrics = {"psnr": 25.0 + index + 0.1 * seed, "ssim": 0.8 + 0.01 * index}
            put(tmp_path / "runs", "hac", rate, seed=seed, artifact=b"x" * 1000 * 2**index, metrics=metrics)
    put(tmp_path / "runs", "scaffold", "default", artifact=b"x" * 9000)
    return tmp_path / "runs"


@pytest.mark.parametrize("suffix", ["pdf", "svg", "png"])
def test_the_same_records_give_the_same_figure(suffix: str, runs: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.{suffix}" for name in "ab"]
    for path in paths:
        assert main(["plot", str(runs), "-o", str(path), "--metrics", "psnr,ssim", "--width", "double"]) == 0
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    assert first.startswith({"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG"}[suffix])
    if suffix == "svg":
        text = first.decode()
        for word in ("hac", "scaffold", "Pareto front", "PSNR (dB) ↑", "SSIM ↑", "Size on disk (MB)"):
            assert f">{word}<" in text, "text stays text"
    if suffix == "png":
        image = np.asarray(Image.open(io.BytesIO(first)).convert("RGB")).reshape(-1, 3)
        for color in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
            assert (image == color).all(axis=1).sum() > 50, "both curves are drawn"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "fig.jpg"], "expected a name that ends in .pdf, .svg, .png"),
        (["-o", "no/such/fig.png"], "there is no folder no/such"),
        (["-o", "fig.png", "--metrics", "pnsr"], "did you mean 'psnr'"),
        (["-o", "fig.png", "--scene", "demi"], "did you mean 'demo'"),
        (["-o", "fig.png", "--methods", "hca"], "did you mean 'hac'"),
        (["-o", "fig.png", "--dataset", "tandt"], "expected one of: --dataset demo --protocol gs1600"),
    ],
)
def test_wrong_usage(
    arguments: list[str],
    message: str,
    runs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plot", str(runs), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("fig*"))
