"""Speech to text and text to speech behind OpenAI's HTTP interface, in the fewest lines that will do.

``python speech.py stt|tts HOST:PORT MODEL [VOICE]``. MODEL is a folder of faster-whisper, or Kokoro's ONNX file with
VOICE, a file of float32.
"""

import io
import json
import sys
import tempfile
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

ROLE, LISTEN, MODEL, *VOICE = sys.argv[1:]


def recogniser():
    """A function: multipart form data → JSON."""
    from faster_whisper import WhisperModel

    model = WhisperModel(MODEL, device="cpu", compute_type="int8")

    def transcribe(body, content_type):
        form = BytesParser().parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
        (file,) = (part for part in form.get_payload() if part.get_filename())
        wav = io.BytesIO(file.get_payload(decode=True))
        # Without temperatures it does not try again and again what it is unsure of.
        segments, _ = model.transcribe(wav, language="en", beam_size=1, temperature=0.0)
        text = " ".join(segment.text.strip() for segment in segments)
        return "application/json", json.dumps({"text": text}).encode()

    return transcribe


def synthesizer():
    """A function: JSON → 16-bit samples at 24 kHz."""
    from kokoro_onnx import Kokoro

    voices = Path(tempfile.mkdtemp()) / "voices.npz"
    np.savez(voices, speaker=np.fromfile(VOICE[0], "<f4").reshape(510, 1, 256))
    kokoro = Kokoro(MODEL, str(voices))

    def speak(body, _):
        samples, _ = kokoro.create(json.loads(body)["input"], voice="speaker", lang="en-us")
        return "audio/pcm", (samples.clip(-1, 1) * 32767).astype("<i2").tobytes()

    speak(b'{"input": "Hello."}', "")
    return speak


PATHS = {"stt": ("/v1/audio/transcriptions", recogniser), "tts": ("/v1/audio/speech", synthesizer)}
PATH, make = PATHS[ROLE]
work = make()


class Handler(BaseHTTPRequestHandler):
    """One path."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != PATH:
            self.send_error(404)
            return
        kind, answer = work(body, self.headers["Content-Type"])
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


host, port = LISTEN.split(":")
server = ThreadingHTTPServer((host, int(port)), Handler)
print(json.dumps({"ready": ROLE, "engine": "speech.py", "model": Path(MODEL).name}), flush=True)
server.serve_forever()
