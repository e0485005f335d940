"""A document in one of its forms."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMATS = ("html", "json")


def render(document: Mapping[str, Any], format: str, *, audio_folder: str = "") -> str:  # noqa: A002 - a public name
    """`document` as text in `format`, one of FORMATS. Raises ValueError for another one.

    `audio_folder` is where the document's audio paths start, seen from the page; empty if the page lies beside
    run.json.
    """
    if format == "json":
        return json.dumps(document, indent=1, allow_nan=False) + "\n"
    if format == "html":
        from pytest_voiceloop.report.html import page

        return page(document, audio_folder)
    raise ValueError(f"there is no report format {format!r}; use one of {', '.join(FORMATS)}")
