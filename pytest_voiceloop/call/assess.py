"""From what a call left behind to a measured turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_voiceloop.call.corpus import RATE_HZ
from pytest_voiceloop.measure.edges import first_audible
from pytest_voiceloop.measure.playout import Playout, moment_of_sample, playout
from pytest_voiceloop.measure.quality import word_errors
from pytest_voiceloop.measure.timeline import (
    COMPLETE,
    EVENTS,
    FIRST_AUDIO,
    expected_events,
    ledger,
    parts,
    relative_us,
    turn_events,
)
from pytest_voiceloop.measure.turn import Reply, Said, Status, Turn, Words
from pytest_voiceloop.wire import rtp

if TYPE_CHECKING:
    from pytest_voiceloop.call.line import Capture
    from pytest_voiceloop.call.live import LiveStack
    from pytest_voiceloop.measure.timeline import Event

VOID_LATENESS_MS = 20.0
"""A frame of speech that left later than this makes the turn void: the caller stammered, the stack did not."""


@dataclass(frozen=True, slots=True)
class Occasion:
    """Which of several repetitions a turn is."""

    index: int = 0
    trial: int = 0
    warmup: bool = False


def measured(capture: Capture, live: LiveStack, occasion: Occasion, *, judged: bool) -> Turn:
    """The turn that a capture shows."""
    heard = playout(capture.reply_arrivals)
    onset = first_audible(heard.samples, rtp.RATE_HZ)
    events_ns = turn_events(
        capture.crossings,
        t4_first=None if onset is None else moment_of_sample(heard, onset),
        t4_last=capture.reply_arrivals[-1].arrival_ns if capture.reply_arrivals else None,
        t5=capture.judgement.complete_ns if capture.judgement else None,
    )
    events_us = relative_us(events_ns, capture.t0_ns)
    expected = expected_events(live.tapped, judged=judged)
    missing = tuple(event for event in EVENTS if event in expected and events_us.get(event) is None)
    reply_text = " ".join(part.text for part in parts(capture.crossings, "llm_tts"))
    audio = parts(capture.crossings, "tts_out")
    made_s = sum(len(f.payload) / 4 / f.sample_rate_hz for part in audio for f in part.frames)
    said = capture.clip.utterance
    transcripts = parts(capture.crossings, "stt_llm")
    return Turn(
        call_id=capture.call_id,
        index=occasion.index,
        trial=occasion.trial,
        warmup=occasion.warmup,
        status=_status(capture, missing),
        flags=_flags(capture, len(transcripts)),
        pace=live.spec.pace,
        judge="stt" if judged else "none",
        utterance=Said(said.id, said.text, said.corpus, said.synthetic, len(capture.clip.samples) / RATE_HZ),
        transcript=_judged(said.text, " ".join(part.text for part in transcripts)),
        reply=Reply(reply_text, made_s),
        heard=_judged(reply_text, capture.judgement.text if capture.judgement else "") if judged else Words(""),
        events_ms={event: None if (us := events_us.get(event)) is None else us / 1000 for event in EVENTS},
        complete=ledger(COMPLETE, events_us, expected),
        first_audio=ledger(FIRST_AUDIO, events_us, expected),
        missing=missing,
        leading_silence_ms=None if onset is None else round(onset * 1000 / rtp.RATE_HZ, 3),
        tts_rtf=_real_time_factor(events_us, audio[-1].frames if audio else ()),
        playout=_playout_facts(heard),
        counters=_counters(capture, made_s),
        faults=tuple(
            {"kind": "delay", "link": link.role, "into": link.target, "ms": link.delay_ms}
            for link in live.spec.links
            if link.delay_ms
        ),
    )


def _status(capture: Capture, missing: tuple[Event, ...]) -> Status:
    if capture.ended_by == "timeout":
        return "timeout"
    if capture.broken:
        return "failed"
    voiced = capture.pacing.lateness_ms[: capture.clip.speech_end // (RATE_HZ // 50) + 1]
    if max(voiced, default=0.0) > VOID_LATENESS_MS:
        return "void"
    return "failed" if missing else "ok"


def _flags(capture: Capture, transcripts: int) -> tuple[str, ...]:
    flags = []
    if transcripts > 1:
        flags.append("split")
    # Everything that arrived in the turn, not just its last reply: the caller was spoken over either way.
    everything = playout(capture.arrivals)
    onset = first_audible(everything.samples, rtp.RATE_HZ)
    if onset is not None and moment_of_sample(everything, onset) < capture.t0_ns:
        flags.append("cut_off")
    if capture.ended_by == "quiescence":
        flags.append("ended_by_quiescence")
    return tuple(flags)


def _judged(reference: str, text: str) -> Words:
    count = word_errors(reference, text)
    if count is None:
        return Words(text)
    return Words(text, count.errors, count.words, count.char_errors, count.chars)


def _real_time_factor(events_us: dict[Event, int | None], frames: tuple[object, ...]) -> float | None:
    first, last = events_us.get("t2_first"), events_us.get("t3_last")
    audio_s = sum(len(f.payload) / 4 / f.sample_rate_hz for f in frames)  # type: ignore[attr-defined]
    return (last - first) / 1e6 / audio_s if first is not None and last is not None and audio_s else None


def _playout_facts(heard: Playout) -> dict[str, float]:
    return {
        "lost": heard.lost,
        "duplicated": heard.duplicated,
        "reordered": heard.reordered,
        "underruns": heard.underruns,
    }


def _counters(capture: Capture, made_s: float) -> dict[str, float]:
    of = [(crossing.role, crossing.kind) for crossing in capture.crossings]
    return {
        "caller_frames": len(capture.pacing.lateness_ms),
        "pacer_late_max_ms": round(max(capture.pacing.lateness_ms, default=0.0), 3),
        "transcript_frames": of.count(("stt_llm", "text")),
        "transcripts_cancelled": of.count(("stt_llm", "cancel")),
        "clauses": of.count(("llm_tts", "text")),
        "audio_chunks": of.count(("tts_out", "audio")),
        "audio_made_s": round(made_s, 3),
        "rtp_packets": len(capture.arrivals),
        "receive_buffer_bytes": capture.receive_buffer_bytes,
        **capture.counted,
    }
