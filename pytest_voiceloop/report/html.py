"""The report as one page: offline, readable without its script, with the voices in it."""

from __future__ import annotations

import base64
import hashlib
import re
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_voiceloop.report import comparison, figures, findings, reading, reliability, turn_view, waveform
from pytest_voiceloop.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MOST_OPEN = 12
"""So many turns are unfolded; of more than that, those that went wrong and the slowest."""
MOST_TESTS = 25
"""So many tests, and missed budgets, are in the tables at the top; the others are folded below."""
EMBEDDED_BYTES = 4 * 2**20
"""Audio that is carried in the page takes at most so much of it; what does not fit lies in files beside it."""


def page(document: Mapping[str, Any], audio_folder: str = "", read_audio: waveform.ReadAudio | None = None) -> str:
    """The page. `audio_folder` is where the document's audio paths start, seen from the page.

    `read_audio` gets such a path and returns the clip, or None where there is none; without it, files are read from
    `audio_folder`, seen from the working directory. Of turns that are unfolded the waveforms are drawn and, as far as
    EMBEDDED_BYTES allow, the audio is put into the page; for the others it links to the files.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pytest_voiceloop.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        ms=reading.milliseconds, ratio=reading.ratio, shown=_shown, multiline=_multiline, figure=_figure
    )
    assert environment.loader is not None
    style, script = (environment.loader.get_source(environment, name)[0] for name in ("report.css", "report.js"))
    every = list(reading.entries(document))
    found = findings.findings(document, every)
    opened = reading.notable(every, MOST_OPEN) | {finding.turn for finding in found if finding.turn}
    first = [finding.turn for finding in found]
    sounds = _sounds(every, opened, first, read_audio or waveform.files_in(Path(audio_folder)))
    # Where a test failed, turns of those that passed are folded, unless there is something to look at.
    failed = any(map(reading.has_failed, document["tests"]))
    shown = {entry.number for entry in every if not failed or entry.number in first or reading.has_failed(entry.test)}
    shown &= opened
    tests = [
        _test(number, test, those, shown, sounds, audio_folder)
        for number, (test, those) in enumerate(_by_test(document, every), 1)
    ]
    anchors = {test["nodeid"]: test["anchor"] for test in tests}
    counted = sum(not entry.turn["warmup"] for entry in every)
    at_a_glance = [figures.glance(test["record"], test["anchor"]) for test in tests]
    return environment.get_template("report.html.j2").render(
        document=document,
        style=Markup(style),  # noqa: S704 - a file of this package
        script=Markup(script),  # noqa: S704 - a file of this package
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        verdict=reading.verdict(document),
        scripted=reading.is_scripted(document),
        findings=[_with_pause(finding, sounds.get(finding.turn, {})) for finding in found],
        missed=[(missed, anchors.get(missed.nodeid, "")) for missed in reading.missed_budgets(document)],
        tests=tests,
        glances=sorted(at_a_glance, key=lambda one: (not one.failed, not one.over, -one.slowness)),
        most_tests=MOST_TESTS,
        comparisons=[_comparison(entry) for entry in document.get("comparisons") or ()],
        rows=document["summary"],
        turns=len(every),
        drawn=len(opened),
        counted=counted,
        playable={number for number, sides in sounds.items() if sides.get("reply")},
        mistakes=_mistakes,
        facts=_facts,
        amount=_amount,
        fault_text=findings.fault_text,
        reading=reading,
        machine=reliability.sentences(document),
        title=f"voiceloop: {reading.verdict(document).sentence}",
    )


def _by_test(
    document: Mapping[str, Any], every: Sequence[reading.Entry]
) -> Iterable[tuple[Mapping[str, Any], list[reading.Entry]]]:
    """Every test with its turns: those that failed first, then those with a budget that was missed."""
    turns = {key: list(those) for key, those in groupby(every, key=lambda entry: id(entry.test))}

    def place(test: Mapping[str, Any]) -> tuple[bool, bool]:
        kept = all(budget["verdict"] == "within" for budget in test.get("budgets") or ())
        return not reading.has_failed(test), kept

    return [(test, turns.get(id(test), [])) for test in sorted(document["tests"], key=place)]


def _sounds(
    every: Sequence[reading.Entry], opened: set[int], first: Sequence[int], read: waveform.ReadAudio
) -> dict[int, dict[str, turn_view.Sound | None]]:
    """The clips of the unfolded turns, by number and side. What is to be looked at first is embedded first."""
    found: dict[int, dict[str, turn_view.Sound | None]] = {}
    left = EMBEDDED_BYTES
    for entry in sorted(every, key=lambda entry: entry.number not in first):
        if entry.number not in opened:
            continue
        sides = found[entry.number] = {}
        for side, path in turn_view.sides(entry.turn):
            audio = read(path)
            if audio is None:
                sides[side] = None
                continue
            embedded = waveform.data_uri(audio) if left else ""
            embedded = embedded if len(embedded) <= left else ""
            left -= len(embedded)
            sides[side] = turn_view.hear(entry.turn, side, audio, embedded)
    return found


def _with_pause(finding: findings.Finding, sides: Mapping[str, turn_view.Sound | None]) -> findings.Finding:
    """Who cut in did so in a pause, and only the audio tells how long that was."""
    caller = sides.get("caller")
    if finding.kind not in findings.CUT_IN or caller is None:
        return finding
    pauses = [mark.end_ms - mark.start_ms for mark in caller.marks if mark.kind == "ended"]
    lasted = "".join(f"; in turn {finding.turn} the caller had paused for {reading.milliseconds(p)}" for p in pauses)
    return finding._replace(sentence=finding.sentence + lasted)


def _test(
    number: int,
    test: Mapping[str, Any],
    those: Sequence[reading.Entry],
    opened: set[int],
    sounds: Mapping[int, Mapping[str, turn_view.Sound | None]],
    folder: str,
) -> dict[str, Any]:
    return {
        "anchor": f"test-{number}",
        "record": test,
        "nodeid": test["nodeid"],
        "outcome": test["outcome"],
        "failed": reading.has_failed(test),
        "message": test.get("message") or "",
        "sections": test.get("sections") or (),
        # One turn without a budget: the turn itself tells all of it.
        "figures": figures.figures(test) if test.get("budgets") or len(those) > 1 else [],
        "turns": [
            turn_view.view(entry, folder, sounds.get(entry.number, {}), opened=entry.number in opened)
            for entry in those
        ],
    }


def _comparison(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of ``comparisons`` with its rows by corpus and pace, regressed ones first."""
    places = dict.fromkeys((row["corpus"], row["pace"]) for row in entry["rows"])
    of = {place: [row for row in entry["rows"] if (row["corpus"], row["pace"]) == place] for place in places}
    rows = {place: sorted(those, key=lambda row: comparison.ORDER.index(row["verdict"])) for place, those in of.items()}
    return {"entry": entry, "rows": rows}


def _amount(value: float | None, unit: str, *, sign: bool = False) -> str:
    """A figure of a comparison with its unit."""
    shown = comparison.number(value, unit, sign=sign)
    return shown if value is None or unit == "ratio" else f"{shown} {unit}"


def _facts(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values for a list, nested ones as ``outer.inner``; what is not known is left out."""
    found = []
    for name, value in facts.items():
        if hasattr(value, "items"):
            found += [(f"{name}.{inner}", text) for inner, text in _facts(value)]
        elif value is not None and value != "":
            found.append((str(name), ", ".join(map(str, value)) if isinstance(value, list) else str(value)))
    return found


def _figure(value: object) -> str:
    """A figure of a table: four digits, or whole ones with the thousands apart."""
    if not isinstance(value, (int, float)):
        return "-" if value is None else visible(value)
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}".replace(",", "\u00a0")


def _mistakes(text: object) -> int:
    """How many lines of a log tell of an error."""
    return len(re.findall(r"(?m)^.*(?:\bERROR\b|\bCRITICAL\b|^Traceback ).*$", str(text)))


def _shown(text: object) -> str:
    return visible(text)


def _multiline(text: object) -> str:
    return "\n".join(map(visible, str(text).splitlines()))
