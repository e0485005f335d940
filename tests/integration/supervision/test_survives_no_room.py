"""No room for results, no right to write them, no port left: the test says so, and nothing is left."""

import ctypes
import os
import shutil
import subprocess

import pytest

PART = "The harness"
TURNS = """
import os
import pytest

def test_before(voiceloop_simulator):
    voiceloop_simulator.say("clip.wav", text="Hello there, you.")

def test_fills_up(voiceloop_simulator):
    with open("voiceloop-results/filler", "wb") as filler, pytest.raises(OSError):
        while True:
            filler.write(bytes(65536))
            filler.flush()
    voiceloop_simulator.say("clip.wav", text="Hello there, you.")

def test_next(voiceloop_simulator):
    voiceloop_simulator.say("clip.wav", text="Hello there, you.")
"""
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2


def outcomes(document):
    return [(test["nodeid"].partition("::")[2], test["outcome"], len(test["turns"])) for test in document["tests"]]


@pytest.fixture
def small_disk(repository):
    """The results folder as a disk of 3 MiB."""
    repository.results.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=3m", "none", str(repository.results))
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk, where a container lets him")
    yield repository.results
    subprocess.run(["umount", "--lazy", str(repository.results)], check=True)


def test_a_disk_that_fills_up_fails_the_tests_from_then_on(repository, watch, account, small_disk):
    repository.tests(TURNS)
    result = repository.run("--voiceloop-report=json:kept/run.json")
    left, _ = watch.left()
    happened = "the tests from then on fail and name the file; a report that goes elsewhere holds every turn"
    account(PART, "the disk that holds the results is full", happened, lost=0, leaked=left)
    assert left == 0
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        [
            "E *OSError: [[]Errno 28[]] No space left on device; make room there, *voiceloop-results/run-*",
            "script| written: *kept/run.json",
            "script| NOT WRITTEN: *run.json: No space left on device; make it with: voiceloop report *journal.jsonl*",
        ]
    )
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    kept = repository.documented(repository.path / "kept" / "run.json")
    assert outcomes(kept) == [("test_before", "passed", 1), ("test_fills_up", "failed", 1), ("test_next", "failed", 1)]


def test_a_disk_that_is_full_from_the_start(repository, watch, account, small_disk):
    (small_disk / "filler").write_bytes(bytes(3 * 2**20))
    repository.tests(TURNS)
    result = repository.run("--voiceloop-report=json:kept/run.json")
    left, _ = watch.left()
    account(PART, "the disk is full before anything began", "every test is in error and says so", leaked=left)
    assert left == 0
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(["*No space left on device*"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


def test_a_results_folder_that_may_not_be_written_to(repository, watch, account):
    repository.tests("def test_talk(voiceloop_simulator): raise AssertionError('nothing can have been booted')")
    repository.results.mkdir(mode=0o555)
    run = repository.start("--voiceloop-report=json:kept/run.json", preexec_fn=without_a_master_key)
    code = run.wait(60)
    left, _ = watch.left()
    account(PART, "a results folder that may not be written to", "every test is in error and names it", leaked=left)
    assert left == 0
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "INTERNALERROR" not in repository.said
    assert f"[Errno 13] Permission denied: '{repository.results}/run-" in repository.said
    assert f"NOT WRITTEN: {repository.results}/run-" in repository.said
    assert outcomes(repository.documented(repository.path / "kept" / "run.json")) == [("test_talk", "error", 0)]


def without_a_master_key():
    """Root may write wherever he likes, as long as he has this capability."""
    if os.geteuid() == 0:
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def test_no_port_is_left(repository, watch, account):
    # All pages but one do not exist for this run, and that one is held.
    from pytest_voiceloop.stack import ports

    repository.stack(
        then="""from pytest_voiceloop.stack import ports
    page = int(open("page").read())
    ports._GUARDS += (page - ports._LOWEST) // ports.PAGE
    ports._LOWEST, ports._HIGHEST, ports._FEWEST_PAGES = page, page + ports.PAGE, 1"""
    )
    repository.tests("def test_talk(voiceloop_simulator): raise AssertionError('nothing can have been booted')")
    with ports._page(1) as page:
        (repository.path / "page").write_text(str(page))
        result = repository.run()
    left, _ = watch.left()
    account(PART, "no free port", "every test is in error and says which range was searched", leaked=left)
    assert left == 0
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["no * free consecutive ports between *; what holds them all?"])
