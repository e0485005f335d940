"""A turn's audio on the page: placed on its time axis, drawn as peaks, marked where damaged, carried in the page."""

from __future__ import annotations

import base64
import io
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

PEAKS = 320
"""So many peaks draw a clip: more than a page has pixels for it."""
HEIGHT = 50
"""Full scale, in the picture's units above and below its middle."""
JOIN_MS = 60.0
"""Marks of one kind that are nearer than this are one: a clipped voice has a flat top in every wave."""
MOST_MARKS = 40


class Audio(NamedTuple):
    """A clip: float32 mono in [-1, 1], shape (n,)."""

    samples: NDArray[np.float32]
    rate_hz: int

    @property
    def ms(self) -> float:
        """How long it is."""
        return 1000 * len(self.samples) / self.rate_hz


ReadAudio: TypeAlias = "Callable[[str], Audio | None]"
"""From a path as it stands in the document to the clip; None where there is none that can be read."""


class Mark(NamedTuple):
    """A stretch that stands out, ms after the clip's begin.

    `kind` is ``clipped``, ``hole``, ``pause`` (audio came late) or ``ended`` (a pause that was taken for the end).
    """

    kind: str
    start_ms: float
    end_ms: float


def files_in(folder: Path) -> ReadAudio:
    """Reads a document's audio from `folder`, where its paths start. What leads out of the folder is not read."""
    root = folder.resolve()

    def read(path: str) -> Audio | None:
        import soundfile

        try:
            place = (root / path).resolve()
            if not place.is_relative_to(root):
                return None
            samples, rate_hz = soundfile.read(place, dtype="float32", always_2d=True)
        # A path out of a document may be anything, NULs too; libsndfile's own error is a RuntimeError.
        except (OSError, ValueError, RuntimeError):
            return None
        return Audio(samples.mean(axis=1), rate_hz) if len(samples) else None

    return read


def caller_begins_ms(audio: Audio) -> float | None:
    """When the caller's clip begins, in ms after T0, which is the end of its speech; None where it has none."""
    from pytest_voiceloop.measure.edges import speech_edges

    edges = speech_edges(audio.samples, audio.rate_hz)
    return None if edges is None else -1000 * edges.end / audio.rate_hz


def reply_begins_ms(audio: Audio, t4_first_ms: float | None) -> float | None:
    """When what was heard begins, in ms after T0, from when its first audible sample was played."""
    from pytest_voiceloop.measure.edges import first_audible

    onset = first_audible(audio.samples, audio.rate_hz)
    return None if onset is None or t4_first_ms is None else t4_first_ms - 1000 * onset / audio.rate_hz


def peaks(samples: NDArray[np.float32], most: int = PEAKS) -> list[int]:
    """The greatest magnitude in each of at most `most` stretches of equal length, full scale being `HEIGHT`."""
    import numpy as np

    if not len(samples):
        return []
    starts = np.unique(np.linspace(0, len(samples), min(most, len(samples)), endpoint=False, dtype=np.intp))
    greatest = np.maximum.reduceat(np.abs(samples), starts)
    return [int(peak) for peak in np.ceil(np.minimum(greatest, 1.0) * HEIGHT)]


def outline(heights: Sequence[int]) -> str:
    """An SVG path around peaks, one unit wide each, mirrored at y = 0."""
    if not heights:
        return ""
    above = "".join(f"V{-height}h1" for height in heights)
    below = "".join(f"V{height}h-1" for height in reversed(heights))
    return f"M0 0{above}{below}Z"


def marks(audio: Audio, pauses_ms: Sequence[Sequence[float]] = ()) -> list[Mark]:
    """Where it is clipped, has holes and pauses, at most `MOST_MARKS`, in order.

    At `pauses_ms` (from and to) nothing was there to be played: that is no damage of what was.
    """
    import numpy as np

    from pytest_voiceloop.measure.sound import damage

    per_ms = audio.rate_hz / 1000
    played = np.ones(len(audio.samples), np.bool_)
    for start_ms, end_ms in pauses_ms:
        played[round(start_ms * per_ms) : round(end_ms * per_ms)] = False
    places = np.flatnonzero(played)
    damaged = damage(audio.samples[places], audio.rate_hz) if len(places) else []
    found = [Mark("pause", start_ms, end_ms) for start_ms, end_ms in pauses_ms]
    for kind in ("clipped", "hole"):
        joined: list[Mark] = []
        for _, first, end in (one for one in damaged if one[0] == kind):
            start_ms, end_ms = places[first] / per_ms, (places[end - 1] + 1) / per_ms
            if joined and start_ms - joined[-1].end_ms < JOIN_MS:
                joined[-1] = joined[-1]._replace(end_ms=max(joined[-1].end_ms, end_ms))
            else:
                joined.append(Mark(kind, float(start_ms), float(end_ms)))
        found += joined
    return sorted(found, key=lambda mark: mark.start_ms)[:MOST_MARKS]


def longest_pause(audio: Audio, until_ms: float) -> list[Mark]:
    """The longest pause between two sounds that begins before `until_ms`, as a mark; none where there is none."""
    from pytest_voiceloop.measure.edges import audible_spans

    per_ms = audio.rate_hz / 1000
    spans = audible_spans(audio.samples, audio.rate_hz)
    pauses = [Mark("ended", end / per_ms, start / per_ms) for (_, end), (start, _) in pairwise(spans)]
    before = [pause for pause in pauses if pause.start_ms < until_ms]
    return [max(before, key=lambda pause: pause.end_ms - pause.start_ms)] if before else []


def data_uri(audio: Audio) -> str:
    """The clip inside an address. Nothing is lost, so that a listener hears what was measured.

    As WAV: Chromium cannot seek in a short FLAC, and one that plays everywhere has to be compressed with loss.
    """
    import soundfile

    stream = io.BytesIO()
    soundfile.write(stream, audio.samples, audio.rate_hz, format="WAV", subtype="PCM_16")
    return f"data:audio/wav;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
