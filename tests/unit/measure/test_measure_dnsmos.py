"""The score is the original's for the same window. Without the extra there is none."""

import numpy as np
import pytest

from pytest_voiceloop.call.corpus import RATE_HZ, default_corpus_folder, load_clip, load_corpus
from pytest_voiceloop.measure import dnsmos

CLIPS = [load_clip(utterance) for utterance in load_corpus(default_corpus_folder())]


@pytest.fixture
def ear():
    pytest.importorskip("onnxruntime")
    if dnsmos._session() is None:
        pytest.skip("needs the extra: pip install 'pytest-voiceloop[ear]'")


def test_one_window_has_the_score_of_the_original(ear):
    # speechmos 0.0.1.1, dnsmos.run(…)["ovrl_mos"] on the same samples.
    speech = np.concatenate([clip.samples for clip in CLIPS[:5]])[: round(9.6 * RATE_HZ)]
    assert dnsmos.dnsmos(speech, RATE_HZ) == pytest.approx(3.4019, abs=0.002)


def test_noise_in_the_speech_scores_less(ear):
    clip = CLIPS[0].samples
    noise = np.random.default_rng(0).standard_normal(len(clip)).astype(np.float32) * 0.01
    assert dnsmos.dnsmos(clip + noise, RATE_HZ) < dnsmos.dnsmos(clip, RATE_HZ) - 0.2


def test_nothing_has_no_score():
    assert dnsmos.dnsmos(np.zeros(0, np.float32), RATE_HZ) is None


def test_without_the_package_there_is_no_score(monkeypatch):
    monkeypatch.setattr(dnsmos, "find_spec", lambda _: None)
    dnsmos._session.cache_clear()
    try:
        assert dnsmos.dnsmos(CLIPS[0].samples, RATE_HZ) is None
    finally:
        dnsmos._session.cache_clear()


@pytest.mark.parametrize(("seconds", "windows"), [(0.5, 1), (9.01, 1), (9.9, 1), (12, 2), (19, 2), (30, 4)])
def test_windows_cover_the_clip(seconds, windows):
    samples = np.arange(round(seconds * RATE_HZ), dtype=np.float32)
    found = dnsmos._windows(samples)
    assert [len(window) for window in found] == [dnsmos.WINDOW_SAMPLES] * windows
    assert found[0][0] == 0
    assert windows == 1 or found[-1][-1] == samples[-1]
