"""What only kokoro's and outbound's tests need: audio frames, and the caller's end of the telephone line."""

import contextlib
import socket
import time
from collections import deque

import numpy as np
from free_ports import free_ports
from neighbours import DEADLINE_S, Service, connect

from pytest_voiceloop.wire import datagrams, frames, rtp

RATE_HZ = 24_000
HOST = "127.0.0.1"
SAMPLES_PER_CHARACTER = RATE_HZ * 70 // 1000
"""What the scripted kokoro makes of one character of text."""


def tone(seconds, hertz=440, rate_hz=RATE_HZ):
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def udp_socket():
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((HOST, 0))
    made.settimeout(DEADLINE_S)
    return made


class AudioPeer:
    """One connection that carries audio frames."""

    def __init__(self, connection):
        connection.settimeout(DEADLINE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = connection
        self._decoder = frames.Decoder(frames.Layout.AUDIO_OUT)
        self._frames = deque()
        self.next_chunk = 1

    def hello(self, call_id):
        self.connection.sendall(frames.encode_hello(str(call_id)))

    def audio(self, samples, rate_hz=RATE_HZ, chunk_id=None):
        number = self.next_chunk if chunk_id is None else chunk_id
        self.connection.sendall(frames.encode_audio_out(samples, rate_hz, number))
        self.next_chunk = number + 1

    def control(self, kind):
        self.connection.sendall(frames.encode_control(kind, frames.Layout.AUDIO_OUT))

    def next(self):
        """The next frame, or None where the connection is closed."""
        while not self._frames:
            try:
                data = self.connection.recv(65_536)
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self._frames.extend(self._decoder.feed(data))
        return self._frames.popleft()

    def nothing_comes(self, seconds=0.2):
        self.connection.settimeout(seconds)
        try:
            return not self._frames and not self.connection.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True
        finally:
            self.connection.settimeout(DEADLINE_S)

    def closed(self):
        return self.next() is None

    def close(self):
        self.connection.close()


class Kokoro(Service):
    """The kokoro service with the scripted engine; `id` on port `outbound_base + id` is where it looks for outbound."""

    def __init__(self, folder, *options, first=151, count=24):
        self.calls = iter(range(first, first + 2 * count, 2))
        self.text_port = free_ports()
        self.register_port = free_ports()
        self.outbound_base = free_ports(count=2 * count) - first
        addresses = ("--listen", f"{HOST}:{self.text_port}", "--register", f"{HOST}:{self.register_port}")
        super().__init__(
            "kokoro",
            *("--engine", "scripted", *addresses, "--outbound", f"{HOST}:{self.outbound_base}"),
            *("--calls", f"{first}:{count}:2", "--log-level", "debug", *options),
            folder=folder,
        )


class KokoroCall:
    """The neighbours of kokoro in one call: llama, and outbound's listener."""

    def __init__(self, service, listening=True):
        self.service = service
        self.call_id = next(service.calls)
        self._listener = None
        if listening:
            self.listen()

    def listen(self):
        self._listener = socket.create_server((HOST, self.service.outbound_base + self.call_id))
        self._listener.settimeout(DEADLINE_S)

    def datagram(self, verb):
        with udp_socket() as sender:
            sender.sendto(datagrams.Datagram(verb, str(self.call_id)).encode(), (HOST, self.service.register_port))

    def accept(self):
        """Outbound's end of kokoro's next connection, HELLO taken."""
        peer = AudioPeer(self._listener.accept()[0])
        hello = peer.next()
        assert (hello.kind, hello.text) == ("hello", str(self.call_id))
        return peer

    def register(self):
        self.datagram("REGISTER")
        return self.accept()

    def llama(self):
        peer = connect(self.service.text_port)
        peer.hello(self.call_id)
        return peer

    def logs(self, text):
        self.service.logs(f"call {self.call_id}: {text}")

    def close(self):
        if self._listener is not None:
            self._listener.close()


class Outbound(Service):
    """The outbound service; `kokoro` is the socket at which it registers calls."""

    def __init__(self, folder, *options, first=151, count=32):
        self.calls = iter(range(first, first + 2 * count, 2))
        self.kokoro = udp_socket()
        self.audio_base = free_ports(count=2 * count) - first
        self.register_base = free_ports(count=2 * count) - first
        super().__init__(
            "outbound",
            *("--listen", f"{HOST}:{self.audio_base}", "--register", f"{HOST}:{self.register_base}"),
            *("--kokoro", f"{HOST}:{self.kokoro.getsockname()[1]}"),
            *("--calls", f"{first}:{count}:2", "--log-level", "debug", *options),
            folder=folder,
        )

    def stop(self):
        super().stop()
        self.kokoro.close()


class OutboundCall:
    """The neighbours of outbound in one call: kokoro, and the caller."""

    def __init__(self, service):
        self.service = service
        self.call_id = next(service.calls)
        self.caller = self._socket()
        # Kept, since a connection that nobody holds is closed.
        self._peers = []

    def _socket(self):
        made = udp_socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        return made

    def other_caller(self):
        self.caller.close()
        self.caller = self._socket()

    def datagram(self, verb):
        self.caller.sendto(
            datagrams.Datagram(verb, str(self.call_id)).encode(), (HOST, self.service.register_base + self.call_id)
        )

    def register(self):
        self.datagram("REGISTER")
        assert self.caller.recv(999) == b"REGISTER:%d" % self.call_id

    def kokoro(self, says=None):
        peer = AudioPeer(socket.create_connection((HOST, self.service.audio_base + self.call_id)))
        peer.hello(says or self.call_id)
        self._peers.append(peer)
        return peer

    def told_kokoro(self, verb):
        """Wait for a datagram of this call to kokoro; those of other calls are passed over."""
        wanted = b"%s:%d" % (verb.encode(), self.call_id)
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            if self.service.kokoro.recv(999) == wanted:
                return
        raise AssertionError(f"kokoro was never told {wanted!r}")

    def kokoro_is_told_more(self, seconds=0.5):
        """Whether kokoro is sent another datagram of this call; those that have arrived already do not count."""
        waiting = self.service.kokoro
        waiting.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                waiting.recv(999)
        deadline = time.monotonic() + seconds
        try:
            while (left := deadline - time.monotonic()) > 0:
                waiting.settimeout(left)
                if waiting.recv(999).endswith(b":%d" % self.call_id):
                    return True
        except TimeoutError:
            pass
        finally:
            waiting.settimeout(DEADLINE_S)
        return False

    def hear(self, until):
        """The RTP packets up to a datagram such as END, and when each arrived, in seconds."""
        packets, arrivals = [], []
        while True:
            data = self.caller.recv(999)
            if data == b"%s:%d" % (until.encode(), self.call_id):
                return packets, arrivals
            packet = rtp.decode(data)
            assert packet is not None, f"expected RTP or {until}, got {data!r}"
            packets.append(packet)
            arrivals.append(time.monotonic())

    def hear_packets(self, count):
        """The next RTP packets."""
        packets = []
        while len(packets) < count:
            packet = rtp.decode(self.caller.recv(999))
            assert packet is not None
            packets.append(packet)
        return packets

    def nothing_comes(self, seconds=0.2):
        self.caller.settimeout(seconds)
        try:
            self.caller.recv(999)
        except TimeoutError:
            return True
        finally:
            self.caller.settimeout(DEADLINE_S)
        return False

    def logs(self, text):
        self.service.logs(f"call {self.call_id}: {text}")

    def close(self):
        self.datagram("BYE")
        self.caller.close()
        for peer in self._peers:
            peer.close()


def heard(packets):
    """The packets' audio: float32 at 8 kHz, shape (n,)."""
    return rtp.decode_ulaw(b"".join(packet.payload for packet in packets))


def loudest_hz(samples, rate_hz=rtp.RATE_HZ):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * rate_hz / len(samples)
