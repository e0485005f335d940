"""The neighbours of one service under test: a process, and sockets that play caller, whisper, llama and kokoro."""

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import numpy as np

from pytest_voiceloop.wire import frames

DEADLINE_S = 20
TONE = 0.2 * np.sin(2 * np.pi * 220 * np.arange(16_000) / 16_000).astype(np.float32)
"""One second of what the scripted detector takes for speech."""


def tone(seconds):
    return np.tile(TONE, int(seconds) + 1)[: int(seconds * 16_000)]


def silence(seconds):
    return np.zeros(int(seconds * 16_000), dtype=np.float32)


def until(condition, what):
    """Poll until `condition` gives something true, and return that."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.01)
    raise AssertionError(f"waited {DEADLINE_S} s for {what}")


class Service:
    """A service process with its log; `with Service("whisper", …)` waits until it is ready and ends it."""

    def __init__(self, name, *options, folder):
        self.log_path = Path(folder) / f"{name}.log"
        with self.log_path.open("wb") as log:
            command = [sys.executable, "-m", f"voiceloop_services.{name}", *map(str, options)]
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    @property
    def log(self):
        return self.log_path.read_text()

    def ready(self):
        def line():
            assert self.process.poll() is None, f"exited with {self.process.returncode}:\n{self.log}"
            return next((json.loads(each) for each in self.log.splitlines() if each.startswith('{"ready"')), None)

        return until(line, "the ready line")

    def logs(self, text):
        until(lambda: text in self.log, f"{text!r} in the log:\n{self.log}")

    def __enter__(self):
        try:
            self.ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.process.kill()
        self.process.wait()


class Peer:
    """One connection, and the frames that came over it."""

    def __init__(self, connection, layout=frames.Layout.TEXT):
        connection.settimeout(DEADLINE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = connection
        self._decoder = frames.Decoder(layout)
        self._frames = deque()

    def send(self, data):
        self.connection.sendall(data)

    def hello(self, call_id):
        self.send(frames.encode_hello(str(call_id)))

    def text(self, text):
        self.send(frames.encode_text(text))

    def control(self, kind):
        self.send(frames.encode_control(kind, frames.Layout.TEXT))

    def audio(self, *pieces, frame_samples=320):
        samples = np.concatenate(pieces)
        for at in range(0, len(samples), frame_samples):
            self.send(frames.encode_audio_in(samples[at : at + frame_samples]))

    def next(self):
        """The next frame as (kind, text), or ("closed", "")."""
        while not self._frames:
            try:
                data = self.connection.recv(65_536)
            except ConnectionResetError:
                data = b""
            if not data:
                return "closed", ""
            self._frames.extend(self._decoder.feed(data))
        frame = self._frames.popleft()
        return frame.kind, frame.text

    def rest(self):
        """All frames until the connection is closed."""
        got = []
        while (frame := self.next())[0] != "closed":
            got.append(frame)
        return got

    def stop_sending(self):
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)

    def close(self):
        self.connection.close()


class Listener:
    """A neighbour that is connected to."""

    def __init__(self, port=0, layout=frames.Layout.TEXT):
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self._socket.listen()
        self._layout = layout
        self.port = self._socket.getsockname()[1]

    def accept(self, meanwhile=lambda: None):
        """The next connection; `meanwhile` is called every 200 ms until it comes."""
        deadline = time.monotonic() + DEADLINE_S
        self._socket.settimeout(0.2)
        while time.monotonic() < deadline:
            meanwhile()
            with contextlib.suppress(TimeoutError):
                return Peer(self._socket.accept()[0], self._layout)
        raise AssertionError(f"nobody connected to {self.port} within {DEADLINE_S} s")

    def nobody_comes(self, seconds=0.5):
        self._socket.settimeout(seconds)
        with contextlib.suppress(TimeoutError):
            self._socket.accept()[0].close()
            return False
        return True

    def close(self):
        self._socket.close()


def connect(port):
    return Peer(socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S))


def send_datagram(port, text):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(text.encode(), ("127.0.0.1", port))
