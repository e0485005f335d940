"""The speaker without a model."""

import argparse
import logging

import numpy as np
import pytest
import soundfile

from voiceloop_services.kokoro.scripted import ScriptedSpeaker, add_script_options, tone
from voiceloop_services.runtime import MissingError


def speaker(*arguments):
    parser = argparse.ArgumentParser()
    add_script_options(parser)
    return ScriptedSpeaker.from_options(parser.parse_args([str(each) for each in arguments]), logging.getLogger())


def spoken(made, text):
    return np.concatenate([chunk.samples for chunk in made.speak(text)])


def test_tone_is_as_long_as_the_text():
    assert len(spoken(speaker(), "ten chars.")) == 10 * 1680


def test_a_text_longer_than_any_reply_comes_in_chunks():
    spoken_text = speaker().speak("x" * 2000)
    chunks = [next(spoken_text), next(spoken_text)]
    assert [chunk.last for chunk in chunks] == [False, True]
    assert [len(chunk.samples) for chunk in chunks] == [100 * 24_000, 40 * 24_000]


def test_tone_fades_in_and_out():
    made = tone(0.5)
    assert np.abs(made[:24]).max() < 0.05
    assert np.abs(made[-24:]).max() < 0.05
    assert np.abs(made).max() == pytest.approx(0.3, abs=0.01)


def test_stereo_clip_of_another_rate_becomes_mono_at_24_khz(tmp_path):
    soundfile.write(tmp_path / "clip.flac", np.zeros((8000, 2)), 16_000)
    made = spoken(speaker("--script-clip", tmp_path / "clip.flac"), "anything")
    assert made.shape == (12_000,)
    assert made.dtype == np.float32


def test_file_that_is_no_sound_is_told(tmp_path):
    (tmp_path / "clip.wav").write_text("no sound")
    with pytest.raises(MissingError, match="cannot be read"):
        speaker("--script-clip", tmp_path / "clip.wav")


@pytest.mark.parametrize("value", ["-1", "inf", "nan", "soon"])
def test_bad_delay_is_refused(value, capsys):
    with pytest.raises(SystemExit):
        speaker(f"--script-delay-ms={value}")
    assert "is no number from 0 up" in capsys.readouterr().err


def test_delay_counts_per_text_and_per_second_of_audio(monkeypatch):
    waited_s = []
    monkeypatch.setattr("time.sleep", waited_s.append)
    spoken(speaker("--script-delay-ms", 100, "--script-rtf", 0.5), "ten chars.")
    assert waited_s == [pytest.approx(0.1 + 0.35)]
