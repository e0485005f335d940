"""Frames leave when their last sample would have been captured: absolute deadlines, never sleeps that add up."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_voiceloop.call.corpus import RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

FRAME_MS = 20
FRAME_SAMPLES = RATE_HZ * FRAME_MS // 1000
FRAME_NS = FRAME_MS * 1_000_000


@dataclass(slots=True)
class Pacing:
    """How well the deadlines were kept. Lateness in ms of every frame that holds the clip.

    `unheard_ns` is when nobody took a frame any more.
    """

    start_ns: int
    lateness_ms: list[float]
    unheard_ns: int | None = None

    def sample_ns(self, index: int) -> int:
        """When the caller had spoken the clip's samples before `index`."""
        return self.start_ns + round(index * 1_000_000_000 / RATE_HZ)


def frames_of(samples: NDArray[np.float32], frame_samples: int = FRAME_SAMPLES) -> NDArray[np.float32]:
    """Samples, shape (n,), as frames of 20 ms, shape (frames, frame_samples); the last is padded with silence."""
    return np.pad(samples, (0, -len(samples) % frame_samples)).reshape(-1, frame_samples)


def pace(
    clip: Sequence[bytes], silence: bytes, send: Callable[[bytes], None], pacing: Pacing, done: threading.Event
) -> None:
    """Send the clip's frames, then `silence` until `done`: an endpointer needs to hear it. OSError ends it."""
    number = 0
    while not done.is_set():
        deadline_ns = pacing.start_ns + (number + 1) * FRAME_NS
        wait_ns = deadline_ns - time.monotonic_ns()
        if wait_ns > 0:
            time.sleep(wait_ns / 1e9)
        if number < len(clip):
            # Measured before the send: a peer that does not read is the peer's lateness, not the pacer's.
            pacing.lateness_ms.append((time.monotonic_ns() - deadline_ns) / 1e6)
            send(clip[number])
        else:
            send(silence)
        number += 1


@contextlib.contextmanager
def pacing_in_background(
    clip: Sequence[bytes], silence: bytes, send: Callable[[bytes], None], pacing: Pacing
) -> Iterator[None]:
    """Pace in a thread of its own until the context ends."""
    done = threading.Event()

    def run() -> None:
        # A whisper that is gone is noticed, with its log, by whoever waits for its transcript.
        try:
            pace(clip, silence, send, pacing, done)
        except OSError:
            pacing.unheard_ns = time.monotonic_ns()

    thread = threading.Thread(target=run, name="pacer", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(1.0)
