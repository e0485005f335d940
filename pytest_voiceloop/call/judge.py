"""The judge re-transcribes what the caller heard.

It asks the service itself, past every tap: on a call of its own to the stack's whisper, or as an OpenAI or Wyoming
speech-to-text server.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol

import soxr

from pytest_voiceloop.call.mouth import Mouth, open_mouth
from pytest_voiceloop.call.servers import Server, connect
from pytest_voiceloop.measure.timeline import parts
from pytest_voiceloop.stack.process import StackError
from pytest_voiceloop.wire.frames import AUDIO_IN_HZ, encode_audio_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from pytest_voiceloop.call.live import LiveStack

TIMEOUT_S = 20.0
_FRAME_SAMPLES = AUDIO_IN_HZ // 2


class Judgement(NamedTuple):
    """What the judge wrote, when it was asked, and when that was complete."""

    text: str
    asked_ns: int
    complete_ns: int


class Judge(Protocol):
    """A judge that stands ready. It hears one reply."""

    def hear(self, heard: NDArray[np.float32], rate_hz: int) -> Judgement:
        """Transcribe float32 samples, shape (n,). Raises StackError or OSError if that does not succeed."""


class _Caller:
    """A judge's call to the stack's whisper."""

    def __init__(self, live: LiveStack, mouth: Mouth, call_id: str) -> None:
        self._live = live
        self._mouth = mouth
        self._call_id = call_id

    def hear(self, heard: NDArray[np.float32], rate_hz: int) -> Judgement:
        """As fast as whisper takes them. The transcript is complete when whisper passes BYE on."""
        asked_ns = time.monotonic_ns()
        samples = soxr.resample(heard, rate_hz, AUDIO_IN_HZ, quality="HQ")
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
        text = " ".join(part.text for part in parts(recorder.of(self._call_id), "stt_llm"))
        return Judgement(text, asked_ns, byes[0])


class _Asked:
    """A speech-to-text server."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def hear(self, heard: NDArray[np.float32], rate_hz: int) -> Judgement:
        asked_ns = time.monotonic_ns()
        return Judgement(self._server.transcribe(heard, rate_hz), asked_ns, time.monotonic_ns())


@contextlib.contextmanager
def open_judge(live: LiveStack) -> Iterator[Judge]:
    """Connect the stack's judge beforehand, so that connecting is in nobody's time. Raises StackError."""
    asked = live.spec.judge
    with contextlib.ExitStack() as stack:
        if asked.protocol == "voiceloop":
            if "stt_llm" not in live.greeted:
                raise StackError(
                    "the judge is a call of its own, and its transcript is read at a tap on the link stt_llm, which "
                    "this stack does not have; tap it (tap = true), or name another judge ([judge], protocol = "
                    '"openai", "wyoming" or "none")'
                )
            call_id = stack.enter_context(live.slot(sink=True))
            mouth = stack.enter_context(open_mouth(live, call_id))
            wait_for_hello(live, call_id, roles=("stt_llm",))
            yield _Caller(live, mouth, call_id)
            return
        server = connect(asked.protocol, live.address(asked.service, asked.port), asked.model)
        stack.callback(server.close)
        yield _Asked(server)


def wait_for_hello(live: LiveStack, call_id: str, roles: tuple[str, ...], timeout_s: float = 15.0) -> None:
    """Wait until HELLO has crossed each of these links. Raises StackError that names the first one it did not cross."""
    deadline = time.monotonic() + timeout_s
    with live.recorder.changed:
        while missing := set(roles) - {c.role for c in live.recorder.of(call_id) if c.kind == "hello"}:
            live.recorder.changed.wait(0.1)
            live.running.check()
            if time.monotonic() > deadline:
                link = next(link for link in live.spec.links if missing & set(link.roles))
                raise StackError(
                    f"call {call_id}: HELLO never crossed the link {link.source} → {link.target} within "
                    f"{timeout_s:g} s; {link.source} has to connect when the call starts.\n{live.running.account()}"
                )
