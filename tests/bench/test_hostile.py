"""Runs where something is wrong around them: a full disk, folders that cannot be written or vanish, odd names.

One message, exit code 1 or 2, nothing half-written; and once the cause is gone, the same command goes on.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gsbench import _files
from gsbench.bench.model import JobEvent, Plan
from gsbench.bench.run import run_plan
from gsbench.bench.store import Store
from gsbench.errors import StoreError, UsageError

PlanOf = Callable[..., Plan]
#: Runs a shell script in which $RUN is the command without --out, and $DIR an empty folder.
Script = Callable[..., "subprocess.CompletedProcess[str]"]

_UNSHARE = ["unshare", "--user", "--map-root-user", "--mount"]
#: Root without the power to write where permissions say no.
_POWERLESS = [
    "setpriv",
    "--bounding-set",
    "-dac_override,-dac_read_search",
    "--inh-caps",
    "-dac_override,-dac_read_search",
]


@pytest.fixture(autouse=True)
def _one_isolation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The isolations have tests of their own; here the faster one will do."""
    monkeypatch.setenv("GSBENCH_ISOLATION", "audit-hook")


def works(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0
    except OSError:
        return False


@pytest.fixture
def script(resumable: Path, capture: Path, tmp_path: Path) -> Script:
    def run(text: str, prefix: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / "place"
        folder.mkdir()
        words = [sys.executable, "-m", "gsbench", "run", "--methods", "walk", "--scenes", f"path:{capture}"]
        words += ["--metrics", "psnr", "--threads", "1", "--quiet", "--json", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(resumable), "DIR": str(folder)}
        return subprocess.run(
            [*prefix, "sh", "-c", text.replace("$RUN", '"$@"'), "sh", *words],
            env=environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def mounting(tmp_path: Path) -> list[str]:
    """Begins commands that may mount file systems of their own."""
    if not works([*_UNSHARE, "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)]):
        pytest.skip("no user namespaces here to mount a small file system in")
    return _UNSHARE


def one_message(text: str) -> str:
    """What was said on stderr, which is one line of ours."""
    (line,) = (line for line in text.splitlines() if not line.startswith("gsbench: note"))
    assert line.startswith("gsbench: error: ")
    return line


def test_a_disk_without_any_room(script: Script, mounting: list[str]) -> None:
    done = script("mount -t tmpfs -o size=4k tmpfs $DIR && { $RUN --out $DIR/runs; echo code $?; }", mounting)
    assert done.stdout == "code 2\n"
    assert one_message(done.stderr).endswith(".json: No space left on device")


@pytest.mark.slow
@pytest.mark.parametrize("size", [24, 40, 400, 2000])
def test_a_full_disk(script: Script, mounting: list[str], tmp_path: Path, size: int) -> None:
    """Room for nearly nothing; for a checkpoint and no model; for a model and no artifact. Then there is room."""
    done = script(
        f"mount -t tmpfs -o size={size}k tmpfs $DIR && "
        "{ $RUN --out $DIR/runs >$DIR.1; echo code $? >&2; } && mount -o remount,size=64m $DIR && "
        "echo then >&2 && { $RUN --out $DIR/runs; echo code $? >&2; } && find $DIR/runs >$DIR.files",
        mounting, "--checkpoint-every", "9", "--set", f"walk.size={size * 512}",
    )  # fmt: skip
    first, _, second = done.stderr.partition("then\n")
    assert "Traceback" not in done.stderr
    told = (tmp_path / "place.1").read_text()
    assert "cannot be written" in first + told or "results folder" in first + told
    assert "No space left on device" in first + told
    assert first.endswith(("code 1\n", "code 2\n")), first
    assert second.endswith("code 0\n"), second
    (record,) = json.loads(done.stdout)["records"]
    assert record["status"] == "ok"


def test_a_folder_on_a_read_only_disk(script: Script, mounting: list[str]) -> None:
    done = script(
        "mount -t tmpfs tmpfs $DIR && mount -o remount,ro $DIR && { $RUN --out $DIR/runs; echo code $?; }", mounting
    )
    assert done.stdout == "code 2\n"
    assert one_message(done.stderr).endswith("/runs: Read-only file system")


@pytest.mark.parametrize("place", [pytest.param("$DIR", marks=pytest.mark.slow), "$DIR/runs"])
def test_a_folder_without_permission(script: Script, place: str) -> None:
    prefix = _POWERLESS if os.geteuid() == 0 else []
    if prefix and not works([*prefix, "true"]):
        pytest.skip("this is root, and setpriv, which takes its powers, does not work here")
    done = script(f"mkdir -p {place}; chmod 500 {place}; $RUN --out $DIR/runs; echo code $?; chmod 700 {place}", prefix)
    assert done.stdout == "code 2\n"
    assert "Permission denied" in one_message(done.stderr)


def test_two_runs_in_one_folder(resumable_plan: PlanOf, capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from gsbench.cli import main

    plan = resumable_plan("walk")
    with Store(plan.out).exclusive():
        code = main(["run", "--methods", "walk", "--scenes", f"path:{capture}", "--out", str(plan.out), "--quiet"])
    assert code == 2
    message = one_message(capsys.readouterr().err)
    assert f"results folder {plan.out} is in use by another run (process {os.getpid()} on " in message
    assert message.endswith("wait for it, or use another --out")


def test_the_lock_of_a_killed_run_does_not_hold(tmp_path: Path) -> None:
    holder = (
        "import os, sys; from pathlib import Path; from gsbench.bench.store import Store\n"
        "with Store(Path(sys.argv[1])).exclusive(): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", holder, str(tmp_path / "runs")], check=False).returncode == -9
    assert (tmp_path / "runs" / ".lock").read_text().startswith("process ")
    with Store(tmp_path / "runs").exclusive():
        pass


def test_odd_names(resumable_plan: PlanOf, capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spaces, quotes, other scripts, and names as long as a file system allows."""
    longest = ("Zürich 'ü' \"北京\" 🏔 " + "ö" * 200).encode()[:255].decode(errors="ignore")
    scene = tmp_path / "scènes & ${HOME} ; \n" / longest
    scene.parent.mkdir()
    capture.rename(scene)
    out = tmp_path / longest / "out\t[*]?"
    # A locale in which none of this can be written must not matter.
    monkeypatch.setenv("LC_ALL", "C")
    plan = resumable_plan("walk", scenes=[f"path:{scene}"], out=out, threads=1)
    (record,) = run_plan(plan)
    assert record.status == "ok", record.error
    assert (out / str(record.artifact)).is_file()
    assert Store(out).read_record(str(record.path())) == record
    assert run_plan(plan) == [record]


def test_names_that_are_too_long(resumable_plan: PlanOf, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="File name too long"):
        run_plan(resumable_plan("walk", out=tmp_path / ("x" * 256)))


def test_names_that_are_no_text(resumable_plan: PlanOf, capture: Path, tmp_path: Path) -> None:
    bad = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))
    with pytest.raises(UsageError, match="the name is not UTF-8; rename the folder"):
        resumable_plan("walk", out=bad)
    try:
        capture.rename(bad)
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(UsageError, match="the name is not UTF-8; rename the folder"):
        resumable_plan("walk", scenes=[f"path:{bad}"])


@pytest.mark.parametrize("length", [1, 241, 242, 250, 255])
def test_temporary_names_fit_as_long_as_the_name_itself_does(tmp_path: Path, length: int) -> None:
    for letter in ("x", "ö", "🏔"):
        name = (letter * 255).encode()[:length].decode(errors="ignore") or "x"
        with _files.atomic_file(tmp_path / name) as file:
            (temporary,) = (p for p in tmp_path.iterdir() if p.name.startswith("."))
            assert temporary.name.endswith(".tmp")
            file.write(b"content")
        assert (tmp_path / name).read_bytes() == b"content"
        assert [p.name for p in tmp_path.iterdir()] == [name]
        (tmp_path / name).unlink()


def test_a_results_folder_that_vanishes(resumable_plan: PlanOf, tmp_path: Path) -> None:
    """While one job trains and another one waits: both end with a row or a message, and a new run works."""
    hold, trace = tmp_path / "hold", tmp_path / "trace"
    hold.touch()
    settings = [f"walk.hold={hold}", "walk.hold_at=20", f"walk.trace={trace}"]
    plan = resumable_plan("walk", settings=settings, threads=1, checkpoint_every=30)
    events: list[JobEvent] = []

    def vanish() -> None:
        while not trace.exists() or not trace.read_text().endswith("19\n"):
            threading.Event().wait(0.05)
        shutil.rmtree(plan.out)
        hold.unlink()

    thread = threading.Thread(target=vanish)
    thread.start()
    (record,) = run_plan(plan, events.append)
    thread.join()
    assert record.status == "failed"
    assert record.error is not None
    assert "No such file or directory" in record.error.message
    (again,) = run_plan(plan)
    assert (again.status, again.resumed) == ("ok", 1), "the checkpoint after that was kept"


def test_stages_of_two_runs_in_folders_that_are_one(resumable_plan: PlanOf, tmp_path: Path) -> None:
    """A results folder under two names is one folder."""
    plan = resumable_plan("walk", threads=1)
    (tmp_path / "other").symlink_to(plan.out)
    plan.out.mkdir()
    other: Any = resumable_plan("walk", out=tmp_path / "other")
    with Store(plan.out).exclusive(), pytest.raises(StoreError, match="in use by another run"):
        run_plan(other)


def test_temporary_files_of_killed_runs_are_removed(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    stray = [
        "gs1600/path/desk/walk/.default.json.0123abcd.tmp",
        "gs1600/path/desk/walk/.default.gsb.0123abcd.tmp",
        "jobs/gs1600/path/desk/walk/.default.json.0123abcd.tmp",
    ]
    kept = ["gs1600/path/desk/walk/default.json", "stages/train/x/.hidden.tmp", "notes.tmp", ".own.tmp"]
    for name in [*stray, *kept]:
        (store.root / name).parent.mkdir(parents=True, exist_ok=True)
        (store.root / name).write_text("")
    store.clean()
    assert {str(p.relative_to(store.root)) for p in store.root.rglob("*") if p.is_file()} == set(kept)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_results_that_find_no_room() -> None:
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-m", "gsbench", "plugins", "--json"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert one_message(done.stderr) == "gsbench: error: the output cannot be written: No space left on device"
