"""HTTP/1.1 as it passes by: the exchanges of one connection, each body read as it comes.

h11 parses; here its two sides are kept in step by one who sends nothing himself. What an exchange is about, and what
its bodies say, an `Exchange` knows.
"""

from __future__ import annotations

import zlib
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import h11

from pytest_voiceloop.wire.protocols import Passed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pytest_voiceloop.wire.protocols import Direction, Kind

MAX_BODY_BYTES = 16 * 1024 * 1024
"""The most that is held of a body which can only be read whole, and the most that a compressed one may unfold to."""
_MAX_HEAD_BYTES = 65_536
_MAX_WAITING = 100
_QUOTED_BYTES = 300
_TLS_HANDSHAKE = 0x16


class Said(NamedTuple):
    """What a body says: a `Passed` without its direction."""

    kind: Kind
    payload: bytes = b""
    sample_rate_hz: int = 0


class UnreadableError(ValueError):
    """A body that its reader cannot make sense of; the message says why."""


class Reader(Protocol):
    """What reads one body. Either method may raise UnreadableError, and is not called again then."""

    def feed(self, data: bytes) -> Iterable[Said]:
        """Take the next bytes of it, at least one."""

    def end(self) -> Iterable[Said]:
        """It is complete."""


class Exchange(Protocol):
    """One request and its answer. The names of headers are in lower case."""

    def asked(self, headers: Mapping[str, str]) -> Reader:
        """What reads the request's body."""

    def answered(self, headers: Mapping[str, str]) -> Reader:
        """What reads the answer's body, where the request was not refused."""


@dataclass(frozen=True, slots=True)
class HttpProtocol:
    """Exchanges that POST to a path with one of these endings. Whatever else passes is ignored."""

    endings: tuple[str, ...]
    exchange: Callable[[], Exchange]
    stamps: Direction = "back"
    greets: bool = False

    def open(self) -> HttpConversation:
        """A new connection."""
        return HttpConversation(self)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request; `exchange` is None where it is none of the protocol's."""

    name: str
    method: bytes
    upgrade: list[tuple[bytes, bytes]]
    exchange: Exchange | None


@dataclass(slots=True)
class _Message:
    """The request or answer that is being read. Without a `reader` nobody cares for its body."""

    http: h11.Connection
    asked: _Asked | None = None
    reader: Reader | None = None


class HttpConversation:
    """One connection, which may carry many exchanges, pipelined or one after another."""

    def __init__(self, protocol: HttpProtocol) -> None:
        self._protocol = protocol
        self._request: _Message | None = None
        self._answer: _Message | None = None
        self._waiting: deque[_Asked] = deque()
        self._ended: set[Direction] = set()
        self._over = False

    def feed(self, direction: Direction, data: bytes) -> list[Passed]:
        """What `data` completes. Audio and bytes are said in the pieces in which they came."""
        if self._over or direction in self._ended:
            return []
        passed: list[Passed] = []
        try:
            if data:
                passed.extend(self._forward(data) if direction == "forward" else self._back(data))
            else:
                self._ended.add(direction)
                passed.extend(self._hung_up() if direction == "forward" else self._cut_short())
        except h11.ProtocolError as error:
            self._over = True
            passed.append(Passed(direction, "garbled", f"this is no HTTP/1.1: {error}".encode()))
        return passed

    def _forward(self, data: bytes) -> Iterator[Passed]:
        if self._request is None:
            if data[0] == _TLS_HANDSHAKE:
                raise h11.RemoteProtocolError("it is TLS; give the service's plain address (http://)")
            self._request = _Message(_server())
        self._request.http.receive_data(data)
        while True:
            message = self._request
            event = message.http.next_event()
            if isinstance(event, h11.Request):
                if event.method == b"PRI":
                    raise h11.RemoteProtocolError("it is HTTP/2; have the client speak HTTP/1.1")
                if len(self._waiting) == _MAX_WAITING:
                    raise h11.RemoteProtocolError(f"more than {_MAX_WAITING} requests wait for an answer")
                message.asked = self._asked(event)
                self._waiting.append(message.asked)
                if message.asked.exchange is not None:
                    message.reader = _decoded(message.asked.exchange.asked, event)
            elif isinstance(event, h11.Data):
                yield from _body("forward", message, bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                yield from _body("forward", message, b"")
                rest, _ = message.http.trailing_data
                self._request = _Message(_server())
                if rest:
                    self._request.http.receive_data(rest)
            else:
                return

    def _back(self, data: bytes) -> Iterator[Passed]:
        while data:
            message = self._answer or self._next_answer()
            self._answer = message
            message.http.receive_data(data)
            yield from self._read(message)
            data, _ = message.http.trailing_data if self._answer is None else (b"", False)

    def _read(self, message: _Message) -> Iterator[Passed]:
        while True:
            event = message.http.next_event()
            if isinstance(event, h11.Response):
                asked = message.asked
                if asked is None or asked.exchange is None:
                    continue
                if event.status_code < 300:
                    message.reader = _decoded(asked.exchange.answered, event)
                else:
                    message.reader = _Refused(f"{asked.name} was answered {event.status_code}")
            elif isinstance(event, h11.Data):
                yield from _body("back", message, bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                yield from _body("back", message, b"")
                self._answer = None
                return
            elif not isinstance(event, h11.InformationalResponse):
                # A web socket, or a tunnel: no exchange comes after that.
                self._over = message.http.their_state is h11.SWITCHED_PROTOCOL
                return

    def _asked(self, request: h11.Request) -> _Asked:
        path = request.target.partition(b"?")[0].decode("latin-1")
        method = request.method.decode("latin-1")
        ours = method == "POST" and path.endswith(self._protocol.endings)
        upgrade = [(name, value) for name, value in request.headers if name == b"upgrade"]
        return _Asked(f"{method} {path}", request.method, upgrade, self._protocol.exchange() if ours else None)

    def _next_answer(self) -> _Message:
        """What reads the answer to the oldest request. One that was never seen is taken for a GET."""
        asked = self._waiting.popleft() if self._waiting else _Asked("", b"GET", [], None)
        client = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
        # It has to know what was asked: the answer to HEAD has no body, after an upgrade there is no HTTP.
        client.send(h11.Request(method=asked.method, target="/", headers=[(b"host", b"tapped"), *asked.upgrade]))
        return _Message(client, asked)

    def _hung_up(self) -> Iterator[Passed]:
        """The asking side has closed: within an answer that is how an HTTP client takes back what it asked for."""
        if self._answer is not None and self._answer.reader is not None:
            self._answer.asked = self._answer.reader = None
            yield Passed("back", "cancel")

    def _cut_short(self) -> Iterator[Passed]:
        """The answering side has closed: an answer may end so. What else it owed has failed, if anybody waits."""
        if self._answer is not None:
            self._answer.http.receive_data(b"")
            try:
                yield from self._read(self._answer)
            except h11.RemoteProtocolError:
                asked = self._answer.asked
                if asked is not None and asked.exchange is not None:
                    yield Passed("back", "failed", f"the answer to {asked.name} was cut short".encode())
        if "forward" not in self._ended:
            for asked in self._waiting:
                if asked.exchange is not None:
                    yield Passed("back", "failed", f"{asked.name} was not answered: the connection was closed".encode())


def _server() -> h11.Connection:
    return h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD_BYTES)


def _body(direction: Direction, message: _Message, data: bytes) -> Iterator[Passed]:
    """What a body says; no data is its end."""
    if message.reader is None or message.asked is None:
        return
    name = message.asked.name
    try:
        for said in message.reader.feed(data) if data else message.reader.end():
            yield Passed(direction, *said)
            if direction == "back" and said.kind in ("end", "failed"):
                # Many a client hangs up after [DONE], before the answer itself has ended. It takes nothing back.
                message.asked = message.reader = None
                return
    except UnreadableError as error:
        which = "the request" if direction == "forward" else "the answer to"
        yield Passed(direction, "failed", f"{which} {name} cannot be read: {error}".encode())
        message.asked = message.reader = None


def _decoded(reader: Callable[[Mapping[str, str]], Reader], event: h11.Request | h11.Response) -> Reader:
    """The reader of a body, with its content encoding undone."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
    encoding = headers.get("content-encoding", "identity").strip().lower()
    inner = reader(headers)
    return inner if encoding in ("", "identity") else _Unfolded(encoding, inner)


class _Refused:
    """The body of an answer with an error status: its beginning is part of the reason."""

    def __init__(self, why: str) -> None:
        self._why = why
        self._quoted = b""

    def feed(self, data: bytes) -> Iterable[Said]:
        self._quoted += data[: _QUOTED_BYTES - len(self._quoted)]
        return ()

    def end(self) -> Iterable[Said]:
        quoted = " ".join(self._quoted.decode(errors="replace").split())
        yield Said("failed", (f"{self._why}: {quoted}" if quoted else self._why).encode())


class _Unfolded:
    """A body behind gzip or deflate; others are not known to the standard library."""

    def __init__(self, encoding: str, inner: Reader) -> None:
        self._encoding = encoding
        self._inner = inner
        # 32: zlib finds out for itself which of the two headers there is.
        self._zlib = zlib.decompressobj(32 + zlib.MAX_WBITS)
        self._left = MAX_BODY_BYTES

    def feed(self, data: bytes) -> Iterable[Said]:
        if self._encoding not in ("gzip", "x-gzip", "deflate"):
            raise UnreadableError(f"it is compressed ({self._encoding}); have it sent plain, or as gzip")
        try:
            plain = self._zlib.decompress(data, self._left + 1)
        except zlib.error as error:
            raise UnreadableError(f"it is no {self._encoding}: {error}") from None
        self._left -= len(plain)
        if self._left < 0:
            raise UnreadableError(f"it unfolds to more than {MAX_BODY_BYTES} bytes")
        if plain:
            yield from self._inner.feed(plain)

    def end(self) -> Iterable[Said]:
        if not self._zlib.eof:
            raise UnreadableError(f"its {self._encoding} is cut short")
        yield from self._inner.end()
