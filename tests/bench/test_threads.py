"""What is said about threads before libraries are loaded."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gsbench.bench.threads import WAITING, set_threads, thread_counts

COUNTS = {"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "3"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (*WAITING, *COUNTS):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.usefixtures("environment")
def test_counts_and_how_to_wait() -> None:
    set_threads(3)
    assert {name: os.environ[name] for name in COUNTS} == COUNTS == thread_counts(3)
    assert {name: os.environ[name] for name in WAITING} == WAITING


@pytest.mark.usefixtures("environment")
def test_no_count_leaves_the_numbers_alone() -> None:
    set_threads()
    assert not any(name in os.environ for name in COUNTS)
    assert os.environ["OMP_WAIT_POLICY"] == "passive"


def test_what_the_user_says_about_waiting_holds(environment: pytest.MonkeyPatch) -> None:
    """GNU's OpenMP obeys a number of spins rather than a policy: none may come beside the user's."""
    environment.setenv("OMP_WAIT_POLICY", "active")
    set_threads(3)
    assert os.environ["OMP_WAIT_POLICY"] == "active"
    assert "GOMP_SPINCOUNT" not in os.environ
    environment.delenv("OMP_WAIT_POLICY")
    environment.setenv("GOMP_SPINCOUNT", "7")
    set_threads(3)
    assert os.environ["GOMP_SPINCOUNT"] == "7"


def test_nothing_heavy_is_loaded() -> None:
    code = "import sys, gsbench.bench.threads; print([m for m in ('torch', 'numpy', 'pandas') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"
