"""One turn as the page shows it: ledgers and voices on one time axis, and the words with their differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from pytest_voiceloop.measure.timeline import EVENTS
from pytest_voiceloop.report import reading, waveform
from pytest_voiceloop.report.axis import Axis, Zoom
from pytest_voiceloop.report.document import LEDGERS
from pytest_voiceloop.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

OWNERS: Mapping[str, str] = {
    "stt": "speech to text",
    "llm": "language model",
    "tts": "voice",
    "transfer": "outbound",
    "retranscription": "the judge",
}
LEDGER_TITLES = {"complete": "Complete", "first_audio": "First audio"}
MARKS = {
    "clipped": "clipped",
    "hole": "hole",
    "pause": "stood still, audio came late",
    "ended": "longest pause in the sentence, taken for its end",
}
"""What is marked in a waveform, in words."""
MOST_NOTED = 3
LEDGER_TOTALS = {"complete": "total", "first_audio": "voice to voice"}


class Bar(NamedTuple):
    """A stretch of the time axis; `left` and `width` in percent of the axis."""

    colour: str
    left: float
    width: float
    title: str


class Limit(NamedTuple):
    """What a latency is held against: a budget, or (`enforced` is false) a default target."""

    ms: float
    source: str
    enforced: bool


class Row(NamedTuple):
    """A stage of a ledger, or its total: bars, and where its limit lies on the axis (percent, or None)."""

    name: str
    owner: str
    colour: str
    took_ms: float | None
    took: str
    bars: Sequence[Bar]
    limit: Limit | None
    limit_left: float | None
    over: bool
    note: str


class Ledger(NamedTuple):
    """A ledger's rows, its total last."""

    title: str
    rows: Sequence[Row]
    note: str


class Voice(NamedTuple):
    """One side's audio: where it is, and what is drawn of it. `at_ms` is None where it has no place on the axis."""

    side: str
    source: str
    problem: str
    at_ms: float | None = None
    ms: float = 0.0
    left: float = 0.0
    width: float = 0.0
    outline: str = ""
    peaks: int = 0
    marks: Sequence[waveform.Mark] = ()

    @property
    def notes(self) -> list[str]:
        """The marks in words, a sentence for each kind with its longest ones."""
        return [_marked(kind, those) for kind in MARKS if (those := [mark for mark in self.marks if mark.kind == kind])]


class Run(NamedTuple):
    """Words with one fate: equal, lost, or added."""

    fate: str
    words: str


class Sound(NamedTuple):
    """A clip that was read: where it begins on the axis, and what is found in it."""

    audio: waveform.Audio
    at_ms: float | None
    marks: Sequence[waveform.Mark]
    embedded: str


def view(
    entry: reading.Entry,
    folder: str,
    sounds: Mapping[str, Sound | None],
    *,
    opened: bool,
) -> dict[str, Any]:
    """What the template needs of a turn.

    `folder` is where the document's audio paths start, seen from the page. `sounds` are the sides whose audio was
    looked for; None where nothing was found.
    """
    turn = entry.turn
    limits = _limits(entry.test, turn)
    ledgers = _moments(turn)
    heard = [
        moment
        for sound in sounds.values()
        if sound and sound.at_ms is not None
        for moment in (sound.at_ms, sound.at_ms + sound.audio.ms)
    ]
    axis, near = Axis.around([*ledgers, *heard]), Axis.around(ledgers)
    voices = [_voice(side, path, folder, sounds, axis) for side, path in sides(turn)]
    return {
        "number": entry.number,
        "open": opened,
        "record": turn,
        "voice_to_voice_ms": reading.voice_to_voice_ms(turn),
        "missing": reading.missing_events(turn),
        "over": reading.budgets_over(entry.test, turn),
        "lost": reading.lost_packets(turn),
        "ledgers": [_ledger(turn, name, axis, limits) for name in LEDGERS],
        "axis": axis,
        "ticks": axis.ticks(),
        "grid": axis.grid(axis.step_ms()),
        "near": Zoom.into(near, axis) if heard else None,
        "voices": voices,
        "placed": any(voice.at_ms is not None for voice in voices),
        "events": [(event.upper(), turn["events_ms"].get(event)) for event in EVENTS],
        "transcript_diff": differences(turn["utterance"]["text"], turn["transcript"]),
        "heard_diff": differences(reading.spoken(turn), turn["heard"]),
    }


def _moments(turn: Mapping[str, Any]) -> list[float]:
    return [at for at in turn["events_ms"].values() if at is not None]


def sides(turn: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for side in ("caller", "reply"):
        if path := turn["audio"].get(side):
            yield side, path


def hear(turn: Mapping[str, Any], side: str, audio: waveform.Audio, embedded: str) -> Sound:
    """A clip that was read, placed on the axis of its turn."""
    # Of several replies the last one is timed, and the audio holds them all; older documents do not say where.
    begins_ms = turn["playout"].get("begins_ms")
    if side == "caller":
        at_ms = waveform.caller_begins_ms(audio)
        found = waveform.marks(audio)
        if at_ms is not None and not {"split", "cut_off"}.isdisjoint(turn["flags"]):
            found += waveform.longest_pause(audio, min(0.0, begins_ms or 0.0) - at_ms)
        return Sound(audio, at_ms, found, embedded)
    timed_ms = waveform.reply_begins_ms(audio, turn["events_ms"].get("t4_first"))
    found = waveform.marks(audio, turn["playout"].get("pauses_ms") or ())
    if (turn.get("sound") or {}).get("heard"):
        # What the figures of the turn do not call damage is not drawn as damage.
        figures = {"clipped": "clipped_ms", "hole": "gap_ms"}
        found = [
            mark for mark in found if mark.kind not in figures or reading.damaged_ms(turn, "heard", figures[mark.kind])
        ]
    return Sound(audio, timed_ms if begins_ms is None else begins_ms, found, embedded)


def _voice(side: str, path: str, folder: str, sounds: Mapping[str, Sound | None], axis: Axis) -> Voice:
    link = quote(f"{folder}/{path}" if folder else path, safe="/", errors="replace")
    if side not in sounds:
        return Voice(side, link, "")
    sound = sounds[side]
    if sound is None:
        return Voice(side, link, f"the file {visible(path)} was not there when this page was made")
    source = sound.embedded or link
    if sound.at_ms is None:
        return Voice(side, source, "no speech is audible in it, so it has no place on the axis")
    heights = waveform.peaks(sound.audio.samples)
    left = axis.percent(sound.at_ms)
    return Voice(
        side,
        source,
        "",
        round(sound.at_ms, 1),
        round(sound.audio.ms, 1),
        left,
        round(axis.percent(sound.at_ms + sound.audio.ms) - left, 3),
        waveform.outline(heights),
        len(heights),
        sound.marks,
    )


def _marked(kind: str, marks: Sequence[waveform.Mark]) -> str:
    longest = sorted(sorted(marks, key=lambda mark: mark.start_ms - mark.end_ms)[:MOST_NOTED])
    places = ", ".join(f"{mark.start_ms / 1000:.2f} to {mark.end_ms / 1000:.2f} s" for mark in longest)
    return f"{MARKS[kind]} {places}" + (f", {len(marks) - MOST_NOTED} more" if len(marks) > MOST_NOTED else "")


def _limits(test: Mapping[str, Any], turn: Mapping[str, Any]) -> dict[tuple[str, str], Limit]:
    """By ledger and stage (or ``total``): the strictest budget of the test, else the default target."""
    limits: dict[tuple[str, str], Limit] = {}
    for stage in (*turn["ledgers"]["complete"]["stages_ms"], "total"):
        target = reading.target_ms(stage, turn["pace"])
        if target is not None:
            limits["complete", stage] = Limit(target, "target", enforced=False)
    for budget in test.get("budgets") or ():
        limit = budget.get("limit_ms")
        place = reading.budget_place(budget["metric"])
        if limit is None or place is None:
            continue
        known = limits.get(place)
        if known is None or not known.enforced or limit < known.ms:
            limits[place] = Limit(limit, f"budget, {budget['source']}", enforced=True)
    return limits


def _ledger(turn: Mapping[str, Any], name: str, axis: Axis, limits: Mapping[tuple[str, str], Limit]) -> Ledger:
    found = turn["ledgers"][name]
    rows = [_row(turn, name, stage, value, axis, limits) for stage, value in found["stages_ms"].items()]
    total, limit = found["total_ms"], limits.get((name, "total"))
    bars = [] if total is None else [Bar("sum", *_between(0.0, total, axis), f"{LEDGER_TOTALS[name]} {_ms(total)}")]
    why = reading.why_null(turn, name)
    rows.append(
        Row(
            name=LEDGER_TOTALS[name],
            owner="",
            colour="",
            took_ms=total,
            took=why if total is None else _ms(total),
            bars=bars,
            limit=limit,
            limit_left=_place(limit, 0.0, axis),
            over=_over(total, limit, never=total is None and bool(turn["missing"])),
            note="",
        )
    )
    return Ledger(LEDGER_TITLES[name], rows, why)


def _row(
    turn: Mapping[str, Any],
    ledger: str,
    stage: str,
    value: float | None,
    axis: Axis,
    limits: Mapping[tuple[str, str], Limit],
) -> Row:
    events = turn["events_ms"]
    since, until = reading.stage_events(ledger, stage)
    start, end = events.get(since), events.get(until)
    limit = limits.get((ledger, stage))
    never = value is None and until in turn["missing"]
    bars, note = [], _stage_note(stage, value)
    if value is not None and start is not None and end is not None:
        title = f"{visible(stage)} {_ms(value)}" + (f", {note}" if note else "")
        bars.append(Bar(colour_of(stage, value), *_between(min(start, end), max(start, end), axis), title))
    silence, heard = turn["leading_silence_ms"], events.get("t4_first")
    if ledger == "first_audio" and until == "t4_first" and silence and heard is not None:
        # What the caller waits through at the end of `transfer` although audio arrives: the tts made it.
        title = f"leading silence {_ms(silence)}, made by the tts, inside transfer"
        bars.append(Bar("silence", *_between(max(heard - silence, axis.start_ms), heard, axis), title))
        note = f"{_ms(silence)} of it is silence that the tts made"
    return Row(
        name=stage,
        owner=owner_of(stage),
        colour=colour_of(stage, None),
        took_ms=value,
        took="never came" if never else "not known" if value is None else _ms(value),
        bars=bars,
        limit=limit,
        limit_left=_place(limit, start, axis),
        over=_over(value, limit, never=never),
        note=note,
    )


def _stage_note(stage: str, value: float | None) -> str:
    if value is not None and value < 0:
        return "overlap: it was done before the stage above it had ended"
    if "+" in stage:
        return "merged: this stack does not show where one ends and the next begins"
    return "" if stage in OWNERS else "unattributed: this stage has no known owner"


def owner_of(stage: str) -> str:
    """Whose time a stage is, in words."""
    return " and ".join(OWNERS.get(name, "unattributed") for name in stage.split("+"))


def colour_of(stage: str, value: float | None) -> str:
    """The class that colours a stage's bar, or its swatch (`value` is None)."""
    if value is not None and value < 0:
        return "overlap"
    return stage if stage in OWNERS else "merged"


def _between(start_ms: float, end_ms: float, axis: Axis) -> tuple[float, float]:
    left = axis.percent(start_ms)
    return left, round(axis.percent(end_ms) - left, 3)


def _place(limit: Limit | None, start_ms: float | None, axis: Axis) -> float | None:
    if limit is None or start_ms is None:
        return None
    left = axis.percent(start_ms + limit.ms)
    return left if 0 <= left <= 100 else None


def _over(value: float | None, limit: Limit | None, *, never: bool) -> bool:
    return never or (value is not None and limit is not None and value > limit.ms)


def differences(reference: str, words: Mapping[str, Any]) -> list[Run]:
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


def _ms(value: float) -> str:
    return reading.milliseconds(value)
