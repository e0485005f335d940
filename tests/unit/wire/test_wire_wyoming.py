import io
import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from passing import bytewise, cut, fed, in_short, joined, spoiled
from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, write_event
from wyoming.handle import Handled, HandledChunk, HandledStart, HandledStop, NotHandled
from wyoming.info import Describe
from wyoming.intent import Recognize
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop, SynthesizeStopped

from pytest_voiceloop.wire.wyoming import WYOMING

PCM = np.arange(-400, 400, dtype="<i2").tobytes()


def written(*events):
    stream = io.BytesIO()
    for event in events:
        write_event(event if isinstance(event, Event) else event.event(), stream)
    return stream.getvalue()


def forward(*events):
    return [("forward", written(*events))]


def back(*events):
    return [("back", written(*events))]


def audio(rate=16_000, width=2, channels=1, pcm=PCM):
    how = {"rate": rate, "width": width, "channels": channels}
    return [AudioStart(**how), AudioChunk(audio=pcm[:800], **how), AudioChunk(audio=pcm[800:], **how), AudioStop()]


def said(*steps):
    return in_short(fed(WYOMING, [step for many in steps for step in many]))


def kinds(*steps):
    return [(p.direction, p.kind) for p in fed(WYOMING, [step for many in steps for step in many])]


@pytest.mark.parametrize("direction", ["forward", "back"])
def test_audio_passes_chunk_by_chunk_and_ends(direction):
    *chunks, end = fed(WYOMING, [(direction, written(*audio()))])
    assert [(p.direction, p.kind, p.sample_rate_hz, len(p.payload)) for p in chunks] == 2 * [
        (direction, "audio", 16_000, 1600)
    ]
    assert (end.direction, end.kind) == (direction, "end")
    expected = np.frombuffer(PCM, "<i2") / 32768
    assert np.array_equal(np.frombuffer(b"".join(p.payload for p in chunks), "<f4"), expected)


def test_two_channels_become_one():
    (first, *_) = fed(WYOMING, forward(*audio(channels=2)))
    assert np.frombuffer(first.payload, "<f4")[0] == -399.5 / 32768


@pytest.mark.parametrize("how", [{"width": 4}, {"rate": 0}, {"channels": 0}, {"rate": "x"}, {"rate": None}])
def test_audio_that_is_written_otherwise_is_bytes(how):
    passed = fed(WYOMING, forward(*audio(**how)))
    assert [p.kind for p in passed] == ["bytes", "bytes", "end"]
    assert b"".join(p.payload for p in passed) == PCM


def test_a_transcript_is_text_and_end():
    assert said(forward(Transcribe(language="en")), back(Transcript("What is it?", language="en"))) == [
        ("back", "text", "What is it?"),
        ("back", "end", ""),
    ]


def test_a_transcript_in_chunks_is_said_once_and_ends_with_its_whole_text():
    chunks = [TranscriptStart(), TranscriptChunk("What"), TranscriptChunk(" is it?")]
    assert said(back(*chunks, Transcript("What is it?"), TranscriptStop()), back(Transcript("Yes."))) == [
        ("back", "delta", "What"),
        ("back", "delta", " is it?"),
        ("back", "end", ""),
        ("back", "text", "Yes."),
        ("back", "end", ""),
    ]


def test_a_transcript_in_chunks_alone_ends_with_its_stop():
    assert said(back(TranscriptStart(), TranscriptChunk("Yes."), TranscriptStop())) == [
        ("back", "delta", "Yes."),
        ("back", "end", ""),
    ]


def test_what_is_asked_of_a_speaker_is_text_and_end():
    assert said(forward(Synthesize("D\u00e9j\u00e0 vu."))) == [
        ("forward", "text", "D\u00e9j\u00e0 vu."),
        ("forward", "end", ""),
    ]


def test_speech_of_a_text_that_still_comes_ends_when_the_speaker_says_that_it_stopped():
    steps = [
        forward(SynthesizeStart(), SynthesizeChunk("One. ")),
        back(*audio()),
        forward(SynthesizeChunk("Two."), Synthesize("One. Two."), SynthesizeStop()),
        back(*audio(), SynthesizeStopped()),
        forward(Synthesize("Three.")),
        back(*audio()),
    ]
    assert kinds(*steps) == [
        ("forward", "delta"),
        *(("back", "audio"),) * 2,
        *(("forward", "delta"), ("forward", "end")),
        *(("back", "audio"),) * 2,
        ("back", "end"),
        *(("forward", "text"), ("forward", "end")),
        *(("back", "audio"),) * 2,
        ("back", "end"),
    ]


def test_what_handles_a_transcript_replies():
    assert said(forward(Transcript("What is it?")), back(Handled("A plug."))) == [
        *(("forward", "text", "What is it?"), ("forward", "end", "")),
        *(("back", "text", "A plug."), ("back", "end", "")),
    ]
    streamed = [HandledStart(), HandledChunk("A "), HandledChunk("plug."), Handled("A plug."), HandledStop()]
    assert said(back(*streamed)) == [("back", "delta", "A "), ("back", "delta", "plug."), ("back", "end", "")]
    assert said(back(NotHandled("Sorry."))) == [("back", "text", "Sorry."), ("back", "end", "")]
    assert said(forward(Recognize("What is it?"))) == [("forward", "text", "What is it?"), ("forward", "end", "")]


def test_an_error_failed():
    assert said(forward(Synthesize("Hi.")), back(Error("no such voice", "voice")), [("back", b"")])[2:] == [
        ("back", "failed", "no such voice")
    ]


def test_other_events_are_ignored():
    assert said(forward(Describe(), Event("voice-started", {"timestamp": 3})), back(Event("pong", {"text": "x"}))) == []


def test_data_in_the_header_line_counts_too():
    header = {"type": "transcript", "data": {"text": "old", "language": "en"}, "data_length": 15}
    assert said([("back", json.dumps(header).encode() + b'\n{"text": "new"}')])[0] == ("back", "text", "new")
    assert said([("back", b'{"type": "transcript", "data": {"text": "Yes."}}\n')])[0] == ("back", "text", "Yes.")


def test_hanging_up_within_an_answer_takes_it_back():
    steps = [forward(Synthesize("Hi.")), back(*audio()[:-1]), [("forward", b""), ("back", b"")]]
    assert kinds(*steps)[-2:] == [("back", "audio"), ("back", "cancel")]


def test_hanging_up_after_the_answer_takes_nothing_back():
    steps = [forward(Synthesize("Hi.")), back(*audio()), [("forward", b""), ("back", b"")]]
    assert kinds(*steps)[-1] == ("back", "end")
    chunked = [back(TranscriptChunk("Hi."), Transcript("Hi.")), [("forward", b"")], back(TranscriptStop())]
    assert kinds(*chunked)[-1] == ("back", "end")


@pytest.mark.parametrize("begun", [[], audio()[:-1]])
def test_an_answer_that_is_not_complete_failed(begun):
    last = fed(WYOMING, [*forward(Synthesize("Hi.")), *back(*begun, Describe()), ("back", b"")])[-1]
    assert (last.direction, last.kind) == ("back", "failed")
    assert last.payload == b"the connection was closed before the answer was complete"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "no line of JSON begins with b'GET / HTTP/1.1"),
        (b"\x16\x03\x01", "no line of JSON begins with"),
        (b"\n", "no line of JSON begins with"),
        (b"{nonsense\n", "it is no JSON"),
        (b'{"data": {}}\n', "an event has no type"),
        (b'{"type": 3}\n', "an event has no type"),
        (b'{"type": "x", "payload_length": -1}\n', "payload_length is -1; 0 to 16777216 are allowed"),
        (b'{"type": "x", "payload_length": 99999999999}\n', "payload_length is 99999999999; 0 to"),
        (b'{"type": "x", "data_length": "y"}\n', "data_length is 'y'; 0 to"),
        (b'{"type": "x", "data_length": 2}\n{]', "it is no JSON"),
        (b"{" + b" " * 70_000, "a line has more than 65536 bytes"),
    ],
)
def test_what_is_no_wyoming_is_garbled_once_and_says_why(data, says):
    steps = [forward(Transcript("Yes.")), [("forward", data)], forward(Transcript("No.")), back(Transcript("No."))]
    _, _, (direction, kind, why) = said(*steps)
    assert (direction, kind) == ("forward", "garbled")
    assert why.startswith(f"this is no Wyoming: {says}")


def test_what_a_header_claims_is_not_allocated():
    tracemalloc.start()
    assert said([("forward", b'{"type": "audio-chunk", "payload_length": 16000000}\n' + bytes(1000))]) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


TALK = [
    *forward(Transcribe(), *audio()),
    *back(TranscriptStart(), TranscriptChunk("D\u00e9j\u00e0"), Transcript("D\u00e9j\u00e0"), TranscriptStop()),
    *forward(SynthesizeStart(), SynthesizeChunk("vu"), SynthesizeStop()),
    *back(*audio(22_050), SynthesizeStopped()),
    *forward(Synthesize("Yes.")),
    *back(*audio(width=4)),
    ("back", b""),
]


def test_how_it_is_cut_into_reads_makes_no_difference():
    passed = fed(WYOMING, TALK)
    assert [p.kind for p in passed].count("end") == 6
    assert fed(WYOMING, bytewise(TALK)) == passed


@settings(deadline=None)
@given(data=st.data())
def test_nothing_makes_it_raise_and_no_cutting_makes_a_difference(data):
    steps = data.draw(spoiled(TALK))
    assert joined(fed(WYOMING, data.draw(cut(steps)))) == joined(fed(WYOMING, steps))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
types = st.sampled_from(
    ["audio-chunk", "transcript", "transcript-chunk", "synthesize", "error", "handled", "audio-stop"]
)
keys = st.sampled_from(["text", "rate", "width", "channels"])


@settings(deadline=None)
@given(types, st.dictionaries(keys, json_values) | json_values, st.binary(max_size=9))
def test_no_data_of_an_event_makes_it_raise(kind, data, payload):
    raw = json.dumps(data).encode()
    header = {"type": kind, "data_length": len(raw), "payload_length": len(payload)}
    passed = fed(WYOMING, [("back", json.dumps(header).encode() + b"\n" + raw + payload)])
    assert "garbled" not in [p.kind for p in passed]
