"""Synthetic records on disk, as runs would have left them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gsbench.protocols import GS1600
from gsbench.records import record_from_json, write_record
from gsbench.records.io import to_json

#: Makes a record and its artifact in a folder: (folder, method, rate, ...) -> path of the record.
MakeRecord = Callable[..., Path]

ENVIRONMENT = {
    "cpu": "Some CPU",
    "isa": "avx2",
    "threads": 2,
    "torch": "2.13.0+cpu",
    "python": "3.11.7",
    "gsbench": "0.1.0",
    "native_build": "ab" * 8,
    "commit": "cd" * 20,
}


@pytest.fixture(autouse=True)
def _no_plugins_left() -> Iterator[None]:
    """Boards load plugins; other tests install some of their own."""
    from gsbench.hooks import unload_plugins

    yield
    unload_plugins()


def record_value(
    method: str = "hac",
    rate: str = "low",
    *,
    dataset: str = "demo",
    scene: str = "demo",
    seed: int = 0,
    artifact: bytes = b"x" * 1000,
    metrics: Mapping[str, float | None] | None = None,
    protocol: tuple[str, str] = (GS1600.id, GS1600.hash),
    suffix: str = ".gsb",
    **changes: Any,
) -> dict[str, Any]:
    """A record of two held-out views, as JSON. `metrics` are the means."""
    means = {"psnr": 27.0, "ssim": 0.8} if metrics is None else dict(metrics)
    offsets = (-0.25, 0.25)
    stem = f"{rate}.{seed}" if seed else rate
    return {
        "schema": "gsbench.record/1",
        "status": "ok",
        "protocol": {"id": protocol[0], "hash": protocol[1]},
        "method": method,
        "method_info": {"distribution": f"gsbench-{method}", "version": "0.1.0", "digest": "ab" * 32},
        "dataset": dataset,
        "scene": scene,
        "rate": rate,
        "seed": seed,
        "config": {"iterations": 30000, "lr": 0.5},
        "iterations": 1500,
        "scene_hash": "ef" * 32,
        "bytes": len(artifact),
        "sha256": hashlib.sha256(artifact).hexdigest(),
        "sections": {"header": 100, "anchors": len(artifact) - 100} if len(artifact) > 100 else {},
        "artifact": None
        if changes.get("status") == "failed"
        else f"{protocol[0]}/{dataset}/{scene}/{method}/{stem}{suffix}",
        "gaussians": 1000,
        "metrics": means,
        "views": [
            {"name": f"{i}.png", "metrics": {n: None if v is None else v + offset for n, v in means.items()}}
            for i, offset in enumerate(offsets)
        ],
        "reasons": {name: "no weights" for name, value in means.items() if value is None},
        "seconds": {"train": 60.0, "encode": 2.0, "decode": 1.0},
        "render_ms": {"median": 10.0, "p95": 12.0},
        "peak_host_bytes": 10**9,
        "environment": ENVIRONMENT,
        "isolation": "namespaces",
        **changes,
    }


def put_record(folder: Path, *names: str, artifact: bytes = b"x" * 1000, **fields: Any) -> Path:
    """Write a record and its artifact below a results folder; the record's path."""
    record = record_from_json(to_json(record_value(*names, artifact=artifact, **fields)))
    path = folder / record.path()
    write_record(path, record)
    if record.artifact is not None and record.status == "ok":
        (folder / record.artifact).write_bytes(artifact)
    return path


@pytest.fixture
def put() -> MakeRecord:
    """`put_record`."""
    return put_record


@pytest.fixture
def value() -> Callable[..., dict[str, Any]]:
    """`record_value`."""
    return record_value
