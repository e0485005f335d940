import pytest


@pytest.mark.pipeline
def test_it_answers(voiceloop_simulator, voiceloop_corpus):
    turn = voiceloop_simulator.say(voiceloop_corpus["hours-heart"])
    # It waits for half a second of silence. What that is, is a matter of a few frames.
    assert turn.voice_to_voice_ms > 400
    assert list(turn.first_audio.stages_ms) == ["stt+llm+tts+transfer"]
    assert turn.events_ms["t2_first"] is None


@pytest.mark.pipeline
def test_it_answers_again_in_the_same_call(voiceloop_simulator, voiceloop_corpus):
    turns = [voiceloop_simulator.say(voiceloop_corpus[clip]) for clip in ("hours-heart", "lemons-heart")]
    assert [turn.index for turn in turns] == [0, 1]
    assert all(turn.voice_to_voice_ms > 400 for turn in turns)
