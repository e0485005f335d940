"""A run that was kept as a file, a run.json or a journal.jsonl, read again so that any report can be made of it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from pytest_voiceloop.report import comparison, journal
from pytest_voiceloop.report.document import SCHEMA_VERSION
from pytest_voiceloop.report.render import render

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytest_voiceloop.measure.comparing import Rule

_NEEDED = ("environment", "settings", "services", "tests", "summary")


class SavedError(ValueError):
    """A file of which no report can be made; the message names it and the remedy."""


def report(path: Path, format: str, page: Path | None) -> str:  # noqa: A002 - as render() calls it
    """A kept run in one of render.FORMATS, as it is to stand in the file `page` (None: wherever). Raises SavedError."""
    document = load(path)
    try:
        place = audio_place(document, path)
        audio_folder = os.path.relpath(place, page.absolute().parent if page else None)
        return render(document, format, audio_folder=audio_folder, audio_in=place)
    except Exception as error:
        # Its keys were looked at, what is below them was not: somebody may have written this file by hand.
        raise SavedError(
            f"{path} cannot be shown as {format}: {type(error).__name__}: {error}. It may not be as "
            "docs/run.schema.json has it; make the report from the run's journal.jsonl, or with the pytest-voiceloop "
            "that wrote it"
        ) from error


def compared(base: Path, head: Path, rule: Rule | None = None) -> dict[str, Any]:
    """The entry of ``comparisons`` for two kept runs. Raises SavedError, which names the file that is at fault."""
    there, here = comparable(base), comparable(head)
    return _compared(f"{base} and {head}", there, here, str(base), rule)


def comparable(path: Path) -> dict[str, Any]:
    """The document of a kept run that can be compared, with itself at least. Raises SavedError."""
    document = load(path)
    _compared(str(path), document, document, "itself")
    return document


def _compared(
    what: str, base: Mapping[str, Any], head: Mapping[str, Any], name: str, rule: Rule | None = None
) -> dict[str, Any]:
    try:
        return comparison.with_baseline(base, head, name, rule)
    except Exception as error:
        # As in report(): what is below the keys was not looked at.
        raise SavedError(
            f"{what} cannot be compared: {type(error).__name__}: {error}. That is no run.json as pytest-voiceloop "
            "writes it (docs/run.schema.json); name the run's journal.jsonl, or measure again"
        ) from error


def load(path: Path) -> dict[str, Any]:
    """The document of a run.json, or the one that a journal makes. Raises SavedError.

    Which of the two it is, its content says.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise SavedError(f"{path} is not there; {_instead_of(path)}") from None
    except IsADirectoryError:
        raise SavedError(f"{path} is a folder; name the run.json in it, or a journal.jsonl") from None
    except OSError as error:
        raise SavedError(f"{path} cannot be read: {error.strerror or error}; see who may read it") from None
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if isinstance(found, dict) and "schema_version" in found:
        return _checked(found, path)
    return _of_journal(path)


def _instead_of(path: Path) -> str:
    """What to name where there is no such file. A run that was killed leaves its journal and no run.json."""
    journals = sorted(path.parent.glob("run-*/journal.jsonl"))
    if path.name == "run.json" and journals:
        return f"the last run has not come to its end; name its journal, {journals[-1]}"
    return "name a run.json, or the journal.jsonl of a run-… folder"


def _checked(document: dict[str, Any], path: Path) -> dict[str, Any]:
    version = document["schema_version"]
    if version != SCHEMA_VERSION:
        raise SavedError(
            f"{path} has schema_version {version!r}, and this voiceloop reads {SCHEMA_VERSION}; "
            "use the version of pytest-voiceloop that wrote it"
        )
    missing = [key for key in _NEEDED if key not in document]
    if missing:
        raise SavedError(
            f"{path} lacks {', '.join(missing)}, so it is no whole run.json (docs/run.schema.json); "
            "make the report from the run's journal.jsonl"
        )
    return document


def _of_journal(path: Path) -> dict[str, Any]:
    lines = journal.read(path)
    if not lines:
        raise SavedError(
            f"{path} holds neither the JSON of a run nor a line of a journal; "
            "name a run.json, or the journal.jsonl of a run-… folder"
        )
    try:
        return journal.from_journal(lines)
    except (KeyError, TypeError, AttributeError) as error:
        raise SavedError(
            f"{path} cannot be made into a run: a record in it is not whole ({type(error).__name__}: {error}); "
            "use the version of pytest-voiceloop that wrote it"
        ) from None


def audio_place(document: Mapping[str, Any], path: Path) -> Path:
    """The folder in which the audio paths of a document that was read from `path` start: the results folder.

    run.json lies in that, a journal or a baseline in a folder of it. Where neither place has the sound any more, a
    journal or a run.json is taken to lie where it was written.
    """
    folder = path.absolute().parent
    places = [folder.parent, folder] if path.suffix == ".jsonl" else [folder, folder.parent]
    sounds = [
        sound
        for test in document["tests"]
        for turn in test.get("turns") or ()
        for sound in (turn.get("audio") or {}).values()
    ]
    return next((place for place in places if any((place / sound).is_file() for sound in sounds)), places[0])
