"""Damage planted in the corpus' clean voices: each detector finds its own, and accuses nobody who is innocent."""

import numpy as np
import pytest
import soxr

from pytest_voiceloop.call.corpus import RATE_HZ, default_corpus_folder, load_clip, load_corpus
from pytest_voiceloop.measure.sound import Sound, sound
from pytest_voiceloop.wire import rtp

CLIPS = [load_clip(utterance) for utterance in load_corpus(default_corpus_folder())]
every_clip = pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.utterance.id)
some_clips = pytest.mark.parametrize("clip", CLIPS[::6], ids=lambda clip: clip.utterance.id)


def heard(samples, rate_hz=RATE_HZ):
    return rtp.decode_ulaw(rtp.encode_ulaw(soxr.resample(samples, rate_hz, rtp.RATE_HZ)))


def both(clip, damage=lambda samples: samples):
    """The sound of a clip that was damaged when it was made: as it was made, and as it is heard."""
    samples = np.asarray(damage(clip.samples), np.float32)
    return sound(samples, RATE_HZ, clip.utterance.text), sound(heard(samples), rtp.RATE_HZ, clip.utterance.text)


@every_clip
def test_clean_speech_is_not_accused(clip):
    for one in both(clip):
        assert (one.clipped_ms, one.gap_ms, one.cut_end) == (0, 0, 0)
        assert 10 < one.chars_per_s < 26
        assert -30 < one.level_db < -18


@every_clip
def test_clean_speech_has_the_bandwidth_of_its_rate(clip):
    made, line = both(clip)
    assert made.bandwidth_hz >= 7000
    assert line.bandwidth_hz >= 3600


@some_clips
def test_a_wave_that_was_clipped_is_found_at_any_volume(clip):
    peak = np.abs(clip.samples).max() / 4
    for one in both(clip, lambda samples: np.clip(samples, -peak, peak)):
        assert one.clipped_ms > 20


@pytest.mark.parametrize("limit_hz", [1500, 2000])
@some_clips
def test_a_low_pass_is_found_and_placed(clip, limit_hz):
    for one in both(
        clip, lambda samples: soxr.resample(soxr.resample(samples, RATE_HZ, 2 * limit_hz), 2 * limit_hz, RATE_HZ)
    ):
        assert one.bandwidth_hz == pytest.approx(limit_hz, abs=500)


def loud_place(samples):
    """Where 40 ms of the clip are loudest."""
    return int(np.argmax(np.convolve(np.abs(samples), np.ones(RATE_HZ // 25), "same")))


@pytest.mark.parametrize("ms", [20, 40])
@some_clips
def test_a_hole_in_a_sound_is_found_and_measured(clip, ms):
    def damage(samples):
        damaged, half = samples.copy(), ms * RATE_HZ // 2000
        damaged[loud_place(samples) - half : loud_place(samples) + half] = 0
        return damaged

    for one in both(clip, damage):
        assert one.gap_ms == pytest.approx(ms, abs=6)


@some_clips
def test_a_value_that_is_held_is_a_hole(clip):
    def damage(samples):
        damaged, at = samples.copy(), loud_place(samples)
        damaged[at : at + RATE_HZ // 25] = damaged[at]
        return damaged

    made, _ = both(clip, damage)
    assert made.gap_ms == pytest.approx(40, abs=6)


@some_clips
def test_a_packet_that_is_played_twice_is_a_hole(clip):
    line = heard(clip.samples)
    at = loud_place(clip.samples) // 2 // 160 * 160
    line[at : at + 160] = line[at - 160 : at]
    assert sound(line, rtp.RATE_HZ, "").gap_ms == pytest.approx(20, abs=2)


@some_clips
def test_a_pause_between_words_is_no_hole(clip):
    """Two sentences with silence between them, which dies away and begins as speech does."""
    quiet = np.zeros(RATE_HZ // 10, np.float32)
    for one in both(clip, lambda samples: np.concatenate([samples, quiet, samples])):
        assert one.gap_ms == 0


@some_clips
def test_speech_that_ends_in_the_middle_of_a_sound_is_cut(clip):
    at = loud_place(clip.samples)
    for one in both(clip, lambda samples: samples[:at]):
        assert one.cut_end == 1
    for one in both(clip, lambda samples: np.concatenate([samples[:at], np.zeros(RATE_HZ // 2)])):
        assert one.cut_end == 1


@pytest.mark.parametrize("speed", [0.85, 1.2])
@some_clips
def test_speed_shows_in_the_characters_per_second(clip, speed):
    before, after = both(clip), both(clip, lambda samples: soxr.resample(samples, RATE_HZ * speed, RATE_HZ))
    for one, other in zip(before, after, strict=True):
        assert other.chars_per_s / one.chars_per_s == pytest.approx(speed, rel=0.05)


@some_clips
def test_volume_changes_the_level_and_nothing_else(clip):
    for one, quieter in zip(both(clip), both(clip, lambda samples: samples / 2), strict=True):
        assert quieter.level_db == pytest.approx(one.level_db - 6, abs=0.5)
        assert (quieter.clipped_ms, quieter.gap_ms, quieter.cut_end) == (0, 0, 0)
        assert quieter.chars_per_s == pytest.approx(one.chars_per_s, rel=0.05)


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(8000), np.full(8000, np.nan)], ids=["none", "silent", "nan"])
def test_where_nothing_is_audible_there_is_nothing_to_judge(samples):
    assert sound(np.asarray(samples, np.float32), 8000, "Hello.") == Sound()


def test_without_a_text_there_is_no_speed():
    assert sound(CLIPS[0].samples, RATE_HZ, "...").chars_per_s is None


def test_the_document_gets_numbers_or_null():
    assert set(Sound().as_json().values()) == {None}
    made = sound(CLIPS[0].samples, RATE_HZ, "Hello.").as_json()
    assert all(type(value) is float for name, value in made.items() if name != "dnsmos")
