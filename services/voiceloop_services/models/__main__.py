"""`python -m voiceloop_services.models list|pull|verify [NAME ...] [--json]`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from voiceloop_services.models import fetch, store
from voiceloop_services.models.catalogue import CATALOGUE, DEFAULTS
from voiceloop_services.runtime import MissingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voiceloop_services.models.catalogue import Model

_STOPGAP = {"kokoro-voices": "kokoro-voices-ja"}
"""What is fetched where the first cannot be had."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, or 1 where a model is missing, wrong or cannot be had."""
    parser = argparse.ArgumentParser(prog="voiceloop models", description="Named models: list, fetch and verify them.")
    parser.add_argument("command", choices=("list", "pull", "verify"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: {' '.join(DEFAULTS)} (list: all)")
    parser.add_argument("--json", action="store_true", help="the result as JSON on standard output")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in CATALOGUE]
    if unknown:
        parser.error(f"no model is called {', '.join(unknown)}; there are {', '.join(CATALOGUE)}")
    run = {"list": _list, "pull": _pull, "verify": _verify}[options.command]
    rows = run([CATALOGUE[name] for name in options.names])
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        for row in rows:
            print(row["line"])
    return 0 if options.command == "list" or all(row["ok"] for row in rows) else 1


def _states(model: Model, *, afresh: bool) -> dict[str, store.State]:
    return {file.name: store.state_of(model, file, afresh=afresh) for file in model.files}


def _row(model: Model, states: dict[str, store.State], note: str) -> dict[str, object]:
    ok = all(state == "ok" for state in states.values())
    return {
        "name": model.name,
        "ok": ok,
        "default": model.default,
        "size_bytes": model.size_bytes,
        "licence": model.licence,
        "summary": model.summary,
        "folder": str(store.folder_of(model)),
        "files": states,
        "cure": None if ok else f"voiceloop models pull {model.name}",
        "line": f"{model.name:18} {note}",
    }


def _verdict(states: dict[str, store.State]) -> str:
    found = set(states.values())
    if found == {"ok"}:
        return "verified"
    if found == {"missing"}:
        return "not there"
    wrong = [name for name, state in states.items() if state == "wrong"]
    if wrong:
        return f"wrong hash: {', '.join(wrong)}"
    return f"lacks {', '.join(name for name, state in states.items() if state == 'missing')}"


def _list(models: list[Model]) -> list[dict[str, object]]:
    rows = []
    for model in models or CATALOGUE.values():
        states = _states(model, afresh=False)
        default = "default" if model.default else ""
        note = f"{model.size_bytes / 1e6:6.1f} MB  {default:8} {_verdict(states):11} {model.summary}; {model.licence}"
        rows.append(_row(model, states, note))
    return rows


def _verify(models: list[Model]) -> list[dict[str, object]]:
    rows = []
    for model in models or [CATALOGUE[name] for name in DEFAULTS]:
        states = _states(model, afresh=True)
        row = _row(model, states, "")
        cure = f" (cure: {row['cure']})" if row["cure"] else ""
        rows.append({**row, "line": f"{model.name:18} {_verdict(states)}: {store.folder_of(model)}{cure}"})
    return rows


def _pull(models: list[Model]) -> list[dict[str, object]]:
    queue = models or [CATALOGUE[name] for name in DEFAULTS]
    rows = []
    for model in queue:
        row = _pull_one(model)
        if not row["ok"] and not models and model.name in _STOPGAP:
            stopgap = CATALOGUE[_STOPGAP[model.name]]
            print(f"{model.name} cannot be had; fetching {stopgap.name} instead", file=sys.stderr, flush=True)
            row = _pull_one(stopgap)
        rows.append(row)
    return rows


def _pull_one(model: Model) -> dict[str, object]:
    source, error = None, None
    try:
        source = fetch.pull(model)
    except fetch.FetchError as failure:
        error = str(failure)
    except MissingError as failure:
        error = f"{failure.missing}; cure: {failure.cure}"
    if error:
        print(error, file=sys.stderr, flush=True)
    note = f"failed: {error.splitlines()[0]}" if error else f"{store.folder_of(model)} (from {source})"
    return {**_row(model, _states(model, afresh=False), note), "source": source, "error": error}


if __name__ == "__main__":
    sys.exit(main())
