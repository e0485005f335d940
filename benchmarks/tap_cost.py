"""What a tap adds to a frame: the same frames directly and through a tap, one after the other.

    python benchmarks/tap_cost.py [--frames 1000] [--json]

Both ends of the link are one process of their own, the tap runs in this one, as it does in a test run. A frame's time
is from before its first byte is sent until its last byte has been read, on one clock.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import statistics
import subprocess
import sys
import time

from pytest_voiceloop.call.tap import Recorder, TapPoint, taps
from pytest_voiceloop.stack.spec import HOST, Link
from pytest_voiceloop.wire.frames import Layout, encode_hello

# Bytes of a frame by the link it is usual on.
FRAMES = {"text": (Layout.TEXT, 80), "audio": (Layout.AUDIO_OUT, 24_000 * 4 // 5)}
PAUSE_S = 0.002


def frame(layout: Layout, size: int) -> bytes:
    head = size.to_bytes(4, "big")
    if layout is Layout.AUDIO_OUT:
        head += (24_000).to_bytes(4, "big") + (1).to_bytes(4, "big")
    return head + b"a" * size


def dial(port: int, listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    """Both ends of a connection that leads to `listener` through `port`, HELLO exchanged."""
    near = socket.create_connection((HOST, port))
    hello = encode_hello("151")
    near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    near.sendall(hello)
    far, _ = listener.accept()
    far.recv(len(hello), socket.MSG_WAITALL)
    return near, far


def both_ends(layout: Layout, size: int, frames: int) -> None:
    """Runs in the second process: prints its port, reads the tap's, prints the times of both ways in ms."""
    with socket.create_server((HOST, 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        ways = {"direct": dial(listener.getsockname()[1], listener), "tapped": dial(int(input()), listener)}
        data = frame(layout, size)
        took: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(frames + 20):
            for way in random.sample(list(ways), 2):
                near, far = ways[way]
                time.sleep(PAUSE_S)
                before = time.monotonic_ns()
                near.sendall(data)
                left = len(data)
                while left:
                    left -= len(far.recv(left))
                # The first ones warm both ways up.
                if number >= 20:
                    took[way].append((time.monotonic_ns() - before) / 1e6)
        print(json.dumps(took))


def measure(name: str, frames: int) -> dict[str, float]:
    layout, size = FRAMES[name]
    with socket.create_server((HOST, 0)) as probe:
        port = probe.getsockname()[1]
    ends = subprocess.Popen(
        [sys.executable, __file__, "--ends", name, "--frames", str(frames)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert ends.stdout is not None
    upstream = int(ends.stdout.readline())
    link = Link("tts_out", "near", "far", "listen", layout)
    with taps([TapPoint(link, port, upstream)], Recorder(), lambda _: False):
        out, _ = ends.communicate(f"{port}\n")
    took = json.loads(out)
    result: dict[str, float] = {"frames": frames, "frame_bytes": size}
    for label, at in (("p50", 0.5), ("p99", 0.99)):
        direct, tapped = (sorted(took[way])[int(at * (frames - 1))] for way in ("direct", "tapped"))
        result |= {
            f"direct_{label}_ms": round(direct, 4),
            f"tapped_{label}_ms": round(tapped, 4),
            f"added_{label}_ms": round(tapped - direct, 4),
        }
    result["added_mean_ms"] = round(statistics.mean(took["tapped"]) - statistics.mean(took["direct"]), 4)
    return result


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--frames", type=int, default=1000, help="frames of each kind, each way (default 1000)")
    options.add_argument("--json", action="store_true", help="print one JSON object")
    options.add_argument("--ends", choices=FRAMES, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.ends:
        both_ends(*FRAMES[given.ends], given.frames)
        return
    results = {name: measure(name, given.frames) for name in FRAMES}
    if given.json:
        print(json.dumps(results))
        return
    for name, result in results.items():
        print(f"{name} frames of {result['frame_bytes']} bytes, {given.frames} each way")
        for label in ("p50", "p99"):
            print(
                f"  {label}  direct {result[f'direct_{label}_ms']:.3f} ms   through a tap "
                f"{result[f'tapped_{label}_ms']:.3f} ms   added {result[f'added_{label}_ms']:.3f} ms"
            )


if __name__ == "__main__":
    main()
