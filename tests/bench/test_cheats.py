"""Decoding cannot succeed by other means than the artifact.

A method that cheats in every way we could think of decodes in a sealed process, under both isolations, and gets
nowhere. The same code in a process that is not sealed gets at its secret in every way: so the seal is what stops it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gsbench.artifact import ArtifactWriter
from gsbench.bench.model import RunRequest
from gsbench.bench.plan import build_plan
from gsbench.bench.runner import run_job
from gsbench.bench.sealed import SealedArtifactError, decode_sealed, namespaces_unavailable
from gsbench.native import linux
from gsbench.splats import Camera

PLUGINS = Path(__file__).parent / "plugins"

ISOLATIONS = [
    pytest.param("audit-hook", id="audit-hook"),
    pytest.param(
        "namespaces",
        id="namespaces",
        marks=pytest.mark.skipif(
            namespaces_unavailable() is not None, reason=f"no namespaces: {namespaces_unavailable()}"
        ),
    ),
]


@pytest.fixture
def cheat(install: Callable[..., Path]) -> Path:
    root = install(
        "gsbench-cheat",
        {
            "cheat/__init__.py": "",
            "cheat/plugin.py": (PLUGINS / "cheat_plugin.py").read_text(),
            "cheat/method.py": (PLUGINS / "cheat_method.py").read_text(),
        },
        "cheat.plugin",
    )
    install("innocent-neighbor", {"neighbor/__init__.py": ""}, None)
    return root


@pytest.fixture
def hidden(cheat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, dict[str, Any], str]]:
    """The cheating module, the places where it hid its secret, and the secret."""
    from cheat import method  # type: ignore[import-not-found]

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CHEAT_SECRET", "")
    monkeypatch.setenv("OMP_PLACES", "")
    secret = secrets.token_hex(32)
    where, alive = method.hide(secret, tmp_path)
    yield method, where, secret
    block, *rest = alive
    block.close()
    with contextlib.suppress(FileNotFoundError):  # the other process's resource tracker was faster
        block.unlink()
    Path(where["shm_file"]).unlink()
    for thing in rest:
        if isinstance(thing, tuple):
            for descriptor in thing:
                os.close(descriptor)
        elif isinstance(thing, subprocess.Popen):
            thing.kill()
            thing.wait()
        else:
            thing.close()


def _channels(where: dict[str, Any], secret: str) -> str:
    return json.dumps({"where": where, "digest": hashlib.sha256(secret.encode()).hexdigest()})


def test_every_channel_works_where_nothing_is_sealed(hidden: tuple[Any, dict[str, Any], str], tmp_path: Path) -> None:
    """The control: without it, a channel that never worked would look stopped."""
    _, where, secret = hidden
    program = "import json, sys; from cheat import method; r = json.loads(sys.argv[1]); " + (
        "print(json.dumps(method.attempt(r['where'], r['digest'])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, _channels(where, secret)],
        env={**os.environ, "PYTHONPATH": where["listing"]},
        cwd=tmp_path,
        close_fds=False,
        capture_output=True,
        text=True,
        check=True,
    )
    outcome = json.loads(done.stdout)
    assert {name: result for name, result in outcome.items() if result != "LEAKED"} == {}
    assert len(outcome) > 30


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_no_channel_works_in_a_sealed_process(
    hidden: tuple[Any, dict[str, Any], str], isolation: str, tmp_path: Path, cameras: list[Camera]
) -> None:
    method, where, secret = hidden
    artifact = tmp_path / "artifact.gsb"
    with ArtifactWriter(artifact, "cheat", "1.0") as out:
        out.section("channels", _channels(where, secret).encode())
    (tmp_path / "out").mkdir()
    with pytest.raises(SealedArtifactError) as caught:
        decode_sealed("cheat", artifact, cameras, [0, 0, 0], "cpu", 1, tmp_path / "out", isolation=isolation)
    outcome = json.loads(str(caught.value))
    assert outcome.keys() == method.CHANNELS.keys()
    leaks = {name for name, result in outcome.items() if result == "LEAKED"}
    excused = set()
    if isolation == "audit-hook":
        # Without Landlock, nobody watches native code.
        excused = method.NAMES | (method.NATIVE if linux.landlock_version() == 0 else set())
    assert leaks - excused == set(), json.dumps(outcome, indent=1)
    assert secret not in json.dumps(outcome), "not even in a message"
    if isolation == "audit-hook":
        # The hook itself refuses what Python code does, with or without the kernel's help.
        absent = {"environment", "kept variable", "inherited pipe", "process list"}
        watched = outcome.keys() - method.NATIVE - method.NAMES - absent
        assert {name for name in watched if "the sealed decoder may not" not in outcome[name]} == set()


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_cheating_method_fails_in_a_run(
    cheat: Path, capture: Path, tmp_path: Path, isolation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Side files in its working directory and elsewhere, the environment, and memory of the process that trained."""
    monkeypatch.setenv("GSBENCH_ISOLATION", isolation)
    (tmp_path / "elsewhere").mkdir()
    request = RunRequest(
        methods=["cheat"],
        scenes=[f"path:{capture}"],
        out=tmp_path / "runs",
        settings=[f"cheat.folder={tmp_path}/elsewhere"],
        threads=1,
    )
    record = run_job(build_plan(request).jobs[0], lambda event: None)
    assert (tmp_path / "elsewhere" / "side.txt").is_file()
    assert record.status == "failed"
    assert record.error is not None
    assert (record.error.stage, record.error.message) == ("decode", "nothing to cheat with")
    assert (record.bytes, record.metrics, record.artifact) == (None, {}, None)
    monkeypatch.delenv("CHEAT_VALUE")
