"""Services that do not want to end, leave others behind, flood their log or close it."""

import time

import pytest

PART = "The harness"
ONE_TURN = """
def test_talk(voiceloop_simulator):
    assert voiceloop_simulator.say("clip.wav", text="Hello there, you.").status == "ok"
"""
ENDED = {
    "ignores_sigterm": "its turns are measured; it is killed after its grace",
    "forks": "its turns are measured; all of them are killed with it",
    "closes_stdout": "its turns are measured; it ends when it is asked to",
}
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
    account(PART, f"a service {MANNERS[manner]}", ENDED[manner], lost=0, leaked=left)
    assert left == 0
    assert run.returncode == 0
    assert [turn["status"] for turn in repository.records["test_talk"]["turns"]] == ["ok"]


def test_a_service_that_floods_its_log_is_ended(repository, watch, account, ill_mannered, soaking):
    limit_mib = 256 if soaking else 8
    limit = "pass" if soaking else f"from pytest_voiceloop.stack import process; process.LOG_LIMIT_BYTES = {8 << 20}"
    ill_mannered("llama", "floods", then=limit)
    repository.tests("""
        def test_before(voiceloop_stack):
            voiceloop_stack.running.processes[1].popen.wait(60)

        def test_talk(voiceloop_simulator):
            voiceloop_simulator.say("clip.wav", text="Hello there, you.")
    """)
    run = repository.start()
    look_until_the_end(run, watch)
    left, _ = watch.left()
    written_mib = max(log.stat().st_size for log in repository.found("run-*/logs/*/llama*.log")) / 2**20
    happened = f"ended at {written_mib:.0f} MiB of log (the limit is {limit_mib} MiB); its test fails and says so"
    account(PART, "a service begins to write a gigabyte of log", happened, leaked=left)
    assert left == 0
    assert run.returncode == pytest.ExitCode.TESTS_FAILED
    assert (
        f"its log had grown beyond {limit_mib} MiB, beyond which a service is ended. Make it say less"
        in repository.said
    )
    assert limit_mib < written_mib < 4096


def look_until_the_end(run, watch):
    while run.poll() is None:
        watch.look()
        time.sleep(0.1)
