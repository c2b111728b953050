"""The CUDA sources compile for devices without a warning."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_compiles_without_a_warning(repository: Path) -> None:
    """For the oldest and a newer kind of device; a warning is an error. (Where there is no nvcc, the script gets one
    from PyPI; tests take what the machine has.)
    """
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc on this machine; csrc/cuda/check.sh fetches one")
    script = repository / "csrc" / "cuda" / "check.sh"
    done = subprocess.run([script, "75", "90"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "compiled without a warning for 75 90" in done.stdout


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
