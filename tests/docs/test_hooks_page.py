"""docs/hooks.md: every hook is on it, with its signature, and its examples are a plugin that works."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsbench import hooks, registry
from gsbench.coding.api import TOTAL, EntropyCoder
from gsbench.coding.gaussian import decode_gaussian, encode_gaussian
from gsbench.errors import ArtifactError
from gsbench.hooks import hookspecs
from gsbench.hooks.contributions import HOOKS
from gsbench.testing import tiny_scene, write_distribution
from gsbench.testing.samples import write_scene


@pytest.fixture(scope="module")
def sections(repository: Path) -> dict[str, str]:
    """The page by heading."""
    text = (repository / "docs" / "hooks.md").read_text(encoding="utf-8")
    _, *parts = re.split(r"^## (\S+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.fixture(scope="module")
def files(repository: Path) -> dict[str, str]:
    """Blocks that begin with a comment naming their file; those of one file are put together, in their order."""
    text = (repository / "docs" / "hooks.md").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for name, block in re.findall(r"```\w+\n# (\S+)\n(.*?)```", text, re.DOTALL):
        found[name] = f"{found[name]}\n\n{block}" if name in found else block
    return found


@pytest.fixture(scope="module")
def site(files: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin, installed."""
    project = tomllib.loads(files["pyproject.toml"])["project"]
    modules = {"gsbench_lab/__init__.py": "", **{n: text for n, text in files.items() if n.endswith(".py")}}
    folder = tmp_path_factory.mktemp("hooks") / "site"
    points = project["entry-points"]["gsbench"]
    write_distribution(folder, project["name"], modules, entry_points=points, version=project["version"])
    return folder


@pytest.fixture
def loaded(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hooks.PluginStatus]:
    """The plugin's row, with its names registered."""
    monkeypatch.syspath_prepend(site)
    hooks.unload_plugins()
    (row,) = [row for row in hooks.load_plugins() if row.distribution == "gsbench-lab"]
    yield row
    hooks.unload_plugins()


def test_every_hook_has_a_section_and_an_example(sections: dict[str, str]) -> None:
    assert tuple(sections) == HOOKS, "in the order of hookspecs.py"
    for hook, text in sections.items():
        assert re.search(rf"```python\n# gsbench_lab/plugin\.py\n.*?@gsbench\.hookimpl\ndef {hook}\(", text, re.DOTALL)


@pytest.mark.parametrize("hook", HOOKS)
def test_signatures_are_those_of_the_specifications(sections: dict[str, str], hook: str) -> None:
    shown = re.search(r"```text\n(.*?)\n```", sections[hook])
    assert shown is not None
    assert shown[1] == f"{hook}{inspect.signature(getattr(hookspecs, hook))}".replace("'", "")


def test_the_plugin_is_used(loaded: hooks.PluginStatus) -> None:
    assert (loaded.status, loaded.reason, loaded.warnings) == ("ok", None, [])
    assert loaded.hooks == sorted(HOOKS)


def gsbench(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    inherited = os.environ.get("PYTHONPATH")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(site), *([inherited] if inherited else [])]),
        "GSBENCH_DATA": str(folder / "data"),
        "GSBENCH_ISOLATION": "audit-hook",
        "LAB_JOURNAL": str(folder / "journal.txt"),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", "gsbench", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


RUN = (
    "run", "--methods", "lab-flat", "--scenes", "lab/desk", "--iterations", "12", "--metrics", "psnr,lab_mae",
    "--engine", "lab-one-by-one", "--threads", "1", "--json",
)  # fmt: skip


def test_a_run_uses_what_the_page_brings(site: Path, tmp_path: Path) -> None:
    """Method, data set, protocol, metric, rasterizer, engine, observers, verb; and a job that fails."""
    write_scene(tiny_scene(), tmp_path / "data" / "lab" / "desk")
    done = gsbench(site, tmp_path, *RUN, "--rates", "all", "--set", "lab-flat.backend=lab-timed")
    assert done.returncode == 0, done.stderr + done.stdout
    records: dict[str, Any] = {record["rate"]: record for record in json.loads(done.stdout)["records"]}
    assert set(records) == {"flat", "linear"}
    for record in records.values():
        assert (record["dataset"], record["scene"], record["protocol"]["id"]) == ("lab", "desk", "lab-small")
        assert 0.0 < record["metrics"]["lab_mae"] < 0.5
    stored = {rate: record["sections"]["sh"] // record["gaussians"] for rate, record in records.items()}
    assert stored == {"flat": 4 * 3, "linear": 4 * 3 * 4}

    failing = gsbench(site, tmp_path, *RUN, "--set", "lab-flat.backend=none-such", "--out", "other")
    assert failing.returncode == 1, failing.stderr
    stopped = gsbench(site, tmp_path, *RUN, "--timeout", "0.01", "--out", "another")
    assert stopped.returncode == 1, stopped.stderr
    (record,) = json.loads(stopped.stdout)["records"]
    assert record["error"]["message"] == "it took longer than --timeout 0.01 s"

    journal = gsbench(site, tmp_path, "lab-journal").stdout.splitlines()
    assert sum(line.startswith("drawn 32x24 in ") for line in journal) >= 2 * 12, "each step of both trainings"
    ends = [line.split()[0] for line in journal if not line.startswith("drawn")]
    # The job that is stopped never says that it began.
    assert ends == ["started", "finished", "started", "finished", "started", "failed", "failed"]
    assert "PSNR" in next(line for line in journal if line.startswith("finished"))
    assert "in train: " in journal[-2]
    assert "in job: it took longer" in journal[-1]


def tables_and_symbols(count: int, rows: int = 3, symbols: int = 9) -> tuple[Any, Any, Any, float]:
    """Random tables, symbols drawn by them, and what these cost in bits."""
    random = np.random.default_rng(5)
    widths = random.dirichlet(np.full(symbols, 0.4), rows) * (TOTAL - symbols)
    frequencies = np.floor(widths).astype(np.int64) + 1
    frequencies[:, 0] += TOTAL - frequencies.sum(axis=1)
    tables = np.concatenate([np.zeros((rows, 1), np.int64), frequencies.cumsum(axis=1)], axis=1).astype(np.uint32)
    index = random.integers(0, rows, count).astype(np.int32)
    slots = random.integers(0, TOTAL, count)
    drawn = np.array([np.searchsorted(tables[t], s, side="right") - 1 for t, s in zip(index, slots, strict=True)])
    bits = -np.log2(frequencies[index, drawn] / TOTAL).sum()
    return tables, index, drawn.astype(np.int32), float(bits)


def test_the_entropy_coder_is_one(loaded: hooks.PluginStatus) -> None:
    coder = registry.entropy_coders.get("lab-rans")()
    assert isinstance(coder, EntropyCoder)
    tables, index, symbols, bits = tables_and_symbols(4000)
    encoder = coder.encoder()
    for part in (slice(0, 1500), slice(1500, 1500), slice(1500, None)):
        encoder.put(symbols[part], tables, index[part])
    stream = encoder.finish()
    assert bits / 8 <= len(stream) <= 1.001 * bits / 8 + 4
    decoder = coder.decoder(stream)
    assert np.array_equal(np.concatenate([decoder.get(tables, i) for i in (index[:7], index[7:])]), symbols)
    decoder.finish()
    assert coder.encoder().finish() == b"\1\0\0\0"
    coder.decoder(b"\1\0\0\0").finish()


def test_the_entropy_coder_refuses_damage(loaded: hooks.PluginStatus) -> None:
    coder = registry.entropy_coders.get("lab-rans")()
    tables, index, symbols, _ = tables_and_symbols(300)
    encoder = coder.encoder()
    encoder.put(symbols, tables, index)
    stream = encoder.finish()

    def decode(data: bytes) -> None:
        decoder = coder.decoder(data)
        decoder.get(tables, index)
        decoder.finish()

    for length in range(len(stream)):
        with pytest.raises(ArtifactError):
            decode(stream[:length])
    with pytest.raises(ArtifactError):
        decode(stream + b"\0\0")


def test_the_entropy_coder_serves_conditional_gaussians(loaded: hooks.PluginStatus) -> None:
    coder = registry.entropy_coders.get("lab-rans")()
    random = np.random.default_rng(6)
    mean64 = random.integers(-640, 640, 500).astype(np.int32)
    scale = random.integers(0, 128, 500).astype(np.uint8)
    symbols = (mean64 // 64 + random.integers(-3, 4, 500)).astype(np.int32)
    stream = encode_gaussian(symbols, mean64, scale, coder=coder)
    assert np.array_equal(decode_gaussian(stream, mean64, scale, coder=coder), symbols)
    assert stream != encode_gaussian(symbols, mean64, scale)
