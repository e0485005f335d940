"""The endpoints of OpenAI's HTTP interface that voice stacks serve, by whatever server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_voiceloop.wire.bodies import EventStream, Whole, at, parsed, words
from pytest_voiceloop.wire.http import HttpProtocol, Said, UnreadableError

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


def _is_event_stream(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").lower().startswith("text/event-stream")


CHAT = HttpProtocol(("/chat/completions",), Chat)
