"""The report as one page: offline, without scripts, readable anywhere."""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from pytest_voiceloop.measure.timeline import EVENTS
from pytest_voiceloop.report import comparison, reading, reliability
from pytest_voiceloop.report.document import LEDGERS
from pytest_voiceloop.report.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MOST_OPEN = 12
"""So many turns are unfolded; of more than that, those that went wrong and the slowest."""
_LEDGER_TITLES = {"complete": "complete", "first_audio": "first audio"}
_STAGE_COLOURS = ("stt", "llm", "tts", "transfer", "retranscription")


class Bar(NamedTuple):
    """A stage on the time axis; `left` and `width` in percent of the axis."""

    colour: str
    left: float
    width: float
    label: str
    title: str


class Tick(NamedTuple):
    """A mark on the time axis; `left` in percent of the axis."""

    left: float
    label: str


class Lane(NamedTuple):
    """A ledger as bars, or why it has none."""

    title: str
    bars: Sequence[Bar]
    note: str


class Run(NamedTuple):
    """Words with one fate: equal, lost, or added."""

    fate: str
    words: str


def page(document: Mapping[str, Any], audio_folder: str = "") -> str:
    """The page. `audio_folder` is where the turns' audio paths start, seen from the page."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pytest_voiceloop.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(ms=reading.milliseconds, ratio=reading.ratio, shown=_shown, multiline=_multiline)
    every = list(reading.entries(document))
    opened = reading.notable(every, MOST_OPEN)
    missed = reading.missed_budgets(document)
    return environment.get_template("report.html.j2").render(
        document=document,
        verdict=reading.verdict(document),
        scripted=reading.is_scripted(document),
        missed=missed,
        kept=_kept(document),
        tests=[_test(test, list(those), opened, audio_folder) for test, those in _by_test(document, every)],
        comparisons=["\n".join(comparison.lines(found, 100)) for found in document.get("comparisons") or ()],
        rows=document["summary"],
        turns=len(every),
        opened=len(opened),
        folded=sum(not entry.turn["warmup"] for entry in every) - len(opened),
        facts=_facts,
        reading=reading,
        machine=reliability.sentences(document),
        title=f"voiceloop: {reading.verdict(document).sentence}",
    )


def _by_test(
    document: Mapping[str, Any], every: Sequence[reading.Entry]
) -> Iterator[tuple[Mapping[str, Any], Iterator[reading.Entry]]]:
    """Every test with its turns, failed ones first."""
    turns = {key: list(those) for key, those in groupby(every, key=lambda entry: id(entry.test))}
    for test in sorted(document["tests"], key=lambda test: not reading.has_failed(test)):
        yield test, iter(turns.get(id(test), ()))


def _kept(document: Mapping[str, Any]) -> list[reading.Missed]:
    return [
        reading.Missed(test["nodeid"], test["outcome"], budget)
        for test in document["tests"]
        for budget in test.get("budgets") or ()
        if budget["verdict"] == "within"
    ]


def _test(
    test: Mapping[str, Any], those: Sequence[reading.Entry], opened: set[int], audio_folder: str
) -> dict[str, Any]:
    return {
        "nodeid": test["nodeid"],
        "outcome": test["outcome"],
        "failed": reading.has_failed(test),
        "message": test.get("message") or "",
        "sections": test.get("sections") or (),
        "turns": [_turn(entry, entry.number in opened, audio_folder) for entry in those],
    }


def _turn(entry: reading.Entry, opened: bool, audio_folder: str) -> dict[str, Any]:
    turn = entry.turn
    axis = _Axis.of(turn)
    return {
        "number": entry.number,
        "open": opened,
        "record": turn,
        "voice_to_voice_ms": reading.voice_to_voice_ms(turn),
        "missing": reading.missing_events(turn),
        "lanes": [_lane(turn, ledger, axis) for ledger in LEDGERS],
        "ticks": axis.ticks(),
        "stages": _stage_rows(turn),
        "events": [(event.upper(), turn["events_ms"].get(event)) for event in EVENTS],
        "transcript_diff": _differences(turn["utterance"]["text"], turn["transcript"]),
        "heard_diff": _differences(turn["reply"]["text"], turn["heard"]),
        "audio": [
            (title, quote(f"{audio_folder}/{path}" if audio_folder else path, safe="/", errors="replace"))
            for title, path in (
                ("caller", turn["audio"].get("caller")),
                ("reply", turn["audio"].get("reply")),
            )
            if path
        ],
    }


class _Axis(NamedTuple):
    """Time from `start_ms` to `end_ms` after T0, laid out from 0 to 100 percent."""

    start_ms: float
    end_ms: float

    @classmethod
    def of(cls, turn: Mapping[str, Any]) -> _Axis:
        known = [value for value in turn["events_ms"].values() if value is not None]
        start, end = min([0.0, *known]), max([0.0, *known])
        return cls(start, end if end > start else start + 1.0)

    def percent(self, at_ms: float) -> float:
        return round(100 * (at_ms - self.start_ms) / (self.end_ms - self.start_ms), 3)

    def ticks(self) -> list[Tick]:
        """At most six round times, 0 among them."""
        rough = (self.end_ms - self.start_ms) / 5
        magnitude = 10.0 ** math.floor(math.log10(rough))
        step = next(step * magnitude for step in (1, 2, 5, 10) if step * magnitude >= rough)
        first, last = math.ceil(self.start_ms / step), math.floor(self.end_ms / step)
        return [Tick(self.percent(number * step), f"{number * step:g}") for number in range(first, last + 1)]


def _lane(turn: Mapping[str, Any], ledger: str, axis: _Axis) -> Lane:
    events = turn["events_ms"]
    bars = []
    for stage, value in turn["ledgers"][ledger]["stages_ms"].items():
        start, end = (events.get(event) for event in reading.stage_events(ledger, stage))
        if value is None or start is None or end is None:
            continue
        bars.append(_bar(stage, min(start, end), max(start, end), value, axis))
    silence, heard = turn["leading_silence_ms"], events.get("t4_first")
    if ledger == "first_audio" and silence and heard is not None:
        # What the caller waits through at the end of `transfer` although audio arrives: the tts made it.
        left, right = axis.percent(max(heard - silence, axis.start_ms)), axis.percent(heard)
        title = f"leading silence {reading.milliseconds(silence)}, made by the tts, inside transfer"
        bars.append(Bar("silence", left, round(right - left, 3), "", title))
    return Lane(_LEDGER_TITLES[ledger], bars, reading.why_null(turn, ledger))


def _bar(stage: str, start_ms: float, end_ms: float, value: float, axis: _Axis) -> Bar:
    left = axis.percent(start_ms)
    width = round(axis.percent(end_ms) - left, 3)
    overlap = ", overlaps: the service worked ahead" if value < 0 else ""
    # A letter takes up to 2.2 % of the narrowest axis; a label that would not fit, or would lie over others, stands in
    # the table only.
    label = visible(stage) if value >= 0 and width > 2.2 * len(stage) + 1 else ""
    return Bar(_colour(stage, value), left, width, label, f"{visible(stage)} {reading.milliseconds(value)}{overlap}")


def _colour(stage: str, value: float | None) -> str:
    if value is not None and value < 0:
        return "overlap"
    return stage if stage in _STAGE_COLOURS else "merged"


def _stage_rows(turn: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The stages of both ledgers side by side, with their targets."""
    complete, first_audio = (turn["ledgers"][name] for name in LEDGERS)
    rows = []
    for stage in dict.fromkeys((*complete["stages_ms"], *first_audio["stages_ms"])):
        value = complete["stages_ms"].get(stage)
        target = reading.target_ms(stage, turn["pace"]) if stage in complete["stages_ms"] else None
        rows.append(
            {
                "name": stage,
                "colour": _colour(stage, None),
                "complete_ms": value,
                "first_audio_ms": first_audio["stages_ms"].get(stage),
                "target_ms": target,
                "above": value is not None and target is not None and value > target,
                "ahead": any((of["stages_ms"].get(stage) or 0) < 0 for of in (complete, first_audio)),
            }
        )
    total, target = complete["total_ms"], reading.target_ms("total", turn["pace"])
    rows.append(
        {
            "name": "total",
            "colour": "",
            "complete_ms": total,
            "first_audio_ms": first_audio["total_ms"],
            "target_ms": target,
            "above": total is not None and target is not None and total > target,
            "ahead": False,
        }
    )
    return rows


def _differences(reference: str, words: Mapping[str, Any]) -> list[Run]:
    """How the words differ, as the word error rate counts them; empty where they do not, or nothing was compared."""
    if not words["errors"]:
        return []
    from pytest_voiceloop.measure.quality import word_diff

    runs = []
    for difference in word_diff(reference, words["text"]):
        if difference.change == "equal":
            runs.append(Run("equal", " ".join(difference.heard)))
            continue
        runs.append(Run("lost", " ".join(difference.reference)))
        runs.append(Run("added", " ".join(difference.heard)))
    return [run for run in runs if run.words]


def _facts(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values for a list, nested ones as ``outer.inner``; what is not known is left out."""
    found = []
    for name, value in facts.items():
        if hasattr(value, "items"):
            found += [(f"{name}.{inner}", text) for inner, text in _facts(value)]
        elif value is not None and value != "":
            found.append((str(name), ", ".join(map(str, value)) if isinstance(value, list) else str(value)))
    return found


def _shown(text: object) -> str:
    return visible(text)


def _multiline(text: object) -> str:
    return "\n".join(map(visible, str(text).splitlines()))
