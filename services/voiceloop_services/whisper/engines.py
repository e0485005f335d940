"""What turns speech into words: faster-whisper with silero's voice detector, or a script."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pytest_voiceloop.wire.frames import AUDIO_IN_HZ
from voiceloop_services.runtime import scripted_facts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ENGINES = ("faster-whisper", "scripted")


class Detector(Protocol):
    """One call's voice detector. It hears every window of the call, in order."""

    window_samples: int

    def probability(self, window: NDArray[np.float32]) -> float:
        """How probable speech is in the next window, 0 to 1: float32 at 16 kHz, shape (window_samples,)."""
        ...


@dataclass(frozen=True, slots=True)
class Heard:
    """A transcript ("" for none), and what it took: frames of 20 ms through the encoder, tokens written."""

    text: str
    encoder_frames: int = 0
    tokens: int = 0


class Transcriber(Protocol):
    """A loaded engine. `transcribe` may be called from several threads."""

    def facts(self) -> dict[str, object]:
        """See runtime.Engine."""
        ...

    def detector(self) -> Detector:
        """A detector for a new call."""
        ...

    def transcribe(self, samples: NDArray[np.float32], index: int) -> Heard:
        """The words of a call's utterance number `index` (from 0): float32 at 16 kHz, shape (n,)."""
        ...


class EnergyDetector:
    """Loud is speech: good enough for a script's tones and clips without noise."""

    window_samples = 320

    def probability(self, window: NDArray[np.float32]) -> float:
        """1 where the RMS is above 0.005, else 0."""
        return float(np.sqrt(np.mean(np.square(window))) > 0.005)


class ScriptedTranscriber:
    """Hears what it is told to: `texts` are a call's first, second … utterance; the last one repeats.

    ``{la}`` stands for one "la" per 100 ms of sound, so that a test can tell whose utterance a transcript is of.
    """

    def __init__(self, texts: Sequence[str], delay_ms: int) -> None:
        self._texts = texts
        self._delay_ms = delay_ms

    def facts(self) -> dict[str, object]:
        """See runtime.Engine."""
        return scripted_facts({"delay_ms": self._delay_ms})

    def detector(self) -> Detector:
        """A detector for a new call."""
        return EnergyDetector()

    def transcribe(self, samples: NDArray[np.float32], index: int) -> Heard:
        """The scripted words, after the scripted delay."""
        time.sleep(self._delay_ms / 1000)
        text = self._texts[min(index, len(self._texts) - 1)]
        return Heard(text.replace("{la}", " ".join(["la"] * _tenths_of_sound(samples))) if "{la}" in text else text)


def _tenths_of_sound(samples: NDArray[np.float32]) -> int:
    size, detector = EnergyDetector.window_samples, EnergyDetector()
    windows = (samples[at : at + size] for at in range(0, len(samples), size))
    return round(sum(map(detector.probability, windows)) * size / AUDIO_IN_HZ * 10)
