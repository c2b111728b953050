"""The CUDA sources compile for devices without a warning."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.mark.slow
def test_compiles_without_a_warning(repository: Path) -> None:
    """For the oldest and the newest kind of device; a warning is an error. (Where there is no nvcc, the script gets one
    from PyPI; tests take what the machine has.)
    """
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc on this machine; csrc/cuda/check.sh fetches one")
    script = repository / "csrc" / "cuda" / "check.sh"
    done = subprocess.run([script, "75", "120"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "compiled without a warning for 75 120" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["raster", "blend", "blend_backward", "training", "context"])
def test_the_code_for_devices_is_deterministic_and_exact(repository: Path, tmp_path: Path, unit: str) -> None:
    """No float is added atomically, no operation is fused that is not written so (-fmad=false leaves a*b+c alone), and
    divisions and roots round correctly; the one approximation is the power of 2 of blending.
    """
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc on this machine")
    csrc, target = repository / "csrc", tmp_path / "unit.ptx"
    flags = ["-O3", "-std=c++17", "-fmad=false", "-arch=compute_80", "-ptx", f"-I{csrc}"]
    source = csrc / "cuda" / f"{unit}.cu"
    subprocess.run([nvcc, *flags, source, "-o", target], check=True, capture_output=True, timeout=600)
    text = target.read_text()
    assert not re.findall(r"\b(?:atom|red)\.(?:global|shared)\S*\.(?:f16|bf16|f32|f64)", text)
    assert not re.findall(r"\b(?:sqrt|div|rcp)\.(?:approx|full)\S*", text)
    approximate = set(re.findall(r"\b\w+\.approx\S*", text))
    assert approximate == ({"ex2.approx.ftz.f32"} if unit.startswith("blend") else set())


def test_without_a_compiler_it_says_why(repository: Path, tmp_path: Path) -> None:
    """Neither nvcc on the PATH nor an index to have it from."""
    for name in ("bash", "dirname", "mktemp", "nproc", "rm", "xargs"):
        found = shutil.which(name)
        assert found is not None, name
        (tmp_path / name).symlink_to(found)
    # The script asks python3 for an environment; this one has a pip that reaches no index.
    python = tmp_path / "python3"
    python.write_text(
        f'#!{tmp_path / "bash"}\nPATH=/usr/bin:/bin\nmkdir -p "$3/bin"\n'
        'printf \'#!/bin/sh\\necho no index here >&2\\nexit 1\\n\' >"$3/bin/pip"\nchmod +x "$3/bin/pip"\n'
    )
    python.chmod(0o755)
    script = repository / "csrc" / "cuda" / "check.sh"
    done = subprocess.run(
        [tmp_path / "bash", script], env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "no index here" in done.stderr
    assert "there is no nvcc on the PATH, and pip could not fetch one" in done.stderr
