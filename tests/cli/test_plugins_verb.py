"""`gsbench plugins METHOD` and `-p`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest

Here = Callable[..., tuple[int, str, str]]


def test_the_settings_of_a_method(here: Here) -> None:
    code, out, _ = here("plugins", "halved")
    assert code == 0
    assert out.startswith("halved: half of a base (gsbench-toy 1.0)\n")
    assert "base:   points" in out
    lines = [line.split() for line in out.splitlines()]
    assert ["keep", "float", "0.5", "encode"] in lines
    assert ["wrong", "str", '""', "encode"] in lines


def test_the_same_as_json_at_a_rate_point(here: Here) -> None:
    code, out, _ = here("plugins", "points", "--rate", "small", "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["schema"], found["distribution"], found["rate"]) == ("gsbench.method/1", "gsbench-toy", "small")
    assert found["settings"][0] == {"name": "every", "type": "int", "default": 2, "stage": "encode", "help": ""}


def test_help_and_schedule_fields_of_trained_methods(here: Here) -> None:
    code, out, _ = here("plugins", "trained")
    assert code == 0
    (line,) = (line for line in out.splitlines() if line.startswith("init_opacity "))
    assert line.endswith("opacity of the initial Gaussians")


def test_wrong_usage(here: Here) -> None:
    assert here("plugins", "halvd")[0] == 2
    code, _, err = here("plugins", "points", "--rate", "tiny")
    assert code == 2
    assert "no rate point 'tiny'" in err
    assert here("plugins", "--rate", "small")[0] == 2
    code, _, err = here("run", "--methods", "points", "--scenes", "demo", "--set", "points.evry=1")
    assert code == 2
    assert "did you mean 'every'? (all of them: gsbench plugins points)" in err


def test_a_plugin_is_left_out_for_one_command(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GSBENCH_DISABLE_PLUGINS", raising=False)

    def status(*arguments: str) -> dict[str, str]:
        code, out, _ = here(*arguments, "plugins", "--json")
        assert code == 0
        return {row["entry_point"]: row["status"] for row in json.loads(out)["plugins"]}

    assert status("-p", "no:toy")["toy"] == "disabled"
    assert "GSBENCH_DISABLE_PLUGINS" not in os.environ
    assert status()["toy"] == "ok"
    monkeypatch.setenv("GSBENCH_DISABLE_PLUGINS", "all")
    found = status("-p", "gsbench-toy")
    assert found["toy"] == "ok"
    assert {value for name, value in found.items() if name not in ("", "toy")} <= {"disabled"}
    assert os.environ["GSBENCH_DISABLE_PLUGINS"] == "all"
    code, _, err = here("-p", "no:", "plugins")
    assert code == 2
    assert "expected the name of one plugin" in err
    code, _, err = here("-p", "no:toys", "plan", "--methods", "nothing", "--scenes", "demo")
    assert "no installed plugin is called 'toys'" in err


def test_types_in_words() -> None:
    import enum
    from typing import Literal

    from gsbench.bench.settings import type_words

    class Color(enum.Enum):
        RED = "red"
        BLUE = "blue"

    words = {
        int: "int",
        int | None: "int or none",
        Literal["fast", "good"]: "fast|good",
        Color: "red|blue",
        tuple[int, float]: "int,float",
        tuple[float, ...]: "float,...",
        list[int]: "int,...",
    }
    assert {type_words(annotation): text for annotation, text in words.items()} == {t: t for t in words.values()}


def test_a_plugin_that_takes_long_to_load_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import time

    from gsbench.hooks import PluginStatus, manager

    monkeypatch.setattr(manager, "PATIENCE_SECONDS", 0.05)
    with manager._impatience(PluginStatus("slow-plugin", "1", "slow", "slow")):
        time.sleep(0.3)
    assert "plugin slow-plugin (slow) has been loading for 0.05 s" in caplog.text
    assert "gsbench -p no:slow" in caplog.text
