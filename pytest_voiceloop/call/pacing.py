"""Frames leave when their last sample would have been captured: absolute deadlines, never sleeps that add up."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_voiceloop.wire.frames import AUDIO_IN_HZ, encode_audio_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

FRAME_MS = 20
FRAME_SAMPLES = AUDIO_IN_HZ * FRAME_MS // 1000
FRAME_NS = FRAME_MS * 1_000_000


@dataclass(slots=True)
class Pacing:
    """How well the deadlines were kept. Lateness in ms of every frame that holds the clip."""

    start_ns: int
    lateness_ms: list[float]

    def sample_ns(self, index: int) -> int:
        """When the caller had spoken the clip's samples before `index`."""
        return self.start_ns + round(index * 1_000_000_000 / AUDIO_IN_HZ)


def encode_clip(samples: NDArray[np.float32]) -> list[bytes]:
    """A clip of 16 kHz float32 samples, shape (n,), as frames of 20 ms; the last one is padded with silence."""
    padded = np.pad(samples, (0, -len(samples) % FRAME_SAMPLES))
    return [encode_audio_in(frame) for frame in padded.reshape(-1, FRAME_SAMPLES)]


SILENT_FRAME = encode_audio_in(np.zeros(FRAME_SAMPLES, np.float32))


def pace(clip: list[bytes], send: Callable[[bytes], None], pacing: Pacing, done: threading.Event) -> None:
    """Send the clip's frames, then silence until `done`: an endpointer needs to hear it. OSError ends it."""
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
            send(SILENT_FRAME)
        number += 1


@contextlib.contextmanager
def pacing_in_background(clip: list[bytes], send: Callable[[bytes], None], pacing: Pacing) -> Iterator[None]:
    """Pace in a thread of its own until the context ends."""
    done = threading.Event()

    def run() -> None:
        # A whisper that is gone is noticed, with its log, by whoever waits for its transcript.
        with contextlib.suppress(OSError):
            pace(clip, send, pacing, done)

    thread = threading.Thread(target=run, name="pacer", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(1.0)
