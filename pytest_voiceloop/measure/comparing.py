"""Two versions of a stack on the same utterances: what became worse, by how much, and at whose door.

Turns are records as in the document's ``turns[]``; keys that older records lack count as not measured. Each utterance
is compared with itself, so that differences between utterances cancel. A verdict needs both: certainty that there is a
change, and one that is large enough to matter (`Rule`).
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from pytest_voiceloop.measure.durations import parse_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pytest_voiceloop.measure.statistics import Shift

    Record = Mapping[str, Any]

Outcome = Literal["same", "better", "regressed", "inconclusive"]

CHANCE = 0.004
"""A change that comes by chance more often than this is no regression: there are many rows, and one alarm is one too
many. Floors alone do not keep them quiet, and this alone would report what does not matter."""
LEAST_N = 8
"""Fewer pairs than this cannot show anything: they agree by chance once in a hundred rows."""
CLUSTERS = 12
"""So many utterances are enough to be the unit of comparison; of fewer, their trials are."""
LOUD, SELDOM = 3.0, 0.2
"""Differences of so many times the typical one are left out as disturbed if no more than this share of all are."""
CAP = 2.0
"""Another difference counts as at most so many times the typical one."""
HEADLINES = ("total", "voice_to_voice", "transcript_wer", "loop_wer", "cut_off_rate", "timed_out_rate")
"""Rows that have to be decided for the whole to be; one that the base has must not be missing."""
CHAIN = ("stt", "llm", "tts", "transfer")
"""The doors, in the order in which a turn passes them."""
MADE_SO = 0.5
"""A sound of which more than this part of a change was there when it was made was not changed on the way."""
HELD_MS = 50.0
"""Speech that is complete so soon after the transcript was final was ready before, and held back until then."""
LIKE_LENGTH = 0.02
"""Replies whose length differs by less are alike."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a change has to exceed to be a regression: both the floor (in ms) and so many percent of the base."""

    floor_ms: float
    percent: float


BASELINE = Rule(25.0, 10.0)
"""Against a run that was kept: the machine may have had another day."""
INTERLEAVED = Rule(10.0, 5.0)
"""Against a base that was measured turn about."""


@dataclass(frozen=True, slots=True)
class Row:
    """One metric of one corpus at one pace. `base` and `head` are medians over utterances; rates are over all turns."""

    corpus: str
    pace: str
    metric: str
    unit: str
    base: float
    head: float
    change: float
    low: float | None
    high: float | None
    """`low` to `high` is the 95 % interval of the change; None for too few utterances."""
    n: int
    """Utterances (or, of fewer than CLUSTERS utterances, pairs of trials)."""
    verdict: Outcome
    door: str = ""
    """Whose doing a change for the worse is, one of CHAIN; empty where it is inherited or cannot be told."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What became of all rows."""

    rows: tuple[Row, ...]
    verdict: Outcome
    doors: tuple[str, ...]
    """Where regressions lie, of CHAIN."""
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """As it stands in the JSON document."""
        return {
            "verdict": self.verdict,
            "doors": list(self.doors),
            "notes": list(self.notes),
            "rows": [asdict(row) for row in self.rows],
        }


@dataclass(frozen=True, slots=True)
class _Metric:
    """A figure of a turn. Without a `rule` that of the comparison holds; `worse` is 1 for more, -1 less, 0 either."""

    name: str
    read: Callable[[Record], float | None]
    door: str = ""
    unit: str = "ms"
    worse: int = 1
    rule: Rule | None = None
    length: str = ""
    """What of the reply it grows with: ``words`` or ``audio_s``."""
    like: str = ""
    """What has to be the same text for the work to be the same: ``transcript`` or ``reply``."""


@dataclass(frozen=True, slots=True)
class _Rate:
    """Σ events / Σ chances over turns; more is worse. With `all_turns` also those that failed are asked."""

    name: str
    read: Callable[[Record], tuple[float, float] | None]
    floor: float
    door: str = ""
    all_turns: bool = False


@dataclass(frozen=True, slots=True)
class _Pair:
    """The turns of an utterance on both sides."""

    base: tuple[Record, ...]
    head: tuple[Record, ...]


def parse_rule(text: str) -> Rule:
    """A rule as people write it: ``10%,25ms``, in any order, either alone (the other one then allows nothing).

    Raises ValueError that says how to write it.
    """
    floor_ms, percent = None, None
    for part in map(str.strip, text.split(",")):
        found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*%", part, re.ASCII)
        if found and percent is None:
            percent = float(found[1])
        elif not found and floor_ms is None:
            try:
                floor_ms = parse_ms(part, "rule")
            except ValueError:
                raise _bad_rule(text) from None
        else:
            raise _bad_rule(text)
    return Rule(floor_ms or 0.0, percent or 0.0)


def _bad_rule(text: str) -> ValueError:
    return ValueError(f'{text!r} is no rule; write a percentage, a duration or both, such as "10%,25ms"')


def compare(base_turns: Sequence[Record], head_turns: Sequence[Record], rule: Rule) -> Comparison:
    """Compare two series of turns.

    Warm-up, void and contended turns do not count, those that were not answered only in ``timed_out_rate``.
    """
    base, head = _grouped(base_turns), _grouped(head_turns)
    rows: list[Row] = []
    notes = [f"{_named(place)} was measured on one side only" for place in sorted(base.keys() ^ head.keys())]
    gaps: list[str] = []
    for place in sorted(base.keys() & head.keys()):
        found, told, unknown = _compare_group(place, base[place], head[place], rule)
        rows += found
        notes += told
        gaps += unknown
    rows = _silence_told(rows)
    if not rows:
        notes.append("no utterance was measured on both sides, so there is nothing to compare")
    regressed = [row for row in rows if row.verdict == "regressed"]
    doors = tuple(door for door in CHAIN if any(row.door == door for row in regressed))
    if regressed and not doors:
        notes.append("no service's own work has changed as much, so the regression is laid at no door")
    return Comparison(tuple(rows), _overall(rows, gaps), doors, (*gaps, *notes))


def _silence_told(rows: Sequence[Row]) -> list[Row]:
    """The rows, in which a stack that answered every turn and now answers none has regressed.

    That takes no statistics and no least number of turns. It has to be all turns of the run, not those of one corpus:
    among others a single time-out, though of a corpus of one clip, stays what chance makes of it.
    """
    asked = [row for row in rows if row.metric == "timed_out_rate"]
    if any((row.base, row.head) != (0.0, 1.0) for row in asked):
        return list(rows)
    told = "every turn was answered before, none after"
    return [replace(row, verdict="regressed", note=told) if row in asked else row for row in rows]


def _overall(rows: Sequence[Row], gaps: Sequence[str]) -> Outcome:
    """The verdict on the whole; `gaps` say what nobody can call the same, because it was not measured."""
    if any(row.verdict == "regressed" for row in rows):
        return "regressed"
    if gaps or not rows or any(row.verdict == "inconclusive" and row.metric in HEADLINES for row in rows):
        return "inconclusive"
    return "better" if any(row.verdict == "better" for row in rows) else "same"


def _named(place: tuple[str, str]) -> str:
    return f"{place[0] or 'single clips'} at pace {place[1]}"


def _grouped(turns: Iterable[Record]) -> dict[tuple[str, str], list[Record]]:
    """By corpus and pace. Void turns are among them, so that a side where all are void is seen to have none."""
    found: dict[tuple[str, str], list[Record]] = {}
    for turn in turns:
        if not turn["warmup"] and "contended" not in turn["flags"]:
            found.setdefault((turn["utterance"]["corpus"], turn["pace"]), []).append(turn)
    return found


def _compare_group(
    place: tuple[str, str], base: Sequence[Record], head: Sequence[Record], rule: Rule
) -> tuple[list[Row], list[str], list[str]]:
    """Rows, notes, and what is missing without which the whole is undecided."""
    counted = [[turn for turn in side if turn["status"] != "void"] for side in (base, head)]
    answered = [[turn for turn in side if turn["status"] == "ok"] for side in (base, head)]
    every, clean = _pairs(*counted), _pairs(*answered)
    rows, lone = [], []
    metrics = _metrics(place[1], [*counted[0], *counted[1]])
    for metric in metrics:
        row, measured = _metric_row(place, metric, clean, rule)
        if row:
            rows.append(row)
        elif measured:
            lone.append(metric.name)
    for rate in _RATES:
        found = _rate_row(place, rate, every if rate.all_turns else clean)
        if found:
            rows.append(found)
    judge = {turn.get("judge") for turn in counted[0] + counted[1]}
    rows = _with_doors(rows, stack_judges=judge == {"stt"})
    gaps = _gaps(metrics, rows, answered[0])
    notes = [f"{name} was measured on one side only" for name in lone if name not in gaps]
    notes += _uncovered(place, *counted)
    if not clean:
        shares = [f"{len(some)} of {len(side)}" for some, side in zip(answered, (base, head), strict=True)]
        told = f"answered were {shares[0]} turns before, {shares[1]} after"
        return rows, notes, [f"no utterance of {_named(place)} was answered on both sides: {told}"]
    return (
        rows,
        notes,
        [f"{name} was measured before and is missing after, so its change cannot be told" for name in gaps],
    )


def _gaps(metrics: Sequence[_Metric], rows: Sequence[Row], base: Sequence[Record]) -> list[str]:
    """The headlines that were measured on the base and came to no row."""
    figures: tuple[_Metric | _Rate, ...] = (*metrics, *_RATES)
    wanted = [one for one in figures if one.name in HEADLINES and one.name not in {row.metric for row in rows}]
    return [one.name for one in wanted if any(one.read(turn) is not None for turn in base)]


def _uncovered(place: tuple[str, str], base: Sequence[Record], head: Sequence[Record]) -> list[str]:
    there, here = ({_utterance(turn) for turn in side} for side in (base, head))
    if not there ^ here:
        return []
    share = f"{len(there ^ here)} of {len(there | here)} utterances"
    return [f"{share} of {_named(place)} were measured on one side only, and are not compared"]


def _utterance(turn: Record) -> tuple[str, int]:
    """What is compared with itself: an utterance, at its place in a call."""
    return turn["utterance"]["id"] or turn["utterance"]["text"], turn["index"]


def _pairs(base: Sequence[Record], head: Sequence[Record]) -> list[_Pair]:
    """Utterances that both sides have. Of fewer than CLUSTERS utterances, trials are paired in their order."""
    by_key: tuple[dict[Any, list[Record]], ...] = ({}, {})
    for side, turns in zip(by_key, (base, head), strict=True):
        for turn in turns:
            side.setdefault(_utterance(turn), []).append(turn)
    common = [key for key in by_key[0] if key in by_key[1]]
    if len(common) >= CLUSTERS:
        return [_Pair(tuple(by_key[0][key]), tuple(by_key[1][key])) for key in common]
    return [
        _Pair((one,), (other,)) for key in common for one, other in zip(by_key[0][key], by_key[1][key], strict=False)
    ]


def _metric_row(place: tuple[str, str], metric: _Metric, pairs: Sequence[_Pair], rule: Rule) -> tuple[Row | None, bool]:
    """The row of a metric, None where the two sides have no value in common; and whether there was any value."""
    measured = [
        _Pair(*(tuple(t for t in side if metric.read(t) is not None) for side in (pair.base, pair.head)))
        for pair in pairs
    ]
    either = any(pair.base or pair.head for pair in measured)
    measured = [pair for pair in measured if pair.base and pair.head]
    if not measured:
        return None, either
    unlike = ""
    if metric.like:
        alike = [_alike(pair, metric.like) for pair in measured]
        alike = [pair for pair in alike if pair.base]
        if len(alike) >= LEAST_N or len(alike) == len(measured):
            measured = alike
        else:
            unlike = f"the {metric.like}s differ"
    base = [[value for turn in pair.base if (value := metric.read(turn)) is not None] for pair in measured]
    head = [[value for turn in pair.head if (value := metric.read(turn)) is not None] for pair in measured]
    longer, told = _due_to_length(measured, metric.length, [_mean(values) for values in base])
    expected = [[value + more for value in values] for values, more in zip(base, longer, strict=True)]
    row = _judged(place, metric, expected, head, metric.rule or rule)
    if told:
        as_measured = _judged(place, metric, base, head, metric.rule or rule)
        explained = as_measured.verdict == "regressed" != row.verdict
        told = f"{told}: {as_measured.change:+.0f} ms as measured" + (", which their length explains" * explained)
    if unlike and metric.name.endswith("chars_per_s"):
        row = replace(row, verdict="inconclusive", note="another text is spoken at another speed")
    return replace(row, door=metric.door, note="; ".join(filter(None, (row.note, unlike, told)))), True


def _alike(pair: _Pair, what: str) -> _Pair:
    """The turns of a pair whose input occurs on both sides."""
    texts = [{_text(turn, what) for turn in side} for side in (pair.base, pair.head)]
    both = texts[0] & texts[1]
    return _Pair(*(tuple(turn for turn in side if _text(turn, what) in both) for side in (pair.base, pair.head)))


def _text(turn: Record, what: str) -> str:
    replayed = turn.get("replayed") or {}
    return " ".join(re.findall(r"\w+", (replayed.get(what) or turn[what]["text"]).casefold()))


def _due_to_length(pairs: Sequence[_Pair], length: str, base: Sequence[float]) -> tuple[list[float], str]:
    """What the base would have needed more for the head's replies, and a remark if they are longer or shorter.

    The slope is Theil and Sen's over the base's utterances: a median, so that one odd turn does not tilt it. (A cost
    per word would charge a short reply for what every reply costs.)
    """
    if not length:
        return [0.0] * len(base), ""
    before = [_mean(turn["reply"][length] for turn in pair.base) for pair in pairs]
    after = [_mean(turn["reply"][length] for turn in pair.head) for pair in pairs]
    if before == after or not _median(before):
        return [0.0] * len(base), ""
    slope = _slope(before, base)
    longer = [slope * (new - old) for old, new in zip(before, after, strict=True)]
    if abs(_mean(after) - _mean(before)) <= LIKE_LENGTH * _mean(before):
        return longer, ""
    unit = "words" if length == "words" else "s"
    return longer, f"at like length (replies of {_mean(before):.3g} {unit} before, {_mean(after):.3g} {unit} now)"


def _slope(lengths: Sequence[float], values: Sequence[float]) -> float:
    apart = 0.1 * (max(lengths) - min(lengths))
    slopes = [
        (values[j] - values[i]) / (lengths[j] - lengths[i])
        for i in range(len(values))
        for j in range(i)
        if abs(lengths[j] - lengths[i]) > apart
    ]
    if len(slopes) < LEAST_N:
        # Replies of one length show no slope: all of the cost is taken to grow with it.
        slopes = [_median(values) / _median(lengths)]
    return max(_median(slopes), 0.0)


def _judged(
    place: tuple[str, str],
    metric: _Metric,
    base: Sequence[Sequence[float]],
    head: Sequence[Sequence[float]],
    rule: Rule,
) -> Row:
    """The row of a metric from each utterance's values on both sides."""
    from pytest_voiceloop.measure.statistics import chance_of_shift, shift

    changes = _quietened([[new - old for new in now for old in then] for then, now in zip(base, head, strict=True)])
    middle = _median([_mean(values) for values in base])
    margin = max(rule.floor_ms, abs(middle) * rule.percent / 100)
    shown = shift(changes)
    certain = abs(shown.estimate) > margin and chance_of_shift(changes) <= _least_chance(len(changes))
    verdict, note = _verdict(shown, certain=certain, margin=margin, worse=metric.worse, n=len(base))
    values = middle, _median([_mean(values) for values in head])
    return _row(place, (metric.name, metric.unit), values, shown, len(base), verdict, note)


def _quietened(apart: Sequence[Sequence[float]]) -> list[float]:
    """The mean change of each utterance, in which a disturbed turn does not drown the others.

    What counts as disturbed depends on sizes alone, not on signs, so that a test by signs stays exact.
    """
    typical = _median([abs(change) for changes in apart for change in changes])
    loud = sum(abs(change) > LOUD * typical for changes in apart for change in changes)
    # Where many are loud, that is no disturbance but what there is to see.
    most = LOUD * typical if loud <= SELDOM * sum(map(len, apart)) else math.inf
    cap = CAP * typical or math.inf
    kept = [[min(max(change, -cap), cap) for change in changes if abs(change) <= most] for changes in apart]
    return [_mean(changes) for changes in kept if changes]


def _least_chance(n: int) -> float:
    """How unlikely a change has to be by chance; of few pairs all have to agree, which is all that they can do."""
    return max(CHANCE, 2.0 ** (1 - n))


def _rate_row(place: tuple[str, str], rate: _Rate, pairs: Sequence[_Pair]) -> Row | None:
    from pytest_voiceloop.measure.statistics import bootstrap_ratio_change, chance_of_ratio_change

    before: list[tuple[float, float]] = []
    after: list[tuple[float, float]] = []
    for pair in pairs:
        counts = [[c for turn in side if (c := rate.read(turn)) is not None] for side in (pair.base, pair.head)]
        if all(counts):
            for side, counted in zip((before, after), counts, strict=True):
                side.append((sum(c[0] for c in counted), sum(c[1] for c in counted)))
    shown = bootstrap_ratio_change(before, after)
    if shown is None:
        return None
    n = len(before)
    certain = abs(shown.estimate) > rate.floor and chance_of_ratio_change(before, after) <= _least_chance(n)
    verdict, note = _verdict(shown, certain=certain, margin=rate.floor, worse=1, n=n)
    values = [sum(c[0] for c in side) / sum(c[1] for c in side) for side in (before, after)]
    return replace(_row(place, (rate.name, "ratio"), (values[0], values[1]), shown, n, verdict, note), door=rate.door)


def _row(
    place: tuple[str, str],
    what: tuple[str, str],
    values: tuple[float, float],
    shown: Shift,
    n: int,
    verdict: Outcome,
    note: str,
) -> Row:
    low, high = shown.interval or (None, None)
    return Row(*place, *what, *values, shown.estimate, low, high, n, verdict, "", note)


def _verdict(shown: Shift, *, certain: bool, margin: float, worse: int, n: int) -> tuple[Outcome, str]:
    """`margin` is what a change has to exceed, `worse` the direction that is bad (0: both), `n` the pairs."""
    if shown.interval is None or n < LEAST_N:
        return "inconclusive", f"too few: {n} of the {LEAST_N} pairs that it takes"
    change, (low, high) = shown.estimate, shown.interval
    if abs(change) > margin and certain:
        return ("regressed" if worse == 0 or change * worse > 0 else "better"), ""
    worst = {1: high, -1: -low, 0: max(high, -low)}[worse]
    if worst <= margin or (abs(change) <= margin and (low > 0 or high < 0)):
        return "same", ""
    return "inconclusive", "more turns would tell"


def _with_doors(rows: Sequence[Row], *, stack_judges: bool) -> list[Row]:
    """Lay each regression at the door of who caused it, and take the door from rows that did not regress.

    In the order of the chain, so that what a service does to the next one's input is known when that is judged.
    """
    found = {row.metric: replace(row, door=row.door if row.verdict == "regressed" else "") for row in rows}

    def blamed(*doors: str) -> bool:
        return any(row.door in doors for row in found.values())

    def inherit(name: str, why: str) -> None:
        found[name] = replace(found[name], door="", note="; ".join(filter(None, (found[name].note, why))))

    for name, row in found.items():
        if row.door == "llm" and "differ" in row.note and blamed("stt"):
            inherit(name, "its input is another one: no door")
    for one, other in (("work_ms.tts", "tts_rtf"), ("tts_rtf", "work_ms.tts")):
        # llama's own pace moves the start of the one and not of the other; kokoro's work is in both.
        if one in found and found[one].door and other in found and not (found[other].low or 0) > 0:
            note = f"{other} has not risen: inherited from llm or stt"
            found[one] = replace(found[one], verdict="same", door="", note=note)
    for name, row in found.items():
        if row.door == "tts" and "differ" in row.note and blamed("stt", "llm"):
            inherit(name, "its input is another one: no door")
    made = any(name.startswith("sound.made.") and row.verdict == "regressed" for name, row in found.items())
    for name, row in found.items():
        if not (name.startswith("sound.heard.") and row.door):
            continue
        if made:
            inherit(name, "it was made so: no door")
        elif found.get(name.replace("heard", "made"), _NO_ROW).change / row.change > MADE_SO:
            found[name] = replace(row, door="tts", note="it was made so, though that alone is not certain")
    if found.get("leading_silence_ms", _NO_ROW).door and blamed("transfer"):
        inherit("leading_silence_ms", "what is heard was changed on the way: no door")
    if found.get("loop_wer", _NO_ROW).verdict == "regressed":
        row = found["loop_wer"]
        if stack_judges and found.get("transcript_wer", _NO_ROW).verdict == "regressed":
            inherit("loop_wer", "the judge is the stack's own stt, which hears worse")
        elif made or any(name.startswith("sound.") and other.door == "tts" for name, other in found.items()):
            found["loop_wer"] = replace(row, door="tts")
        elif blamed("transfer"):
            found["loop_wer"] = replace(row, door="transfer")
        elif stack_judges and (more := found.get("words_heard", _NO_ROW)).verdict == "regressed" and more.change > 0:
            found["loop_wer"] = replace(row, door="stt", note="the judge hears words that nobody said")
        else:
            inherit("loop_wer", "what was made and heard sounds the same: tts, outbound or the judge")
    if found.get("retranscription", _NO_ROW).door and (not stack_judges or blamed("tts", "transfer")):
        inherit("retranscription", "the judge's work, on another sound" if stack_judges else "the judge's work")
    return list(found.values())


def _ledger(name: str, stage: str | None) -> Callable[[Record], float | None]:
    def read(turn: Record) -> float | None:
        ledger = turn["ledgers"][name]
        value: float | None = ledger["total_ms"] if stage is None else ledger["stages_ms"].get(stage)
        return value

    return read


def _of(group: str, name: str) -> Callable[[Record], float | None]:
    def read(turn: Record) -> float | None:
        value: float | None = (turn.get(group) or {}).get(name)
        return value

    return read


def _held(turn: Record) -> bool:
    """Whether speech waited for the transcript to be final, so that its end says nothing of the work."""
    final, last = turn["events_ms"].get("t1"), turn["events_ms"].get("t3_last")
    return final is not None and last is not None and last - final < HELD_MS


def _tts_work(turn: Record) -> float | None:
    return None if _held(turn) else _of("work_ms", "tts")(turn)


def _tts_rtf(turn: Record) -> float | None:
    value: float | None = turn.get("tts_rtf")
    return None if _held(turn) else value


def _sending(turn: Record) -> float | None:
    """From the first chunk of speech to the first packet played: what outbound takes before anything is heard."""
    made, heard = turn["events_ms"].get("t3_first"), turn["events_ms"].get("t4_first")
    silence = turn.get("leading_silence_ms")
    return None if made is None or heard is None or silence is None else heard - made - silence


def _words_heard(turn: Record) -> float | None:
    """Words that the judge heard, for each word of the reply."""
    said = _text(turn, "reply").split()
    return len(_text({**turn, "replayed": None}, "heard").split()) / len(said) if said else None


def _leading_silence(turn: Record) -> float | None:
    value: float | None = turn.get("leading_silence_ms")
    return value


def _sound(side: str, name: str) -> Callable[[Record], float | None]:
    def read(turn: Record) -> float | None:
        value: float | None = ((turn.get("sound") or {}).get(side) or {}).get(name)
        return value

    return read


_SOUND: Mapping[str, tuple[str, int, Rule]] = {
    "clipped_ms": ("ms", 1, Rule(2.0, 0.0)),
    "gap_ms": ("ms", 1, Rule(8.0, 0.0)),
    "bandwidth_hz": ("Hz", -1, Rule(250.0, 5.0)),
    "chars_per_s": ("chars/s", 0, Rule(0.8, 5.0)),
    "level_db": ("dB", 0, Rule(3.0, 0.0)),
}
"""Figure → unit, which direction is worse (0: either), and what a change has to exceed, the floor in that unit.

As docs/second-ear.md found them on planted damage; by the same measurements DNSMOS is no gate."""
_DOOR_OF_SIDE = {"made": "tts", "heard": "transfer"}
_DOOR_OF_STAGE = {"stt": "stt", "llm": "llm", "tts": "tts", "transfer": "transfer", "retranscription": "stt"}
_LENGTH_OF_STAGE = {"llm": "words", "tts": "audio_s", "transfer": "audio_s", "retranscription": "audio_s"}


def _metrics(pace: str, turns: Sequence[Record]) -> list[_Metric]:
    """What is compared at a pace, the headlines first.

    The ledger's llm and tts are left out where the work itself was measured: working ahead hides it from them, and a
    service that is slower before them shows in them.
    """
    worked = any(value is not None for turn in turns for value in (turn.get("work_ms") or {}).values())
    stages = dict.fromkeys(name for turn in turns for name in turn["ledgers"]["complete"]["stages_ms"])
    firsts = dict.fromkeys(name for turn in turns for name in turn["ledgers"]["first_audio"]["stages_ms"])
    found = [_Metric("voice_to_voice", _ledger("first_audio", None))]
    if pace == "asap":
        found.insert(0, _Metric("total", _ledger("complete", None), length="audio_s"))
    for stage in stages:
        # At pace realtime sending takes as long as the reply lasts.
        if (stage in ("llm", "tts") and worked) or ("transfer" in stage and pace != "asap"):
            continue
        door, length = _DOOR_OF_STAGE.get(stage, ""), _LENGTH_OF_STAGE.get(stage, "")
        found.append(_Metric(stage, _ledger("complete", stage), door, length=length))
    # stt is the other ledger's too, and transfer is cut in two: what outbound takes, and silence that tts made.
    left_out = {"stt", "transfer", *(["llm", "tts"] if worked else [])}
    found += [
        *(_Metric(f"first_audio_{stage}", _ledger("first_audio", stage)) for stage in firsts if stage not in left_out),
        _Metric("first_packet", _sending, "transfer"),
        # More of them than of the reply's are the judge's own: a recogniser that has lost its way says things over.
        _Metric("words_heard", _words_heard, unit="ratio", worse=0, rule=Rule(0.1, 0.0), like="reply"),
        _Metric("leading_silence_ms", _leading_silence, "tts"),
        _Metric("work_ms.stt", _of("work_ms", "stt"), "stt"),
        _Metric("work_ms.llm_first", _of("work_ms", "llm_first"), "llm", like="transcript"),
        _Metric("work_ms.llm", _of("work_ms", "llm"), "llm", length="words", like="transcript"),
        _Metric("work_ms.tts", _tts_work, "tts", length="audio_s", like="reply"),
        _Metric("tts_rtf", _tts_rtf, "tts", unit="ratio", like="reply", rule=Rule(0.02, 8.0)),
    ]
    for side, door in _DOOR_OF_SIDE.items():
        for name, (unit, worse, rule) in _SOUND.items():
            found.append(_Metric(f"sound.{side}.{name}", _sound(side, name), door, unit, worse, rule, like="reply"))
    return found


def _words(key: str) -> Callable[[Record], tuple[float, float] | None]:
    def read(turn: Record) -> tuple[float, float] | None:
        text = turn[key]
        return (text["errors"], text["words"]) if text.get("words") else None

    return read


def _cut_off(turn: Record) -> tuple[float, float]:
    return float("cut_off" in turn["flags"]), 1.0


def _timed_out(turn: Record) -> tuple[float, float]:
    return float(turn["status"] != "ok"), 1.0


def _lost(turn: Record) -> tuple[float, float] | None:
    lost, came = (turn.get("playout") or {}).get("lost"), (turn.get("counters") or {}).get("rtp_packets")
    return None if lost is None or not came else (float(lost), float(lost) + float(came))


def _cut_end(side: str) -> Callable[[Record], tuple[float, float] | None]:
    def read(turn: Record) -> tuple[float, float] | None:
        value = _sound(side, "cut_end")(turn)
        return None if value is None else (value, 1.0)

    return read


_RATES = (
    _Rate("transcript_wer", _words("transcript"), 0.02, "stt"),
    _Rate("loop_wer", _words("heard"), 0.02),
    _Rate("cut_off_rate", _cut_off, 0.02, "stt"),
    _Rate("timed_out_rate", _timed_out, 0.02, all_turns=True),
    _Rate("packets_lost", _lost, 0.01, "transfer"),
    *(_Rate(f"sound.{side}.cut_end", _cut_end(side), 0.1, door) for side, door in _DOOR_OF_SIDE.items()),
)
_NO_ROW = Row("", "", "", "", math.nan, math.nan, math.nan, None, None, 0, "same")


def _mean(values: Iterable[float | None]) -> float:
    found: list[float] = [value for value in values if value is not None]
    return math.fsum(found) / len(found)


def _median(values: Sequence[float]) -> float:
    from pytest_voiceloop.measure.statistics import percentile

    return percentile(values, 50)
