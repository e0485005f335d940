"""What a reader should look at first: what failed, whose it is and by what evidence, in sentences that name turns."""

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
MOST_NAMED = 5
MOST_READ = 50
"""Of so many turns with wrong words, the worst ones, the words are compared."""
OUTLIER = 0.25
"""A turn whose stage exceeds its median by so much of the median total is an outlier, and the stage says why."""
WIDTH = 200
LINE = "the line (outbound)"
CUT_IN = ("Cut off", "Split")


class Finding(NamedTuple):
    """One thing to look at: a few words for its kind, a sentence, and the turn's number (0 for none)."""

    kind: str
    sentence: str
    turn: int


class Blame(NamedTuple):
    """The stage that a latency is laid to (empty where none is known), and whether that is by being an outlier."""

    stage: str
    outlier: bool


def findings(document: Mapping[str, Any], every: Sequence[reading.Entry]) -> list[Finding]:
    """At most `MOST`, one for each cause: what broke, what a test failed for, what the caller hears and waits for."""
    counted = [entry for entry in every if not entry.turn["warmup"]]
    sound = [entry for entry in counted if entry.turn["status"] in ("ok", "failed")]
    over = [missed for missed in reading.missed_budgets(document) if missed.budget["verdict"] == "over"]
    torn = _wrong_words(sound, "heard")
    of_metric = {
        "loop_wer": list(_alike("Wrong words heard", torn)),
        "transcript_wer": list(_alike("Misunderstood", _wrong_words(sound, "transcript"))),
        "cut_off_rate": list(_flagged(counted)),
    }
    failing = {missed.budget["metric"] for missed in over}
    quick_enough = not over and not any(reading.has_failed(test) for test in document["tests"])
    found = [
        *_injected(counted),
        *_broken(document, counted),
        *_regressed(document),
        *_over_budget(over, counted),
        *(one for metric, those in of_metric.items() if metric in failing for one in those),
        *_stalls(counted),
        *_slowest(counted if quick_enough else ()),
        # What is said with the words that it cost is not said again.
        *_damaged([entry for entry in sound if not any(entry in those for those in torn.values())]),
        *_clipped(sound),
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
    """Latencies that were not kept: one finding for all turns that one stage made late."""
    timed = [entry for entry in counted if entry.turn["status"] != "void"]
    groups: dict[tuple[str, float, str], list[reading.Entry]] = {}
    for missed in over:
        place = reading.budget_place(missed.budget["metric"])
        of_test = [entry for entry in timed if entry.test["nodeid"] == missed.nodeid]
        if place is None or not of_test:
            continue
        limit = missed.budget.get("limit_ms") or 0.0
        late = [entry for entry in of_test if _slowness(entry.turn, *place) > limit]
        if not late:
            ledger, stage = place
            late = [max(of_test, key=lambda entry: _slowness(entry.turn, ledger, stage))]
        for entry in late:
            those = groups.setdefault((missed.budget["metric"], limit, _blame(entry, timed, *place).stage), [])
            if entry not in those:
                those.append(entry)
    found = []
    for (metric, limit, _), those in groups.items():
        place = reading.budget_place(metric) or ("complete", "total")
        worst = max(those, key=lambda entry: _slowness(entry.turn, *place))
        value = reading.latency_ms(worst.turn, *place)
        took = "never came" if value is None else f"took {reading.milliseconds(value)}"
        sentence = f"{_subject(worst)}: {metric} {took}, its budget is {reading.milliseconds(limit)}"
        if len(those) > 1:
            which = f"all {len(those)}" if len(those) == len(timed) else f"{len(those)} of {len(timed)}"
            sentence = f"{which} turns, the worst is {sentence}"
        excess = (value or math.inf) / limit if limit else math.inf
        found.append((excess, Finding("Over budget", sentence + _blamed(worst, timed, *place), worst.number)))
    return [finding for _, finding in sorted(found, key=lambda one: -one[0])[:MOST_OF_A_KIND]]


def _slowest(counted: Sequence[reading.Entry]) -> Iterator[Finding]:
    timed = [entry for entry in counted if entry.turn["status"] != "void"]
    # At realtime the total contains the reply's duration: a long answer is no slow one.
    alike = [entry for entry in timed if entry.turn["pace"] != "realtime"]
    ledger, name = ("complete", "total") if alike else ("first_audio", "voice to voice")
    totals = [entry for entry in alike or timed if reading.latency_ms(entry.turn, ledger, "total") is not None]
    if totals:
        worst = max(totals, key=lambda entry: _slowness(entry.turn, ledger, "total"))
        total = reading.milliseconds(reading.latency_ms(worst.turn, ledger, "total"))
        blamed = _blamed(worst, timed, ledger, "total")
        yield Finding("Slowest", f"{_subject(worst)}: {name} {total}{blamed}", worst.number)


def _slowness(turn: Mapping[str, Any], ledger: str, stage: str) -> float:
    value = reading.latency_ms(turn, ledger, stage)
    return math.inf if value is None else value


def _median(timed: Sequence[reading.Entry], pace: str, ledger: str, stage: str) -> float:
    return median(reading.latency_ms(one.turn, ledger, stage) or 0.0 for one in timed if one.turn["pace"] == pace)


def _blame(late: reading.Entry, timed: Sequence[reading.Entry], ledger: str, stage: str) -> Blame:
    """Which stage a slow total is made of: the one far above its own median, or else far above its target."""
    if stage != "total":
        return Blame(stage, outlier=False)
    pace, found = late.turn["pace"], late.turn["ledgers"][ledger]["stages_ms"]
    stages = {name: value for name, value in found.items() if value is not None}
    if not stages:
        return Blame("", outlier=False)
    above = {name: value - _median(timed, pace, ledger, name) for name, value in stages.items()}
    name = max(above, key=lambda name: above[name])
    several = sum(entry.turn["pace"] == pace for entry in timed) > MOST_OF_A_KIND
    if several and above[name] > OUTLIER * _median(timed, pace, ledger, "total"):
        return Blame(name, outlier=True)
    return Blame(max(stages, key=lambda name: stages[name] - (reading.target_ms(name, pace) or 0.0)), outlier=False)


def _blamed(worst: reading.Entry, timed: Sequence[reading.Entry], ledger: str, stage: str) -> str:
    if stage != "total":
        return f" ({owner_of(stage)})"
    (name, outlier), pace = _blame(worst, timed, ledger, stage), worst.turn["pace"]
    if not name:
        return ""
    value = reading.latency_ms(worst.turn, ledger, name) or 0.0
    stage_took = f"{name} ({owner_of(name)})"
    if outlier:
        usual = f"{_median(timed, pace, ledger, name):.0f} ms"
        return f". It is {stage_took} that was slow: {reading.milliseconds(value)}, its median is {usual}"
    total, target = reading.latency_ms(worst.turn, ledger, "total"), reading.target_ms(name, pace)
    against = f", its target is {reading.milliseconds(target)}" if target is not None else ""
    part = "Most" if total and value > total / 2 else "The largest part"
    return f". {part} of it is {stage_took}: {reading.milliseconds(value)}{against}"


def _wrong_words(sound: Sequence[reading.Entry], key: str) -> dict[str, list[reading.Entry]]:
    """What went wrong with the words, the worst first, and the turns in which it went wrong alike."""
    wrong = sorted((entry for entry in sound if entry.turn[key]["errors"]), key=lambda one: -one.turn[key]["errors"])
    alike: dict[str, list[reading.Entry]] = {}
    for entry in wrong[:MOST_READ]:
        alike.setdefault(_wrong(entry.turn, key), []).append(entry)
    return dict(list(alike.items())[:MOST_OF_A_KIND])


def _alike(kind: str, found: Mapping[str, list[reading.Entry]]) -> Iterator[Finding]:
    for what, those in found.items():
        yield Finding(kind, f"{_subject(those[0])}: {what}{_more(those, those[0])}", those[0].number)


def _wrong(turn: Mapping[str, Any], key: str) -> str:
    words, heard = turn[key], key == "heard"
    runs = differences(reading.spoken(turn) if heard else turn["utterance"]["text"], words)
    parts = [
        f"{fate} “{clipped(visible(' / '.join(run.words for run in runs if run.fate == fate)), 80)}”"
        for fate in ("lost", "added")
        if any(run.fate == fate for run in runs)
    ]
    which = f": {', '.join(parts)}" if parts else ""
    counts = f"{words['errors']} of {words['words']} words of {'the reply' if heard else 'what was said'} are wrong"
    why = _whose_words(turn) if heard else "By the stt (speech to text)"
    return f"{counts}{which}. {why}"


def _whose_words(turn: Mapping[str, Any]) -> str:
    damage = _damage(turn)
    if damage is not None:
        return f"It points to {damage[0]}: {damage[1]}"
    return "By the tts (voice) or the judge, only an ear can tell: no packet was lost, no hole is in it"


def _damage(turn: Mapping[str, Any]) -> tuple[str, str] | None:
    """Who tore the reply, and the evidence; None where no packet is lost and no hole is in it."""
    lost, holes_ms = reading.lost_packets(turn), reading.damaged_ms(turn, "heard", "gap_ms")
    if not lost and not holes_ms:
        return None
    made = ((turn.get("sound") or {}).get("made") or {}).get("gap_ms")
    holes = f"{holes_ms:.0f} ms of holes are inside speech"
    if made is not None:
        holes += f", {made:.0f} ms of them as the tts made it" if made else ", and none as the tts made it"
    evidence = ", ".join([*([f"{lost} lost"] if lost else ()), *([holes] if holes_ms else ())])
    if lost or (made is not None and not reading.damaged_ms(turn, "made", "gap_ms")):
        return LINE, evidence
    return "the tts (voice) or the line" if made is None else "the tts (voice)", evidence


def _damaged(sound: Sequence[reading.Entry]) -> Iterator[Finding]:
    torn = [(entry, damage) for entry in sound if (damage := _damage(entry.turn)) is not None]
    for owner in dict.fromkeys(owner for _, (owner, _) in torn):
        hit = [entry for entry, damage in torn if damage[0] == owner]
        worst = max(hit, key=lambda entry: (reading.damaged_ms(entry.turn, "heard", "gap_ms"), _lost(entry)))
        _, evidence = next(damage for entry, damage in torn if entry is worst)
        sentence = f"{_subject(worst)}: {evidence}. It points to {owner}{_more(hit, worst)}"
        yield Finding("On the line" if owner == LINE else "Holes in the reply", sentence, worst.number)


def _lost(entry: reading.Entry) -> float:
    return float(entry.turn["playout"].get("lost") or 0)


def _clipped(sound: Sequence[reading.Entry]) -> Iterator[Finding]:
    def amount(entry: reading.Entry) -> float:
        return reading.damaged_ms(entry.turn, "heard", "clipped_ms")

    hit = [entry for entry in sound if amount(entry)]
    if hit:
        worst = max(hit, key=amount)
        made = reading.damaged_ms(worst.turn, "made", "clipped_ms")
        as_made = f", {made:.0f} ms of them as the tts made it" if made else ""
        sentence = f"{_subject(worst)}: {amount(worst):.0f} ms are clipped{as_made}{_more(hit, worst)}"
        yield Finding("Clipped reply", sentence, worst.number)


def _stalls(counted: Sequence[reading.Entry]) -> Iterator[Finding]:
    def stood_ms(entry: reading.Entry) -> float:
        # Between two replies a caller waits for nothing.
        pauses = () if "split" in entry.turn["flags"] else entry.turn["playout"].get("pauses_ms") or ()
        return float(sum(end - start for start, end in pauses if end - start >= reading.STALL_MS))

    hit = [entry for entry in counted if stood_ms(entry)]
    if hit:
        worst = max(hit, key=stood_ms)
        speed = worst.turn["tts_rtf"]
        why = f"; tts (voice) needed {speed:.1f} s for each second of it" if speed is not None and speed > 1 else ""
        stood = f"the reply stood still for {stood_ms(worst) / 1000:.1f} s in its middle, as no audio came"
        yield Finding("Stood still", f"{_subject(worst)}: {stood}{why}{_more(hit, worst)}", worst.number)


def _flagged(counted: Sequence[reading.Entry]) -> Iterator[Finding]:
    cut_off = [entry for entry in counted if "cut_off" in entry.turn["flags"]]
    split = [entry for entry in counted if "split" in entry.turn["flags"] and entry not in cut_off]
    for kind, hit in zip(CUT_IN, (cut_off, split), strict=True):
        if hit:
            worst = min(hit, key=lambda entry: entry.turn["playout"].get("begins_ms") or 0.0)
            yield Finding(kind, f"{_subject(worst)}: {_interrupted(worst.turn)}{_more(hit, worst)}", worst.number)


def _interrupted(turn: Mapping[str, Any]) -> str:
    begins_ms = turn["playout"].get("begins_ms") or 0.0
    early = f"{reading.milliseconds(-begins_ms)} " if begins_ms < 0 else ""
    parts = []
    if "split" in turn["flags"]:
        parts.append(
            "the stt (speech to text) took a pause for the end of the sentence, and made several transcripts of it"
        )
    if "cut_off" in turn["flags"]:
        parts.append(f"the reply began {early}before the caller had finished")
    return "; ".join(parts)


def _regressed(document: Mapping[str, Any]) -> Iterator[Finding]:
    for found in document.get("comparisons") or ():
        if found["verdict"] in ("regressed", "refused"):
            doors = f", at the door of {', '.join(found['doors'])}" if found["doors"] else ""
            yield Finding("Compared", f"{found['verdict']} against {visible(found['with'])}{doors}", 0)


def _more(hit: Sequence[reading.Entry], worst: reading.Entry) -> str:
    others = [str(entry.number) for entry in hit if entry is not worst]
    if len(others) > MOST_NAMED:
        return f"; {len(hit)} such turns in all"
    return f"; also turn{'s' if len(others) > 1 else ''} {', '.join(others)}" if others else ""
