"""A document in one of its forms."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SUFFIXES: Mapping[str, str] = {"html": "html", "json": "json", "summary": "md", "text": "txt"}
"""Format → how the name of a file that holds it ends."""
FORMATS = tuple(SUFFIXES)


def render(
    document: Mapping[str, Any],
    format: str,  # noqa: A002 - a public name
    *,
    audio_folder: str = "",
    audio_in: Path | None = None,
) -> str:
    """`document` as text in `format`, one of FORMATS. Raises ValueError for another one.

    ``summary`` is Markdown as for a CI job's summary page, ``text`` what the terminal shows, 80 columns wide.
    `audio_folder` is where the document's audio paths start, seen from the page; empty if the page lies beside
    run.json. `audio_in` is where they start seen from here: a page carries the voices that matter most.
    """
    # Each form brings its own libraries; who asks for one shall not wait for the others.
    if format == "json":
        return json.dumps(document, indent=1, allow_nan=False) + "\n"
    if format == "html":
        from pytest_voiceloop.report.html import page
        from pytest_voiceloop.report.waveform import files_in

        return page(document, audio_folder, files_in(audio_in) if audio_in else None)
    if format == "summary":
        from pytest_voiceloop.report.step_summary import step_summary

        return step_summary(document)
    if format == "text":
        from pytest_voiceloop.report.terminal import summary_lines

        return "\n".join(summary_lines(document)) + "\n"
    raise ValueError(f"there is no report format {format!r}; use one of {', '.join(FORMATS)}")
