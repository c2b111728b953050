"""`MethodSpec` and `RatePoint`: malformed announcements are refused with the method's name; rate points by name."""

from __future__ import annotations

from typing import Any

import pytest

from gsbench.errors import PluginError, UsageError
from gsbench.methods import MethodSpec, RatePoint

GOOD: dict[str, Any] = {"name": "mine", "target": "my_package.code:Mine", "summary": "..."}
TWO = (RatePoint("low", {"q": 1}), RatePoint("high", {"q": 9}))


def test_the_defaults() -> None:
    spec = MethodSpec(**GOOD)
    assert (spec.kind, spec.base, spec.suffix, spec.paper, spec.pretrained) == ("trained", None, ".gsb", "", ())
    assert spec.rate("default") == RatePoint("default", {})


@pytest.mark.parametrize("name", ["3dgs", "hac++", "c3dgs", "trim-the_fat", "sog.v2"])
def test_names_of_methods(name: str) -> None:
    assert MethodSpec(**GOOD | {"name": name}).name == name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "Mine"}, "method name 'Mine'"),
        ({"name": ""}, "method name ''"),
        ({"name": "a/b"}, "method name 'a/b'"),
        ({"name": "../b"}, "method name"),
        ({"name": "mine\n"}, "method name"),
        ({"target": "my_package.code"}, "target 'my_package.code' is not of the form"),
        ({"target": None}, "target None is not of the form"),
        ({"kind": "magic"}, "method 'mine': kind 'magic' is not one of trained, post, format"),
        ({"base": "mine"}, "method 'mine' cannot be its own base"),
        ({"rates": ()}, "method 'mine': rate points must be there and differ by name"),
        ({"rates": (RatePoint("low"), RatePoint("low"))}, "differ by name"),
        (
            {"rates": (RatePoint("q"), RatePoint("q.1"))},
            "rate point 'q.1' has the file name of seed 1 of rate point 'q'",
        ),
        ({"rates": (RatePoint("0.20"), RatePoint("0"))}, "'0.20' has the file name of seed 20 of rate point '0'"),
        ({"rates": (RatePoint("LOW"),)}, "'LOW' cannot name"),
        ({"rates": (RatePoint("all"), RatePoint("low"))}, "'all' cannot name"),
        ({"rates": (RatePoint("default"), RatePoint("low"))}, "'default' cannot name"),
        ({"rates": TWO, "default_rate": "middle"}, "default_rate 'middle' is not one of"),
        ({"suffix": "ply"}, "suffix 'ply' does not look like"),
        ({"suffix": "./../x"}, "suffix './../x' does not look like"),
        ({"suffix": ".."}, "suffix '..' does not look like"),
    ],
)
def test_malformed_fields_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(PluginError) as caught:
        MethodSpec(**GOOD | change)
    assert message in str(caught.value)


def test_rate_points_by_name() -> None:
    spec = MethodSpec(**GOOD, rates=TWO)
    assert spec.rate("high").settings == {"q": 9}
    assert spec.rate("default").name == "low", "the lowest rate, if the plugin names no other"
    assert MethodSpec(**GOOD, rates=TWO, default_rate="high").rate("default").name == "high"
    with pytest.raises(UsageError, match=r"method 'mine' has no rate point 'hihg'; did you mean 'high'\?"):
        spec.rate("hihg")
