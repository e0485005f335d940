"""Wyoming: what satellites and the services of Home Assistant speak. One protocol for all of its services.

An event is a line of JSON, then as many bytes of data and of payload as that line says. The ``wyoming`` package reads
events from a stream that it waits for and takes what it cannot read for the stream's end, so it cannot listen in; what
is read here is held against it in the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_voiceloop.wire.bodies import at, parsed, words
from pytest_voiceloop.wire.http import Said, UnreadableError
from pytest_voiceloop.wire.protocols import Passed
from pytest_voiceloop.wire.samples import format_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_voiceloop.wire.protocols import Direction

_MAX_LINE_BYTES = 65_536
_MAX_PART_BYTES = 16 * 1024 * 1024
_WHOLE_TEXTS = {"transcript", "synthesize", "handled", "not-handled", "recognize", "intent", "not-recognized"}
_CHUNKED_TEXTS = {"transcript", "synthesize", "handled"}


@dataclass(frozen=True, slots=True)
class Wyoming:
    """Speech to text, text to speech, and whatever handles a transcript: each is asked, and answers."""

    stamps: Direction = "back"
    greets: bool = False

    def open(self) -> WyomingConversation:
        """A new connection."""
        return WyomingConversation()


@dataclass(frozen=True, slots=True)
class _Event:
    type: str
    data: Any
    payload: bytes


class WyomingConversation:
    """One connection."""

    def __init__(self) -> None:
        self._held: dict[Direction, bytearray] = {"forward": bytearray(), "back": bytearray()}
        # Of which texts chunks have come. The whole text may follow, for those who do not care for chunks.
        self._chunked: set[tuple[Direction, str]] = set()
        self._speaks_stream = False
        self._asked = False
        self._answering = False
        self._over = False
        self._ended: set[Direction] = set()

    def feed(self, direction: Direction, data: bytes) -> list[Passed]:
        """The events that `data` completes, where they are of any interest."""
        if self._over or direction in self._ended:
            return []
        if not data:
            self._ended.add(direction)
            return self._closed(direction)
        held = self._held[direction]
        held += data
        passed: list[Passed] = []
        try:
            while (event := _take(held)) is not None:
                said = [Passed(direction, *one) for one in self._said(direction, event)]
                self._keep_account(said)
                passed += said
        except UnreadableError as error:
            self._over = True
            passed.append(Passed(direction, "garbled", f"this is no Wyoming: {error}".encode()))
        return passed

    def _said(self, direction: Direction, event: _Event) -> Iterator[Said]:
        name, _, stage = event.type.rpartition("-")
        if event.type == "audio-chunk":
            written = format_of(at(event.data, "rate"), at(event.data, "channels"), at(event.data, "width"))
            if written is None:
                yield Said("bytes", event.payload)
            elif whole := len(event.payload) - len(event.payload) % written.frame_bytes:
                yield Said("audio", written.mono(event.payload[:whole]), written.rate_hz)
        elif event.type == "audio-stop":
            # What is spoken while its text still comes may stop after each sentence.
            if direction == "forward" or not self._speaks_stream:
                yield Said("end")
        elif event.type == "synthesize-stopped":
            self._speaks_stream = False
            yield Said("end")
        elif event.type in _WHOLE_TEXTS:
            # Many a client hangs up once it has the whole text, before the stop that follows it.
            if (direction, event.type) not in self._chunked:
                yield from words("text", at(event.data, "text"))
            self._chunked.discard((direction, event.type))
            yield Said("end")
        elif event.type == "synthesize-start":
            self._speaks_stream = True
        elif name in _CHUNKED_TEXTS and stage == "chunk":
            self._chunked.add((direction, name))
            yield from words("delta", at(event.data, "text"))
        elif stage == "stop" and (direction, name) in self._chunked:
            self._chunked.discard((direction, name))
            yield Said("end")
        elif event.type == "error":
            yield from words("failed", at(event.data, "text") or "an error without a text")

    def _keep_account(self, said: list[Passed]) -> None:
        for one in said:
            ended = one.kind in ("end", "failed")
            if one.direction == "back":
                self._answering = not ended
            if ended:
                self._asked = one.direction == "forward"

    def _closed(self, direction: Direction) -> list[Passed]:
        if direction == "forward" and self._answering:
            return [Passed("back", "cancel")]
        if direction == "back" and "forward" not in self._ended and (self._asked or self._answering):
            return [Passed("back", "failed", b"the connection was closed before the answer was complete")]
        return []


def _take(held: bytearray) -> _Event | None:
    """Take the next event away, None where more of it has to come. Raises UnreadableError."""
    if held and held[:1] != b"{":
        raise UnreadableError(f"no line of JSON begins with {bytes(held[:20])!r}")
    stop = held.find(b"\n", 0, _MAX_LINE_BYTES)
    if stop < 0:
        if len(held) >= _MAX_LINE_BYTES:
            raise UnreadableError(f"a line has more than {_MAX_LINE_BYTES} bytes")
        return None
    header = parsed(bytes(held[:stop]))
    kind = at(header, "type")
    if not isinstance(kind, str):
        raise UnreadableError("an event has no type")
    start = stop + 1
    data_stop = start + _length(header, "data_length")
    end = data_stop + _length(header, "payload_length")
    if len(held) < end:
        return None
    data = at(header, "data")
    if data_stop > start:
        own = parsed(bytes(held[start:data_stop]))
        data = {**(data if isinstance(data, dict) else {}), **(own if isinstance(own, dict) else {})}
    event = _Event(kind, data, bytes(held[data_stop:end]))
    del held[:end]
    return event


def _length(header: object, key: str) -> int:
    length = at(header, key) or 0
    if not isinstance(length, int) or not 0 <= length <= _MAX_PART_BYTES:
        raise UnreadableError(f"{key} is {length!r:.40}; 0 to {_MAX_PART_BYTES} are allowed")
    return length


WYOMING = Wyoming()
