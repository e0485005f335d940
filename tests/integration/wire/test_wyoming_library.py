"""The wyoming package's own client and service classes, talking through a relay that listens in."""

import asyncio
import contextlib
from itertools import groupby

import numpy as np
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.handle import Handled
from wyoming.server import AsyncEventHandler
from wyoming.tts import Synthesize

from pytest_voiceloop.wire.wyoming import WYOMING

HOST = "127.0.0.1"
DEADLINE_S = 20
SHAPE = {"rate": 16_000, "width": 2, "channels": 1}
PCM = (12_000 * np.sin(np.arange(1600) / 5)).astype("<i2").tobytes()
AUDIO = [
    AudioStart(**SHAPE).event(),
    *(AudioChunk(audio=PCM[i : i + 640], **SHAPE).event() for i in range(0, len(PCM), 640)),
    AudioStop().event(),
]


class Service(AsyncEventHandler):
    """Hears, handles and speaks, as one service."""

    async def handle_event(self, event):
        if AudioStop.is_type(event.type):
            await self.write_event(Transcript("What is it?").event())
        elif Transcript.is_type(event.type):
            await self.write_event(Handled("D\u00e9j\u00e0 vu.").event())
        elif Synthesize.is_type(event.type) and Synthesize.from_event(event).text:
            for one in AUDIO:
                await self.write_event(one)
        elif Synthesize.is_type(event.type):
            await self.write_event(Error("no text").event())
        return True


async def listened_in(talk):
    """What passes while `talk` uses a client of the service."""
    conversation, passed = WYOMING.open(), []

    async def served(reader, writer):
        await Service(reader, writer).run()

    async def relayed(reader, writer):
        up_reader, up_writer = await asyncio.open_connection(HOST, service.sockets[0].getsockname()[1])

        async def pump(direction, source, target):
            while data := await source.read(500):
                passed.extend(conversation.feed(direction, data))
                target.write(data)
                await target.drain()
            passed.extend(conversation.feed(direction, b""))
            target.close()

        await asyncio.gather(pump("forward", reader, up_writer), pump("back", up_reader, writer))
        over.set_result(None)

    over = asyncio.get_running_loop().create_future()
    async with contextlib.AsyncExitStack() as stack:
        service = await stack.enter_async_context(await asyncio.start_server(served, HOST, 0))
        relay = await stack.enter_async_context(await asyncio.start_server(relayed, HOST, 0))
        async with AsyncTcpClient(HOST, relay.sockets[0].getsockname()[1]) as client:
            await talk(client)
        await over
    return [(*key, [p.payload for p in group]) for key, group in groupby(passed, lambda p: (p.direction, p.kind))]


def through_a_relay(talk):
    return asyncio.run(asyncio.wait_for(listened_in(talk), DEADLINE_S))


async def until(client, kind):
    while (event := await client.read_event()) is not None and not kind.is_type(event.type):
        pass
    return event


def test_speech_to_text_an_answer_and_text_to_speech_are_heard():
    async def talk(client):
        for one in [Transcribe().event(), *AUDIO]:
            await client.write_event(one)
        transcript = await until(client, Transcript)
        await client.write_event(transcript)
        handled = Handled.from_event(await until(client, Handled))
        await client.write_event(Synthesize(handled.text).event())
        await until(client, AudioStop)

    found = through_a_relay(talk)
    assert [one[:2] for one in found] == [
        *(("forward", "audio"), ("forward", "end"), ("back", "text"), ("back", "end")),
        *(("forward", "text"), ("forward", "end"), ("back", "text"), ("back", "end")),
        *(("forward", "text"), ("forward", "end"), ("back", "audio"), ("back", "end")),
    ]
    texts = [b"".join(payloads).decode() for _, kind, payloads in found if kind == "text"]
    assert texts == ["What is it?", "What is it?", "D\u00e9j\u00e0 vu.", "D\u00e9j\u00e0 vu."]
    for _, kind, payloads in found:
        if kind == "audio":
            assert len(payloads) == 5
            assert np.array_equal(np.frombuffer(b"".join(payloads), "<f4") * 32768, np.frombuffer(PCM, "<i2"))


def test_an_error_failed():
    async def talk(client):
        await client.write_event(Synthesize("").event())
        await until(client, Error)

    assert through_a_relay(talk) == [("forward", "end", [b""]), ("back", "failed", [b"no text"])]
