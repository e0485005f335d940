"""What comes to the caller's RTP port, from whomever: nothing of it deafens the caller, and it is said."""

import contextlib
import random
import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from pytest_voiceloop.call import ear
from pytest_voiceloop.call.ear import Ear
from pytest_voiceloop.wire import rtp
from pytest_voiceloop.wire.rtp import RtpPacket

HOST = "127.0.0.1"
PATIENCE_S = 20
LAST = RtpPacket(4711, 160, 1, rtp.silence())
PCMA = bytearray(LAST.encode())
PCMA[1] = 8


class Caller:
    def __init__(self, heard: Ear, to: tuple[str, int], sender: socket.socket, changed: threading.Condition) -> None:
        self.ear = heard
        self._to = to
        self._sender = sender
        self._changed = changed

    def gets(self, *datagrams: bytes) -> None:
        """Send each, and wait until what was sent after them has been heard."""
        before = self.ear.ends_ns.copy()
        for datagram in (*datagrams, LAST.encode(), b"END:151"):
            self._sender.sendto(datagram, self._to)
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.ear.ends_ns) > len(before), PATIENCE_S), "the caller is deaf"


@pytest.fixture
def caller() -> Iterator[Caller]:
    sock, changed = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), threading.Condition()
    sock.bind((HOST, 0))
    heard = Ear(sock, "151", changed)
    with contextlib.closing(heard), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        yield Caller(heard, sock.getsockname(), sender, changed)


def test_an_empty_datagram_does_not_end_the_listening(caller: Caller) -> None:
    caller.gets(b"")
    assert [packet.sequence for packet in caller.ear.arrivals] == [4711]


@pytest.mark.parametrize("verb", ["REGISTER", "END", "BYE"])
def test_another_calls_word_is_not_taken_for_this_ones(caller: Caller, verb: str) -> None:
    caller.gets(f"{verb}:153".encode())
    assert (caller.ear.registered, len(caller.ear.ends_ns), caller.ear.over_ns) == (False, 1, None)
    assert caller.ear.errors == [f"the caller got {verb}:153, and this is call 151"]


def test_sound_of_another_kind_is_named(caller: Caller) -> None:
    caller.gets(bytes(PCMA))
    assert caller.ear.errors == ["the caller got RTP of payload type 8, and understands 0 alone (PCMU, 8 kHz)"]


def test_what_is_nothing_at_all_is_shown(caller: Caller) -> None:
    caller.gets(b"GET / HTTP/1.1\r\n")
    assert caller.ear.errors == [
        "the caller got 16 bytes that are no RTP packet, and neither END nor BYE: b'GET / HTTP/1.1\\r\\n'"
    ]


def test_a_flood_is_said_once_a_second(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    for now_ns in (0, 1_000_000_000):
        monkeypatch.setattr(ear, "time", SimpleNamespace(monotonic_ns=lambda now_ns=now_ns: now_ns))
        caller.gets(*[bytes(PCMA)] * 50)
    assert len(caller.ear.errors) == 2


def test_garbage_of_every_length_leaves_the_caller_listening(caller: Caller) -> None:
    rng = random.Random(20)
    for _ in range(20):
        # Few at a time, so that the system drops none.
        caller.gets(*(rng.randbytes(rng.choice((0, 1, 11, 12, 13, 172, 1500))) for _ in range(50)))
    assert sum(packet.sequence == LAST.sequence for packet in caller.ear.arrivals) == 20
