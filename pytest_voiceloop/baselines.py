"""Runs that were kept under a name: where they lie, and how they are found again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_voiceloop.report.saved import SavedError, comparable

if TYPE_CHECKING:
    from pathlib import Path


def path_of(folder: Path, name: str) -> Path:
    """Where the baseline of that name lies in a results folder; a path ending in .json is meant as it is."""
    return folder / name if name.endswith(".json") else folder / "baselines" / f"{name}.json"


def kept(folder: Path, name: str) -> dict[str, Any]:
    """The document of a baseline in a results folder, or of the path that `name` is. Raises SavedError.

    Also for one that no run can be compared with: at the end of a run that would take its reports with it.
    """
    path = path_of(folder, name)
    if not name.endswith(".json") and not path.exists():
        names = sorted(other.stem for other in path.parent.glob("*.json"))
        there = f"kept are {', '.join(names)}" if names else "none is kept there yet"
        raise SavedError(f"{path} is not there; {there}. Keep one with --voiceloop-save=NAME")
    return comparable(path)
