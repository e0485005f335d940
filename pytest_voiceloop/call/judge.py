"""The judge re-transcribes what the caller heard, on a call of its own to the stack's whisper."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, NamedTuple

import soxr

from pytest_voiceloop.call.mouth import Mouth, open_mouth
from pytest_voiceloop.measure.timeline import parts
from pytest_voiceloop.stack.process import StackError
from pytest_voiceloop.wire import rtp
from pytest_voiceloop.wire.frames import AUDIO_IN_HZ, encode_audio_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from pytest_voiceloop.call.live import LiveStack

TIMEOUT_S = 20.0
_FRAME_SAMPLES = AUDIO_IN_HZ // 2


class Judgement(NamedTuple):
    """What the judge wrote, and when that was complete."""

    text: str
    complete_ns: int


class Judge:
    """A judge's call that stands ready. It hears one reply."""

    def __init__(self, live: LiveStack, mouth: Mouth, call_id: str) -> None:
        self._live = live
        self._mouth = mouth
        self._call_id = call_id

    def hear(self, heard: NDArray[np.float32]) -> Judgement:
        """Transcribe float32 samples at 8 kHz, shape (n,), as fast as whisper takes them.

        The transcript is complete when whisper passes BYE on. Raises StackError if that does not happen.
        """
        samples = soxr.resample(heard, rtp.RATE_HZ, AUDIO_IN_HZ, quality="HQ")
        for first in range(0, len(samples), _FRAME_SAMPLES):
            self._mouth.send(encode_audio_in(samples[first : first + _FRAME_SAMPLES]))
        self._mouth.bye()
        recorder, deadline = self._live.recorder, time.monotonic() + TIMEOUT_S
        with recorder.changed:
            while not (byes := [c.at_ns for c in recorder.of(self._call_id) if c.kind == "bye"]):
                recorder.changed.wait(0.1)
                self._live.running.check()
                if time.monotonic() > deadline:
                    raise StackError(
                        f"whisper did not finish the re-transcription (call {self._call_id}) within {TIMEOUT_S:g} s"
                    )
        return Judgement(" ".join(part.text for part in parts(recorder.of(self._call_id), "stt_llm")), byes[0])


@contextlib.contextmanager
def open_judge(live: LiveStack) -> Iterator[Judge]:
    """Register a judge's call beforehand, so that connecting is in nobody's time. Raises StackError."""
    with live.slot(sink=True) as call_id, open_mouth(live, call_id) as mouth:
        wait_for_hello(live, call_id, roles=("stt_llm",))
        yield Judge(live, mouth, call_id)


def wait_for_hello(live: LiveStack, call_id: str, roles: tuple[str, ...], timeout_s: float = 15.0) -> None:
    """Wait until HELLO has crossed each of these links. Raises StackError that names the first one it did not cross."""
    deadline = time.monotonic() + timeout_s
    with live.recorder.changed:
        while missing := set(roles) - {c.role for c in live.recorder.of(call_id) if c.kind == "hello"}:
            live.recorder.changed.wait(0.1)
            live.running.check()
            if time.monotonic() > deadline:
                link = next(link for link in live.spec.links if link.role in missing)
                tails = "\n".join(f"--- {name} ---\n{tail}" for name, tail in live.running.log_tails())
                raise StackError(
                    f"call {call_id}: HELLO never crossed the link {link.source} → {link.target} within "
                    f"{timeout_s:g} s; {link.source} has to connect when the call starts.\n{tails}"
                )
