"""How far a run's figures can be trusted: the document's ``reliability``, and it in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

CALIBRATION_LIMIT_PERCENT = 10.0
"""A machine that became slower or quicker by more than this during a run, or since another one, is said to have."""


def reliability(turns: Sequence[Mapping[str, Any]], calibration: Mapping[str, float | None]) -> dict[str, Any]:
    """What the machine did during the turns, warm-up left out, and how long the calibration took before and after.

    `calibration` is ``{"before_ms", "after_ms"}``, of which either may be missing. Of the pacer's lateness a turn has
    percentiles over its frames: here stand the medians of these, and the greatest maximum.
    """
    counted = [turn for turn in turns if not turn["warmup"]]
    of = [turn.get("machine") or {} for turn in counted]
    late = [found.get("pacer_late_ms") or {} for found in of]
    before_ms, after_ms = calibration.get("before_ms"), calibration.get("after_ms")
    return {
        "turns": len(counted),
        "void": sum(turn["status"] == "void" for turn in counted),
        "repeated": sum(turn.get("repeat", 0) > 0 for turn in counted),
        "pacer_late_ms": {
            "p50": known_median(found.get("p50") for found in late),
            "p99": known_median(found.get("p99") for found in late),
            "max": max(_known(found.get("max") for found in late), default=None),
        },
        **{
            name: {
                "p50": known_median(found.get(name) for found in of),
                "max": max(_known(found.get(name) for found in of), default=None),
            }
            for name in ("steal_percent", "foreign_cpu_percent")
        },
        "calibration": {
            "before_ms": before_ms,
            "after_ms": after_ms,
            "change_percent": round(100 * (after_ms / before_ms - 1), 1) if before_ms and after_ms else None,
        },
    }


def sentences(document: Mapping[str, Any]) -> list[str]:
    """The machine's part in a run, for a person: figures first, then what speaks against them. Empty without turns."""
    found = document.get("reliability")
    if not found or not found["turns"]:
        return []
    late, calibration = found["pacer_late_ms"], found["calibration"]
    figures = [
        ("pacer p99", late["p99"], "{:.1f} ms"),
        ("steal", found["steal_percent"]["p50"], "{:.1f} %"),
        ("foreign load", found["foreign_cpu_percent"]["p50"], "{:.0f} %"),
    ]
    parts = [f"{name} {form.format(value)}" for name, value, form in figures if value is not None]
    if calibration["change_percent"] is not None:
        parts.append(f"calibration {calibration['before_ms']:.0f} → {calibration['after_ms']:.0f} ms")
    said = [f"machine: {', '.join(parts)}"] if parts else []
    if found["void"]:
        again = f"; {found['repeated']} said again" if found["repeated"] else ""
        said.append(f"void: {found['void']} of {found['turns']} turns{again}")
    change = calibration["change_percent"]
    if change is not None and abs(change) > CALIBRATION_LIMIT_PERCENT:
        word = "slower" if change > 0 else "quicker"
        said.append(
            f"the machine became {word} during the run: the calibration took {change:+.0f} %. "
            "Early and late turns are not alike; compare versions turn about (--voiceloop-base)"
        )
    return said


def drift(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """That the machine is slower or quicker in the run `here` than in the kept run `there`, in a sentence.

    Empty where it is neither, and where a document has no calibration.
    """
    before_ms, after_ms = _calibration_ms(there), _calibration_ms(here)
    if not before_ms or not after_ms:
        return []
    change = 100 * (after_ms / before_ms - 1)
    if abs(change) <= CALIBRATION_LIMIT_PERCENT:
        return []
    word = "slower" if change > 0 else "quicker"
    figures = f"the calibration took {before_ms:.0f} ms there, {after_ms:.0f} ms here ({change:+.0f} %)"
    cure = "What changed in time may be its doing; compare versions turn about (--voiceloop-base)"
    return [f"the machine is {word} than then: {figures}. {cure}"]


def _calibration_ms(document: Mapping[str, Any]) -> float | None:
    """What the calibration took in a run, before and after it taken together."""
    found = (document.get("reliability") or {}).get("calibration") or {}
    return known_median((found.get("before_ms"), found.get("after_ms")))


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def known_median(values: Iterable[float | None]) -> float | None:
    """The median of those that are known, to three decimals; None where none is."""
    from pytest_voiceloop.measure.statistics import median

    found = median(_known(values))
    return None if found is None else round(found, 3)
