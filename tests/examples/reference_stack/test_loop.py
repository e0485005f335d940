"""The whole loop, by fixtures: nothing but tests is needed."""

import pytest


@pytest.mark.pipeline
@pytest.mark.parametrize("clip", ["lemons-heart", "spoken-france"])
def test_it_answers(voiceloop_simulator, voiceloop_corpus, clip):
    turn = voiceloop_simulator.say(voiceloop_corpus[clip])
    assert turn.reply.text
    assert turn.transcript.wer <= 0.5
    assert turn.heard.wer <= 0.5


def test_the_recogniser_alone(voiceloop_whisper, voiceloop_corpus):
    assert voiceloop_whisper.transcribe(voiceloop_corpus["hours-heart"]).wer <= 0.3
