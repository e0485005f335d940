"""What Kokoro's engines do around the model: text, phonemes' pieces, silence. None of it loads a model."""

from __future__ import annotations

import numpy as np
import pytest

from voiceloop_services.kokoro import sound
from voiceloop_services.kokoro.phonemes import pieces, split
from voiceloop_services.kokoro.speech_text import speakable


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("That is $12.50.", "That is 12 dollars and 50 cents."),
        ("It cost $1.", "It cost 1 dollar."),
        ("About $3.5 million", "About 3.5 million dollars"),
        ("Only £0.99!", "Only 99 pence!"),
        ("Meet me at 3:30 p.m. today", "Meet me at 3 30 PM today"),
        ("At 9:05, or 10:00", "At 9 oh 5, or 10 o'clock"),
        ("Call Dr. Smith", "Call Doctor Smith"),
        ("Bread, milk etc. and eggs", "Bread, milk et cetera and eggs"),
        ("In 1999 and 2024", "In 19 99 and 20 24"),
        ("In 2005", "In 2005"),
        ("1,999 steps", "1,999 steps"),
        ("It is 25°C & 40% humid", "It is 25 degrees Celsius and 40 percent humid"),
        ("Pages 3-5", "Pages 3 to 5"),
        ("**Bold** 😀 words", "Bold words"),
    ],
)
def test_figures_and_signs_become_words(written, said):
    assert speakable(written) == said


def test_nothing_is_cut_off_a_text_that_is_too_long():
    phonemes = " ".join(f"word{number}," for number in range(300))

    found = split(phonemes, 510)

    assert " ".join(found) == phonemes
    assert max(map(len, found)) <= 510


def test_a_text_is_cut_after_a_sentence_if_it_can_be():
    first, second = split(f"{'a' * 200}. {'b' * 200}, {'c' * 200}", 510)

    assert first.endswith(".")
    assert second.startswith("b")


def test_a_word_without_end_is_cut_too():
    assert list(map(len, split("a" * 1100, 510))) == [510, 510, 80]


def test_silence_is_cut_to_its_margins():
    tone = np.sin(np.arange(sound.SAMPLE_RATE_HZ) / 10).astype(np.float32)
    silence = np.zeros(sound.SAMPLE_RATE_HZ, dtype=np.float32)

    trimmed = sound.trim(np.concatenate([silence, tone, silence]))

    margins = (sound.LEAD_MARGIN_MS + sound.TAIL_MARGIN_MS) * sound.SAMPLE_RATE_HZ // 1000
    assert abs(len(trimmed) - len(tone) - margins) <= 240


def test_silence_alone_becomes_nothing():
    assert sound.trim(np.zeros(24_000, dtype=np.float32)).shape == (0,)


def test_no_phonemes_are_no_pieces():
    assert pieces("", {"a": 1}) == []


def test_symbols_that_the_model_does_not_know_are_left_out():
    assert pieces("ab c", {"a", " ", "c"}) == ["a c"]
