"""BD-rates against published examples, an independent integration, and properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import PchipInterpolator

from gsbench.leaderboard.bdrate import bd_rate, bd_rate_on_scene, pareto_curve

#: The example in the documentation of the package bjontegaard (libx265 presets), with both curves.
ANCHOR = list(zip([9487.76, 4593.60, 2486.44, 1358.24], [40.037, 38.615, 36.845, 34.851], strict=True))
TEST = list(zip([9787.80, 4469.00, 2451.52, 1356.24], [40.121, 38.651, 36.970, 34.987], strict=True))

#: Curves of JCTVC-E137 and their BD-rates by PCHIP, as libvmaf and Android's media quality tests have them.
PUBLISHED = [
    (
        [(108048.8736, 43.6471), (61279.976, 40.3953), (33905.6656, 37.247), (18883.6928, 34.2911)],
        [(108061.2784, 43.6768), (61299.9936, 40.4232), (33928.7472, 37.2761), (18910.912, 34.3147)],
        -0.465215420752807,
    ),
    (
        [(40433.8848, 37.5761), (7622.7456, 35.3756), (2394.488, 33.8977), (1017.6184, 32.0603)],
        [(40370.12, 37.5982), (7587.0024, 35.4025), (2390.0944, 33.9194), (1017.0984, 32.0822)],
        -1.8779823450567612,
    ),
]


def percent(test: list[tuple[float, float]], anchor: list[tuple[float, float]], higher: bool = True) -> float:
    found = bd_rate_on_scene("s", pareto_curve(test, higher), pareto_curve(anchor, higher), higher)
    assert found.percent is not None, found.reason
    return found.percent


def by_sums(test: list[tuple[float, float]], anchor: list[tuple[float, float]]) -> float:
    """The same by its definition: the mean difference of log-rate over the common quality, by fine trapezoids."""
    logs = []
    low = max(min(q for _, q in test), min(q for _, q in anchor))
    high = min(max(q for _, q in test), max(q for _, q in anchor))
    at = np.linspace(low, high, 200_001)
    for points in (test, anchor):
        ordered = sorted(points, key=lambda p: p[1])
        curve = PchipInterpolator([q for _, q in ordered], [math.log(r) for r, _ in ordered])
        logs.append(np.trapezoid(curve(at), at) / (high - low))
    return 100.0 * (math.exp(logs[0] - logs[1]) - 1.0)


@pytest.mark.parametrize(("anchor", "test", "expected"), PUBLISHED)
def test_published_examples(
    anchor: list[tuple[float, float]], test: list[tuple[float, float]], expected: float
) -> None:
    assert percent(test, anchor) == pytest.approx(expected, abs=1e-9)


def test_the_definition() -> None:
    assert percent(TEST, ANCHOR) == pytest.approx(by_sums(TEST, ANCHOR), abs=1e-6)
    assert percent(ANCHOR, TEST) == pytest.approx(by_sums(ANCHOR, TEST), abs=1e-6)


@given(st.floats(0.2, 5.0))
def test_a_curve_of_scaled_sizes_has_that_rate(factor: float) -> None:
    scaled = [(factor * rate, quality) for rate, quality in ANCHOR]
    assert percent(scaled, ANCHOR) == pytest.approx(100.0 * (factor - 1.0), abs=1e-6)


def test_metrics_where_less_is_better() -> None:
    lpips = [(rate, 1.0 - quality / 100.0) for rate, quality in ANCHOR]
    half = [(rate / 2, value) for rate, value in lpips]
    assert percent(half, lpips, higher=False) == pytest.approx(-50.0)
    found = bd_rate_on_scene("s", pareto_curve(half, False), pareto_curve(lpips, False), False)
    assert found.overlap == pytest.approx((1.0 - 0.40037, 1.0 - 0.34851)), "in the metric's own sign"


def test_points_off_the_front_do_not_count() -> None:
    worse = [*ANCHOR, (5000.0, 30.0), (9487.76, 39.0)]
    curve = pareto_curve(worse, True)
    assert curve.dropped == 2
    assert percent(worse, TEST) == percent(ANCHOR, TEST)


@given(st.lists(st.tuples(st.floats(1, 1e9), st.floats(0, 50)), min_size=1, max_size=12), st.booleans())
def test_the_front_is_what_no_point_beats(points: list[tuple[float, float]], higher: bool) -> None:
    curve = pareto_curve(points, higher)
    sign = 1.0 if higher else -1.0
    expected = {
        (r, q)
        for r, q in points
        if not any((r2 <= r and sign * q2 >= sign * q) and (r2, q2) != (r, q) for r2, q2 in points)
    }
    assert {(r, sign * q) for r, q in zip(curve.rates, curve.qualities, strict=True)} == expected
    assert list(curve.qualities) == sorted(set(curve.qualities))


def test_why_there_is_none() -> None:
    anchor = pareto_curve(ANCHOR, True)
    one = bd_rate_on_scene("s", pareto_curve(TEST[:1], True), anchor, True)
    assert one.percent is None
    assert "1 rate point" in str(one.reason)
    assert "the anchor has 0 rate points" in str(bd_rate_on_scene("s", anchor, pareto_curve([], True), True).reason)
    far = pareto_curve([(rate, quality + 50) for rate, quality in TEST], True)
    apart = bd_rate_on_scene("s", far, anchor, True)
    assert (apart.percent, apart.overlap, apart.overlap_share) == (None, None, 0.0)
    assert apart.reason == "the curves have no quality in common"
    shifted = bd_rate_on_scene("s", pareto_curve([(r, q + 3.0) for r, q in TEST], True), anchor, True)
    assert shifted.percent is None
    assert shifted.overlap == pytest.approx((37.987, 40.037))
    assert "overlap by 25 %" in str(shifted.reason)


def test_two_points_do_with_a_caution() -> None:
    found = bd_rate_on_scene("s", pareto_curve(TEST[:2], True), pareto_curve(TEST[:2], True), True)
    assert found.percent == pytest.approx(0.0)
    assert found.cautions == ("a curve has 2 points, 4 are usual",)


def test_the_mean_over_scenes_needs_all_of_them() -> None:
    anchor = pareto_curve(ANCHOR, True)
    double = pareto_curve([(2 * r, q) for r, q in ANCHOR], True)
    half = pareto_curve([(r / 2, q) for r, q in ANCHOR], True)
    anchors = {"a": anchor, "b": anchor}
    found = bd_rate("x", "y", "psnr", True, {"a": double, "b": half}, anchors, ["a", "b"])
    assert found.percent == pytest.approx((100.0 - 50.0) / 2)
    missing = bd_rate("x", "y", "psnr", True, {"a": double}, anchors, ["a", "b"])
    assert missing.percent is None
    assert (missing.scenes_present, missing.scenes_needed) == (1, 2)
    assert str(missing.reason).startswith("1/2 scenes; b: this curve has 0 rate points")


def test_sizes_are_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        pareto_curve([(0, 30.0)], True)
