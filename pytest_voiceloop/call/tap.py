"""Relays on the links of a stack: every byte is passed on as it comes, whatever it says is stamped.

A link whose target is not booted, or whose call is the judge's, has the harness itself at its end: frames are stamped
and go nowhere.
"""

from __future__ import annotations

import contextlib
import queue
import select
import selectors
import socket
import struct
import threading
import time
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_voiceloop.call.replay import Rewriter
from pytest_voiceloop.measure.timeline import Crossing
from pytest_voiceloop.stack.spec import HOST
from pytest_voiceloop.wire.framed import TEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_voiceloop.call.replay import Script
    from pytest_voiceloop.stack.spec import Link
    from pytest_voiceloop.wire.protocols import Direction, LinkProtocol, Passed

_RECEIVE_BYTES = 65_536
_CONNECT_TIMEOUT_S = 2.0
_CLOSE_TIMEOUT_S = 5.0
_HANG_UP_CHECK_MS = 100


class Recorder:
    """What crossed which link, by call. `changed` is notified at each crossing; waiters may share it."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._calls: defaultdict[str, list[Crossing]] = defaultdict(list)

    def add(self, crossing: Crossing) -> None:
        """Keep one crossing and wake who waits."""
        with self.changed:
            self._calls[crossing.call_id].append(crossing)
            self.changed.notify_all()

    def of(self, call_id: str, since_ns: int = 0) -> list[Crossing]:
        """The crossings of a call that came at or after `since_ns`."""
        return [crossing for crossing in self._calls[call_id] if crossing.at_ns >= since_ns]

    def forget(self, call_id: str) -> None:
        """Drop what is kept of a call that is over."""
        self._calls.pop(call_id, None)


@dataclass(frozen=True, slots=True)
class TapPoint:
    """Where one tap listens and whom it feeds; `upstream` None makes the harness the end of the link."""

    link: Link
    spoken: LinkProtocol
    listen: int
    upstream: tuple[str, int] | None


@contextlib.contextmanager
def taps(
    points: Sequence[TapPoint],
    recorder: Recorder,
    is_sink: Callable[[str], bool],
    script: Callable[[str], Script | None] = lambda _: None,
    whose: Callable[[], str] = lambda: "",
) -> Iterator[None]:
    """Keep every tap listening until the context ends, then close all of its connections.

    `is_sink(call_id)` says whether a call's frames go nowhere (the judge's), `script(call_id)` what is passed on in
    place of its texts, if anything, and `whose()` to which call belongs what does not say so itself. Raises OSError
    naming the port.
    """
    live: set[socket.socket] = set()
    relays: list[threading.Thread] = []
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for point in points:
            listener = stack.enter_context(_listen(point.listen))
            selector.register(listener, selectors.EVENT_READ, point)
        closing, close = socket.socketpair()
        stack.enter_context(closing)
        selector.register(closing, selectors.EVENT_READ)

        def accept() -> None:
            while True:
                for key, _ in selector.select():
                    if key.data is None:
                        return
                    # Out of descriptors, or the peer is gone already: neither is a reason to stop listening.
                    with contextlib.suppress(OSError):
                        connection, _ = key.fileobj.accept()  # type: ignore[union-attr]
                        relays[:] = [relay for relay in relays if relay.is_alive()]
                        relay = _Relay(connection, key.data, recorder, is_sink, script, whose, live)
                        relays.append(_start(relay.run, f"tap-{key.data.link.role}"))

        acceptor = threading.Thread(target=accept, name="taps", daemon=True)
        acceptor.start()
        try:
            yield
        finally:
            close.close()
            acceptor.join()
            deadline = time.monotonic() + _CLOSE_TIMEOUT_S
            # More than once, since a relay may be connecting just now.
            while relays and time.monotonic() < deadline:
                for connection in list(live):
                    # A peer that does not read keeps a thread in sendall, which only the end of both directions wakes.
                    with contextlib.suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)
                relays[0].join(0.02)
                relays[:] = [relay for relay in relays if relay.is_alive()]


def _start(target: Callable[..., None], name: str, *args: object) -> threading.Thread:
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    thread.start()
    return thread


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"the harness cannot listen on {HOST}:{port}: {error.strerror}") from None
    listener.listen(16)
    return listener


def _reset(connection: socket.socket) -> None:
    """Close with a reset, as a peer that is gone would, rather than with a polite end of stream."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Wakes a thread that blocks in recv, which close alone would not.
        connection.shutdown(socket.SHUT_RD)
    connection.close()


class _Relay:
    """One connection through a tap."""

    def __init__(
        self,
        connection: socket.socket,
        point: TapPoint,
        recorder: Recorder,
        is_sink: Callable[[str], bool],
        script: Callable[[str], Script | None],
        whose: Callable[[], str],
        live: set[socket.socket],
    ) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.source = connection
        self.target: socket.socket | None = None
        self.point = point
        self.recorder = recorder
        self.is_sink = is_sink
        self.script = script
        self.whose = whose
        self.rewriter: Rewriter | None = None
        self.live = live
        self.call_id = ""
        self.conversation = point.spoken.open()
        self.understood = True
        # Both directions belong to one conversation, in which no answer comes before its question: what came back while
        # a question is passed on, and not yet understood, waits here. Nor does anybody hang up on what he was never
        # given: it is here before it is passed on. Passing on waits for nothing.
        self.feeding = threading.Lock()
        self.passing_on = False
        self.came_back: deque[tuple[bytes, int]] = deque()
        self.helpers: list[threading.Thread] = []
        # Nothing can reach the target any more.
        self.over = threading.Event()
        live.add(connection)

    def run(self) -> None:
        """Relay until both directions have ended."""
        send: Callable[[bytes, int], None] | None = None
        held = b""
        sink = self.point.upstream is None and not self.point.spoken.greets
        try:
            if not (sink or self.point.spoken.greets):
                send = self._connect()
            while data := self.source.recv(_RECEIVE_BYTES):
                at_ns = time.monotonic_ns()
                rewriter = self._rewriter()
                if send is not None and rewriter is None:
                    self.passing_on = True
                    send(data, at_ns)
                passed = self._understand(data)
                self._answered()
                if send is not None and rewriter is not None:
                    # What is not understood goes on as it is, as ever.
                    rewritten = b"".join(map(rewriter.rewrite, passed)) if self.understood else data
                    if rewritten:
                        send(rewritten, at_ns)
                if send is None and not sink:
                    held += data
                    if self.call_id or not self.understood:
                        sink = self.point.upstream is None or self.is_sink(self.call_id)
                        if not sink:
                            # Before the stamps: what the target refuses has not crossed.
                            send = self._connect()
                            send(held, at_ns)
                self._stamp(passed, at_ns)
            self._hung_up()
            if send is not None:
                send(b"", time.monotonic_ns())
        except OSError:
            # One side is gone; the other has to see that, and the turn that misses a frame reports it.
            self._hung_up()
            self.over.set()
            for connection in (self.source, self.target):
                if connection is not None:
                    _reset(connection)
            if send is not None:
                # Wakes the thread of a delay.
                with contextlib.suppress(OSError):
                    send(b"", 0)
        for helper in self.helpers:
            helper.join()
        self._answered()
        # Where the harness is the end of the link, closing is its answer to the peer's end of stream.
        for connection in (self.source, self.target):
            if connection is not None:
                connection.close()
                self.live.discard(connection)

    def _rewriter(self) -> Rewriter | None:
        """What rewrites this turn's frames; a turn begins on an idle link, so never in the middle of a frame."""
        script = self.script(self.call_id) if self.point.spoken is TEXT else None
        if script is None or not self.understood:
            self.rewriter = None
        elif self.rewriter is None or self.rewriter.script is not script:
            self.rewriter = Rewriter(script, self.point.link.role)
        return self.rewriter

    def _understand(self, data: bytes) -> list[Passed]:
        """What goes to the target says."""
        with self.feeding:
            self.passing_on = False
            passed = self._feed("forward", data)
        if passed and passed[0].kind == "hello":
            self.call_id = passed[0].payload.decode()
        return passed

    def _hung_up(self) -> None:
        """The source has no more to say; what it has been given came before that."""
        self.passing_on = False
        self._answered()
        self._stamp(self._understand(b""), time.monotonic_ns())

    def _answered(self) -> None:
        """Stamp what came back, each with its time, unless a question is being passed on: then it waits for that."""
        with self.feeding:
            while self.came_back and not self.passing_on:
                data, at_ns = self.came_back.popleft()
                self._stamp(self._feed("back", data), at_ns)

    def _feed(self, direction: Direction, data: bytes) -> list[Passed]:
        """What the bytes say. What the protocol cannot read is passed on all the same, and only its stamps end."""
        passed = self.conversation.feed(direction, data) if self.understood else []
        if passed and passed[-1].kind == "garbled":
            self.understood = False
        return passed

    def _stamp(self, passed: list[Passed], at_ns: int) -> None:
        for one in passed:
            role = self.point.link.stamps(one.direction, self.point.spoken.stamps)
            if role is not None:
                call_id = self.call_id or self.whose()
                self.recorder.add(Crossing(at_ns, role, call_id, one.kind, one.payload, one.sample_rate_hz))

    def _connect(self) -> Callable[[bytes, int], None]:
        """Connect to the target, and return what sends it data that came at a time; no data ends the stream."""
        assert self.point.upstream is not None
        self.target = target = socket.create_connection(self.point.upstream, timeout=_CONNECT_TIMEOUT_S)
        self.live.add(target)
        target.settimeout(None)
        target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.helpers.append(_start(self._back, "tap-back", target))
        delay_ns = round(self.point.link.delay_ms * 1e6)

        def send(data: bytes, _: int) -> None:
            if data:
                target.sendall(data)
            else:
                target.shutdown(socket.SHUT_WR)

        if not delay_ns:
            return send
        # A delay must not keep the next frame from being read and stamped, so another thread waits it out.
        waiting: queue.SimpleQueue[tuple[bytes, int]] = queue.SimpleQueue()

        def write() -> None:
            with contextlib.suppress(OSError):
                while True:
                    data, at_ns = waiting.get()
                    if self.over.wait(max(0.0, (at_ns + delay_ns - time.monotonic_ns()) / 1e9)):
                        return
                    send(data, at_ns)
                    if not data:
                        return

        self.helpers.append(_start(write, "tap-delay"))
        return lambda data, at_ns: waiting.put((data, at_ns))

    def _back(self, target: socket.socket) -> None:
        """What the target says goes back as it is; that the target is gone is passed on as a reset."""
        try:
            while data := target.recv(_RECEIVE_BYTES):
                self.came_back.append((data, time.monotonic_ns()))
                self.source.sendall(data)
                self._answered()
            self.came_back.append((b"", time.monotonic_ns()))
            self._answered()
            self.source.shutdown(socket.SHUT_WR)
            # A process that was killed ends its stream as politely as one that has no more to say. What it answers to
            # the next frame tells the two apart; poll reports that, or the end of both directions, unasked.
            hang_up = select.poll()
            hang_up.register(target, 0)
            while not hang_up.poll(_HANG_UP_CHECK_MS) and not self.over.is_set():
                pass
            gone = target.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
        except (OSError, ValueError):
            # ValueError: closed in the meantime by the other thread, so there is no descriptor to poll.
            self.came_back.append((b"", time.monotonic_ns()))
            self._answered()
            gone = True
        if gone:
            _reset(self.source)
        self.over.set()
