"""The caller's side of the link to whisper: REGISTER, listen, HELLO, then whatever is to be said."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING

from pytest_voiceloop.call.pacing import frames_of
from pytest_voiceloop.stack.process import StackError
from pytest_voiceloop.stack.spec import CALLER, HOST
from pytest_voiceloop.wire.datagrams import Datagram
from pytest_voiceloop.wire.frames import Layout, encode_audio_in, encode_control, encode_hello

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from pytest_voiceloop.call.live import LiveStack

CONNECT_TIMEOUT_S = 10.0
SEND_TIMEOUT_S = 5.0


def register_waits_s() -> Iterator[float]:
    """How long to wait after each REGISTER: every 200 ms for a second, then every second."""
    yield from (0.2,) * 5
    while True:
        yield 1.0


class Mouth:
    """A connection from whisper on which a call's audio is spoken."""

    def __init__(self, live: LiveStack, connection: socket.socket, call_id: str) -> None:
        self._live = live
        self._connection = connection
        self._call_id = call_id
        self._said_bye = False

    def send(self, data: bytes) -> None:
        """Send encoded frames; blocks while whisper does not read. Raises OSError if it is gone."""
        self._connection.sendall(data)

    def bye(self) -> None:
        """Say that no more audio will come; what has been said is still answered."""
        self._said_bye = True
        self.send(encode_control("bye", Layout.AUDIO_IN))

    def close(self) -> None:
        """Close the connection, and tell whisper that the call is over."""
        with contextlib.suppress(OSError):
            if not self._said_bye:
                self.bye()
        self._connection.close()
        send_datagram(self._live.port("whisper", "register"), Datagram("BYE", self._call_id))


def encode_clip(samples: NDArray[np.float32]) -> list[bytes]:
    """A clip of 16 kHz float32 samples, shape (n,), as frames of 20 ms; the last one is padded with silence."""
    return [encode_audio_in(frame) for frame in frames_of(samples)]


def send_datagram(port: int, datagram: Datagram) -> None:
    """Send one control datagram to a service on loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        # Else it could be sent something from anywhere as long as it is open.
        sender.bind((HOST, 0))
        sender.sendto(datagram.encode(), (HOST, port))


@contextlib.contextmanager
def open_mouth(live: LiveStack, call_id: str) -> Iterator[Mouth]:
    """Call whisper, and close the connection with the context. Raises StackError if it does not connect."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        at = live.port(CALLER, "audio", call_id)
        try:
            listener.bind((HOST, at))
        except OSError as error:
            raise StackError(f"the caller cannot listen on {HOST}:{at}: {error.strerror}") from None
        listener.listen(1)
        connection = _await_connection(live, listener, call_id)
    # A whisper that is alive and does not read must not hold the caller for ever.
    connection.settimeout(SEND_TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    mouth = Mouth(live, connection, call_id)
    try:
        try:
            mouth.send(encode_hello(call_id))
        except OSError as error:
            live.running.check()
            raise StackError(f"whisper connected to the caller and hung up at once: {error}") from None
        yield mouth
    finally:
        mouth.close()


def _await_connection(live: LiveStack, listener: socket.socket, call_id: str) -> socket.socket:
    deadline = time.monotonic() + CONNECT_TIMEOUT_S
    for wait_s in register_waits_s():
        send_datagram(live.port("whisper", "register"), Datagram("REGISTER", call_id))
        listener.settimeout(wait_s)
        with contextlib.suppress(TimeoutError):
            return listener.accept()[0]
        live.running.check()
        if time.monotonic() > deadline:
            break
    process = next(p for p in live.running.processes if p.name == "whisper")
    raise StackError(
        f"whisper did not connect to the caller's port {listener.getsockname()[1]} within {CONNECT_TIMEOUT_S:g} s of "
        f"REGISTER:{call_id}.\n{process.account()}"
    )
