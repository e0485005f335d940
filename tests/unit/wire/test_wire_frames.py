import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_voiceloop.wire import frames
from pytest_voiceloop.wire.frames import Decoder, Frame, Layout, WireError

HELLO = frames.encode_hello("151")
TONE = np.array([0.0, 0.5, -1.0], np.float32)


def greeted(layout: Layout) -> Decoder:
    decoder = Decoder(layout)
    decoder.feed(HELLO)
    return decoder


def test_hello_of_call_151_has_the_documented_bytes():
    assert frames.encode_hello("151") == bytes.fromhex("00 00 00 03 31 35 31")


@pytest.mark.parametrize("call_id", ["", "abc", "1 5", "-1", "\u0661\u0665", "1" * 1001])
def test_hello_of_no_decimal_call_id_is_not_sent(call_id):
    with pytest.raises(ValueError, match="no decimal call id"):
        frames.encode_hello(call_id)


@pytest.mark.parametrize(
    ("kind", "layout", "raw"),
    [
        ("bye", Layout.AUDIO_IN, "ffffffff"),
        ("bye", Layout.TEXT, "ffffffff"),
        ("end", Layout.TEXT, "fffffffe"),
        ("cancel", Layout.TEXT, "fffffffd"),
        ("bye", Layout.AUDIO_OUT, "00" * 12),
        ("end", Layout.AUDIO_OUT, "fffffffe" + "00" * 8),
        ("cancel", Layout.AUDIO_OUT, "fffffffd" + "00" * 8),
    ],
)
def test_control_frames_have_the_documented_bytes_and_come_back(kind, layout, raw):
    encoded = frames.encode_control(kind, layout)
    assert encoded == bytes.fromhex(raw)
    assert greeted(layout).feed(encoded) == [Frame(kind)]


@pytest.mark.parametrize("kind", ["end", "cancel"])
def test_audio_in_has_no_end_and_no_cancel(kind):
    with pytest.raises(ValueError, match=kind.upper()):
        frames.encode_control(kind, Layout.AUDIO_IN)
    with pytest.raises(WireError):
        greeted(Layout.AUDIO_IN).feed(frames.encode_control(kind, Layout.TEXT))


def test_audio_out_has_the_documented_bytes():
    raw = frames.encode_audio_out(TONE[:1], 24000, 7)
    assert raw == struct.pack(">III", 4, 24000, 7) + struct.pack("<f", 0.0)


def test_samples_come_back_exactly():
    (frame,) = greeted(Layout.AUDIO_OUT).feed(frames.encode_audio_out(TONE, 24000, 7))
    assert frame.samples.tolist() == TONE.tolist()
    assert (frame.sample_rate_hz, frame.chunk_id) == (24000, 7)


def test_audio_in_comes_back_at_16_khz():
    (frame,) = greeted(Layout.AUDIO_IN).feed(frames.encode_audio_in(TONE))
    assert (frame.kind, frame.sample_rate_hz, frame.samples.tolist()) == ("audio", 16000, TONE.tolist())


def test_samples_of_another_type_and_layout_are_sent_as_float32():
    every_other = np.arange(6, dtype=np.float64)[::2]
    (frame,) = greeted(Layout.AUDIO_IN).feed(frames.encode_audio_in(every_other))
    assert frame.samples.tolist() == [0.0, 2.0, 4.0]


audio = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=50).map(lambda v: np.array(v, np.float32))
messages = {
    Layout.TEXT: st.one_of(
        st.text(min_size=1, max_size=50).map(frames.encode_text),
        st.sampled_from(["end", "cancel", "bye"]).map(lambda k: frames.encode_control(k, Layout.TEXT)),
    ),
    Layout.AUDIO_IN: audio.map(frames.encode_audio_in),
    Layout.AUDIO_OUT: st.one_of(
        st.builds(frames.encode_audio_out, audio, st.integers(8000, 192000), st.integers(0, 2**32 - 1)),
        st.sampled_from(["end", "cancel", "bye"]).map(lambda k: frames.encode_control(k, Layout.AUDIO_OUT)),
    ),
}


@pytest.mark.parametrize("layout", Layout)
@settings(deadline=None)
@given(data=st.data())
def test_any_cutting_into_reads_gives_the_same_frames(layout, data):
    stream = HELLO + b"".join(data.draw(st.lists(messages[layout], max_size=6)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    whole, cut = Decoder(layout), Decoder(layout)
    expected = whole.feed(stream)
    got = [f for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) for f in cut.feed(stream[a:b])]
    assert got == expected
    cut.finish()


def test_text_split_inside_a_character_comes_back_whole():
    decoder, raw = greeted(Layout.TEXT), frames.encode_text("café")
    assert decoder.feed(raw[:-1]) == []
    assert decoder.feed(raw[-1:])[0].text == "café"


@pytest.mark.parametrize("n", [0, 10 * 1024 * 1024 + 1])
def test_text_over_its_limits_is_not_sent(n):
    with pytest.raises(ValueError, match="a text frame holds"):
        frames.encode_text("x" * n)


@pytest.mark.parametrize("n", [0, 500_001])
def test_audio_in_over_its_limits_is_not_sent(n):
    with pytest.raises(ValueError, match="an audio-in frame holds"):
        frames.encode_audio_in(np.zeros(n, np.float32))


@pytest.mark.parametrize(("n", "rate_hz"), [(0, 24000), (2_621_441, 24000), (1, 7999), (1, 0)])
def test_audio_out_over_its_limits_is_not_sent(n, rate_hz):
    with pytest.raises(ValueError, match="an audio-out frame holds"):
        frames.encode_audio_out(np.zeros(n, np.float32), rate_hz, 1)


def test_the_largest_frames_are_accepted():
    assert len(greeted(Layout.AUDIO_IN).feed(frames.encode_audio_in(np.zeros(500_000, np.float32)))) == 1
    assert len(greeted(Layout.AUDIO_OUT).feed(frames.encode_audio_out(np.zeros(2_621_440, np.float32), 24000, 1))) == 1
    assert len(greeted(Layout.TEXT).feed(frames.encode_text("x" * frames.MAX_TEXT_BYTES))) == 1


def word(value: int) -> bytes:
    return struct.pack(">I", value)


@pytest.mark.parametrize(
    ("layout", "garbage", "says"),
    [
        (Layout.TEXT, word(0), "claims 0 bytes"),
        (Layout.TEXT, word(frames.MAX_TEXT_BYTES + 1), "claims 10485761 bytes"),
        (Layout.TEXT, word(2) + b"\xff\xfe", "not UTF-8"),
        (Layout.AUDIO_IN, word(0), "claims 0 bytes"),
        (Layout.AUDIO_IN, word(6), "multiple of 4"),
        (Layout.AUDIO_IN, word(2_000_004), "claims 2000004 bytes"),
        (Layout.AUDIO_OUT, struct.pack(">III", 0, 24000, 1), "claims 0 bytes"),
        (Layout.AUDIO_OUT, struct.pack(">III", 6, 24000, 1), "multiple of 4"),
        (Layout.AUDIO_OUT, struct.pack(">III", 4, 100, 1), "sample rate of 100 Hz"),
        (Layout.AUDIO_OUT, struct.pack(">III", 0xFFFFFFFF, 24000, 1), "claims 4294967295 bytes"),
    ],
)
def test_a_bad_frame_is_refused_with_its_offset(layout, garbage, says):
    decoder = greeted(layout)
    good = {
        Layout.TEXT: frames.encode_text("hi"),
        Layout.AUDIO_IN: frames.encode_audio_in(TONE),
        Layout.AUDIO_OUT: frames.encode_audio_out(TONE, 24000, 1),
    }[layout]
    decoder.feed(good)
    with pytest.raises(WireError, match=says) as caught:
        decoder.feed(garbage)
    assert caught.value.offset == len(HELLO) + len(good)
    assert f"at byte {caught.value.offset} of the connection" in str(caught.value)


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (word(0), "HELLO of 1 to 1000 bytes"),
        (word(1001), "HELLO of 1 to 1000 bytes"),
        (word(0xFFFFFFFF), "HELLO of 1 to 1000 bytes"),
        (word(3) + b"abc", "no decimal call id"),
        (b"GET / HTTP/1.1\r\n", "HELLO of 1 to 1000 bytes"),
    ],
)
@pytest.mark.parametrize("layout", Layout)
def test_a_connection_that_does_not_begin_with_hello_is_refused(layout, start, says):
    with pytest.raises(WireError, match=says) as caught:
        Decoder(layout).feed(start)
    assert caught.value.offset == 0


def test_frames_before_garbage_in_the_same_read_are_not_lost():
    with pytest.raises(WireError) as caught:
        Decoder(Layout.TEXT).feed(HELLO + frames.encode_text("hi") + word(0))
    assert [frame.kind for frame in caught.value.frames] == ["hello", "text"]


@pytest.mark.parametrize("cut", [1, 4, 5])
def test_a_connection_that_ends_inside_a_frame_is_an_error(cut):
    decoder = greeted(Layout.TEXT)
    decoder.feed(frames.encode_text("hi")[:cut])
    with pytest.raises(WireError, match=f"ended {cut} bytes into a frame") as caught:
        decoder.finish()
    assert caught.value.offset == len(HELLO)


def test_a_connection_that_ends_between_frames_is_none():
    greeted(Layout.TEXT).finish()


def test_a_header_that_claims_ten_mebibytes_allocates_nothing():
    decoder = greeted(Layout.AUDIO_OUT)
    header = struct.pack(">III", frames.MAX_AUDIO_OUT_BYTES, 24000, 1)
    tracemalloc.start()
    try:
        assert decoder.feed(header + b"\0" * 100) == []
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_frame_that_comes_in_many_reads_is_put_together():
    raw = frames.encode_audio_out(np.ones(200_000, np.float32), 24000, 1)
    decoder, got = greeted(Layout.AUDIO_OUT), []
    for first in range(0, len(raw), 1000):
        got += decoder.feed(raw[first : first + 1000])
    assert [len(frame.samples) for frame in got] == [200_000]
