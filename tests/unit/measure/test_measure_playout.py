import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_voiceloop.measure.playout import Arrival, moment_of_sample, playout, with_pauses
from pytest_voiceloop.wire import rtp

MS = 1_000_000
PACKET_NS = 20 * MS


def arrival(number, at_ms, level=0.5, *, first=0, marker=False, samples=160):
    payload = rtp.encode_ulaw(np.full(samples, level, np.float32))
    return Arrival(round(at_ms * MS), (first + number) % 2**16, (number * 160) % 2**32, marker, payload)


def play_ms(played):
    return [ns / MS for ns in played.play_ns.tolist()]


def test_nothing_plays_nothing():
    played = playout([])
    assert played.samples.shape == (0,)
    assert (played.lost, played.duplicated, played.reordered, played.underruns, played.gap_ms) == (0, 0, 0, 0, 0)
    with pytest.raises(IndexError):
        moment_of_sample(played, 0)


def test_playout_starts_with_the_first_packet():
    assert play_ms(playout([arrival(0, 7)])) == [7]


def test_packets_that_come_at_once_play_one_after_another():
    assert play_ms(playout([arrival(n, 5 + 0.1 * n) for n in range(4)])) == [5, 25, 45, 65]


def test_a_late_packet_plays_when_it_arrives_and_delays_the_rest():
    played = playout([arrival(0, 0), arrival(1, 20), arrival(2, 70), arrival(3, 71)])
    assert play_ms(played) == [0, 20, 70, 90]
    assert (played.underruns, played.gap_ms, played.largest_gap_ms) == (1, 30, 30)


def test_jitter_is_no_underrun():
    played = playout([arrival(0, 0), arrival(1, 20.4), arrival(2, 41)])
    assert played.underruns == 0
    assert played.gap_ms == pytest.approx(1.0)


def test_a_pause_before_a_marker_is_the_senders_own():
    played = playout([arrival(0, 0), arrival(1, 500, marker=True)])
    assert (played.underruns, played.gap_ms) == (0, 0)
    assert play_ms(played) == [0, 500]


def test_what_is_heard_in_time_has_the_pauses_but_no_jitter():
    late = [arrival(0, 0), arrival(1, 20.4), arrival(2, 90.4), arrival(4, 400, marker=True)]
    samples, pauses = with_pauses(playout(late))
    # 40 ms of sound, 50 ms of pause, a packet, a lost one, the pause to 400 ms, and the last packet.
    loud = np.flatnonzero(np.abs(samples) > 0.1) / 8
    assert loud[[0, 319, 320, 479, 480, -1]].tolist() == [0, 39.875, 90, 109.875, 399.5, 419.375]
    assert [(start / 8, end / 8) for start, end in pauses] == [(40, 90), (130, 399.5)]
    nothing, none = with_pauses(playout([]))
    assert (nothing.shape, none) == ((0,), [])


def test_a_lost_packet_is_20_ms_of_silence():
    played = playout([arrival(0, 0), arrival(2, 40)])
    assert played.lost == 1
    assert play_ms(played) == [0, 40]
    assert len(played.samples) == 480
    assert not played.samples[160:320].any()
    assert played.underruns == 0


def test_a_duplicate_plays_once():
    played = playout([arrival(0, 0), arrival(0, 1, level=0.1), arrival(1, 20)])
    assert (played.duplicated, len(played.samples)) == (1, 320)
    assert played.samples[0] == pytest.approx(0.5, abs=0.02)


def test_a_packet_that_was_overtaken_is_waited_for():
    played = playout([arrival(0, 0, 0.1), arrival(2, 20, 0.3), arrival(1, 30, 0.2)])
    assert played.reordered == 1
    assert played.lost == 0
    assert play_ms(played) == [0, 30, 50]
    assert played.samples[[0, 160, 320]] == pytest.approx([0.1, 0.2, 0.3], abs=0.01)


def test_sequence_and_timestamp_wrap_around():
    packets = [
        Arrival(n * PACKET_NS, (65534 + n) % 2**16, (2**32 - 320 + n * 160) % 2**32, n == 0, rtp.silence())
        for n in range(5)
    ]
    played = playout(packets)
    assert (played.lost, played.restarts, played.timestamp_jumps) == (0, 0, 0)
    assert play_ms(played) == [0, 20, 40, 60, 80]


def test_a_loss_and_a_reordering_across_the_wrap_are_seen():
    numbers = [0, 1, 4, 3, 5]
    played = playout([arrival(n, 20 * n, first=65533) for n in numbers])
    assert (played.lost, played.reordered, len(played.samples)) == (1, 1, 960)


def test_a_sender_that_starts_anew_has_lost_nothing():
    played = playout([arrival(0, 0), arrival(1, 20), arrival(0, 40, first=30000), arrival(1, 60, first=30000)])
    assert (played.restarts, played.lost, len(played.samples)) == (1, 0, 640)
    assert play_ms(played) == [0, 20, 40, 60]


def test_a_timestamp_that_does_not_follow_is_counted():
    packets = [Arrival(n * PACKET_NS, n, t, False, rtp.silence()) for n, t in enumerate([0, 160, 480, 640])]
    assert playout(packets).timestamp_jumps == 1


def test_the_moment_of_a_sample_lies_inside_its_packet():
    played = playout([arrival(0, 0), arrival(1, 50)])
    assert moment_of_sample(played, 0) == 0
    assert moment_of_sample(played, 159) == 159 * 125_000
    assert moment_of_sample(played, 160) == 50 * MS
    assert moment_of_sample(played, 319) == 50 * MS + 159 * 125_000


def test_the_moment_of_a_sample_in_a_lost_packet_follows_its_predecessor():
    played = playout([arrival(0, 0), arrival(3, 100)])
    assert moment_of_sample(played, 160) == 20 * MS
    assert moment_of_sample(played, 479) == 479 * 125_000
    assert moment_of_sample(played, 480) == 100 * MS


@pytest.mark.parametrize("index", [-1, 160])
def test_there_is_no_moment_outside(index):
    with pytest.raises(IndexError, match="of 160"):
        moment_of_sample(playout([arrival(0, 0)]), index)


def test_a_short_last_packet_is_as_long_as_it_is():
    played = playout([arrival(0, 0), arrival(1, 1, samples=40), arrival(2, 2)])
    assert play_ms(played) == [0, 20, 25]
    assert played.starts.tolist() == [0, 160, 200]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 400)), min_size=1, max_size=40),
    st.integers(0, 2**16 - 1),
)
def test_no_sample_plays_early_or_over_another(deliveries, first):
    packets = [arrival(n, at, first=first) for n, at in sorted(deliveries, key=lambda d: d[1])]
    played = playout(packets)
    assert (played.play_ns >= played.arrival_ns).all()
    assert all(b >= a + PACKET_NS for a, b in itertools.pairwise(played.play_ns.tolist()))
    assert len(played.samples) == (len(played.starts) + played.lost) * 160
    assert len(played.starts) + played.duplicated == len(packets)
