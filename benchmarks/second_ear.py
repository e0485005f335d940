"""What does the second ear find? Damage planted in replies of the stack's own voice, detector by detector.

    python benchmarks/second_ear.py [--run RUN.json] [--texts N] [--json PATH]

Kokoro speaks N texts: the replies of a recorded run, or the corpus' sentences. Each is damaged in each way, as it was
made (24 kHz float32) and, on its own, as it is heard (8 kHz µ-law), and every figure of `sound` is compared with the
same reply's undamaged one. "Innocent" changes (1 dB, half a packet of delay, noise at -66 dBFS) show what to expect of
two versions that sound the same. Needs the extras "stack" and "ear".
"""

from __future__ import annotations

import argparse
import json
import logging
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soxr

from pytest_voiceloop.call.corpus import default_corpus_folder, load_corpus
from pytest_voiceloop.measure.dnsmos import dnsmos
from pytest_voiceloop.measure.edges import speech_edges
from pytest_voiceloop.measure.sound import sound
from pytest_voiceloop.wire import rtp

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Samples = NDArray[np.float32]
    Dice = np.random.Generator
    Damage = Callable[[Samples, int, Dice], Samples]
    Judged = dict[str, dict[str, dict[str, float]]]

WORSE = {"clipped_ms": 1, "gap_ms": 1, "bandwidth_hz": -1, "chars_per_s": 0, "level_db": 0, "cut_end": 1, "dnsmos": -1}
"""Which direction is worse; 0 where both are."""
FLOORS = {
    "clipped_ms": 2.0,
    "gap_ms": 8.0,
    "bandwidth_hz": 250.0,
    "chars_per_s": 0.8,
    "level_db": 3.0,
    "cut_end": 0.5,
    "dnsmos": 0.3,
}
"""A change of one reply that is larger is a find; the same floors serve the mean of many."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=None, help="a run's document, whose replies are spoken again")
    parser.add_argument("--texts", type=int, default=40, metavar="N")
    parser.add_argument("--json", type=Path, default=None, metavar="PATH")
    options = parser.parse_args()
    texts = (
        replies(options.run) if options.run else [utterance.text for utterance in load_corpus(default_corpus_folder())]
    )
    texts = sorted(set(texts))[: options.texts]
    spoken = [(text, speech) for text, speech in zip(texts, speak(texts), strict=True) if len(speech)]
    with ProcessPoolExecutor() as pool:
        judged = list(pool.map(judge, *zip(*spoken, strict=True)))
    for side in ("made", "heard"):
        print(f"\n{side}: {len(spoken)} replies; median change, share found, effect size (mean / sd of the change)\n")
        print("| damage | " + " | ".join(WORSE) + " |\n|---|" + "---|" * len(WORSE))
        print("| (undamaged: median) | " + " | ".join(undamaged(judged, side, name) for name in WORSE) + " |")
        for name in DAMAGES:
            print(f"| {name} | " + " | ".join(cell(judged, side, name, metric) for metric in WORSE) + " |")
    accused = [one["none"][s] for one in judged for s in one["none"]]
    print(
        "\nundamaged replies accused (of", len(accused), "):",
        {name: sum(a[name] > 0 for a in accused) for name in ("clipped_ms", "gap_ms", "cut_end")},
    )  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(judged, indent=1) + "\n", encoding="utf-8")


def replies(run: Path) -> list[str]:
    document = json.loads(run.read_text(encoding="utf-8"))
    return [
        turn["reply"]["text"] for test in document["tests"] for turn in test.get("turns", []) if turn["reply"]["text"]
    ]


def speak(texts: list[str]) -> list[Samples]:
    from voiceloop_services.kokoro.engines import add_options, make_speaker

    parser = argparse.ArgumentParser()
    add_options(parser)
    speaker = make_speaker(
        parser.parse_args([], argparse.Namespace(engine="kokoro-onnx", device="cpu")), logging.getLogger()
    )
    return [np.concatenate([chunk.samples for chunk in speaker.speak(text)]) for text in texts]


def judge(text: str, speech: Samples) -> Judged:
    """Damage → side → figures."""
    line = telephone(soxr.resample(speech, 24_000, rtp.RATE_HZ))
    found: Judged = {}
    for name, damage in {"none": unchanged, **DAMAGES}.items():
        dice = np.random.default_rng(zlib.crc32(f"{name} {text}".encode()))
        made = damage(speech, 24_000, dice).astype(np.float32)
        heard = telephone(damage(line, rtp.RATE_HZ, dice).astype(np.float32))
        found[name] = {side: figures(*audio, text) for side, audio in
                       {"made": (made, 24_000), "heard": (heard, rtp.RATE_HZ)}.items()}  # fmt: skip
    return found


def figures(samples: Samples, rate_hz: int, text: str) -> dict[str, float]:
    return asdict(replace(sound(samples, rate_hz, text), dnsmos=dnsmos(np.clip(samples, -1, 1), rate_hz)))


def telephone(samples: Samples) -> Samples:
    return rtp.decode_ulaw(rtp.encode_ulaw(samples))


def undamaged(judged: list[Judged], side: str, metric: str) -> str:
    return f"{np.median([one['none'][side][metric] for one in judged]):.4g}"


def cell(judged: list[Judged], side: str, name: str, metric: str) -> str:
    change = np.array([one[name][side][metric] - one["none"][side][metric] for one in judged])
    worse = np.abs(change) if WORSE[metric] == 0 else change * WORSE[metric]
    spread = change.std()
    effect = f"{change.mean() / spread:+.1f}" if spread > 1e-9 else "-"
    found = (worse > FLOORS[metric]).mean()
    return f"{np.median(change):+.3g} · {found:.0%} · {effect}" if change.any() else "0"


def unchanged(samples: Samples, _rate_hz: int, _dice: Dice) -> Samples:
    return samples


def innocent(samples: Samples, rate_hz: int, dice: Dice) -> Samples:
    shifted = np.concatenate([np.zeros(round(rate_hz * dice.uniform(0, 0.02)), np.float32), samples])
    return shifted * 10 ** (dice.uniform(-1, 1) / 20) + dice.standard_normal(len(shifted)) * 10 ** (-66 / 20)


def lost(share: float, *, repeat: bool) -> Damage:
    def damage(samples: Samples, rate_hz: int, dice: Dice) -> Samples:
        damaged, packet = samples.copy(), rate_hz // 50
        for start in range(packet, len(samples) - packet, packet):
            if dice.random() < share:
                damaged[start : start + packet] = damaged[start - packet : start] if repeat else 0
        return damaged

    return damage


def clipped(gain_db: float, *, quieter: bool) -> Damage:
    """Louder until it clips; `quieter` turns it down again, so that no sample is near full scale."""

    def damage(samples: Samples, _rate_hz: int, _dice: Dice) -> Samples:
        gain = 10 ** (gain_db / 20)
        return np.clip(samples * gain, -1, 1) / (gain if quieter else 1)

    return damage


def low_pass(cut_hz: int) -> Damage:
    return lambda samples, rate_hz, _dice: soxr.resample(
        soxr.resample(samples, rate_hz, 2 * cut_hz), 2 * cut_hz, rate_hz
    )


def word_dropped(samples: Samples, rate_hz: int, dice: Dice) -> Samples:
    """A tenth of what is said, cut out at moments that are quiet: no word boundary is known, but words end quietly."""
    level = np.convolve(np.abs(samples), np.ones(rate_hz // 50), "same")
    wanted = round(len(samples) * 0.1)

    def quiet(around: int) -> int:
        near = slice(max(0, around - rate_hz // 20), around + rate_hz // 20)
        return near.start + int(np.argmin(level[near]))

    start = int(dice.uniform(0.15, 0.7) * len(samples))
    return np.concatenate([samples[: quiet(start)], samples[quiet(start + wanted) :]])


def resampled(speed: float) -> Damage:
    return lambda samples, rate_hz, _dice: soxr.resample(samples, rate_hz * speed, rate_hz)


def stretched(speed: float) -> Damage:
    """Faster or slower at the same pitch: 30 ms pieces, each laid where it fits best (WSOLA)."""

    def damage(samples: Samples, rate_hz: int, _dice: Dice) -> Samples:
        hop, search = rate_hz * 15 // 1000, rate_hz // 100
        window = np.hanning(2 * hop)
        made = np.zeros(round(len(samples) / speed) + 3 * hop)
        at = 0
        for place in range(0, len(made) - 2 * hop, hop):
            centre = round(place * speed)
            following = samples[at + hop : at + 3 * hop] if place else samples[: 2 * hop]
            options = range(max(0, centre - search), min(centre + search, len(samples) - 2 * hop), 3)
            if len(following) < 2 * hop or len(options) == 0:
                break
            at = max(options, key=lambda start: float(samples[start : start + 2 * hop] @ following))
            made[place : place + 2 * hop] += samples[at : at + 2 * hop] * window
        return made

    return damage


def truncated(ms: int) -> Damage:
    def damage(samples: Samples, rate_hz: int, _dice: Dice) -> Samples:
        edges = speech_edges(samples, rate_hz)
        return samples[: edges.end - rate_hz * ms // 1000] if edges else samples

    return damage


def hole(ms: int) -> Damage:
    """One, in a loud place."""

    def damage(samples: Samples, rate_hz: int, dice: Dice) -> Samples:
        level = np.convolve(np.abs(samples), np.ones(rate_hz // 50), "same")
        start = int(dice.choice(np.flatnonzero(level > np.percentile(level, 70))))
        damaged = samples.copy()
        damaged[start : start + rate_hz * ms // 1000] = 0
        return damaged

    return damage


DAMAGES: dict[str, Damage] = {
    "innocent": innocent,
    "5 % of packets lost": lost(0.05, repeat=False),
    "5 % lost, repeated instead": lost(0.05, repeat=True),
    "one hole of 60 ms": hole(60),
    "clipped at +12 dB": clipped(12, quieter=False),
    "clipped at +12 dB, then quieter": clipped(12, quieter=True),
    "low-pass 2 kHz": low_pass(2000),
    "low-pass 1.5 kHz": low_pass(1500),
    "a tenth cut out": word_dropped,
    "speed x0.85, resampled": resampled(0.85),
    "speed x1.2, resampled": resampled(1.2),
    "speed x0.85, same pitch": stretched(0.85),
    "speed x1.2, same pitch": stretched(1.2),
    "last 300 ms missing": truncated(300),
}

if __name__ == "__main__":
    main()
