"""A turn's audio on the page: placed on its time axis, drawn as peaks, marked where damaged, carried in the page."""

from __future__ import annotations

import base64
import io
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
    """A damaged stretch, ms after the clip's begin; `kind` is ``clipped`` or ``hole``."""

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


def marks(audio: Audio) -> list[Mark]:
    """Where it is clipped and has holes, at most `MOST_MARKS`, in order."""
    from pytest_voiceloop.measure.sound import damage

    per_ms = audio.rate_hz / 1000
    found: list[Mark] = []
    for kind in ("clipped", "hole"):
        joined: list[Mark] = []
        for _, start, end in (one for one in damage(audio.samples, audio.rate_hz) if one[0] == kind):
            if joined and start / per_ms - joined[-1].end_ms < JOIN_MS:
                joined[-1] = joined[-1]._replace(end_ms=max(joined[-1].end_ms, end / per_ms))
            else:
                joined.append(Mark(kind, start / per_ms, end / per_ms))
        found += joined
    return sorted(found, key=lambda mark: mark.start_ms)[:MOST_MARKS]


def data_uri(audio: Audio) -> str:
    """The clip inside an address. Nothing is lost, so that a listener hears what was measured.

    As WAV: Chromium cannot seek in a short FLAC, and one that plays everywhere has to be compressed with loss.
    """
    import soundfile

    stream = io.BytesIO()
    soundfile.write(stream, audio.samples, audio.rate_hz, format="WAV", subtype="PCM_16")
    return f"data:audio/wav;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
