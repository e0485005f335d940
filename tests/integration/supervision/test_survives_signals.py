"""Signals at every stage of a run, and xdist's processes killed: nothing is left, and what was measured is kept."""

import signal

import psutil
import pytest

PART = "The harness"
ONE_TURN = """
def test_talk(voiceloop_simulator):
    voiceloop_simulator.say("clip.wav", text="Hello there, you.")
"""
NEVER_READY = """spec = dataclasses.replace(spec, services=tuple(
        dataclasses.replace(s, command=(s.command[0], "-c", "import time; print('loading'); time.sleep(3600)"))
        if s.name == "kokoro" else s for s in spec.services))"""
READY_ONCE = """import os, sys, time
if os.path.exists("struck"):
    print("loading", flush=True)
    time.sleep(3600)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"""
NEVER_READY_AGAIN = f"""spec = dataclasses.replace(spec, services=tuple(
        dataclasses.replace(s, command=(s.command[0], "-c", {READY_ONCE!r}, *s.command[1:]), cold_start_s=3600.0)
        if s.name == "kokoro" else s for s in spec.services))"""
STRUCK = """
from pathlib import Path
import pytest

@pytest.mark.fault("kill", "kokoro", at="start", duration={duration!r})
def test_struck(voiceloop_simulator):
    Path("struck").touch()
    voiceloop_simulator.say("clip.wav", text="Hello there, you.")
"""
SIGNALS = {"SIGINT (Ctrl-C)": signal.SIGINT, "SIGTERM": signal.SIGTERM, "SIGKILL": signal.SIGKILL}


def measured(document):
    """How many turns of a run's document are ok, by the outcome of their tests."""
    return [(test["outcome"], sum(turn["status"] == "ok" for turn in test["turns"])) for test in document["tests"]]


def end(run, number):
    """Send a signal, and wait for the process. Its exit code, as a shell would say it."""
    run.send_signal(number)
    code = run.wait(60)
    return code if code >= 0 else 128 - code


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_while_the_stack_boots(repository, watch, account, name):
    repository.stack(then=NEVER_READY)
    repository.tests(ONE_TURN)
    run = repository.start()
    # Three of four are ready, one never will be.
    repository.until(
        lambda: sum(b'"ready"' in log.read_bytes() for log in repository.found("run-*/logs/*/*.log")) == 3, "the boot"
    )
    repository.until(lambda: len(watch.look()) >= 1 + 2 * 4, "a shim and a service each, beside pytest")
    code = end(run, SIGNALS[name])
    left, took_s = watch.left()
    account(
        PART, f"{name} while the stack boots", f"pytest ended with {code}; all gone after {took_s:.1f} s", leaked=left
    )
    assert left == 0
    assert code == (2 if SIGNALS[name] == signal.SIGINT else 128 + SIGNALS[name])


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_in_mid_turn(repository, watch, account, told_by_journal, name):
    run = repository.start_in_the_second_turn("--voiceloop-report=html")
    repository.until(lambda: len(watch.look()) == 1 + 2 * 4, "pytest, and a shim and a service each")
    code = end(run, SIGNALS[name])
    left, took_s = watch.left()
    if SIGNALS[name] == signal.SIGINT:
        document, kept = repository.document, "run.json and the page hold"
        assert (repository.results / "report.html").exists()
    else:
        document, kept = told_by_journal(), "no report was written; `voiceloop report` on the journal shows"
        assert not (repository.results / "run.json").exists()
    happened = f"pytest ended with {code}; all gone after {took_s:.1f} s; {kept} the turn before"
    account(PART, f"{name} in mid-turn", happened, lost=1, leaked=left)
    assert left == 0
    assert measured(document) == [("unfinished", 1)]
    assert len(document["services"]) == 4
    assert repository.schema_problems(document) == []


def interrupted(run, watch, account, when, then):
    """Ctrl-C while a fault is in force: pytest ends at once, and nothing is left."""
    code = end(run, signal.SIGINT)
    left, took_s = watch.left()
    happened = f"pytest ended with {code}; all gone after {took_s:.1f} s; {then}"
    account(PART, f"SIGINT (Ctrl-C) while {when}", happened, lost=1, leaked=left)
    assert left == 0
    assert code == 2


def test_ctrl_c_while_a_fault_keeps_a_service_down(repository, watch, account):
    repository.tests(STRUCK.format(duration="600s"))
    run = repository.start()
    repository.until((repository.path / "struck").exists, "the turn")
    repository.until(lambda: len(watch.look()) == 1 + 2 * 3, "the end of kokoro")
    interrupted(run, watch, account, "a fault keeps a service down", "kokoro was not started again")
    assert not repository.found("run-*/logs/*/kokoro-2.log")


def test_ctrl_c_while_a_service_starts_again_after_a_fault(repository, watch, account):
    repository.stack(then=NEVER_READY_AGAIN)
    repository.tests(STRUCK.format(duration="1ms"))
    run = repository.start()
    repository.until(
        lambda: any("loading" in log.read_text() for log in repository.found("run-*/logs/*/kokoro-2.log")),
        "kokoro to start again",
    )
    watch.look()
    interrupted(run, watch, account, "a service starts again after a fault", "its cold start was not waited for")


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_while_the_stack_is_stopped(repository, watch, account, told_by_journal, ill_mannered, name):
    # Its grace is longer than anybody waits: what ends it is the signal.
    ill_mannered("whisper", "tells_of_sigterm", grace_s=600.0)
    repository.tests(ONE_TURN)
    run = repository.start()
    repository.until((repository.path / "asked-to-end").exists, "the end of the stack")
    watch.look()
    code = end(run, SIGNALS[name])
    left, took_s = watch.left()
    document = told_by_journal()
    happened = f"pytest ended with {code}; all gone after {took_s:.1f} s; the journal holds every turn"
    account(PART, f"{name} while the stack is stopped", happened, lost=0, leaked=left)
    assert left == 0
    assert measured(document) == [("passed", 1)]


def test_a_worker_of_xdist_that_is_killed(repository, watch, account):
    repository.tests(repository.TWO_TURNS + "\ndef test_next(voiceloop_simulator): pass\n")
    run = repository.start_in_the_second_turn("-n", "1", "--max-worker-restart=0")
    watch.look()
    (worker,) = (child for child in psutil.Process(run.pid).children() if child.pid in watch.look())
    worker.kill()
    code = run.wait(60)
    left, took_s = watch.left()
    document = repository.document
    happened = (
        f"pytest ended with {code} and names the test; all gone after {took_s:.1f} s; run.json holds the turn before"
    )
    account(PART, "a worker of pytest-xdist is killed in mid-turn", happened, lost=1, leaked=left)
    assert left == 0
    assert code == 1
    assert "crashed while running 'test_voice.py::test_talk'" in repository.said
    assert measured(document)[0] == ("unfinished", 1)


@pytest.mark.parametrize("name", [name for name in SIGNALS if name != "SIGTERM"])
def test_the_controller_of_xdist_is_ended(repository, watch, account, told_by_journal, name):
    run = repository.start_in_the_second_turn("-n", "1")
    watch.look()
    code = end(run, SIGNALS[name])
    left, took_s = watch.left()
    wrote = SIGNALS[name] == signal.SIGINT
    document = repository.document if wrote else told_by_journal()
    kept = "run.json holds" if wrote else "the journal holds"
    happened = f"pytest ended with {code}; all gone after {took_s:.1f} s; {kept} the turn before"
    account(PART, f"{name} to the controller of pytest-xdist in mid-turn", happened, lost=1, leaked=left)
    assert left == 0
    assert measured(document) == [("unfinished", 1)]
