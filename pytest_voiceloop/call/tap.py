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
from typing import TYPE_CHECKING, Literal

from pytest_voiceloop.call.faults import Passage
from pytest_voiceloop.call.replay import Rewriter
from pytest_voiceloop.measure.timeline import Crossing
from pytest_voiceloop.stack.spec import HOST
from pytest_voiceloop.wire.framed import TEXT, Framed
from pytest_voiceloop.wire.protocols import ITEMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_voiceloop.call.faults import Stream, TurnFaults
    from pytest_voiceloop.call.replay import Script
    from pytest_voiceloop.stack.spec import Link
    from pytest_voiceloop.wire.protocols import Direction, LinkProtocol, Passed

_RECEIVE_BYTES = 65_536
_CONNECT_TIMEOUT_S = 2.0
_CLOSE_TIMEOUT_S = 5.0
_HANG_UP_CHECK_MS = 100
_TEND_S = 0.1
"""How often it is looked whether the targets are up."""


class Recorder:
    """What crossed which link, by call. `changed` is notified at each crossing; waiters may share it."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._calls: defaultdict[str, list[Crossing]] = defaultdict(list)

    def add(self, *crossings: Crossing) -> None:
        """Keep what came at once and wake who waits. What another connection brings next stands before or after it."""
        with self.changed:
            for crossing in crossings:
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
    faults: Callable[[str], TurnFaults | None] = lambda _: None,
    is_up: Callable[[str], bool] = lambda _: True,
) -> Iterator[Sequence[Relay]]:
    """Keep every tap listening until the context ends, then close all of its connections. Yields those that are open.

    A tap listens while `is_up(service)` says so of its target: whoever connects to one that is down is refused.
    `is_sink(call_id)` says whether a call's frames go nowhere (the judge's), `script(call_id)` what is passed on in
    place of its texts, if anything, `faults(call_id)` what is done to it on purpose, and `whose()` to which call
    belongs what does not say so itself. Raises OSError naming the port.
    """
    live: set[socket.socket] = set()
    relays: list[Relay] = []
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        listeners: dict[TapPoint, socket.socket] = {}

        def close_all() -> None:
            for listener in listeners.values():
                listener.close()

        stack.callback(close_all)

        def tend() -> None:
            for point in points:
                up = point.upstream is None or is_up(point.link.target)
                if up and point not in listeners:
                    listeners[point] = _listen(point.listen)
                    selector.register(listeners[point], selectors.EVENT_READ, point)
                elif not up and point in listeners:
                    listener = listeners.pop(point)
                    selector.unregister(listener)
                    # Those whom the kernel has accepted already are reset with it.
                    listener.close()

        tend()
        closing, close = socket.socketpair()
        stack.enter_context(closing)
        selector.register(closing, selectors.EVENT_READ)

        def accept() -> None:
            while True:
                ready = selector.select(_TEND_S)
                # Before whoever has just connected is let in. A port that is taken meanwhile is asked for again.
                with contextlib.suppress(OSError):
                    tend()
                for key, _ in ready:
                    if key.data is None:
                        return
                    # Closed by now, out of descriptors, or the peer is gone: none is a reason to stop listening.
                    with contextlib.suppress(OSError):
                        connection, _ = key.fileobj.accept()  # type: ignore[union-attr]
                        relays[:] = [relay for relay in relays if relay.thread.is_alive()]
                        relays.append(Relay(connection, key.data, recorder, is_sink, script, whose, faults, live))

        acceptor = threading.Thread(target=accept, name="taps", daemon=True)
        acceptor.start()
        try:
            yield relays
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
                relays[0].thread.join(0.02)
                relays[:] = [relay for relay in relays if relay.thread.is_alive()]


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


class _Outlet:
    """What goes to one side, in order. What has to wait is waited for in a thread, so that reading goes on."""

    def __init__(self, connection: socket.socket, over: threading.Event, helpers: list[threading.Thread]) -> None:
        self._connection = connection
        self._over = over
        self._helpers = helpers
        self._waiting: queue.SimpleQueue[tuple[Callable[[], None], int]] | None = None
        self._last_ns = 0
        self._ended = False
        self.broken_off = False
        """It ends on purpose, now or when that is due: what comes after that goes nowhere."""

    def send(self, data: bytes, due_ns: int = 0) -> None:
        """Send when it is due, after all that came before; no data ends the stream. Raises OSError."""
        self._in_turn(lambda: self._send(data), due_ns)

    def break_off(self, end: Callable[[], None], due_ns: int = 0) -> None:
        """Call `end` when it is due, after all that came before has gone."""
        self.broken_off = True
        self._in_turn(end, due_ns)

    def end_now(self) -> None:
        """End the stream; what comes after that goes nowhere."""
        with contextlib.suppress(OSError):
            self._send(b"")

    def wake(self) -> None:
        """Have the thread look whether all is over."""
        if self._waiting is not None:
            self._waiting.put((lambda: None, 0))

    def _in_turn(self, act: Callable[[], None], due_ns: int) -> None:
        if self._waiting is None and due_ns > time.monotonic_ns():
            self._waiting = queue.SimpleQueue()
            self._helpers.append(_start(self._wait, "tap-delay", self._waiting))
        if self._waiting is None:
            act()
        else:
            self._last_ns = max(self._last_ns, due_ns)
            self._waiting.put((act, self._last_ns))

    def _send(self, data: bytes) -> None:
        if self._ended:
            return
        if data:
            self._connection.sendall(data)
        else:
            self._ended = True
            self._connection.shutdown(socket.SHUT_WR)

    def _wait(self, waiting: queue.SimpleQueue[tuple[Callable[[], None], int]]) -> None:
        with contextlib.suppress(OSError):
            while not self._ended:
                act, due_ns = waiting.get()
                if self._over.wait(max(0.0, (due_ns - time.monotonic_ns()) / 1e9)):
                    return
                act()


class _Pieces:
    """Cuts one direction into its frames, where its protocol has some; else what was read at once is a piece."""

    def __init__(self, framed: Framed | None) -> None:
        self._framed = framed
        self.held = b""
        self._gone = 0
        """Bytes of the unfinished frame that have been passed on already."""

    def rest(self) -> bytes:
        """What is held of an unfinished frame. It goes on uncut, and so does what follows of that frame."""
        rest, self.held = self.held, b""
        self._gone += len(rest)
        return rest

    def went(self, data: bytes, passed: Sequence[Passed]) -> None:
        """It was passed on uncut."""
        if self._framed is not None:
            self._gone += len(data) - sum(map(self._framed.size, passed))

    def cut(self, data: bytes, passed: list[Passed], *, understood: bool) -> Iterator[tuple[bytes, list[Passed]]]:
        """The pieces that `data` completes, each with what it says. What is none, or not understood, goes uncut."""
        if self._framed is None or not understood:
            whole, self.held = self.held + data, b""
            yield whole, passed
            return
        self.held += data
        for one in passed:
            size = self._framed.size(one) - self._gone
            self._gone = 0
            piece, self.held = self.held[:size], self.held[size:]
            yield piece, [one]


class Relay:
    """One connection through a tap."""

    def __init__(
        self,
        connection: socket.socket,
        point: TapPoint,
        recorder: Recorder,
        is_sink: Callable[[str], bool],
        script: Callable[[str], Script | None],
        whose: Callable[[], str],
        faults: Callable[[str], TurnFaults | None],
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
        self.faults = faults
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
        # Ended on purpose: both sides are to see just that, and no reset.
        self.closed = False
        self.outlets: dict[Direction, _Outlet] = {"back": _Outlet(connection, self.over, self.helpers)}
        framed = point.spoken if isinstance(point.spoken, Framed) else None
        self.pieces: dict[Direction, _Pieces] = {"forward": _Pieces(framed), "back": _Pieces(None)}
        live.add(connection)
        self.thread = _start(self._run, f"tap-{point.link.role}")

    @property
    def of_call(self) -> str:
        """Whose connection it is: as it says itself, else that of the one call that is open."""
        return self.call_id or self.whose()

    def break_off(self, ending: Literal["close", "half_close", "reset"], direction: Direction, due_ns: int = 0) -> None:
        """End the connection on purpose: both ways, with a reset or without, or the stream in one direction.

        What is held back in that direction goes first, each when it is due.
        """
        outlet = self.outlets.get(direction)
        if outlet is not None:
            outlet.break_off(outlet.end_now if ending == "half_close" else lambda: self._cut(ending), due_ns)
        elif ending != "half_close":
            self._cut(ending)

    def _cut(self, ending: Literal["close", "half_close", "reset"]) -> None:
        """End the connection both ways, now."""
        self.closed = ending == "close"
        for connection in filter(None, (self.source, self.target)):
            if ending == "reset":
                _reset(connection)
            else:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._finish()

    def _finish(self) -> None:
        """Nothing can reach anybody any more."""
        self.over.set()
        for outlet in list(self.outlets.values()):
            outlet.wake()

    def _run(self) -> None:
        """Relay until both directions have ended."""
        outlet: _Outlet | None = None
        held = b""
        sink = self.point.upstream is None and not self.point.spoken.greets
        try:
            if not (sink or self.point.spoken.greets):
                outlet = self._connect()
            while data := self.source.recv(_RECEIVE_BYTES):
                at_ns = time.monotonic_ns()
                rewriter = self._rewriter()
                if outlet is not None and rewriter is None and self._uncut("forward"):
                    self.passing_on = True
                    outlet.send(data)
                    passed = self._understand(data)
                    self.pieces["forward"].went(data, passed)
                else:
                    passed = self._understand(data)
                    if outlet is not None:
                        passed = self._pass_on("forward", data, passed, at_ns, rewriter)
                    elif not sink:
                        held += data
                        if self.call_id or not self.understood:
                            sink = self.point.upstream is None or self.is_sink(self.call_id)
                            if not sink:
                                # Before the stamps: what the target refuses has not crossed.
                                outlet = self._connect()
                                passed = self._pass_on("forward", held, passed, at_ns, None)
                self._answered()
                self._stamp(passed, at_ns)
            self._hung_up()
            if outlet is not None:
                self._end("forward")
        except OSError:
            # One side is gone; the other has to see that, and the turn that misses a frame reports it.
            self._hung_up()
            self._finish()
            for connection in (self.source, self.target):
                if connection is not None and not self.closed:
                    _reset(connection)
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

    def _stream(self, direction: Direction) -> Stream | None:
        """What is done on purpose to what passes."""
        faults = self.faults(self.of_call)
        return None if faults is None else faults.stream(self.point.link, direction)

    def _uncut(self, direction: Direction) -> bool:
        """Whether what has been read can go on at once, whatever it says, and be understood after that."""
        return not (self.pieces[direction].held or self._stream("forward") or self._stream("back"))

    def _pass_on(
        self, direction: Direction, data: bytes, passed: list[Passed], at_ns: int, rewriter: Rewriter | None
    ) -> list[Passed]:
        """Pass on what is left of it, when it may go, and return what has crossed. Raises OSError."""
        crossed: list[Passed] = []
        outlet = self.outlets[direction]
        stream = self._stream(direction)
        for piece, said in self.pieces[direction].cut(data, passed, understood=self.understood):
            # What is not understood goes on as it is, as ever.
            rewritten = b"".join(map(rewriter.rewrite, said)) if rewriter is not None and self.understood else piece
            if stream is None:
                passage = Passage(rewritten)
            else:
                item = any(one.direction == direction and one.kind in ITEMS for one in said)
                passage = stream.through(rewritten, at_ns, item=item)
            if outlet.broken_off:
                continue
            if passage.data:
                outlet.send(passage.data, passage.due_ns)
            if passage.crossed:
                crossed += said
            if passage.ending:
                self.break_off(passage.ending, direction, passage.due_ns)
            if self.over.is_set():
                return crossed
        if stream is None and (rest := self.pieces[direction].rest()):
            outlet.send(rest)
        return crossed

    def _end(self, direction: Direction) -> None:
        """Pass the end of a stream on, after what is still to come of it. Raises OSError."""
        at_ns = time.monotonic_ns()
        outlet, stream = self.outlets[direction], self._stream(direction)
        if rest := self.pieces[direction].rest():
            outlet.send(rest)
        outlet.send(b"", 0 if stream is None else stream.through(b"", at_ns, item=False).due_ns)

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
        crossings = [
            Crossing(at_ns, role, self.of_call, one.kind, one.payload, one.sample_rate_hz)
            for one in passed
            if (role := self.point.link.stamps(one.direction, self.point.spoken.stamps)) is not None
        ]
        if crossings:
            self.recorder.add(*crossings)

    def _connect(self) -> _Outlet:
        """Connect to the target, and return what sends to it."""
        assert self.point.upstream is not None
        self.target = target = socket.create_connection(self.point.upstream, timeout=_CONNECT_TIMEOUT_S)
        self.live.add(target)
        target.settimeout(None)
        target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.outlets["forward"] = outlet = _Outlet(target, self.over, self.helpers)
        self.helpers.append(_start(self._back, "tap-back", target))
        return outlet

    def _back(self, target: socket.socket) -> None:
        """What the target says goes back; that the target is gone is passed on as a reset."""
        try:
            while data := target.recv(_RECEIVE_BYTES):
                at_ns = time.monotonic_ns()
                if self._uncut("back"):
                    self.came_back.append((data, at_ns))
                    self.outlets["back"].send(data)
                    self._answered()
                else:
                    # Its question has been understood: where something is done to a link, that comes first.
                    self._answered()
                    with self.feeding:
                        passed = self._feed("back", data)
                    self._stamp(self._pass_on("back", data, passed, at_ns, None), at_ns)
            self.came_back.append((b"", time.monotonic_ns()))
            self._answered()
            self._end("back")
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
        if gone and not self.closed:
            _reset(self.source)
        self._finish()
