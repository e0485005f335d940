"""What every report reads out of the document: targets, labels, verdict, and which turns are worth a look."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pytest_voiceloop.measure.timeline import WHERE
from pytest_voiceloop.measure.turn import LATENCY_METRICS
from pytest_voiceloop.report.document import LEDGERS
from pytest_voiceloop.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TARGETS_MS: Mapping[str, float] = {
    "stt": 500,
    "llm": 200,
    "tts": 150,
    "transfer": 50,
    "retranscription": 500,
    "total": 2000,
}
"""The default targets of the complete ledger. Shown always, enforced by a budget only."""
WITHOUT_TARGET_AT_REALTIME = ("transfer", "total")
NO_TARGET_AT_REALTIME = "no target on transfer and total: at realtime they contain the reply's duration"
SCRIPTED = "SCRIPTED (no model)"
SYNTHETIC = "synthetic speech"
HOLES_MS, CLIPPED_MS = 8.0, 2.0
"""Less is found in no undamaged reply, and means nothing in a damaged one: docs/second-ear.md."""
CLIPPED_ON_THE_LINE_MS = 20.0
"""What is left of a wave beside a lost packet, or of a quiet one in µ-law, may look clipped for less than this."""
STALL_MS = 200.0
"""A pause for want of audio that lasts longer is heard as a reply that stands still."""
SLOWEST = 3
"""So many of the slowest turns are shown in full even if all went well."""

State = Literal["passed", "failed", "unfinished", "nothing"]


class Entry(NamedTuple):
    """A turn with the test it belongs to; `number` counts the document's turns from 1."""

    number: int
    test: Mapping[str, Any]
    turn: Mapping[str, Any]


class Missed(NamedTuple):
    """A budget with the test it belongs to."""

    nodeid: str
    outcome: str
    budget: Mapping[str, Any]


class Verdict(NamedTuple):
    """A run in one word and one sentence."""

    state: State
    sentence: str


def entries(document: Mapping[str, Any]) -> Iterator[Entry]:
    """Every turn of the run, warm-up too, in order."""
    number = 0
    for test in document["tests"]:
        for turn in test.get("turns") or ():
            number += 1
            yield Entry(number, test, turn)


def is_scripted(document: Mapping[str, Any]) -> bool:
    """Whether any service of the stack plays a script instead of a model."""
    return any(service.get("engine") == "scripted" for service in document["services"])


def target_ms(stage: str, pace: str) -> float | None:
    """The target of a stage of the complete ledger, or of its ``total``; None where it has none.

    Merged stages (``"llm+tts"``) have the sum of theirs.
    """
    names = stage.split("+")
    if pace == "realtime" and not set(names).isdisjoint(WITHOUT_TARGET_AT_REALTIME):
        return None
    targets = [TARGETS_MS.get(name) for name in names]
    return None if None in targets else sum(target for target in targets if target is not None)


def stage_events(ledger: str, stage: str) -> tuple[str, str]:
    """The events that begin and end a stage of a ledger (merged ones too)."""
    names = [name for name, _ in LEDGERS[ledger]]
    ends = ["t0", *(event for _, event in LEDGERS[ledger])]
    parts = stage.split("+")
    if parts[0] not in names or parts[-1] not in names:
        return "?", "?"
    return ends[names.index(parts[0])], ends[names.index(parts[-1]) + 1]


def budget_place(metric: str) -> tuple[str, str] | None:
    """Ledger and stage (or ``total``) on which a budget's metric is; None for a rate."""
    ledger, stage = LATENCY_METRICS.get(metric, ("", None))
    return (ledger, stage or "total") if ledger else None


def spoken(turn: Mapping[str, Any]) -> str:
    """What the voice was given to say: a recorded reply where one was passed on in place of the turn's own."""
    replayed: Mapping[str, str] = turn.get("replayed") or {}
    text: str = replayed.get("reply") or turn["reply"]["text"]
    return text


def why_null(turn: Mapping[str, Any], ledger: str) -> str:
    """Why a ledger of a turn has no total, in a few words; empty if it has one."""
    if turn["ledgers"][ledger]["total_ms"] is not None:
        return ""
    missing = [event for _, event in LEDGERS[ledger] if event in turn["missing"]]
    return f"{missing[0].upper()} never came" if missing else "cannot be seen"


def missing_events(turn: Mapping[str, Any]) -> list[str]:
    """What a turn lacks: the first event that never came with where it is seen, then the names of the others."""
    if not turn["missing"]:
        return ["The reply did not end in time"] if turn["status"] == "timeout" else []
    first, *others = turn["missing"]
    places = {str(event): place for event, place in WHERE.items()}
    sentences = [f"{first.upper()} never came: {places.get(first, 'an unknown event')}"]
    if others:
        sentences.append(f"Nor did {', '.join(event.upper() for event in others)}")
    return sentences


def corpus_name(corpus: str) -> str:
    """A corpus as it is called in headings; clips that were said by path belong to none."""
    return corpus or "single clips"


def damaged_ms(turn: Mapping[str, Any], side: str, figure: str) -> float:
    """``clipped_ms`` or ``gap_ms`` of a side of the reply, ``made`` or ``heard``; 0 where it is too little to count."""
    value: float = ((turn.get("sound") or {}).get(side) or {}).get(figure) or 0.0
    least = HOLES_MS if figure == "gap_ms" else CLIPPED_MS
    if figure == "clipped_ms" and side == "heard" and not damaged_ms(turn, "made", figure):
        least = CLIPPED_ON_THE_LINE_MS
    return value if value >= least else 0.0


def lost_packets(turn: Mapping[str, Any]) -> str:
    """How many packets of the reply never came, of how many; empty where none was lost."""
    lost = turn["playout"].get("lost") or 0
    sent = lost + (turn["counters"].get("rtp_packets") or 0) - (turn["playout"].get("duplicated") or 0)
    # Of several replies the last one's losses are counted, and the packets of all.
    if not lost or "split" in turn["flags"] or sent <= lost:
        return plural(lost, "packet") if lost else ""
    return f"{lost:g} of {plural(sent, 'packet')} ({100 * lost / sent:.0f} %)"


def budgets_over(test: Mapping[str, Any], turn: Mapping[str, Any]) -> list[str]:
    """The metrics whose budget the test missed and the turn, by itself, does not keep either."""
    found = []
    for budget in test.get("budgets") or ():
        metric, place = budget["metric"], budget_place(budget["metric"])
        if budget["verdict"] != "over" or turn["warmup"] or turn["status"] == "void":
            continue
        if place is not None:
            value = latency_ms(turn, *place)
            over = value is None or value > (budget.get("limit_ms") or 0.0)
        elif metric in ("transcript_wer", "loop_wer"):
            over = turn["transcript" if metric == "transcript_wer" else "heard"]["errors"] > 0
        else:
            over = metric.removesuffix("_rate") in turn["flags"]
        if over:
            found.append(metric)
    return found


def latency_ms(turn: Mapping[str, Any], ledger: str, stage: str) -> float | None:
    """A stage of a ledger, or its ``total``; None where it is not known."""
    found = turn["ledgers"][ledger]
    value: float | None = found["total_ms"] if stage == "total" else found["stages_ms"].get(stage)
    return value


def voice_to_voice_ms(turn: Mapping[str, Any]) -> float | None:
    """T0 to the first audible sample."""
    value: float | None = turn["ledgers"]["first_audio"]["total_ms"]
    return value


def missed_budgets(document: Mapping[str, Any]) -> list[Missed]:
    """Budgets that were not kept: over first, then those too close to say."""
    found = [
        Missed(test["nodeid"], test["outcome"], budget)
        for test in document["tests"]
        for budget in test.get("budgets") or ()
        if budget["verdict"] != "within"
    ]
    return sorted(found, key=lambda missed: missed.budget["verdict"] != "over")


def has_failed(test: Mapping[str, Any]) -> bool:
    """Whether a test did not pass by its own fault or the stack's."""
    return test["outcome"] in ("failed", "error")


def notable(every: Sequence[Entry], most: int) -> set[int]:
    """The numbers of the turns to show in full: all, if there are at most `most` besides warm-up.

    Else at most `most` that went wrong or belong to a failed test, and the SLOWEST others.
    """
    counted = [entry for entry in every if not entry.turn["warmup"]]
    if len(counted) <= most:
        return {entry.number for entry in counted}

    def slowness(entry: Entry) -> float:
        value = voice_to_voice_ms(entry.turn)
        return math.inf if value is None and entry.turn["missing"] else value or 0.0

    wrong = [entry for entry in counted if entry.turn["status"] != "ok"]
    of_failed = [entry for entry in counted if entry.turn["status"] == "ok" and has_failed(entry.test)]
    chosen = (wrong + sorted(of_failed, key=slowness, reverse=True))[:most]
    rest = [entry for entry in counted if entry not in chosen]
    return {entry.number for entry in chosen + sorted(rest, key=slowness, reverse=True)[:SLOWEST]}


def verdict(document: Mapping[str, Any]) -> Verdict:
    """How the run went. It has failed where a test has, or where a comparison says that it got worse.

    A budget that was missed and not enforced is counted only.
    """
    tests = document["tests"]
    turns = [entry.turn for entry in entries(document) if not entry.turn["warmup"]]
    ok = sum(turn["status"] == "ok" for turn in turns)
    outcomes = {name: sum(test["outcome"] == name for test in tests) for name in ("failed", "error", "unfinished")}
    skipped = sum(test["outcome"] == "skipped" for test in tests)
    parts = [f"{plural(count, 'test')} {word}" for word, count in _worded(outcomes).items() if count]
    over = sum(missed.budget["verdict"] == "over" for missed in missed_budgets(document))
    unsure = len(missed_budgets(document)) - over
    worse = [found for found in document.get("comparisons") or () if found["verdict"] in ("regressed", "refused")]
    parts += [f"{found['verdict']} against {visible(found['with'])}" for found in worse]
    if over:
        parts.append(f"{plural(over, 'budget')} missed")
    if unsure:
        parts.append(f"{plural(unsure, 'budget')} inconclusive")
    if turns:
        parts.append(f"{ok} of {plural(len(turns), 'turn')} completed")
        statuses = [turn["status"] for turn in turns]
        parts += [f"{statuses.count(name)} {name}" for name in ("timeout", "failed", "void") if name in statuses]
    else:
        parts.append("nothing was measured" + (f" ({plural(skipped, 'test')} skipped)" if skipped else ""))
    state: State = "passed" if turns else "nothing"
    if outcomes["unfinished"]:
        state = "unfinished"
    if outcomes["failed"] or outcomes["error"] or worse:
        state = "failed"
    return Verdict(state, ", ".join(parts))


def _worded(outcomes: Mapping[str, int]) -> dict[str, int]:
    return {"failed": outcomes["failed"], "in error": outcomes["error"], "unfinished": outcomes["unfinished"]}


def plural(count: float, word: str) -> str:
    """A number of things, such as ``2 turns``."""
    return f"{count:g} {word}" if count == 1 else f"{count:g} {word}s"


def milliseconds(value: float | None) -> str:
    """A latency for a person: whole ms from 10 on, one decimal below."""
    if value is None:
        return "-"
    return f"{value:.0f} ms" if value == 0 or abs(value) >= 10 else f"{value:.1f} ms"


def ratio(value: float | None) -> str:
    """A rate for a person."""
    return "-" if value is None else f"{value:.2f}"


def budget_figures(budget: Mapping[str, Any]) -> tuple[str, str, str]:
    """What was observed, its interval (or empty) and the limit of a budget, each with its unit."""
    is_time = budget.get("limit_ms") is not None or budget.get("unit") == "ms"
    shown = milliseconds if is_time else ratio
    observed, low, high, limit = (_first(budget, name) for name in ("observed", "low", "high", "limit"))
    interval = "" if low is None or high is None else f"[{shown(low)}, {shown(high)}]"
    return "not measured" if observed is None else shown(observed), interval, shown(limit)


def _first(budget: Mapping[str, Any], name: str) -> float | None:
    value: float | None = budget.get(f"{name}_ms")
    return budget.get(name) if value is None else value


def wordless(turn: Mapping[str, Any], side: str) -> str:
    """What stands for the words of ``transcript``, ``reply`` or ``heard`` where a turn has none."""
    if side == "heard" and turn["judge"] == "none":
        return "(nobody transcribed it)"
    event = {"transcript": "t1", "reply": "t2_last"}.get(side)
    unseen = event is not None and turn["events_ms"][event] is None and event not in turn["missing"]
    return "(seen on no link)" if unseen else "(nothing)"
