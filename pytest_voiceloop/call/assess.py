"""From what a call left behind to a measured turn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_voiceloop.call import machine
from pytest_voiceloop.call.corpus import RATE_HZ
from pytest_voiceloop.call.line import LEFT
from pytest_voiceloop.measure.dnsmos import dnsmos
from pytest_voiceloop.measure.edges import first_audible
from pytest_voiceloop.measure.playout import Playout, moment_of_sample, playout
from pytest_voiceloop.measure.quality import word_errors
from pytest_voiceloop.measure.sound import Sound, sound
from pytest_voiceloop.measure.timeline import (
    COMPLETE,
    EVENTS,
    FIRST_AUDIO,
    expected_events,
    ledger,
    parts,
    relative_us,
    turn_events,
    work_ms,
)
from pytest_voiceloop.measure.turn import Reply, Said, Status, Turn, Words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from pytest_voiceloop.call.line import Capture
    from pytest_voiceloop.call.live import LiveStack
    from pytest_voiceloop.measure.timeline import Crossing, Event

VOID_LATENESS_MS = 20.0
"""A frame of speech that left later than this makes the turn void: the caller stammered, the stack did not."""


@dataclass(frozen=True, slots=True)
class Occasion:
    """Which of several repetitions a turn is."""

    index: int = 0
    trial: int = 0
    warmup: bool = False
    repeat: int = 0
    """How often it was void before."""


def measured(capture: Capture, live: LiveStack, occasion: Occasion, *, judged: bool) -> Turn:
    """The turn that a capture shows."""
    heard = playout(capture.reply_arrivals)
    onset = first_audible(heard.samples, heard.rate_hz)
    events_ns = turn_events(
        capture.crossings,
        t4_first=None if onset is None else moment_of_sample(heard, onset),
        t4_last=capture.reply_arrivals[-1].arrival_ns if capture.reply_arrivals else None,
        t5=_judged_ns(capture),
    )
    events_us = relative_us(events_ns, capture.t0_ns)
    expected = expected_events(live.tapped, judged=judged)
    missing = tuple(event for event in EVENTS if event in expected and events_us.get(event) is None)
    replies = parts(capture.crossings, "llm_tts")
    reply_text = " ".join(part.text for part in replies)
    spoken_text = capture.script.reply if capture.script else reply_text
    audio = parts(capture.crossings, "tts_out")
    made_s = _seconds(frame for part in audio for frame in part.audio)
    said = capture.clip.utterance
    transcripts = parts(capture.crossings, "stt_llm")
    void_because = _void_because(capture)
    status = _status(capture, missing, void_because)
    return Turn(
        call_id=capture.call_id,
        index=occasion.index,
        trial=occasion.trial,
        repeat=occasion.repeat,
        warmup=occasion.warmup,
        status=status,
        flags=_flags(capture, len(transcripts), heard),
        pace=live.spec.pace,
        judge=_judge_name(live.spec.judge.protocol) if judged else "none",
        utterance=Said(said.id, said.text, said.corpus, said.synthetic, len(capture.clip.samples) / RATE_HZ),
        transcript=_judged(said.text, " ".join(part.text for part in transcripts))
        if "stt_llm" in live.tapped and not any(frame.kind == "bytes" for part in transcripts for frame in part.frames)
        else Words(""),
        # Where nobody saw it made, it is as long as it was heard.
        reply=Reply(
            reply_text,
            made_s or len(heard.samples) / heard.rate_hz,
            tuple(text for part in replies for text in part.texts),
        ),
        heard=_judged(spoken_text, capture.judgement.text if capture.judgement else "") if judged else Words(""),
        events_ms={event: None if (us := events_us.get(event)) is None else us / 1000 for event in EVENTS},
        complete=ledger(COMPLETE, events_us, expected),
        first_audio=ledger(FIRST_AUDIO, events_us, expected),
        missing=missing,
        errors=(
            *(f"{c.role}: {c.text}" for c in capture.crossings if c.kind in ("failed", "garbled")),
            *dict.fromkeys(capture.garbled),
        ),
        work_ms=work_ms(capture.crossings, events_ns, capture.t0_ns),
        sound=_sounds(capture, heard, live),
        leading_silence_ms=None if onset is None else round(onset * 1000 / heard.rate_hz, 3),
        tts_rtf=_real_time_factor(events_us, audio[-1].audio if audio else ()),
        playout=_playout_facts(heard),
        counters=_counters(capture, made_s),
        machine=_machine(capture),
        void_because=void_because if status == "void" else (),
        replayed={"transcript": capture.script.transcript, "reply": capture.script.reply} if capture.script else None,
        faults=capture.faults,
    )


def _judged_ns(capture: Capture) -> int | None:
    """T5. Where no END is spoken the judge is asked when it has been quiet for a while, which is nobody's time."""
    judgement = capture.judgement
    if judgement is None or capture.ended_by != "quiescence":
        return judgement.complete_ns if judgement else None
    return capture.reply_arrivals[-1].arrival_ns + judgement.complete_ns - judgement.asked_ns


def _status(capture: Capture, missing: tuple[Event, ...], void_because: tuple[str, ...]) -> Status:
    if capture.ended_by == "timeout":
        return "timeout"
    if capture.broken:
        return "failed"
    if void_because:
        return "void"
    return "failed" if missing else "ok"


def _void_because(capture: Capture) -> tuple[str, ...]:
    voiced = capture.pacing.lateness_ms[: capture.clip.speech_end // (RATE_HZ // 50) + 1]
    late_ms = max(voiced, default=0.0)
    stammer = f"a frame of the caller's speech left {late_ms:.0f} ms late (limit {VOID_LATENESS_MS:g} ms)"
    if capture.ended_by in LEFT:
        return (LEFT[capture.ended_by],)
    return (*([stammer] if late_ms > VOID_LATENESS_MS else ()), *machine.disturbances(capture.load))


def _machine(capture: Capture) -> dict[str, Any]:
    lateness = np.array(capture.pacing.lateness_ms)
    late = np.quantile(lateness, (0.5, 0.99, 1.0)) if len(lateness) else (None,) * 3
    return {
        "pacer_late_ms": {
            name: None if value is None else round(float(value), 3)
            for name, value in zip(("p50", "p99", "max"), late, strict=True)
        },
        "steal_percent": capture.load.steal_percent,
        "foreign_cpu_percent": capture.load.foreign_cpu_percent,
        "services": {
            name: {
                "cpu_s": round(used.cpu_s, 2),
                "waited_ms": None if used.waited_s is None else round(used.waited_s * 1000, 1),
                "rss_mib": round(used.rss_mib, 1),
            }
            for name, used in capture.load.services.items()
        },
    }


def _flags(capture: Capture, transcripts: int, heard: Playout) -> tuple[str, ...]:
    flags = []
    if transcripts > 1:
        flags.append("split")
    # Everything that arrived in the turn, not just its last reply: the caller was spoken over either way.
    everything = heard if len(capture.arrivals) == len(capture.reply_arrivals) else playout(capture.arrivals)
    onset = first_audible(everything.samples, everything.rate_hz)
    if onset is not None and moment_of_sample(everything, onset) < capture.t0_ns:
        flags.append("cut_off")
    if capture.ended_by == "quiescence":
        flags.append("ended_by_quiescence")
    return tuple(flags)


def _sounds(capture: Capture, heard: Playout, live: LiveStack) -> dict[str, Sound]:
    """How the last reply sounds on both sides of outbound; sides without a sound are all None."""
    replies, audio = parts(capture.crossings, "llm_tts"), parts(capture.crossings, "tts_out")
    text = capture.script.reply if capture.script else replies[-1].text if replies else ""
    # The score takes a core for a while, and another caller's turn would pay for it. A script's tone has no voice.
    scored = live.open_calls == 1 and not live.spec.scripted
    sides = {
        "made": audio[-1].speech if audio else None,
        "heard": (heard.samples, heard.rate_hz),
    }
    return {side: _sound(*one, text, scored=scored) if one else Sound() for side, one in sides.items()}


def _sound(samples: NDArray[np.float32], rate_hz: int, text: str, *, scored: bool) -> Sound:
    found = sound(samples, rate_hz, text)
    audible = found.level_db is not None
    return replace(found, dnsmos=dnsmos(samples, rate_hz)) if scored and audible else found


def _seconds(frames: Iterable[Crossing]) -> float:
    return sum(len(frame.payload) / 4 / frame.sample_rate_hz for frame in frames)


def _judge_name(protocol: str) -> str:
    return "stt" if protocol == "voiceloop" else protocol


def _judged(reference: str, text: str) -> Words:
    count = word_errors(reference, text)
    if count is None:
        return Words(text)
    return Words(text, count.errors, count.words, count.char_errors, count.chars)


def _real_time_factor(events_us: dict[Event, int | None], frames: Sequence[Crossing]) -> float | None:
    first, last, audio_s = events_us.get("t2_first"), events_us.get("t3_last"), _seconds(frames)
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
