"""How long should the stack wait before it answers? Needed silence against cut-offs, and against what a caller waits.

    python benchmarks/endpointing.py [--corpus DIR [--manifest FILE]] [--live N] [--json PATH]

For each needed silence from 200 to 800 ms: how many callers would be cut off (whisper's endpointer and early
transcripts on every clip, without the stack), and, for N clips spread over the corpus, voice-to-voice on the whole
stack at pace realtime. Needs the extra "stack": ``pip install -e '.[stack]' && voiceloop models pull``.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from listening import FOLLOWING_SILENCE_S, events

from pytest_voiceloop.call.corpus import Clip, default_corpus_folder, load_clip, load_corpus
from pytest_voiceloop.call.live import live_stack
from pytest_voiceloop.call.simulator import Simulator
from pytest_voiceloop.measure.statistics import median
from pytest_voiceloop.stack.reference import reference_stack
from voiceloop_services import models
from voiceloop_services.whisper.__main__ import MODEL, parse
from voiceloop_services.whisper.endpointing import Endpointer, Kind, Rules, looks_unfinished
from voiceloop_services.whisper.faster import FasterWhisper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_voiceloop.measure.turn import Turn

SILENCES_MS = range(200, 801, 100)
UNFINISHED_LONGER_MS = 250


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=None, help="folder of a corpus (default: the project's own)")
    parser.add_argument("--manifest", type=Path, default=None, help="manifest, where it does not lie in the folder")
    parser.add_argument("--live", type=int, default=10, metavar="N", help="clips that are said to the whole stack")
    parser.add_argument("--json", type=Path, default=None, metavar="PATH")
    options = parser.parse_args()
    clips = [load_clip(u) for u in load_corpus(options.corpus or default_corpus_folder(), options.manifest)]
    # Spread, since the default corpus ends with the clips that have pauses.
    said = clips[:: max(1, len(clips) // options.live)][: options.live] if options.live else []
    ears = FasterWhisper(parse([]), models.locate(MODEL), logging.getLogger())
    rows = []
    print(
        f"{'needed silence':>15}{'cut off':>10}{'end noticed':>13}{'voice to voice':>16}{'longest':>10}   (ms, medians)"
    )
    for silence_ms in SILENCES_MS:
        ends_ms = [end_ms(clip, silence_ms, ears) for clip in clips]
        turns = on_the_line(said, silence_ms)
        waits_ms = [turn.voice_to_voice_ms for turn in turns if "cut_off" not in turn.flags]
        row = {
            "silence_ms": silence_ms,
            "clips": len(clips),
            "cut_off_rate": sum(end < 0 for end in ends_ms) / len(clips),
            "end_noticed_ms": median([end for end in ends_ms if end >= 0]),
            "live_turns": len(waits_ms),
            "voice_to_voice_ms": median(waits_ms) if waits_ms else None,
            "voice_to_voice_max_ms": max(waits_ms, default=None),
        }
        rows.append(row)
        heard = f"{row['voice_to_voice_ms']:.0f}" if waits_ms else "-"
        most = f"{row['voice_to_voice_max_ms']:.0f}" if waits_ms else "-"
        print(
            f"{silence_ms:>15}{row['cut_off_rate']:>10.1%}{row['end_noticed_ms']:>13.0f}{heard:>16}{most:>10}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def end_ms(clip: Clip, silence_ms: int, ears: FasterWhisper) -> float:
    """When the first utterance is taken for ended, after the last voiced sample; negative: the caller is cut off."""
    rules = Rules(silence_ms, silence_ms + UNFINISHED_LONGER_MS)
    endpointer = Endpointer(rules)
    for event, at_ms in events(clip, ears.detector(), endpointer):
        if event.kind is Kind.PAUSED and event.speech:
            unfinished = looks_unfinished(ears.transcribe(event.speech.samples, 0).text)
            endpointer.needed_ms = rules.unfinished_ms if unfinished else rules.silence_ms
        elif event.kind is Kind.ENDED:
            return at_ms
    raise ValueError(f"{clip.utterance.id}: no end was noticed within {FOLLOWING_SILENCE_S:g} s of silence")


def on_the_line(clips: Sequence[Clip], silence_ms: int) -> list[Turn]:
    if not clips:
        return []
    rules = ["--endpoint-silence-ms", str(silence_ms)]
    rules += ["--endpoint-silence-unfinished-ms", str(silence_ms + UNFINISHED_LONGER_MS)]
    stack = reference_stack("realtime", options={"whisper": rules})
    with tempfile.TemporaryDirectory() as logs, live_stack(stack, Path(logs)) as live:
        turns = Simulator(live).measure([clip.utterance for clip in clips], trials=1, warmup=1)
    return [turn for turn in turns if turn.status == "ok"]


if __name__ == "__main__":
    main()
