"""Runs that were kept: where they lie, how they are read, and what a new run is compared with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


class BaselineError(ValueError):
    """A kept run that cannot be used; the message names the file and the remedy."""


def path_of(folder: Path, name: str) -> Path:
    """Where the baseline of that name lies in a results folder; a path ending in .json is meant as it is."""
    return folder / name if name.endswith(".json") else folder / "baselines" / f"{name}.json"


def load(path: Path) -> dict[str, Any]:
    """The document of a kept run. Raises BaselineError."""
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        kept = sorted(other.stem for other in path.parent.glob("*.json")) if path.parent.is_dir() else []
        there = f"kept are {', '.join(kept)}" if kept else "none is kept there yet"
        raise BaselineError(f"{path} is not there; {there}. Keep one with --voiceloop-save=NAME") from None
    except (OSError, ValueError) as error:
        raise BaselineError(f"{path} cannot be read: {error}. Write it anew with --voiceloop-save=NAME") from None
    if not isinstance(document, dict) or document.get("schema_version") != 1 or "tests" not in document:
        raise BaselineError(f"{path} is no run of pytest-voiceloop (schema_version 1)")
    return document
