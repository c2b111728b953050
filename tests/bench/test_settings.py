"""Settings: what text means for which type, and configs as plain JSON."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, Literal, Optional

import pytest

from gsbench.bench.settings import (
    build_config,
    config_to_json,
    encode_only_fields,
    parse_value,
    resolve_config,
    split_setting,
    without_fields,
)
from gsbench.errors import PluginError, UsageError
from gsbench.methods import field


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Part:
    depth: int = 2
    shade: float = field(stage="encode", default=0.5)


@dataclasses.dataclass
class Config:
    count: int = 1
    rate: float = 0.5
    flag: bool = True
    name: str = "a"
    limit: Optional[int] = None  # noqa: UP045 (this spelling is to be understood, too)
    other: int | float | None = 3
    pair: tuple[int, float] = (1, 2.0)
    many: tuple[float, ...] = ()
    items: list[str] = dataclasses.field(default_factory=list)
    mode: Literal["fast", "good"] = "fast"
    level: Literal[1, 2] = 1
    color: Color = Color.RED
    bits: int = field(stage="encode", default=8)
    part: Part = dataclasses.field(default_factory=Part)
    derived: int = dataclasses.field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"count: expected 0 or more, got {self.count}")
        self.derived = 2 * self.count


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (int, "12", 12),
        (int, "-3", -3),
        (int, "30_000", 30000),
        (int, "3e4", 30000),
        (float, "1", 1.0),
        (float, "-2.5e-3", -0.0025),
        (bool, "true", True),
        (bool, "Off", False),
        (bool, "1", True),
        (bool, "no", False),
        (str, "none", "none"),
        (str, "", ""),
        (int | None, "none", None),
        (int | None, "4", 4),
        (Optional[float], "NULL", None),  # noqa: UP045
        (int | float, "1.5", 1.5),
        (int | float, "2", 2),
        (tuple[int, float], "1,2", (1, 2.0)),
        (tuple[int, float], "(1, 2.5)", (1, 2.5)),
        (tuple[float, ...], "1,2,3", (1.0, 2.0, 3.0)),
        (tuple[float, ...], "", ()),
        (list[str], "[a, b]", ["a", "b"]),
        (Literal["fast", "good"], "good", "good"),
        (Literal[1, 2], "2", 2),
        (Color, "blue", Color.BLUE),
        (Color, "RED", Color.RED),
    ],
)
def test_values(annotation: Any, text: str, value: Any) -> None:
    parsed = parse_value(annotation, text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("count=1.5", "whole number"),
        ("count=abc", "whole number"),
        ("count=", "whole number"),
        ("count=inf", "whole number"),
        ("rate=nan", "finite number"),
        ("rate=x", "finite number"),
        ("flag=maybe", "true or false"),
        ("limit=x", "whole number or none"),
        ("pair=1", "expected 2 values"),
        ("pair=1,x", "finite number"),
        ("mode=slow", "one of fast, good"),
        ("color=green", "one of red, blue"),
        ("count=-1", "expected 0 or more, got -1"),
        ("cuont=1", "no field 'cuont'; did you mean 'count'"),
        ("derived=1", "no field 'derived'"),
        ("part=1", "has parts; set one of them, such as part.depth"),
        ("part.deep=1", "no field 'deep'; did you mean 'depth'"),
        ("count.x=1", "has no parts"),
    ],
)
def test_values_that_are_refused(setting: str, reason: str) -> None:
    name, _, text = setting.partition("=")
    with pytest.raises(UsageError, match=r"m(\.|ethod)") as caught:
        resolve_config("m", Config, {}, [(name, text)])
    assert reason in str(caught.value)


def test_settings_of_the_user_come_after_those_of_the_rate_point() -> None:
    config = resolve_config("m", Config, {"rate": 2, "bits": 4, "part.depth": 7}, [("bits", "6"), ("part.shade", "1")])
    assert (config["rate"], config["bits"], config["part"]) == (2.0, 6, {"depth": 7, "shade": 1.0})


@pytest.mark.parametrize("settings", [{"bitz": 1}, {"bits": "4"}, {"count": 1.5}, {"flag": 1}, {"pair": (1,)}])
def test_a_rate_point_that_does_not_fit_is_the_plugins_fault(settings: dict[str, Any]) -> None:
    with pytest.raises(PluginError, match="rate point"):
        resolve_config("m", Config, settings, [])


def test_a_config_survives_json() -> None:
    config = Config(
        count=5, limit=3, other=1.5, pair=(4, 5.0), many=(1.0,), items=["x"], color=Color.BLUE, part=Part(9, 0.1)
    )
    values = config_to_json(config)
    assert "derived" not in values
    assert values["pair"] == [4, 5.0]
    again = build_config(Config, values)
    assert again == config
    assert again.derived == 10
    assert isinstance(again.pair, tuple)


@pytest.mark.parametrize("values", [{"count": "1"}, {"nothing": 1}, {"mode": "x"}, {"color": "x"}, {"part": 1}])
def test_a_config_of_other_types_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|has no field|valid Color"):
        build_config(Config, values)


def test_types_that_settings_cannot_have() -> None:
    @dataclasses.dataclass
    class Odd:
        table: dict[str, int] = dataclasses.field(default_factory=dict)

    with pytest.raises(PluginError, match="not plain JSON"):
        resolve_config("m", Odd, {}, [])
    with pytest.raises(PluginError, match="cannot be given as text"):
        parse_value(dict[str, int], "a")


def test_a_config_needs_defaults() -> None:
    @dataclasses.dataclass
    class Needy:
        count: int

    with pytest.raises(PluginError, match="does not work without arguments"):
        resolve_config("m", Needy, {}, [])


def test_encode_only_fields_and_configs_without_them() -> None:
    names = encode_only_fields(Config)
    assert names == ["bits", "part.shade"]
    values = config_to_json(Config())
    kept = without_fields(values, names)
    assert "bits" not in kept
    assert kept["part"] == {"depth": 2}
    assert {**kept, "bits": 8, "part": values["part"]} == values


def test_methods_with_dots_in_their_names() -> None:
    assert split_setting("v1.5.bits=3", ["v1", "v1.5"]) == ("v1.5", "bits", "3")
    assert split_setting("v1.x.y = a=b ", ["v1", "v1.5"]) == ("v1", "x.y", "a=b")
    with pytest.raises(UsageError, match=r"method 'hca' is not part of this run; did you mean 'hac'\?"):
        split_setting("hca.lmbda=1", ["hac"])
    for text in ("hac", "hac=1", "hac.lmbda", "=1", ".x=1", "hac.=1"):
        with pytest.raises(UsageError, match=r"METHOD\.field=value"):
            split_setting(text, ["hac"])
