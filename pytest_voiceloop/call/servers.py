"""Asking a server as its clients do: OpenAI-compatible HTTP, or Wyoming. For the judge, and for one server alone."""

from __future__ import annotations

import http.client
import importlib.util
import io
import json
import secrets
import socket
from typing import TYPE_CHECKING, Any, Protocol

import soundfile
import soxr

from pytest_voiceloop.stack.process import StackError
from pytest_voiceloop.wire import codecs
from pytest_voiceloop.wire.frames import AUDIO_IN_HZ

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

TIMEOUT_S = 30.0
_CHUNK_SAMPLES = AUDIO_IN_HZ // 2


class Server(Protocol):
    """A connection to a server. Every question raises StackError or OSError if it is not answered."""

    def transcribe(self, samples: NDArray[np.float32], rate_hz: int) -> str:
        """The text in float32 samples, shape (n,)."""

    def reply(self, text: str) -> None:
        """Ask a language model, and read its reply to the end."""

    def speak(self, text: str) -> None:
        """Ask for speech, and read it to the end."""

    def close(self) -> None:
        """Hang up."""


class OpenAIServer:
    """``/v1/audio/transcriptions``, ``/v1/chat/completions`` and ``/v1/audio/speech``."""

    def __init__(self, address: tuple[str, int], model: str = "") -> None:
        self._connection = http.client.HTTPConnection(*address, timeout=TIMEOUT_S)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._model = model

    def transcribe(self, samples: NDArray[np.float32], rate_hz: int) -> str:
        """Sends a WAV file."""
        wav = io.BytesIO()
        soundfile.write(wav, samples, rate_hz, format="WAV", subtype="PCM_16")
        boundary = secrets.token_hex(16)
        start = f"--{boundary}\r\nContent-Disposition: form-data; name="
        fields = {"model": self._model or "whisper-1", "response_format": "json"}
        body = "".join(f'{start}"{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())
        body += f'{start}"file"; filename="speech.wav"\r\nContent-Type: audio/wav\r\n\r\n'
        whole = body.encode() + wav.getvalue() + f"\r\n--{boundary}--\r\n".encode()
        answer = self._post("/v1/audio/transcriptions", whole, f"multipart/form-data; boundary={boundary}")
        try:
            return str(json.loads(answer)["text"]).strip()
        except (ValueError, KeyError, TypeError):
            raise StackError(f"the answer is no transcription: {answer[:200].decode(errors='replace')}") from None

    def reply(self, text: str) -> None:
        """Asks for a stream."""
        said = {"model": self._model or "default", "stream": True, "messages": [{"role": "user", "content": text}]}
        self._post("/v1/chat/completions", json.dumps(said).encode(), "application/json")

    def speak(self, text: str) -> None:
        """Asks for bare samples."""
        said = {"model": self._model or "tts-1", "voice": "alloy", "input": text, "response_format": "pcm"}
        self._post("/v1/audio/speech", json.dumps(said).encode(), "application/json")

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _post(self, path: str, body: bytes, content_type: str) -> bytes:
        try:
            self._connection.request("POST", path, body, {"Content-Type": content_type})
            response = self._connection.getresponse()
            answer = response.read()
        except http.client.HTTPException as error:
            raise StackError(f"POST {path} was not answered in HTTP: {error!r}") from None
        if response.status >= 400:
            raise StackError(f"POST {path} was answered {response.status}: {answer[:500].decode(errors='replace')}")
        return answer


class WyomingServer:
    """Speech to text, handling of a text, and text to speech over Wyoming. Needs the extra ``wyoming``."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, timeout=TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream: Any = self._socket.makefile("rwb")

    def transcribe(self, samples: NDArray[np.float32], rate_hz: int) -> str:
        """Sends 16-bit samples at 16 kHz."""
        from wyoming.asr import Transcribe, Transcript
        from wyoming.audio import AudioChunk, AudioStart, AudioStop

        at_16_khz, step = soxr.resample(samples, rate_hz, AUDIO_IN_HZ, quality="HQ"), _CHUNK_SAMPLES
        shape = {"rate": AUDIO_IN_HZ, "width": 2, "channels": 1}
        parts = [
            codecs.encode(at_16_khz[first : first + step], "pcm_s16le") for first in range(0, len(at_16_khz), step)
        ]
        self._say([Transcribe(), AudioStart(**shape), *(AudioChunk(audio=one, **shape) for one in parts), AudioStop()])
        return str(Transcript.from_event(self._until(Transcript)).text).strip()

    def reply(self, text: str) -> None:
        """As a transcript that is to be handled."""
        from wyoming.asr import Transcript
        from wyoming.handle import Handled

        self._say([Transcript(text=text)])
        self._until(Handled)

    def speak(self, text: str) -> None:
        """Reads to the end of the audio."""
        from wyoming.audio import AudioStop
        from wyoming.tts import Synthesize

        self._say([Synthesize(text=text)])
        self._until(AudioStop)

    def close(self) -> None:
        """Hang up."""
        self._stream.close()
        self._socket.close()

    def _say(self, said: Iterable[Any]) -> None:
        from wyoming.event import write_event

        for one in said:
            write_event(one.event(), self._stream)
        self._stream.flush()

    def _until(self, kind: Any) -> Any:
        from wyoming.error import Error
        from wyoming.event import read_event

        while (event := read_event(self._stream)) is not None:
            if kind.is_type(event.type):
                return event
            if Error.is_type(event.type):
                raise StackError(f"the Wyoming server answered with an error: {Error.from_event(event).text}")
        raise StackError("the Wyoming server hung up before it had answered")


def connect(protocol: str, address: tuple[str, int], model: str = "") -> Server:
    """A connection in ``wyoming``, or in one of OpenAI's protocols.

    Raises StackError that names the address, or the library that is not there.
    """
    if protocol == "wyoming" and importlib.util.find_spec("wyoming") is None:
        raise StackError("to ask a Wyoming server needs its library: pip install 'pytest-voiceloop[wyoming]'")
    try:
        return WyomingServer(address) if protocol == "wyoming" else OpenAIServer(address, model)
    except OSError as error:
        raise StackError(f"nothing answers at {address[0]}:{address[1]}: {error.strerror or error}") from None
