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
_OVERLAP = 1 / 4
"""Sounds that share less than this part of the shorter one are two."""


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
    the first reply that was heard whole after that, None where none was. The turn in which a service was ended does
    not count for it. `lost` counts turns in which no whole reply was heard,
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
    """(lost, doubled, crossed) over the turns of one call, beside another call's."""
    mine, theirs = _made(turns), _made(others)
    heard = [found(turn.heard, [*mine, *theirs]) for turn in turns]
    own = [sum(which < len(mine) for which in one) for one in heard]
    crossed = sum(map(len, heard)) - sum(own)
    crossed += sum(which >= len(theirs) for turn in others for which in found(turn.heard, [*theirs, *mine]))
    return own.count(0), sum(max(0, times - 1) for times in own), crossed


def found(heard: Sound, wanted: Sequence[Sound]) -> list[int]:
    """Which sounds of `wanted` are heard whole, by their places there, each as often as it is, in no order.

    The longest are looked for first, and what is one of them is no other: one that holds another is itself.
    """
    track = _narrow(heard)
    templates = [_narrow(sound) for sound in wanted]
    spans: list[tuple[int, int]] = []
    which = []
    for number in sorted(range(len(wanted)), key=lambda number: -len(templates[number])):
        length = len(templates[number])
        for begin in _places(track, templates[number]):
            if all(min(begin + length, end) - max(begin, other) < length * _OVERLAP for other, end in spans):
                spans.append((begin, begin + length))
                which.append(number)
    return which


def _made(turns: Sequence[Spoken]) -> list[Sound]:
    return [sound for turn in turns for sound in turn.made]


def _narrow(sound: Sound) -> NDArray[np.float32]:
    if sound.rate_hz == rtp.RATE_HZ or not len(sound.samples):
        return sound.samples
    narrow: NDArray[np.float32] = soxr.resample(sound.samples, sound.rate_hz, rtp.RATE_HZ, quality="HQ")
    return narrow


def _places(track: NDArray[np.float32], template: NDArray[np.float32]) -> list[int]:
    """Where a sound begins in the track: where their normalised correlation peaks above ALIKE."""
    energy = float(np.sum(np.square(template, dtype=np.float64)))
    # The line may have cost it a sample.
    there = np.pad(track.astype(np.float64), 8)
    if len(there) < len(template) or not energy:
        return []
    size = 1 << (len(there) + len(template)).bit_length()
    product = np.fft.irfft(np.fft.rfft(there, size) * np.conj(np.fft.rfft(template, size)), size)
    squares = np.concatenate([[0.0], np.cumsum(np.square(there))])
    under = squares[len(template) :] - squares[: -len(template)]
    # What is next to nothing is not compared: it would be alike by chance.
    alike = product[: len(under)] / np.sqrt(np.maximum(under, energy / 100) * energy)
    places = []
    while alike[best := int(np.argmax(alike))] >= ALIKE:
        places.append(best)
        alike[max(0, best - len(template) // 2) : best + len(template) // 2 + 1] = 0.0
    return places
