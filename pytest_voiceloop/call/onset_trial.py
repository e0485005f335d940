"""How well the first audible sample is found: the corpus, disturbed on purpose, at 8 kHz as a caller hears it.

What is true is computed from the speech alone and from the noise that is added to it: the first moment from which the
speech can be heard, by what Fastl and Zwicker (Psychoacoustics, chapters 4 and 6) report of listeners.

* Its level is at most 40 dB below the clip's loud frames (their 95th percentile).
* In one critical band it stays, for 20 ms or longer, above what the noise masks. A sound of 200 ms is heard from 4 dB
  below the noise in its band on, a shorter one from 10 dB more for each tenth of that: one of 20 ms from 6 dB above.
* Noise that has stopped masks on. For 5 ms nothing changes; from there to 200 ms what it masks falls with the logarithm
  of time, down to the level in the first rule.

A consonant below that cannot be heard, and is no part of the truth. Levels are of frames of 10 ms every ms, from 300 Hz
up.
"""

from __future__ import annotations

import zlib
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np
import soxr

from pytest_voiceloop.call.corpus import default_corpus_folder, load_clip, load_corpus
from pytest_voiceloop.measure.edges import first_audible
from pytest_voiceloop.measure.statistics import percentile
from pytest_voiceloop.wire import rtp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pytest_voiceloop.call.corpus import Corpus

Condition = Literal[
    "clean", "0 to 600 ms of silence before", "20 dB above noise", "20 dB above noise, µ-law", "behind a click",
    "behind comfort noise",
]  # fmt: skip
CONDITIONS: tuple[Condition, ...] = get_args(Condition)
BELOW_LOUD_DB = 40.0
CRITICAL_BANDS_HZ = (300, 400, 510, 630, 770, 920, 1080, 1270, 1480, 1720, 2000, 2320, 2700, 3150, 3700)
"""Their edges, within a telephone's range."""
LONG_MS, LONG_DB = 200, -4.0
"""A sound of this length is heard in noise of its level less so much; a longer one no further down."""
HELD_MS = (20, 40, 80, 160)
"""Lengths that are tried, each twice the one before."""
MASKED_ON_MS = (5.0, 200.0)
"""From when to when after its end a noise masks less and less."""
SNR_DB = 20.0
COMFORT_NOISE_DBFS = -50.0
LEADS_MS: Mapping[Condition, tuple[int, ...]] = {
    "clean": (0,),
    "0 to 600 ms of silence before": (0, 3, 60, 150, 300, 450, 600),
    "20 dB above noise": (200, 500),
    "20 dB above noise, µ-law": (200, 500),
    "behind a click": (0, 300),
    # Noise is known for one once it has lasted a third of a second.
    "behind comfort noise": (300, 600),
}
"""What is put before the clip, beside the 0.2 s without speech that it begins with."""
_FRAME = rtp.RATE_HZ // 100
_MS = rtp.RATE_HZ // 1000
_BINS = 128
_BINS_300_HZ = 5
_CLIP_NOISE_DBFS = -70.0


def onset_errors_ms(corpus: Corpus | None = None) -> dict[str, dict[str, float]]:
    """How far `first_audible` is off, by condition: ``p50``, ``p95`` and ``max`` of |found - true| in ms, and ``n``.

    `corpus` is the default one. The disturbances are seeded: the same numbers come every time. Raises CorpusError.
    """
    clips = speech_of(corpus or load_corpus(default_corpus_folder()))
    found: dict[str, dict[str, float]] = {}
    for condition in CONDITIONS:
        errors = [abs(error) for error in errors_ms(clips, condition)]
        figures = {key: round(percentile(errors, at), 3) for key, at in (("p50", 50), ("p95", 95), ("max", 100))}
        found[condition] = {**figures, "n": len(errors)}
    return found


def speech_of(corpus: Corpus) -> list[NDArray[np.float32]]:
    """The clips at 8 kHz, float32, shape (n,), with what stands before the speech made silent."""
    clips = []
    for utterance in corpus:
        samples = soxr.resample(load_clip(utterance).samples, 2 * rtp.RATE_HZ, rtp.RATE_HZ)
        # The corpus lies on a noise of its own, 60 dB below the speech.
        quiet = _levels(samples) < 10 ** ((_CLIP_NOISE_DBFS + 6) / 10)
        samples[: int(np.argmin(quiet)) * _MS] = 0
        clips.append(samples)
    return clips


def errors_ms(clips: Sequence[NDArray[np.float32]], condition: Condition) -> list[float]:
    """Errors, found - true, in ms for each clip and lead; infinite where nothing was found."""
    errors = []
    for speech in clips:
        for lead_ms in LEADS_MS[condition]:
            padded = np.pad(speech, (lead_ms * _MS, 0))
            heard, noise = disturbed(padded, condition)
            true, found = true_onset(padded, noise), first_audible(heard, rtp.RATE_HZ)
            errors.append(float("inf") if found is None else (found - true) / _MS)
    return errors


class Noise(NamedTuple):
    """White noise from a clip's beginning to the sample `end`."""

    rms: float
    end: int


SILENCE = Noise(0.0, 0)


def true_onset(speech: NDArray[np.float32], noise: Noise) -> int:
    """The first sample of speech, float32 at 8 kHz, shape (n,), that can be heard in a noise.

    Raises ValueError where none can.
    """
    power = _spectra(speech)
    level = power[:, _BINS_300_HZ:].mean(axis=1)
    quietest = float(np.percentile(level, 95)) * 10 ** (-BELOW_LOUD_DB / 10)
    edges = np.searchsorted(np.fft.rfftfreq(_BINS, 1 / rtp.RATE_HZ), CRITICAL_BANDS_HZ)
    bands = np.stack([power[:, low:high].mean(axis=1) for low, high in pairwise(edges)], axis=1)
    above = bands / _masking(noise, len(bands), quietest)[:, None]
    above[level < quietest] = 0
    least, found = np.lib.stride_tricks.sliding_window_view(above, HELD_MS[0], axis=0).min(axis=-1), []
    for held_ms in HELD_MS:
        if held_ms > HELD_MS[0]:
            least = np.minimum(least[: -held_ms // 2], least[held_ms // 2 :])
        heard = (least >= LONG_MS / held_ms * 10 ** (LONG_DB / 10)).any(axis=1)
        found += np.flatnonzero(heard)[:1].tolist()
    if not found:
        raise ValueError("no speech in it can be heard above the noise")
    return int(min(found)) * _MS


def _masking(noise: Noise, n: int, quietest: float) -> NDArray[np.float64]:
    """The power of noise that would mask as much in each ms; at the last what masks a sound of `quietest`."""
    first, last = MASKED_ON_MS
    since_ms = np.clip(np.arange(n) - noise.end / _MS, first, last)
    gone = np.log(since_ms / first) / np.log(last / first)
    masked_on = noise.rms ** (2 * (1 - gone)) * quietest**gone
    return np.asarray(np.where(gone < 1, masked_on, 0) + 1e-15)


def disturbed(speech: NDArray[np.float32], condition: Condition) -> tuple[NDArray[np.float32], Noise]:
    """Speech, float32 at 8 kHz, shape (n,), as it is heard under a condition, and the noise that was added."""
    rng = np.random.default_rng(zlib.crc32(speech.tobytes()))
    heard = speech.astype(np.float64)
    onset = true_onset(speech, SILENCE)
    noise = SILENCE
    if condition.startswith("20 dB"):
        noise = Noise(float(np.sqrt(np.mean(np.square(heard[onset:])))) * 10 ** (-SNR_DB / 20), len(heard))
    elif condition == "behind comfort noise":
        noise = Noise(10 ** (COMFORT_NOISE_DBFS / 20), onset)
    elif condition == "behind a click":
        at = onset - int(rng.integers(40, 180)) * _MS
        heard[at : at + 5 * _MS] = 0.5
    heard[: noise.end] += noise.rms * rng.standard_normal(noise.end)
    made = heard.astype(np.float32)
    # Clean is clean; all else but the first kind of noise comes down a telephone line.
    if condition in ("clean", "20 dB above noise"):
        return made, noise
    return rtp.decode_ulaw(rtp.encode_ulaw(made)), noise


def _levels(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(_spectra(samples)[:, _BINS_300_HZ:].mean(axis=1))


def _spectra(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Power by bin of 62.5 Hz in frames of 10 ms around every ms, scaled so that white noise shows its variance."""
    window = np.hanning(_FRAME + 2)[1:-1]
    padded = np.pad(samples.astype(np.float64), _FRAME // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_MS]
    spectra = np.fft.rfft(frames * (window / np.sqrt(np.sum(np.square(window)))), _BINS, axis=1)
    return np.asarray(np.square(np.abs(spectra)))
