"""Protocols: their hash, their overrides, what they refuse."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gsbench.errors import PluginError, UsageError
from gsbench.protocols import BLENDER, BUNGEE, GS1600, PNG4, SHIPPED, Protocol


@pytest.mark.parametrize(
    ("protocol", "value"),
    [
        (GS1600, "abac989c474d4536"),
        (SHIPPED, "854aa7a52fdd9b3e"),
        (PNG4, "da7287a588ee9ec1"),
        (BLENDER, "6df397a0f83fc9c1"),
        (BUNGEE, "b5d033e26ee4db8d"),
        (GS1600.with_undistortion(), "813600e3429c852c"),
        (GS1600.with_overrides(images="images_2"), "bd2b36b2ac5aa79a"),
    ],
)
def test_hashes_never_change(protocol: Protocol, value: str) -> None:
    """Published records hold these: another value means that results are no longer comparable."""
    assert protocol.hash == value


def test_hash_is_of_canonical_json() -> None:
    text = (
        '{"background":[0.0,0.0,0.0],"downscale":1.0,"id":"gs1600","images":"images","max_width":1600,"split":"every8"}'
    )
    assert GS1600.hash == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_undistortion_is_another_protocol() -> None:
    """Its mark is in the hash only where it is set: hashes that were published before it came stay."""
    text = (
        '{"background":[0.0,0.0,0.0],"downscale":1.0,"id":"gs1600+undistorted","images":"images","max_width":1600,'
        '"split":"every8","undistorted":true}'
    )
    changed = GS1600.with_undistortion()
    assert changed.hash == hashlib.sha256(text.encode()).hexdigest()[:16]
    assert changed.with_undistortion() == changed
    assert replace(changed, undistorted=False, id="gs1600") == GS1600
    assert GS1600.with_overrides(max_width=800).with_undistortion().id == "gs1600+w800+undistorted"


def test_what_the_protocols_are() -> None:
    assert (GS1600.images, GS1600.max_width, GS1600.downscale, GS1600.split) == ("images", 1600, 1.0, "every8")
    assert (SHIPPED.images, SHIPPED.max_width) == (None, None)
    assert (PNG4.images, PNG4.downscale) == ("images", "dataset")
    assert (BLENDER.split, BLENDER.background) == ("given", (1.0, 1.0, 1.0))
    assert (BUNGEE.images, BUNGEE.max_width, BUNGEE.split) == ("images", 1600, "first31")
    assert len({p.hash for p in (GS1600, SHIPPED, PNG4, BLENDER, BUNGEE)}) == 5


CHANGES: dict[str, Any] = {"images": "images_2", "downscale": 2.0, "max_width": 800, "background": (1.0, 1.0, 1.0)}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"images": "images_2"}, "gs1600+images_2"),
        ({"images": "images_2/"}, "gs1600+images_2"),
        ({"images": "a b/c"}, "gs1600+a-b-c"),
        ({"downscale": 2}, "gs1600+d2"),
        ({"downscale": 1.5}, "gs1600+d1.5"),
        ({"downscale": 1.0000001}, "gs1600+d1.0000001"),
        ({"max_width": 800}, "gs1600+w800"),
        ({"background": (1, 1, 1)}, "gs1600+bg1-1-1"),
        ({"background": (0.5, 0.25, 1e-9)}, "gs1600+bg0.5-0.25-1e-09"),
        (CHANGES, "gs1600+images_2+d2+w800+bg1-1-1"),
    ],
)
def test_overrides_show_in_the_name_and_the_hash(changes: dict[str, Any], name: str) -> None:
    changed = GS1600.with_overrides(**changes)
    assert changed.id == name
    assert changed.hash != GS1600.hash
    assert replace(changed, id="x").hash != replace(GS1600, id="x").hash


def test_overrides_that_change_nothing() -> None:
    same: dict[str, Any] = {"images": "images/", "downscale": 1, "max_width": 1600, "background": (0, 0, 0)}
    assert GS1600.with_overrides(**same) == GS1600
    assert GS1600.with_overrides(background=(-0.0, 0, 0)).hash == GS1600.hash
    assert GS1600.with_overrides() == GS1600


def test_equal_values_hash_equally() -> None:
    assert GS1600.with_overrides(downscale=2).hash == GS1600.with_overrides(downscale=2.0).hash
    assert replace(GS1600, background=(0, 0, 0)).hash == GS1600.hash
    assert replace(GS1600, downscale=1).hash == GS1600.hash


@given(st.floats(1, 1e6), st.floats(1, 1e6))
def test_names_differ_where_factors_do(a: float, b: float) -> None:
    assert (PNG4.with_overrides(downscale=a).id == PNG4.with_overrides(downscale=b).id) == (a == b)


BAD: list[tuple[str, Any, str]] = [
    ("images", "", "--images '': expected a folder inside the scene"),
    ("images", "/data", "--images '/data': expected a folder inside the scene"),
    ("images", "../images", "expected a folder inside the scene"),
    ("images", "a/../b", "expected a folder inside the scene"),
    ("images", "a//b", "expected a folder inside the scene"),
    ("images", ".", "expected a folder inside the scene"),
    ("images", "a\\b", "expected a folder inside the scene"),
    ("images", "a\nb", "expected a folder inside the scene"),
    ("images", "x" * 300, "expected a shorter name"),
    ("downscale", 0.5, "--downscale 0.5: expected a factor of 1 or more"),
    ("downscale", 0, "expected a factor of 1 or more"),
    ("downscale", float("nan"), "--downscale nan: expected a factor"),
    ("downscale", float("inf"), "--downscale inf: expected a factor"),
    ("max_width", 0, "--max-width 0: expected 1 to 65535 pixels"),
    ("max_width", -5, "expected 1 to 65535 pixels"),
    ("max_width", 10**9, "expected 1 to 65535 pixels"),
    ("background", (0.0, 0.0, 1.5), "--background .*: expected three numbers in"),
    ("background", (0.0, 0.0, float("nan")), "expected three numbers in"),
    ("background", (0.0, 0.0), "expected three numbers in"),
]


@pytest.mark.parametrize(("option", "value", "message"), BAD)
def test_overrides_without_meaning(option: str, value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        GS1600.with_overrides(**{option: value})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"id": ""}, "id: expected letters"),
        ({"id": "a/b"}, "id: expected letters"),
        ({"id": ".."}, "id: expected letters"),
        ({"images": "../x"}, "images '../x': expected a folder inside the scene"),
        ({"images": "x/"}, "images 'x/': expected a folder"),
        ({"downscale": 0.9}, "downscale 0.9: expected a factor"),
        ({"downscale": "half"}, "downscale 'half': expected a factor"),
        ({"max_width": 0}, "max_width 0: expected"),
        ({"split": "odd"}, "split 'odd': expected every8, first31 or given"),
        ({"background": (2.0, 0.0, 0.0)}, "background .*: expected three numbers"),
    ],
)
def test_plugins_protocols_are_checked(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        replace(GS1600, **fields)
