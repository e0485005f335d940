"""A test's figures as flat names and values, for the properties of its case in JUnit's XML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NAMES = (
    "voiceloop_turns",
    "voiceloop_turns_ok",
    "voiceloop_turns_contended",
    "voiceloop_total_ms_p50",
    "voiceloop_voice_to_voice_ms_p50",
    "voiceloop_transcript_wer",
    "voiceloop_loop_wer",
    "voiceloop_cut_off_rate",
    "voiceloop_verdict",
)
"""Every property that a test can have, in order."""
_WORST_FIRST = ("over", "inconclusive", "within")


def properties(test: Mapping[str, Any]) -> list[tuple[str, int | float | str]]:
    """The figures of an entry of the document's ``tests``; none for a test that measured no turn.

    Warm-up is left out, and so is a figure that has no value: a test without a budget has no verdict, one whose median
    turn never ended no median. Turns of several workers at once are slower, and counted as contended.
    """
    from pytest_voiceloop.report.document import summary

    counted = [turn for turn in test.get("turns") or () if not turn["warmup"]]
    if not counted:
        return []
    # A case has one of each name, so the test's corpora are taken together; two paces are not, and no test has them.
    rows = summary([_alone(turn) for turn in counted])
    row = rows[0] if len(rows) == 1 else None
    verdicts = {budget["verdict"] for budget in test.get("budgets") or ()}
    found: dict[str, int | float | str | None] = {
        "voiceloop_turns": len(counted),
        "voiceloop_turns_ok": sum(turn["status"] == "ok" for turn in counted),
        "voiceloop_turns_contended": sum("contended" in turn["flags"] for turn in counted) or None,
        "voiceloop_verdict": next((verdict for verdict in _WORST_FIRST if verdict in verdicts), None),
    }
    if row:
        found |= {
            "voiceloop_total_ms_p50": row["ledgers"]["complete"]["total_ms"]["p50"],
            "voiceloop_voice_to_voice_ms_p50": row["ledgers"]["first_audio"]["total_ms"]["p50"],
            **{f"voiceloop_{name}": row[name] for name in ("transcript_wer", "loop_wer", "cut_off_rate")},
        }
    return [(name, value) for name in NAMES if (value := found.get(name)) is not None]


def with_properties(others: Iterable[tuple[str, object]], test: Mapping[str, Any]) -> list[tuple[str, object]]:
    """A test's properties: those of `others`, then these; what an earlier try of the test left goes."""
    return [*((name, value) for name, value in others if name not in NAMES), *properties(test)]


def _alone(turn: Mapping[str, Any]) -> dict[str, Any]:
    """A turn as if no other worker had measured, and of no corpus in particular."""
    flags = [flag for flag in turn["flags"] if flag != "contended"]
    return {**turn, "flags": flags, "utterance": {**turn["utterance"], "corpus": ""}}
