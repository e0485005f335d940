"""The first audible sample of real clips that were disturbed on purpose, and what counts as its truth."""

import numpy as np
import pytest

from pytest_voiceloop.call import onset_trial
from pytest_voiceloop.call.corpus import default_corpus_folder, load_corpus

# Condition: the 95th percentile and the most that may be off, in ms, and the share that has to be within 10 ms. What is
# not begins with a weak consonant in a noise.
MOST_OFF_MS = {
    "clean": (6, 10, 1.0),
    "0 to 600 ms of silence before": (6, 10, 1.0),
    "20 dB above noise": (15, 20, 0.93),
    "20 dB above noise, µ-law": (15, 20, 0.93),
    "behind a click": (6, 10, 1.0),
    "behind comfort noise": (10, 15, 0.98),
}


@pytest.fixture(scope="module")
def clips():
    return onset_trial.speech_of(load_corpus(default_corpus_folder()))


@pytest.mark.parametrize("condition", onset_trial.CONDITIONS)
def test_the_first_audible_sample_is_found(clips, condition):
    off = np.abs(onset_trial.errors_ms(clips, condition))
    p95, most, share = MOST_OFF_MS[condition]
    assert np.median(off) <= 5
    assert np.percentile(off, 95) <= p95
    assert off.max() <= most
    assert np.mean(off <= 10) >= share


@pytest.mark.parametrize("condition", ["20 dB above noise", "20 dB above noise, µ-law"])
def test_what_is_missed_in_noise_is_within_3_db_of_the_threshold_of_hearing(clips, condition, monkeypatch):
    found = {}
    for ear_db in (-3, 3):
        with monkeypatch.context() as ears:
            ears.setattr(onset_trial, "LONG_DB", onset_trial.LONG_DB + ear_db)
            ears.setattr(onset_trial, "BELOW_LOUD_DB", onset_trial.BELOW_LOUD_DB - ear_db)
            found[ear_db] = np.array(onset_trial.errors_ms(clips, condition))
    before_the_better_ear, after_the_worse = -found[-3], found[3]
    off = np.maximum(np.maximum(before_the_better_ear, after_the_worse), 0)
    assert off.max() <= 10


def tone(ms, amplitude=0.1):
    return (amplitude * np.sin(2 * np.pi * 1000 * np.arange(ms * 8) / 8000)).astype(np.float32)


def noise(rms, end=0):
    return onset_trial.Noise(rms, end or 10**6)


def test_the_truth_is_where_speech_can_be_heard_above_the_noise():
    swell = np.concatenate([np.zeros(800, np.float32), tone(200, 0.004), tone(300)])
    assert onset_trial.true_onset(swell, onset_trial.SILENCE) == pytest.approx(800, abs=40)
    assert onset_trial.true_onset(swell, noise(0.03)) == pytest.approx(2400, abs=40)


def in_band(above_noise_db, rms=0.01):
    """Amplitude of a tone at 1 kHz whose power in its critical band is so much above white noise of that RMS."""
    share_of_band = 160 / 4000
    return rms * np.sqrt(2 * share_of_band) * 10 ** (above_noise_db / 20)


@pytest.mark.parametrize(("ms", "above_db", "heard"), [(30, 3, False), (30, 8, True), (250, 0, True), (250, -7, False)])
def test_a_longer_sound_is_heard_deeper_in_the_noise(ms, above_db, heard):
    # A pause, so that it is not the beginning of the loud tone.
    clip = np.concatenate([tone(ms, in_band(above_db)), np.zeros(800, np.float32), tone(600)])
    onset = onset_trial.true_onset(clip, noise(0.01))
    assert onset == pytest.approx(0 if heard else 8 * (ms + 100), abs=60)


@pytest.mark.parametrize(("after_ms", "heard"), [(2, False), (150, True)])
def test_noise_that_has_stopped_masks_on_for_a_while(after_ms, heard):
    weak = np.concatenate([np.zeros(1600, np.float32), tone(40, in_band(-3)), np.zeros(800, np.float32), tone(600)])
    onset = onset_trial.true_onset(weak, noise(0.01, 1600 - 8 * after_ms))
    assert onset == pytest.approx(1600 if heard else 1600 + 320 + 800, abs=60)


def test_what_is_much_weaker_than_the_rest_is_no_part_of_the_truth():
    clip = np.concatenate([tone(200, 0.0005), tone(300)])
    assert onset_trial.true_onset(clip, onset_trial.SILENCE) == pytest.approx(1600, abs=40)


def test_speech_that_drowns_has_no_onset():
    with pytest.raises(ValueError, match="above the noise"):
        onset_trial.true_onset(tone(300), noise(10.0))


def test_the_same_disturbance_comes_every_time(clips):
    first, again = (onset_trial.disturbed(clips[0], "20 dB above noise")[0] for _ in range(2))
    assert np.array_equal(first, again)
