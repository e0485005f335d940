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
_COMPLAINT_NS = 1_000_000_000


class Ear:
    """Everything that has arrived on a call's RTP port. `changed` is notified at each datagram that matters."""

    def __init__(self, sock: socket.socket, call_id: str, changed: threading.Condition) -> None:
        self._socket = sock
        self._call_id = call_id
        self._changed = changed
        self._closed = False
        self._complained_ns = -_COMPLAINT_NS
        self.arrivals: list[Arrival] = []
        self.ends_ns: list[int] = []
        self.registered = False
        self.over_ns: int | None = None
        self.errors: list[str] = []
        # Linux reports twice what it granted.
        self.receive_buffer_bytes = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
        self._thread = threading.Thread(target=self._listen, name="ear", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while (data := self._socket.recv(2048)) or not self._closed:
                at_ns = time.monotonic_ns()
                if (packet := rtp.decode(data)) is not None:
                    self.arrivals.append(
                        Arrival(at_ns, packet.sequence, packet.timestamp, packet.marker, packet.payload)
                    )
                elif (datagram := datagrams.parse(data)) is not None and datagram.call_id == self._call_id:
                    self._control(datagram, at_ns)
                elif at_ns >= self._complained_ns + _COMPLAINT_NS:
                    # A stack that sends the wrong thing sends it fifty times a second.
                    self._complained_ns = at_ns
                    self.errors.append(_complaint(data, self._call_id))

    def _control(self, datagram: Datagram, at_ns: int) -> None:
        with self._changed:
            if datagram.verb == "END":
                self.ends_ns.append(at_ns)
            elif datagram.verb == "BYE":
                self.over_ns = at_ns
            else:
                self.registered = True
            self._changed.notify_all()

    def close(self) -> None:
        """Stop listening."""
        self._closed = True
        # Wakes the thread out of recv; UDP sockets that are not connected say ENOTCONN and wake all the same.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)
        self._thread.join()
        self._socket.close()


def _complaint(data: bytes, call_id: str) -> str:
    if (datagram := datagrams.parse(data)) is not None:
        return f"the caller got {datagram.verb}:{datagram.call_id}, and this is call {call_id}"
    if (payload_type := rtp.payload_type(data)) not in (None, 0):
        return f"the caller got RTP of payload type {payload_type}, and understands 0 alone (PCMU, 8 kHz)"
    return f"the caller got {len(data)} bytes that are no RTP packet, and neither END nor BYE: {data[:24]!r}"


@contextlib.contextmanager
def open_ear(live: LiveStack, call_id: str) -> Iterator[Ear]:
    """Register a call's RTP address with outbound; hangs up with the context. Raises StackError without an answer."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((HOST, 0))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    ear = Ear(sock, call_id, live.recorder.changed)
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
