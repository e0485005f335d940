"""What the stack's endpointer notices in a clip that is followed by silence. No stack, no sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pytest_voiceloop.call.corpus import RATE_HZ, Clip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voiceloop_services.whisper.endpointing import Endpointer, Event
    from voiceloop_services.whisper.faster import Silero

FOLLOWING_SILENCE_S = 2.0


def events(clip: Clip, detector: Silero, endpointer: Endpointer) -> Iterator[tuple[Event, float]]:
    """Every event, and when it is noticed, in ms after the last voiced sample (negative: before it).

    The endpointer may be told a new rule between two events.
    """
    audio = np.pad(clip.samples, (0, round(FOLLOWING_SILENCE_S * RATE_HZ)))
    for at in range(0, len(audio) - detector.window_samples + 1, detector.window_samples):
        window = audio[at : at + detector.window_samples]
        event = endpointer.push(window, detector.probability(window))
        if event:
            yield event, (endpointer.clock_s - clip.speech_end / RATE_HZ) * 1000
