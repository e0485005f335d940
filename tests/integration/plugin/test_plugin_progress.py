"""What a person sees while the tests run."""

import re

TURN = re.compile(r"^SCRIPTED \(no model\) (?:(\d+/\d+) )?(?:ok|warmup|void) ")


def places(result):
    """The place of each turn as its line gives it; None where it gives none."""
    return [found[1] for found in map(TURN.match, result.outlines) if found]


def test_a_turn_tells_which_one_it_is_of_how_many(repository):
    repository.tests("""
        def test_alone(voiceloop_simulator):
            voiceloop_simulator.say("clip.wav", text="Hello there, you.")

        def test_one(voiceloop_simulator, voiceloop_utterance):
            voiceloop_simulator.say(voiceloop_utterance)

        def test_all(voiceloop_simulator, voiceloop_corpus):
            voiceloop_simulator.say(voiceloop_corpus[0])
            voiceloop_simulator.measure(voiceloop_corpus, trials=1, warmup=1)
    """)
    result = repository.run("--voiceloop-corpus=corpus")
    result.assert_outcomes(passed=4)
    assert places(result) == [None, "1/2", "2/2", None, "2/4", "3/4", "4/4"]
    assert "\x1b" not in result.stdout.str()


def test_tests_that_are_left_out_are_not_counted(repository):
    repository.tests("""
        def test_one(voiceloop_simulator, voiceloop_utterance):
            voiceloop_simulator.say(voiceloop_utterance)
    """)
    assert places(repository.run("--voiceloop-corpus=corpus", "-k", "two")) == ["1/1"]


def test_a_turn_that_is_said_again_keeps_its_place_and_void_ones_are_coloured(repository):
    repository.stack(void_ms=-1)
    repository.tests("""
        def test_all(voiceloop_simulator, voiceloop_corpus):
            voiceloop_simulator.measure(voiceloop_corpus.some("two"), trials=1, warmup=0)
    """)
    result = repository.run("--voiceloop-corpus=corpus", "--color=yes")
    lines = [line for line in result.outlines if "total" in line and "v2v" in line]
    assert len(lines) == 3
    assert all(line.startswith("\x1b[33mSCRIPTED (no model) 1/1 void ") for line in lines)
