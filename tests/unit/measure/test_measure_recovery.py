"""Which replies were heard, how often, and in whose call."""

import numpy as np
import pytest
import soxr

from pytest_voiceloop.measure.recovery import Sound, Spoken, counted, found
from pytest_voiceloop.wire import rtp

VOICE_HZ = 24_000


def voice(seed: int, seconds: float = 1.0) -> np.ndarray:
    """Noise through a band, with syllables: of two seeds, two sentences."""
    rng = np.random.default_rng(seed)
    noise = soxr.resample(rng.standard_normal(round(seconds * 6000)).astype(np.float32), 6000, VOICE_HZ)
    loud = np.interp(np.arange(len(noise)), np.linspace(0, len(noise), 8), rng.uniform(0.05, 0.2, 8))
    return (noise * loud).astype(np.float32)


def tone(seconds: float) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * VOICE_HZ)) / VOICE_HZ)).astype(np.float32)


def line(*sounds: np.ndarray, pause_s: float = 0.0) -> Sound:
    """As a caller hears them: 8 kHz µ-law."""
    pause = np.zeros(round(pause_s * 8000), np.float32)
    narrow = [np.concatenate([soxr.resample(sound, VOICE_HZ, 8000), pause]) for sound in sounds]
    heard = np.concatenate(narrow) if narrow else np.zeros(0, np.float32)
    return Sound(rtp.decode_ulaw(rtp.encode_ulaw(heard)), 8000)


def made(*sounds: np.ndarray) -> tuple[Sound, ...]:
    return tuple(Sound(sound, VOICE_HZ) for sound in sounds)


ONE, TWO = voice(1), voice(2, 1.3)


@pytest.mark.parametrize(
    ("heard", "wanted", "times"),
    [
        (line(ONE), made(ONE), 1),
        (line(), made(ONE), 0),
        (line(ONE), (), 0),
        (line(ONE), made(TWO), 0),
        (line(ONE, ONE, pause_s=0.3), made(ONE), 2),
        (line(ONE, ONE), made(ONE), 2),
        (line(ONE, TWO), made(ONE, TWO), 2),
        (line(ONE), made(ONE, ONE), 1),
        (line(TWO, ONE, TWO, pause_s=0.1), made(ONE), 1),
        (line(ONE[: len(ONE) // 2]), made(ONE), 0),
        (line(tone(1.0)), made(tone(2.0)), 0),
        (line(tone(2.0)), made(tone(2.0)), 1),
        (line(np.zeros(VOICE_HZ, np.float32)), made(ONE), 0),
        (line(ONE), made(np.zeros(VOICE_HZ, np.float32)), 0),
    ],
    ids=[
        "once", "nothing heard", "nothing wanted", "another", "twice", "twice without a pause", "two", "two alike",
        "between others", "half of it", "a tone that is too short", "a tone", "silence", "silence wanted",
    ],
)  # fmt: skip
def test_a_sound_is_found_as_often_as_it_is_heard(heard, wanted, times) -> None:
    assert len(found(heard, wanted)) == times


def test_a_reply_with_a_few_lost_packets_is_whole() -> None:
    heard = line(ONE)
    holes = heard.samples.copy()
    holes[1600:1920] = 0.0
    assert found(Sound(holes, 8000), made(ONE)) == [0]


def test_a_sound_that_holds_another_is_itself() -> None:
    assert found(line(tone(2.0)), made(tone(1.5), tone(2.0))) == [1]
    assert found(line(tone(1.5)), made(tone(1.5), tone(2.0))) == [0]


def test_each_turn_heard_once_is_nothing_to_tell() -> None:
    assert counted([Spoken(made(ONE), line(ONE)), Spoken(made(ONE), line(ONE))], []) == (0, 0, 0)


def test_a_turn_without_its_reply_is_lost() -> None:
    assert counted([Spoken((), line()), Spoken(made(ONE), line(ONE))], []) == (1, 0, 0)


def test_a_reply_that_comes_in_the_next_turn_is_lost_there_and_doubled_here() -> None:
    assert counted([Spoken(made(ONE), line()), Spoken(made(TWO), line(ONE, TWO, pause_s=0.3))], []) == (1, 1, 0)


def test_a_reply_of_the_other_call_has_crossed() -> None:
    mine, other = [Spoken(made(ONE), line(ONE, TWO))], [Spoken(made(TWO), line())]
    assert counted(mine, other)[2] == 1
    assert counted(other, mine)[2] == 1


def test_what_both_calls_are_answered_has_not_crossed() -> None:
    same = [Spoken(made(ONE), line(ONE))]
    assert counted(same, same) == (0, 0, 0)
