"""Registries: names to values or lazy targets, no duplicates, help with misspelled names."""

from __future__ import annotations

import json
import sys

import pytest

from gsbench.errors import PluginError, UsageError
from gsbench.registry import ALL, Registry, check_target, did_you_mean, resolve_target


@pytest.fixture
def fruit() -> Registry[str]:
    registry: Registry[str] = Registry("fruit")
    registry.register("apple", "json:dumps", "orchard")
    registry.register("banana", "json:loads", "orchard")
    return registry


def test_values_come_back_and_targets_are_imported_only_when_asked_for() -> None:
    registry: Registry[object] = Registry("thing")
    value = object()
    registry.register("value", value)
    registry.register("lazy", "colorsys:rgb_to_hsv")
    sys.modules.pop("colorsys", None)
    assert list(registry) == ["value", "lazy"]
    assert "colorsys" not in sys.modules
    assert registry.get("value") is value
    assert registry.get("lazy") is sys.modules["colorsys"].rgb_to_hsv


def test_a_duplicate_names_both_distributions(fruit: Registry[str]) -> None:
    with pytest.raises(PluginError, match=r"fruit 'apple' of market is already registered by orchard"):
        fruit.register("apple", "json:load", "market")
    assert fruit.entry("apple").value == "json:dumps"


def test_unknown_names_get_suggestions_and_the_note(fruit: Registry[str]) -> None:
    with pytest.raises(UsageError, match=r"^unknown fruit 'aple'; did you mean 'apple'\?$"):
        fruit.get("aple")
    with pytest.raises(UsageError, match=r"^unknown fruit 'zzz'; known: apple, banana$"):
        fruit.get("zzz")
    fruit.note = "; not loaded: market (failed)"
    with pytest.raises(UsageError, match=r"banana; not loaded: market \(failed\)$"):
        fruit.entry("zzz")
    with pytest.raises(UsageError, match=r"^unknown empty 'x'; none is registered$"):
        Registry("empty").get("x")


def test_unregister_by_name_and_by_origin(fruit: Registry[str]) -> None:
    fruit.register("cherry", "json:load", "market")
    fruit.unregister("apple")
    fruit.unregister("apple")
    assert [entry.name for entry in fruit.entries()] == ["banana", "cherry"]
    fruit.unregister_origin("orchard")
    assert [(entry.name, entry.origin) for entry in fruit.entries()] == [("cherry", "market")]
    assert "banana" not in fruit
    assert "cherry" in fruit


def test_entries_are_sorted_by_name_whatever_the_order_of_registration() -> None:
    registry: Registry[int] = Registry("number")
    for name in ("two", "one", "three"):
        registry.register(name, len(name))
    assert [entry.name for entry in registry.entries()] == ["one", "three", "two"]


@pytest.mark.parametrize("target", ["json", "json:", ":dumps", "json.dumps", "json:du mps", "../x:y", "1a:b", 3, None])
def test_malformed_targets_are_refused_without_an_import(target: object) -> None:
    with pytest.raises(PluginError, match=r"is not of the form 'package.module:Name'"):
        check_target(target)


def test_targets_that_do_not_import_say_why() -> None:
    assert resolve_target("json:JSONDecoder.decode") is json.JSONDecoder.decode
    with pytest.raises(PluginError, match=r"'json:nothing' cannot be imported: AttributeError"):
        resolve_target("json:nothing")
    with pytest.raises(PluginError, match=r"ModuleNotFoundError: No module named 'no_such_module'"):
        resolve_target("no_such_module:thing")


def test_many_known_names_are_not_all_listed() -> None:
    known = [f"method-{i}" for i in range(13)]
    assert did_you_mean("q", known) == ""
    assert did_you_mean("q", known[:12]).startswith("; known: method-0, ")


def test_kinds_are_distinct() -> None:
    assert len({registry.kind for registry in ALL}) == len(ALL) == 7
