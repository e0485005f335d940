"""Services that do not want to end, leave others behind, flood their log or close it."""

import time

import pytest

PART = "The harness"
ONE_TURN = """
def test_talk(voiceloop_simulator):
    assert voiceloop_simulator.say("clip.wav", text="Hello there, you.").status == "ok"
"""
MANNERS = {
    "ignores_sigterm": "ignores SIGTERM",
    "forks": "leaves a child, one in a session of its own and a daemon, all deaf to SIGTERM",
    "closes_stdout": "closes its standard output and error",
}


@pytest.mark.parametrize("manner", MANNERS)
def test_a_service_with_bad_manners_is_measured_and_ended(repository, watch, account, ill_mannered, manner):
    ill_mannered("llama", manner)
    repository.tests(ONE_TURN)
    run = repository.start()
    look_until_the_end(run, watch)
    left, _ = watch.left()
    account(PART, f"a service {MANNERS[manner]}", "its turns are measured, then it is killed", lost=0, leaked=left)
    assert left == 0
    assert run.returncode == 0
    assert [turn["status"] for turn in repository.records["test_talk"]["turns"]] == ["ok"]


def look_until_the_end(run, watch):
    while run.poll() is None:
        watch.look()
        time.sleep(0.1)
