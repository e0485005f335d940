"""A run in a few lines of Markdown, for the summary page of a CI job. A function of the document alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_voiceloop.measure.comparing import HEADLINES
from pytest_voiceloop.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def step_summary(document: Mapping[str, Any]) -> str:
    """The comparisons, then what was measured, then the tests that failed, as GitHub's Markdown."""
    parts = [*map(_comparison, document.get("comparisons") or ()), _measured(document["summary"])]
    failed = [test for test in document["tests"] if test["outcome"] not in ("passed", "skipped")]
    if failed:
        parts.append(
            "**Failed**\n\n" + "\n".join(f"* `{_plain(test['nodeid'])}`: {_first_line(test)}" for test in failed)
        )
    return "\n\n".join(["## voiceloop", *filter(None, parts)]) + "\n"


def _comparison(found: Mapping[str, Any]) -> str:
    doors = f", at the door of {', '.join(found['doors'])}" if found.get("doors") else ""
    lines = [f"**{found['verdict']}** against {_plain(found['with'])}{doors}"]
    lines += [f"* {_plain(why)}" for why in (*found.get("refused", ()), *found.get("notes", ()))]
    rows = [row for row in found.get("rows", ()) if row["metric"] in HEADLINES or row["verdict"] == "regressed"]
    table = _table(
        ("", "before", "after", "change", "verdict"),
        (
            (
                f"{row['metric']} ({row['corpus']}, {row['pace']})",
                _number(row["base"], row["unit"]),
                _number(row["head"], row["unit"]),
                _number(row["change"], row["unit"], sign=True),
                row["verdict"],
            )
            for row in rows
        ),
    )
    return "\n".join(lines) + ("\n\n" + table if rows else "")


def _measured(summary: Iterable[Mapping[str, Any]]) -> str:
    rows = [
        (
            f"{row['corpus']}, {row['pace']}",
            str(row["turns"]),
            _number(row["ledgers"]["complete"]["total_ms"]["p50"], "ms"),
            _number(row["ledgers"]["first_audio"]["total_ms"]["p50"], "ms"),
            _number(row["transcript_wer"], "ratio"),
            _number(row["loop_wer"], "ratio"),
        )
        for row in summary
    ]
    heads = ("medians", "turns", "total", "voice to voice", "transcript WER", "loop WER")
    return _table(heads, rows) if rows else "Nothing was measured."


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *([_plain(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _number(value: float | None, unit: str, *, sign: bool = False) -> str:
    if value is None:
        return "-"
    plus = "+" if sign else ""
    return f"{value:{plus}.0f} ms" if unit == "ms" else f"{value:{plus}.3g}"


def _first_line(test: Mapping[str, Any]) -> str:
    lines = (test.get("message") or "").strip().splitlines()
    return _plain(lines[0]) if lines else test["outcome"]


def _plain(text: str) -> str:
    """Text as text: a transcript or a test's id must not become markup."""
    escaped = visible(text).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("`", "'")
    return " ".join(escaped.split())
