"""The naive chain and the reference stack, turn about in one run: how much faster, and at what price in words.

    python benchmarks/compare.py [--corpus DIR] [--turns 20] [--json PATH]

Each utterance is answered by the stack at pace asap (total), by the stack at pace realtime (voice-to-voice) and by the
naive chain, in an order that rotates, so that a machine that drifts drifts for all. The naive chain is held to the
stack's reply, and told the end of speech by the stack's rule. Needs the extra "stack" and the group "bench":
``pip install -e '.[stack]' --group bench && voiceloop models pull``.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from listening import events
from naive_chain import NaiveChain, NaiveTurn

from pytest_voiceloop.call.corpus import Clip, default_corpus_folder, load_clip, load_corpus
from pytest_voiceloop.call.live import live_stack
from pytest_voiceloop.call.simulator import Simulator
from pytest_voiceloop.measure.quality import wer, word_errors
from pytest_voiceloop.measure.statistics import bootstrap_percentile, bootstrap_ratio, median, p95
from pytest_voiceloop.stack.reference import reference_stack
from voiceloop_services.whisper.endpointing import Endpointer, Kind, Rules
from voiceloop_services.whisper.faster import Silero, load_silero

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_voiceloop.measure.turn import Turn

STAGES = ("stt", "llm", "tts", "transfer", "retranscription")
TARGETS = {"total": 2.0, "voice_to_voice": 3.5}


@dataclass(frozen=True, slots=True)
class Pair:
    """One utterance answered by all."""

    utterance: str
    text: str
    asap: Turn
    realtime: Turn
    naive: NaiveTurn


def main() -> None:
    """Run the comparison, print it, and write it as JSON where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=None, help="folder of a corpus (default: the project's own)")
    parser.add_argument("--manifest", type=Path, default=None, help="manifest, where it does not lie in the folder")
    parser.add_argument("--turns", type=int, default=20, help="turns of each chain, at least 20 for a p95")
    parser.add_argument("--json", type=Path, default=None, metavar="PATH")
    options = parser.parse_args()
    corpus = load_corpus(options.corpus or default_corpus_folder(), options.manifest)
    clips = list(itertools.islice(itertools.cycle([load_clip(u) for u in corpus]), options.turns))
    result = report(run(clips))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def run(clips: Sequence[Clip]) -> list[Pair]:
    """Answer every clip with all three; void and failed turns of the stack are repeated twice, then left out."""
    naive = NaiveChain()
    pairs = []
    with contextlib.ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        callers = {
            pace: Simulator(stack.enter_context(live_stack(reference_stack(pace), logs / pace)))
            for pace in ("asap", "realtime")
        }
        for pace in callers:
            say(pace, callers, clips[0])
        for number, clip in enumerate(clips):
            first = say("asap", callers, clip)
            later: dict[str, Callable[[], Any]] = {
                "realtime": lambda clip=clip: say("realtime", callers, clip),
                "naive": lambda clip=clip, first=first: naive.turn(clip.samples, endpoint_ms(clip), first.reply.text),
            }
            # The reply has to be known before it can be spoken by both, so the stack begins; the others take turns.
            order = ("realtime", "naive") if number % 2 else ("naive", "realtime")
            done = {name: later[name]() for name in order}
            pair = Pair(clip.utterance.id, clip.utterance.text, first, done["realtime"], done["naive"])
            usable = {first.status, pair.realtime.status} == {"ok"}
            if usable:
                pairs.append(pair)
            print(
                f"{number + 1:3}/{len(clips)} {pair.utterance:18} stack {pair.asap.complete.total_ms} ms, "
                f"naive {pair.naive.total_ms:.0f} ms" + ("" if usable else "  left out"),
                file=sys.stderr,
                flush=True,
            )
    return pairs


def say(pace: str, callers: dict[str, Simulator], clip: Clip) -> Turn:
    """One turn on a call of its own; a void one is repeated, twice at most."""
    for _ in range(3):
        turn = callers[pace].measure([clip.utterance], trials=1, warmup=0)[0]
        if turn.status == "ok":
            break
    return turn


def endpoint_ms(clip: Clip) -> float:
    """How long after the last voiced sample the stack's rule notices that the caller has finished."""
    ends = [
        at_ms
        for event, at_ms in events(clip, Silero(load_silero()), Endpointer(Rules(early_ms=0)))
        if event.kind is Kind.ENDED
    ]
    return max(0.0, ends[-1])


def report(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Print the comparison and return it as the JSON document."""
    ids = [pair.utterance for pair in pairs]
    naive_values = {stage: [pair.naive.stages_ms[stage] for pair in pairs] for stage in STAGES}
    naive_values["total"] = [pair.naive.total_ms for pair in pairs]
    naive_values["voice_to_voice"] = [pair.naive.voice_to_voice_ms for pair in pairs]
    stack_values = {stage: [pair.asap.metric_ms(stage) for pair in pairs] for stage in (*STAGES, "total")}
    stack_values["voice_to_voice"] = [pair.realtime.voice_to_voice_ms for pair in pairs]
    print(f"{len(pairs)} pairs; ms, median [95 % interval] p95")
    print(f"{'':15}{'naive':>23}{'stack':>23}{'naive / stack':>18}")
    ratio = {}
    for name in (*STAGES, "total", "voice_to_voice"):
        # A stage that worked ahead is zero or negative: it has no ratio.
        positive = min(stack_values[name]) > 0
        ratios = [a / b for a, b in zip(naive_values[name], stack_values[name], strict=True)] if positive else []
        interval = bootstrap_percentile(ratios, ids, 50) if ratios else None
        shown = "worked ahead"
        if interval:
            ratio[name] = {"median": median(ratios), "low": interval.low, "high": interval.high}
            shown = f"{ratio[name]['median']:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
        print(f"{name:15}{spread(naive_values[name], ids):>23}{spread(stack_values[name], ids):>23}{shown:>18}")
    naive = words(pairs, ids, "naive", [(p.naive.transcript, p.naive.reply, p.naive.heard) for p in pairs])
    stack = words(pairs, ids, "stack", [(p.asap.transcript.text, p.asap.reply.text, p.asap.heard.text) for p in pairs])
    flags = [turn.flags for pair in pairs for turn in (pair.asap, pair.realtime)]
    naive["cut_off_rate"] = 0.0
    stack["cut_off_rate"] = sum("cut_off" in these for these in flags) / len(flags)
    stack["split_rate"] = sum("split" in these for these in flags) / len(flags)
    naive["reply_audio_s"] = median([p.naive.reply_audio_s for p in pairs])
    stack["reply_audio_s"] = median([p.asap.reply.audio_s for p in pairs])
    print(f"cut off: stack {stack['cut_off_rate']:.1%} (split {stack['split_rate']:.1%}); the naive chain cannot")
    for name, wanted in TARGETS.items():
        if name in ratio:
            print(f"{name}: {ratio[name]['median']:.2f} times as fast (wanted {wanted})")
    return {
        "pairs": len(pairs),
        "ratio": ratio,
        "naive": {**{name: figures(values) for name, values in naive_values.items()}, **naive},
        "stack": {**{name: figures(values) for name, values in stack_values.items()}, **stack},
    }


def figures(values: Sequence[float]) -> dict[str, float | None]:
    """Median and p95 in ms."""
    return {"p50": median(values), "p95": p95(values)}


def spread(values: Sequence[float], ids: Sequence[str]) -> str:
    """Median, interval and p95 as they are printed."""
    interval, high = bootstrap_percentile(values, ids, 50), p95(values)
    shown = f"{median(values):.0f}" + (f" [{interval.low:.0f}, {interval.high:.0f}]" if interval else "")
    return shown + (f" {high:.0f}" if high is not None else " -")


def words(
    pairs: Sequence[Pair], ids: Sequence[str], name: str, texts: Sequence[tuple[str, str, str]]
) -> dict[str, float | None]:
    """Word error rates of one chain, printed and returned."""
    transcript = [word_errors(pair.text, one[0]) for pair, one in zip(pairs, texts, strict=True)]
    loop = [word_errors(one[1], one[2]) for one in texts]
    found: dict[str, float | None] = {}
    shown = []
    for key, counts in (("transcript_wer", transcript), ("loop_wer", loop)):
        known = [(count, one) for count, one in zip(counts, ids, strict=True) if count]
        interval = bootstrap_ratio([c.errors for c, _ in known], [c.words for c, _ in known], [i for _, i in known])
        found[key] = wer([count for count, _ in known])
        around = f" [{interval.low:.3f}, {interval.high:.3f}]" if interval else ""
        shown.append(f"{key.replace('_', ' ')} {found[key]:.3f}{around}")
    found["reply_words"] = median([len(one[1].split()) for one in texts])
    print(f"{name}: {', '.join(shown)}, replies of {found['reply_words']:g} words")
    return found


if __name__ == "__main__":
    main()
