import pytest


@pytest.mark.pipeline
def test_it_says_what_it_heard(voiceloop_simulator, voiceloop_corpus):
    turn = voiceloop_simulator.say(voiceloop_corpus["hours-heart"])
    assert turn.reply.text == f"You said: {turn.transcript.text}"
    assert turn.heard.wer <= 0.5


def test_it_alone(voiceloop_llama):
    assert voiceloop_llama.reply("Good morning.").text == "You said: Good morning."
