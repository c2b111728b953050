"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

try:
    import torch
except ImportError:  # the light environments of tox.ini run the tests marked so without it
    torch = None  # type: ignore[assignment]

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
