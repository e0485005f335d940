"""The JSON document of a run, ``schema_version`` 1. Every other report is a function of it alone."""

from __future__ import annotations

import math
import os
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_voiceloop.measure.timeline import COMPLETE, FIRST_AUDIO
from pytest_voiceloop.report.reliability import known_median, reliability

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SCHEMA_VERSION = 1
LEDGERS: Mapping[str, Sequence[tuple[str, str]]] = {"complete": COMPLETE, "first_audio": FIRST_AUDIO}
"""Name of a ledger → its stages, each with the event that ends it."""

_PACKAGES = (
    "pytest-voiceloop",
    "pytest",
    "pytest-timeout",
    "numpy",
    "soundfile",
    "soxr",
    "jiwer",
    "whisper-normalizer",
    "faster-whisper",
    "ctranslate2",
    "llama-cpp-python",
    "kokoro-onnx",
    "onnxruntime",
    "kokoro",
    "torch",
)


def build(
    tests: Sequence[Mapping[str, Any]],
    services: Sequence[Mapping[str, Any]],
    *,
    tool_version: str,
    started_at: str,
    environment: Mapping[str, Any],
    settings: Mapping[str, Any],
    calibration: Mapping[str, float | None],
) -> dict[str, Any]:
    """The document of a run. It is strict JSON: what is not finite has become null.

    `tests` are ``{"nodeid", "outcome", "budgets": […], "turns": [Turn.as_json(), …]}``; further keys are kept, of which
    the page shows ``message`` (why it failed) and ``sections`` (``[{"title", "text"}]``, such as log tails).
    `services` are their ready lines' facts with ``cold_start_ms``; `started_at` is a time in ISO 8601. `calibration` is
    ``{"before_ms", "after_ms"}``, each there if it was taken.
    """
    both = [turn for test in tests for key in ("turns", "base_turns") for turn in test.get(key) or ()]
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "pytest-voiceloop", "version": tool_version},
        "started_at": started_at,
        "environment": strict(environment),
        "settings": strict(settings),
        "services": strict(services),
        "tests": strict(tests),
        "summary": strict(summary([turn for test in tests for turn in test.get("turns") or ()])),
        "reliability": strict(reliability(both, calibration)),
    }


def turns_of(document: Mapping[str, Any], key: str = "turns") -> list[dict[str, Any]]:
    """All turns of a document; with the key ``base_turns`` those of the base of an interleaved run."""
    return [turn for test in document["tests"] for turn in test.get(key) or ()]


def strict(value: Any) -> Any:
    """`value` as strict JSON has it: plain dicts and lists, no NaN and no infinity (they are null), paths as text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if hasattr(value, "items"):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [strict(item) for item in (sorted(value, key=str) if isinstance(value, (set, frozenset)) else value)]
    return str(value)


def summary(turns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per corpus and pace, in the order of their first turns. Warm-up is left out.

    Rates, words and stages are those of clean turns (status ok, not contended). A turn that never ended stays in
    the totals: infinite, so a percentile on it is null, and counted as ``timed_out``.
    """
    rows: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for turn in turns:
        if not turn["warmup"]:
            rows.setdefault((turn["utterance"]["corpus"], turn["pace"]), []).append(turn)
    return [_row(corpus, pace, those) for (corpus, pace), those in rows.items()]


def _row(corpus: str, pace: str, turns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    clean = [turn for turn in turns if turn["status"] == "ok" and "contended" not in turn["flags"]]
    # A void turn says nothing about the stack, and a contended one nothing about the machine.
    judged = [turn for turn in turns if turn["status"] != "void" and "contended" not in turn["flags"]]
    split = {"first_turns": [turn for turn in judged if turn["index"] == 0]}
    split["later_turns"] = [turn for turn in judged if turn["index"] > 0]
    return {
        "corpus": corpus,
        "synthetic": any(turn["utterance"]["synthetic"] for turn in turns),
        "pace": pace,
        "turns": len(clean),
        **{status: sum(turn["status"] == status for turn in turns) for status in ("void", "timeout", "failed")},
        "contended": sum("contended" in turn["flags"] for turn in turns),
        "cut_off_rate": _flag_rate(clean, "cut_off"),
        "split_rate": _flag_rate(clean, "split"),
        **_words(clean, "transcript", "transcript_wer"),
        **_words(clean, "heard", "loop_wer"),
        "reply_words": known_median(turn["reply"]["words"] for turn in clean),
        "reply_audio_s": known_median(turn["reply"]["audio_s"] for turn in clean),
        "tts_rtf": known_median(turn["tts_rtf"] for turn in clean),
        "leading_silence_ms": known_median(turn["leading_silence_ms"] for turn in clean),
        "ledgers": {
            name: {
                "total_ms": _spread(_totals(judged, name)),
                "stages_ms": _stages(clean, name),
            }
            for name in LEDGERS
        },
        **{
            when: {
                "turns": len(those),
                "total_ms": _spread(_totals(those, "complete")),
                "voice_to_voice_ms": _spread(_totals(those, "first_audio")),
            }
            for when, those in split.items()
        },
    }


def _flag_rate(turns: Sequence[Mapping[str, Any]], flag: str) -> float | None:
    return round(sum(flag in turn["flags"] for turn in turns) / len(turns), 4) if turns else None


def _words(turns: Sequence[Mapping[str, Any]], key: str, rate: str) -> dict[str, Any]:
    """The corpus' word error rate (all errors over all words), and beside it what it rests on."""
    from pytest_voiceloop.measure.statistics import bootstrap_ratio

    counted = [turn for turn in turns if turn[key]["words"]]
    errors = [turn[key]["errors"] for turn in counted]
    words = [turn[key]["words"] for turn in counted]
    chars = sum(turn[key]["chars"] or 0 for turn in counted)
    interval = bootstrap_ratio(errors, words, [turn["utterance"]["id"] for turn in counted])
    return {
        rate: round(sum(errors) / sum(words), 4) if words else None,
        key: {
            "errors": sum(errors),
            "words": sum(words),
            "low": round(interval.low, 4) if interval else None,
            "high": round(interval.high, 4) if interval else None,
            "cer": round(sum(turn[key]["char_errors"] or 0 for turn in counted) / chars, 4) if chars else None,
            "turns": len(counted),
            "left_out": len(turns) - len(counted),
        },
    }


def _totals(turns: Iterable[Mapping[str, Any]], ledger: str) -> list[float]:
    """Every total; infinite where an event of this ledger should have come and did not, or the reply did not end."""
    found = []
    for turn in turns:
        total = turn["ledgers"][ledger]["total_ms"]
        endless = ledger == "complete" and turn["status"] == "timeout"
        if endless or not {event for _, event in LEDGERS[ledger]}.isdisjoint(turn["missing"]):
            found.append(math.inf)
        elif total is not None:
            found.append(total)
    return found


def _stages(turns: Sequence[Mapping[str, Any]], ledger: str) -> dict[str, Any]:
    names = dict.fromkeys(stage for turn in turns for stage in turn["ledgers"][ledger]["stages_ms"])
    values = {name: [turn["ledgers"][ledger]["stages_ms"].get(name) for turn in turns] for name in names}
    return {name: _spread([value for value in of if value is not None]) for name, of in values.items()}


def _spread(values: Sequence[float]) -> dict[str, Any]:
    from pytest_voiceloop.measure.statistics import summarise

    found = summarise(values)
    return {
        "n": found.n,
        "timed_out": found.timed_out,
        **{name: _rounded(getattr(found, name)) for name in ("p50", "low", "high", "p95", "max")},
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 3)


def environment() -> dict[str, Any]:
    """Facts about this machine and what is installed, for the document. Takes a few ms; runs git once.

    What cannot be found out is None.
    """
    from pytest_voiceloop.measure.quality import NORMALISER

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_mib": _memory_mib(),
        "versions": _versions(),
        "normaliser": NORMALISER,
        "ci": os.environ.get("CI") or None,
        "git_commit": _git_commit(),
    }


def _cpu() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def _memory_mib() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    except (ValueError, OSError):
        return None


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _git_commit() -> str | None:
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)  # noqa: S607
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
