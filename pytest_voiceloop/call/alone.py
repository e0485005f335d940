"""One service of a stack measured by itself, with the harness in its neighbours' places."""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_voiceloop.call.corpus import RATE_HZ, Utterance, as_utterance, load_clip
from pytest_voiceloop.call.ear import open_ear
from pytest_voiceloop.call.judge import wait_for_hello
from pytest_voiceloop.call.mouth import encode_clip, open_mouth, send_datagram
from pytest_voiceloop.call.pacing import FRAME_SAMPLES, Pacing, pacing_in_background
from pytest_voiceloop.call.servers import connect
from pytest_voiceloop.measure.playout import playout
from pytest_voiceloop.measure.quality import word_errors
from pytest_voiceloop.measure.timeline import Part, Role, parts
from pytest_voiceloop.stack.process import StackError
from pytest_voiceloop.stack.spec import HOST
from pytest_voiceloop.wire import datagrams
from pytest_voiceloop.wire.datagrams import Datagram
from pytest_voiceloop.wire.frames import Layout, encode_audio_out, encode_control, encode_hello, encode_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pytest_voiceloop.call.corpus import Clip
    from pytest_voiceloop.call.live import LiveStack
    from pytest_voiceloop.call.servers import Server
    from pytest_voiceloop.measure.timeline import Crossing
    from pytest_voiceloop.stack.spec import Link

TIMEOUT_S = 30.0
_CHUNK_S = 0.5


@dataclass(frozen=True, slots=True)
class Transcription:
    """What whisper wrote; `final_ms` after the end of speech, or after a server was asked for the whole clip.

    `wer` is None where the reference is unknown.
    """

    text: str
    final_ms: float
    wer: float | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a language model answered, clause by clause; times in ms after it was asked (the transcript's END)."""

    clauses: tuple[str, ...]
    first_ms: float
    last_ms: float

    @property
    def text(self) -> str:
        """The whole reply."""
        return " ".join(self.clauses)


@dataclass(frozen=True, slots=True)
class Speech:
    """What kokoro spoke: float32 mono, shape (n,), at `rate_hz`; times in ms after the text was sent."""

    samples: NDArray[np.float32]
    rate_hz: int
    first_ms: float
    last_ms: float

    @property
    def rtf(self) -> float:
        """Real-time factor: seconds of work per second of speech."""
        return self.last_ms / 1000 / (len(self.samples) / self.rate_hz)


@dataclass(frozen=True, slots=True)
class Played:
    """What arrived at the caller: float32 mono at 8 kHz, shape (n,); times in ms after the audio was sent."""

    samples: NDArray[np.float32]
    packets: int
    lost: int
    first_ms: float
    last_ms: float


class WhisperAlone:
    """Whisper between a caller and a llama that are the harness."""

    def __init__(self, live: LiveStack) -> None:
        self._live = live

    def transcribe(self, clip: Utterance | Path | str, text: str | None = None) -> Transcription:
        """Say a clip at real-time pace and wait for its final transcript.

        Raises CorpusError for a clip that cannot be used, StackError when whisper dies or stays silent.
        """
        loaded = load_clip(as_utterance(clip, text))
        with self._live.slot() as call_id, open_mouth(self._live, call_id) as mouth:
            wait_for_hello(self._live, call_id, ("stt_llm",))
            frames, silence = encode_clip(loaded.samples), encode_clip(np.zeros(FRAME_SAMPLES, np.float32))[0]
            pacing = Pacing(time.monotonic_ns(), [])
            t0_ns = pacing.sample_ns(loaded.speech_end)
            with pacing_in_background(frames, silence, mouth.send, pacing):
                found = _await_part(self._live, call_id, "stt_llm", "a final transcript", after_ns=t0_ns)
        heard = " ".join(part.text for part in found)
        return _transcription(loaded, heard, t0_ns, found[-1].ended_ns)


class LlamaAlone:
    """Llama between a whisper and a kokoro that are the harness."""

    def __init__(self, live: LiveStack) -> None:
        self._live = live

    def reply(self, text: str) -> Answer:
        """Answer one transcript on a call of its own. Raises StackError when llama dies or stays silent."""
        return self.chat(text)[0]

    def chat(self, *texts: str) -> list[Answer]:
        """Answer transcripts one after the other on one call, which shares a history. Raises StackError."""
        answers = []
        with self._live.slot() as call_id, self._connected(call_id) as send:
            wait_for_hello(self._live, call_id, ("llm_tts",))
            for number, text in enumerate(texts, start=1):
                send(encode_text(text) + encode_control("end", Layout.TEXT))
                sent_ns = time.monotonic_ns()
                part = _await_part(self._live, call_id, "llm_tts", f"a reply to {text!r}", count=number)[-1]
                answers.append(Answer(part.texts, *_span_ms(part.frames, sent_ns)))
        return answers

    def _connected(self, call_id: str) -> contextlib.AbstractContextManager[Callable[[bytes], None]]:
        return _text_connection(self._live.port("llama", "listen"), call_id)


class KokoroAlone:
    """Kokoro between a llama and an outbound audio processor that are the harness."""

    def __init__(self, live: LiveStack) -> None:
        self._live = live

    def speak(self, text: str) -> Speech:
        """Speak a reply of one clause. Raises StackError when kokoro dies or stays silent."""
        port = self._live.port("kokoro", "register")
        with self._live.slot() as call_id, _text_connection(self._live.port("kokoro", "listen"), call_id) as send:
            send_datagram(port, Datagram("REGISTER", call_id))
            try:
                wait_for_hello(self._live, call_id, ("tts_out",))
                send(encode_text(text) + encode_control("end", Layout.TEXT))
                sent_ns = time.monotonic_ns()
                part = _await_part(self._live, call_id, "tts_out", f"speech for {text!r}")[-1]
            finally:
                send_datagram(port, Datagram("BYE", call_id))
        assert part.speech is not None
        return Speech(*part.speech, *_span_ms(part.frames, sent_ns))


class OutboundAlone:
    """The outbound audio processor between a kokoro and a caller that are the harness."""

    def __init__(self, live: LiveStack) -> None:
        self._live = live

    def play(self, samples: NDArray[np.float32], rate_hz: int = 24_000) -> Played:
        """Play float32 mono samples, shape (n,), as one reply. Raises StackError when outbound dies or stays silent."""
        live = self._live
        with live.slot() as call_id, contextlib.ExitStack() as stack:
            # outbound registers with kokoro, which here is this socket.
            kokoro = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            kokoro.bind((HOST, live.port("kokoro", "register")))
            kokoro.settimeout(TIMEOUT_S)
            ear = stack.enter_context(open_ear(live, call_id))
            while datagrams.parse(kokoro.recv(datagrams.MAX_BYTES)) != Datagram("REGISTER", call_id):
                pass
            connection = stack.enter_context(
                socket.create_connection((HOST, live.tapped_port("outbound", "audio", call_id)))
            )
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(encode_hello(call_id))
            wait_for_hello(live, call_id, ("tts_out",))
            sent_ns = time.monotonic_ns()
            step = round(rate_hz * _CHUNK_S)
            for number, first in enumerate(range(0, len(samples), step), start=1):
                connection.sendall(encode_audio_out(samples[first : first + step], rate_hz, number))
            connection.sendall(encode_control("end", Layout.AUDIO_OUT))
            _await(live, lambda: bool(ear.ends_ns), "the END datagram of the reply", TIMEOUT_S + len(samples) / rate_hz)
            heard = playout(ear.arrivals)
            first_ms, last_ms = ((a.arrival_ns - sent_ns) / 1e6 for a in (ear.arrivals[0], ear.arrivals[-1]))
            return Played(heard.samples, len(ear.arrivals), heard.lost, first_ms, last_ms)


class ServerAlone:
    """One server asked in its own protocol, through a tap on `link`. Times count from when the request was begun."""

    def __init__(self, live: LiveStack, link: Link, model: str = "") -> None:
        self.live = live
        self._link = link
        self._model = model

    def transcribe(self, clip: Utterance | Path | str, text: str | None = None) -> Transcription:
        """Have a whole clip transcribed at once.

        Raises CorpusError for a clip that cannot be used, StackError when it is not answered.
        """
        loaded = load_clip(as_utterance(clip, text))
        sent_ns, part = self._asked(lambda server: server.transcribe(loaded.samples, RATE_HZ))
        return _transcription(loaded, part.text, sent_ns, part.ended_ns)

    def reply(self, text: str) -> Answer:
        """Answer one text, without any history. Raises StackError when it is not answered."""
        sent_ns, part = self._asked(lambda server: server.reply(text))
        return Answer(part.texts, *_span_ms(part.frames, sent_ns))

    def speak(self, text: str) -> Speech:
        """Speak a text. Raises StackError when it is not answered, or in a form that nobody here understands."""
        sent_ns, part = self._asked(lambda server: server.speak(text))
        if part.speech is None:
            raise StackError(
                f"{self._link.target} answered with audio that is no bare samples and no WAV; ask it for one of these"
            )
        return Speech(*part.speech, *_span_ms(part.audio, sent_ns))

    def _asked(self, question: Callable[[Server], object]) -> tuple[int, Part]:
        """What the server answered, and when it was asked."""
        link, live = self._link, self.live
        with live.slot() as call_id, contextlib.ExitStack() as stack:
            server = connect(link.protocol, (HOST, live.tapped_port(link.target, link.port)), self._model)
            stack.callback(server.close)
            sent_ns = time.monotonic_ns()
            try:
                question(server)
            except (StackError, OSError) as error:
                raise StackError(f"{link.target}: {error}\n{live.running.account()}") from None
            return sent_ns, _await_part(live, call_id, link.role, "an answer")[-1]


def _transcription(clip: Clip, heard: str, since_ns: int, ended_ns: int | None) -> Transcription:
    count = word_errors(clip.utterance.text, heard)
    wer = count.errors / count.words if count and count.words else None
    return Transcription(heard, ((ended_ns or since_ns) - since_ns) / 1e6, wer)


def _span_ms(frames: Sequence[Crossing], since_ns: int) -> tuple[float, float]:
    """When the first and the last of them crossed."""
    return (frames[0].at_ns - since_ns) / 1e6, (frames[-1].at_ns - since_ns) / 1e6


@contextlib.contextmanager
def _text_connection(port: int, call_id: str) -> Iterator[Callable[[bytes], None]]:
    with socket.create_connection((HOST, port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(encode_hello(call_id))
        yield connection.sendall
        with contextlib.suppress(OSError):
            connection.sendall(encode_control("bye", Layout.TEXT))


def _await_part(
    live: LiveStack, call_id: str, role: Role, what: str, *, count: int = 1, after_ns: int = 0
) -> list[Part]:
    """Wait until `count` parts have ended on a link, the last one after `after_ns`."""

    def ended() -> list[Part]:
        return [part for part in parts(live.recorder.of(call_id), role) if part.ended_ns is not None]

    _await(live, lambda: len(ended()) >= count and (ended()[-1].ended_ns or 0) >= after_ns, what, TIMEOUT_S)
    return ended()


def _await(live: LiveStack, condition: Callable[[], bool], what: str, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    with live.recorder.changed:
        while not condition():
            live.recorder.changed.wait(0.1)
            live.running.check()
            if time.monotonic() > deadline:
                process = live.running.processes[0]
                raise StackError(f"{process.name} did not send {what} within {timeout_s:g} s.\n{process.account()}")
