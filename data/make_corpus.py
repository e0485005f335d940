"""Makes the default corpus again: `python data/make_corpus.py` writes the clips and manifest.json beside itself.

Needs the stack extra and the models kokoro-82m-int8 and kokoro-voices (`voiceloop models pull`). On another machine
the clips may differ in their last bits, since neural networks do.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile
import soxr

from voiceloop_services import models
from voiceloop_services.kokoro import engines, sound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

HERE = Path(__file__).parent
RATE_HZ = 16_000
LEAD_IN_S = 0.2
TRAIL_S = 0.15
PEAK = 0.5
NOISE_DBFS = -70.0
EDGE_DB = -45.0
"""Speech begins and ends with the first and the last sample above this, measured against the clip's peak."""

# IEEE Recommended Practice for Speech Quality Measurements, 1969: Harvard sentences, list 1.
HARVARD = {
    "canoe": "The birch canoe slid on the smooth planks.",
    "sheet": "Glue the sheet to the dark blue background.",
    "well": "It's easy to tell the depth of a well.",
    "chicken": "These days a chicken leg is a rare dish.",
    "rice": "Rice is often served in round bowls.",
    "lemons": "The juice of lemons makes fine punch.",
    "box": "The box was thrown beside the parked truck.",
    "hogs": "The hogs were fed chopped corn and garbage.",
    "hours": "Four hours of steady work faced us.",
    "stockings": "A large size in stockings is hard to sell.",
}
HARVARD_VOICES = {"heart": "af_heart", "michael": "am_michael"}
# Clips in which Whisper base misses a word at the usual speed.
SPEEDS = {"canoe-michael": 0.85, "hours-michael": 0.9}

# Parts of a sentence, and between them the pause in ms, from the end of one sound to the beginning of the next.
SPOKEN: dict[str, tuple[str, list[str | int]]] = {
    "france": ("af_heart", ["What is the capital", 350, "of France?"]),
    "week": ("am_michael", ["How many days", 300, "are there in a week?"]),
    "coffee": ("af_bella", ["I would like, um,", 500, "a cup of coffee, please."]),
    "table": ("am_fenrir", ["Please book a table", 400, "for 4 people", 250, "at half past seven."]),
    "dinner": ("af_heart", ["Well,", 450, "what should I cook for dinner tonight?"]),
    "color": ("am_michael", ["What color do you get", 600, "when you mix blue and yellow?"]),
    "cat": ("af_bella", ["My cat is very small,", 700, "and she likes", 250, "fresh fish."]),
    "bread": ("am_fenrir", ["How do I keep bread", 300, "fresh for longer?"]),
    "train": ("af_heart", ["The train leaves", 200, "in 25 minutes,", 550, "so we should hurry."]),
    "sky": ("am_michael", ["Tell me,", 650, "why is the sky blue?"]),
}


class Voices:
    """Kokoro's voices, one engine for each voice and speed, loaded when they are needed."""

    def __init__(self) -> None:
        self._speakers: dict[tuple[str, float], engines.Speaker] = {}

    def speak(self, voice: str, speed: float, text: str) -> NDArray[np.float32]:
        """The spoken text: float32 mono at RATE_HZ, shape (n,)."""
        if (voice, speed) not in self._speakers:
            parser = argparse.ArgumentParser()
            engines.add_options(parser)
            options = parser.parse_args([f"--voice={voice}", f"--speed={speed}"])
            options.engine, options.device = "kokoro-onnx", "cpu"
            self._speakers[voice, speed] = engines.make_speaker(options, logging.getLogger("make_corpus"))
        spoken = np.concatenate([chunk.samples for chunk in self._speakers[voice, speed].speak(text)])
        audio: NDArray[np.float32] = soxr.resample(spoken, sound.SAMPLE_RATE_HZ, RATE_HZ)
        return audio

    def facts(self) -> dict[str, object]:
        """What the last engine says about itself."""
        return list(self._speakers.values())[-1].facts()


def speech(audio: NDArray[np.float32]) -> tuple[int, int]:
    """The first sample of the speech, and the one after its last."""
    loud = np.flatnonzero(np.abs(audio) > np.abs(audio).max() * 10 ** (EDGE_DB / 20))
    return int(loud[0]), int(loud[-1]) + 1


def join(parts: list[NDArray[np.float32]], pauses_ms: list[int]) -> tuple[NDArray[np.float32], list[tuple[int, int]]]:
    """The parts with exactly those pauses between their speech, and the samples at which each part's speech lies.

    What is left of a sound below EDGE_DB rings on into the pause, as it does in a room.
    """
    spans: list[tuple[int, int]] = []
    placed: list[tuple[int, NDArray[np.float32]]] = []
    for part, pause_ms in zip(parts, [0, *pauses_ms], strict=True):
        begin, end = speech(part)
        at = spans[-1][1] + pause_ms * RATE_HZ // 1000 if spans else round(LEAD_IN_S * RATE_HZ)
        spans.append((at, at + end - begin))
        placed.append((at - begin, part))
    joined = np.zeros(spans[-1][1] + round(TRAIL_S * RATE_HZ), dtype=np.float32)
    for at, part in placed:
        within = part[max(0, -at) : len(joined) - at]
        joined[max(0, at) : max(0, at) + len(within)] += within
    return joined, spans


def make(voices: Voices, name: str, voice: str, script: list[str | int], style: str) -> dict[str, object]:
    """Write one clip and return its entry in the manifest."""
    texts = [part for part in script if isinstance(part, str)]
    pauses_ms = [part for part in script if isinstance(part, int)]
    # A comma keeps the voice up where the sentence goes on.
    speed = SPEEDS.get(name, 1.0)
    parts = [voices.speak(voice, speed, text if text[-1] in ".,?" else f"{text},") for text in texts]
    parts = [part / np.abs(part).max() for part in parts]
    clip, spans = join(parts, pauses_ms)
    clip *= PEAK / np.abs(clip).max()
    start, end = speech(clip)
    noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(len(clip))
    clip = clip + (noise * 10 ** (NOISE_DBFS / 20)).astype(np.float32)
    soundfile.write(HERE / f"{name}.flac", clip, RATE_HZ, subtype="PCM_16")
    entry: dict[str, object] = {
        "id": name,
        "file": f"{name}.flac",
        "text": " ".join(texts),
        "voice": voice,
        "speed": speed,
        "style": style,
        "speech_start_s": round(start / RATE_HZ, 4),
        "speech_end_s": round(end / RATE_HZ, 4),
    }
    if pauses_ms:
        entry["pauses_s"] = [[round(a[1] / RATE_HZ, 4), round(b[0] / RATE_HZ, 4)] for a, b in itertools.pairwise(spans)]
    return entry


def entries(voices: Voices) -> Iterator[dict[str, object]]:
    """Make every clip."""
    for short, voice in HARVARD_VOICES.items():
        for word, text in HARVARD.items():
            yield make(voices, f"{word}-{short}", voice, [text], "read")
    for word, (voice, script) in SPOKEN.items():
        yield make(voices, f"spoken-{word}", voice, script, "spoken")


def main() -> None:
    """Write the corpus."""
    voices = Voices()
    utterances = []
    for entry in entries(voices):
        print(f"{entry['id']:20} {entry['text']}", file=sys.stderr)
        utterances.append(entry)
    facts = voices.facts()
    hashes = {file.name.removesuffix(".bin"): file.sha256 for file in models.CATALOGUE["kokoro-voices"].files}
    manifest = {
        "name": "harvard",
        "synthetic": True,
        "licence": "Apache-2.0 (the recordings); the Harvard sentences are public (IEEE, 1969)",
        "made_by": "pytest-voiceloop, with Kokoro-82M (Apache-2.0)",
        "how": {
            "script": "data/make_corpus.py",
            "engine": f"{facts['engine']}, {facts['version']}",
            "model": facts["model"],
            "model_sha256": facts["model_sha256"],
            "voices_sha256": {str(entry["voice"]): hashes[str(entry["voice"])] for entry in utterances},
            "rate_hz": RATE_HZ,
            "noise_dbfs": NOISE_DBFS,
            "edges": f"first and last sample above {EDGE_DB:g} dB of the clip's peak, before the noise was added",
        },
        "utterances": utterances,
    }
    (HERE / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
