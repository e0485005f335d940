"""What a reader should look at first: which stage is slow and which words were lost, in sentences that name turns."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_voiceloop.report import reading
from pytest_voiceloop.report.turn_view import differences, owner_of
from pytest_voiceloop.text import clipped, visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MOST = 10
MOST_OF_A_KIND = 2
HOLES_MS, CLIPPED_MS = 8.0, 2.0
"""Less is found in no undamaged reply, and means nothing in a damaged one: docs/second-ear.md."""
OUTLIER = 0.25
"""A turn whose stage exceeds its median by so much of the median total is an outlier, and the stage says why."""
WIDTH = 200


class Finding(NamedTuple):
    """One thing to look at: a few words for its kind, a sentence, and the turn's number (0 for none)."""

    kind: str
    sentence: str
    turn: int


def findings(document: Mapping[str, Any], every: Sequence[reading.Entry]) -> list[Finding]:
    """At most `MOST`: what broke, what missed its budget, what was damaged, what is slow, and words that went wrong."""
    counted = [entry for entry in every if not entry.turn["warmup"]]
    sound = [entry for entry in counted if entry.turn["status"] in ("ok", "failed")]
    over = [missed for missed in reading.missed_budgets(document) if missed.budget["verdict"] == "over"]
    late = _over_budget(over, counted)
    of_metric = {
        "loop_wer": _wrong_words(sound, "heard", "Wrong words heard", "the reply"),
        "transcript_wer": _wrong_words(sound, "transcript", "Misunderstood", "what was said"),
        "cut_off_rate": _flagged(counted),
    }
    # What a test failed for is to be read first.
    failing = {missed.budget["metric"] for missed in over}
    found = [
        *_injected(counted),
        *_broken(document, counted),
        *_regressed(document),
        *late,
        *(one for metric, those in of_metric.items() if metric in failing for one in those),
        *_damaged(sound, "gap_ms", HOLES_MS, "Holes in the reply", "ms of holes are inside speech"),
        *_damaged(sound, "clipped_ms", CLIPPED_MS, "Clipped reply", "ms are clipped"),
        *_lost_packets(counted),
        *([] if late else _slowest(counted)),
        *(one for metric, those in of_metric.items() if metric not in failing for one in those),
    ]
    return found[:MOST]


def _subject(entry: reading.Entry) -> str:
    return f"turn {entry.number} ({clipped(visible(entry.turn['utterance']['id']), 60) or 'a clip'})"


def _injected(counted: Sequence[reading.Entry]) -> Iterator[Finding]:
    """Faults that were planted on purpose explain whatever follows."""
    faulty = [entry for entry in counted if entry.turn["faults"]]
    if faulty:
        kinds = dict.fromkeys(fault_text(fault) for entry in faulty for fault in entry.turn["faults"])
        yield Finding(
            "Injected", f"on purpose, in {len(faulty)} of {len(counted)} turns: {'; '.join(kinds)}", faulty[0].number
        )


def fault_text(fault: Mapping[str, Any]) -> str:
    """An injected fault in words."""
    text = _FAULTS.get(fault.get("kind", ""), "{kind}")
    shown = {name: value if isinstance(value, (int, float)) else visible(value) for name, value in fault.items()}
    try:
        return text.format_map(shown)
    except (KeyError, ValueError):
        # Of a newer version, which says more, or says it otherwise.
        return ", ".join(f"{visible(name)} {visible(value)}" for name, value in fault.items())


_FAULTS = {
    "delay": "every frame into {into} was held back by {ms:g} ms",
    "jitter": "every frame into {into} was held back by up to {ms:g} ms",
    "stall": "what goes into {into} stood still for {ms:g} ms",
    "drop": "something on its way into {into} was dropped",
    "corrupt": "bytes on their way into {into} were changed",
    "truncate": "the connection into {into} was cut in the middle of a frame",
    "half_close": "the stream into {into} was ended, and the connection left open",
    "reset": "the connection into {into} was reset",
    "kill": "{service} was killed and started again",
    "restart": "{service} was stopped and started again",
    "pause": "{service} was paused for {ms:g} ms",
    "noise": "the caller spoke in noise, {snr_db:g} dB below the speech",
    "mulaw": "the caller spoke through 8 kHz µ-law",
    "rtp_loss": "{percent:g} % of the packets to the caller were lost",
    "rtp_jitter": "packets reached the caller up to {ms:g} ms late",
    "silence": "the caller fell silent",
    "hang_up": "the caller hung up",
}


def _broken(document: Mapping[str, Any], counted: Sequence[reading.Entry]) -> Iterator[Finding]:
    broken = [test for test in document["tests"] if reading.has_failed(test) and not test.get("turns")]
    for test in broken[:MOST_OF_A_KIND]:
        lines = [line.strip() for line in str(test.get("message") or "").splitlines() if line.strip()]
        why = clipped(visible(lines[-1]), WIDTH) if lines else test["outcome"]
        yield Finding("No turn at all", f"{clipped(visible(test['nodeid']), WIDTH)}: {why}", 0)
    silent = [entry for entry in counted if entry.turn["status"] in ("timeout", "failed")]
    for entry in silent[:MOST_OF_A_KIND]:
        why = reading.missing_events(entry.turn) or [f"status {entry.turn['status']}"]
        also = f"; {len(silent)} such turns in all" if len(silent) > 1 and entry is silent[0] else ""
        yield Finding("No answer", f"{_subject(entry)}: {why[0]}{also}", entry.number)


def _over_budget(over: Sequence[reading.Missed], counted: Sequence[reading.Entry]) -> list[Finding]:
    timed = [entry for entry in counted if entry.turn["status"] != "void"]
    found = []
    for missed in over:
        place = reading.budget_place(missed.budget["metric"])
        of_test = [entry for entry in timed if entry.test["nodeid"] == missed.nodeid]
        if place is None or not of_test:
            continue
        worst = max(of_test, key=lambda entry: _slowness(entry.turn, *place))
        value, limit = _value(worst.turn, *place), missed.budget.get("limit_ms")
        took = "never came" if value is None else f"took {reading.milliseconds(value)}"
        sentence = f"{_subject(worst)}: {missed.budget['metric']} {took}, its budget is {reading.milliseconds(limit)}"
        excess = (value or math.inf) / limit if limit else math.inf
        found.append((excess, Finding("Over budget", sentence + _blame(worst, timed, *place), worst.number)))
    return [finding for _, finding in sorted(found, key=lambda one: -one[0])[:MOST_OF_A_KIND]]


def _slowest(counted: Sequence[reading.Entry]) -> Iterator[Finding]:
    timed = [entry for entry in counted if entry.turn["status"] != "void"]
    # At realtime the total contains the reply's duration: a long answer is no slow one.
    alike = [entry for entry in timed if entry.turn["pace"] != "realtime"]
    ledger, name = ("complete", "total") if alike else ("first_audio", "voice to voice")
    totals = [entry for entry in alike or timed if _value(entry.turn, ledger, "total") is not None]
    if totals:
        worst = max(totals, key=lambda entry: _slowness(entry.turn, ledger, "total"))
        total = reading.milliseconds(_value(worst.turn, ledger, "total"))
        blame = _blame(worst, timed, ledger, "total")
        yield Finding("Slowest", f"{_subject(worst)}: {name} {total}{blame}", worst.number)


def _value(turn: Mapping[str, Any], ledger: str, stage: str) -> float | None:
    found = turn["ledgers"][ledger]
    value: float | None = found["total_ms"] if stage == "total" else found["stages_ms"].get(stage)
    return value


def _slowness(turn: Mapping[str, Any], ledger: str, stage: str) -> float:
    value = _value(turn, ledger, stage)
    return math.inf if value is None else value


def _blame(worst: reading.Entry, timed: Sequence[reading.Entry], ledger: str, stage: str) -> str:
    """Which stage a slow total is made of: the one far above its own median, or else far above its target."""
    if stage != "total":
        return f" ({owner_of(stage)})"
    stages = {name: value for name, value in worst.turn["ledgers"][ledger]["stages_ms"].items() if value is not None}
    if not stages:
        return ""
    others = [entry.turn for entry in timed if entry.turn["pace"] == worst.turn["pace"]]
    medians = {name: median([_value(turn, ledger, name) or 0.0 for turn in others]) for name in stages}
    above = {name: stages[name] - medians[name] for name in stages}
    name = max(above, key=lambda name: above[name])
    usual = median([_value(turn, ledger, "total") or 0.0 for turn in others])
    took = reading.milliseconds(stages[name])
    if len(others) > MOST_OF_A_KIND and above[name] > OUTLIER * usual:
        return f". It is {name} ({owner_of(name)}) that was slow: {took}, its median is {medians[name]:.0f} ms"

    def excess(name: str) -> float:
        return float(stages[name]) - (reading.target_ms(name, worst.turn["pace"]) or 0.0)

    name = max(stages, key=excess)
    target = reading.target_ms(name, worst.turn["pace"])
    against = f", its target is {reading.milliseconds(target)}" if target is not None else ""
    return f". Most of it is {name} ({owner_of(name)}): {reading.milliseconds(stages[name])}{against}"


def _wrong_words(sound: Sequence[reading.Entry], key: str, kind: str, reference: str) -> Iterator[Finding]:
    wrong = sorted(
        (entry for entry in sound if entry.turn[key]["errors"]), key=lambda entry: -entry.turn[key]["errors"]
    )
    for entry in wrong[:MOST_OF_A_KIND]:
        turn, words = entry.turn, entry.turn[key]
        spoken = turn["utterance"]["text"] if key == "transcript" else reading.spoken(turn)
        runs = differences(spoken, words)
        parts = [
            f"{fate} “{clipped(visible(' / '.join(run.words for run in runs if run.fate == fate)), 80)}”"
            for fate in ("lost", "added")
            if any(run.fate == fate for run in runs)
        ]
        which = f": {', '.join(parts)}" if parts else ""
        counts = f"{words['errors']} of {words['words']} words of {reference} are wrong"
        yield Finding(kind, f"{_subject(entry)}: {counts}{which}", entry.number)


def _damaged(sound: Sequence[reading.Entry], figure: str, least: float, kind: str, what: str) -> Iterator[Finding]:
    def amount(entry: reading.Entry) -> float:
        value: float = ((entry.turn.get("sound") or {}).get("heard") or {}).get(figure) or 0.0
        return value

    damaged = [entry for entry in sound if amount(entry) >= least]
    if damaged:
        worst = max(damaged, key=amount)
        sentence = f"{_subject(worst)}: {amount(worst):.0f} {what}{_more(damaged)}"
        yield Finding(kind, sentence, worst.number)


def _lost_packets(counted: Sequence[reading.Entry]) -> Iterator[Finding]:
    for name, what in (("lost", "packet lost"), ("underruns", "pause for want of a packet")):
        hit = [entry for entry in counted if _count(entry.turn["playout"].get(name)) > 0]
        if hit:
            worst = max(hit, key=lambda entry: _count(entry.turn["playout"].get(name)))
            count = _count(worst.turn["playout"].get(name))
            yield Finding("On the line", f"{_subject(worst)}: {_times(count, what)}{_more(hit)}", worst.number)


def _times(count: float, what: str) -> str:
    first, _, rest = what.partition(" ")
    return f"{reading.plural(count, first)} {rest}"


def _count(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


def _flagged(counted: Sequence[reading.Entry]) -> Iterator[Finding]:
    kinds = {
        "cut_off": ("Cut off", "the reply began before the caller had finished"),
        "split": ("Split", "one sentence became several transcripts"),
    }
    for flag, (kind, what) in kinds.items():
        hit = [entry for entry in counted if flag in entry.turn["flags"]]
        if hit:
            yield Finding(kind, f"{_subject(hit[0])}: {what}{_more(hit)}", hit[0].number)


def _regressed(document: Mapping[str, Any]) -> Iterator[Finding]:
    for found in document.get("comparisons") or ():
        if found["verdict"] in ("regressed", "refused"):
            doors = f", at the door of {', '.join(found['doors'])}" if found["doors"] else ""
            yield Finding("Compared", f"{found['verdict']} against {visible(found['with'])}{doors}", 0)


def _more(hit: Sequence[reading.Entry]) -> str:
    return f"; {len(hit)} such turns in all" if len(hit) > 1 else ""
