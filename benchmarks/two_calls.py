"""What a second call at the same time costs: the same sentences alone and two at once, turn about in one run.

    python benchmarks/two_calls.py [--pairs 10] [--pace asap|realtime] [--json PATH]

Needs the extra "stack": ``pip install -e '.[stack]' && voiceloop models pull``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_voiceloop.call.corpus import default_corpus_folder, load_corpus
from pytest_voiceloop.call.live import live_stack
from pytest_voiceloop.call.simulator import Simulator
from pytest_voiceloop.measure.statistics import median
from pytest_voiceloop.stack.reference import reference_stack

if TYPE_CHECKING:
    from pytest_voiceloop.call.corpus import Utterance
    from pytest_voiceloop.call.live import LiveStack
    from pytest_voiceloop.measure.turn import Turn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10, help="pairs of sentences")
    parser.add_argument("--pace", choices=("asap", "realtime"), default="asap")
    parser.add_argument("--json", type=Path, default=None, metavar="PATH")
    options = parser.parse_args()
    sentences = itertools.cycle(load_corpus(default_corpus_folder()))
    pairs = [tuple(itertools.islice(sentences, 2)) for _ in range(options.pairs)]
    alone: list[Turn] = []
    at_once: list[Turn] = []
    with (
        tempfile.TemporaryDirectory() as logs,
        live_stack(reference_stack(options.pace), Path(logs)) as live,
        ThreadPoolExecutor(2) as callers,
    ):
        say(live, pairs[0][0])
        for pair in pairs:
            alone += [say(live, sentence) for sentence in pair]
            at_once += callers.map(lambda sentence: say(live, sentence), pair)
    result: dict[str, object] = {
        "turns": len(at_once),
        "not_ok": sum(turn.status != "ok" for turn in (*alone, *at_once)),
        "replies_differ": sum(a.reply.text != b.reply.text for a, b in zip(alone, at_once, strict=True)),
    }
    for name in ("total", "voice_to_voice") if options.pace == "asap" else ("voice_to_voice",):
        both = [
            (a.metric_ms(name), b.metric_ms(name))
            for a, b in zip(alone, at_once, strict=True)
            if a.status == b.status == "ok"
        ]
        if both:
            result[name] = {
                "alone_ms": median([a for a, _ in both]),
                "at_once_ms": median([b for _, b in both]),
                "ratio": median([b / a for a, b in both]),
            }
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def say(live: LiveStack, sentence: Utterance) -> Turn:
    return Simulator(live).measure([sentence], trials=1, warmup=0)[0]


if __name__ == "__main__":
    main()
