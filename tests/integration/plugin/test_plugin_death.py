"""Services that die in mid-turn, and tests that time out: what is told, what is kept, and that nothing is left.

Signals to the run itself stand in supervision/test_survives_signals.
"""

import json
import sys

import pytest

from pytest_voiceloop.report import journal

REPORT = (sys.executable, "-m", "pytest_voiceloop.cli", "report")


def turns_of(document):
    return [(test["outcome"], [turn["status"] for turn in test["turns"]]) for test in document["tests"]]


@pytest.mark.parametrize("victim", ["whisper", "kokoro"])
def test_a_service_that_dies_in_mid_turn_fails_its_test_and_is_back_for_the_next(repository, victim):
    repository.stack(llama=["--script-delay-ms", "300"], kokoro=["--script-delay-ms", "300"])
    repository.tests(f"""
        import threading
        import psutil

        def kill(live):
            with live.recorder.changed:
                live.recorder.changed.wait_for(lambda: any(c.kind == "text" for c in live.recorder.of("151")))
            shim = next(p for p in live.running.processes if p.name == "{victim}").popen
            psutil.Process(shim.pid).children()[0].kill()

        def test_struck(voiceloop_stack, voiceloop_simulator):
            threading.Thread(target=kill, args=[voiceloop_stack]).start()
            voiceloop_simulator.say("clip.wav", text="Hello there, you.")

        def test_next(voiceloop_simulator):
            assert voiceloop_simulator.say("clip.wav", text="Hello there, you.").status == "ok"
    """)
    result = repository.run()
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        [
            f"E *StackError: {victim} died: killed by signal 9.",
            f"*--- last lines of {victim} ---",
            f"*voiceloop log: {victim}*",
        ]
    )
    result.stdout.fnmatch_lines([f"*{victim} had died; starting it again"])
    struck = repository.records["test_struck"]
    (turn,) = struck["turns"]
    assert (struck["outcome"], turn["status"]) == ("failed", "failed")
    assert "t5" in turn["missing"]
    restarts = {(s["name"], s["restarts"]) for s in repository.document["services"]}
    assert (victim, 1) in restarts
    assert {name for name, count in restarts if count} == {victim}
    assert len(repository.found(f"run-*/logs/*/{victim}*.log")) == 2, "each life has a log of its own"
    assert not repository.processes()


def test_a_service_that_dies_twice_is_not_started_a_third_time(repository):
    repository.tests("""
        import psutil
        import pytest

        @pytest.mark.parametrize("number", range(3))
        def test_it(voiceloop_stack, voiceloop_simulator, number):
            shim = voiceloop_stack.running.processes[1].popen
            psutil.Process(shim.pid).children()[0].kill()
            shim.wait(10)
    """)
    result = repository.run()
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at setup of test_it?2?*", "llama died: killed by signal 9.", "command: *"])


def test_a_run_that_was_killed_leaves_no_report_of_an_earlier_one(repository):
    kept = [repository.results / name for name in ("run.json", "report.html", "baselines/main.json")]
    for path in kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("of an earlier run")
    run = repository.start_in_the_second_turn("--voiceloop-report=html")
    run.kill()
    run.wait()
    assert [path.exists() for path in kept] == [False, False, True]
    told = repository.pytester.run(*REPORT, kept[0], "--format", "text")
    assert told.ret == 2
    told.stderr.fnmatch_lines([f"*run.json is not there; *name its journal, {repository.results}/run-*/journal.jsonl"])
    repository.until(lambda: not repository.processes(), "the services' end")


def test_a_page_is_made_from_the_journal_of_a_run_that_was_killed(repository):
    run = repository.start_in_the_second_turn()
    run.kill()
    run.wait()
    repository.until(lambda: not repository.processes(), "the services' end")
    (kept,) = repository.found("run-*/journal.jsonl")
    assert repository.pytester.run(*REPORT, kept, "--format", "html", "-o", "pages/page.html").ret == 0
    page = (repository.path / "pages" / "page.html").read_text()
    assert page.count('src="data:audio/') == 2, "the caller and the reply"
    told = repository.pytester.run(*REPORT, kept, "--format", "text")
    assert told.ret == 0
    told.stdout.fnmatch_lines(["=== *SCRIPTED*", "voiceloop: 1 test unfinished, 1 of 1 turn completed*"])


TIMES_OUT = """
import pytest

@pytest.fixture
def begun(voiceloop_simulator):
    # No part of what is limited: a busy machine may take its time for the boot and for this turn.
    voiceloop_simulator.say("clip.wav", text="Hello there, you.")
    return voiceloop_simulator

@pytest.mark.timeout(2, func_only=True, method={method!r})
def test_talk(begun):
    begun.say("long.wav", text="A long story.")

def test_next(voiceloop_simulator):
    assert voiceloop_simulator.say("clip.wav", text="Hello there, you.").status == "ok"
"""


def test_the_stack_survives_a_test_that_times_out(repository, account):
    repository.write_clip(repository.path / "long.wav", repository.speech(duration_s=60))
    repository.tests(TIMES_OUT.format(method="signal"))
    result = repository.run("--voiceloop-report=html")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*Timeout*2*", "*voiceloop log: whisper*"])
    left = len(repository.processes())
    happened = "the test fails and keeps its turns, the stack serves the next test, the reports are written"
    account("The harness", "pytest-timeout, method signal, in mid-turn", happened, lost=1, leaked=left)
    assert turns_of(repository.document) == [("failed", ["ok"]), ("passed", ["ok"])]
    assert (repository.results / "report.html").exists()
    assert left == 0


def test_every_report_survives_a_timeout_that_ends_pytest_itself(repository, account):
    repository.write_clip(repository.path / "long.wav", repository.speech(duration_s=60))
    repository.tests(TIMES_OUT.format(method="thread"))
    result = repository.run("--voiceloop-report=html")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*+ Timeout +*", "*Stack of MainThread*"])
    assert turns_of(repository.document) == [("unfinished", ["ok"])]
    assert (repository.results / "report.html").exists()
    repository.until(lambda: not repository.processes(), "the services' end")
    lines = journal.read(repository.found("run-*/journal.jsonl")[0])
    assert [line["kind"] for line in lines].count("turn") == 1
    happened = "pytest-timeout ends pytest on the spot; run.json, the page and the journal hold the turn before"
    account("The harness", "pytest-timeout, method thread, in mid-turn", happened, lost=1, leaked=0)


def test_turns_of_a_test_without_a_time_limit_of_its_own_get_one(repository):
    repository.tests("""
        import pytest

        def test_without(voiceloop_simulator): pass

        @pytest.mark.timeout(7)
        def test_with(voiceloop_simulator): pass

        def test_of_somebody_else(): pass
    """)
    (repository.path / "conftest.py").write_text("""
import json
def pytest_collection_finish(session):
    print("limits:", json.dumps({i.name: [[*m.args] for m in i.iter_markers("timeout")] for i in session.items}))
""")
    result = repository.check("--collect-only", "-s")
    said = next(line for line in result.outlines if line.startswith("limits:"))
    assert json.loads(said.partition(" ")[2]) == {
        "test_without": [[120]],
        "test_with": [[7]],
        "test_of_somebody_else": [],
    }
