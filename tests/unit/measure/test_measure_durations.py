import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_voiceloop.measure.durations import parse_ms


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2s", 2000),
        ("500ms", 500),
        ("1.5 s", 1500),
        (" 20 ms ", 20),
        ("0.5s", 500),
        (".5s", 500),
        ("2.s", 2000),
        ("0ms", 0),
    ],
)
def test_durations_as_people_write_them(text, ms):
    assert parse_ms(text, "here") == ms


@pytest.mark.parametrize(("value", "shown"), [(0.5, "0.5"), (2, "2"), ("2", "2"), (" 500 ", "500")])
def test_a_number_without_unit_is_refused_and_both_readings_are_offered(value, shown):
    says = f'latency(total=…): {value!r} has no unit; write "{shown}s" or "{shown}ms"'
    with pytest.raises(ValueError, match=re.escape(says)):
        parse_ms(value, "latency(total=…)")


@pytest.mark.parametrize(
    "value", ["", "s", "fast", "2 sec", "2m", "-2s", "1,5s", "2s3", "1e3ms", "nans", None, True, [2], b"2s", -3]
)
def test_anything_else_is_refused_with_an_example(value):
    with pytest.raises(ValueError, match=r'latency\(total=…\): .* is no duration; write .* "2s" or "500ms"'):
        parse_ms(value, "latency(total=…)")


@settings(deadline=None)
@given(st.integers(0, 10**7))
def test_seconds_and_milliseconds_agree(ms):
    assert parse_ms(f"{ms}ms", "x") == ms
    assert parse_ms(f"{ms / 1000:.3f}s", "x") == pytest.approx(ms)
