"""A scripted Wyoming server: fixed words, and a tone for speech. `python wyoming_server.py HOST:PORT`."""

import json
import socketserver
import sys

import numpy as np
from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import read_event, write_event
from wyoming.handle import Handled

HEARD = "the box was thrown beside the parked truck"
SHAPE = {"rate": 22_050, "width": 2, "channels": 1}


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        while (event := read_event(self.rfile)) is not None:
            for answer in self.answers(event):
                write_event(answer.event(), self.wfile)

    def answers(self, event):
        if event.type == "audio-stop":
            return [Transcript(text=HEARD)]
        if event.type == "transcript":
            return [Handled(text=f"You said {event.data['text']}")]
        if event.type != "synthesize":
            return []
        tone = (8000 * np.sin(np.arange(SHAPE["rate"]) * 2 * np.pi * 220 / SHAPE["rate"])).astype("<i2").tobytes()
        chunks = [AudioChunk(audio=tone[at : at + 8820], **SHAPE) for at in range(0, len(tone), 8820)]
        return [AudioStart(**SHAPE), *chunks, AudioStop()]


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


host, port = sys.argv[1].split(":")
with Server((host, int(port)), Handler) as server:
    print(json.dumps({"ready": True, "engine": "scripted"}), flush=True)
    server.serve_forever()
