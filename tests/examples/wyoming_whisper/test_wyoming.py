import pytest


@pytest.mark.pipeline
@pytest.mark.parametrize("clip", ["hours-heart", "spoken-france"])
def test_it_is_heard_and_answered(voiceloop_simulator, voiceloop_corpus, clip):
    turn = voiceloop_simulator.say(voiceloop_corpus[clip])
    assert turn.transcript.wer <= 0.5
    assert turn.reply.text
    assert turn.heard.text
