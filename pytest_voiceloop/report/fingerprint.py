"""What a run was measured with: what has to be alike for two runs to be compared, and what may be the change itself."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from pytest_voiceloop.report.document import turns_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_LEFT_OUT = ("name", "pid", "base", "cold_start_ms", "restarts", "ready", "port", "ports")
_SAME_MEMORY = 0.05
"""Kernels differ by less than this share in what they keep for themselves."""


def fingerprint(document: Mapping[str, Any], *, base: bool = False) -> dict[str, Any]:
    """The fingerprint of a run; with `base` of the base version in an interleaved one.

    ``{"machine", "corpus", "judge", "normaliser", "pace", "concurrency", "services", "harness", "slow_ms"}``. Corpora
    are ``{name: {utterance: checksum of text and length}}``. What the document does not say is None.
    """
    environment, settings = document.get("environment") or {}, document.get("settings") or {}
    key = "base_turns" if base else "turns"
    turns = turns_of(document, key)
    corpora: dict[str, dict[str, int]] = {}
    for turn in turns:
        said = turn["utterance"]
        checksum = zlib.crc32(f"{said['text']}|{said['audio_s']:.2f}".encode("utf-8", "replace"))
        corpora.setdefault(said["corpus"], {})[said["id"] or said["text"]] = checksum
    return {
        "machine": {
            "cpu": environment.get("cpu"),
            "cores": environment.get("cores"),
            "memory_mib": environment.get("memory_mib"),
        },
        "corpus": corpora,
        "judge": sorted({turn["judge"] for turn in turns}),
        "normaliser": environment.get("normaliser"),
        "pace": sorted({turn["pace"] for turn in turns}),
        # Turns of several workers at once are flagged, and do not count.
        "concurrency": "several workers" if any("contended" in turn["flags"] for turn in turns) else "alone",
        "services": {
            service["name"]: {key: value for key, value in service.items() if key not in _LEFT_OUT}
            for service in document.get("services") or ()
            if bool(service.get("base")) == base
        },
        "harness": (document.get("tool") or {}).get("version"),
        "slow_ms": None if base else settings.get("slow_ms") or {},
    }


def obstacles(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Why two fingerprints cannot be compared, in sentences that name the difference; empty if they can."""
    found = [
        _sentence(f"the machine's {what}", there["machine"][what], here["machine"][what])
        for what in here["machine"]
        if _differ(there["machine"][what], here["machine"][what])
        and not _same_memory(what, there["machine"][what], here["machine"][what])
    ]
    found += [
        _sentence(title, there[what], here[what])
        for what, title in (("judge", "the judge"), ("normaliser", "the normaliser"), ("concurrency", "concurrency"))
        if _differ(there[what], here[what])
    ]
    if not set(there["pace"]) & set(here["pace"]):
        found.append(_sentence("the pace", there["pace"], here["pace"]))
    return found + _corpora(there["corpus"], here["corpus"])


def _corpora(there: Mapping[str, Mapping[str, int]], here: Mapping[str, Mapping[str, int]]) -> list[str]:
    common = [name for name in here if name in there]
    if not common:
        return [_sentence("the corpus", sorted(there), sorted(here))]
    changed = [
        name or "single clips"
        for name in common
        if any(here[name][utterance] != there[name][utterance] for utterance in here[name].keys() & there[name].keys())
    ]
    return [f"the corpus {name} has changed: utterances of one name differ in text or length" for name in changed]


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What differs and may be compared all the same, for it may be the very change: services and their settings."""
    found = []
    for name in dict.fromkeys((*there["services"], *here["services"])):
        old, new = there["services"].get(name), here["services"].get(name)
        if old is None or new is None:
            found.append(f"{name}: only {'here' if old is None else 'there'}")
            continue
        found += _of_service(name, old, new)
    if _differ(there["harness"], here["harness"]):
        found.append(_sentence("pytest-voiceloop", there["harness"], here["harness"]))
    if there["slow_ms"] is not None and here["slow_ms"] is not None and there["slow_ms"] != here["slow_ms"]:
        found.append(_sentence("--voiceloop-slow", there["slow_ms"], here["slow_ms"]))
    return found


def _of_service(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    found = []
    for key in dict.fromkeys((*old, *new)):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            inner = [one for one in dict.fromkeys((*before, *after)) if before.get(one) != after.get(one)]
            found += [_sentence(f"{name}'s {one}", before.get(one), after.get(one)) for one in inner]
        elif key == "model_sha256":
            found.append(_sentence(f"{name}'s model file", str(before)[:12], str(after)[:12]))
        else:
            remark = "; other replies are to be expected" if name == "llama" and key == "model" else ""
            found.append(_sentence(f"{name}'s {key}", before, after) + remark)
    return found


def _differ(there: Any, here: Any) -> bool:
    """What one side does not say is no difference: it may be an older document."""
    return there is not None and here is not None and there != here


def _same_memory(what: str, there: Any, here: Any) -> bool:
    return what == "memory_mib" and abs(there - here) <= _SAME_MEMORY * max(there, here)


def _sentence(what: str, there: Any, here: Any) -> str:
    return f"{what}: {_shown(there)} there, {_shown(here)} here"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items()) or "none"
    return "none" if value is None else str(value)
