"""`MethodConformance` passes good methods and finds what is wrong with each bad one (all of them in zoo.py)."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from gsbench.testing import MethodConformance
from gsbench.testing.case import Case

PLUGIN = """
import gsbench

GSBENCH_API = 1

def spec(name, cls, **more):
    return gsbench.MethodSpec(name, f"zoo.code:{cls}", "Part of a test", **more)

@gsbench.hookimpl
def gsbench_methods():
    native = {"GoodNative", "ValueErrorNative", "AcceptsTruncation", "TrustsLength", "Crashes"}
    for cls in CLASSES:
        yield spec(cls.lower(), cls, suffix=".raw" if cls in native else ".gsb")
    yield spec("goodbase-derived", "GoodBase", kind="post", base="good")
    yield spec("badrates", "Good", rates=(gsbench.RatePoint("low", {"level": 0}),
                                          gsbench.RatePoint("high", {"levle": 9})))
    yield spec("badtypes", "Good", rates=(gsbench.RatePoint("low", {"level": "many"}),))
"""

CHECKS = sorted(name for name in dir(MethodConformance) if name.startswith("test_"))

#: Bad method -> the check that must find it, and what it must say.
BAD: dict[str, tuple[str, str]] = {
    "nondeterministic": ("encoding_in_two_processes_gives_equal_bytes", "first difference at byte"),
    "hashorder": ("encoding_in_two_processes_gives_equal_bytes", "different bytes"),
    "threadcount": ("encoding_in_two_processes_gives_equal_bytes", "different bytes"),
    "workfolder": ("encoding_in_two_processes_gives_equal_bytes", "different bytes"),
    "sidefile": ("decodes_in_a_sealed_process", "does not decode in a sealed process"),
    "remembers": ("decodes_in_a_sealed_process", "a sealed process renders another image"),
    "extra": ("the_size_is_the_size_of_the_one_file", r"other files beside the artifact: .*codebook\.bin"),
    "peeks": ("no_held_out_image_is_touched", r"opened held-out images: view_000\S*, view_008"),
    "lossystate": ("the_state_is_the_whole_model", "restored from its state encodes to other bytes"),
    "consumesmodel": ("encoding_leaves_the_model_as_it_was", "changes the model"),
    "valueerrornative": ("truncated_artifacts_are_refused", r"cut off at byte \d+ .* raises ValueError"),
    "acceptstruncation": ("truncated_artifacts_are_refused", "decodes as if nothing had happened"),
    "trustslength": ("corrupted_artifacts_are_refused", r"bit \d of byte \d .* raises .*MemoryError"),
    "crashes": ("truncated_artifacts_are_refused", r"\(an artifact cut off at byte .*\) ended with signal 6"),
    "unreadsection": ("corrupted_artifacts_are_refused", r"\(padding\) flipped decodes as if nothing"),
    "wrongtype": ("renders_any_camera", r"torch\.float64, expected float32"),
    "wrongshape": ("renders_any_camera", r"expected \[24, 32, 3\], got \[32, 24, 3\]"),
    "notfinite": ("renders_any_camera", "NaN or infinity"),
    "countswrong": ("counts_are_numbers_of_what_there_is", "200 Gaussians were decoded, counts says"),
    "countsstrangely": ("counts_are_numbers_of_what_there_is", "wheels"),
    "badrates": ("rate_points_fit_the_config", "rate point 'high': .*levle.*did you mean 'level'"),
    "badtypes": ("rate_points_fit_the_config", "rate point 'low': .*level"),
}


#: The tests of gsbench-3dgs and of the guide for plugins, which always run, are of these kinds.
ALSO_GOOD = ["goodnative", "goodbase-derived"]


@pytest.fixture
def zoo(plugin_folder: Any, tmp_path: Path) -> None:
    source = (Path(__file__).parent / "zoo.py").read_text(encoding="utf-8")
    source = source.replace("@SIDE_FILE@", str(tmp_path / "side-file"))
    classes = re.findall(r"^class (\w+)\((?!gsbench\.Model|Points)", source, re.MULTILINE)
    plugin_folder.install("zoo", PLUGIN.replace("CLASSES", repr(classes)), files={"code.py": source})
    row = plugin_folder.load()["zoo"]
    assert row.status == "ok", row.reason
    assert set(BAD) <= set(row.methods)


def make(name: str, folder: Path) -> tuple[MethodConformance, Case]:
    conformance = type("Conformance", (MethodConformance,), {"method": name, "timeout": 120.0})()
    return conformance, conformance.make_case(folder)


@pytest.mark.parametrize("name", ["good", *(pytest.param(n, marks=pytest.mark.slow) for n in ALSO_GOOD)])
def test_a_good_method_passes_everything(zoo: None, tmp_path: Path, name: str) -> None:
    conformance, case = make(name, tmp_path)
    for check in CHECKS:
        getattr(conformance, check)(case)


def test_checks_stand_alone(zoo: None, tmp_path: Path) -> None:
    """The first check to need the training gets one with gradients, whichever check that is."""
    for name in ("renders_any_camera", "counts_are_numbers_of_what_there_is"):
        (tmp_path / name).mkdir()
        conformance, case = make("needsgradients", tmp_path / name)
        getattr(conformance, f"test_{name}")(case)


#: Each takes further processes, and there are others that fail the same check.
SLOW = {"hashorder", "threadcount", "workfolder", "acceptstruncation"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in BAD])
def test_a_bad_method_fails_where_it_is_bad(zoo: None, tmp_path: Path, name: str) -> None:
    check, message = BAD[name]
    conformance, case = make(name, tmp_path)
    if check.startswith(("decodes", "renders", "counts", "truncated", "corrupted")):
        # What the fresh process would write, without its two seconds.
        path = case.new_folder("encoded") / f"artifact{case.spec.suffix}"
        path.write_bytes(case.encode_here(case.model))
        vars(case)["artifact"] = path
    with pytest.raises(AssertionError, match=re.compile(message, re.DOTALL)):
        getattr(conformance, f"test_{check}")(case)


def test_a_fit_that_fails_is_not_repeated_for_every_check(zoo: None, tmp_path: Path) -> None:
    conformance, case = make("failstofit", tmp_path)
    for check in ("no_held_out_image_is_touched", "the_state_is_the_whole_model", "renders_any_camera"):
        with pytest.raises(RuntimeError, match="no convergence"):
            getattr(conformance, f"test_{check}")(case)
    assert (tmp_path / "fits").read_text() == "x"


def test_nothing_but_the_seal_keeps_the_side_file_from_being_read(zoo: None, tmp_path: Path) -> None:
    _, case = make("sidefile", tmp_path)
    case.encode_here(case.model)
    assert torch.equal(case.decoded.rgb, case.scene.points.rgb)  # type: ignore[attr-defined]


def test_methods_may_use_the_global_generators_and_leave_no_trace(zoo: None, tmp_path: Path) -> None:
    """As in a job, where each stage seeds them."""
    before = torch.get_rng_state(), random.getstate()
    conformance, case = make("globalrandom", tmp_path)
    conformance.test_encoding_leaves_the_model_as_it_was(case)
    conformance.test_encoding_in_two_processes_gives_equal_bytes(case)
    assert case.artifact.read_bytes() == case.encode_here(case.model)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def test_every_check_has_a_bad_method_that_fails_it() -> None:
    elsewhere = {"test_listing_imports_no_torch"}  # below: it needs a plugin of its own
    # test_cheaters.py
    elsewhere |= {"test_encoding_touches_no_held_out_image", "test_the_header_is_small"}
    elsewhere |= {"test_no_held_out_photograph_is_inside", "test_resuming_gives_the_same_bytes"}
    assert {f"test_{check}" for check, _ in BAD.values()} | elsewhere == set(CHECKS)


def test_a_plugin_that_imports_torch_fails_the_listing(plugin_folder: Any, tmp_path: Path) -> None:
    (plugin_folder.path / "torch.py").write_text("")  # stands in for the real one, which takes seconds
    source = "import gsbench, sys\nGSBENCH_API = 1\nimport torch\n@gsbench.hookimpl\ndef gsbench_methods():\n"
    plugin_folder.install("heavy", source + "    return [gsbench.MethodSpec('heavy', 'heavy.code:X', 's')]\n")
    plugin_folder.load()
    conformance, case = make("heavy", tmp_path)
    with pytest.raises(AssertionError, match="listing the plugins of heavy imports torch"):
        conformance.test_listing_imports_no_torch(case)


def test_an_unknown_method_is_a_clear_error(zoo: None, tmp_path: Path) -> None:
    from gsbench.errors import UsageError

    conformance, case = make("goood", tmp_path)
    with pytest.raises(UsageError, match="unknown method 'goood'; did you mean 'good'"):
        conformance.test_rate_points_fit_the_config(case)


def test_a_process_that_hangs_is_ended_and_named(zoo: None, tmp_path: Path) -> None:
    conformance, case = make("good", tmp_path)
    case.timeout = 0.01
    with pytest.raises(AssertionError, match=r"that was to list took more than 0\.01 s"):
        conformance.test_listing_imports_no_torch(case)
