"""The caller's RTP side: what the outbound audio processor sends, stamped as it arrives."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

from pytest_voiceloop.call.mouth import CONNECT_TIMEOUT_S, register_waits_s
from pytest_voiceloop.measure.playout import Arrival
from pytest_voiceloop.stack.process import StackError
from pytest_voiceloop.stack.spec import HOST
from pytest_voiceloop.wire import datagrams, rtp
from pytest_voiceloop.wire.datagrams import Datagram

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_voiceloop.call.live import LiveStack

RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024


class Ear:
    """Everything that has arrived on a call's RTP port. `changed` is notified at each datagram that matters."""

    def __init__(self, sock: socket.socket, changed: threading.Condition) -> None:
        self._socket = sock
        self._changed = changed
        self.arrivals: list[Arrival] = []
        self.ends_ns: list[int] = []
        self.registered = False
        self.over_ns: int | None = None
        self.garbled = 0
        # Linux reports twice what it granted.
        self.receive_buffer_bytes = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
        self._thread = threading.Thread(target=self._listen, name="ear", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._socket.recv(2048):
                at_ns = time.monotonic_ns()
                if (packet := rtp.decode(data)) is not None:
                    self.arrivals.append(
                        Arrival(at_ns, packet.sequence, packet.timestamp, packet.marker, packet.payload)
                    )
                else:
                    self._control(datagrams.parse(data), at_ns)

    def _control(self, datagram: Datagram | None, at_ns: int) -> None:
        with self._changed:
            if datagram is None:
                self.garbled += 1
            elif datagram.verb == "END":
                self.ends_ns.append(at_ns)
            elif datagram.verb == "BYE":
                self.over_ns = at_ns
            else:
                self.registered = True
            self._changed.notify_all()

    def close(self) -> None:
        """Stop listening."""
        # Wakes the thread out of recv; UDP sockets that are not connected say ENOTCONN and wake all the same.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)
        self._thread.join()
        self._socket.close()


@contextlib.contextmanager
def open_ear(live: LiveStack, call_id: str) -> Iterator[Ear]:
    """Register a call's RTP address with outbound; hangs up with the context. Raises StackError without an answer."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((HOST, 0))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    ear = Ear(sock, live.recorder.changed)
    outbound = (HOST, live.port("outbound", "register", call_id))
    try:
        deadline = time.monotonic() + CONNECT_TIMEOUT_S
        for wait_s in register_waits_s():
            sock.sendto(Datagram("REGISTER", call_id).encode(), outbound)
            with live.recorder.changed:
                if live.recorder.changed.wait_for(lambda: ear.registered, wait_s):
                    break
            live.running.check()
            if time.monotonic() > deadline:
                process = next(p for p in live.running.processes if p.name == "outbound")
                raise StackError(
                    f"outbound did not answer REGISTER:{call_id} on port {outbound[1]} within "
                    f"{CONNECT_TIMEOUT_S:g} s.\n{process.account()}"
                )
        yield ear
    finally:
        sock.sendto(Datagram("BYE", call_id).encode(), outbound)
        ear.close()
