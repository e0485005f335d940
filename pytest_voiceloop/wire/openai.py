"""The endpoints of OpenAI's HTTP interface that voice stacks serve, by whatever server."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

from pytest_voiceloop.wire.bodies import EventStream, Whole, at, parsed, words
from pytest_voiceloop.wire.forms import Form
from pytest_voiceloop.wire.http import HttpProtocol, Said, UnreadableError
from pytest_voiceloop.wire.samples import Format, Samples, Wav, format_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_voiceloop.wire.http import Reader


class Chat:
    """A chat completion: what the user said last, and the reply to it.

    Text of the first choice only. What the model thinks to itself, and the tools that it calls, nobody is to hear.
    """

    def asked(self, _: Mapping[str, str]) -> Reader:
        """Reads the messages."""
        return Whole(_last_said)

    def answered(self, headers: Mapping[str, str]) -> Reader:
        """Reads the reply, as it is made or when it is complete."""
        return EventStream(_deltas) if _is_event_stream(headers) else Whole(_reply)


def _last_said(body: bytes) -> Iterator[Said]:
    messages = at(parsed(body), "messages")
    for message in reversed(messages if isinstance(messages, list) else []):
        role = at(message, "role")
        if role == "tool":
            # The same utterance is still being answered: this request brings what a tool found.
            return
        if role == "user":
            content = at(message, "content")
            parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
            texts = [at(part, "text") for part in parts if at(part, "type") == "text"]
            yield from words("text", " ".join(text for text in texts if isinstance(text, str)))
            yield Said("end")
            return


def _deltas(event: Any) -> Iterator[Said]:
    choices = at(event, "choices")
    for choice in choices if isinstance(choices, list) else []:
        if at(choice, "index") in (0, None):
            yield from words("delta", at(choice, "delta", "content"))


def _reply(body: bytes) -> Iterator[Said]:
    message = at(parsed(body), "choices", 0, "message")
    if message is None:
        raise UnreadableError(f"it holds no message: {body[:100]!r}")
    yield from words("text", at(message, "content"))
    yield Said("end")


class Transcription:
    """An upload of audio, and its transcript. Subtitles are said as ``bytes``: they are no text that anybody says."""

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}
        self._said_some = False

    def asked(self, headers: Mapping[str, str]) -> Reader:
        """Reads the form, and its file where that is WAV."""
        return Form(headers.get("content-type", ""), Wav(), self._fields)

    def answered(self, headers: Mapping[str, str]) -> Reader:
        """Reads the transcript, as it is made or when it is complete."""
        if _is_event_stream(headers):
            return EventStream(self._heard)
        return Whole(_transcript if "json" in headers.get("content-type", "").lower() else self._plain)

    def _heard(self, event: Any) -> Iterator[Said]:
        kind = at(event, "type")
        if kind == "transcript.text.done":
            # The whole text, which has passed already where there were deltas.
            if not self._said_some:
                yield from words("text", at(event, "text"))
            yield Said("end")
        elif kind == "transcript.text.delta":
            self._said_some = True
            yield from words("delta", at(event, "delta"))
        elif kind is None:
            # Others have chunks as those of a chat, or one text for each segment.
            yield from _deltas(event)
            yield from words("text", at(event, "text"))

    def _plain(self, body: bytes) -> Iterator[Said]:
        if self._fields.get("response_format") in ("srt", "vtt"):
            yield Said("bytes", body)
        else:
            yield from words("text", body.decode(errors="replace").strip())
        yield Said("end")


def _transcript(body: bytes) -> Iterator[Said]:
    document = parsed(body)
    # Some servers write plain text as a document too.
    text = document if isinstance(document, str) else at(document, "text")
    if not isinstance(text, str):
        raise UnreadableError(f"it holds no text: {body[:100]!r}")
    yield from words("text", text.strip())
    yield Said("end")


class Speech:
    """A text, and the speech it becomes: audio as it comes where that is PCM or WAV, else ``bytes``."""

    def __init__(self) -> None:
        self._wanted: object = None
        self._streamed: Reader | None = None

    def asked(self, _: Mapping[str, str]) -> Reader:
        """Reads the text."""
        return Whole(self._input)

    def answered(self, headers: Mapping[str, str]) -> Reader:
        """Reads the audio, in the body itself or in events."""
        if _is_event_stream(headers):
            self._streamed = self._audio("")
            return EventStream(self._event)
        return self._audio(headers.get("content-type", "").lower())

    def _input(self, body: bytes) -> Iterator[Said]:
        document = parsed(body)
        self._wanted = at(document, "response_format")
        yield from words("text", at(document, "input"))
        yield Said("end")

    def _audio(self, content_type: str) -> Reader:
        if content_type.startswith("audio/pcm") or (self._wanted == "pcm" and "wav" not in content_type):
            rate = re.search(r"rate=(\d{1,9})\b", content_type)
            said = format_of(int(rate[1]), channels=1, width_bytes=2) if rate else None
            return Samples(said or Format(_PCM_RATE_HZ))
        return Wav()

    def _event(self, event: Any) -> Iterator[Said]:
        assert self._streamed is not None
        if at(event, "type") == "speech.audio.done":
            yield from self._streamed.end()
        elif isinstance(audio := at(event, "audio"), str):
            try:
                raw = base64.b64decode(audio)
            except ValueError as error:
                raise UnreadableError(f"its audio is no base64: {error}") from None
            if raw:
                yield from self._streamed.feed(raw)


def _is_event_stream(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").lower().startswith("text/event-stream")


# OpenAI's own, for "pcm": 16-bit mono.
_PCM_RATE_HZ = 24_000

CHAT = HttpProtocol(("/chat/completions",), Chat)
TRANSCRIPTION = HttpProtocol(("/audio/transcriptions", "/audio/translations"), Transcription)
SPEECH = HttpProtocol(("/audio/speech",), Speech)
