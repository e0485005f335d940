"""What a tap adds to a frame: the same frames directly and through a tap, one after the other.

Both ends of the link are one process of their own, the tap runs in this one, as it does in a test run. A frame's time
is from before its first byte is sent until its last byte has been read, on one clock.
"""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Literal

from pytest_voiceloop.call.tap import Recorder, TapPoint, taps
from pytest_voiceloop.stack.spec import HOST, Link
from pytest_voiceloop.wire.framed import Framed
from pytest_voiceloop.wire.frames import Layout, encode_hello

Kind = Literal["text", "audio"]
FRAMES: dict[Kind, tuple[Layout, int]] = {"text": (Layout.TEXT, 80), "audio": (Layout.AUDIO_OUT, 24_000 * 4 // 5)}
"""Bytes of a frame by the link it is usual on: a clause, and 0.2 s of speech."""
PAUSE_S = 0.002
WARMUP_FRAMES = 20


@dataclass(frozen=True, slots=True)
class TapCost:
    """Times in ms of the same frames, sent directly and through a tap; one entry each per frame."""

    direct_ms: tuple[float, ...]
    tapped_ms: tuple[float, ...]

    @property
    def added_ms(self) -> tuple[float, ...]:
        """What the tap added to each frame. Negative where something else held up the direct one."""
        return tuple(tapped - direct for tapped, direct in zip(self.tapped_ms, self.direct_ms, strict=True))


def tap_cost(kind: Kind, frames: int) -> TapCost:
    """Send so many frames of a kind each way. Raises RuntimeError if the second process fails."""
    with socket.create_server((HOST, 0)) as probe:
        port = probe.getsockname()[1]
    with subprocess.Popen(
        [sys.executable, "-m", __name__, kind, str(frames)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as ends:
        assert ends.stdout is not None
        try:
            upstream = ends.stdout.readline()
            if not upstream:
                raise RuntimeError(f"the process at both ends of the link ended with exit code {ends.wait()}")
            link = Link("tts_out", "near", "far", "listen")
            point = TapPoint(link, Framed(FRAMES[kind][0]), port, (HOST, int(upstream)))
            with taps([point], Recorder(), lambda _: False):
                took, _ = ends.communicate(f"{port}\n")
        finally:
            ends.kill()
    if ends.returncode:
        raise RuntimeError(f"the process at both ends of the link ended with exit code {ends.returncode}")
    return TapCost(*(tuple(times) for times in json.loads(took)))


def _frame(layout: Layout, size: int) -> bytes:
    head = size.to_bytes(4, "big")
    if layout is Layout.AUDIO_OUT:
        head += (24_000).to_bytes(4, "big") + (1).to_bytes(4, "big")
    return head + b"a" * size


def _dial(port: int, listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    """Both ends of a connection that leads to `listener` through `port`, HELLO exchanged."""
    near = socket.create_connection((HOST, port))
    hello = encode_hello("151")
    near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    near.sendall(hello)
    far, _ = listener.accept()
    far.recv(len(hello), socket.MSG_WAITALL)
    return near, far


def _both_ends(kind: Kind, frames: int) -> None:
    """Runs in the second process: prints its port, reads the tap's, prints the times of both ways in ms."""
    with socket.create_server((HOST, 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        ways = (_dial(listener.getsockname()[1], listener), _dial(int(input()), listener))
        data = _frame(*FRAMES[kind])
        took: tuple[list[float], list[float]] = ([], [])
        for number in range(frames + WARMUP_FRAMES):
            # In turn and in either order, so that what else happens on the machine meets both.
            for way in random.sample((0, 1), 2):
                near, far = ways[way]
                time.sleep(PAUSE_S)
                before = time.monotonic_ns()
                near.sendall(data)
                left = len(data)
                while left:
                    left -= len(far.recv(left))
                if number >= WARMUP_FRAMES:
                    took[way].append((time.monotonic_ns() - before) / 1e6)
        print(json.dumps(took))


if __name__ == "__main__":
    _both_ends("audio" if sys.argv[1] == "audio" else "text", int(sys.argv[2]))
