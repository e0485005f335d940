"""One document made by hand that has every key of the schema: what the schema and the golden files are tested with."""

from report_documents import HOSTILE, WHISPER, budget, one_test, turn

from pytest_voiceloop.measure.sound import Sound
from pytest_voiceloop.measure.turn import Words
from pytest_voiceloop.report.document import build

FACTS = {
    "tool_version": "0.1.0",
    "started_at": "2026-01-02T03:04:05Z",
    "environment": {
        "python": "3.11.9",
        "platform": "Linux-6.1-x86_64",
        "cpu": "A Processor",
        "cores": 2,
        "memory_mib": 8000,
        "versions": {"pytest": "9.0.0"},
        "normaliser": "a normaliser 1.0",
        "ci": None,
        "git_commit": None,
    },
    "settings": {
        "pace": "asap",
        "ports": "auto",
        "trials": 5,
        "warmup": 1,
        "seed": 0,
        "replay": None,
        "base": None,
        "require": False,
        "corpus": None,
        "slow_ms": {"kokoro": 50.0},
    },
}
SERVICE = WHISPER | {"pid": 4711, "base": False, "restarts": 0, "settings": {"beam": 1}}
THERE = {
    "name": "agent",
    "pid": None,
    "base": False,
    "address": {"ws": "10.0.0.5:8080"},
    "cold_start_ms": None,
    "restarts": 0,
}
CALIBRATION = {"before_ms": 25.0, "after_ms": 26.0}
MEASURED = {
    "work_ms": {"stt": 400.0, "llm_first": 80.0, "llm": 220.0, "tts": None},
    "sound": {"made": Sound(0.0, 8.0, 3500.0, 15.0, -20.0, 0.0, 4.1), "heard": Sound()},
    "playout": {
        "lost": 1,
        "duplicated": 0,
        "reordered": 0,
        "underruns": 2,
        "begins_ms": 910.0,
        "pauses_ms": [[1200.0, 1260.0]],
    },
    "counters": {
        "caller_frames": 123,
        "pacer_late_max_ms": 1.5,
        "transcript_frames": 1,
        "transcripts_cancelled": 0,
        "clauses": 1,
        "audio_chunks": 2,
        "audio_made_s": 2.1,
        "rtp_packets": 105,
        "receive_buffer_bytes": 4194304,
        "llama_tokens": 7,
    },
    "machine": {
        "pacer_late_ms": {"p50": 0.1, "p99": 0.5, "max": 1.5},
        "steal_percent": 0.0,
        "foreign_cpu_percent": None,
        "services": {"whisper": {"cpu_s": 0.5, "waited_ms": None, "rss_mib": 300.0}},
    },
}
COMPARISON = {
    "with": "main",
    "rule": {"floor_ms": 25.0, "percent": 10.0},
    "refused": [],
    "differences": ["whisper's beam: 5 there, 1 here"],
    "verdict": "regressed",
    "doors": ["stt"],
    "notes": [],
    "rows": [
        {
            "corpus": "default",
            "pace": "asap",
            "metric": "total",
            "unit": "ms",
            "base": 1400.0,
            "head": 1690.0,
            "change": 290.0,
            "low": 250.0,
            "high": 330.0,
            "n": 14,
            "verdict": "regressed",
            "door": "stt",
            "note": "",
        }
    ],
}


def whole_turn(*arguments, **changes):
    return turn(*arguments, **MEASURED | changes)


def whole():
    """A test that failed, one that lost words, hostile ones, and one without an end; what was measured of each."""
    fault = {"kind": "delay", "link": "llm_tts", "into": "kokoro", "ms": 50.0, "at_ms": -1200.5}
    fault["line"] = 'fault("delay", "llm_tts", duration="50ms")'
    others = (
        {"kind": "restart", "service": "kokoro", "at_ms": 12.25, "line": 'fault("restart", "kokoro")'},
        {"kind": "noise", "snr_db": 10.0, "at_ms": -1200.5, "line": 'fault("noise", snr_db=10, seed=0)'},
        {"kind": "rtp_loss", "percent": 5.0, "at_ms": -1200.5, "line": 'fault("rtp_loss", percent=5, seed=0)'},
    )
    turns = [
        whole_turn(warmup=True),
        whole_turn("sheet", faults=(fault, *others)),
        whole_turn("well", index=1, slower_ms=300, flags=("split",), repeat=1),
        whole_turn("box", status="void", void_because=("other programs took 40 % of the processors' time",)),
    ]
    lost = whole_turn("hogs", missing=("t4_first", "t4_last", "t5"), heard=Words(""), leading_silence_ms=None)
    hostile = whole_turn(HOSTILE, said=HOSTILE, transcript=Words(HOSTILE, 9, 8, 50, 41), pace="realtime")
    share = {"metric": "loop_wer", "unit": "ratio", "limit": 0.1, "observed": 0.12, "low": 0.05, "high": 0.2, "n": 3}
    share |= {"percentile": None, "source": "quality", "verdict": "inconclusive", "note": ""}
    time = {key: value for key, value in budget(percentile=None).items() if key not in ("limit", "observed")}
    tests = [
        one_test(*turns, outcome="failed", budgets=[time, share], message="total is over its limit\nand more")
        | {"sections": [{"title": "voiceloop log: whisper", "text": f"line\n{HOSTILE}"}]},
        one_test(lost, hostile, nodeid=f"tests/test_it.py::test_{HOSTILE}", outcome="unfinished")
        | {"base_turns": [whole_turn(replayed={"transcript": "said", "reply": "answered"})]},
        one_test(nodeid="tests/test_it.py::test_skipped", outcome="skipped", message="no model"),
    ]
    made = build(tests, [SERVICE, THERE], **FACTS, calibration=CALIBRATION)
    return made | {"comparisons": [COMPARISON]}
