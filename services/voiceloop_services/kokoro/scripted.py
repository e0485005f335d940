"""A speaker without a model, for testing a harness: a tone as long as the text, or always the same clip."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

import numpy as np

from voiceloop_services.kokoro.sound import SAMPLE_RATE_HZ, Chunk
from voiceloop_services.runtime import MissingError, scripted_facts

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

TONE_HZ = 440
TONE_PEAK = 0.3
SECONDS_PER_CHARACTER = 0.07
FADE_S = 0.02
LONGEST_CHUNK_S = 100.0
"""What one frame holds. A text of a mebibyte is twenty hours of tone, which no memory holds at once."""


def add_script_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``--engine scripted``."""
    parser.add_argument("--script-clip", metavar="FILE", help="speak this sound file for every text, not a tone")
    parser.add_argument("--script-delay-ms", type=_not_negative, default=0.0, metavar="N", help="wait before each text")
    parser.add_argument("--script-rtf", type=_not_negative, default=0.0, metavar="X", help="also X s per s of audio")


class ScriptedSpeaker:
    """Speaks `clip` or a tone, after a delay of `delay_s` plus `rtf` seconds per second of audio.

    `clip` is float32 mono at 24 kHz, shape (n,).
    """

    def __init__(self, clip: NDArray[np.float32] | None = None, delay_s: float = 0.0, rtf: float = 0.0) -> None:
        self._clip = clip
        self._delay_s = delay_s
        self._rtf = rtf

    @classmethod
    def from_options(cls, options: argparse.Namespace, log: logging.Logger) -> ScriptedSpeaker:
        """The speaker that the command line asks for. Raises MissingError for a clip that cannot be read."""
        clip = read_clip(options.script_clip) if options.script_clip else None
        log.info("scripted engine: every text becomes %s", options.script_clip or f"a tone of {TONE_HZ} Hz")
        return cls(clip, options.script_delay_ms / 1000, options.script_rtf)

    def facts(self) -> dict[str, object]:
        """What the ready line says."""
        settings: dict[str, object] = {
            "clip_s": None if self._clip is None else round(len(self._clip) / SAMPLE_RATE_HZ, 3),
            "delay_ms": self._delay_s * 1000,
            "rtf": self._rtf,
        }
        return scripted_facts(settings, version="1")

    def speak(self, text: str, made_s: float = 0.0) -> Iterator[Chunk]:  # noqa: ARG002 (speaks as a whole)
        """The clip, or 70 ms of tone per character of `text`: float32 mono at 24 kHz, shape (n,).

        As a whole, unless it is longer than LONGEST_CHUNK_S.
        """
        left_s, delay_s = len(text) * SECONDS_PER_CHARACTER, self._delay_s
        while True:
            audio = tone(min(left_s, LONGEST_CHUNK_S)) if self._clip is None else self._clip
            left_s = left_s - LONGEST_CHUNK_S if self._clip is None else 0.0
            # The delay is what the script asks for, not a wait for something.
            time.sleep(delay_s + self._rtf * len(audio) / SAMPLE_RATE_HZ)
            delay_s = 0.0
            yield Chunk(audio, last=left_s <= 0)
            if left_s <= 0:
                return


def tone(duration_s: float) -> NDArray[np.float32]:
    """A tone of 440 Hz that fades in and out within 20 ms: float32 mono at 24 kHz, shape (n,)."""
    seconds = np.arange(round(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    edge = np.minimum(seconds, seconds[::-1]) / FADE_S
    return (TONE_PEAK * np.minimum(edge, 1.0) * np.sin(2 * np.pi * TONE_HZ * seconds)).astype(np.float32)


def read_clip(path: str | Path) -> NDArray[np.float32]:
    """A sound file as float32 mono at 24 kHz, shape (n,). Raises MissingError where it cannot be read."""
    import soundfile

    try:
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise MissingError(
            f"the clip of --script-clip cannot be read: {error}", "name a WAV or FLAC file that exists"
        ) from None
    mono: NDArray[np.float32] = samples.mean(axis=1)
    if rate_hz != SAMPLE_RATE_HZ:
        import soxr

        mono = soxr.resample(mono, rate_hz, SAMPLE_RATE_HZ)
    return mono.astype(np.float32)


def _not_negative(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 up")
    return number
