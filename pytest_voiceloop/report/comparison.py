"""Two runs against each other: whether they can be compared, what came of it, and how that is shown on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_voiceloop.measure.comparing import HEADLINES
from pytest_voiceloop.report.document import strict, turns_of
from pytest_voiceloop.report.fingerprint import differences, fingerprint, obstacles
from pytest_voiceloop.report.reliability import drift
from pytest_voiceloop.text import clipped, visible, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_voiceloop.measure.comparing import Rule


_ALWAYS = ("work_ms", *HEADLINES)
"""Rows that are shown also where nothing has changed."""


ORDER = ("regressed", "inconclusive", "better", "same")
"""Of verdicts, as rows are shown."""


def with_baseline(
    base: Mapping[str, Any], head: Mapping[str, Any], name: str, rule: Rule | None = None
) -> dict[str, Any]:
    """An entry of the document's ``comparisons``: the run `head` against the kept run `base`, which is called `name`.

    Its verdict is ``refused`` where the runs cannot be compared; ``refused`` then says why. Without a `rule` that for
    runs of different times is taken.
    """
    from pytest_voiceloop.measure.comparing import BASELINE

    prints = fingerprint(base), fingerprint(head)
    found = _entry(name, prints, turns_of(base, "turns"), turns_of(head, "turns"), rule or BASELINE)
    # Versions that were measured turn about had the same machine.
    drifted = [] if found["refused"] else drift(base, head)
    return found | {"notes": [*found["notes"], *drifted]}


def with_base(document: Mapping[str, Any], name: str, rule: Rule | None = None) -> dict[str, Any]:
    """An entry of ``comparisons``: a run against the base that was measured turn about with it, called `name`."""
    from pytest_voiceloop.measure.comparing import INTERLEAVED

    prints = fingerprint(document, base=True), fingerprint(document)
    turns = turns_of(document, "base_turns"), turns_of(document, "turns")
    return _entry(name, prints, *turns, rule or INTERLEAVED)


def _entry(
    name: str,
    prints: tuple[Mapping[str, Any], Mapping[str, Any]],
    base: Sequence[Mapping[str, Any]],
    head: Sequence[Mapping[str, Any]],
    rule: Rule,
) -> dict[str, Any]:
    from pytest_voiceloop.measure.comparing import compare

    entry: dict[str, Any] = {
        "with": name,
        "rule": {"floor_ms": rule.floor_ms, "percent": rule.percent},
        "refused": obstacles(*prints),
        "differences": differences(*prints),
    }
    if entry["refused"]:
        return entry | {"verdict": "refused", "doors": [], "notes": [], "rows": []}
    found: dict[str, Any] = strict(entry | compare(base, head, rule).as_json())
    return found


def lines(entry: Mapping[str, Any], width: int = 80) -> list[str]:
    """An entry of ``comparisons`` in lines of at most `width` columns: verdict, regressed rows, then the others."""
    return [clipped(line, width) for line in _lines(entry, width)]


def _lines(entry: Mapping[str, Any], width: int) -> Iterator[str]:
    doors = f", at the door of {', '.join(entry['doors'])}" if entry["doors"] else ""
    yield from wrapped(f"{entry['verdict'].upper()} against {visible(entry['with'])}{doors}", width, 3)
    rule = entry["rule"]
    yield from _folded(f"regressed is what is worse by {rule['percent']:g} % and {rule['floor_ms']:g} ms", width)
    for title, sentences in (
        ("cannot be compared: ", entry["refused"]),
        ("differs: ", entry["differences"]),
        ("", entry["notes"]),
    ):
        for sentence in sentences:
            yield from _folded(f"{title}{visible(sentence)}", width)
    places = dict.fromkeys((row["corpus"], row["pace"]) for row in entry["rows"])
    for corpus, pace in places:
        yield f"{visible(corpus) or 'single clips'}, {visible(pace)}"
        yield f"  {'':<24}{'n':>4}{'before':>9}{'after':>9}{'change':>9}  verdict"
        rows = [row for row in entry["rows"] if (row["corpus"], row["pace"]) == (corpus, pace)]
        shown = [row for row in rows if row["verdict"] != "same" or row["metric"].startswith(_ALWAYS)]
        for row in sorted(shown, key=lambda row: ORDER.index(row["verdict"])):
            yield from _row(row, width)
        if len(shown) < len(rows):
            yield f"  and {len(rows) - len(shown)} figures that are the same"


def _row(row: Mapping[str, Any], width: int) -> Iterator[str]:
    figures = "".join(f"{number(row[key], row['unit'], sign=key == 'change'):>9}" for key in ("base", "head", "change"))
    door = f" ({row['door']})" if row["door"] else ""
    yield f"  {clipped(visible(row['metric']), 24):<24}{row['n']:>4}{figures}  {row['verdict']}{door}"
    if row["verdict"] == "regressed" and row["low"] is not None:
        low, high = (number(row[key], row["unit"], sign=True) for key in ("low", "high"))
        unit = "" if row["unit"] == "ratio" else f" {row['unit']}"
        yield from _folded(f"95 % interval {low} to {high}{unit}", width, 6)
    if row["note"]:
        yield from _folded(visible(row["note"]), width, 6)


def number(value: float | None, unit: str, *, sign: bool = False) -> str:
    """A figure of a comparison as it is shown, without its unit."""
    if value is None:
        return "-"
    plus = "+" if sign else ""
    if unit == "ratio":
        return f"{value:{plus}.3f}"
    return f"{value:{plus}.0f}" if abs(value) >= 100 or unit in ("ms", "Hz") else f"{value:{plus}.2f}"


def _folded(text: str, width: int, indent: int = 2) -> Iterator[str]:
    for line in wrapped(text, width - indent, 4):
        yield " " * indent + line
