"""From frames that crossed links to events, and from events to ledgers. Pure functions on nanoseconds of one clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pytest_voiceloop.wire import codecs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

QUIET_NS = 1_500_000_000
"""Where no END is spoken, what is said is over when nothing has come for this long."""
Role = Literal["stt_llm", "llm_tts", "tts_out"]
Event = Literal["t0", "t1", "t2_first", "t2_last", "t3_first", "t3_last", "t4_first", "t4_last", "t5"]
EVENTS: tuple[Event, ...] = ("t0", "t1", "t2_first", "t2_last", "t3_first", "t3_last", "t4_first", "t4_last", "t5")

COMPLETE: tuple[tuple[str, Event], ...] = (
    ("stt", "t1"),
    ("llm", "t2_last"),
    ("tts", "t3_last"),
    ("transfer", "t4_last"),
    ("retranscription", "t5"),
)
"""The complete ledger: each stage with the event that ends it; the first begins at T0."""
FIRST_AUDIO: tuple[tuple[str, Event], ...] = (
    ("stt", "t1"),
    ("llm", "t2_first"),
    ("tts", "t3_first"),
    ("transfer", "t4_first"),
)
"""The first-audio ledger; its total is voice-to-voice."""

WHERE: Mapping[Event, str] = {
    "t0": "the caller's own clip",
    "t1": "the link stt → llm (the transcript)",
    "t2_first": "the link llm → tts (the reply's first text)",
    "t2_last": "the link llm → tts (the reply's last text)",
    "t3_first": "the link tts → outbound (the reply's first audio)",
    "t3_last": "the link tts → outbound (the reply's last audio)",
    "t4_first": "the caller's line (audible speech)",
    "t4_last": "the caller's line (the reply's last packet)",
    "t5": "the judge's transcript of what was heard",
}
"""Where each event is seen, for messages."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """One frame that passed a tap. `at_ns` is CLOCK_MONOTONIC when its last byte had been read.

    `kind` and `payload` are as in `wire.protocols.Passed`.
    """

    at_ns: int
    role: Role
    call_id: str
    kind: str
    payload: bytes = b""
    sample_rate_hz: int = 0

    @property
    def text(self) -> str:
        """The payload of a text frame."""
        return self.payload.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Part:
    """What stands between two ENDs on one link: an utterance's transcript, or a reply. Cancelled frames are gone.

    `ended_ns` is when its END crossed. Bytes that nobody understands have none: their last one is their end.
    """

    frames: tuple[Crossing, ...]
    ended_ns: int | None

    @property
    def texts(self) -> tuple[str, ...]:
        """Its texts, each with the deltas that go on with it."""
        found: list[str] = []
        for frame in self.frames:
            if frame.kind == "delta" and found:
                found[-1] += frame.text
            elif frame.kind in ("text", "delta"):
                found.append(frame.text)
        return tuple(text.strip() for text in found)

    @property
    def text(self) -> str:
        """All of its texts."""
        return " ".join(self.texts).strip()

    @property
    def audio(self) -> tuple[Crossing, ...]:
        """Its frames of samples."""
        return tuple(frame for frame in self.frames if frame.kind == "audio")

    @property
    def speech(self) -> tuple[NDArray[np.float32], int] | None:
        """Its samples, float32 in [-1, 1], shape (n,), and their rate: the first frame's, a voice has one.

        None where there are no samples.
        """
        if not self.audio:
            return None
        rate_hz = self.audio[0].sample_rate_hz
        payload = b"".join(frame.payload for frame in self.audio if frame.sample_rate_hz == rate_hz)
        return codecs.decode(payload, "pcm_f32le"), rate_hz


def parts(crossings: Iterable[Crossing], role: Role) -> list[Part]:
    """Cut one link's frames of one call at END and BYE, and take back what was cancelled. No part is empty."""
    found: list[Part] = []
    frames: list[Crossing] = []
    for crossing in crossings:
        if crossing.role != role:
            continue
        if crossing.kind in ("text", "delta", "audio", "bytes"):
            if crossing.kind == "bytes" and frames and crossing.at_ns - frames[-1].at_ns > QUIET_NS:
                found.append(Part(tuple(frames), frames[-1].at_ns))
                frames = []
            frames.append(crossing)
        elif crossing.kind == "cancel":
            frames = []
        elif crossing.kind in ("end", "bye") and frames:
            found.append(Part(tuple(frames), crossing.at_ns))
            frames = []
    if frames:
        found.append(Part(tuple(frames), frames[-1].at_ns if frames[-1].kind == "bytes" else None))
    return found


def turn_events(
    crossings: Sequence[Crossing], *, t4_first: int | None, t4_last: int | None, t5: int | None
) -> dict[Event, int | None]:
    """T1 to T5 of a turn in ns, None where nothing was seen.

    A turn that was split has several transcripts and replies; the events are those of the last one, which is the
    answer that the caller waits for.
    """
    transcripts = parts(crossings, "stt_llm")
    replies = parts(crossings, "llm_tts")
    audio = parts(crossings, "tts_out")
    t1 = None
    if transcripts:
        # Final at END where that is spoken, else the text itself is all there is.
        t1 = transcripts[-1].ended_ns or transcripts[-1].frames[-1].at_ns
    return {
        "t1": t1,
        "t2_first": replies[-1].frames[0].at_ns if replies else None,
        "t2_last": replies[-1].frames[-1].at_ns if replies else None,
        "t3_first": audio[-1].frames[0].at_ns if audio else None,
        "t3_last": audio[-1].frames[-1].at_ns if audio else None,
        "t4_first": t4_first,
        "t4_last": t4_last,
        "t5": t5,
    }


def work_ms(
    crossings: Sequence[Crossing], events_ns: Mapping[Event, int | None], t0_ns: int
) -> dict[str, float | None]:
    """What each service needed for the reply, in ms, also where the ledger hides it; None where it was not seen.

    A stack that works ahead passes the transcript on before it is sure that the caller has finished. The ledger then
    counts from the moment at which that was sure (T1), and a model can become slower without any stage showing it.
    So this counts from the crossing of the text that is answered: ``stt`` T0 → text, ``llm_first`` and ``llm``
    text → T2 first and last, ``tts`` T2 last → T3 last.
    """
    transcripts = parts(crossings, "stt_llm")
    text_ns = transcripts[-1].frames[0].at_ns if transcripts else None
    spans: dict[str, tuple[int | None, int | None]] = {
        "stt": (t0_ns, text_ns),
        "llm_first": (text_ns, events_ns.get("t2_first")),
        "llm": (text_ns, events_ns.get("t2_last")),
        "tts": (events_ns.get("t2_last"), events_ns.get("t3_last")),
    }
    return {
        name: None if since is None or until is None else round((until - since) / 1e6, 3)
        for name, (since, until) in spans.items()
    }


def expected_events(tapped: Iterable[Role], *, judged: bool) -> frozenset[Event]:
    """The events that can be seen: those of the tapped links, the caller's own, and T5 if a judge listens."""
    seen: set[Event] = {"t0", "t4_first", "t4_last"}
    for role in tapped:
        seen |= {"stt_llm": {"t1"}, "llm_tts": {"t2_first", "t2_last"}, "tts_out": {"t3_first", "t3_last"}}[role]  # type: ignore[arg-type]
    return frozenset(seen | {"t5"} if judged else seen)


def relative_us(events_ns: Mapping[Event, int | None], t0_ns: int) -> dict[Event, int | None]:
    """Events in whole µs after T0. Stages are differences of these, so that every ledger sums exactly."""
    rounded: dict[Event, int | None] = {"t0": 0}
    for event, at_ns in events_ns.items():
        rounded[event] = None if at_ns is None else round((at_ns - t0_ns) / 1000)
    return rounded


@dataclass(frozen=True, slots=True)
class Ledger:
    """A timeline cut into contiguous stages. Values in ms, exact to the µs; None where an event did not come.

    A stage whose end cannot be seen in this stack is merged with the next: ``"llm+tts"``. A stage that begins before
    its predecessor ended is negative: the services worked ahead.
    """

    stages_ms: Mapping[str, float | None]
    total_ms: float | None

    def as_json(self) -> dict[str, object]:
        """As it stands in the JSON document."""
        return {"stages_ms": dict(self.stages_ms), "total_ms": self.total_ms}


def ledger(
    plan: Sequence[tuple[str, Event]], events_us: Mapping[Event, int | None], expected: frozenset[Event]
) -> Ledger:
    """Cut the events at `plan`."""
    stages: dict[str, float | None] = {}
    since: int | None = events_us["t0"]
    names: list[str] = []
    for name, event in plan:
        names.append(name)
        if event not in expected:
            continue
        at = events_us.get(event)
        stages["+".join(names)] = None if at is None or since is None else (at - since) / 1000
        since, names = at, []
    # Without its last event (no judge, say) there is no total: a shorter sum under the same name would be a lie.
    complete = plan[-1][1] in expected and None not in stages.values()
    last = events_us.get(plan[-1][1])
    return Ledger(stages, last / 1000 if complete and last is not None else None)
