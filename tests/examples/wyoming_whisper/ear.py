"""Takes whisper's place in the reference stack, and has a Wyoming server do the work.

``python ear.py REGISTER CALLER LLAMA WYOMING``, each HOST:PORT; CALLER is the base to which a call's id is added. A
call begins with the datagram REGISTER:<id> at REGISTER. Its speech is fetched from the caller, float32 in frames of one
word n, big-endian, and n bytes; the Wyoming server hears it, and says when the caller has finished and what was said.
That goes to llama in the same framing, and END after it.
"""

import asyncio
import json
import struct
import sys

import numpy as np
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart
from wyoming.client import AsyncTcpClient

END, BYE = 0xFFFFFFFE, 0xFFFFFFFF
SHAPE = {"rate": 16_000, "width": 2, "channels": 1}


def address(text):
    host, port = text.split(":")
    return host, int(port)


REGISTER, CALLER, LLAMA, WYOMING = map(address, sys.argv[1:])


def framed(data):
    return struct.pack(">I", len(data)) + data


def word(value):
    return struct.pack(">I", value)


async def frames(reader):
    """Frames until BYE."""
    while (size := struct.unpack(">I", await reader.readexactly(4))[0]) != BYE:
        yield await reader.readexactly(size)


async def transcripts(server, to_llama):
    """Pass on what the server has understood; each time it listens anew."""
    while (event := await server.read_event()) is not None:
        if Transcript.is_type(event.type):
            if text := Transcript.from_event(event).text.strip():
                to_llama.write(framed(text.encode()) + word(END))
            await listen(server)


async def listen(server):
    await server.write_event(Transcribe(language="en").event())
    await server.write_event(AudioStart(**SHAPE).event())


async def serve_call(call_id):
    """One call, with a connection to each neighbour."""
    _, to_llama = await asyncio.open_connection(*LLAMA)
    from_caller, _ = await asyncio.open_connection(CALLER[0], CALLER[1] + int(call_id))
    async with AsyncTcpClient(*WYOMING) as server:
        await listen(server)
        passing_on = asyncio.create_task(transcripts(server, to_llama))
        heard = frames(from_caller)
        to_llama.write(framed(await anext(heard)))  # HELLO
        async for speech in heard:
            samples = (np.frombuffer(speech, "<f4").clip(-1, 1) * 32767).astype("<i2")
            await server.write_event(AudioChunk(audio=samples.tobytes(), **SHAPE).event())
        passing_on.cancel()
    to_llama.write(word(BYE))
    to_llama.close()


class Registry(asyncio.DatagramProtocol):
    """Begins calls. REGISTER is repeated until somebody comes."""

    def __init__(self):
        self.calls = {}

    def datagram_received(self, data, _):
        kind, _, call_id = data.decode("ascii", "replace").strip().partition(":")
        if kind == "REGISTER" and call_id.isdigit() and call_id not in self.calls:
            self.calls[call_id] = asyncio.create_task(serve_call(call_id))
            self.calls[call_id].add_done_callback(lambda _: self.calls.pop(call_id))
        elif kind == "BYE" and call_id in self.calls:
            self.calls[call_id].cancel()


async def main():
    await asyncio.get_running_loop().create_datagram_endpoint(Registry, local_addr=REGISTER)
    print(json.dumps({"ready": "whisper", "engine": "wyoming"}), flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
