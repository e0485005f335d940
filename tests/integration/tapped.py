"""A tap between two ends that a test plays."""

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence

from free_ports import free_ports

from pytest_voiceloop.call.faults import Fault, TurnFaults
from pytest_voiceloop.call.tap import Recorder, TapPoint, taps
from pytest_voiceloop.stack.spec import HOST, Link, Port, Service, StackSpec
from pytest_voiceloop.wire.frames import (
    encode_hello,
)
from pytest_voiceloop.wire.protocols import protocol

PATIENCE_S = 20.0
TEXT = Link("stt_llm", "ear", "brain", "listen")
SPOKEN = protocol("voiceloop-text")
AUDIO = Link("tts_out", "mouth", "line", "listen", "voiceloop-audio")
HELLO = encode_hello("151")


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.005)


class Upstream:
    """The target of a link, played by the test: it accepts one connection at a time."""

    def __init__(self) -> None:
        self.listener = socket.create_server((HOST, 0))
        self.listener.settimeout(PATIENCE_S)
        self.port: int = self.listener.getsockname()[1]

    def accept(self) -> socket.socket:
        connection, _ = self.listener.accept()
        connection.settimeout(PATIENCE_S)
        return connection


class Tapped:
    """A tap, and how to dial it."""

    def __init__(self, recorder: Recorder, port: int, in_force: TurnFaults | None) -> None:
        self.recorder = recorder
        self.port = port
        self.in_force = in_force

    def dial(self, first: bytes = HELLO) -> socket.socket:
        connection = socket.create_connection((HOST, self.port), timeout=PATIENCE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(first)
        return connection

    def kinds(self, call_id: str = "151") -> list[str]:
        return [crossing.kind for crossing in self.recorder.of(call_id)]


@contextlib.contextmanager
def tapped(
    upstream: int | None,
    link: Link = TEXT,
    sinks: frozenset[str] = frozenset(),
    faults: Sequence[Fault] = (),
    is_up: Callable[[str], bool] = lambda _: True,
) -> Iterator[Tapped]:
    recorder, port, spoken = Recorder(), free_ports(), protocol(link.protocol)
    target = Service(link.target, ("true",), {link.port: Port()})
    in_force = TurnFaults(faults, StackSpec((target,), (link,), {}), {link: spoken}) if faults else None
    point = TapPoint(link, spoken, port, upstream and (HOST, upstream))
    with taps([point], recorder, sinks.__contains__, faults=lambda _: in_force, is_up=is_up):
        yield Tapped(recorder, port, in_force)


def read(connection: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size and (data := connection.recv(65_536)):
        got += data
    return got


def read_to_the_end(connection: socket.socket) -> bytes:
    return read(connection, 1 << 40)


def is_reset(connection: socket.socket) -> bool:
    """Read until the stream ends, and say whether a reset ended it."""
    try:
        read_to_the_end(connection)
    except ConnectionResetError:
        return True
    return False


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
