"""The orchestrator: a WebSocket to the caller, and HTTP to each of three servers.

``python agent.py LISTEN STT LLM TTS``, each HOST:PORT. The caller sends 16-bit samples at 16 kHz; 0.7 s of silence end
what was said. The reply goes back as 16-bit samples at 24 kHz, and a text message, "done", ends it.
"""

import http.client
import io
import json
import sys
import wave

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

LISTEN, STT, LLM, TTS = sys.argv[1:]
RATE_HZ = 16_000
LOUD = 600
SILENCE_SAMPLES = int(0.7 * RATE_HZ)
SYSTEM = "You answer the telephone in plain English, in one short sentence."


def post(server, path, body, content_type="application/json"):
    """Ask a server. The answer may be read as it comes."""
    connection = http.client.HTTPConnection(server, timeout=30)
    connection.request("POST", path, body, {"Content-Type": content_type})
    answer = connection.getresponse()
    if answer.status != 200:
        raise RuntimeError(f"{path} was answered {answer.status}: {answer.read(200)}")
    return answer


def transcribe(samples):
    """What was said in 16-bit samples."""
    with io.BytesIO() as file:
        with wave.open(file, "wb") as wav:
            wav.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
            wav.writeframes(samples)
        speech = file.getvalue()
    head = 'Content-Disposition: form-data; name="file"; filename="said.wav"\r\nContent-Type: audio/wav'
    body = b"--part\r\n" + head.encode() + b"\r\n\r\n" + speech + b"\r\n--part--\r\n"
    return json.load(post(STT, "/v1/audio/transcriptions", body, "multipart/form-data; boundary=part"))["text"]


def sentences(messages):
    """The reply as it is written, sentence by sentence."""
    body = {"model": "any", "messages": messages, "stream": True, "temperature": 0, "max_tokens": 16}
    written = ""
    for line in post(LLM, "/v1/chat/completions", json.dumps(body)):
        if line.startswith(b"data: {"):
            written += json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
            if written.endswith((".", "!", "?")):
                yield written.strip()
                written = ""
    if written.strip():
        yield written.strip()


def answer(caller, history, samples):
    """Think about what was said, and say what comes to mind while the rest is still thought."""
    text = transcribe(samples)
    history.append({"role": "user", "content": text})
    said = []
    for sentence in sentences(history):
        said.append(sentence)
        speech = post(TTS, "/v1/audio/speech", json.dumps({"input": sentence, "response_format": "pcm"}))
        while piece := speech.read1(9600):
            caller.send(piece)
    caller.send("done")
    history.append({"role": "assistant", "content": " ".join(said)})
    print(f"{text!r} was answered {' '.join(said)!r}", flush=True)


def serve_call(caller):
    """One call, with a history of its own."""
    history, said, silence = [{"role": "system", "content": SYSTEM}], b"", 0
    try:
        for frame in caller:
            loud = np.abs(np.frombuffer(frame, "<i2").astype(int)).max() > LOUD
            silence = 0 if loud else silence + len(frame) // 2
            if loud or said:
                said += frame
            if said and silence > SILENCE_SAMPLES:
                answer(caller, history, said)
                said = b""
    except ConnectionClosed:
        pass


host, port = LISTEN.split(":")
# While it answers it reads no frames, and so sees no pong either.
with serve(serve_call, host, int(port), compression=None, ping_interval=None) as server:
    print(json.dumps({"ready": "agent", "engine": "agent.py"}), flush=True)
    server.serve_forever()
