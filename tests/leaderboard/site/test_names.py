"""Names of files, numbers and texts of a site's data."""

from __future__ import annotations

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gsbench.leaderboard.board import Value
from gsbench.leaderboard.site.names import number, packed, script, slug


@given(st.text(min_size=1), st.text(min_size=1))
def test_slugs_are_safe_and_tell_names_apart(one: str, other: str) -> None:
    assert re.fullmatch(r"[a-z0-9._-]{1,80}", slug(one))
    assert slug(one) not in (".", "..")
    assert not slug(one).startswith(".")
    assert (slug(one) == slug(other)) == (one == other)


@pytest.mark.parametrize("name", ["hac", "0.004", "3dgs-mcmc", "garden"])
def test_plain_names_stay(name: str) -> None:
    assert slug(name) == name


def test_names_that_differ_in_what_slugs_leave_out() -> None:
    assert len({slug(name) for name in ("hac", "hac+", "hac++", "HAC", "hac--", "..", "+")}) == 7


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_keep_seven_digits(value: float) -> None:
    kept = number(value)
    assert kept is not None
    assert math.isclose(kept, value, rel_tol=1e-6)
    assert json.loads(json.dumps(kept)) == kept


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="cannot be shown"):
        number(value)


def test_values_say_mean_spread_and_seeds_or_why_there_is_none() -> None:
    assert packed(Value(27.5, 0.25, 3)) == [27.5, 0.25, 3]
    assert packed(Value(27.0)) == [27]
    assert packed(Value(None, reason="2/9 scenes")) == "2/9 scenes"


def test_scripts_assign_json() -> None:
    text = script("GSB_X", {"a": "\u2028</script>"})
    assert text.startswith("window.GSB_X={")
    assert "\u2028" not in text
    assert json.loads(text.removeprefix("window.GSB_X=").removesuffix(";\n")) == {"a": "\u2028</script>"}
