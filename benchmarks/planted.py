"""Faults planted in the real stack, and whether a comparison finds them and lays them at the right door.

    python benchmarks/planted.py record TURNS.jsonl [--utterances 20]
    python benchmarks/planted.py judge TURNS.jsonl [--json PATH]

`record` boots the reference stack once, each service wrapped by planting.py, and says every utterance once for each
case, in an order that rotates; "nothing" stands in it twice. `judge` compares each case with "nothing" as the
interleaved mode does: the whole recording, and over and over on utterances drawn with replacement; and by the rule for
kept runs with "nothing" of another recording, since that is what a kept run is. It says how often
the fault is found, how often an alarm comes at another door, and what a slow service does to the others at all; and it
compares the two recordings of "nothing" with one another. Needs the extra "stack" and the group "bench".

An alarm at another door has two causes, and a draw with replacement cannot tell them apart: what chance did to a
recording is in every draw from it. So the two are measured one by one. Chance: in each pair of a draw the times of each
door but the planted one are swapped at random, as in the comparison of nothing with nothing, so that nothing but chance
can make an alarm there. What is no chance: the times of each service in all turns in which another one was slow,
against those in which none was, with the interval of the difference.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_voiceloop.call.corpus import default_corpus_folder, load_clip, load_corpus
from pytest_voiceloop.call.live import live_stack
from pytest_voiceloop.call.simulator import Simulator
from pytest_voiceloop.measure.comparing import BASELINE, INTERLEAVED, compare
from pytest_voiceloop.stack.reference import reference_stack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_voiceloop.measure.comparing import Rule
    from pytest_voiceloop.stack.spec import StackSpec

DRAWS = 100
PAIRS = (20, 40, 60)
KEPT_PAIRS = 40
A_A_DRAWS = 1000
NOTHING = ("nothing", "nothing again")


@dataclass(frozen=True, slots=True)
class Case:
    """What is planted, and the door at which it should be laid (as a comparison names it)."""

    name: str
    door: str
    plant: dict[str, Any]


SERVICES = {"whisper": "stt", "llama": "llm", "kokoro": "tts", "outbound": "transfer"}
CASES = (
    *(Case(name, "", {}) for name in NOTHING),
    *(
        Case(f"{service} +{add_ms} ms", SERVICES[service], {"service": service, "add_ms": add_ms})
        for service in SERVICES
        for add_ms in ((20, 40, 80) if service == "kokoro" else (40, 80))
    ),
    *(
        Case(f"{service} +{percent} %", door, {"service": service, "factor": 1 + percent / 100})
        for service, door in SERVICES.items()
        if service != "outbound"  # 15 % of what it needs for a reply are a few hundred microseconds
        for percent in (10, 15)
    ),
    Case("kokoro drops every tenth word", "tts", {"service": "kokoro", "drop": 1}),
    Case("kokoro speaks 1.2 times as fast", "tts", {"service": "kokoro", "speed": 1.2}),
    Case("whisper loops", "stt", {"service": "whisper", "loop": 1}),
    Case("5 % of the packets lost", "transfer", {"service": "outbound", "lose": 0.05}),
    Case("outbound clips (+24 dB)", "transfer", {"service": "outbound", "gain_db": 24}),
    Case("low-pass at 1.5 kHz", "transfer", {"service": "outbound", "low_pass_hz": 1500}),
)


TIMES = {
    "stt": (
        ("work_ms", "stt"),
        ("ledgers", "complete", "stages_ms", "stt"),
        ("ledgers", "complete", "stages_ms", "retranscription"),
    ),
    "llm": (("work_ms", "llm_first"), ("work_ms", "llm")),
    "tts": (("work_ms", "tts"), ("tts_rtf",)),
    "transfer": (
        ("ledgers", "complete", "stages_ms", "transfer"),
        ("events_ms", "t3_first"),
        ("events_ms", "t4_first"),
        ("leading_silence_ms",),
    ),
}
"""Where a record has the times of each door: those that rows with that door are computed from."""
ROWS = {
    "work_ms.stt": "stt",
    "retranscription": "stt",
    "work_ms.llm_first": "llm",
    "work_ms.llm": "llm",
    "work_ms.tts": "tts",
    "first_packet": "transfer",
}
"""The rows in ms that lay a slow service at its door."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["record", "judge"])
    parser.add_argument("turns", type=Path, metavar="TURNS.jsonl")
    parser.add_argument("--utterances", type=int, default=20, help="the shortest so many of the corpus")
    parser.add_argument("--case", action="append", default=[], help="record these cases only, and add to the file")
    parser.add_argument("--json", type=Path, default=None, metavar="PATH")
    options = parser.parse_args()
    if options.what == "record":
        record(options.turns, options.utterances, options.case)
        return
    result = judge([json.loads(line) for line in options.turns.read_text().splitlines()])
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def planted_stack(plant: Path) -> StackSpec:
    """The reference stack with every service wrapped."""
    spec = reference_stack("asap")
    planting = str(Path(__file__).with_name("planting.py"))
    return replace(
        spec,
        services=tuple(
            replace(service, command=("{python}", planting, str(plant), service.name, *service.command[3:]))
            for service in spec.services
        ),
    )


def record(path: Path, utterances: int, only: Sequence[str]) -> None:
    """Say everything, and write each turn as a line with the name of its case."""
    cases = [case for case in CASES if not only or case.name in only]
    started = time.strftime("%Y-%m-%dT%H:%M:%S")
    clips = sorted((load_clip(u) for u in load_corpus(default_corpus_folder())), key=lambda clip: len(clip.samples))
    with tempfile.TemporaryDirectory() as name, path.open("a" if only else "w", encoding="utf-8") as out:
        plant = Path(name) / "plant.json"
        plant.write_text("{}")
        with live_stack(planted_stack(plant), Path(name)) as live:
            caller = Simulator(live)
            caller.measure([clip.utterance for clip in clips[:3]], trials=1, warmup=0)
            for number, clip in enumerate(clips[:utterances]):
                at = number * 5 % len(cases)
                for case in (*cases[at:], *cases[:at]):
                    plant.write_text(json.dumps(case.plant))
                    for turn in caller.measure([clip.utterance], trials=1, warmup=0):
                        out.write(json.dumps({"case": case.name, "recording": started, **turn.as_json()}) + "\n")
                    out.flush()
                print(f"{number + 1}/{utterances} {clip.utterance.id}", file=sys.stderr, flush=True)


def judge(turns: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Print and return what is found, case by case."""
    by_case = {case.name: [turn for turn in turns if turn["case"] == case.name] for case in CASES}
    ids = sorted({turn["utterance"]["id"] for turn in turns})
    result: dict[str, Any] = {"utterances": len(ids), "draws": DRAWS, "cases": {}}
    print(
        f"{len(ids)} utterances; shares of {DRAWS} draws found and laid at the right door: of {PAIRS} pairs (turn\n"
        f"about), and of {KEPT_PAIRS} against a kept run, that is another recording; those of {KEPT_PAIRS} pairs\n"
        "with an alarm at another door by chance; the verdict on the whole recording"
    )
    for case in CASES[len(NOTHING) :]:
        head = by_case[case.name]
        recordings = {turn["recording"] for turn in head}
        base = [turn for name in NOTHING for turn in by_case[name] if turn["recording"] in recordings]
        whole = compare(base, head, INTERLEAVED)
        found = [found_share(base, head, case.door, ids, pairs, INTERLEAVED) for pairs in PAIRS]
        every = [turn for name in NOTHING for turn in by_case[name]]
        kept = found_share(every, head, case.door, ids, KEPT_PAIRS, BASELINE)
        elsewhere = chance_elsewhere(base, head, case.door, ids)
        result["cases"][case.name] = {
            "turns": len(head),
            "whole": [whole.verdict, *whole.doors],
            "found": dict(zip(map(str, PAIRS), found, strict=True)),
            "kept": kept,
            "elsewhere_by_chance": elsewhere,
        }
        share = "".join(f"{one:>6.0%}" for one in (*found, kept)) + f"{elsewhere:>8.1%}"
        print(f"{case.name:32}{share}   {whole.verdict} {', '.join(whole.doors)}", flush=True)
    cases = result["cases"].values()
    result["elsewhere_by_chance"] = sum(case["elsewhere_by_chance"] for case in cases) / len(cases)
    print(f"alarms at another door by chance: {result['elsewhere_by_chance']:.2%} of {len(cases) * DRAWS} draws")
    result["spill"] = spill(turns)
    result["false_alarms"] = a_a(by_case, ids, np.random.default_rng(0))
    print(f"nothing against nothing: {result['false_alarms']:.2%} of {A_A_DRAWS} comparisons raise an alarm")
    result["kept_false_alarms"] = kept_a_a(by_case, ids, np.random.default_rng(0))
    print(f"against a kept run: {result['kept_false_alarms']:.2%} of {A_A_DRAWS} comparisons raise an alarm")
    return result


def found_share(
    base: Sequence[dict[str, Any]],
    head: Sequence[dict[str, Any]],
    door: str,
    ids: Sequence[str],
    pairs: int,
    rule: Rule,
) -> float:
    """How often a comparison of so many pairs, drawn with replacement, lays a regression at this door."""
    dice = np.random.default_rng(0)
    drawn = (draw(base, head, dice.choice(ids, pairs), dice, kept=rule is BASELINE) for _ in range(DRAWS))
    return sum(door in compare(*sides, rule).doors for sides in drawn) / DRAWS


def chance_elsewhere(
    base: Sequence[dict[str, Any]], head: Sequence[dict[str, Any]], door: str, ids: Sequence[str]
) -> float:
    """How often a regression is laid at another door than this one where nothing but chance can do that.

    Words and sounds stay as they are: what became of them is the fault's own doing, at whatever door it shows.
    """
    dice = np.random.default_rng(0)
    alarms = 0
    for _ in range(DRAWS):
        # One by one: a turn that was drawn twice has to become two.
        drawn = draw(base, head, dice.choice(ids, KEPT_PAIRS), dice)
        sides = [copy.deepcopy(turn) for turn in drawn[0]], [copy.deepcopy(turn) for turn in drawn[1]]
        for one, other in zip(*sides, strict=True):
            for elsewhere in TIMES:
                if elsewhere != door and dice.integers(2):
                    _swap(one, other, elsewhere)
        alarms += bool(set(compare(*sides, INTERLEAVED).doors) - {door})
    return alarms / DRAWS


def _swap(one: dict[str, Any], other: dict[str, Any], door: str) -> None:
    for *way, last in TIMES[door]:
        inner, outer = one, other
        for key in way:
            inner, outer = inner[key], outer[key]
        inner[last], outer[last] = outer[last], inner[last]


def spill(turns: Sequence[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Print and return how much longer each service takes while another one is slow: of all such turns, in ms.

    An utterance counts once for each recording.
    """
    turns = [
        {**turn, "utterance": {**turn["utterance"], "id": f"{turn['utterance']['id']} {turn['recording']}"}}
        for turn in turns
    ]
    base = [turn for turn in turns if turn["case"] in NOTHING]
    slow = {case.name: case.door for case in CASES if {"add_ms", "factor"} & case.plant.keys()}
    found = {}
    print("while another service is slow")
    for name, door in ROWS.items():
        head = [turn for turn in turns if slow.get(turn["case"], door) != door]
        (row,) = (row for row in compare(base, head, INTERLEAVED).rows if row.metric == name)
        found[name] = {key: getattr(row, key) for key in ("base", "change", "low", "high", "n")}
        print(
            f"  {name:20}{row.base:7.1f} ms {row.change:+6.1f} [{row.low:+.1f} to {row.high:+.1f}], {len(head)} turns"
        )
    return found


def a_a(by_case: dict[str, list[dict[str, Any]]], ids: Sequence[str], dice: np.random.Generator) -> float:
    """How often turns of one stack are told apart: of two recordings it is drawn, turn by turn, which one is which."""
    alarms = 0
    one, other = (by_case[name] for name in NOTHING)
    for _ in range(A_A_DRAWS):
        sides = draw(one, other, list(dice.choice(ids, KEPT_PAIRS)), dice)
        for place in np.flatnonzero(dice.integers(0, 2, len(sides[0]))):
            sides[0][place], sides[1][place] = sides[1][place], sides[0][place]
        alarms += compare(*sides, INTERLEAVED).verdict == "regressed"
    return alarms / A_A_DRAWS


def kept_a_a(by_case: dict[str, list[dict[str, Any]]], ids: Sequence[str], dice: np.random.Generator) -> float:
    """How often a stack seems slower than it was in another recording, whichever of them is the kept run."""
    every = [turn for name in NOTHING for turn in by_case[name]]
    alarms = 0
    for _ in range(A_A_DRAWS):
        recording = dice.choice(sorted({turn["recording"] for turn in every}))
        head = [turn for turn in every if turn["recording"] == recording]
        sides = draw(every, head, list(dice.choice(ids, KEPT_PAIRS)), dice, kept=True)
        alarms += compare(*sides, BASELINE).verdict == "regressed"
    return alarms / A_A_DRAWS


def draw(
    base: Sequence[dict[str, Any]],
    head: Sequence[dict[str, Any]],
    ids: Sequence[str],
    dice: np.random.Generator,
    *,
    kept: bool = False,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """For each of these utterances a turn of each side, of one recording, since a machine drifts from one to the next.

    With `kept` of two, for the same reason. An utterance that is drawn twice counts as two.
    """
    sides: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    for number, one in enumerate(ids):
        new = [turn for turn in head if turn["utterance"]["id"] == one]
        if not new:
            continue
        of_head = new[dice.integers(len(new))]
        old = [
            turn
            for turn in base
            if turn["utterance"]["id"] == one and (turn["recording"] == of_head["recording"]) != kept
        ]
        if not old:
            continue
        for side, turn in zip(sides, (old[dice.integers(len(old))], of_head), strict=True):
            side.append({**turn, "utterance": {**turn["utterance"], "id": f"{one}-{number}"}})
    return sides


if __name__ == "__main__":
    main()
