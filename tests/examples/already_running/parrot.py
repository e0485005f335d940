"""An agent that runs by itself: it repeats what it hears. ``python parrot.py HOST:PORT``

The caller sends 16-bit samples at 16 kHz over a WebSocket; after half a second of silence they come back.
"""

import sys

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

LOUD = 600
SILENCE_SAMPLES = 8_000


def serve_call(caller):
    said, silence = b"", 0
    try:
        for frame in caller:
            loud = np.abs(np.frombuffer(frame, "<i2").astype(int)).max() > LOUD
            silence = 0 if loud else silence + len(frame) // 2
            if loud or said:
                said += frame
            if said and silence >= SILENCE_SAMPLES:
                caller.send(said[: -2 * SILENCE_SAMPLES])
                caller.send("done")
                said = b""
    except ConnectionClosed:
        pass


host, port = sys.argv[1].split(":")
with serve(serve_call, host, int(port), compression=None) as server:
    print("listening", flush=True)
    server.serve_forever()
