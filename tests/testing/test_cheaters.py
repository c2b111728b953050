"""`MethodConformance` finds every cheater of tests/plugins/gsbench-cheaters, and says in a sentence what it did."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from gsbench.native.watch import OpenWatch
from gsbench.testing import MethodConformance
from gsbench.testing.case import Case
from gsbench.testing.checks import CHECKS, MOST_ENTRY_BYTES, MOST_HEADER_BYTES, MOST_TABLE_BYTES

PROJECT = Path(__file__).parents[1] / "plugins" / "gsbench-cheaters"

#: Cheater -> the check that must find it, and what it must say.
CHEATERS: dict[str, tuple[str, str]] = {
    "home-reader": ("decodes_in_a_sealed_process", r"does not decode in a sealed process.*cheat\.bin"),
    "network-reader": ("decodes_in_a_sealed_process", "does not decode in a sealed process.* may not use the network"),
    "run-folder-reader": ("decodes_in_a_sealed_process", "does not decode in a sealed process"),
    "rememberer": ("decodes_in_a_sealed_process", "a sealed process renders another image than this one"),
    "swallows": ("decodes_in_a_sealed_process", "a sealed process renders another image than this one"),
    "peeker": ("no_held_out_image_is_touched", r"fit opened held-out images: view_000\S*, view_008"),
    "file-peeker": ("no_held_out_image_is_touched", r"fit opened held-out images: view_000\S*, view_008"),
    "native-peeker": ("no_held_out_image_is_touched", r"fit opened held-out images: view_000\S*, view_008"),
    "encode-peeker": ("encoding_touches_no_held_out_image", r"encode opened held-out images: view_000\S*, view_008"),
    "encode-file-peeker": ("encoding_touches_no_held_out_image", "encode opened held-out images: view_000"),
    "restless": ("encoding_in_two_processes_gives_equal_bytes", "first difference at byte"),
    "header-stuffer": ("the_header_is_small", rf"entry 'table' takes \d+ bytes, more than {MOST_ENTRY_BYTES}"),
    "header-filler": ("the_header_is_small", rf"the header takes \d+ bytes, more than {MOST_HEADER_BYTES}"),
    "many-sections": ("the_header_is_small", rf"table of 2005 sections takes \d+ bytes, more than {MOST_TABLE_BYTES}"),
    "photo-section": ("no_held_out_photograph_is_inside", r"row \d+ of view_000.*, in section 'residual'"),
    "photo-text": ("no_held_out_photograph_is_inside", r"row \d+ of view_000.*, in header\['rows'\]\['first'\]"),
    "photo-file": ("no_held_out_photograph_is_inside", r"of the file of view_000.*, in the file"),
    "forgetful": ("resuming_gives_the_same_bytes", "interrupted after step 4 of 8 .* leaves something out"),
    "unrepeatable": ("resuming_gives_the_same_bytes", "two uninterrupted trainings differ as well"),
    "never-resumes": ("resuming_gives_the_same_bytes", "went on at step 0 and not at 4"),
}  # fmt: skip


@pytest.fixture
def cheaters(plugin_folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GSBENCH_ISOLATION", "audit-hook")  # both have tests of their own; this one says more
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    package = PROJECT / "gsbench_cheaters"
    files = {path.name: path.read_text() for path in package.glob("*.py") if path.name != "plugin.py"}
    source = (package / "plugin.py").read_text()
    points = project["entry-points"]["gsbench"]
    plugin_folder.install(project["name"], source, files=files, entry_points=points)
    row = plugin_folder.load()[project["name"]]
    assert row.status == "ok", row.reason
    assert set(CHEATERS) | {"honest"} == set(row.methods)


def make(name: str, folder: Path) -> tuple[MethodConformance, Case]:
    conformance = type("Conformance", (MethodConformance,), {"method": name, "timeout": 120.0})()
    return conformance, conformance.make_case(folder)


@pytest.mark.parametrize("name", CHEATERS)
def test_a_cheater_is_found(cheaters: None, tmp_path: Path, name: str) -> None:
    check, message = CHEATERS[name]
    conformance, case = make(name, tmp_path / "case")
    if not check.startswith(("encoding", "no_held_out_image", "resuming")):
        # What the fresh process would write, without its seconds.
        path = case.new_folder("encoded") / f"artifact{case.spec.suffix}"
        path.write_bytes(case.encode_here(case.model))
        vars(case)["artifact"] = path
    elif check == "encoding_touches_no_held_out_image":
        vars(case)["artifact"] = case.new_folder("encoded") / "unused"
    with pytest.raises(AssertionError, match=re.compile(message, re.DOTALL)) as caught:
        getattr(conformance, f"test_{check}")(case)
    assert "\n" not in str(caught.value), "one sentence"


@pytest.mark.slow
def test_without_cheating_all_is_well(cheaters: None, tmp_path: Path) -> None:
    conformance, case = make("honest", tmp_path / "case")
    for check in CHECKS:
        getattr(conformance, f"test_{check.name}")(case)


@pytest.mark.slow
def test_what_a_fresh_process_opens_is_seen(cheaters: None, tmp_path: Path) -> None:
    _, case = make("encode-file-peeker", tmp_path / "case")
    _ = case.artifact
    assert [Path(name).stem for name in case.touched("encode")] == ["view_000"]


def test_every_check_has_a_title_and_a_test() -> None:
    tests = {name.removeprefix("test_") for name in dir(MethodConformance) if name.startswith("test_")}
    assert {check.name for check in CHECKS} == tests
    for check in CHECKS:
        assert len(check.title) > 20
        assert "\n" not in check.title


def test_a_watch_sees_who_opens_a_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("x")
    paths = [tmp_path / "a", tmp_path / "b", tmp_path / "missing"]
    with OpenWatch(paths) as watch:
        (tmp_path / "b").read_text()
        (tmp_path / "b").read_text()
        assert watch.works
    assert watch.opened == [tmp_path / "b"]
    with OpenWatch(paths) as watch:
        pass
    assert watch.opened == []
