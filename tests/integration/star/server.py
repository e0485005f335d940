"""A scripted OpenAI-compatible server: fixed words, and a tone for speech.

`python server.py HOST:PORT [--fail PATH]`
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

HEARD = "the box was thrown beside the parked truck"
REPLY = ("It ", "was a bl", "ue box, ", "I th", "ink.")
RATE_HZ = 24_000
FAILING = sys.argv[3:4] if sys.argv[2:3] == ["--fail"] else []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path in FAILING:
            return self._answer(503, "application/json", [b'{"error": "loading the model"}'])
        if self.path.endswith("/transcriptions"):
            return self._answer(200, "application/json", [json.dumps({"text": HEARD}).encode()])
        if self.path.endswith("/completions"):
            assert json.loads(body)["stream"]
            deltas = [json.dumps({"choices": [{"delta": {"content": text}}]}) for text in REPLY]
            return self._answer(200, "text/event-stream", [f"data: {d}\n\n".encode() for d in (*deltas, "[DONE]")])
        tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(RATE_HZ) / RATE_HZ)
        samples = (tone * 32767).astype("<i2").tobytes()
        return self._answer(200, "audio/pcm", [samples[at : at + 9600] for at in range(0, len(samples), 9600)])

    def _answer(self, status, kind, pieces):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            time.sleep(0.01)
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, form, *values):
        print(form % values, flush=True)


host, port = sys.argv[1].split(":")
server = ThreadingHTTPServer((host, int(port)), Handler)
print(json.dumps({"ready": True, "engine": "scripted"}), flush=True)
server.serve_forever()
