"""What became of a call after a fault: which replies were heard, how often, and in whose call. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import soxr

from pytest_voiceloop.wire import rtp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pytest_voiceloop.measure.turn import Turn

ALIKE = 0.9
"""Correlation from which on a sound is the one that is looked for: the line's µ-law costs it 0.02, and of two different
sentences it is below 0.3. Of a reply that was cut, four fifths are not enough."""
_MARGIN = rtp.RATE_HZ // 10


class Sound(NamedTuple):
    """Float32 samples, shape (n,), and their rate."""

    samples: NDArray[np.float32]
    rate_hz: int


@dataclass(frozen=True, slots=True)
class Spoken:
    """One turn: the replies that were made for it, as they crossed tts → outbound, and all that its caller heard."""

    made: tuple[Sound, ...]
    heard: Sound


@dataclass(frozen=True, slots=True)
class Recovery:
    """What `Simulator.recover` saw.

    `struck_ms` is when the fault struck, after T0 of the first turn. `recovered_ms` is from there to the last packet of
    the first reply that was heard whole, None where none was. `lost` counts turns in which no whole reply was heard,
    `doubled` replies that were heard beyond one a turn, `crossed` those that were heard in the other of two calls;
    what cannot be seen (no tap between tts and outbound, no other call) is None.
    """

    turns: tuple[Turn, ...]
    beside: tuple[Turn, ...]
    struck_ms: float
    recovered_ms: float | None
    lost: int
    doubled: int | None
    crossed: int | None

    def __str__(self) -> str:
        """In a sentence."""
        after = "never" if self.recovered_ms is None else f"after {self.recovered_ms / 1000:.1f} s"
        counts = {"lost": self.lost, "doubled": self.doubled, "crossed": self.crossed}
        known = ", ".join(f"{count} {name}" for name, count in counts.items() if count is not None)
        return f"recovered {after}, in turn {len(self.turns)}; {known}"


def counted(turns: Sequence[Spoken], others: Sequence[Spoken]) -> tuple[int, int, int]:
    """(lost, doubled, crossed) over the turns of one call, beside another call's.

    A reply counts as heard in a turn if it is one that was made for this turn or an earlier one.
    """
    heard = [occurrences(turn.heard, _made(turns[: number + 1])) for number, turn in enumerate(turns)]
    crossed = sum(occurrences(turn.heard, _foreign(others, turns)) for turn in turns)
    crossed += sum(occurrences(turn.heard, _foreign(turns, others)) for turn in others)
    return heard.count(0), sum(max(0, times - 1) for times in heard), crossed


def occurrences(heard: Sound, wanted: Sequence[Sound]) -> int:
    """How many whole sounds of `wanted` are in `heard`, whichever, none counted twice."""
    track = _padded(_narrow(heard))
    found: list[tuple[int, int]] = []
    for sound in wanted:
        template = _padded(_narrow(sound))
        found += [(place, place + len(template)) for place in _places(track, template)]
    count, free = 0, 0
    for begin, end in sorted(found, key=lambda span: span[1]):
        # The margins of two that follow each other overlap.
        if begin + 2 * _MARGIN >= free:
            count, free = count + 1, end
    return count


def _made(turns: Sequence[Spoken]) -> list[Sound]:
    return [sound for turn in turns for sound in turn.made]


def _foreign(theirs: Sequence[Spoken], ours: Sequence[Spoken]) -> list[Sound]:
    """What was made for them and not just so for us."""
    return [sound for sound in _made(theirs) if not any(occurrences(sound, [own]) for own in _made(ours))]


def _narrow(sound: Sound) -> NDArray[np.float32]:
    if sound.rate_hz == rtp.RATE_HZ or not len(sound.samples):
        return sound.samples
    narrow: NDArray[np.float32] = soxr.resample(sound.samples, sound.rate_hz, rtp.RATE_HZ, quality="HQ")
    return narrow


def _padded(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    # The silence around it is part of a whole sound: without it, half of a longer one would do.
    return np.pad(samples.astype(np.float64), _MARGIN)


def _places(track: NDArray[np.float64], template: NDArray[np.float64]) -> list[int]:
    """Where the template lies in the track: places at which their normalised correlation peaks above ALIKE."""
    energy = float(np.sum(np.square(template)))
    if len(track) < len(template) or not energy:
        return []
    size = 1 << (len(track) + len(template)).bit_length()
    spectrum = np.fft.rfft(track, size) * np.conj(np.fft.rfft(template, size))
    product = np.fft.irfft(spectrum, size)[: len(track) - len(template) + 1]
    squares = np.concatenate([[0.0], np.cumsum(np.square(track))])
    there = squares[len(template) :] - squares[: -len(template)]
    alike = product / np.sqrt(np.maximum(there, energy * 1e-6) * energy)
    places = []
    while len(alike) and alike[best := int(np.argmax(alike))] >= ALIKE:
        places.append(best)
        alike[max(0, best - len(template) + 2 * _MARGIN) : best + len(template) - 2 * _MARGIN] = 0.0
        if len(template) <= 2 * _MARGIN:
            alike[best] = 0.0
    return places
