"""``gsbench run`` and ``plan`` from one end to the other, with a method that takes no time."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]
Terminal = Callable[[Sequence[str], Path, Mapping[str, str]], tuple[int, str]]
Here = Callable[..., tuple[int, str, str]]

HEADER = ["method", "scene", "rate", "MB", "PSNR", "SSIM", "LPIPS", "Gaussians"]
STAGES = ["train", "encode", "decode", "score"]


def records(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*.json") if "stages" not in p.parts and "jobs" not in p.parts)


def test_run_ends_with_a_table_and_what_is_there_is_not_done_again(
    command_line: CommandLine, here: Here, tiny_capture: Path, tmp_path: Path
) -> None:
    request = ["--methods", "points", "--scenes", f"path:{tiny_capture}", "--rates", "all"]
    code, out, _ = here("plan", *request)
    assert code == 0
    assert [line.split()[:3] for line in out.splitlines()[1:3]] == [
        ["points", "path/tiny", "small"],
        ["points", "path/tiny", "large"],
    ]
    assert "2 jobs; to do: 2 x train, 2 x encode, 2 x decode, 2 x score" in out
    assert list(tmp_path.iterdir()) == [], "a plan writes nothing"

    done = command_line("run", *request)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Held-out views, protocol gs1600")
    assert lines[2].split()[:8] == HEADER
    rows = {line.split()[2]: line.split() for line in lines[3:5]}
    assert set(rows) == {"small", "large"}
    assert [rows[r][7] for r in ("small", "large")] == ["100", "200"]
    assert float(rows["small"][3]) < float(rows["large"][3])
    assert 5 < float(rows["large"][4]) < 60
    assert any(line.startswith("— LPIPS: ") for line in lines)
    assert "Records: runs" in lines
    assert len(records(tmp_path / "runs")) == 2
    following = lines[-1].removeprefix("Next:").strip()
    assert following.startswith("gsbench inspect runs/")
    code, out, _ = here(*shlex.split(following)[1:])
    assert code == 0
    assert "total" in out

    assert "2 jobs, all done" in here("plan", *request)[1]
    again = command_line("run", *request)
    assert again.stdout == done.stdout
    assert again.stderr.count(", there already") == 2
    assert "train" not in again.stderr


def test_progress_is_on_stderr_and_json_alone_on_stdout(
    command_line: CommandLine, here: Here, tiny_capture: Path, tmp_path: Path
) -> None:
    request = ["--methods", "points", "--scenes", f"path:{tiny_capture}", "--out", "out"]
    done = command_line("run", *request, "--json")
    assert done.returncode == 0, done.stderr
    output = json.loads(done.stdout)
    assert set(output) == {"schema", "records"}
    (record,) = output["records"]
    assert (record["status"], record["method"], record["dataset"], record["scene"]) == ("ok", "points", "path", "tiny")
    assert (record["rate"], record["seed"], record["gaussians"]) == ("small", 0, 100)
    assert Path(record["artifact"]).stat().st_size == record["bytes"] == sum(record["sections"].values())
    assert record["seconds"]["train"] is not None
    assert record["metrics"]["psnr"] > 5
    said = re.findall(r"^\d\d:\d\d:\d\d points path/tiny small: (.*)$", done.stderr, re.MULTILINE)
    assert len(said) == len(done.stderr.splitlines())
    assert [text for text in said if text in STAGES] == STAGES
    assert f"ok, {record['bytes'] / 1e6:.4f} MB, PSNR {record['metrics']['psnr']:.2f} dB" in said[-1]
    (file,) = records(tmp_path / "out")
    stored = json.loads(file.read_text())
    assert tmp_path / "out" / stored["artifact"] == Path(record["artifact"])

    other = json.loads(here("plan", *request, "--rates", "large", "--json")[1])
    assert [job["missing"] for job in other["jobs"]] == [["encode", "decode", "score"]], "the training is shared"
    code, out, err = here("run", *request, "--quiet")
    assert code == 0
    assert err == ""
    assert "points  path/tiny" in out


def test_a_planned_job_can_be_run_alone(
    command_line: CommandLine, here: Here, tiny_capture: Path, tmp_path: Path
) -> None:
    request = ["--methods", "points", "--scenes", f"path:{tiny_capture}"]
    plan = json.loads(here("plan", *request, "--json")[1])
    assert plan["schema"] == "gsbench.plan/1"
    (job,) = plan["jobs"]
    (tmp_path / "job.json").write_text(json.dumps(job["description"]))
    done = command_line("job", "job.json")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["kind"] == "job-finished"
    assert events[-1]["record"]["status"] == "ok"
    assert "all is there" in here("plan", *request)[1]


def test_a_failed_job_is_a_row_and_the_others_go_on(
    command_line: CommandLine, tiny_capture: Path, tmp_path: Path
) -> None:
    done = command_line("run", "--methods", "broken,points", "--scenes", f"path:{tiny_capture}")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[3].startswith("broken")
    assert "failed in train: RuntimeError: no such luck (log: runs/" in lines[3]
    assert lines[4].startswith("points")
    assert "Traceback" not in done.stdout + done.stderr
    command, log = shlex.split(lines[-1].removeprefix("Next:"))
    assert command == "less"
    text = (tmp_path / log).read_text()
    assert "about to fail" in text
    assert "RuntimeError: no such luck" in text


def test_the_options_of_a_file_and_of_the_command_line_together(here: Here, tiny_capture: Path, tmp_path: Path) -> None:
    (tmp_path / "bench.toml").write_text(
        f'methods = ["points"]\nscenes = ["path:{tiny_capture}"]\nseeds = [3]\nmax-width = 16\nset.points.every = 4\n'
    )
    code, out, err = here("plan", "--config", "bench.toml", "--seeds", "5", "--json")
    assert code == 0, err
    (job,) = json.loads(out)["jobs"]
    assert job["id"] == "gs1600+w16/path/tiny/points/small.5"
    assert job["description"]["config"]["every"] == 4


def test_interrupted_and_started_again(toy_environment: dict[str, str], tiny_capture: Path, tmp_path: Path) -> None:
    """Ctrl-C while the second job trains: exit code 130, no traceback, and the first job's result is used."""
    command = [sys.executable, "-m", "gsbench", "run", "--methods", "points", "--scenes", f"path:{tiny_capture}"]
    command += ["--seeds", "0,1", "--jobs", "1", "--json", "--set", "points.seconds=2"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=toy_environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if line.rstrip().endswith("seed 1: train"):
                break
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    assert running.returncode == 130
    assert out == ""
    assert "gsbench: interrupted; the same command goes on from here" in err
    assert "Traceback" not in err
    done = subprocess.run(command, cwd=tmp_path, env=toy_environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [r["seed"] for r in json.loads(done.stdout)["records"]] == [0, 1]
    assert done.stderr.count(", there already") == 1
    assert not [p for p in (tmp_path / "runs").rglob("*") if ".tmp-" in p.name], "nothing half-written"


def test_a_run_on_a_terminal(
    toy_environment: dict[str, str], terminal: Terminal, tiny_capture: Path, tmp_path: Path
) -> None:
    """Bars while it works, then the table."""
    command = [sys.executable, "-m", "gsbench", "run", "--methods", "points", "--scenes", f"path:{tiny_capture}"]
    code, written = terminal([*command, "--set", "points.seconds=1.5"], tmp_path, toy_environment)
    assert code == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    assert re.search(r"points path/tiny small: train .*━.*\d+/20 loss", text)
    assert "ok, 0.0" in text
    assert "method scene" in text or "method  scene" in text
    assert "Next:    gsbench inspect runs/" in text


BAD: list[Any] = [
    (["--methods", "pionts"], "unknown method 'pionts'; did you mean 'points'"),
    (["--scenes", "dmo"], "did you mean 'demo'"),
    (["--scenes", "path:{tmp}/none"], "does not exist; expected a folder with images/ and sparse/0/"),
    (["--rates", "huge"], "no rate point 'huge'"),
    (["--set", "points.evry=3"], "did you mean 'every'"),
    (["--set", "points.every=many"], "points.every=many: "),
    (["--set", "every=3"], "METHOD.field=value"),
    (["--engine", "lokal"], "unknown engine 'lokal'; did you mean 'local'"),
    (["--protocol", "gs160"], "unknown protocol 'gs160'; did you mean 'gs1600'"),
    (["--metrics", "pnsr"], "unknown metric 'pnsr'; did you mean 'psnr'"),
    (["--device", "gpu"], "--device"),
    (["--device", "cuda:99"], "cuda:99"),
    (["--downscale", "0.5"], "expected a factor of 1 or more"),
    (["--background", "2,0,0"], "expected three numbers in [0, 1]"),
    (["--init", "lots"], "expected random:N"),
    (["--images", "../x"], "expected a folder inside the scene"),
    (["--iteration", "5"], "did you mean"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(b[0]) for b in BAD])
def test_a_wrong_request_is_one_message_and_leaves_nothing(
    arguments: list[str], message: str, here: Here, tiny_capture: Path, tmp_path: Path
) -> None:
    given = [text.format(tmp=tmp_path) for text in arguments]
    base = [
        *([] if "--methods" in given else ["--methods", "points"]),
        *([] if "--scenes" in given else ["--scenes", f"path:{tiny_capture}"]),
    ]
    code, out, err = here("run", *base, *given)
    assert code == 2
    assert out == ""
    assert message.lower() in err.lower()
    assert err.startswith("gsbench: error: ")
    assert len(err.splitlines()) <= 2
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("as_json", [False, True])
def test_plan_shows_no_schedule_of_a_method_that_has_none(as_json: bool, here: Here) -> None:
    code, out, err = here("plan", "--schedule", "points", *(["--json"] if as_json else []))
    assert code == 2
    assert out == ""
    assert "method 'points' has no training schedule" in err


def test_plan_shows_the_schedule_of_a_method(here: Here) -> None:
    options = ["--schedule", "trained", "--iterations", "1500", "--set", "trained.densification_interval=50"]
    code, out, err = here("plan", *options, "--json")
    assert (code, err) == (0, "")
    output = json.loads(out)
    assert (output["schema"], output["method"]) == ("gsbench.schedule/1", "trained")
    rows = {row["task"].rpartition(".")[2]: row for row in output["tasks"]}
    assert (rows["update_learning_rate"]["last"], rows["update_learning_rate"]["runs"]) == (1499, 1500)
    assert rows["densify_and_prune_task"]["every"] == "50"
    assert rows["densify_and_prune_task"]["last"] < 750, "densification ends half way, as in the original"
    code, out, _ = here("plan", *options)
    assert code == 0
    assert out.splitlines()[0] == "Schedule of trained at rate point default; steps count from 0"
    assert len(out.splitlines()) == 3 + len(output["tasks"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--schedule", "traind"], "did you mean 'trained'"),
        (["--schedule", "trained", "--rates", "low,high"], "expected one rate point"),
        (["--schedule", "trained", "--rates", "low"], "has no rate point 'low'"),
        (["--schedule", "trained", "--set", "trained.iteratons=3"], "did you mean 'iterations'"),
        (["--schedule", "trained", "--set", "points.every=3"], "method 'points' is not part of this run"),
    ],
)
def test_wrong_schedules(arguments: list[str], message: str, here: Here) -> None:
    code, out, err = here("plan", *arguments)
    assert (code, out) == (2, "")
    assert message in err
