"""The caller's own impairments: what is said with noise, µ-law or silence in it, and what is lost of what comes back.

Pure functions. What they draw depends on the fault's seed alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import soxr

from pytest_voiceloop.call.corpus import RATE_HZ
from pytest_voiceloop.call.faults import sample_of
from pytest_voiceloop.wire import rtp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pytest_voiceloop.call.corpus import Clip
    from pytest_voiceloop.call.faults import Fault
    from pytest_voiceloop.measure.playout import Arrival


def spoken(clip: Clip, faults: Sequence[Fault]) -> Clip:
    """The clip as the faults on the caller have it said. One that falls silent has its speech end there.

    Noise is there all the time; it and silence come from the caller's room, so µ-law is applied after them.
    """
    for one in sorted(faults, key=lambda one: one.kind == "mulaw"):
        if one.kind == "noise":
            clip = replace(clip, samples=_noisy(clip, one))
        elif one.kind == "silence":
            clip = _cut(clip, sample_of(one, clip, RATE_HZ))
        elif one.kind == "mulaw":
            clip = replace(clip, samples=telephone(clip.samples))
    return clip


def received(arrivals: Sequence[Arrival], faults: Sequence[Fault]) -> list[Arrival]:
    """What reaches the ear of what was sent, in the order in which it does."""
    found = list(arrivals)
    for one in faults:
        rng = np.random.default_rng(one.seed)
        if one.kind == "rtp_loss":
            found = [arrival for arrival in found if rng.random() * 100 >= (one.percent or 0)]
        elif one.kind == "rtp_jitter":
            most_ns = round((one.duration_ms or 0) * 1e6)
            found = [
                replace(arrival, arrival_ns=arrival.arrival_ns + int(rng.integers(most_ns + 1))) for arrival in found
            ]
    return sorted(found, key=lambda arrival: arrival.arrival_ns)


def telephone(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Float32 samples at 16 kHz, shape (n,), as they come through a telephone line: G.711 µ-law at 8 kHz."""
    narrow = soxr.resample(samples, RATE_HZ, rtp.RATE_HZ, quality="HQ")
    wide = soxr.resample(rtp.decode_ulaw(rtp.encode_ulaw(narrow)), rtp.RATE_HZ, RATE_HZ, quality="HQ")
    return np.pad(wide, (0, max(0, len(samples) - len(wide))))[: len(samples)].astype(np.float32)


def _noisy(clip: Clip, one: Fault) -> NDArray[np.float32]:
    """With white noise; the power of the speech is that between its edges."""
    power = float(np.mean(np.square(clip.samples[clip.speech_start : clip.speech_end])))
    rms = float(np.sqrt(power)) * 10 ** (-(one.snr_db or 0.0) / 20)
    noise = rms * np.random.default_rng(one.seed).standard_normal(len(clip.samples))
    return np.clip(clip.samples + noise, -1.0, 1.0).astype(np.float32)


def _cut(clip: Clip, end: int) -> Clip:
    samples = clip.samples.copy()
    samples[end:] = 0.0
    return replace(clip, samples=samples, speech_end=max(clip.speech_start, min(clip.speech_end, end)))
