"""An orchestrator: a WebSocket to the caller, and HTTP to each of three servers.

`python agent.py LISTEN STT LLM TTS`, each HOST:PORT. Speech is over after 0.4 s of silence.
"""

import http.client
import io
import json
import sys

import numpy as np
import soundfile
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

RATE_HZ = 16_000
SILENT_FRAMES = 20


def post(address, path, body, kind):
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request("POST", path, body, {"Content-Type": kind})
    return connection.getresponse()


def transcribe(address, samples):
    wav = io.BytesIO()
    soundfile.write(wav, samples, RATE_HZ, format="WAV", subtype="PCM_16")
    head = b'--X\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    answer = post(
        address, "/v1/audio/transcriptions", head + wav.getvalue() + b"\r\n--X--\r\n", "multipart/form-data; boundary=X"
    )
    return json.loads(answer.read())["text"]


def think(address, text):
    said = {"stream": True, "messages": [{"role": "user", "content": text}]}
    reply = ""
    for line in post(address, "/v1/chat/completions", json.dumps(said), "application/json"):
        if line.startswith(b"data: {"):
            reply += json.loads(line[6:])["choices"][0]["delta"].get("content", "")
    return reply


def answer(line, samples):
    _, stt, llm, tts = sys.argv[1:]
    reply = think(llm, transcribe(stt, samples))
    body = json.dumps({"input": reply, "response_format": "pcm"})
    speech = post(tts, "/v1/audio/speech", body, "application/json")
    while piece := speech.read1(9600):
        line.send(piece)
    line.send(json.dumps({"event": "reply-complete"}))


def call(line):
    heard, silent = [], 0
    try:
        for frame in line:
            samples = np.frombuffer(frame, "<i2").astype(np.float32) / 32768
            loud = np.abs(samples).max() > 0.02
            silent = 0 if loud else silent + 1
            if loud or heard:
                heard.append(samples)
            if heard and silent == SILENT_FRAMES:
                answer(line, np.concatenate(heard))
                heard = []
    except ConnectionClosed:
        pass


host, port = sys.argv[1].split(":")
with serve(call, host, int(port), compression=None) as server:
    print(json.dumps({"ready": True, "engine": "scripted"}), flush=True)
    server.serve_forever()
