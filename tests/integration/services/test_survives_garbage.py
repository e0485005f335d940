"""Garbage on every socket of the live services: nobody crashes, hangs, leaks or holds what was only claimed."""

import contextlib
import random
import socket
import struct
import sys
import time
from itertools import cycle
from pathlib import Path

import numpy as np
import psutil
import pytest
from lines import udp_socket
from neighbours import until
from whole_stack import HOST, PATIENCE_S, SERVICES, Caller, Stack, account_of, resetting

from pytest_voiceloop.wire import datagrams, frames
from pytest_voiceloop.wire.frames import Layout

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads socket queues and limits as Linux shows them")
PART = "Garbage on the sockets of the reference services"
SEED = 20_261_123
IDS = range(1, 9)
HEALTHY_ID = 9
"""A call that goes on beside the garbage."""
MOST_WHOLE_FRAMES = 20
"""Of one connection, before the piece that ends it."""
RESETS = 0.1
"""The share of connections that are reset. What of them was read nobody knows: it does not count."""
DATAGRAMS_AT_ONCE = 100
GROWTH_MIB = 24
CLAIMS_MIB = 4
SILENT = 200
FLOOD_CHUNKS = 4
"""The first that make more than the 300 s which may wait in kokoro."""
GREETED = {
    "whisper": "connected to llama at",
    "llama": "connected from",
    "kokoro": "llama connected",
    "outbound": "kokoro connected",
}
LINKS = {"whisper": Layout.AUDIO_IN, "llama": Layout.TEXT, "kokoro": Layout.TEXT, "outbound": Layout.AUDIO_OUT}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    made = Stack(tmp_path_factory.mktemp("direct"))
    yield made
    made.stop()


@pytest.fixture
def amount(soaking):
    """Frames or datagrams for each of the seven sockets: 100,000 in all, or 2,000."""
    return 100_000 // 7 + 1 if soaking else 2_000 // 7 + 1


def whole_frame(rng, layout):
    """A frame that may be sent, though nobody would. The connection goes on after it."""
    kind = "data" if layout is Layout.AUDIO_IN else rng.choice(("data", "data", "end", "cancel"))
    if kind != "data":
        return frames.encode_control(kind, layout)
    if layout is Layout.TEXT:
        return frames.encode_text("".join(chr(rng.choice((10, 27, 65, 233, 8364))) for _ in range(rng.randint(1, 4))))
    samples = odd_samples(rng)
    if layout is Layout.AUDIO_IN:
        return frames.encode_audio_in(samples)
    return frames.encode_audio_out(samples, rng.choice((8_000, 24_000, 192_000)), rng.choice((0, 1, 2, 999)))


def odd_samples(rng):
    return np.array([rng.choice((0.5, -0.5, 3e38, np.nan, np.inf)) for _ in range(rng.randint(1, 50))], "<f4")


def last_piece(rng, layout):
    """What ends a connection: no frame, half of one, one with a wrong bit, a chunk that cannot follow, or BYE."""
    whole = whole_frame(rng, layout)
    at = rng.randrange(1, len(whole))
    return rng.choice(
        (
            frames.encode_control("bye", layout),
            frames.encode_audio_out(odd_samples(rng), 24_000, 2**32 - 1) if layout is Layout.AUDIO_OUT else whole[:at],
            whole[:at],
            whole[:at] + bytes([whole[at] ^ (1 << rng.randrange(8))]) + whole[at + 1 :],
            rng.randbytes(rng.randint(1, 64)),
            struct.pack(">III", rng.randrange(2**32), rng.choice((24_000, 2**32 - 1)), rng.randrange(2**32)),
        )
    )


def garbage(rng, layout, call_id):
    """The pieces of one connection. None but the last can end it: a service has to read them all."""
    wrong_hello = frames.encode_hello(f"0{call_id}"), frames.encode_hello("4711"), last_piece(rng, layout)
    if rng.random() < 0.3:
        return [rng.choice(wrong_hello)]
    whole = [whole_frame(rng, layout) for _ in range(rng.randint(0, MOST_WHOLE_FRAMES))]
    return [frames.encode_hello(str(call_id)), *whole, last_piece(rng, layout)]


def connection_to(stack, name, call_id):
    """A connection to a service, as its neighbour would make it."""
    if name == "whisper":
        with socket.create_server((HOST, stack.port("caller", "audio", call_id))) as listener, udp_socket() as sender:
            listener.settimeout(0.2)

            def connected():
                sender.sendto(b"REGISTER:%d" % call_id, (HOST, stack.port("whisper", "register")))
                with contextlib.suppress(TimeoutError):
                    return listener.accept()[0]

            return until(connected, f"whisper in call {call_id}")
    port = stack.port("outbound", "audio", call_id) if name == "outbound" else stack.port(name, "listen")
    return socket.create_connection((HOST, port))


def settle(stack):
    """Hang up whatever the garbage has begun, and wait until nothing of it is held. How much is, at last."""
    deadline_s = time.monotonic() + PATIENCE_S
    with udp_socket() as sender:
        while time.monotonic() < deadline_s:
            # Again and again: what came last may still be worked on, and begin a call of its own.
            for call_id in IDS:
                registrars = ("whisper", 0), ("kokoro", 0), ("outbound", call_id)
                for port in (stack.port(name, "register", offset) for name, offset in registrars):
                    sender.sendto(b"BYE:%d" % call_id, (HOST, port))
            time.sleep(0.1)
            if stack.leaked() == 0:
                return 0
    return stack.leaked()


class Beside:
    """A call that goes on beside the garbage, and what the services hold before and after."""

    def __init__(self, stack):
        assert settle(stack) == 0
        self.stack = stack
        self.before_mib = stack.memory_mib()
        self.caller = Caller(stack, HEALTHY_ID).dial()
        self.caller.turn(1)

    def check(self, account, case, happened, most_mib=GROWTH_MIB):
        """The call is answered, nothing is held, nobody has thrown, and memory has not grown."""
        self.caller.turn(3)
        self.caller.finish()
        leaked = settle(self.stack)
        grown = {name: mib - self.before_mib[name] for name, mib in self.stack.memory_mib().items()}
        most = max(grown, key=grown.get)
        told = f"{happened}; the call beside it was answered; memory grew by {max(0, grown[most]):.1f} MiB at most"
        account(PART, case, told, **account_of(self.caller), leaked=leaked)
        assert self.stack.alive()
        assert not [name for name in SERVICES if "Traceback" in self.stack.log(name)]
        assert self.caller.heard == self.caller.said
        assert leaked == 0
        assert grown[most] < most_mib, grown


@pytest.fixture
def beside(stack):
    yield lambda: Beside(stack)
    stack.hang_up_all()


def pour(stack, name, rng, amount):
    """Garbage to a service, until it has read so many pieces. Over how many connections."""
    read = 0
    for count, call_id in zip(range(amount), cycle(IDS), strict=False):
        if read >= amount:
            return count
        read += pour_once(stack, name, rng, call_id)
    raise AssertionError(f"{name} read {read} pieces over {amount} connections; at least one of each was to be read")


def pour_once(stack, name, rng, call_id):
    """Garbage over one connection. How many pieces the service has read when it closes."""
    pieces = garbage(rng, LINKS[name], call_id)
    with connection_to(stack, name, call_id) as connection:
        connection.settimeout(PATIENCE_S)
        try:
            for piece in pieces:
                connection.sendall(piece)
            if rng.random() < RESETS:
                resetting(connection)
                return 0
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):
                pass
        except TimeoutError:
            raise AssertionError(f"{name} has not closed its connection in {PATIENCE_S} s") from None
        except OSError:
            return 0  # it was closed before all was read
    return max(1, len(pieces) - 1)  # a right HELLO is no garbage


@pytest.mark.parametrize("name", SERVICES)
def test_garbage_frames_harm_nobody(stack, account, beside, amount, name):
    rng = random.Random(f"{SEED} {name}")
    # What a first few of them make a service load and keep is no leak.
    pour(stack, name, rng, 100)
    call = beside()
    count = pour(stack, name, rng, amount)
    read = f"{amount:,} pieces read over {count:,} connections"
    call.check(account, f"garbage frames to {name} (seed {SEED})", read)


@pytest.mark.parametrize("name", ["whisper", "kokoro", "outbound"])
def test_garbage_datagrams_harm_nobody(stack, account, beside, amount, name):
    rng = random.Random(f"{SEED} {name}")
    ids = IDS if name == "outbound" else (0,)
    ports = [stack.port(name, "register", call_id) for call_id in ids]
    call = beside()
    with udp_socket() as sender:
        for number in range(amount):
            whole = b"%s:%d" % (rng.choice((b"REGISTER", b"END", b"BYE")), rng.choice(IDS))
            at = rng.randrange(len(whole))
            data = rng.choice(
                (
                    whole,
                    whole[:at],
                    whole[:at] + rng.randbytes(1) + whole[at + 1 :],
                    rng.randbytes(rng.randint(0, 300)),
                    whole.replace(b":", b":0"),
                    whole + b"9" * rng.randint(1, 4000),
                )
            )
            if (datagram := datagrams.parse(data)) and int(datagram.call_id) == HEALTHY_ID:
                continue  # no garbage but an order, and obeyed
            sender.sendto(data, (HOST, ports[number % len(ports)]))
            if number % DATAGRAMS_AT_ONCE == 0:
                wait_until_read(ports)
        wait_until_read(ports)
        for call_id in IDS if name == "outbound" else ():
            sender.sendto(b"BYE:%d" % call_id, (HOST, stack.port(name, "register", call_id)))
    call.check(account, f"garbage datagrams to {name} (seed {SEED})", f"{amount:,} read")


def wait_until_read(ports):
    """Until the service has taken every datagram from the kernel: what does not fit there is dropped unseen."""
    until(lambda: not any(waiting_bytes(port) for port in ports), "the datagrams to be read")


def waiting_bytes(port):
    rows = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    return sum(int(row[4].split(":")[1], 16) for row in rows if int(row[1].split(":")[1], 16) == port)


@pytest.mark.parametrize("name", SERVICES)
def test_a_header_that_claims_4_gib_costs_nothing(stack, account, beside, name):
    layout = LINKS[name]
    claim = struct.pack(">III", 0xFFFF_FFF0, 24_000, 1)
    allowed = struct.pack(">III", frames.MAX_AUDIO_IN_BYTES if layout is Layout.AUDIO_IN else 10 * 2**20, 24_000, 1)
    call = beside()
    before = len(stack.log(name))
    with contextlib.ExitStack() as held:
        opened = []
        for call_id in IDS:
            opened.append(held.enter_context(connection_to(stack, name, call_id)))
            opened[-1].sendall(frames.encode_hello(str(call_id)))
        until(lambda: stack.log(name)[before:].count(GREETED[name]) == len(IDS), f"{name} to read every HELLO")
        before_mib = stack.memory_mib()[name]
        for connection in opened[1:]:
            connection.sendall(allowed + bytes(64))
        opened[0].sendall(claim + bytes(64))
        told = until(lambda: [line for line in stack.complaints(name, before) if "claims" in line], "a complaint")
        call.caller.turn(2)
        grown_mib = stack.memory_mib()[name] - before_mib
    happened = f"refused; {name}: {told[0]}; {max(0.0, grown_mib):.1f} MiB while they were open"
    call.check(account, f"{name}: a header that claims 4 GiB, and seven that claim all that is allowed", happened)
    assert grown_mib < CLAIMS_MIB


@pytest.mark.parametrize("name", ["llama", "kokoro", "outbound"])
def test_connections_that_say_nothing_hold_up_nobody(stack, account, beside, name):
    call = beside()
    with contextlib.ExitStack() as held:
        for _, call_id in zip(range(SILENT), cycle(IDS), strict=False):
            held.enter_context(connection_to(stack, name, call_id))
        call.caller.turn(2)
    call.check(account, f"{name}: {SILENT} connections that say nothing", "they were borne until they closed")


@pytest.mark.parametrize("name", ["llama", "kokoro", "outbound"])
def test_without_a_free_descriptor_no_call_is_taken_and_none_is_lost(stack, account, beside, name):
    call = beside()
    process = stack.process(name)
    _, most = allowed = process.rlimit(psutil.RLIMIT_NOFILE)
    before = len(stack.log(name))
    try:
        process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + 4, most))
        with contextlib.ExitStack() as held:
            for _, call_id in zip(range(20), cycle(IDS), strict=False):
                held.enter_context(connection_to(stack, name, call_id))
            told = until(lambda: stack.complaints(name, before), "a complaint")
            call.caller.turn(2)
    finally:
        process.rlimit(psutil.RLIMIT_NOFILE, allowed)
    call.check(account, f"{name}: no descriptor is free", f"new connections wait; {name}: {told[0]}")


def test_a_text_that_nobody_can_wait_for_is_bounded(stack, account, beside):
    def flood(meanwhile=lambda: None):
        """How many times 100 s of it have been spoken when `meanwhile` is over, and how much memory that took."""
        before, before_mib = len(stack.log("kokoro")), stack.memory_mib()["kokoro"]

        def spoken():
            return stack.log("kokoro")[before:].count('{"call": "1", "counted": {"audio_s": 100.0}}')

        with connection_to(stack, "kokoro", 1) as connection:
            connection.sendall(frames.encode_hello("1") + frames.encode_text("x" * 2**20))
            until(lambda: spoken() >= FLOOD_CHUNKS, "kokoro to have spoken as much as may wait")
            meanwhile()
            return spoken(), stack.memory_mib()["kokoro"] - before_mib

    _, took_mib = flood()
    call = beside()
    chunks, _ = flood(lambda: call.caller.turn(2))
    happened = f"spoken for {chunks * 100} s and no further, in {took_mib:.0f} MiB; discarded"
    # A hundred seconds of tone take 100 MiB to compute, and the allocator gives them back when it likes.
    call.check(account, "kokoro: a text of 1 MiB, twenty hours of speech", happened, most_mib=150)
    assert chunks == FLOOD_CHUNKS
