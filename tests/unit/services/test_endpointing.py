import numpy as np
import pytest

from voiceloop_services.whisper import endpointing
from voiceloop_services.whisper.endpointing import Endpointer, Kind, Rules, looks_unfinished

WINDOW = np.zeros(320, dtype=np.float32)
RULES = Rules(silence_ms=300, unfinished_ms=700, early_ms=100)


def hear(endpointer, *spans, **options):
    """Push (milliseconds, is speech) spans in 20 ms windows; events as (kind, clock in ms)."""
    events = []
    for probability in [speech for span_ms, speech in spans for _ in range(span_ms // 20)]:
        event = endpointer.push(WINDOW, float(probability), **options)
        events.append((event, round(endpointer.clock_s * 1000)))
    return [(event, at_ms) for event, at_ms in events if event]


def kinds(events):
    return [(event.kind, at_ms) for event, at_ms in events]


def test_speech_and_silence_pause_and_end():
    endpointer = Endpointer(RULES)
    events = hear(endpointer, (1000, 0), (500, 1), (1000, 0))
    assert kinds(events) == [(Kind.PAUSED, 1600), (Kind.ENDED, 1800)]


def test_an_event_says_where_the_speech_lies_and_keeps_audio_around_it():
    (_, (ended, _)) = hear(Endpointer(RULES), (1000, 0), (500, 1), (1000, 0))
    assert (ended.speech.start_s, ended.speech.end_s) == (1.0, 1.5)
    held_ms = len(ended.speech.samples) / 16
    assert held_ms == pytest.approx(endpointing.PRE_ROLL_MS + 500 + 300, abs=20)


def test_speech_that_goes_on_ends_the_pause():
    events = hear(Endpointer(RULES), (500, 1), (200, 0), (500, 1), (300, 0))
    assert [kind for kind, _ in kinds(events)] == [Kind.PAUSED, Kind.RESUMED, Kind.PAUSED, Kind.ENDED]
    assert (events[-1][0].speech.start_s, events[-1][0].speech.end_s) == (0.0, 1.2)


def test_a_breath_does_not_end_the_pause():
    events = hear(Endpointer(RULES), (500, 1), (120, 0), (40, 1), (200, 0))
    assert kinds(events) == [(Kind.PAUSED, 600), (Kind.ENDED, 800)]


def test_a_click_is_no_utterance():
    endpointer = Endpointer(RULES)
    assert hear(endpointer, (60, 1), (1000, 0)) == []
    assert endpointer.finish() is None


def test_silence_gives_nothing():
    endpointer = Endpointer(RULES)
    assert hear(endpointer, (60_000, 0)) == []
    assert endpointer.finish() is None


def test_nothing_ends_while_the_early_transcript_is_out():
    endpointer = Endpointer(RULES)
    hear(endpointer, (500, 1), (100, 0))
    endpointer.needed_ms = None
    assert hear(endpointer, (1000, 0)) == []
    endpointer.needed_ms = RULES.silence_ms
    assert endpointer.check().kind is Kind.ENDED


def test_unfinished_words_wait_longer():
    endpointer = Endpointer(RULES)
    hear(endpointer, (500, 1), (100, 0))
    endpointer.needed_ms = RULES.unfinished_ms
    assert endpointer.check() is None
    assert kinds(hear(endpointer, (1000, 0))) == [(Kind.ENDED, 1200)]


def test_the_next_utterance_needs_the_usual_silence_again():
    endpointer = Endpointer(RULES)
    hear(endpointer, (500, 1), (100, 0))
    endpointer.needed_ms = RULES.unfinished_ms
    hear(endpointer, (600, 0))
    assert kinds(hear(endpointer, (500, 1), (300, 0)))[-1] == (Kind.ENDED, 2000)


def test_no_early_transcript_where_none_is_wanted():
    assert kinds(hear(Endpointer(Rules(300, 700, 0)), (500, 1), (400, 0))) == [(Kind.ENDED, 800)]
    assert kinds(hear(Endpointer(RULES), (500, 1), (400, 0), early=False)) == [(Kind.ENDED, 800)]


def test_the_end_of_the_audio_ends_the_utterance():
    endpointer = Endpointer(RULES)
    hear(endpointer, (500, 1))
    assert endpointer.finish().speech.end_s == 0.5
    assert endpointer.finish() is None


def test_a_monologue_is_cut_without_an_overlap():
    events = hear(Endpointer(RULES), (endpointing.MAX_UTTERANCE_MS + 2000, 1), (300, 0))
    first, _, last = (event for event, _ in events)
    assert first.kind is Kind.ENDED
    assert last.speech.start_s == first.speech.end_s
    assert len(last.speech.samples) == (2000 + 300) * 16


def test_memory_does_not_grow_in_silence():
    endpointer = Endpointer(RULES)
    hear(endpointer, (60_000, 0))
    assert sum(map(len, endpointer._windows)) <= 16 * (endpointing.PRE_ROLL_MS + 20)


def test_a_detector_may_waver_inside_a_word():
    endpointer = Endpointer(RULES)
    endpointer.push(WINDOW, 0.9)
    assert hear(endpointer, (400, 0.4), (300, 0))[-1][0].speech.end_s == 0.42


@pytest.mark.parametrize(
    "text", ["I would like to", "I would like to.", "Tomorrow and...", "Well, um.", "One, two,", "My number is", "the."]
)
def test_words_that_look_unfinished(text):
    assert looks_unfinished(text)


@pytest.mark.parametrize("text", ["Yes.", "Glue the sheet to the dark blue background.", "What for?", "Stop!", ""])
def test_words_that_look_finished(text):
    assert not looks_unfinished(text)
