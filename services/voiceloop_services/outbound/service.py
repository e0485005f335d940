"""The outbound audio processor: one `Line` per call id, each with its own ports and threads."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NoReturn

from pytest_voiceloop.wire import datagrams, frames, rtp
from voiceloop_services import runtime
from voiceloop_services.outbound import rtp_sender

if TYPE_CHECKING:
    import argparse
    import logging
    from collections.abc import Callable, Iterator

MIN_SPACING_S = 0.0001
"""Packets never leave closer together, at either pace: a receiver's socket buffer holds few of them."""
MOST_WAITING = 15_000
"""Packets of a call that wait to be sent, five minutes of them. With a caller kokoro has to wait then; without one they
are discarded."""
QUIET_S = 0.1
"""After so long without a chunk, what the filter holds back is sent: without END nobody else would ask for it."""
MOST_MISSING = 1000
"""Chunks. A wider gap is a garbled number, and to go on from it would drop everything after it as come already."""
REGISTER_PAUSES_S = (0.2,) * 5 + (1.0,)
"""Between two REGISTER to kokoro; the last one for as long as it takes."""


@dataclass(frozen=True, slots=True, eq=False)
class _Item:
    """What waits to be sent: a packet's payload, or a mark between packets."""

    kind: Literal["audio", "end", "bye"]
    ready_at_s: float
    payload: bytes = b""


class _Facts:
    def __init__(self, options: argparse.Namespace) -> None:
        self._pace = options.pace

    def facts(self) -> dict[str, object]:
        import soxr

        return {
            "engine": "soxr-pcmu",
            "model": None,
            "model_sha256": None,
            "device": "cpu",
            "version": soxr.__version__,
            "settings": {"pace": self._pace, "quality": rtp_sender.QUALITY, "rate_hz": rtp.RATE_HZ},
        }


def serve(options: argparse.Namespace, log: logging.Logger) -> NoReturn:
    """Bind the ports of every call slot, say so, and serve. Raises OSError that names an address it cannot bind."""
    lines = [Line(str(call_id), options, log) for call_id in options.calls.ids()]
    for line in lines:
        line.start()
    log.info(
        "calls %s: audio on TCP %s:%d + id, callers on UDP %s:%d + id, pace %s",
        ", ".join(map(str, options.calls.ids())),
        *options.listen,
        *options.register,
        options.pace,
    )
    runtime.announce_ready("outbound", _Facts(options))
    while True:
        signal.pause()


class Line:
    """One call slot: the connection from kokoro, the caller's address, and what waits to be sent to it."""

    def __init__(self, call_id: str, options: argparse.Namespace, log: logging.Logger) -> None:
        self.call_id = call_id
        self._log = log
        self._control: bool = options.control
        self._pace: rtp_sender.Pace = options.pace
        self._kokoro: runtime.Address = options.kokoro
        self._listener = _bind("--listen", runtime.listen_tcp, options.listen, call_id)
        self._udp = _bind("--register", runtime.bind_udp, options.register, call_id)
        # Guards everything below; notified when there may be something to send, or somebody to register with.
        self._changed = threading.Condition()
        self._upstream: socket.socket | None = None
        self._reset()

    def start(self) -> None:
        """Start the slot's threads."""
        for target in (self._accept, self._read_datagrams, self._send, self._register_with_kokoro):
            runtime.start(target, name=f"{target.__name__.strip('_')}-{self.call_id}")

    def _reset(self) -> None:
        """As at the start of the service: nobody registered, nothing to send."""
        self._caller: runtime.Address | None = None
        self._registered_at_s = 0.0
        self._draining = False
        self._queue: deque[_Item] = deque()
        self._packetiser = rtp_sender.Packetiser()
        self._schedule = rtp_sender.Schedule(self._pace)
        self._stream = rtp_sender.RtpStream()
        self._last_chunk_at_s = 0.0
        self._last_sent_at_s = 0.0
        self._sent = 0

    # Datagrams: from the caller, and to kokoro.

    def _read_datagrams(self) -> None:
        for datagram, sender in runtime.receive_datagrams(self._udp, self._log):
            if datagram.call_id != self.call_id:
                self._log.warning(
                    "refused %s:%s from %s:%d: this port belongs to call %s",
                    *(datagram.verb, datagram.call_id, *sender, self.call_id),
                )
            elif datagram.verb == "REGISTER":
                self._register(sender)
            elif datagram.verb == "BYE":
                self._bye_from(sender)
            else:
                self._log.warning("call %s: ignored END from %s:%d", self.call_id, *sender)

    def _register(self, caller: runtime.Address) -> None:
        with self._changed:
            if self._caller not in (None, caller):
                self._log.warning("call %s: another caller registers and takes the call over", self.call_id)
                self._hang_up()
            if self._caller is None:
                self._caller = caller
                self._registered_at_s = time.monotonic()
                self._log.info("call %s: caller registered, RTP goes to %s:%d", self.call_id, *caller)
                self._changed.notify_all()
            self._tell(caller, "REGISTER")

    def _bye_from(self, sender: runtime.Address) -> None:
        with self._changed:
            if self._caller is None and self._upstream is None and not self._queue:
                self._log.info("call %s: BYE from %s:%d, the call is over already", self.call_id, *sender)
            elif self._draining:
                self._log.info("call %s: BYE from %s:%d, the call is being finished", self.call_id, *sender)
            else:
                self._log.info("call %s: %s:%d hung up", self.call_id, *sender)
                # Who was never registered here, since this outbound is younger than the call, hangs up all the same:
                # what kokoro has sent must not be heard by the next caller.
                caller = self._caller
                self._hang_up()
                if caller is not None:
                    self._tell(caller, "BYE")

    def _hang_up(self) -> None:
        """Discard what is left, tell kokoro, and make the slot free."""
        unsent = self._unsent()
        if unsent:
            self._log.info("call %s: discarded %d packets", self.call_id, unsent)
        # Before the connection goes, so that kokoro does not take it for lost and connect again.
        self._tell(self._kokoro, "BYE")
        if self._upstream is not None:
            _shut(self._upstream)
            self._upstream = None
        self._reset()
        self._changed.notify_all()

    def _register_with_kokoro(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._kokoro_is_missing)
                for pause_s in _then_the_last(REGISTER_PAUSES_S):
                    self._tell(self._kokoro, "REGISTER")
                    if self._changed.wait_for(lambda: not self._kokoro_is_missing(), pause_s):
                        break

    def _kokoro_is_missing(self) -> bool:
        return self._caller is not None and self._upstream is None and not self._draining

    def _tell(self, whom: runtime.Address, verb: datagrams.Verb) -> None:
        try:
            self._udp.sendto(datagrams.Datagram(verb, self.call_id).encode(), whom)
        except OSError as error:
            self._log.warning("call %s: cannot send %s to %s:%d: %s", self.call_id, verb, *whom, error)

    # Audio from kokoro.

    def _accept(self) -> None:
        runtime.serve_connections(self._listener, self._serve, self._log, name=f"audio-{self.call_id}")

    def _serve(self, connection: socket.socket, address: runtime.Address) -> None:
        peer = f"{address[0]}:{address[1]}"
        try:
            with connection:
                self._read_frames(connection, peer)
        except frames.WireError as error:
            self._log.warning("call %s: closed the connection from %s: %s", self.call_id, peer, error)
        except OSError as error:
            self._log.warning("call %s: lost the connection from %s: %s", self.call_id, peer, error)
        finally:
            self._gone(connection, peer)

    def _read_frames(self, connection: socket.socket, peer: str) -> None:
        expected = 1
        for frame in runtime.read_frames(connection, frames.Layout.AUDIO_OUT):
            if frame.kind == "hello":
                if not self._greet(connection, peer, frame.text):
                    return
                continue
            runtime.stamp(self.call_id, "received")
            with self._changed:
                if self._upstream is not connection:
                    return
                if frame.kind != "audio":
                    self._mark(frame.kind, peer)
                    if frame.kind == "bye":
                        return
                elif frame.chunk_id < expected:
                    self._log.warning(
                        "call %s: dropped chunk %d, it came already (last was %d)",
                        *(self.call_id, frame.chunk_id, expected - 1),
                    )
                else:
                    if frame.chunk_id > expected + MOST_MISSING:
                        self._log.warning(
                            "call %s: closed the connection from %s: chunk %d cannot follow chunk %d",
                            *(self.call_id, peer, frame.chunk_id, expected - 1),
                        )
                        return
                    if frame.chunk_id > expected:
                        self._log.warning(
                            "call %s: chunks %d to %d are missing", self.call_id, expected, frame.chunk_id - 1
                        )
                    expected = frame.chunk_id + 1
                    self._log.debug(
                        "call %s: chunk %d, %.2f s at %d Hz",
                        *(self.call_id, frame.chunk_id, len(frame.samples) / frame.sample_rate_hz),
                        frame.sample_rate_hz,
                    )
                    self._last_chunk_at_s = time.monotonic()
                    self._enqueue(self._packetiser.feed(frame.samples, frame.sample_rate_hz))
                    self._changed.wait_for(lambda: not self._is_full() or self._upstream is not connection)

    def _greet(self, connection: socket.socket, peer: str, call_id: str) -> bool:
        if call_id != self.call_id:
            self._log.warning(
                "refused the connection from %s: its HELLO says call %s, this port belongs to call %s",
                *(peer, call_id, self.call_id),
            )
            return False
        with self._changed:
            if self._upstream is not None:
                self._log.warning("call %s: %s replaces the connection that stood", self.call_id, peer)
                _shut(self._upstream)
            self._upstream = connection
            self._log.info("call %s: kokoro connected from %s", self.call_id, peer)
            self._changed.notify_all()
        return True

    def _mark(self, kind: frames.Kind, peer: str) -> None:
        if kind == "bye":
            self._enqueue(self._packetiser.finish())
            self._enqueue_mark("bye")
            self._draining = True
            self._upstream = None
            self._log.info("call %s: BYE from kokoro, %d packets left to send", self.call_id, self._unsent())
        elif not self._control:
            self._log.warning("call %s: ignored %s from %s, --no-control is set", self.call_id, kind.upper(), peer)
        elif kind == "end":
            self._enqueue(self._packetiser.finish())
            self._enqueue_mark("end")
        else:
            self._cancel()

    def _cancel(self) -> None:
        self._packetiser.clear()
        discarded = 0
        while self._queue and self._queue[-1].kind == "audio":
            self._queue.pop()
            discarded += 1
        if not self._queue:
            # Otherwise an END is still to be sent, and begins the next talkspurt.
            self._stream.new_talkspurt()
        self._log.info("call %s: CANCEL, discarded %d packets", self.call_id, discarded)

    def _gone(self, connection: socket.socket, peer: str) -> None:
        with self._changed:
            if self._upstream is not connection:
                return
            self._upstream = None
            self._log.warning("call %s: %s went without BYE", self.call_id, peer)
            if self._caller is None:
                # Nobody will hear it, and the next caller in this slot must not.
                self._reset()
            self._changed.notify_all()

    def _enqueue(self, payloads: list[bytes]) -> None:
        now_s = time.monotonic()
        self._queue.extend(_Item("audio", now_s, payload) for payload in payloads)
        if self._caller is None and self._is_full():
            self._log.warning(
                "call %s: no caller registered while %d packets came, discarded", self.call_id, self._unsent()
            )
            self._queue.clear()
        self._changed.notify_all()

    def _enqueue_mark(self, kind: Literal["end", "bye"]) -> None:
        self._queue.append(_Item(kind, time.monotonic()))
        self._changed.notify_all()

    def _is_full(self) -> bool:
        return len(self._queue) > MOST_WAITING

    def _unsent(self) -> int:
        return sum(item.kind == "audio" for item in self._queue)

    # RTP to the caller.

    def _send(self) -> None:
        with self._changed:
            while True:
                wait_s = self._send_next()
                if wait_s is None or wait_s > 0:
                    self._changed.wait(wait_s)

    def _send_next(self) -> float | None:
        """Send what is due. Returns how long there is nothing to do, in seconds; None: until something changes."""
        now_s = time.monotonic()
        if not self._queue:
            return self._flush_when_quiet(now_s)
        item = self._queue[0]
        if self._caller is None:
            if not self._draining:
                return None
            self._log.warning("call %s: no caller registered, discarded %d packets", self.call_id, self._unsent())
            self._finish_call()
            return 0.0
        if item.kind == "audio":
            return self._send_packet(item, self._caller, now_s)
        self._queue.popleft()
        if self._sent:
            self._log.info(
                "call %s: sent a reply of %d packets (%.2f s)",
                *(self.call_id, self._sent, self._sent * rtp_sender.PACKET_S),
            )
            self._sent = 0
        if item.kind == "end":
            self._tell(self._caller, "END")
            self._stream.new_talkspurt()
        else:
            self._finish_call()
        return 0.0

    def _send_packet(self, item: _Item, caller: runtime.Address, now_s: float) -> float:
        ready_at_s = max(item.ready_at_s, self._registered_at_s)
        departure = self._schedule.plan(ready_at_s)
        wait_s = max(departure.at_s, self._last_sent_at_s + MIN_SPACING_S) - now_s
        if wait_s > 0:
            return wait_s
        was_full = self._is_full()
        self._queue.popleft()
        if was_full and not self._is_full():
            self._changed.notify_all()
        self._schedule.commit(ready_at_s)
        self._last_sent_at_s = now_s
        self._sent += 1
        packet = self._stream.packet(item.payload, departure.gap_samples).encode()
        runtime.stamp(self.call_id, "sent")
        try:
            self._udp.sendto(packet, caller)
        except OSError as error:
            self._log.warning("call %s: cannot send RTP to %s:%d: %s", self.call_id, *caller, error)
        return 0.0

    def _flush_when_quiet(self, now_s: float) -> float | None:
        # Where END is spoken it ends the reply, however long a clause takes: the filter's state lasts until then.
        if self._control or not self._packetiser.pending:
            return None
        wait_s = self._last_chunk_at_s + QUIET_S - now_s
        if wait_s > 0:
            return wait_s
        self._enqueue(self._packetiser.finish())
        return 0.0

    def _finish_call(self) -> None:
        # Kokoro first: its clean-up has then arrived before the caller can start the next call.
        self._tell(self._kokoro, "BYE")
        if self._caller is not None:
            self._tell(self._caller, "BYE")
        self._log.info("call %s: over", self.call_id)
        self._reset()


def _bind(
    option: str, make: Callable[[runtime.Address], socket.socket], base: runtime.Address, call_id: str
) -> socket.socket:
    try:
        return make((base[0], base[1] + int(call_id)))
    except OSError as error:
        raise OSError(
            error.errno, f"{error.strerror} ({option} {base[0]}:{base[1]} + call id {call_id}; choose another base)"
        ) from None


def _shut(connection: socket.socket) -> None:
    """Wake the thread that reads from it; that one closes it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _then_the_last(pauses_s: tuple[float, ...]) -> Iterator[float]:
    yield from pauses_s
    while True:
        yield pauses_s[-1]
