"""Where sound starts and ends in a clip: the caller's last voiced sample, the first audible sample of a reply.

How it works, in frames of 10 ms every 5 ms:

1. The level of every frame, in dB of full scale, of the clip without its low frequencies (12 dB less per octave
   below 300 Hz, much as A-weighting does): a rumble that nobody hears must not hide a final "s".
2. A noise floor. Noise is what keeps one level, within 6 dB, for 320 ms, 15 dB below the clip's loud frames (their
   95th percentile); of several such levels the loudest counts, give or take 6 dB. Where there is none, and no digital
   silence either, the quietest 60 ms are the noise, in clips of at least a second (a lone "yes" may have no pause in
   it). The floor is never below -63 dBFS. A whole clip that keeps one level is noise below -40 dBFS and sound above, so
   that a test tone is heard and comfort noise is not.
3. An edge is 3 to 5 dB above the floor: four standard deviations of the noise's frames, so that speech in a steady
   hiss is followed further down than in a restless room. Audible is a run of at least 40 ms that is another 3 dB
   above that, and above -51 dBFS (dips of up to 15 ms, a low voice's period, do not break it). Its ends are moved
   outwards for as long as the level stays above the edge and above -58 dBFS: where it rose, and where it died away.
   The first sound of a clip without noise begins at -59.5 dBFS, 40 dB below speech of the usual level.
   In a noise above that the ends go on outwards, 5 ms at a time and 100 ms at most, where the window of 20 ms that
   reaches 5 ms further out is 7 dB above the noise in a band of 200 Hz: an "s" or an "h" lies in few bands, and is
   heard before it raises the level of them all. Where the noise fell silent up to 100 ms before the first sound,
   that begins where it rose 3 dB above what was left: comfort noise may stop before a consonant that is no louder
   than it was. Where it stopped as that consonant began, its upper half is gone all the same: from there on the
   sound is speech.
4. What is shorter is a click, unless it lasts 25 ms or more and is a syllable's part: at most 100 ms after such a run
   (the burst of a final "t", "k" or "p") or at most 60 ms before one (a short "the").
5. Speech, but not sound, leaves out a breath at either end: 18 dB weaker than the loudest frame, and either more than
   100 ms away from the rest or longer than 150 ms.

What that cannot do: a consonant that is weaker than the noise is lost with the noise, and noise that comes and goes
like speech (a second talker, music) counts as audible.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

HOP_S = 0.005
WEIGHTING_HZ = 300.0
SILENCE_DBFS = -70.0
"""Below the smallest step of µ-law (-72 dBFS): nobody hears it, and it says nothing about a line's noise."""
LOWEST_FLOOR_DBFS = -63.0
LOWEST_ONSET_DBFS = -51.0
LOWEST_EDGE_DBFS = -58.0
LOWEST_START_DBFS = -59.5
QUIET_DBFS = -40.0
"""A steady sound below this is a line's noise, even where nothing louder is heard."""
NOISE_BELOW_LOUD_DB = 15.0
QUIETEST_BELOW_LOUD_DB = 25.0
STEADY_DB = 6.0
EDGE_DB = (3.0, 5.0)
EDGE_SPREADS = 4.0
ONSET_DB = 3.0
BAND_DB = 7.0
"""Above the noise in a band, on average over 20 ms: 5 times its power, which is speech 6 dB above it."""
TREBLE_HZ = 2000.0
GONE_DB = 7.0
"""In 10 ms from 2 kHz up a steady noise is hardly ever so much weaker than it is on average."""
BREATH_DB = 18.0

# In frames of HOP_S.
_STEADY_FRAMES = 56
_SMOOTHED_FRAMES = 8
_QUIETEST_FRAMES = 12
_FRAMES_WITH_PAUSES = 200
_AUDIBLE_FRAMES = 8
_DIP_FRAMES = 3
_BURST_FRAMES = 5
_CLOSURE_FRAMES = 20
_LEAD_FRAMES = 12
_BREATH_FRAMES = 30
_ENDED_FRAMES = 20
_FRAME_HOPS = 2
_WINDOW_HOPS = 4
_MOST_WIDER = 20
_BAND_BINS = 4

Span = tuple[int, int]


class SpeechEdges(NamedTuple):
    """Sample indices: `start` is the first voiced sample, `end` the last one + 1."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Levels:
    """Frame `i` begins at sample `i * hop` and is two hops long; `db` has shape (frames,)."""

    db: NDArray[np.float64]
    hop: int
    samples: int
    weighted: NDArray[np.float64]
    """The samples that the levels are of, filled up to whole hops."""


def speech_edges(samples: NDArray[np.float32], rate_hz: int) -> SpeechEdges | None:
    """Where the speech of a clip starts and ends; None where nothing is audible.

    `samples` is float32 mono in [-1, 1], shape (n,). Raises ValueError for another shape or a rate below 4 kHz.
    """
    levels = _levels(samples, rate_hz)
    spans = _audible(levels) if levels else []
    if not spans or levels is None:
        return None
    loud = max(float(levels.db[start:end].max()) for start, end in spans)
    while _is_breath(levels, spans[-1], loud, spans[-1][0] - spans[-2][1] if len(spans) > 1 else 0):
        spans.pop()
    while _is_breath(levels, spans[0], loud, spans[1][0] - spans[0][1] if len(spans) > 1 else 0):
        spans.pop(0)
    return SpeechEdges(_in_samples(spans[0], levels)[0], _in_samples(spans[-1], levels)[1])


def first_audible(samples: NDArray[np.float32], rate_hz: int) -> int | None:
    """Index of the first audible sample; None where there is none. Arguments and errors as `speech_edges`."""
    spans = audible_spans(samples, rate_hz)
    return spans[0][0] if spans else None


def gaps(samples: NDArray[np.float32], rate_hz: int, least_ms: float = 200.0) -> list[Span]:
    """The silences of at least `least_ms` between two audible spans, as (first sample, last sample + 1)."""
    spans = audible_spans(samples, rate_hz)
    least = least_ms * rate_hz / 1000
    between = ((left[1], right[0]) for left, right in pairwise(spans))
    return [gap for gap in between if gap[1] - gap[0] >= least]


def audible_spans(samples: NDArray[np.float32], rate_hz: int) -> list[Span]:
    """Every audible run as (first sample, last sample + 1), in order. Arguments and errors as `speech_edges`."""
    levels = _levels(samples, rate_hz)
    return [_in_samples(span, levels) for span in _audible(levels)] if levels else []


def _audible(levels: _Levels) -> list[Span]:
    """The audible runs, in frames."""
    noise = _noise(levels.db)
    edge = noise.floor + noise.margin_db
    touched = _joined(_runs(levels.db > max(edge, LOWEST_EDGE_DBFS)))
    loud = _joined(_runs(levels.db > max(edge + ONSET_DB, LOWEST_ONSET_DBFS)))
    longest = [max((b - a for a, b in loud if start <= a < end), default=0) for start, end in touched]
    # A frame is two hops long, so a sound of n hops touches n + 1 frames.
    heard = [frames > _AUDIBLE_FRAMES for frames in longest]

    def is_burst(i: int) -> bool:
        start, end = touched[i]
        after = i > 0 and heard[i - 1] and start - touched[i - 1][1] <= _CLOSURE_FRAMES
        before = i + 1 < len(touched) and heard[i + 1] and touched[i + 1][0] - end <= _LEAD_FRAMES
        return longest[i] > 0 and end - start > _BURST_FRAMES and (after or before)

    spans = [span for i, span in enumerate(touched) if heard[i] or is_burst(i)]
    spans = _from_its_rise(_since_noise_ended(spans, levels.db, noise), levels.db, noise)
    return _in_its_place(_with_weak_ends(spans, levels, noise), levels, noise)


def _from_its_rise(spans: list[Span], db: NDArray[np.float64], noise: _Noise) -> list[Span]:
    """The spans, the first one from where it began to be heard, where no noise hides that."""
    if not spans or noise.floor > LOWEST_FLOOR_DBFS:
        return spans
    start, end = spans[0]
    return [(_before(start, db[:start] > LOWEST_START_DBFS), end), *spans[1:]]


def _before(start: int, above: NDArray[np.bool_]) -> int:
    """The first of the frames above that lead up to `start`; `start` where the one before it is not."""
    return start - int(np.argmin(np.append(above[::-1], False)))


def _since_noise_ended(spans: list[Span], db: NDArray[np.float64], noise: _Noise) -> list[Span]:
    """The spans, the first one from where it rose above what was left when the noise had ended, if that ended before.

    Comfort noise may stop a moment before a consonant that is no louder than it was.
    """
    if not spans or noise.stretch is None or noise.stretch[1] >= spans[0][0]:
        return spans
    start, end = spans[0]
    first = max(noise.stretch[1], start - _ENDED_FRAMES)
    lowest = first + int(np.argmin(db[first:start]))
    if db[lowest] > noise.floor - noise.margin_db:
        return spans
    risen = db[lowest:start] > max(db[lowest] + EDGE_DB[0], LOWEST_EDGE_DBFS)
    return [(_before(start, risen), end), *spans[1:]]


def _in_its_place(spans: list[Span], levels: _Levels, noise: _Noise) -> list[Span]:
    """The spans, the first one from where the noise's upper half was gone, if that was before, and sound went on.

    Comfort noise may stop just as a consonant begins that is weaker than it was.
    """
    if not spans or noise.stretch is None or noise.floor < LOWEST_EDGE_DBFS:
        return spans
    start, end = spans[0]
    first = max(noise.stretch[1] - _FRAME_HOPS, start - _MOST_WIDER)
    least = _treble(levels, range(noise.stretch[0], noise.stretch[1] - 1)).mean() * 10 ** (-GONE_DB / 10)
    gone = np.flatnonzero(_treble(levels, range(first, max(first, start))) < least)
    if not len(gone):
        return spans
    sounds_from = _before(start, levels.db[:start] > LOWEST_EDGE_DBFS)
    return [(min(start, max(first + int(gone[0]) - 1, sounds_from)), end), *spans[1:]]


def _treble(levels: _Levels, first_hops: range) -> NDArray[np.float64]:
    """Power from 2 kHz up in windows of 10 ms that begin with these hops, shape (windows,)."""
    power = _powers(levels, first_hops, _FRAME_HOPS)
    return np.asarray(power[:, round(TREBLE_HZ * _FRAME_HOPS * HOP_S) :].sum(axis=1))


def _with_weak_ends(spans: list[Span], levels: _Levels, noise: _Noise) -> list[Span]:
    """The spans with what lies before and after them and is above the noise in a band only."""
    # A weaker noise hides nothing that is heard, and is itself exceeded by the ringing of the weighting filter.
    if noise.stretch is None or noise.floor < LOWEST_EDGE_DBFS:
        return spans
    floor = _bands(levels, range(noise.stretch[0], noise.stretch[1] - _WINDOW_HOPS + 1)).mean(axis=0) + 1e-15
    least = floor * 10 ** (BAND_DB / 10)

    def heard(hop: int) -> bool:
        return bool((_bands(levels, range(hop, hop + 1)) > least).any())

    wider = []
    for i, (start, end) in enumerate(spans):
        least_start = max(spans[i - 1][1] + 1 if i else 0, start - _MOST_WIDER)
        most_end = min(spans[i + 1][0] if i + 1 < len(spans) else len(levels.db), end + _MOST_WIDER)
        # The sound begins with hop `start + 1` (see _in_samples), or late in the one before.
        while start > 0 and start - _WINDOW_HOPS >= least_start and heard(start - _WINDOW_HOPS + 1):
            start -= 1  # noqa: PLW2901
        while end < len(levels.db) and end + _WINDOW_HOPS <= most_end and heard(end):
            end += 1  # noqa: PLW2901
        wider.append((start, end))
    return wider


def _bands(levels: _Levels, first_hops: range) -> NDArray[np.float64]:
    """Power by band in windows of 20 ms that begin with these hops, shape (windows, bands); a band is 200 Hz wide."""
    power = _powers(levels, first_hops, _WINDOW_HOPS)
    whole = power.shape[1] - power.shape[1] % _BAND_BINS
    return np.asarray(power[:, :whole].reshape(len(power), -1, _BAND_BINS).mean(axis=2))


def _powers(levels: _Levels, first_hops: range, hops: int) -> NDArray[np.float64]:
    """Power by bin in windows of so many hops that begin with `first_hops`, shape (windows, bins)."""
    length = hops * levels.hop
    at = np.arange(first_hops.start, first_hops.stop)[:, None] * levels.hop + np.arange(length)
    return np.asarray(np.abs(np.fft.rfft(levels.weighted[at] * np.hanning(length), axis=1)) ** 2)


def _is_breath(levels: _Levels, span: Span, loud: float, pause_frames: int) -> bool:
    """Whether a span at the edge of the speech, so many frames away from the rest of it, is too weak to be a word."""
    apart = pause_frames > _CLOSURE_FRAMES or (pause_frames and span[1] - span[0] > _BREATH_FRAMES)
    return bool(apart) and float(levels.db[span[0] : span[1]].max()) < loud - BREATH_DB


def _levels(samples: NDArray[np.float32], rate_hz: int) -> _Levels | None:
    if samples.ndim != 1:
        raise ValueError(f"expected mono samples of shape (n,), not {samples.shape}")
    if rate_hz < 4000:
        raise ValueError(f"a sample rate of {rate_hz} Hz holds no speech; 4000 Hz is the least")
    hop = round(rate_hz * HOP_S)
    hops = -(-len(samples) // hop)
    if hops < 2:
        return None
    padded = np.zeros(hops * hop)
    padded[: len(samples)] = _weighted(samples, rate_hz)
    energy = np.square(padded).reshape(hops, hop).mean(axis=1)
    return _Levels(10 * np.log10((energy[:-1] + energy[1:]) / 2 + 1e-12), hop, len(samples), padded)


def _weighted(samples: NDArray[np.float32], rate_hz: int) -> NDArray[np.float64]:
    """The samples without what is hardly heard: half amplitude at 300 Hz, 12 dB less per octave below, no phase shift.

    Its impulse response dies away in 2 ms, so it moves no edge.
    """
    size = 1 << (len(samples) + rate_hz // 50).bit_length()
    frequency = np.fft.rfftfreq(size, 1 / rate_hz)
    weight = frequency**2 / (frequency**2 + WEIGHTING_HZ**2)
    centred = samples - samples.mean(dtype=np.float64)
    return np.fft.irfft(np.fft.rfft(centred, size) * weight, size)[: len(samples)]


class _Noise(NamedTuple):
    """The noise's level in dBFS, and how far above it a sound's edge lies."""

    floor: float
    margin_db: float
    stretch: Span | None = None
    """The frames in which it was heard alone."""


def _noise(db: NDArray[np.float64]) -> _Noise:
    loud = float(np.percentile(db, 95))
    heard = db[db > SILENCE_DBFS]
    if loud < QUIET_DBFS and len(heard) and loud - np.percentile(heard, 5) < 2 * STEADY_DB:
        return _Noise(max(LOWEST_FLOOR_DBFS, loud), EDGE_DB[1])
    found = _Noise(LOWEST_FLOOR_DBFS, EDGE_DB[1])
    smooth = _moving_mean(db, _SMOOTHED_FRAMES)
    if len(smooth) >= _STEADY_FRAMES:
        windows = np.lib.stride_tricks.sliding_window_view(smooth, _STEADY_FRAMES)
        highest, lowest = windows.max(axis=1), windows.min(axis=1)
        steady = np.flatnonzero((highest - lowest < STEADY_DB) & (highest < loud - NOISE_BELOW_LOUD_DB))
        if len(steady):
            # Of the stretches as loud as the loudest, the one in the middle: that one may have a weak consonant in it.
            levels = windows[steady].mean(axis=1)
            alike = steady[levels > levels.max() - STEADY_DB]
            first = int(alike[np.argsort(windows[alike].mean(axis=1))[len(alike) // 2]])
            stretch = db[first : first + _STEADY_FRAMES + _SMOOTHED_FRAMES - 1]
            margin = float(np.clip(EDGE_SPREADS * stretch.std(), *EDGE_DB))
            heard_alone = (first, first + len(stretch))
            return max(found, _Noise(float(stretch.mean()), margin, heard_alone), key=lambda noise: noise.floor)
    if len(heard) == len(db) >= _FRAMES_WITH_PAUSES:
        quietest = float(_moving_mean(db, _QUIETEST_FRAMES).min())
        return max(
            found, _Noise(min(quietest, loud - QUIETEST_BELOW_LOUD_DB), EDGE_DB[1]), key=lambda noise: noise.floor
        )
    return found


def _moving_mean(db: NDArray[np.float64], frames: int) -> NDArray[np.float64]:
    """Mean power of so many neighbouring frames, in dB; shape (frames in - frames + 1,)."""
    if len(db) < frames:
        return np.empty(0)
    total = np.concatenate(([0.0], np.cumsum(10 ** (db / 10))))
    return np.asarray(10 * np.log10(np.maximum(total[frames:] - total[:-frames], 1e-13) / frames))


def _runs(mask: NDArray[np.bool_]) -> list[Span]:
    """Runs of true values as (first, last + 1)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _joined(runs: list[Span]) -> list[Span]:
    joined: list[Span] = []
    for start, end in runs:
        if joined and start - joined[-1][1] <= _DIP_FRAMES:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _in_samples(span: Span, levels: _Levels) -> Span:
    """Frames to samples. The frame before the first saw no rise, so that lies in the first one's second half."""
    start = 0 if span[0] == 0 else (span[0] + 1) * levels.hop
    end = levels.samples if span[1] == len(levels.db) else span[1] * levels.hop
    return start, min(end, levels.samples)
