import pytest


@pytest.mark.pipeline
def test_every_event_is_seen(voiceloop_simulator, voiceloop_corpus):
    turn = voiceloop_simulator.say(voiceloop_corpus["spoken-france"])
    assert None not in turn.events_ms.values()
    assert turn.transcript.wer <= 0.5
    assert turn.heard.wer <= 0.5
    assert turn.reply.text


@pytest.mark.pipeline
def test_it_remembers_the_call(voiceloop_simulator, voiceloop_corpus):
    for clip in ("spoken-france", "spoken-dinner"):
        assert voiceloop_simulator.say(voiceloop_corpus[clip]).reply.text


def test_the_language_model_alone(llama_alone):
    assert "paris" in llama_alone.reply("What is the capital of France?").text.lower()
