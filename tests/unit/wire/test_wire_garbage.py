"""Every decoder on bytes that nobody meant: no crash, no guess, and the same verdict however they were cut."""

import importlib.metadata
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_voiceloop.wire import datagrams, frames, rtp
from pytest_voiceloop.wire.frames import Decoder, Layout, WireError
from pytest_voiceloop.wire.protocols import GROUP, protocol

# A machine under load draws slowly, and that says nothing about a decoder.
RELAXED = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])

words = st.one_of(st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(2**32 - 4, 2**32 - 1))
headers = st.builds(lambda *values: struct.pack(">III", *values), words, words, words)
samples = st.binary(min_size=4, max_size=64).map(lambda raw: np.frombuffer(raw[: len(raw) // 4 * 4], "<f4"))
sound_frames = {
    Layout.TEXT: st.text(min_size=1, max_size=20).map(frames.encode_text),
    Layout.AUDIO_IN: samples.map(frames.encode_audio_in),
    Layout.AUDIO_OUT: st.builds(frames.encode_audio_out, samples, st.just(24_000), st.integers(0, 2**32 - 1)),
}


def streams(layout):
    """HELLO or not, then frames and what only looks like one, then perhaps a flipped bit."""
    pieces = st.lists(st.one_of(sound_frames[layout], headers, st.binary(max_size=30)), max_size=6).map(b"".join)
    starts = st.sampled_from([frames.encode_hello("151")] * 3 + [b"", frames.encode_hello("151")[:5]])
    return st.builds(flip, st.builds(bytes.__add__, starts, pieces), st.none() | st.integers(0, 2**16))


def flip(stream, at):
    if at is None or not stream:
        return stream
    at %= 8 * len(stream)
    return stream[: at // 8] + bytes([stream[at // 8] ^ (1 << at % 8)]) + stream[at // 8 + 1 :]


def verdict(layout, reads):
    """All frames, and the complaint that ended them, if there was one."""
    decoder, got = Decoder(layout), []
    try:
        for read in reads:
            got += decoder.feed(read)
        decoder.finish()
    except WireError as error:
        return got + error.frames, str(error)
    return got, None


@pytest.mark.parametrize("layout", Layout)
@RELAXED
@given(data=st.data())
def test_the_verdict_on_garbage_does_not_depend_on_how_it_was_cut(layout, data):
    stream = data.draw(streams(layout))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reads = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert verdict(layout, reads) == verdict(layout, [stream])


@pytest.mark.parametrize("layout", Layout)
@RELAXED
@given(data=st.data())
def test_what_is_decoded_is_what_came(layout, data):
    stream = data.draw(streams(layout))
    got, complaint = verdict(layout, [stream])
    at = 0
    for frame in got:
        again = encoded(frame, layout)
        # What follows END and CANCEL in their 12-byte header means nothing.
        told = 4 if frame.kind in ("end", "cancel") else len(again)
        assert stream[at : at + told] == again[:told]
        at += len(again)
    assert complaint is not None or at == len(stream)


def encoded(frame, layout):
    if frame.kind == "hello":
        return frames.encode_hello(frame.text)
    if frame.kind == "text":
        return frames.encode_text(frame.text)
    if frame.kind != "audio":
        return frames.encode_control(frame.kind, layout)
    header = struct.pack(">III", len(frame.payload), frame.sample_rate_hz, frame.chunk_id)
    return (header if layout is Layout.AUDIO_OUT else header[:4]) + frame.payload


@pytest.mark.parametrize("layout", Layout)
@RELAXED
@given(data=st.data())
def test_a_decoder_holds_no_more_than_came(layout, data):
    stream = data.draw(streams(layout))
    decoder = Decoder(layout)
    held = 0
    try:
        for at in range(len(stream)):
            got = decoder.feed(stream[at : at + 1])
            held = 0 if got else held + 1
            assert len(decoder._buffer) <= held
    except WireError:
        pass


@RELAXED
@given(
    st.binary(max_size=300) | st.builds(bytes.__add__, st.sampled_from([b"BYE:", b"END:", b" REGISTER:"]), st.binary())
)
def test_a_datagram_that_is_understood_says_what_was_sent(data):
    datagram = datagrams.parse(data)
    assert datagram is None or datagram.encode() == data.strip()


@RELAXED
@given(st.builds(bytes.__add__, st.sampled_from([b"", b"\x80\x00", b"\xb3\x80", b"\xa0\x00"]), st.binary(max_size=80)))
def test_an_rtp_packet_that_is_understood_lies_in_what_came(data):
    packet = rtp.decode(data)
    assert packet is None or packet.payload in data[12:]
    assert packet is None or len(rtp.decode_ulaw(packet.payload)) == len(packet.payload)


@RELAXED
@given(st.lists(st.floats(width=32), max_size=40).map(lambda values: np.array(values, np.float32)))
def test_any_samples_are_encoded(values):
    assert len(rtp.encode_ulaw(values)) == len(values)


@pytest.mark.parametrize("name", sorted(importlib.metadata.entry_points(group=GROUP).names))
@RELAXED
@given(st.lists(st.tuples(st.sampled_from(["forward", "back"]), st.binary(max_size=60) | headers), max_size=8))
def test_no_protocol_raises_on_garbage_until_it_says_that_it_is_garbled(name, steps):
    conversation = protocol(name).open()
    for direction, data in steps:
        kinds = [passed.kind for passed in conversation.feed(direction, data)]
        assert "garbled" not in kinds[:-1]
        if kinds[-1:] == ["garbled"]:
            break
