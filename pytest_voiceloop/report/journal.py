"""The journal: one line of JSON for whatever is known, written at once, from which a report can be made after a crash.

Each line is ``{"kind": …, "record": {…}}``:

* ``run``: ``tool_version``, ``started_at``, ``environment``, ``settings``;
* ``service``: an entry of the document's ``services``;
* ``calibration``: ``before_ms`` or ``after_ms``, what a fixed piece of work took before the first boot or at the end;
* ``turn``: a turn as in the document, beside it ``nodeid`` of its test, and ``base``: whether the base's said it;
* ``test``: an entry of the document's ``tests``; its turns may be left out, the journal has them already.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Literal

from pytest_voiceloop.report.document import build, strict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

Kind = Literal["run", "service", "calibration", "turn", "test"]
UNFINISHED = "unfinished"
"""The outcome of a test that has turns in the journal and no end."""


def append(path: Path, kind: Kind, record: Mapping[str, Any]) -> None:
    """Add one line. Safe for several processes at once: it is one write to a file opened for appending.

    Makes parent folders. Raises OSError that names the file, also where only a part could be written.
    """
    text = json.dumps({"kind": kind, "record": strict(record)}, allow_nan=False, separators=(",", ":")) + "\n"
    line = text.encode("ascii")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            # The disk was full in the middle of a line. What comes now shall not be lost with it.
            line = b"\n" + line
        # A part is written where the disk fills up; then the rest is refused, with the reason.
        while line:
            line = line[os.write(descriptor, line) :]
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(descriptor)


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal, without those that cannot be read: a crash may have torn the last one.

    Raises OSError if there is no such file.
    """
    found = []
    for line in path.read_bytes().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("record"), dict):
            found.append(entry)
    return found


def from_journal(lines: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The document as far as a journal knows it. Where it holds several runs, of the last one."""
    run: Mapping[str, Any] = {}
    services: list[Mapping[str, Any]] = []
    calibration: dict[str, float | None] = {}
    turns: dict[str, dict[str, list[dict[str, Any]]]] = {}
    ended: dict[str, Mapping[str, Any]] = {}
    for line in lines:
        record = line["record"]
        match line.get("kind"):
            case "run":
                run, services, calibration, turns, ended = record, [], {}, {}, {}
            case "service":
                services.append(record)
            case "calibration":
                calibration |= record
            case "turn":
                of_test = turns.setdefault(str(record.get("nodeid")), {"turns": [], "base_turns": []})
                of_test["base_turns" if record.get("base") else "turns"].append(
                    {key: value for key, value in record.items() if key not in ("nodeid", "base")}
                )
            case "test":
                ended[str(record.get("nodeid"))] = {key: value for key, value in record.items() if key != "services"}
    tests = [
        {"nodeid": nodeid, "outcome": UNFINISHED, "budgets": [], "turns": []}
        | turns.get(nodeid, {})
        | {key: value for key, value in ended.get(nodeid, {}).items() if value or key not in ("turns", "base_turns")}
        for nodeid in dict.fromkeys((*turns, *ended))
    ]
    return build(
        tests,
        services,
        tool_version=str(run.get("tool_version", "")),
        started_at=str(run.get("started_at", "")),
        environment=run.get("environment") or {},
        settings=run.get("settings") or {},
        calibration=calibration,
    )
