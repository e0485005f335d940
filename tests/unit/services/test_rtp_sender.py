"""Resampling, packetising and pacing, without sockets or clocks."""

import math

import numpy as np
import pytest

from pytest_voiceloop.wire import rtp
from voiceloop_services.outbound.rtp_sender import Packetiser, RtpStream, Schedule


def tone(hertz, seconds=1.0, rate_hz=24_000):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def packetise(*chunks, rate_hz=24_000):
    packetiser = Packetiser()
    payloads = [payload for chunk in chunks for payload in packetiser.feed(chunk, rate_hz)]
    return [*payloads, *packetiser.finish()]


def level_db(payloads):
    samples = rtp.decode_ulaw(b"".join(payloads))[800:-800]
    return 20 * math.log10(float(np.sqrt(np.mean(np.square(samples)))) + 1e-9)


@pytest.mark.parametrize("hertz", [4200, 5000, 7000, 11_000])
def test_what_8_khz_cannot_carry_does_not_come_back_as_alias(hertz):
    assert level_db(packetise(tone(hertz))) < level_db(packetise(tone(1000))) - 50


@pytest.mark.parametrize("hertz", [300, 1000, 3400])
def test_telephone_band_passes(hertz):
    assert level_db(packetise(tone(hertz))) == pytest.approx(20 * math.log10(0.5 / math.sqrt(2)), abs=0.3)


@pytest.mark.parametrize("samples", [1, 7, 480, 2401])
def test_chunks_sound_as_the_whole_does(samples):
    whole = tone(440) + tone(1234) * 0.5
    chunks = [whole[at : at + samples] for at in range(0, len(whole), samples)]
    assert packetise(*chunks) == packetise(whole)


@pytest.mark.parametrize("seconds", [0.001, 0.02, 0.5, 1.2345])
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 24_000, 48_000])
def test_duration_is_kept_within_a_packet(seconds, rate_hz):
    packets = len(packetise(tone(440, seconds, rate_hz), rate_hz=rate_hz))
    assert 0 <= packets * rtp.PACKET_SAMPLES / rtp.RATE_HZ - seconds < 0.02 + 1 / rtp.RATE_HZ


def test_last_packet_is_filled_with_silence():
    last = packetise(tone(440, 0.03))[-1]
    assert len(last) == 160
    assert last[80:] == rtp.silence()[80:]


def test_reply_starts_afresh_after_finish():
    packetiser = Packetiser()
    first = packetiser.feed(tone(440), 24_000) + packetiser.finish()
    assert not packetiser.pending
    assert packetiser.feed(tone(440), 24_000) + packetiser.finish() == first


def test_clear_forgets_what_is_held_back():
    packetiser = Packetiser()
    packetiser.feed(tone(440, 0.01), 24_000)
    assert packetiser.pending
    packetiser.clear()
    assert packetiser.finish() == []


def test_rate_may_change_within_a_reply():
    packetiser = Packetiser()
    payloads = packetiser.feed(tone(440, 0.5), 24_000) + packetiser.feed(tone(440, 0.5, 16_000), 16_000)
    assert len([*payloads, *packetiser.finish()]) == 50


def test_no_number_does_not_stay_in_the_filter():
    broken = np.full(10, np.nan, dtype=np.float32)
    assert level_db(packetise(broken, tone(440))) == pytest.approx(level_db(packetise(tone(440))), abs=0.3)


def departures(pace, ready_at_s):
    schedule = Schedule(pace)
    made = []
    for ready_s in ready_at_s:
        made.append(schedule.plan(ready_s))
        schedule.commit(ready_s)
    return [round(each.at_s, 6) for each in made], [each.gap_samples for each in made]


def test_realtime_leaves_on_absolute_deadlines():
    assert departures("realtime", [1.0, 1.0, 1.0, 1.05]) == ([1.0, 1.02, 1.04, 1.06], [0, 0, 0, 0])


def test_realtime_underrun_advances_by_the_real_gap():
    assert departures("realtime", [1.0, 1.12, 1.12]) == ([1.0, 1.12, 1.14], [0, 800, 0])


def test_asap_leaves_when_ready():
    assert departures("asap", [1.0, 1.0, 1.01]) == ([1.0, 1.0, 1.01], [0, 0, 0])


def test_asap_tells_the_gap_that_a_player_hears():
    # Two packets play until 1.04.
    assert departures("asap", [1.0, 1.0, 1.14])[1] == [0, 0, 800]


def test_stream_counts_and_wraps_around():
    stream = RtpStream(sequence=0xFFFF, timestamp=0xFFFFFFFF, ssrc=1)
    first, second = stream.packet(rtp.silence()), stream.packet(rtp.silence())
    assert (first.sequence, second.sequence) == (0xFFFF, 0)
    assert (first.timestamp, second.timestamp) == (0xFFFFFFFF, 159)


def test_marker_begins_talkspurts():
    stream = RtpStream()
    markers = [stream.packet(rtp.silence()).marker for _ in range(2)]
    markers.append(stream.packet(rtp.silence(), gap_samples=80).marker)
    stream.new_talkspurt()
    markers += [stream.packet(rtp.silence()).marker for _ in range(2)]
    assert markers == [True, False, True, True, False]


def test_gap_moves_the_timestamp_and_not_the_sequence():
    stream = RtpStream(sequence=5, timestamp=0, ssrc=1)
    stream.packet(rtp.silence())
    packet = stream.packet(rtp.silence(), gap_samples=800)
    assert (packet.sequence, packet.timestamp) == (6, 960)


def test_streams_start_at_random():
    packets = [RtpStream().packet(rtp.silence()) for _ in range(8)]
    assert len({packet.ssrc for packet in packets}) == 8
    assert len({packet.timestamp for packet in packets}) == 8
