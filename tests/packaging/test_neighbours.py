"""A repository that has other plugins, and markers of its own, runs as before, and is measured."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent / "repository"
MEASURED = {
    "test_is_answered": "passed",
    "test_takes_too_long": "failed",
    "test_fails_at_first": "passed",
    "test_in_a_coroutine": "passed",
}
"""Tests that speak with the stack, and what comes of them."""


class Ran:
    """What one run of the repository left."""

    def __init__(self, folder, *arguments, workers):
        shutil.copytree(REPOSITORY, folder)
        self.folder, self.workers = folder, workers
        command = [sys.executable, "-m", "pytest", "-v", "--html=page.html", "--voiceloop-report=html", *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        self.said, self.complained = done.stdout, done.stderr
        self.document = json.loads((folder / "voiceloop-results" / "run.json").read_text())
        self.tests = {test["nodeid"].partition("::")[2]: test for test in self.document["tests"]}


@pytest.fixture(scope="module", params=[False, True], ids=["one-process", "xdist"])
def ran(request, tmp_path_factory):
    workers = request.param
    arguments = ["-n", "2"] if workers else []
    return Ran(tmp_path_factory.mktemp("ran") / "repository", *arguments, workers=workers)


def test_the_plugin_is_the_wheels(ran):
    import pytest_voiceloop

    assert "site-packages" in pytest_voiceloop.__file__
    assert re.search(r"plugins: .*voiceloop-\d", ran.said), ran.said


def test_turns_are_measured_and_their_ledgers_sum(ran):
    assert ran.tests.keys() == MEASURED.keys(), ran.said
    for test in ran.tests.values():
        (turn,) = test["turns"]
        assert turn["status"] == "ok"
        assert turn["reply"]["text"]
        for ledger in turn["ledgers"].values():
            assert sum(ledger["stages_ms"].values()) == pytest.approx(ledger["total_ms"], abs=0.01)


def test_a_budget_that_is_missed_fails_its_test(ran):
    (budget,) = ran.tests["test_takes_too_long"]["budgets"]
    assert budget["verdict"] == "over"
    # Workers slow each other down: their latencies are held against nobody.
    expected = MEASURED | ({"test_takes_too_long": "passed"} if ran.workers else {})
    assert {name: test["outcome"] for name, test in ran.tests.items()} == expected


def test_a_page_is_written(ran):
    page = (ran.folder / "voiceloop-results" / "report.html").read_text()
    assert all(name in page for name in MEASURED)


def test_own_markers_and_coroutines_run_as_before(ran):
    for name in ("test_own_marker", "test_own_coroutine"):
        assert re.search(rf"(PASSED.*::{name}|::{name} PASSED)", ran.said), ran.said


def test_randomly_shuffles_and_every_test_keeps_its_record(ran):
    assert "Using --randomly-seed=" in ran.said
    assert {test["nodeid"] for test in ran.document["tests"]} == {f"test_voice.py::{name}" for name in MEASURED}


def test_a_rerun_replaces_the_record_of_the_try_before(ran):
    assert "1 rerun" in ran.said
    test = ran.tests["test_fails_at_first"]
    assert (test["outcome"], len(test["turns"])) == ("passed", 1)
    # The journal has both tries.
    (journal,) = ran.folder.glob("voiceloop-results/run-*/journal.jsonl")
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    ended = [line["record"] for line in lines if line["kind"] == "test"]
    assert [record["outcome"] for record in ended if record["nodeid"] == test["nodeid"]] == ["failed", "passed"]


def test_pytest_html_writes_its_own_page(ran):
    page = (ran.folder / "page.html").read_text()
    assert all(name in page for name in (*MEASURED, "test_own_marker"))


def test_nothing_warns(ran):
    # In a test a warning is an error there. What warns earlier is counted in the last line.
    assert ran.complained == ""
    last = ran.said.splitlines()[-1]
    assert "passed" in last
    assert "warning" not in last
