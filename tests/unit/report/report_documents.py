"""Documents made by hand, as the harness would make them."""

from pytest_voiceloop.measure.timeline import COMPLETE, EVENTS, FIRST_AUDIO, Event, ledger
from pytest_voiceloop.measure.turn import Reply, Said, Turn, Words
from pytest_voiceloop.report.document import build

HOSTILE = "</script><img src=x onerror=alert(1)> \x1b[31mred\x00 \u202eright-to-left \u05e9\u05dc \ud800 \U0001f600"
US: dict[Event, int | None] = {
    "t0": 0,
    "t1": 480_000,
    "t2_first": 560_000,
    "t2_last": 700_000,
    "t3_first": 900_250,
    "t3_last": 1_150_500,
    "t4_first": 960_000,
    "t4_last": 1_190_000,
    "t5": 1_690_001,
}
RUN = {
    "tool_version": "0.1.0",
    "started_at": "2026-01-02T03:04:05+00:00",
    "environment": {"python": "3.11.9", "cores": 2, "ci": None, "versions": {"pytest": "9.0.0"}},
    "settings": {"pace": "asap", "trials": 5},
}
WHISPER = {
    "name": "whisper",
    "engine": "faster-whisper",
    "model": "base",
    "model_sha256": "d01c",
    "device": "cpu",
    "version": "1.2.1",
    "cold_start_ms": 900.5,
}
SCRIPTED = WHISPER | {"engine": "scripted", "model": None, "model_sha256": None}


def turn(utterance="canoe", *, us=None, slower_ms=0, missing=(), expected=EVENTS, said=None, **changes):
    """A turn's record. `us` replaces events, `slower_ms` delays all after T0, `missing` events did not come."""
    events = {event: at if event == "t0" else at + slower_ms * 1000 for event, at in (US | (us or {})).items()}
    seen = frozenset(expected)
    events = {event: None if event in missing or event not in seen else at for event, at in events.items()}
    text = "The birch canoe slid on the smooth planks." if said is None else said
    made = Turn(
        **{
            "call_id": "151",
            "index": 0,
            "trial": 0,
            "warmup": False,
            "status": "timeout" if missing else "ok",
            "flags": (),
            "pace": "asap",
            "judge": "stt",
            "utterance": Said(utterance, text, "default", True, 2.5),
            "transcript": Words(text, 1, 8, 3, 41),
            "reply": Reply("A canoe slides well on planks.", 2.1),
            "heard": Words("a canoe slides well on planks", 0, 6, 0, 29),
            "events_ms": {event: None if at is None else at / 1000 for event, at in events.items()},
            "complete": ledger(COMPLETE, events, seen),
            "first_audio": ledger(FIRST_AUDIO, events, seen),
            "missing": tuple(missing),
            "leading_silence_ms": 42.0,
            "tts_rtf": 0.42,
            "playout": {"lost": 0},
            "counters": {"rtp_packets": 105},
            "audio": {"caller": "audio/151-0 caller.wav", "reply": "audio/151-0 reply.wav"},
        }
        | changes
    )
    return made.as_json()


def budget(**changes):
    return {
        "metric": "total",
        "limit": 1500.0,
        "limit_ms": 1500.0,
        "unit": "ms",
        "source": 'latency(total="1.5s") on test_it',
        "observed": 1690.0,
        "observed_ms": 1690.0,
        "low_ms": None,
        "high_ms": None,
        "n": 1,
        "verdict": "over",
        "note": "one turn, judged by its value",
    } | changes


def one_test(*turns, nodeid="tests/test_it.py::test_it", outcome="passed", budgets=(), **more):
    return {
        "nodeid": nodeid,
        "outcome": outcome,
        "budgets": list(budgets),
        "turns": list(turns),
        "base_turns": [],
        **more,
    }


def document(*tests, services=(WHISPER,), calibration=None):
    return build(tests, services, **RUN, calibration=calibration or {})


def hostile_turn():
    return turn(
        HOSTILE,
        said=HOSTILE * 100,
        flags=("split",),
        call_id=HOSTILE,
        transcript=Words(HOSTILE * 300, 99, 8, 3, 41),
        reply=Reply("x" * 10_000, 9.9),
        heard=Words("", 6, 6, 29, 29),
        audio={"caller": 'javascript:alert(1)"><script>', "reply": ""},
    )
