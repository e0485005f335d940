import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_voiceloop.wire import datagrams, rtp
from pytest_voiceloop.wire.rtp import RtpPacket

PACKET = RtpPacket(1, 160, 0xDEADBEEF, b"abc")


def test_header_has_the_documented_bytes():
    raw = RtpPacket(0x1234, 0x56789ABC, 0xDEADBEEF, b"\xff", marker=True).encode()
    assert raw == bytes.fromhex("80 80 1234 56789abc deadbeef ff")


@settings(deadline=None)
@given(
    st.builds(
        RtpPacket,
        st.integers(0, 2**16 - 1),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**32 - 1),
        st.binary(max_size=200),
        st.booleans(),
    )
)
def test_a_packet_comes_back(packet):
    assert rtp.decode(packet.encode()) == packet


def test_sequence_and_timestamp_wrap_around():
    packet = rtp.decode(RtpPacket(0x10001, 0x1_0000_00A0, 1, b"").encode())
    assert packet is not None
    assert (packet.sequence, packet.timestamp) == (1, 160)


def with_bits(first: int, rest: bytes, second: int = 0) -> bytes:
    raw = PACKET.encode()
    return bytes([raw[0] | first, raw[1] | second]) + raw[2:12] + rest


@pytest.mark.parametrize(
    "data",
    [
        with_bits(2, b"12345678abc"),
        with_bits(0x10, bytes.fromhex("bede0001") + b"1234abc"),
        with_bits(0x20, b"abc\0\0\3"),
        with_bits(0x31, b"1234" + bytes.fromhex("bede0000") + b"abc\1"),
    ],
    ids=["sources", "extension", "padding", "all"],
)
def test_what_else_a_header_may_hold_is_skipped(data):
    packet = rtp.decode(data)
    assert packet is not None
    assert packet.payload == b"abc"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        PACKET.encode()[:11],
        with_bits(0x40, b"abc"),
        with_bits(0, b"abc", second=8),
        with_bits(15, b"abc"),
        with_bits(0x10, b"ab"),
        with_bits(0x10, bytes.fromhex("bede0009") + b"1234"),
        with_bits(0x20, b"abc\0"),
        with_bits(0x20, b"abc\x09"),
        datagrams.Datagram("END", "123456789").encode(),
    ],
    ids=[
        "nothing",
        "short",
        "version",
        "type",
        "sources",
        "no-extension",
        "cut-extension",
        "no-pad",
        "long-pad",
        "end",
    ],
)
def test_anything_else_is_no_packet(data):
    assert rtp.decode(data) is None


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_make_it_raise(data):
    rtp.decode(data)
    rtp.decode(b"\xbf\x00" + data)


# ITU-T G.711, table 2: decoder output for character signals, in 14 bits; here in 16.
KNOWN = [
    (0x80, 32124),
    (0x8F, 16764),
    (0x90, 15996),
    (0x9F, 8316),
    (0xA0, 7932),
    (0xC0, 1884),
    (0xE0, 372),
    (0xEF, 132),
    (0xF0, 120),
    (0xFE, 8),
    (0xFF, 0),
    (0x00, -32124),
    (0x7E, -8),
]


@pytest.mark.parametrize(("code", "sample"), KNOWN)
def test_ulaw_agrees_with_g711(code, sample):
    assert rtp.decode_ulaw(bytes([code]))[0] == np.float32(sample / 32768)
    assert rtp.encode_ulaw(np.array([sample / 32768], np.float32)) == bytes([code])


def test_every_code_comes_back():
    codes = bytes(code for code in range(256) if code != 0x7F)
    assert rtp.encode_ulaw(rtp.decode_ulaw(codes)) == codes
    # 0x7F is minus zero, and zero is sent as 0xFF.
    assert rtp.encode_ulaw(rtp.decode_ulaw(b"\x7f")) == b"\xff"


def test_ulaw_is_as_exact_as_its_steps():
    samples = np.arange(-32635, 32636, dtype=np.int32)
    error = np.abs(rtp.decode_ulaw(rtp.encode_ulaw((samples / 32768).astype(np.float32))) * 32768 - samples)
    # Half a step of the segment that a sample falls in: 4 in the lowest, 512 in the highest.
    step = 2.0 ** (np.floor(np.log2(np.abs(samples) + 132)) - 4)
    assert (error <= step / 2).all()


@pytest.mark.parametrize(("sample", "code"), [(1.0, 0x80), (5.0, 0x80), (-1.0, 0x00), (-5.0, 0x00)])
def test_what_is_too_loud_is_clipped(sample, code):
    assert rtp.encode_ulaw(np.array([sample], np.float32)) == bytes([code])


def test_what_is_no_number_is_silent():
    samples = np.array([np.nan, np.inf, -np.inf, 3e38], np.float32)
    assert rtp.encode_ulaw(samples) == b"\xff\x80\x00\x80"


def test_silence_is_silent():
    assert len(rtp.silence(3)) == 480
    assert not rtp.decode_ulaw(rtp.silence()).any()


def test_no_samples_are_no_bytes():
    assert rtp.encode_ulaw(np.zeros(0, np.float32)) == b""
    assert rtp.decode_ulaw(b"").shape == (0,)
