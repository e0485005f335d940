"""Exchanges as they were read from sockets: [connection, direction, data as Latin-1] on each line of a recording.

All of them were asked by OpenAI's own client, 3.54. The chat was answered by llama-cpp-python's server, 0.3.36, with
SmolLM2-135M; transcripts and speech by a scripted application on uvicorn 0.54.
"""

import json
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from pytest_voiceloop.wire.openai import CHAT, SPEECH, TRANSCRIPTION

RECORDED = Path(__file__).parent / "recorded"
QUESTION = "What colour is the sky on a clear day?"
REPLY = "The sky on a clear day is typically a deep, rich shade of blue."
TONE = (12_000 * np.sin(np.arange(480) / 5)).astype(np.int16) / 32768


def recorded(name):
    lines = (RECORDED / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    reads = [(number, direction, data.encode("latin-1")) for number, direction, data in map(json.loads, lines)]
    return [[(d, data) for _, d, data in reads] for _, reads in groupby(reads, lambda read: read[0])]


def passed(protocol, connection):
    """Each run of one kind and direction, with its pieces."""
    conversation = protocol.open()
    pieces = [p for direction, data in connection for p in conversation.feed(direction, data)]
    groups = groupby(pieces, lambda p: (p.direction, p.kind, p.sample_rate_hz))
    return [(*key, [p.payload for p in group]) for key, group in groups]


def text(pieces):
    return b"".join(pieces).decode()


def test_a_streamed_chat_is_heard_delta_by_delta_and_hanging_up_after_it_takes_nothing_back():
    asked, asked_end, deltas, end = passed(CHAT, recorded("openai_chat_llama_cpp")[0])
    assert (text(asked[3]), asked_end[:2], end[:2]) == (QUESTION, ("forward", "end"), ("back", "end"))
    assert (text(deltas[3]), len(deltas[3])) == (REPLY, 16)


def test_a_chat_is_answered_at_once_refused_and_taken_back_on_one_connection():
    found = passed(CHAT, recorded("openai_chat_llama_cpp")[1])
    assert [kind for _, kind, *_ in found] == [
        *("text", "end", "text", "end"),
        *("text", "end", "failed"),
        *("text", "end", "delta", "cancel"),
    ]
    assert text(found[2][3]) == REPLY
    assert "was answered 400: " in text(found[6][3])
    assert REPLY.startswith(text(found[9][3]))


def test_uploads_are_audio_and_their_transcripts_text():
    (connection,) = recorded("openai_transcription_client")
    found = passed(TRANSCRIPTION, connection)
    once = [("forward", "audio", 16_000), ("forward", "end", 0), ("back", "text", 0), ("back", "end", 0)]
    streamed = [*once[:2], ("back", "delta", 0), once[3]]
    assert [one[:3] for one in found] == [*once, *once, *streamed]
    for audio, _, transcript, _ in (found[:4], found[4:8], found[8:]):
        np.testing.assert_allclose(np.frombuffer(b"".join(audio[3]), "<f4"), TONE[:320], atol=1e-6)
        assert text(transcript[3]) == "What is it?"


@pytest.mark.parametrize("exchange", [0, 1], ids=["pcm", "wav"])
def test_speech_is_audio_as_it_comes(exchange):
    (connection,) = recorded("openai_speech_client")
    asked, _, audio, end = passed(SPEECH, connection)[4 * exchange : 4 * exchange + 4]
    assert (text(asked[3]), audio[:3], end[:2]) == ("It is a plug.", ("back", "audio", 24_000), ("back", "end"))
    assert len(audio[3]) > 1
    np.testing.assert_allclose(np.frombuffer(b"".join(audio[3]), "<f4"), TONE, atol=1e-6)
