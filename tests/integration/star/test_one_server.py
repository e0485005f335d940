"""One server booted alone and asked in its own protocol, by a fixture that a factory made."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
CONFTEST = """
    from pytest_voiceloop import factories

    alone = factories.service("one", ["{{python}}", "{server}", "{{one.http}}"{options}], protocol="{protocol}")
"""
TESTS = {
    "transcribe": """
        def test_one(alone, voiceloop_corpus):
            heard = alone.transcribe(voiceloop_corpus["box-heart"])
            assert heard.text == "the box was thrown beside the parked truck"
            assert heard.wer == 0
            assert heard.final_ms > 0
    """,
    "reply": """
        def test_one(alone):
            answer = alone.reply("hello")
            assert answer.text in ("It was a blue box, I think.", "You said hello")
            assert 0 < answer.first_ms <= answer.last_ms
    """,
    "speak": """
        def test_one(alone):
            speech = alone.speak("hello")
            assert len(speech.samples) / speech.rate_hz == 1.0
            assert abs(speech.samples).max() > 0.2
            assert 0 < speech.first_ms <= speech.last_ms
    """,
}


@pytest.fixture
def tried(repository):
    """A function: the server, its options, protocol and what to ask → the inner run."""

    def run(server, protocol, question, *options):
        shown = "".join(f', "{option}"' for option in options)
        repository.pytester.makeconftest(CONFTEST.format(server=HERE / server, protocol=protocol, options=shown))
        repository.tests(TESTS[question])
        return repository.run()

    return run


@pytest.mark.parametrize(
    ("protocol", "question"),
    [("openai-transcription", "transcribe"), ("openai-chat", "reply"), ("openai-speech", "speak")],
)
def test_an_openai_server_is_asked_alone(tried, protocol, question):
    tried("server.py", protocol, question).assert_outcomes(passed=1)


@pytest.mark.parametrize("question", TESTS)
def test_a_wyoming_server_is_asked_alone(tried, question):
    tried("wyoming_server.py", "wyoming", question).assert_outcomes(passed=1)


def test_a_server_that_refuses_fails_the_test_with_its_words_and_its_log(tried):
    result = tried("server.py", "openai-chat", "reply", "--fail", "/v1/chat/completions")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*was answered 503*loading the model*"])


def test_a_stack_and_its_caller_go_by_names_of_ones_own_and_are_held_to_their_budgets(repository):
    repository.stack()
    conftest = repository.path / "conftest.py"
    conftest.write_text(
        conftest.read_text()
        + """
from pytest_voiceloop import factories

my_stack = factories.stack(lambda pace: reference_stack(pace, scripted=True))
my_caller = factories.simulator("my_stack")
"""
    )
    repository.tests("""
        import pytest

        @pytest.mark.latency(voice_to_voice="1ms")
        def test_mine(my_caller, voiceloop_stack_spec):
            assert my_caller.say("clip.wav", text="Hello there, you.").reply.text
    """)
    result = repository.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*voice_to_voice is over its limit of 1 ms*"])
