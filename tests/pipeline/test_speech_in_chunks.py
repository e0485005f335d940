"""Kokoro in chunks, on the real model: what is heard is what the whole text would be, and it begins sooner."""

from __future__ import annotations

import argparse
import logging

import numpy as np
import pytest

from voiceloop_services.kokoro import engines, sound

TEXT = "A long walk along the river sounds lovely to me, and we could take the train back."
WINDOW = sound.SAMPLE_RATE_HZ // 50

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def speaker() -> engines.Speaker:
    pytest.importorskip("onnx")
    parser = argparse.ArgumentParser()
    engines.add_options(parser)
    options = parser.parse_args([])
    options.engine, options.device = "kokoro-onnx", "cpu"
    return engines.make_speaker(options, logging.getLogger("test"))


def spoken(speaker, made_s=0.0):
    return [chunk.samples for chunk in speaker.speak(TEXT, made_s)]


def loudness_db(audio):
    whole = audio[: len(audio) // WINDOW * WINDOW].reshape(-1, WINDOW)
    return 10 * np.log10(np.mean(np.square(whole, dtype=np.float64), axis=1) + 1e-10)


def test_chunks_together_are_the_whole_text(speaker: engines.Speaker) -> None:
    chunks = spoken(speaker)
    whole = np.concatenate(spoken(speaker, made_s=1000))
    assert len(chunks) > 2
    assert len(np.concatenate(chunks)) == len(whole)
    in_chunks_db, whole_db = loudness_db(np.concatenate(chunks)), loudness_db(whole)
    loud = whole_db > whole_db.max() - 30
    assert np.median(np.abs(in_chunks_db - whole_db)[loud]) < 1.0


def test_speech_begins_with_the_first_chunk_and_at_once(speaker: engines.Speaker) -> None:
    first = next(iter(speaker.speak(TEXT))).samples
    assert 0.2 <= len(first) / sound.SAMPLE_RATE_HZ <= 0.6
    loud = np.flatnonzero(np.abs(first) > 0.02)
    assert loud[0] / sound.SAMPLE_RATE_HZ < 0.06


def test_no_step_is_left_where_chunks_meet(speaker: engines.Speaker) -> None:
    chunks = spoken(speaker)
    joined = np.concatenate(chunks)
    steps = np.abs(np.diff(joined))
    for at in np.cumsum([len(chunk) for chunk in chunks])[:-1]:
        assert steps[at - 1] <= np.quantile(steps, 0.999)
