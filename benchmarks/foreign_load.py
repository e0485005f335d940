"""From which foreign load on a turn's latencies move: the same sentences while other programs take more and more.

    python benchmarks/foreign_load.py [--utterances 20] [--json PATH]

Every sentence is said to the reference stack once at each load, in an order that rotates. The load is a process for
each processor that works for this share of every 10 ms. Void turns are kept here: what they would have shown is the
question. Each load is compared with none as the interleaved mode compares two versions. Needs the extra "stack":
``pip install -e '.[stack]' && voiceloop models pull``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_voiceloop.call.assess import Occasion, measured
from pytest_voiceloop.call.corpus import default_corpus_folder, load_clip, load_corpus
from pytest_voiceloop.call.foreign_load import foreign_load
from pytest_voiceloop.call.line import open_line
from pytest_voiceloop.call.live import live_stack
from pytest_voiceloop.measure.comparing import INTERLEAVED, compare
from pytest_voiceloop.measure.statistics import median
from pytest_voiceloop.stack.reference import reference_stack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_voiceloop.call.corpus import Clip
    from pytest_voiceloop.call.live import LiveStack

LOADS_PERCENT = (0, 5, 10, 20, 50)
METRICS = ("total", "voice_to_voice", "work_ms.stt", "work_ms.llm", "work_ms.tts")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=20, help="the shortest so many of the corpus")
    parser.add_argument("--json", type=Path, default=None, metavar="PATH")
    options = parser.parse_args()
    clips = sorted((load_clip(u) for u in load_corpus(default_corpus_folder())), key=lambda clip: len(clip.samples))
    result = report(record(clips[: options.utterances]))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def record(clips: Sequence[Clip]) -> dict[int, list[dict[str, Any]]]:
    """The turns at each load, as records."""
    turns: dict[int, list[dict[str, Any]]] = {percent: [] for percent in LOADS_PERCENT}
    with tempfile.TemporaryDirectory() as logs, live_stack(reference_stack("asap"), Path(logs)) as live:
        for clip in clips[:3]:
            say(live, clip)
        for number, clip in enumerate(clips):
            at = number % len(LOADS_PERCENT)
            for percent in (*LOADS_PERCENT[at:], *LOADS_PERCENT[:at]):
                with foreign_load(percent):
                    turns[percent].append(say(live, clip))
            print(f"{number + 1}/{len(clips)} {clip.utterance.id}", file=sys.stderr, flush=True)
    return turns


def say(live: LiveStack, clip: Clip) -> dict[str, Any]:
    """One turn on a call of its own, void or not."""
    with open_line(live) as line:
        capture = line.turn(clip, judged=True)
        if capture.broken:
            raise capture.broken
        return measured(capture, live, Occasion(), judged=True).as_json()


def report(turns: dict[int, list[dict[str, Any]]]) -> dict[str, Any]:
    """Print and return what each load did."""
    result: dict[str, Any] = {}
    print(f"{'load':>6}{'foreign':>9}{'waited':>9}{'void':>7}" + "".join(f"{name:>24}" for name in METRICS))
    for percent, at_load in turns.items():
        machines = [turn["machine"] for turn in at_load]
        foreign = median([m["foreign_cpu_percent"] for m in machines if m["foreign_cpu_percent"] is not None])
        waited = median([sum(s["waited_ms"] or 0 for s in m["services"].values()) for m in machines])
        void = sum(turn["status"] == "void" for turn in at_load) / len(at_load)
        base, head = ([t | {"status": t["status"].replace("void", "ok")} for t in side] for side in (turns[0], at_load))
        rows = {row.metric: row for row in compare(base, head, INTERLEAVED).rows}
        moved = {name: [rows[name].change, rows[name].low, rows[name].high] for name in METRICS if name in rows}
        result[str(percent)] = {"foreign_percent": foreign, "waited_ms": waited, "void": void, "change_ms": moved}
        cells = "".join(
            f"{f'{change:+.0f} [{low:+.0f} to {high:+.0f}]':>24}" if low is not None else f"{change:>+24.0f}"
            for change, low, high in moved.values()
        )
        print(f"{percent:>5}%{foreign or 0:>8.0f}%{waited or 0:>7.0f}ms{void:>7.0%}{cells}")
    return result


if __name__ == "__main__":
    main()
