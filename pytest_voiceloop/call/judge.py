"""The judge re-transcribes what the caller heard.

It asks the service itself, past every tap: on a call of its own to the stack's whisper, or as an OpenAI or Wyoming
speech-to-text server.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import secrets
import socket
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol

import soundfile
import soxr

from pytest_voiceloop.call.mouth import Mouth, open_mouth
from pytest_voiceloop.measure.timeline import parts
from pytest_voiceloop.stack.process import StackError
from pytest_voiceloop.wire import codecs
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
        samples = _at_16_khz(heard, rate_hz)
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


class _OpenAI:
    """``POST /v1/audio/transcriptions``, with the reply as a WAV file."""

    def __init__(self, address: tuple[str, int], model: str) -> None:
        self._connection = http.client.HTTPConnection(*address, timeout=TIMEOUT_S)
        self._connection.connect()
        self._model = model

    def hear(self, heard: NDArray[np.float32], rate_hz: int) -> Judgement:
        wav = io.BytesIO()
        soundfile.write(wav, heard, rate_hz, format="WAV", subtype="PCM_16")
        boundary = secrets.token_hex(16)
        fields = {"model": self._model or "whisper-1", "response_format": "json"}
        body = b"".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields.items()
        )
        body += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="heard.wav"\r\n'
            "Content-Type: audio/wav\r\n\r\n"
        ).encode() + wav.getvalue()
        body += f"\r\n--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        try:
            self._connection.request("POST", "/v1/audio/transcriptions", body, headers)
            response = self._connection.getresponse()
            answer = response.read()
            text = json.loads(answer)["text"] if response.status < 400 else None
        except (http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            raise StackError(f"the judge's answer is no OpenAI transcription: {error!r}") from None
        complete_ns = time.monotonic_ns()
        if text is None:
            raise StackError(
                f"the judge answered with status {response.status}: {answer[:500].decode(errors='replace')}"
            )
        return Judgement(str(text).strip(), complete_ns)

    def close(self) -> None:
        self._connection.close()


class _Wyoming:
    """A Wyoming speech-to-text server."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, timeout=TIMEOUT_S)

    def hear(self, heard: NDArray[np.float32], rate_hz: int) -> Judgement:
        from wyoming.asr import Transcribe, Transcript
        from wyoming.audio import AudioChunk, AudioStart, AudioStop
        from wyoming.event import read_event, write_event

        samples, step = _at_16_khz(heard, rate_hz), _FRAME_SAMPLES
        shape = {"rate": AUDIO_IN_HZ, "width": 2, "channels": 1}
        chunks = [codecs.encode(samples[first : first + step], "pcm_s16le") for first in range(0, len(samples), step)]
        said = [Transcribe(), AudioStart(**shape), *(AudioChunk(audio=one, **shape) for one in chunks), AudioStop()]
        with self._socket.makefile("rwb") as stream:
            for one in said:
                write_event(one.event(), stream)
            stream.flush()
            while (event := read_event(stream)) is not None:
                if Transcript.is_type(event.type):
                    return Judgement(Transcript.from_event(event).text.strip(), time.monotonic_ns())
        raise StackError("the judge hung up before it had sent a transcript")

    def close(self) -> None:
        self._socket.close()


def _at_16_khz(heard: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    return soxr.resample(heard, rate_hz, AUDIO_IN_HZ, quality="HQ")  # type: ignore[no-any-return]


@contextlib.contextmanager
def open_judge(live: LiveStack) -> Iterator[Judge]:
    """Connect the stack's judge beforehand, so that connecting is in nobody's time. Raises StackError."""
    asked = live.spec.judge
    with contextlib.ExitStack() as stack:
        if asked.protocol == "voiceloop":
            call_id = stack.enter_context(live.slot(sink=True))
            mouth = stack.enter_context(open_mouth(live, call_id))
            wait_for_hello(live, call_id, roles=("stt_llm",))
            yield _Caller(live, mouth, call_id)
            return
        address = live.address(asked.service, asked.port)
        try:
            judge = _OpenAI(address, asked.model) if asked.protocol == "openai" else _Wyoming(address)
        except OSError as error:
            raise StackError(
                f"the judge ({asked.service}, {asked.port}) cannot be reached at {address[0]}:{address[1]}: "
                f"{error.strerror or error}"
            ) from None
        stack.callback(judge.close)
        yield judge


def wait_for_hello(live: LiveStack, call_id: str, roles: tuple[str, ...], timeout_s: float = 15.0) -> None:
    """Wait until HELLO has crossed each of these links. Raises StackError that names the first one it did not cross."""
    deadline = time.monotonic() + timeout_s
    with live.recorder.changed:
        while missing := set(roles) - {c.role for c in live.recorder.of(call_id) if c.kind == "hello"}:
            live.recorder.changed.wait(0.1)
            live.running.check()
            if time.monotonic() > deadline:
                link = next(link for link in live.spec.links if missing & set(link.roles))
                tails = "\n".join(f"--- {name} ---\n{tail}" for name, tail in live.running.log_tails())
                raise StackError(
                    f"call {call_id}: HELLO never crossed the link {link.source} → {link.target} within "
                    f"{timeout_s:g} s; {link.source} has to connect when the call starts.\n{tails}"
                )
