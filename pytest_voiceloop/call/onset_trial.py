"""How well the first audible sample is found: the corpus, disturbed on purpose, at 8 kHz as a caller hears it.

What is true is known from the speech alone, before anything is added: the first moment from which, for 20 ms, it is

* at most 40 dB weaker than the clip's loud frames (their 95th percentile), and
* in a band of 200 Hz at least 3 dB stronger than the noise that will be added (about a critical band in the middle of
  the telephone's range; a long tone is heard 4 dB below the noise in its band, one of 20 ms from 6 dB above it on:
  Fastl and Zwicker, Psychoacoustics, chapter 4).

A consonant below that cannot be heard, and is no part of the truth. Levels are of frames of 10 ms every ms, from 300 Hz
up.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Literal, get_args

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
ABOVE_NOISE_DB = 3.0
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
_HELD_MS = 20
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
            heard, noise_rms = disturbed(np.pad(speech, (lead_ms * _MS, 0)), condition)
            true, found = true_onset(speech, noise_rms) + lead_ms * _MS, first_audible(heard, rtp.RATE_HZ)
            errors.append(float("inf") if found is None else (found - true) / _MS)
    return errors


def true_onset(speech: NDArray[np.float32], noise_rms: float) -> int:
    """The first sample that can be heard of speech, float32 at 8 kHz, shape (n,), in white noise of that RMS.

    Raises ValueError where none can.
    """
    power = _spectra(speech)[:, _BINS_300_HZ:]
    level = power.mean(axis=1)
    bands = (power[:, :-2] + power[:, 1:-1] + power[:, 2:]) / 3
    heard = (bands >= noise_rms**2 * 10 ** (ABOVE_NOISE_DB / 10)).any(axis=1)
    heard &= level >= np.percentile(level, 95) * 10 ** (-BELOW_LOUD_DB / 10)
    held = np.flatnonzero(np.lib.stride_tricks.sliding_window_view(heard, _HELD_MS).all(axis=1))
    if not len(held):
        raise ValueError("no speech in it rises above the noise for 20 ms")
    return int(held[0]) * _MS


def disturbed(speech: NDArray[np.float32], condition: Condition) -> tuple[NDArray[np.float32], float]:
    """Speech, float32 at 8 kHz, shape (n,), as it is heard under a condition, and the RMS of the noise all over it."""
    rng = np.random.default_rng(zlib.crc32(speech.tobytes()))
    heard = speech.astype(np.float64)
    onset = true_onset(speech, 0.0)
    noise_rms = 0.0
    if condition.startswith("20 dB"):
        noise_rms = float(np.sqrt(np.mean(np.square(heard[onset:])))) * 10 ** (-SNR_DB / 20)
        heard += noise_rms * rng.standard_normal(len(heard))
    elif condition == "behind a click":
        at = onset - int(rng.integers(40, 180)) * _MS
        heard[at : at + 5 * _MS] = 0.5
    elif condition == "behind comfort noise":
        heard[:onset] += 10 ** (COMFORT_NOISE_DBFS / 20) * rng.standard_normal(onset)
    made = heard.astype(np.float32)
    # Clean is clean; all else but the first kind of noise comes down a telephone line.
    if condition in ("clean", "20 dB above noise"):
        return made, noise_rms
    return rtp.decode_ulaw(rtp.encode_ulaw(made)), noise_rms


def _levels(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(_spectra(samples)[:, _BINS_300_HZ:].mean(axis=1))


def _spectra(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Power by bin of 62.5 Hz in frames of 10 ms around every ms, scaled so that white noise shows its variance."""
    window = np.hanning(_FRAME + 2)[1:-1]
    padded = np.pad(samples.astype(np.float64), _FRAME // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_MS]
    spectra = np.fft.rfft(frames * (window / np.sqrt(np.sum(np.square(window)))), _BINS, axis=1)
    return np.asarray(np.square(np.abs(spectra)))
