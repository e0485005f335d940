"""Audio as it leaves: silence cut to its margins. No model."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE_RATE_HZ = 24_000


class Chunk(NamedTuple):
    """A part of a spoken text: float32 mono at 24 kHz in [-1, 1], shape (n,)."""

    samples: NDArray[np.float32]
    last: bool
    """Whether the text has been spoken with it."""


LEAD_MARGIN_MS = 15
"""What is left of the silence before the first sound: every ms of it is heard as latency."""
TAIL_MARGIN_MS = 120
"""What is left of the silence after the last sound: the pause before the next clause."""
SILENCE_DB = -50.0
"""Quieter than this, measured against the loudest 5 ms, is silence. Kokoro makes about 0.6 s of it a text."""


def trim(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut the silence around speech to the margins; audio without any sound becomes empty.

    float32 mono at 24 kHz, shape (n,). Silence is what lies SILENCE_DB below the loudest 5 ms.
    """
    window = SAMPLE_RATE_HZ // 200
    count = len(audio) // window
    if count == 0:
        return audio[:0]
    power = np.mean(np.square(audio[: count * window].reshape(count, window), dtype=np.float64), axis=1)
    loud = np.flatnonzero(power > power.max() * 10 ** (SILENCE_DB / 10))
    if len(loud) == 0:
        return audio[:0]
    first = max(0, loud[0] * window - LEAD_MARGIN_MS * SAMPLE_RATE_HZ // 1000)
    last = (loud[-1] + 1) * window + TAIL_MARGIN_MS * SAMPLE_RATE_HZ // 1000
    return audio[first:last]
