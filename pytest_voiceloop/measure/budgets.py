"""Whether values keep within a budget: within, over, or too close to say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pytest_voiceloop.measure.statistics import Interval, bootstrap_percentile, interval_of_median, percentile

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

Outcome = Literal["within", "over", "inconclusive"]
Unit = Literal["ms", "ratio"]


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit that was set. `source` says where, for the message. `percentile` None: every turn has to hold it."""

    metric: str
    limit: float
    unit: Unit
    source: str
    percentile: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A budget's outcome. `observed` is what was held against the limit; None where that was never measured.

    `low` to `high` is its 95 % interval, None where one value was judged by itself. `note` is a sentence for a person,
    or empty.
    """

    verdict: Outcome
    observed: float | None
    low: float | None
    high: float | None
    n: int
    note: str


def least_n(percent: float) -> int:
    """How many turns show a percentile: one of them has to lie beyond it. 20 for the 95th, 100 for the 99th.

    Raises ValueError for a percentage that is not between 0 and 100.
    """
    if not 0 < percent < 100:
        raise ValueError(f"percentile={percent:g} lies not between 0 and 100")
    return 1 if percent <= 50 else math.ceil(round(100 / (100 - percent), 9))


def check_n(budget: Budget, n: int) -> None:
    """Raise ValueError where `n` turns are too few for the percentile that the budget asks for."""
    if budget.percentile is not None and n < (least := least_n(budget.percentile)):
        raise ValueError(
            f"{budget.source}: {budget.metric} at percentile={budget.percentile:g} needs at least {least} turns, and "
            f"there are {n}; raise the number of trials, or leave percentile out, so that every turn is judged"
        )


def judge(
    budget: Budget, values: Sequence[float | None], clusters: Sequence[Hashable] | None = None, seed: int = 0
) -> Verdict:
    """Hold the values of a test's turns against `budget`.

    A value is None where it was not measured, which is over, and infinite where the turn timed out. Without a
    percentile every turn has to hold, so the worst one is observed. With one, the interval decides: within or over
    where it lies wholly on one side of the limit, else inconclusive. `clusters` names the utterance of each value.
    Raises ValueError where there are too few values for the percentile.
    """
    check_n(budget, len(values))
    unmeasured = [number for number, value in enumerate(values, start=1) if value is None]
    if unmeasured or not values:
        return Verdict("over", None, None, None, len(values), _not_measured(budget, unmeasured, len(values)))
    measured = [value for value in values if value is not None]
    if len(measured) == 1:
        return _by_value(budget, measured[0], 1, "one turn, judged by its value")
    if budget.percentile is None:
        over = sum(value > budget.limit for value in measured)
        note = f"{over} of {len(measured)} turns over; the worst is shown" if over else ""
        return _by_value(budget, max(measured), len(measured), note)
    interval, note = _interval(measured, clusters, budget.percentile, seed)
    return _by_interval(budget, percentile(measured, budget.percentile), interval, len(measured), note)


def judge_rate(budget: Budget, observed: float | None, interval: Interval | None, n: int) -> Verdict:
    """Hold a rate of all turns together (a word error rate, a rate of cut-offs) against `budget`.

    `interval` is its 95 % interval (`statistics.bootstrap_ratio`); without one, or with a single turn, the value
    decides. `observed` None is a rate that was not measured, and over.
    """
    if observed is None:
        return Verdict("over", None, None, None, n, _not_measured(budget, [], n))
    if n == 1:
        return _by_value(budget, observed, n, "one turn, judged by its value")
    if interval is None:
        return _by_value(budget, observed, n, "judged by its value: one utterance gives no interval")
    return _by_interval(budget, observed, interval, n, "")


def _interval(
    values: Sequence[float], clusters: Sequence[Hashable] | None, percent: float, seed: int
) -> tuple[Interval, str]:
    repeated = clusters is not None and len(set(clusters)) < len(clusters)
    if percent == 50 and not repeated:
        found = interval_of_median(values)
    else:
        found = bootstrap_percentile(values, range(len(values)) if clusters is None else clusters, percent, seed)
    if found:
        return found, ""
    return Interval(min(values), max(values)), "too few turns or utterances for a 95 % interval; their range is used"


def _by_value(budget: Budget, observed: float, n: int, note: str) -> Verdict:
    if math.isinf(observed):
        note = "; ".join(part for part in ("a turn timed out", note) if part)
    return Verdict("within" if observed <= budget.limit else "over", observed, None, None, n, note)


def _by_interval(budget: Budget, observed: float, interval: Interval, n: int, note: str) -> Verdict:
    outcome: Outcome = "within" if interval.high <= budget.limit else "over"
    if interval.low <= budget.limit < interval.high:
        outcome = "inconclusive"
        note = "; ".join(part for part in ("the interval spans the limit: more turns would tell", note) if part)
    return Verdict(outcome, observed, interval.low, interval.high, n, note)


def _not_measured(budget: Budget, unmeasured: Sequence[int], n: int) -> str:
    if not unmeasured:
        return f"{budget.metric} was not measured: " + (
            "nothing to measure it by" if n else "there was no turn that counts"
        )
    return (
        f"{budget.metric} was not measured in {len(unmeasured)} of {n} turns (turn {', '.join(map(str, unmeasured))})"
    )
