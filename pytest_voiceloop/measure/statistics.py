"""Percentiles of latencies in which time-outs stay (as infinite), and intervals that say how sure one can be.

Values are numbers of one unit; infinity is a turn that never ended. NaN raises ValueError.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray

P95_LEAST_N = 20
CONFIDENCE = 0.95
RESAMPLES = 2000
SWAPS = 20_000
EVERY_SIGN = 14


class Interval(NamedTuple):
    """The ends of a 95 % confidence interval; infinite where time-outs reach into it."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Summary:
    """What is shown of a series. None where there are too few values to say it."""

    n: int
    timed_out: int
    """How many of the n are infinite."""
    p50: float | None
    low: float | None
    high: float | None
    """`low` to `high` is the median's 95 % interval (n ≥ 6)."""
    p95: float | None
    """From n ≥ 20; before that the maximum is all one knows."""
    max: float | None


def summarise(values: Sequence[float]) -> Summary:
    """Summary of `values`, time-outs as ``math.inf``."""
    interval = interval_of_median(values)
    return Summary(
        n=len(values),
        timed_out=sum(math.isinf(value) for value in values),
        p50=median(values),
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        p95=p95(values),
        max=max(values, default=None),
    )


def median(values: Sequence[float]) -> float | None:
    """The median; None without values."""
    return percentile(values, 50) if values else None


def p95(values: Sequence[float]) -> float | None:
    """The 95th percentile; None for fewer than 20 values, which do not show one."""
    return percentile(values, 95) if len(values) >= P95_LEAST_N else None


def percentile(values: Sequence[float], percent: float) -> float:
    """A percentile by linear interpolation, as numpy's default; infinite where it falls on or beside a time-out.

    Raises ValueError without values and for a percentage outside 0 to 100.
    """
    if not values:
        raise ValueError("a percentile needs at least one value")
    _check(percent)
    ordered = _ordered(values)
    return float(_between(ordered, np.array([percent / 100 * (len(ordered) - 1)]))[0])


def interval_of_median(values: Sequence[float]) -> Interval | None:
    """The 95 % interval of the median by order statistics; None for fewer than 6 values, which cannot give one.

    Exact, whatever the distribution: the median lies between the k-th smallest and the k-th largest value with
    probability 1 - 2 P(Binomial(n, ½) < k), and k is the largest that keeps this at 95 % or above.
    """
    n, tail, k = len(values), 0, 0
    while (tail := tail + math.comb(n, k)) / 2**n <= (1 - CONFIDENCE) / 2:
        k += 1
    if k == 0:
        return None
    ordered = _ordered(values)
    return Interval(float(ordered[k - 1]), float(ordered[n - k]))


def bootstrap_percentile(
    values: Sequence[float], clusters: Sequence[Hashable], percent: float, seed: int = 0
) -> Interval | None:
    """The 95 % interval of a percentile by bootstrap over clusters; None for fewer than two clusters.

    `clusters` names the utterance of each value. Whole utterances are drawn, since trials of one utterance resemble
    each other: drawn singly, they would make the interval too narrow. Raises ValueError where lengths differ.
    """
    _check(percent)
    member, draws = _draw(clusters, len(values), seed)
    if draws is None:
        return None
    order = np.argsort(np.asarray(values, np.float64), kind="stable")
    ordered = _ordered(values)
    # How often each value, in order of size, is in each resample; then the value at a rank is found by counting up.
    counted = np.cumsum(draws[:, member[order]], axis=1)
    rank = percent / 100 * (counted[:, -1] - 1)
    below, above = (_at_rank(ordered, counted, edge(rank)) for edge in (np.floor, np.ceil))
    return _interval(_mixed(below, above, rank - np.floor(rank)))


def bootstrap_ratio(
    errors: Sequence[float], totals: Sequence[float], clusters: Sequence[Hashable], seed: int = 0
) -> Interval | None:
    """The 95 % interval of Σ errors / Σ totals, such as a corpus' word error rate, by bootstrap over clusters.

    None for fewer than two clusters or without totals. Raises ValueError where lengths differ.
    """
    if len(errors) != len(totals):
        raise ValueError(f"{len(errors)} errors, but {len(totals)} totals")
    member, draws = _draw(clusters, len(errors), seed)
    if draws is None:
        return None
    kinds = draws.shape[1]
    wrong = draws @ np.bincount(member, np.asarray(errors, np.float64), kinds)
    of = draws @ np.bincount(member, np.asarray(totals, np.float64), kinds)
    return _interval(wrong[of > 0] / of[of > 0]) if of.any() else None


def _check(percent: float) -> None:
    if not 0 <= percent <= 100:
        raise ValueError(f"a percentile lies between 0 and 100, not at {percent}")


def _ordered(values: Sequence[float]) -> NDArray[np.float64]:
    ordered = np.sort(np.asarray(values, np.float64))
    if np.isnan(ordered).any():
        raise ValueError(
            "one of the values is not a number; a time-out is math.inf, and what was not measured is left out"
        )
    return ordered


def _between(ordered: NDArray[np.float64], rank: NDArray[np.float64]) -> NDArray[np.float64]:
    below = np.floor(rank).astype(int)
    return _mixed(ordered[below], ordered[np.ceil(rank).astype(int)], rank - below)


def _mixed(below: NDArray[np.float64], above: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Part of the way from `below` to `above`. Not plain arithmetic: 0 * inf and inf - inf are no numbers."""
    with np.errstate(invalid="ignore"):
        return np.where((share == 0) | (below == above), below, below + (above - below) * share)


def _draw(clusters: Sequence[Hashable], n: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Each value's cluster as a number, and how often each cluster is drawn in each resample (a row each)."""
    if len(clusters) != n:
        raise ValueError(f"{n} values, but {len(clusters)} clusters; each value needs the utterance it belongs to")
    numbers = {name: number for number, name in enumerate(dict.fromkeys(clusters))}
    member = np.array([numbers[name] for name in clusters], np.int64)
    kinds = len(numbers)
    if kinds < 2:
        return member, None
    return member, _resamples(kinds, seed)


# A comparison has many rows of the same number of utterances.
@functools.lru_cache(maxsize=8)
def _resamples(kinds: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).multinomial(kinds, np.full(kinds, 1 / kinds), RESAMPLES)


def _at_rank(
    ordered: NDArray[np.float64], counted: NDArray[np.int64], rank: NDArray[np.float64]
) -> NDArray[np.float64]:
    found: NDArray[np.float64] = ordered[np.argmax(counted > rank[:, None], axis=1)]
    return found


def _interval(estimates: NDArray[np.float64], confidence: float = CONFIDENCE) -> Interval:
    ordered, tail = np.sort(estimates), (1 - confidence) / 2
    low, high = _between(ordered, np.array([tail, 1 - tail]) * (len(ordered) - 1))
    return Interval(float(low), float(high))


class Shift(NamedTuple):
    """How far a series has moved, and the interval of that; the interval is None where there are too few values."""

    estimate: float
    interval: Interval | None


def shift(differences: Sequence[float], confidence: float = CONFIDENCE) -> Shift:
    """The Hodges-Lehmann estimate of paired differences, with the interval that belongs to Wilcoxon's signed ranks.

    The estimate is the median of the means of all pairs (a value with itself included); the interval runs from the
    k-th smallest of those means to the k-th largest, where k is the largest number for which the signed-rank statistic
    lies below k with at most half of 1 - `confidence` (Hollander, Wolfe, Chicken: Nonparametric Statistical Methods,
    3.1 to 3.3). Exact for differences that are symmetric about their median, whatever their tails. Raises ValueError
    without values, and for one that is not finite.
    """
    values = np.asarray(differences, np.float64)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError("a shift needs at least one difference, and finite ones; leave time-outs out and count them")
    first, second = np.triu_indices(len(values))
    means = np.sort((values[first] + values[second]) / 2)
    k = int(np.searchsorted(np.cumsum(_signed_rank_probabilities(len(values))), (1 - confidence) / 2, side="right"))
    interval = Interval(float(means[k - 1]), float(means[len(means) - k])) if k else None
    return Shift(float(np.median(means)), interval)


@functools.cache
def _signed_rank_probabilities(n: int) -> NDArray[np.float64]:
    """The probability of each value, 0 to n(n+1)/2, of the sum of those ranks 1 to n that have a positive sign."""
    found = np.ones(1)
    for rank in range(1, n + 1):
        found = (np.pad(found, (0, rank)) + np.pad(found, (rank, 0))) / 2
    return found


def bootstrap_ratio_change(
    base: Sequence[tuple[float, float]],
    head: Sequence[tuple[float, float]],
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Shift | None:
    """The change of Σ errors / Σ totals from `base` to `head`, and its interval by bootstrap over utterances.

    Each holds an utterance's (errors, total), in the same order on both sides. None without totals on both sides, the
    interval None for fewer than two utterances. Raises ValueError where lengths differ.
    """
    before, after = np.asarray(base, np.float64).reshape(-1, 2), np.asarray(head, np.float64).reshape(-1, 2)
    if len(before) != len(after):
        raise ValueError(f"{len(before)} utterances before, but {len(after)} after")
    if not (before[:, 1].sum() and after[:, 1].sum()):
        return None
    _, draws = _draw(range(len(before)), len(before), seed)

    def change(weights: NDArray[Any]) -> NDArray[np.float64]:
        (wrong, of), (wrong_now, of_now) = (weights @ before).T, (weights @ after).T
        usable = (of > 0) & (of_now > 0)
        found: NDArray[np.float64] = wrong_now[usable] / of_now[usable] - wrong[usable] / of[usable]
        return found

    estimate = float(change(np.ones((1, len(before))))[0])
    return Shift(estimate, None if draws is None else _interval(change(draws), confidence))


def chance_of_ratio_change(
    base: Sequence[tuple[float, float]], head: Sequence[tuple[float, float]], seed: int = 0
) -> float:
    """How likely a change of Σ errors / Σ totals as large as this one is, in either direction, if nothing changed.

    If nothing did, each utterance could as well have had its two results the other way round: so both are swapped at
    random (a paired permutation test). An interval by bootstrap is too narrow for rare errors to be
    trusted far out in its tails. Arguments as of `bootstrap_ratio_change`.
    """
    before, after = np.asarray(base, np.float64).reshape(-1, 2), np.asarray(head, np.float64).reshape(-1, 2)
    (wrong, of), (wrong_now, of_now) = before.sum(axis=0), after.sum(axis=0)
    rate = (wrong + wrong_now) / (of + of_now)
    # What each utterance adds to the change; their sum is the change itself.
    shares = (after[:, 0] - rate * after[:, 1]) / of_now - (before[:, 0] - rate * before[:, 1]) / of
    return chance_of_shift(shares.tolist(), seed)


def chance_of_shift(changes: Sequence[float], seed: int = 0) -> float:
    """How likely a mean as far from zero as that of paired `changes` is, if each could as well have the other sign.

    A permutation test, which holds whatever the distribution: of up to EVERY_SIGN changes by all combinations of
    signs, of more by 20 000 random ones.
    """
    values = np.asarray(changes, np.float64)
    n = len(values)
    # Sums of the same values in another order differ by rounding.
    as_large = np.abs(_signs(n, seed) @ values) >= abs(values.sum()) * (1 - 1e-9)
    # Of a random choice what was seen counts as one of them, so that nothing is ever called impossible.
    return float(as_large.mean()) if n <= EVERY_SIGN else float((as_large.sum() + 1) / (SWAPS + 1))


@functools.lru_cache(maxsize=8)
def _signs(n: int, seed: int) -> NDArray[np.int8]:
    """Combinations of n signs, a row each: every one for a small n, random ones for others."""
    if n <= EVERY_SIGN:
        return ((np.arange(2**n)[:, None] >> np.arange(n) & 1) * 2 - 1).astype(np.int8)
    return np.random.default_rng(seed).integers(0, 2, (SWAPS, n), dtype=np.int8) * 2 - 1
