"""Options that say what to run, and the file that can hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from gsbench.cli.options import request_options
from gsbench.errors import UsageError


@click.command()
@request_options
@click.option("--json", "as_json", is_flag=True)
def parse(**params: Any) -> dict[str, Any]:
    return params


def options(*arguments: str) -> dict[str, Any]:
    params = parse.main(list(arguments), standalone_mode=False)
    assert isinstance(params, dict)
    return params


def config(tmp_path: Path, text: str) -> str:
    file = tmp_path / "bench.toml"
    file.write_text(text)
    return str(file)


def test_names_come_in_comma_lists_and_repeated_options() -> None:
    found = options("--methods", "a,b", "--methods", " c ,a", "--scenes", "demo", "--scenes", "lab/desk,lab/shelf")
    assert found["methods"] == ("a", "b", "c")
    assert found["scenes"] == ("demo", "lab/desk", "lab/shelf")


def test_defaults() -> None:
    found = options()
    assert found["rates"] == ("default",)
    assert found["seeds"] == (0,)
    assert found["out"] == Path("runs")
    assert found["device"] == "auto"
    assert found["engine"] == "local"
    for name in ("iterations", "jobs", "threads", "protocol", "images", "downscale", "max_width", "background", "init"):
        assert found[name] is None, name


def test_a_folder_with_a_comma_in_its_name_is_one_scene(tmp_path: Path) -> None:
    folder = tmp_path / "red,blue"
    folder.mkdir()
    assert options("--scenes", f"path:{folder}")["scenes"] == (f"path:{folder}",)
    assert options("--scenes", f"path:{tmp_path},demo")["scenes"] == (f"path:{tmp_path}", "demo")


@pytest.mark.parametrize("text", ["a,,b", "", ",", " "])
def test_empty_names_are_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="empty name"):
        options("--methods", text)


def test_seeds() -> None:
    assert options("--seeds", "0,3", "--seeds", "3,12")["seeds"] == (0, 3, 12)


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "²"])
def test_seeds_that_are_no_numbers_are_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="not a number"):
        options("--seeds", text)


def test_settings_keep_their_values_as_typed() -> None:
    found = options("--set", "3dgs.sh_degree=2", "--set", "my.method.name=a=b,c")
    assert found["settings"] == ("3dgs.sh_degree=2", "my.method.name=a=b,c")


@pytest.mark.parametrize(
    ("text", "color"), [("white", (1.0, 1.0, 1.0)), ("black", (0.0, 0.0, 0.0)), ("0.5,1,0", (0.5, 1.0, 0.0))]
)
def test_background(text: str, color: tuple[float, float, float]) -> None:
    assert options("--background", text)["background"] == color


@pytest.mark.parametrize("text", ["pink", "1,1", "1,1,1,1", "a,b,c"])
def test_what_is_no_color_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="not a color"):
        options("--background", text)


@pytest.mark.parametrize("option", ["--iterations", "--jobs", "--threads"])
def test_counts_are_positive(option: str) -> None:
    with pytest.raises(click.BadParameter):
        options(option, "0")


def test_a_file_holds_the_same_options(tmp_path: Path) -> None:
    file = config(
        tmp_path,
        """
        methods = ["3dgs", "hac"]
        scenes = "demo,lab"
        seeds = [0, 1]
        iterations = 500
        max-width = 800
        downscale = 2
        background = [1, 1, 1]
        out = "results"
        json = true

        [set.3dgs]
        sh_degree = 2
        random_background = true
        """,
    )
    found = options("--config", file)
    assert found["methods"] == ("3dgs", "hac")
    assert found["scenes"] == ("demo", "lab")
    assert found["seeds"] == (0, 1)
    assert found["iterations"] == 500
    assert found["max_width"] == 800
    assert found["downscale"] == 2.0
    assert found["background"] == (1.0, 1.0, 1.0)
    assert found["out"] == Path("results")
    assert found["as_json"] is True
    assert found["settings"] == ("3dgs.sh_degree=2", "3dgs.random_background=true")


def test_what_is_typed_wins_over_the_file_wherever_it_stands(tmp_path: Path) -> None:
    file = config(tmp_path, 'methods = ["hac"]\niterations = 500\nset = ["hac.lmbda=0.1"]')
    found = options("--iterations", "7", "--config", file, "--methods", "3dgs")
    assert found["iterations"] == 7
    assert found["methods"] == ("3dgs",)
    assert found["settings"] == ("hac.lmbda=0.1",)


def test_underscores_in_keys_are_dashes(tmp_path: Path) -> None:
    assert options("--config", config(tmp_path, "max_width = 640"))["max_width"] == 640


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("itreations = 5", r"unknown key 'itreations'; did you mean 'iterations'"),
        ("config = 'x'", "unknown key 'config'"),
        ("help = true", "unknown key 'help'"),
        ("methods = ", "not a TOML file"),
        ("json = 'yes'", "json: expected true or false, got 'yes'"),
        ("iterations = { a = 1 }", "iterations: expected text, a number or a list"),
        ("[set]\n3dgs = 4", r"set\.3dgs: expected a table of settings, got 4"),
    ],
)
def test_a_wrong_file_is_refused_with_the_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        options("--config", config(tmp_path, text))
    assert "bench.toml" in str(caught.value)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing\.toml: No such file"):
        options("--config", str(tmp_path / "nothing.toml"))
    with pytest.raises(UsageError, match="Is a directory"):
        options("--config", str(tmp_path))
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not a TOML file"):
        options("--config", str(binary))


def test_values_of_the_file_are_checked_like_typed_ones(tmp_path: Path) -> None:
    with pytest.raises(click.BadParameter) as caught:
        options("--config", config(tmp_path, "iterations = 0"))
    assert "--iterations" in caught.value.format_message()
