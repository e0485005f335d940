import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_voiceloop.wire import datagrams, rtp
from pytest_voiceloop.wire.datagrams import Datagram


def test_register_has_the_documented_bytes():
    assert Datagram("REGISTER", "151").encode() == b"REGISTER:151"


@settings(deadline=None)
@given(st.sampled_from(["REGISTER", "END", "BYE"]), st.integers(0, 10**9))
def test_what_is_sent_is_understood(verb, number):
    datagram = Datagram(verb, str(number))
    assert datagrams.parse(datagram.encode()) == datagram


@pytest.mark.parametrize("data", [b" BYE:7", b"BYE:7\n", b"\tBYE:7\r\n"])
def test_white_space_around_it_is_trimmed(data):
    assert datagrams.parse(data) == Datagram("BYE", "7")


@pytest.mark.parametrize(
    "data",
    [b"", b"BYE", b"BYE:", b"BYE:x", b"BYE:-1", b"BYE: 7", b"bye:7", b"HELLO:7", b"BYE:7:8", b"BYE:\xb2", b"\xff\x00"],
)
def test_anything_else_is_no_datagram(data):
    assert datagrams.parse(data) is None


def test_more_than_255_bytes_are_no_datagram():
    assert datagrams.parse(b"BYE:" + b"7" * 251) is not None
    assert datagrams.parse(b"BYE:" + b"7" * 252) is None


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_make_it_raise(data):
    datagrams.parse(data)


@settings(deadline=None)
@given(st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.booleans())
def test_an_rtp_packet_is_never_taken_for_a_datagram(sequence, timestamp, ssrc, marker):
    assert datagrams.parse(rtp.RtpPacket(sequence, timestamp, ssrc, rtp.silence(), marker).encode()) is None
