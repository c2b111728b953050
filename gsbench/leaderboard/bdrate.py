"""BD-rate: how many percent more bytes a curve takes than another at equal quality, on average.

Bjontegaard's measure (VCEG-M33, 2001) with piecewise cubic Hermite interpolation of log-bytes over quality, as the
common test conditions of JCT-VC and JVET have it, computed by the package ``bjontegaard``. What comes before it is
ours: the Pareto front of each curve, the conditions under which a number is given at all, and the mean over scenes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gsbench.leaderboard.board import BdRate, BdScene

#: PCHIP needs two points. Fewer than four are a caution: the shape of the curve is then mostly the interpolation's.
MIN_POINTS: Final = 2
USUAL_POINTS: Final = 4
#: Share of the union of both curves' quality ranges that they must have in common. Nothing is extrapolated, so with
#: less the mean would be over a corner of the curves.
MIN_OVERLAP: Final = 0.5


@dataclass(frozen=True)
class Curve:
    """A rate-distortion curve, its Pareto front only.

    Fields:
        rates: bytes, ascending.
        qualities: ascending strictly; of metrics where less is better, the negated value.
        dropped: points that are not on the front.
    """

    rates: tuple[float, ...]
    qualities: tuple[float, ...]
    dropped: int = 0


def pareto_curve(points: Sequence[tuple[float, float]], higher_is_better: bool) -> Curve:
    """The Pareto front of points (bytes, metric): those for which no other is as small and as good.

    Raises:
        ValueError: if a size is not positive.
    """
    if any(rate <= 0 for rate, _ in points):
        raise ValueError("sizes must be positive")
    sign = 1.0 if higher_is_better else -1.0
    rates: list[float] = []
    qualities: list[float] = []
    # From the smallest, the best of equal sizes first: what comes later must be better.
    for rate, quality in sorted(((rate, sign * value) for rate, value in points), key=lambda p: (p[0], -p[1])):
        if not qualities or quality > qualities[-1]:
            rates.append(rate)
            qualities.append(quality)
    return Curve(tuple(rates), tuple(qualities), len(points) - len(rates))


def bd_rate_on_scene(
    scene: str,
    curve: Curve,
    anchor: Curve,
    higher_is_better: bool,
    *,
    min_overlap: float = MIN_OVERLAP,
) -> BdScene:
    """BD-rate of a curve against an anchor on one scene, or why there is none.

    Args:
        scene: its name.
        curve, anchor: from `pareto_curve`, of the same metric.
        higher_is_better: of the metric; `BdScene.overlap` has its own sign.
        min_overlap: see `MIN_OVERLAP`.
    """
    overlap, share = _overlap(curve, anchor)
    shown = overlap if overlap is None or higher_is_better else (-overlap[1] + 0.0, -overlap[0] + 0.0)
    reason: str | None = None
    percent: float | None = None
    if len(curve.rates) < MIN_POINTS or len(anchor.rates) < MIN_POINTS:
        which, count = (
            ("this curve", len(curve.rates)) if len(curve.rates) < MIN_POINTS else ("the anchor", len(anchor.rates))
        )
        reason = (
            f"{which} has {count} rate point{'' if count == 1 else 's'} on its front, at least {MIN_POINTS} are needed"
        )
    elif overlap is None:
        reason = "the curves have no quality in common"
    elif share < min_overlap:
        reason = f"the curves overlap by {100 * share:.0f} %, at least {100 * min_overlap:.0f} % are needed"
    else:
        percent = _percent(curve, anchor)
    cautions = []
    fewest = min(len(curve.rates), len(anchor.rates))
    if percent is not None and fewest < USUAL_POINTS:
        cautions.append(f"a curve has {fewest} points, {USUAL_POINTS} are usual")
    return BdScene(
        scene=scene,
        percent=percent,
        reason=reason,
        overlap=shown,
        overlap_share=share,
        points=len(curve.rates),
        anchor_points=len(anchor.rates),
        dropped=curve.dropped,
        anchor_dropped=anchor.dropped,
        cautions=tuple(cautions),
    )


def bd_rate(
    curve: str,
    anchor: str,
    metric: str,
    higher_is_better: bool,
    curves: Mapping[str, Curve],
    anchors: Mapping[str, Curve],
    scenes: Sequence[str],
) -> BdRate:
    """BD-rate on a data set: per scene, then the mean, which needs every scene.

    Args:
        curve, anchor, metric: names.
        higher_is_better: of the metric.
        curves, anchors: scene -> curve, where there is one.
        scenes: all scenes of the data set.
    """
    none = Curve((), ())
    found = tuple(
        bd_rate_on_scene(scene, curves.get(scene, none), anchors.get(scene, none), higher_is_better) for scene in scenes
    )
    known = [scene.percent for scene in found if scene.percent is not None]
    complete = len(known) == len(scenes) and bool(scenes)
    reason = None
    if not complete:
        first = next((scene for scene in found if scene.percent is None), None)
        text = "no scenes" if first is None else first.reason
        reason = (
            text if len(scenes) == 1 else f"{len(known)}/{len(scenes)} scenes; {first.scene if first else ''}: {text}"
        )
    return BdRate(
        curve=curve,
        anchor=anchor,
        metric=metric,
        percent=sum(known) / len(known) if complete else None,
        reason=reason,
        scenes=found,
        scenes_present=len(known),
        scenes_needed=len(scenes),
        cautions=tuple(dict.fromkeys(caution for scene in found for caution in scene.cautions)),
    )


def _overlap(a: Curve, b: Curve) -> tuple[tuple[float, float] | None, float]:
    """The qualities that both curves have, and their share of all that either has."""
    if not a.qualities or not b.qualities:
        return None, 0.0
    low, high = max(a.qualities[0], b.qualities[0]), min(a.qualities[-1], b.qualities[-1])
    if low >= high:
        return None, 0.0
    whole = max(a.qualities[-1], b.qualities[-1]) - min(a.qualities[0], b.qualities[0])
    return (low, high), (high - low) / whole


def _percent(curve: Curve, anchor: Curve) -> float:
    library: Any = _library()
    found = library.bd_rate(
        list(anchor.rates),
        list(anchor.qualities),
        list(curve.rates),
        list(curve.qualities),
        method="pchip",
        require_matching_points=False,
        min_overlap=0,  # decided before
    )
    return float(found)


def _library() -> Any:
    with warnings.catch_warnings():
        # It imports matplotlib, which it does not need here; what that has to say about fonts is of no interest.
        warnings.simplefilter("ignore")
        import bjontegaard  # type: ignore[import-untyped]
    return bjontegaard
