"""Which part of a text is spoken when, by the model's loudness curve: two values a frame, 40 frames a second."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceloop_services.kokoro.chunks import FIRST_S, FRAMES_PER_S, GROWTH, LEFT_OVER_S, audible, plan

SILENT, LOUD = -9.5, 8.0


def curve(*spans):
    """A loudness curve of (seconds, value) spans."""
    return np.concatenate([np.full(round(seconds * 2 * FRAMES_PER_S), value) for seconds, value in spans])


def seconds(chunks):
    return [(end - first) / FRAMES_PER_S for first, end in chunks]


def test_silence_around_the_sound_is_left_out():
    first, end = audible(curve((0.4, SILENT), (1, LOUD), (0.6, SILENT)))
    assert first == 0.4 * FRAMES_PER_S
    assert 1.4 <= end / FRAMES_PER_S <= 1.5


def test_nothing_audible_is_no_chunk():
    assert plan(curve((1, SILENT)), 0) == []


def test_a_short_text_is_one_chunk():
    assert len(plan(curve((0.7, LOUD)), 0)) == 1


def test_the_first_chunk_ends_where_it_is_quietest():
    first, *_ = plan(curve((0.35, LOUD), (0.05, 1.0), (3, LOUD)), 0)
    assert 0.35 <= first[1] / FRAMES_PER_S <= 0.4


def test_what_was_made_before_lets_a_chunk_be_longer():
    whole = curve((3, LOUD))
    assert len(plan(whole, 0)) > 1
    assert len(plan(whole, 2)) == 1


@pytest.mark.parametrize("made_s", [0, 0.5, 3, math.inf])
@given(values=st.lists(st.floats(-12, 12), min_size=2, max_size=2000))
def test_chunks_cover_the_audible_part_and_stay_within_their_length(made_s, values):
    loudness = np.array(values[: len(values) // 2 * 2])
    chunks = plan(loudness, made_s)
    first, end = audible(loudness)
    assert [chunks[0][0], chunks[-1][1]] == [first, end] if chunks else first == end
    assert all(a[1] == b[0] for a, b in pairwise(chunks))
    for length_s in seconds(chunks):
        assert 0 < length_s <= max(FIRST_S, GROWTH * made_s) + LEFT_OVER_S
        made_s += length_s
