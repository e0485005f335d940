"""Tests by stages: every latency of a test's turns with its spread, and the budget that it is held against."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_voiceloop.report import reading
from pytest_voiceloop.report.document import LEDGERS
from pytest_voiceloop.report.turn_view import LEDGER_TITLES, LEDGER_TOTALS, colour_of, owner_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_voiceloop.measure.statistics import Summary

NEVER = "never"


class Figure(NamedTuple):
    """One latency, or one rate that a budget is on, of a test; figures are in words."""

    title: str
    owner: str
    colour: str
    strong: bool
    n: int
    median: str
    interval: str
    tail: str
    """The 95th percentile or, of fewer than 20 turns, the maximum; says which."""
    budget: Mapping[str, Any] | None
    limit: str
    observed: str


class Glance(NamedTuple):
    """A test in one line: medians of the complete ledger's stages, of both totals, and what is wrong with it."""

    nodeid: str
    outcome: str
    failed: bool
    anchor: str
    turns: int
    over: int
    slowness: float
    medians: Mapping[str, str]


def figures(test: Mapping[str, Any]) -> list[Figure]:
    """The rows of a test, ledger by ledger, then its rates. Stages without any value or budget are left out."""
    turns = _timed(test)
    budgets: dict[tuple[str, str], list[Mapping[str, Any] | None]] = {}
    rates = []
    for budget in test.get("budgets") or ():
        place = reading.budget_place(budget["metric"])
        if place is None:
            rates.append(budget)
        else:
            budgets.setdefault(place, []).append(budget)
    rows = []
    for ledger in LEDGERS:
        stages = dict.fromkeys(stage for turn in turns for stage in turn["ledgers"][ledger]["stages_ms"])
        for stage in (*stages, "total"):
            spread = _spread(turns, ledger, stage)
            held = budgets.get((ledger, stage)) or ([None] if spread.n else [])
            rows += [_figure(ledger, stage, spread, budget) for budget in held]
    return rows + [_rate(budget) for budget in rates]


def glance(test: Mapping[str, Any], anchor: str) -> Glance:
    """A test's line in the table of all tests. `anchor` is where it is told in full."""
    turns = _timed(test)
    total, answer = _spread(turns, "complete", "total"), _spread(turns, "first_audio", "total")
    medians = {stage: _median(_spread(turns, "complete", stage)) for stage in reading.TARGETS_MS if stage != "total"}
    medians |= {"total": _median(total), "voice to voice": _median(answer)}
    return Glance(
        test["nodeid"],
        test["outcome"],
        reading.has_failed(test),
        anchor,
        len(turns),
        sum(budget["verdict"] == "over" for budget in test.get("budgets") or ()),
        next((value for value in (answer.p50, total.p50) if value is not None), -1.0),
        medians,
    )


def _timed(test: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    turns = test.get("turns") or ()
    return [turn for turn in turns if not turn["warmup"] and turn["status"] != "void"]


def _spread(turns: Sequence[Mapping[str, Any]], ledger: str, stage: str) -> Summary:
    """Of turns in which the latency can be seen; infinite where an event did not come."""
    from pytest_voiceloop.measure.statistics import summarise

    values = []
    for turn in turns:
        found = turn["ledgers"][ledger]
        value = found["total_ms"] if stage == "total" else found["stages_ms"].get(stage)
        ends = [event for _, event in LEDGERS[ledger]] if stage == "total" else reading.stage_events(ledger, stage)[1:]
        if value is not None:
            values.append(value)
        elif not set(ends).isdisjoint(turn["missing"]):
            values.append(math.inf)
    return summarise(values)


def _figure(ledger: str, stage: str, spread: Summary, budget: Mapping[str, Any] | None) -> Figure:
    is_total = stage == "total"
    tail = "" if spread.max is None else f"max {_ms(spread.max)}" if spread.p95 is None else f"p95 {_ms(spread.p95)}"
    observed, _, limit = reading.budget_figures(budget) if budget else ("", "", "")
    return Figure(
        title=LEDGER_TOTALS[ledger]
        if is_total
        else stage
        if ledger == "complete"
        else f"{LEDGER_TITLES[ledger]}: {stage}",
        owner="" if is_total else owner_of(stage),
        colour="" if is_total else colour_of(stage, None),
        strong=is_total,
        n=spread.n,
        median=_median(spread),
        interval="" if spread.low is None or spread.high is None else f"[{_ms(spread.low)}, {_ms(spread.high)}]",
        tail=tail,
        budget=budget,
        limit=limit,
        observed=observed,
    )


def _rate(budget: Mapping[str, Any]) -> Figure:
    observed, interval, limit = reading.budget_figures(budget)
    return Figure(budget["metric"], "", "", False, budget["n"], observed, interval, "", budget, limit, observed)


def _median(spread: Summary) -> str:
    return "" if spread.p50 is None else _ms(spread.p50)


def _ms(value: float) -> str:
    return NEVER if math.isinf(value) else reading.milliseconds(value)
