"""Kokoro's config.json: which symbol is which number."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from voiceloop_services import models

if TYPE_CHECKING:
    from pathlib import Path


def config_file(located: models.Located) -> Path:
    """The model's config.json; beside a user's own weights, or else that of the cached model."""
    beside = located.folder / "config.json"
    return beside if beside.is_file() else models.locate("kokoro-82m-int8").folder / "config.json"


def vocabulary(located: models.Located) -> dict[str, int]:
    """Symbol → number."""
    found: dict[str, int] = json.loads(config_file(located).read_text(encoding="utf-8"))["vocab"]
    return found
