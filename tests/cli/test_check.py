"""`gsbench check`: the report, its JSON, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Here = Callable[..., tuple[int, str, str]]

QUICK = "rate_points,held_out_image_is,encoding_leaves,header,renders,resuming"


def test_a_method_that_conforms(here: Here) -> None:
    code, out, err = here("check", "points", "--only", QUICK)
    assert code == 0, out
    assert "points of gsbench-toy: conforms" in out
    lines = [line.split()[:2] for line in out.splitlines() if line.split()[1:2] == ["ok"]]
    assert ["no_held_out_image_is_touched", "ok"] in lines
    assert len(lines) == 6
    assert "[6/6] renders_any_camera" in err


def test_a_method_that_does_not(here: Here) -> None:
    code, out, err = here("check", "broken", "--only", QUICK, "--json", "--quiet")
    assert code == 1
    assert err == ""
    report = json.loads(out)
    assert (report["schema"], report["method"], report["ok"]) == ("gsbench.check/1", "broken", False)
    checks = {check["check"]: check for check in report["checks"]}
    assert checks["rate_points_fit_the_config"]["result"] == "ok"
    assert checks["renders_any_camera"]["result"] == "failed"
    assert checks["renders_any_camera"]["sentence"] == "RuntimeError: no such luck"
    assert "toy_method.py" in checks["renders_any_camera"]["details"]
    code, out, _ = here("check", "broken", "--only", QUICK)
    assert code == 1
    assert "broken of gsbench-toy: 5 of 6 checks failed" in out


def test_settings_and_scenes(here: Here, tiny_capture: Path) -> None:
    place = f"path:{tiny_capture}"
    code, out, _ = here("check", "points", "--scene", place, "--set", "points.every=3", "--only", "header,counts")
    assert code == 0, out
    code, _, err = here("check", "points", "--set", "points.evry=3")
    assert code == 2
    assert "did you mean 'every'" in err
    assert here("check", "nothing")[0] == 2
    assert here("check", "points", "--only", "nonsense")[0] == 2
    assert here("check", "points", "--scene", "mipnerf360")[0] == 2


def test_a_base_is_trained_on_the_scene(here: Here, tiny_capture: Path) -> None:
    code, out, _ = here("check", "halved", "--scene", f"path:{tiny_capture}", "--only", "counts,renders")
    assert code == 0, out


@pytest.mark.slow
def test_all_checks_of_a_plugin_of_ours(here: Here) -> None:
    code, out, _ = here("check", "3dgs")
    assert code == 0, out
