import io
import itertools
import struct
import sys
import tracemalloc
import wave

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from pytest_voiceloop.wire.samples import Format, Samples, Wav

NOISE = np.random.default_rng(5).uniform(-1, 1, (50, 2)).astype(np.float32)


def wav(samples, subtype="PCM_16", rate_hz=24_000, container="WAV"):
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, subtype, format=container)
    return file.getvalue()


def read(reader, data, step=None):
    pieces = [data[i : i + (step or len(data))] for i in range(0, len(data), step or len(data))]
    said = [one for piece in pieces for one in reader.feed(piece)] + list(reader.end())
    return [
        (*key, b"".join(one.payload for one in group))
        for key, group in itertools.groupby(said, lambda one: (one.kind, one.sample_rate_hz))
    ]


def samples(said):
    ((kind, rate_hz, raw), end) = said
    assert (kind, rate_hz, end) == ("audio", 24_000, ("end", 0, b""))
    return np.frombuffer(raw, "<f4")


@pytest.mark.parametrize("step", [None, 1, 7])
@pytest.mark.parametrize("container", ["WAV", "WAVEX"])
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
@pytest.mark.parametrize("channels", [1, 2])
def test_wav_becomes_the_samples_that_soundfile_reads(subtype, container, channels, step):
    data = wav(NOISE[:, :channels], subtype, container=container)
    expected, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    np.testing.assert_allclose(samples(read(Wav(), data, step)), expected.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("step", [None, 1])
def test_bare_samples_are_16_bit(step):
    raw = struct.pack("<4h", 0, 16384, -32768, 1)
    assert samples(read(Samples(Format(24_000)), raw, step)).tolist() == [0, 0.5, -1, 1 / 32768]


def test_samples_pass_as_soon_as_they_are_whole():
    reader = Samples(Format(8000))
    assert [len(one.payload) for data in (b"\0", b"\0\0", b"\0\0\0") for one in reader.feed(data)] == [4, 8]


def test_the_samples_of_a_wav_pass_before_it_is_complete():
    reader, data = Wav(), wav(NOISE)
    assert [one.kind for one in reader.feed(data[:-4])] == ["audio"]
    assert [len(one.payload) for one in reader.feed(data[-4:])] == [4]


@pytest.mark.parametrize("claimed", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFFFFF + 37])
def test_a_wav_that_does_not_know_its_length_goes_on_until_its_end(claimed):
    data = bytearray(wav(NOISE))
    place = data.index(b"data") + 4
    data[place : place + 4] = struct.pack("<I", claimed)
    assert len(samples(read(Wav(), bytes(data)))) == 50


def test_what_follows_the_data_is_no_audio():
    data = wav(NOISE) + b"LIST\x05\0\0\0hello\0"
    assert len(samples(read(Wav(), data))) == 50


def test_chunks_before_the_data_are_skipped():
    data = wav(NOISE)
    data = data[:12] + b"JUNK\x03\0\0\0abc\0" + data[12:]
    assert len(samples(read(Wav(), data, 5))) == 50


def test_wavs_one_after_another_are_one_stream():
    assert len(samples(read(Wav(), 3 * wav(NOISE), 11))) == 150


@pytest.mark.parametrize("step", [None, 1])
@pytest.mark.parametrize("subtype", ["ULAW", "PCM_24", "PCM_U8", "DOUBLE"])
def test_other_samples_are_bytes(subtype, step):
    data = wav(NOISE, subtype)
    assert read(Wav(), data, step) == [("bytes", 0, data[data.index(b"data") + 8 :]), ("end", 0, b"")]


@pytest.mark.parametrize("step", [None, 1])
@pytest.mark.parametrize("data", [b"ID3\x04mp3 and so on", b"OggS....", b"RIFF\0\0\0\0AVI LIST", b"RI", b"RIFF....WAV"])
def test_what_is_no_wav_is_bytes(data, step):
    assert read(Wav(), data, step) == [("bytes", 0, data), ("end", 0, b"")]


@pytest.mark.parametrize(("channels", "rate_hz"), [(0, 24_000), (2, 0), (2, 4_000_000_000), (65_535, 24_000)])
def test_a_format_that_makes_no_sense_is_not_believed(channels, rate_hz):
    data = bytearray(wav(NOISE))
    data[22:28] = struct.pack("<HI", channels, rate_hz)
    assert [kind for kind, *_ in read(Wav(), bytes(data))] == ["bytes", "end"]


def test_data_before_its_format_is_bytes():
    assert read(Wav(), b"RIFF\0\0\0\0WAVEdata\x04\0\0\0abcd") == [("bytes", 0, b"abcd"), ("end", 0, b"")]


def test_a_chunk_that_claims_much_is_not_held():
    reader = Wav()
    list(reader.feed(b"RIFF\0\0\0\0WAVEjunk\xff\xff\xff\xff"))
    tracemalloc.start()
    for _ in range(100):
        assert list(reader.feed(bytes(65_536))) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_wav_of_pythons_own_is_read():
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(24_000)
        writer.writeframes(struct.pack("<2h", 16384, -16384))
    assert samples(read(Wav(), file.getvalue())).tolist() == [0.5, -0.5]


parts = st.sampled_from(
    [b"RIFF", b"\0\0\0\0", b"WAVE", b"fmt ", b"data", b"\x10\0\0\0", wav(NOISE), wav(NOISE)[:44], b"\xff\xff\xff\xff"]
)


@given(st.lists(st.one_of(parts, st.binary(max_size=9)), max_size=9).map(b"".join), st.integers(1, 9))
def test_nothing_makes_it_raise_and_no_cutting_makes_a_difference(data, step):
    assert read(Wav(), data, step) == read(Wav(), data, sys.maxsize)
