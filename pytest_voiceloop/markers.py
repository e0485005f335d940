"""The markers `latency`, `quality` and `fault`: parsed and checked at collection, judged after the test."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from pytest_voiceloop.call.faults import Fault, FaultError, Faults, fault
from pytest_voiceloop.measure.budgets import Budget, Verdict, check_n, judge, judge_rate
from pytest_voiceloop.measure.statistics import bootstrap_ratio
from pytest_voiceloop.measure.timeline import COMPLETE, FIRST_AUDIO, WHERE, expected_events, ledger
from pytest_voiceloop.measure.turn import LATENCY_METRICS, QUALITY_METRICS, Turn, latency_ms
from pytest_voiceloop.run import FAULTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_voiceloop.measure.timeline import Role

LATENCY_SHAPE = 'latency(total="2s", stt="500ms", voice_to_voice=…, percentile=95)'
QUALITY_SHAPE = "quality(transcript_wer=0.2, loop_wer=0.1, cut_off_rate=0.02)"
FAULT_SHAPE = 'fault("reset", "llm_tts", item=2), fault("restart", "kokoro", at="t0", after="100ms")'
NEED_A_JUDGE = ("total", "retranscription", "loop_wer")
MOST_ERRORS = 3
"""A service that answers every try with the same error need not be quoted each time."""
REALTIME_REFUSES = ("total", "transfer")
"""At real-time pace these contain the reply's whole duration, which is no latency."""


def parse(item: pytest.Item) -> tuple[Budget, ...]:
    """The budgets of a test; the closest marker wins, metric by metric. Raises pytest.UsageError naming the test."""
    budgets: dict[str, Budget] = {}
    for mark in [*item.iter_markers("latency"), *item.iter_markers("quality")]:
        source = f"@pytest.mark.{mark.name} on {item.nodeid}"
        try:
            found = (_latency if mark.name == "latency" else _quality)(mark.kwargs, source, mark.args)
        except ValueError as error:
            raise pytest.UsageError(f"{source}: {error}") from None
        for budget in found:
            budgets.setdefault(budget.metric, budget)
    return tuple(budgets.values())


def faults_of(item: pytest.Item) -> Faults:
    """The faults of a test: at first those of its markers, the outermost first. Raises pytest.UsageError naming it."""
    if FAULTS not in item.stash:
        item.stash[FAULTS] = Faults([_fault(mark, item) for mark in reversed(list(item.iter_markers("fault")))])
    return item.stash[FAULTS]


def _fault(mark: pytest.Mark, item: pytest.Item) -> Fault:
    source = f"@pytest.mark.fault on {item.nodeid}"
    if not 1 <= len(mark.args) <= 2 or not all(isinstance(word, str) for word in mark.args):
        raise pytest.UsageError(f"{source}: takes a kind and where it strikes: {FAULT_SHAPE}")
    try:
        return fault(*mark.args, **mark.kwargs)
    except FaultError as error:
        raise pytest.UsageError(f"{source}: {error}") from None


def with_profile(budgets: Sequence[Budget], profile: Sequence[Budget], pace: str) -> tuple[Budget, ...]:
    """The budgets of a test, and those of a profile on what no marker limits.

    A profile is there for every test that phones, so what means nothing at a test's pace is left out of it.
    """
    found = {budget.metric: budget for budget in budgets}
    for budget in profile:
        if pace != "realtime" or budget.metric not in REALTIME_REFUSES:
            found.setdefault(budget.metric, budget)
    return tuple(found.values())


def of_profile(limits: Mapping[str, Any], source: str) -> tuple[Budget, ...]:
    """The budgets of a profile, which takes the keywords of both markers. Raises ValueError."""
    _check_names(limits, (*LATENCY_METRICS, "percentile", *QUALITY_METRICS))
    quality = {name: value for name, value in limits.items() if name in QUALITY_METRICS}
    latency = {name: value for name, value in limits.items() if name not in QUALITY_METRICS}
    if set(latency) == {"percentile"}:
        raise ValueError('percentile stands here without a latency; add one, such as total = "2s"')
    return (*(_latency(latency, source) if latency else ()), *(_quality(quality, source) if quality else ()))


def _latency(given: Mapping[str, Any], source: str, args: Sequence[object] = ()) -> list[Budget]:
    from pytest_voiceloop.measure.durations import parse_ms

    if args:
        raise ValueError(f"takes keywords only: {LATENCY_SHAPE}")
    limits = dict(given)
    percentile = limits.pop("percentile", None)
    if percentile is not None and (isinstance(percentile, bool) or not isinstance(percentile, (int, float))):
        raise ValueError(f"percentile={percentile!r} is no number between 0 and 100")
    if percentile is not None and not 0 < percentile < 100:
        raise ValueError(f"percentile={percentile!r} lies not between 0 and 100")
    _check_names(limits, tuple(LATENCY_METRICS))
    limits = limits or {"total": "2s"}
    return [Budget(name, parse_ms(value, name), "ms", source, percentile) for name, value in limits.items()]


def _quality(limits: Mapping[str, Any], source: str, args: Sequence[object] = ()) -> list[Budget]:
    if args or not limits:
        raise ValueError(f"takes at least one keyword: {QUALITY_SHAPE}")
    _check_names(limits, QUALITY_METRICS)
    for name, value in limits.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise ValueError(f"{name}={value!r} is no share; write errors per word from 0 to 1, such as 0.1")
    return [Budget(name, float(value), "ratio", source) for name, value in limits.items()]


def _check_names(given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    from pytest_voiceloop.text import closest

    for name in given:
        if name not in known:
            raise ValueError(f"there is no {name!r}{closest(name, known)} Known are {', '.join(known)}")


def check_pace(budgets: Sequence[Budget], pace: str) -> None:
    """Raise pytest.UsageError for a budget that means nothing at this pace."""
    for budget in budgets:
        if pace == "realtime" and budget.metric in REALTIME_REFUSES:
            raise pytest.UsageError(
                f"{budget.source}: at pace realtime, {budget.metric} contains the reply's whole duration, so a budget "
                "on it says nothing; set one on voice_to_voice, or measure this test at pace asap"
            )


def invisible(budgets: Sequence[Budget], tapped: Sequence[Role], *, judged: bool = True) -> str:
    """Why a stack with these tapped links cannot show what a budget limits; empty if it shows everything."""
    seen = expected_events(tapped, judged=judged)
    for budget in budgets:
        if not judged and budget.metric in NEED_A_JUDGE:
            return (
                f"{budget.source}: {budget.metric} cannot be seen in this stack, since nobody transcribes what was "
                "heard; give the stack a judge, or set a budget on voice_to_voice or transcript_wer instead"
            )
        ledger_name, stage = LATENCY_METRICS.get(budget.metric, ("", None))
        if stage is None:
            continue
        plan = COMPLETE if ledger_name == "complete" else FIRST_AUDIO
        stages = ledger(plan, {"t0": 0}, seen).stages_ms
        if stage not in stages:
            span = next(name for name in stages if stage in name.split("+"))
            return (
                f"{budget.source}: {budget.metric} cannot be seen in this stack, since a link at one of its ends has "
                f"no tap; it is part of {span}. Set a budget on a total instead, or tap=True on the link in the spec"
            )
    return ""


def judge_turns(budgets: Sequence[Budget], turns: Sequence[Turn]) -> list[tuple[Budget, Verdict]]:
    """Hold a test's turns against its budgets. Warm-up and void turns do not count; a time-out counts as infinite."""
    counted = [turn for turn in turns if not turn.warmup and turn.status != "void"]
    return [(budget, _judge(budget, counted)) for budget in budgets]


def _judge(budget: Budget, turns: Sequence[Turn]) -> Verdict:
    ids = [turn.utterance.id for turn in turns]
    if budget.unit == "ms":
        values = [_latency_value(turn, budget.metric) for turn in turns]
        try:
            check_n(budget, len(values))
        except ValueError as error:
            return Verdict("over", None, None, None, len(values), str(error))
        return judge(budget, values, ids)
    errors, totals = _rates(budget.metric, turns)
    observed = sum(errors) / sum(totals) if sum(totals) else None
    return judge_rate(budget, observed, bootstrap_ratio(errors, totals, ids) if totals else None, len(turns))


def _latency_value(turn: Turn, metric: str) -> float | None:
    value = latency_ms(turn, metric)
    return math.inf if value is None and turn.status in ("timeout", "failed") else value


def _rates(metric: str, turns: Sequence[Turn]) -> tuple[list[float], list[float]]:
    if metric == "cut_off_rate":
        return [float("cut_off" in turn.flags) for turn in turns], [1.0] * len(turns)
    words = [turn.transcript if metric == "transcript_wer" else turn.heard for turn in turns]
    return [float(w.errors or 0) for w in words], [float(w.words or 0) for w in words]


def describe_failures(turns: Sequence[Turn]) -> list[str]:
    """One sentence for each turn that did not come to its end."""
    return [
        f"turn {number} ({turn.utterance.id}, call {turn.call_id}): "
        + (
            "; ".join(f"{event.upper()} never came on {WHERE[event]}" for event in turn.missing)
            or "the reply did not end in time"
        )
        + "".join(f"\n  {error}" for error in turn.errors[:MOST_ERRORS])
        for number, turn in enumerate(turns, start=1)
        if not turn.warmup and turn.status in ("timeout", "failed")
    ]


def never_struck(faults: Sequence[Fault], turns: Sequence[Turn]) -> list[str]:
    """One sentence for each fault that struck in no turn: a test that passes then has shown nothing."""
    struck = {record["line"] for turn in turns for record in turn.faults}
    return [
        f"{one} never struck in {len(turns)} turn{'s' * (len(turns) != 1)}: its moment ({_moment(one)}) did not come"
        for one in dict.fromkeys(faults)
        if str(one) not in struck
    ]


def _moment(one: Fault) -> str:
    counted = {
        "items": f"item {one.item} on {one.where}",
        "turn": "something that passes there",
        "t0": "the end of the speech",
        "middle": "the middle of the speech",
        "start": "the start of the turn",
    }
    after = f" and {one.after_ms:g} ms" if one.after_ms else ""
    return counted.get(one.moment, f"item {one.item} on {one.moment}") + after
