import base64
import io
import json

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from passing import answer, bytewise, chunked, cut, fed, in_short, joined, request, spoiled

from pytest_voiceloop.wire.openai import SPEECH, TRANSCRIPTION

HEARD = "/v1/audio/transcriptions"
SPOKEN = "/v1/audio/speech"
TONE = np.sin(np.arange(400) / 5).astype(np.float32) / 2


def wav(rate_hz=16_000):
    file = io.BytesIO()
    soundfile.write(file, TONE, rate_hz, "PCM_16", format="WAV")
    return file.getvalue()


PCM = wav()[44:]
MP3 = b"\xff\xf3\x84\xc4" + bytes(100)


def upload(file, name="a.wav", path=HEARD, **fields):
    parts = [f'Content-Disposition: form-data; name="{key}"\r\n\r\n{value}'.encode() for key, value in fields.items()]
    disposition = f'Content-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: audio/wav\r\n\r\n'
    parts.insert(1, disposition.encode() + file)
    body = b"".join(b"--b0undary\r\n" + part + b"\r\n" for part in parts) + b"--b0undary--\r\n"
    return request(path, body, 'multipart/form-data; boundary="b0undary"')


def spoken(text="Yes.", **options):
    return request(SPOKEN, json.dumps({"model": "m", "input": text, "voice": "v", **options}).encode())


def heard(*steps):
    return in_short([p for p in fed(TRANSCRIPTION, list(steps)) if p.direction == "back"])


def back(steps):
    return [one for one in joined(fed(SPEECH, steps)) if one[0] == "back"]


def test_an_upload_of_wav_is_audio():
    ((direction, kind, raw, rate_hz), end) = joined(fed(TRANSCRIPTION, [("forward", upload(wav(), model="m"))]))
    assert (direction, kind, rate_hz) == ("forward", "audio", 16_000)
    assert end == ("forward", "end", b"", 0)
    np.testing.assert_allclose(np.frombuffer(raw, "<f4"), TONE, atol=1e-4)


def test_an_upload_passes_before_it_is_complete():
    whole = upload(wav(), model="m")
    conversation = TRANSCRIPTION.open()
    assert [p.kind for p in conversation.feed("forward", whole[: len(whole) - 500])] == ["audio"]


def test_an_upload_of_another_codec_is_bytes():
    assert joined(fed(TRANSCRIPTION, [("forward", upload(MP3, "a.mp3", model="m"))])) == [
        ("forward", "bytes", MP3, 0),
        ("forward", "end", b"", 0),
    ]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"text": " What is it?"}', "application/json"),
        (b'{"task": "transcribe", "duration": 1.2, "text": "What is it?", "segments": []}', "application/json"),
        (b'"What is it?"', "application/json; charset=utf-8"),
        (b"What is it?\n", "text/plain; charset=utf-8"),
    ],
)
def test_the_transcript_is_text_and_end(body, content_type):
    assert heard(("forward", upload(wav(), model="m")), ("back", answer(body, content_type))) == [
        ("back", "text", "What is it?"),
        ("back", "end", ""),
    ]


def test_silence_is_an_end_without_text():
    assert heard(("forward", upload(wav(), model="m")), ("back", answer(b'{"text": ""}'))) == [("back", "end", "")]


@pytest.mark.parametrize("subtitles", ["srt", "vtt"])
def test_subtitles_are_bytes(subtitles):
    body = b"1\n00:00:00,000 --> 00:00:01,000\nWhat is it?\n"
    asked = upload(wav(), model="m", response_format=subtitles)
    assert heard(("forward", asked), ("back", answer(body, "text/plain"))) == [
        ("back", "bytes", body.decode()),
        ("back", "end", ""),
    ]


def events(*documents):
    return [
        ("back", data) for data in chunked([f"data: {json.dumps(document)}\n\n".encode() for document in documents])
    ]


@pytest.mark.parametrize(
    ("documents", "passed"),
    [
        (
            [
                {"type": "transcript.text.delta", "delta": "What"},
                {"type": "transcript.text.delta", "delta": " is it?"},
                {"type": "transcript.text.done", "text": "What is it?"},
            ],
            [("delta", "What"), ("delta", " is it?")],
        ),
        ([{"type": "transcript.text.done", "text": "What is it?"}], [("text", "What is it?")]),
        ([{"text": "What"}, {"text": "is it?"}], [("text", "What"), ("text", "is it?")]),
        ([{"object": "transcription.chunk", "choices": [{"delta": {"content": "What"}}]}], [("delta", "What")]),
    ],
)
def test_a_streamed_transcript_passes_as_it_comes(documents, passed):
    assert heard(("forward", upload(wav(), model="m")), *events(*documents)) == [
        *(("back", kind, text) for kind, text in passed),
        ("back", "end", ""),
    ]


@pytest.mark.parametrize(("body", "says"), [(b"{}", "it holds no text: b'{}'"), (b"<html>", "it is no JSON")])
def test_an_answer_that_is_no_transcript_failed(body, says):
    ((_, kind, why),) = heard(("forward", upload(wav(), model="m")), ("back", answer(body)))
    assert kind == "failed"
    assert why.startswith(f"the answer to POST {HEARD} cannot be read: {says}")


def test_a_refused_upload_failed():
    ((_, kind, why),) = heard(
        ("forward", upload(wav(), model="m")), ("back", answer(b'{"detail":"no such model"}', status="404 Not Found"))
    )
    assert (kind, why) == ("failed", f'POST {HEARD} was answered 404: {{"detail":"no such model"}}')


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"{}", "application/json"), (b"x", "multipart/form-data"), (b"x", "multipart/form-data; boundary=y")],
)
def test_an_upload_that_is_no_form_is_said_to_be_none(body, content_type):
    (passed,) = fed(TRANSCRIPTION, [("forward", request(HEARD, body, content_type))])
    assert (passed.direction, passed.kind) == ("forward", "failed")
    assert passed.payload.decode().startswith(f"the request POST {HEARD} cannot be read: ")


def test_what_is_to_be_spoken_is_text_and_end():
    assert in_short(fed(SPEECH, [("forward", spoken("D\u00e9j\u00e0 vu."))])) == [
        ("forward", "text", "D\u00e9j\u00e0 vu."),
        ("forward", "end", ""),
    ]


@pytest.mark.parametrize(
    ("content_type", "options", "rate_hz"),
    [
        ("audio/pcm", {}, 24_000),
        ("audio/pcm;rate=16000", {}, 16_000),
        ("audio/pcm;rate=999999999", {}, 24_000),
        ("application/octet-stream", {"response_format": "pcm"}, 24_000),
    ],
)
def test_pcm_is_audio_at_once_and_at_its_rate(content_type, options, rate_hz):
    conversation = SPEECH.open()
    conversation.feed("forward", spoken(**options))
    head, first, second, last = chunked([PCM[:301], PCM[301:]], content_type)
    assert conversation.feed("back", head) == []
    (early,) = conversation.feed("back", first)
    (late,) = conversation.feed("back", second)
    assert [(p.direction, p.kind, p.sample_rate_hz) for p in (early, late)] == 2 * [("back", "audio", rate_hz)]
    assert len(early.payload) == 150 * 4
    np.testing.assert_allclose(np.frombuffer(early.payload + late.payload, "<f4"), TONE, atol=1e-4)
    assert [p.kind for p in conversation.feed("back", last)] == ["end"]


@pytest.mark.parametrize("options", [{"response_format": "wav"}, {"response_format": "pcm"}])
def test_wav_is_audio_at_its_own_rate_whatever_was_asked_for(options):
    (audio, end) = back([("forward", spoken(**options)), ("back", answer(wav(22_050), "audio/wav"))])
    assert (audio[1], audio[3], len(audio[2]), end[1]) == ("audio", 22_050, 4 * len(TONE), "end")


def test_other_codecs_are_bytes():
    assert back([("forward", spoken()), ("back", answer(MP3, "audio/mpeg"))]) == [
        ("back", "bytes", MP3, 0),
        ("back", "end", b"", 0),
    ]


def test_audio_in_events_is_audio():
    deltas = [{"type": "speech.audio.delta", "audio": base64.b64encode(part).decode()} for part in (PCM[:5], PCM[5:])]
    steps = [
        ("forward", spoken(response_format="pcm", stream_format="sse")),
        *events(*deltas, {"type": "speech.audio.done"}),
    ]
    (audio, end) = back(steps)
    assert (audio[1], audio[3], len(audio[2]), end[1]) == ("audio", 24_000, 4 * len(TONE), "end")


def test_audio_in_events_that_is_no_base64_failed():
    steps = [("forward", spoken(response_format="pcm")), *events({"type": "speech.audio.delta", "audio": "A"})]
    ((_, kind, why, _),) = back(steps)
    assert kind == "failed"
    assert b"no base64" in why


def test_speech_that_is_hung_up_on_is_taken_back():
    steps = [("forward", spoken()), ("back", answer(wav(), "audio/wav")[:-10]), ("forward", b""), ("back", b"")]
    assert [kind for _, kind, *_ in back(steps)] == ["audio", "cancel"]


HEARING = [
    ("forward", upload(wav(), model="m", response_format="vtt")),
    ("back", answer(b"WEBVTT", "text/vtt")),
    ("forward", upload(wav(), model="m")),
    *events({"type": "transcript.text.delta", "delta": "What"}, {"type": "transcript.text.done", "text": "What"}),
    ("back", b""),
]
SPEAKING = [
    ("forward", spoken(response_format="pcm")),
    ("back", b"".join(chunked([PCM[:301], PCM[301:]], "audio/pcm"))),
    ("forward", spoken()),
    ("back", answer(wav(), "audio/wav")),
    ("forward", spoken(response_format="pcm")),
    *events({"type": "speech.audio.delta", "audio": base64.b64encode(PCM).decode()}, {"type": "speech.audio.done"}),
    ("back", b""),
]


@pytest.mark.parametrize(("protocol", "steps"), [(TRANSCRIPTION, HEARING), (SPEECH, SPEAKING)])
def test_how_it_is_cut_into_reads_makes_no_difference(protocol, steps):
    passed = joined(fed(protocol, steps))
    assert [kind for _, kind, *_ in passed].count("end") == 2 * len([d for d, data in steps if d == "forward" and data])
    assert joined(fed(protocol, bytewise(steps))) == passed


@settings(deadline=None)
@given(data=st.data())
def test_no_cutting_of_an_upload_makes_a_difference(data):
    assert joined(fed(TRANSCRIPTION, data.draw(cut(HEARING)))) == joined(fed(TRANSCRIPTION, HEARING))


@settings(deadline=None)
@given(data=st.data())
def test_no_spoiled_upload_makes_it_raise(data):
    fed(TRANSCRIPTION, data.draw(cut(data.draw(spoiled(HEARING)))))


@settings(deadline=None)
@given(data=st.data())
def test_nothing_makes_speech_raise_and_no_cutting_makes_a_difference(data):
    steps = data.draw(spoiled(SPEAKING))
    assert joined(fed(SPEECH, data.draw(cut(steps)))) == joined(fed(SPEECH, steps))
