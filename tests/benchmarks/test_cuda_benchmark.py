"""The benchmark for GPUs runs: where there is none, on the CPU at small sizes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch


def test_it_measures(repository: Path, tmp_path: Path) -> None:
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
    command = [sys.executable, "-m", "benchmarks.cuda"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "no CUDA device: torch finds none on this machine\n"
