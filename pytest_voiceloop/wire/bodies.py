"""Readers of bodies that are JSON documents or server-sent events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pytest_voiceloop.wire.http import MAX_BODY_BYTES, Said, UnreadableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pytest_voiceloop.wire.protocols import Kind


def parsed(document: bytes | str) -> Any:
    """What a JSON document holds. Raises UnreadableError."""
    try:
        return json.loads(document)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"it is no JSON: {error}") from None


def at(document: Any, *path: str | int) -> Any:
    """What stands at a path within parsed JSON, None where that leads nowhere."""
    for step in path:
        if isinstance(step, str):
            document = document.get(step) if isinstance(document, dict) else None
        else:
            document = document[step] if isinstance(document, list) and -len(document) <= step < len(document) else None
    return document


def words(kind: Kind, text: object) -> Iterator[Said]:
    """A text or delta, where there is one: JSON may hold anything, and half a surrogate pair too."""
    if isinstance(text, str) and text:
        yield Said(kind, text.encode(errors="replace"))


class Whole:
    """A body that is read when it is complete. `read` may raise UnreadableError."""

    def __init__(self, read: Callable[[bytes], Iterable[Said]]) -> None:
        self._read = read
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterable[Said]:
        """Hold it. Raises UnreadableError where it is too much."""
        if len(self._held) + len(data) > MAX_BODY_BYTES:
            raise UnreadableError(f"it has more than {MAX_BODY_BYTES} bytes")
        self._held += data
        return ()

    def end(self) -> Iterable[Said]:
        """What `read` makes of it."""
        return self._read(bytes(self._held))


class EventStream:
    """Server-sent events; `read` gets what each holds, parsed. Lines end in LF or CR LF.

    ``[DONE]`` is an end, and so is the stream's own. Whoever reads an answer stops at the first.
    """

    def __init__(self, read: Callable[[Any], Iterable[Said]]) -> None:
        self._read = read
        self._held = bytearray()
        self._searched = 0
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> Iterable[Said]:
        """The events that are complete now. Raises UnreadableError."""
        self._held += data
        while (stop := self._held.find(b"\n", self._searched)) >= 0:
            line = bytes(self._held[:stop]).removesuffix(b"\r")
            del self._held[: stop + 1]
            self._searched = 0
            yield from self._line(line)
        self._searched = len(self._held)
        if len(self._held) + sum(map(len, self._data)) > MAX_BODY_BYTES:
            raise UnreadableError(f"an event has more than {MAX_BODY_BYTES} bytes")

    def end(self) -> Iterable[Said]:
        """An event that no empty line ended is complete all the same: some servers close right after it."""
        if self._held:
            yield from self._line(bytes(self._held).removesuffix(b"\r"))
        yield from self._event()
        yield Said("end")

    def _line(self, line: bytes) -> Iterator[Said]:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
        elif not line:
            yield from self._event()

    def _event(self) -> Iterator[Said]:
        data = b"\n".join(self._data)
        self._data.clear()
        if data.strip() == b"[DONE]":
            yield Said("end")
        elif data:
            document = parsed(data)
            error = at(document, "error")
            yield from [Said("failed", _reason(error))] if error else self._read(document)


def _reason(error: object) -> bytes:
    message = at(error, "message") or error
    text = message if isinstance(message, str) else json.dumps(message)
    return f"the answer broke off: {text[:300]}".encode(errors="replace")
