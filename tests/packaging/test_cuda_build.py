"""The CUDA sources compile for devices without a warning."""

from __future__ import annotations

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
