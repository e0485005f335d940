"""How a reply sounds, in figures that need no reference: what a word error rate is blind to.

A recogniser repairs a mild mumble, so a voice can be clipped, full of holes or too fast long before its words are lost.
Each detector looks for one kind of damage. None of them says whether a voice is pleasant: they are for comparing two
versions of one stack, whose voice is the same. docs/second-ear.md shows what each of them finds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pytest_voiceloop.measure.edges import audible_spans

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOUD_PERCENTILE = 90.0
"""The level of loud speech: of the audible milliseconds, so many percent are weaker."""

USUAL_DBFS = -22.0
"""The level at which `chars_per_s` is measured, whatever the voice has."""

FULL_SCALE = 0.97
"""µ-law's greatest value is 0.98."""
PEAK_MS = 2.0
"""The peak of a wave is what it exceeds for this long: a filter makes a clipped wave overshoot here and there."""
TOP = 0.85
PILE_UP = 0.04
"""A clipped wave is near its peak, wherever a gain has put that since, for this share of the time that it is above a
fifth of it. Unclipped voices: 0.027 at most; clipped 9 dB below their peak: 0.05 at least (docs/second-ear.md)."""

HOLE_DB = 45.0
"""A millisecond that is so far below loud speech holds nothing."""
SPEECH_DB = 20.0
"""A millisecond that is less far below loud speech is in the middle of a sound, not where one dies away."""
ABRUPT_MS = 5
"""Natural sounds take longer than this from the middle of a sound to nothing. A steep filter rings for half of it."""
HOLE_MS = (8, 250)
"""What is shorter is a glottal pause, what is longer a pause between words."""
REPEAT_LAGS_MS = (10, 20)
REPEAT_MS = (9, 100)
"""A wave that repeats itself for longer is a tone."""

BAND_HZ = 125.0
BAND_DB = 38.0
"""A band counts if it comes this near to the strongest one, each at its loudest. µ-law's noise stays below that."""


@dataclass(frozen=True, slots=True)
class Sound:
    """How a stretch of speech sounds. None where nothing is audible, so that there is nothing to judge."""

    clipped_ms: float | None = None
    """Time at flat tops, also of a wave that was clipped before it was made quieter."""
    gap_ms: float | None = None
    """Holes inside speech: it stops at once and goes on, holds one value, or repeats the last packet."""
    bandwidth_hz: float | None = None
    """Up to where there is sound, in steps of 125 Hz."""
    chars_per_s: float | None = None
    """Letters and digits of the text per second of audible sound: the voice's speed, and words that are missing."""
    level_db: float | None = None
    """Mean power of what is audible, dB of full scale."""
    cut_end: float | None = None
    """1.0 where the last sound stops at once instead of dying away, else 0.0."""
    dnsmos: float | None = None
    """Overall quality from 1 to 5 by DNSMOS; None without the extra ``ear``."""

    def as_json(self) -> dict[str, Any]:
        """As it stands in the JSON document."""
        return {name: None if value is None else round(float(value), 3) for name, value in asdict(self).items()}


def sound(samples: NDArray[np.float32], rate_hz: int, text: str) -> Sound:
    """Judge float32 mono samples in [-1, 1], shape (n,), in which `text` is spoken. `dnsmos` is left out.

    Raises ValueError for another shape or a rate below 4 kHz.
    """
    spans = audible_spans(samples, rate_hz)
    if not spans:
        return Sound()
    audible = np.concatenate([samples[start:end] for start, end in spans]).astype(np.float64)
    ranges = _ranges(samples, rate_hz)
    loud = _loud(ranges, spans, rate_hz)
    level_db = float(10 * np.log10(np.mean(np.square(audible)) + 1e-12))
    # What is audible has limits in dB of full scale; a volume must not change how fast a voice seems to speak.
    usual = (samples * 10 ** ((USUAL_DBFS - level_db) / 20)).astype(np.float32)
    speaking_s = sum(end - start for start, end in audible_spans(usual, rate_hz)) / rate_hz
    letters = sum(character.isalnum() for character in text)
    return Sound(
        clipped_ms=_clipped(audible, rate_hz) * 1000 / rate_hz,
        gap_ms=sum(end - start for start, end in _holes(ranges, loud))
        + int(_repeated(samples, rate_hz, loud).sum()) * 1000 / rate_hz,
        bandwidth_hz=_bandwidth_hz(samples, rate_hz),
        chars_per_s=letters / speaking_s if letters and speaking_s else None,
        level_db=level_db,
        cut_end=float(_stops_at_once(ranges, loud)),
    )


def damage(samples: NDArray[np.float32], rate_hz: int) -> list[tuple[Literal["clipped", "hole"], int, int]]:
    """Where `sound` finds flat tops and holes: kind, first sample, last sample + 1, in order of the first.

    Arguments and errors as `sound`. A stretch that repeats the packet before it is a hole.
    """
    spans = audible_spans(samples, rate_hz)
    if not spans:
        return []
    audible = np.concatenate([samples[start:end] for start, end in spans]).astype(np.float64)
    ranges = _ranges(samples, rate_hz)
    loud, per_ms = _loud(ranges, spans, rate_hz), rate_hz // 1000
    tops = _runs(np.abs(samples) >= _flat_from(audible, rate_hz)) if _clipped(audible, rate_hz) else []
    holes = [(start * per_ms, end * per_ms) for start, end in _holes(ranges, loud)]
    holes += _runs(_repeated(samples, rate_hz, loud))
    found: list[tuple[Literal["clipped", "hole"], int, int]] = [("clipped", start, end) for start, end in tops]
    return sorted([*found, *(("hole", start, end) for start, end in holes)], key=lambda one: one[1])


def _ranges(samples: NDArray[np.float32], rate_hz: int) -> NDArray[np.float64]:
    """Half the distance from lowest to highest sample in 2 ms, every ms: shape (ms - 1,). A held value has none."""
    per_ms = rate_hz // 1000
    whole = samples[: len(samples) // per_ms * per_ms].reshape(-1, per_ms).astype(np.float64)
    high, low = whole.max(axis=1), whole.min(axis=1)
    return np.asarray((np.maximum(high[1:], high[:-1]) - np.minimum(low[1:], low[:-1])) / 2)


def _loud(ranges: NDArray[np.float64], spans: list[tuple[int, int]], rate_hz: int) -> float:
    per_ms = rate_hz // 1000
    return float(np.percentile(np.concatenate([ranges[a // per_ms : b // per_ms] for a, b in spans]), LOUD_PERCENTILE))


def _clipped(audible: NDArray[np.float64], rate_hz: int) -> int:
    """Samples of runs at full scale, or at the top of a wave that piles up there.

    The latter by histogram, since flat tops do not survive a filter or µ-law.
    """
    magnitude = np.abs(audible)
    full = sum(end - start for start, end in _runs(magnitude >= FULL_SCALE) if end - start > 1)
    flat = _flat_from(audible, rate_hz)
    return full if flat >= FULL_SCALE else max(full, int((magnitude >= flat).sum()))


def _flat_from(audible: NDArray[np.float64], rate_hz: int) -> float:
    """The magnitude from which a wave is taken for cut off: near its peak if it piles up there, else full scale."""
    magnitude = np.abs(audible)
    beyond = min(round(PEAK_MS * rate_hz / 1000), len(magnitude) - 1)
    peak = -np.partition(-magnitude, beyond)[beyond]
    top, body = int((magnitude >= TOP * peak).sum()), int((magnitude >= peak / 5).sum())
    return float(TOP * peak) if top > PILE_UP * body else FULL_SCALE


def _holes(ranges: NDArray[np.float64], loud: float) -> list[tuple[int, int]]:
    """Holes that begin at once, in the middle of a sound, and are followed by sound again: first ms, last + 1."""
    found = []
    for start, end in _runs(ranges < loud * 10 ** (-HOLE_DB / 20)):
        inside = end < len(ranges) and HOLE_MS[0] <= end - start + 1 <= HOLE_MS[1]
        if inside and _abrupt(ranges, start, loud):
            # A hole touches the 2 ms on either side of it; those are not counted in its run.
            found.append((start, end + 1))
    return found


def _abrupt(ranges: NDArray[np.float64], at: int, loud: float) -> bool:
    """Whether what stops there was in the middle of a sound a moment before."""
    before = ranges[max(0, at - ABRUPT_MS) : at]
    return bool(len(before) and before.max() > loud * 10 ** (-SPEECH_DB / 20))


def _stops_at_once(ranges: NDArray[np.float64], loud: float) -> bool:
    """Whether the last sound ends abruptly, be it in silence or because there is no more."""
    sounding = np.flatnonzero(ranges >= loud * 10 ** (-HOLE_DB / 20))
    return bool(len(sounding)) and _abrupt(ranges, int(sounding[-1]) + 1, loud)


def _repeated(samples: NDArray[np.float32], rate_hz: int, loud: float) -> NDArray[np.bool_]:
    """Which samples repeat for a while what was heard one packet before, as a receiver does that misses one."""
    found = np.zeros(len(samples), np.bool_)
    shortest, longest = (round(ms * rate_hz / 1000) for ms in REPEAT_MS)
    for lag in (round(ms * rate_hz / 1000) for ms in REPEAT_LAGS_MS):
        for start, end in _runs(np.concatenate((np.zeros(lag, np.bool_), samples[lag:] == samples[:-lag]))):
            stretch = samples[start:end]
            if shortest <= end - start <= longest and np.ptp(stretch) / 2 > loud * 10 ** (-SPEECH_DB / 20):
                found[start:end] = True
    return found


def _bandwidth_hz(samples: NDArray[np.float32], rate_hz: int) -> float:
    """The upper edge of the highest band that is heard anywhere. Frames of 32 ms, Hann, every 16 ms."""
    hop = round(rate_hz * 0.016)
    hops = -(-len(samples) // hop) + 1
    padded = np.zeros(hops * hop, np.float32)
    padded[: len(samples)] = samples
    frames = np.lib.stride_tricks.sliding_window_view(padded, 2 * hop)[::hop]
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(2 * hop), axis=1)))
    bins = round(BAND_HZ * 2 * hop / rate_hz)
    bands = power[:, : power.shape[1] // bins * bins].reshape(len(power), -1, bins).sum(axis=2)
    # A single frame may be a click; several are a sound.
    heard = np.sort(bands, axis=0)[-min(len(bands), 4)]
    return float((np.flatnonzero(heard > heard.max() * 10 ** (-BAND_DB / 10))[-1] + 1) * BAND_HZ)


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Runs of true values as (first, last + 1)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
