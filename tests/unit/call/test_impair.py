"""What a fault on the caller makes of what is said and heard."""

from pathlib import Path

import numpy as np
import pytest

from pytest_voiceloop.call.corpus import Clip, Utterance
from pytest_voiceloop.call.faults import fault
from pytest_voiceloop.call.impair import received, spoken, telephone
from pytest_voiceloop.measure.playout import Arrival

RATE_HZ = 16_000


def tone(hz: float, seconds: float = 1.0, peak: float = 0.3) -> np.ndarray:
    return (peak * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)).astype(np.float32)


@pytest.fixture
def clip() -> Clip:
    quiet = np.zeros(RATE_HZ // 2, np.float32)
    return Clip(Utterance("u", Path("u.wav"), "text"), np.concatenate([quiet, tone(440), quiet]), 8_000, 24_000)


@pytest.mark.parametrize("snr_db", [0, 10, 30])
def test_noise_lies_so_far_below_the_speech(clip: Clip, snr_db: int) -> None:
    noisy = spoken(clip, [fault("noise", snr_db=snr_db)]).samples - clip.samples
    speech = clip.samples[clip.speech_start : clip.speech_end]
    assert 10 * np.log10(np.mean(speech**2) / np.mean(noisy**2)) == pytest.approx(snr_db, abs=0.3)


def test_noise_is_that_of_its_seed(clip: Clip) -> None:
    first, again, other = (spoken(clip, [fault("noise", snr_db=5, seed=seed)]).samples for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_telephone_line_passes_440_hz_and_not_6000() -> None:
    low, high = telephone(tone(440)), telephone(tone(6000))
    assert len(low) == RATE_HZ
    assert np.std(low) == pytest.approx(np.std(tone(440)), rel=0.02)
    assert np.std(high) < 0.01 * np.std(tone(6000))


def test_who_falls_silent_has_stopped_speaking_there(clip: Clip) -> None:
    cut = spoken(clip, [fault("silence")])
    assert (cut.speech_start, cut.speech_end) == (8_000, 16_000)
    assert len(cut.samples) == len(clip.samples)
    assert not cut.samples[16_000:].any()
    assert np.array_equal(cut.samples[:16_000], clip.samples[:16_000])


def test_who_is_silent_from_the_start_has_not_spoken(clip: Clip) -> None:
    cut = spoken(clip, [fault("silence", at="start")])
    assert cut.speech_end == cut.speech_start
    assert not cut.samples.any()


def test_silence_after_the_speech_changes_nothing(clip: Clip) -> None:
    cut = spoken(clip, [fault("silence", at="t0", after="100ms")])
    assert cut.speech_end == clip.speech_end
    assert np.array_equal(cut.samples, clip.samples)


def test_the_noise_of_a_telephone_comes_through_the_telephone(clip: Clip) -> None:
    faults = [fault("mulaw"), fault("noise", snr_db=0)]
    assert np.array_equal(spoken(clip, faults).samples, spoken(clip, faults[::-1]).samples)
    spectrum = np.abs(np.fft.rfft(spoken(clip, faults).samples))
    assert spectrum[-len(spectrum) // 4 :].max() < 0.05 * spectrum.max()


def packets(count: int) -> list[Arrival]:
    return [Arrival(n * 20_000_000, n, n * 160, n == 0, b"\xff" * 160) for n in range(count)]


def test_so_many_packets_are_lost_the_same_ones_for_a_seed() -> None:
    kept = [[p.sequence for p in received(packets(2000), [fault("rtp_loss", percent=20, seed=s)])] for s in (1, 1, 2)]
    assert len(kept[0]) == pytest.approx(1600, abs=80)
    assert kept[0] == kept[1] != kept[2]


def test_what_is_lost_does_not_depend_on_what_comes_later() -> None:
    one = [fault("rtp_loss", percent=50), fault("rtp_jitter", duration="5ms")]
    whole, part = received(packets(100), one), received(packets(40), one)
    assert whole[: len(part)] == part


@pytest.mark.parametrize(("percent", "count"), [(0, 50), (100, 0)])
def test_none_and_all_are_shares_too(percent: int, count: int) -> None:
    assert len(received(packets(50), [fault("rtp_loss", percent=percent)])) == count


def test_jitter_delays_each_packet_and_lets_them_overtake() -> None:
    late = received(packets(200), [fault("rtp_jitter", duration="100ms", seed=3)])
    assert [p.arrival_ns for p in late] == sorted(p.arrival_ns for p in late)
    delays = [p.arrival_ns - p.sequence * 20_000_000 for p in late]
    assert min(delays) >= 0
    assert 80e6 < max(delays) <= 100e6
    assert [p.sequence for p in late] != sorted(p.sequence for p in late)
