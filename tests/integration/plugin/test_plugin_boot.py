"""Services that are missing, broken or slow to get ready: what the test that needs them says."""

import pytest

FAKE = (
    'spec = dataclasses.replace(spec, services=(dataclasses.replace(spec.service("whisper"), {}), *spec.services[1:]))'
)
TEST = """
def test_it(voiceloop_simulator):
    raise AssertionError("the stack cannot have booted")
"""
KOKORO_ALONE = """
import pytest
from pytest_voiceloop.stack.reference import reference_stack

@pytest.fixture(scope="session")
def voiceloop_stack_spec():
    return reference_stack()

def test_kokoro(voiceloop_kokoro):
    voiceloop_kokoro.speak("Hello.")
"""


def test_a_required_run_refuses_a_scripted_stack(repository):
    repository.tests(TEST)
    result = repository.run("--voiceloop-require")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["--voiceloop-require refuses a scripted stack: no model listens*"])
    assert not repository.found("run-*/logs/*"), "nothing may be booted for it"


def test_a_missing_model_skips_with_its_cure_and_the_last_line_says_nothing_was_measured(repository, monkeypatch):
    monkeypatch.setenv("VOICELOOP_MODELS", str(repository.path / "empty"))
    repository.tests(KOKORO_ALONE)
    result = repository.run("-rs")
    result.assert_outcomes(skipped=1)
    # The last line of ours; what follows it is pytest's own.
    result.stdout.fnmatch_lines(
        ["voiceloop: nothing was measured (1 test skipped)", "*short test summary info*"], consecutive=True
    )
    result.stdout.fnmatch_lines(
        ["SKIPPED*kokoro needs model kokoro-voices: *Cure: voiceloop models pull kokoro-voices"]
    )


def test_a_missing_model_fails_a_required_run_with_its_cure(repository, monkeypatch):
    monkeypatch.setenv("VOICELOOP_MODELS", str(repository.path / "empty"))
    monkeypatch.setenv("VOICELOOP_REQUIRE", "1")
    repository.tests(KOKORO_ALONE)
    result = repository.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["kokoro needs model kokoro-voices: *Cure: voiceloop models pull kokoro-voices"])
    result.stdout.fnmatch_lines(["voiceloop: 1 test in error, nothing was measured"])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            """command=("{python}", "-c", "print('no microphone'); raise SystemExit(3)")""",
            ["whisper ended before it was ready: exit code 3.", "*--- last lines of whisper ---", "no microphone"],
        ),
        (
            'command=("no-such-program", "--fast")',
            ["the command of whisper: 'no-such-program' is not on PATH; install it, or give its path *"],
        ),
        (
            """command=("sh", "-c", "echo '{not json'; sleep 60"), cold_start_s=0.5""",
            [
                "whisper printed no ready line within 0.5 s. Give it a longer cold start if it was still loading, *",
                "log: */whisper.log",
                "{not json",
            ],
        ),
        (
            'command=("{python}", "-c", "import time; time.sleep(60)"), cold_start_s=0.5',
            ["whisper printed no ready line within 0.5 s. *", "(the log is empty)"],
        ),
        (
            'cwd=__import__("pathlib").Path("gone")',
            ["the cwd of whisper: gone is no folder; correct it, or make the folder"],
        ),
    ],
    ids=["exits", "not found", "garbage", "silent", "no folder"],
)
def test_a_service_that_does_not_get_ready_is_an_error_and_leaves_nothing(repository, change, expected):
    repository.stack(then=FAKE.format(change))
    repository.tests(TEST)
    result = repository.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*ERROR at setup of test_it*", *expected])
    result.stdout.no_fnmatch_line("*Traceback*")
    assert repository.records["test_it"]["outcome"] == "error"
    assert not repository.processes()


@pytest.mark.parametrize("dies", [True, False], ids=["dies", "serves"])
def test_what_a_service_writes_drives_no_terminal(repository, dies):
    said = r"printf '\033[2Jgone\000\342\200\256\n'; "
    then = "exit 3" if dies else 'exec "$@"'
    repository.stack(then=FAKE.format(f"command=('sh', '-c', {said + then!r}, 'sh', *spec.services[0].command)"))
    repository.tests("def test_it(voiceloop_simulator): assert not voiceloop_simulator.say('clip.wav', text='Hello.')")
    result = repository.run()
    result.assert_outcomes(errors=dies, failed=not dies)
    result.stdout.fnmatch_lines([r"\x1b[[]2Jgone\x00\u202e*"])
    assert not {"\x1b", "\x00", "\u202e"}.intersection(result.stdout.str())


def test_a_spec_that_does_not_fit_says_so_where_it_was_written(repository):
    repository.stack(then='spec = dataclasses.replace(spec, links=(dataclasses.replace(spec.links[0], port="speak"),))')
    repository.tests(TEST)
    result = repository.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "conftest.py:*",
            "E *SpecError: the link stt_llm (whisper → llama) goes to port 'speak', which llama does not*",
        ]
    )


def test_a_port_of_the_fixed_plan_that_is_taken_is_named_with_its_remedy(repository):
    import socket

    repository.tests(TEST)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 8083))
        taken.listen()
        result = repository.run("--voiceloop-ports=fixed")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["tcp port 8083 (llama, listen) of the fixed plan is in use; stop what holds it *auto"])
