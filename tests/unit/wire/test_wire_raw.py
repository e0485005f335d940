import pytest
from hypothesis import given
from hypothesis import strategies as st
from passing import bytewise, fed, joined

from pytest_voiceloop.measure.timeline import QUIET_NS, Crossing, parts
from pytest_voiceloop.wire.protocols import Passed
from pytest_voiceloop.wire.raw import BACK, FORWARD


@pytest.mark.parametrize(("raw", "stamps"), [(FORWARD, "forward"), (BACK, "back")])
def test_every_read_is_bytes_in_its_direction(raw, stamps):
    steps = [("forward", b"\x00\x01"), ("back", b"\xff"), ("forward", b"{"), ("forward", b""), ("back", b"")]
    assert fed(raw, steps) == [Passed(direction, "bytes", data) for direction, data in steps if data]
    assert raw.stamps == stamps


def test_bytes_after_a_pause_are_another_part():
    at_ns = [0, 1_000_000, 2_000_000 + QUIET_NS]
    read = [(at, passed) for at in at_ns for passed in FORWARD.open().feed("forward", b"x")]
    found = parts([Crossing(at, "llm_tts", "151", passed.kind, passed.payload) for at, passed in read], "llm_tts")
    assert [(len(part.frames), part.ended_ns) for part in found] == [(2, 1_000_000), (1, at_ns[2])]


@given(st.lists(st.tuples(st.sampled_from(["forward", "back"]), st.binary(max_size=20)), max_size=9))
def test_no_cutting_makes_a_difference(steps):
    assert joined(fed(BACK, bytewise(steps))) == joined(fed(BACK, steps))
