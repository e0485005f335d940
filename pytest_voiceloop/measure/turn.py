"""One utterance and its reply, measured: the record that budgets judge and every report shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pytest_voiceloop.measure.timeline import COMPLETE, FIRST_AUDIO, WHERE, Event, Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_voiceloop.measure.sound import Sound

Status = Literal["ok", "void", "timeout", "failed"]

LATENCY_METRICS: Mapping[str, tuple[str, str | None]] = {
    "total": ("complete", None),
    "voice_to_voice": ("first_audio", None),
    **{stage: ("complete", stage) for stage, _ in COMPLETE},
    **{f"first_audio_{stage}": ("first_audio", stage) for stage, _ in FIRST_AUDIO},
}
"""Name of a latency → (ledger, stage; None for the ledger's total)."""
QUALITY_METRICS = ("transcript_wer", "loop_wer", "cut_off_rate")


class MissingEventError(AssertionError):
    """A value was asked for that was never measured; the message names the event and the link."""


@dataclass(frozen=True, slots=True)
class Words:
    """A text and how far it is from what it should say. Counts are None where there is nothing to compare with."""

    text: str
    errors: int | None = None
    words: int | None = None
    char_errors: int | None = None
    chars: int | None = None

    @property
    def wer(self) -> float | None:
        """Word errors per reference word."""
        return self.errors / self.words if self.errors is not None and self.words else None

    @property
    def cer(self) -> float | None:
        """Character errors per reference character."""
        return self.char_errors / self.chars if self.char_errors is not None and self.chars else None

    def as_json(self) -> dict[str, Any]:
        """As it stands in the JSON document."""
        return {"text": self.text, "wer": _rounded(self.wer), "cer": _rounded(self.cer)} | {
            "errors": self.errors,
            "words": self.words,
            "char_errors": self.char_errors,
            "chars": self.chars,
        }


@dataclass(frozen=True, slots=True)
class Reply:
    """What the language model sent to be spoken, and how long the speech that was made of it is."""

    text: str
    audio_s: float
    clauses: tuple[str, ...] = ()
    """The text frames of which the text consists."""

    @property
    def words(self) -> int:
        """Words of the text."""
        return len(self.text.split())


@dataclass(frozen=True, slots=True)
class Said:
    """The utterance of a turn."""

    id: str
    text: str
    corpus: str
    synthetic: bool
    audio_s: float


@dataclass(frozen=True, slots=True)
class Turn:
    """A measured turn. Events are ms after T0, exact to the µs; None where an event did not come or cannot be seen."""

    call_id: str
    index: int
    trial: int
    warmup: bool
    status: Status
    flags: tuple[str, ...]
    pace: str
    judge: str
    utterance: Said
    transcript: Words
    reply: Reply
    heard: Words
    events_ms: Mapping[Event, float | None]
    complete: Ledger
    first_audio: Ledger
    missing: tuple[Event, ...]
    """Events that this stack should have shown and did not."""
    errors: tuple[str, ...] = ()
    """What came over a link in place of an answer, or could not be read: "llm_tts: … was answered 503"."""
    work_ms: Mapping[str, float | None] = field(default_factory=dict)
    """What each service needed, hidden by working ahead or not; see `timeline.work_ms`."""
    sound: Mapping[str, Sound] = field(default_factory=dict)
    """How the last reply sounds: ``made``, as it crossed tts → outbound, and ``heard``, as the caller would hear it."""
    leading_silence_ms: float | None = None
    tts_rtf: float | None = None
    playout: Mapping[str, Any] = field(default_factory=dict)
    counters: Mapping[str, float] = field(default_factory=dict)
    audio: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[Mapping[str, Any], ...] = ()
    """What the harness did to the stack on purpose."""
    replayed: Mapping[str, str] | None = None
    """Transcript and reply of a recorded run, where they were passed on in place of this turn's own."""
    machine: Mapping[str, Any] = field(default_factory=dict)
    """What the turn used of the machine, and who else used it."""
    void_because: tuple[str, ...] = ()
    """What disturbed it, in sentences; empty if it is not void."""
    repeat: int = 0
    """How often it had been said before, and was void."""

    @property
    def total_ms(self) -> float:
        """T0 → T5. Raises MissingEventError."""
        return self.metric_ms("total")

    @property
    def voice_to_voice_ms(self) -> float:
        """T0 → first audible sample. Raises MissingEventError."""
        return self.metric_ms("voice_to_voice")

    def metric_ms(self, name: str) -> float:
        """A latency by its name in `LATENCY_METRICS`. Raises MissingEventError if it was not measured."""
        value = latency_ms(self, name)
        if value is None:
            raise MissingEventError(f"{name} of turn {self.index} ({self.utterance.id}): {why_missing(self, name)}")
        return value

    def as_json(self) -> dict[str, Any]:
        """As it stands in the JSON document's ``turns[]``."""
        return {
            "call_id": self.call_id,
            "index": self.index,
            "trial": self.trial,
            "repeat": self.repeat,
            "warmup": self.warmup,
            "status": self.status,
            "void_because": list(self.void_because),
            "flags": list(self.flags),
            "faults": [dict(fault) for fault in self.faults],
            "replayed": None if self.replayed is None else dict(self.replayed),
            "pace": self.pace,
            "judge": self.judge,
            "utterance": {
                "id": self.utterance.id,
                "text": self.utterance.text,
                "corpus": self.utterance.corpus,
                "synthetic": self.utterance.synthetic,
                "audio_s": round(self.utterance.audio_s, 3),
            },
            "transcript": self.transcript.as_json(),
            "reply": {
                "text": self.reply.text,
                "clauses": list(self.reply.clauses),
                "words": self.reply.words,
                "audio_s": round(self.reply.audio_s, 3),
            },
            "heard": self.heard.as_json(),
            "events_ms": dict(self.events_ms),
            "missing": list(self.missing),
            "errors": list(self.errors),
            "ledgers": {"complete": self.complete.as_json(), "first_audio": self.first_audio.as_json()},
            "work_ms": dict(self.work_ms),
            "sound": {side: sound.as_json() for side, sound in self.sound.items()},
            "leading_silence_ms": self.leading_silence_ms,
            "tts_rtf": _rounded(self.tts_rtf),
            "playout": dict(self.playout),
            "counters": dict(self.counters),
            "machine": dict(self.machine),
            "audio": dict(self.audio),
        }


@dataclass(frozen=True, slots=True)
class Turns:
    """Several turns, warm-up included and marked. Behaves as a sequence of those that count."""

    all: tuple[Turn, ...]

    def _counted(self) -> Sequence[Turn]:
        # A repetition comes right after the void turn that it stands for.
        repeated = [turn.repeat > 0 for turn in self.all[1:]] + [False]
        return [turn for turn, again in zip(self.all, repeated, strict=True) if not (turn.warmup or again)]

    def __iter__(self) -> Iterator[Turn]:
        """The turns that are not warm-up; of one that was void and said again, the last try."""
        return iter(self._counted())

    def __len__(self) -> int:
        """How many are not warm-up."""
        return len(self._counted())

    def __getitem__(self, index: int) -> Turn:
        """The turn at that place among those that are not warm-up."""
        return self._counted()[index]


def latency_ms(turn: Turn, name: str) -> float | None:
    """A latency by its name in `LATENCY_METRICS`, None where it was not measured."""
    ledger_name, stage = LATENCY_METRICS[name]
    ledger = turn.complete if ledger_name == "complete" else turn.first_audio
    return ledger.total_ms if stage is None else ledger.stages_ms.get(stage)


def why_missing(turn: Turn, name: str) -> str:
    """Why a latency has no value, naming event and link."""
    ledger_name, _ = LATENCY_METRICS[name]
    plan = COMPLETE if ledger_name == "complete" else FIRST_AUDIO
    for _, event in plan:
        if event in turn.missing:
            return f"{event.upper()} never came: nothing was seen on {WHERE[event]}; look at the logs of both ends"
    return "this stack cannot show it: one of its events is seen on no tapped link, or no judge listens"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
