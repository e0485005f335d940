"""The Python of the pages is run, on scripted engines: tests as they stand, conftests with a test that uses them."""

import re

import pages
import pytest

ELSEWHERE = {
    "docs/guide.md": "test_docs_guide.py does what it says",
    "docs/protocols.md": "tests/unit/wire/test_protocol_docs.py installs it, and feeds it",
}
SAID = "This is a scripted transcript."
"""What the scripted whisper hears in everything, so what the scripted llama answers is heard without an error."""
SCRIPTED = """
import functools
from pytest_voiceloop.call import assess, machine
from pytest_voiceloop.stack import reference

# No models, and no opinion of the machine that runs these tests.
reference.reference_stack = functools.partial(reference.reference_stack, scripted=True)
assess.VOID_LATENESS_MS = 60_000
machine.STEAL_LIMIT_PERCENT = machine.FOREIGN_LIMIT_PERCENT = 100
"""
STACK = f"""
import pytest

@pytest.fixture(scope="session")
def voiceloop_stack_spec(voiceloop_pace):
    return reference.reference_stack(voiceloop_pace, options={{"llama": ["--script-reply", "{SAID}"]}})
"""
WIDER = {'"2s"': '"60s"', "percentile=95": "percentile=50"}
"""The machine may be busy, and p95 wants twenty turns, which take half a minute."""
BLOCKS = [block for block in pages.blocks("python") if block.page not in ELSEWHERE]
TESTS = [block for block in BLOCKS if "def test_" in block.text]
CONFTESTS = [block for block in BLOCKS if block not in TESTS]


@pytest.fixture
def folder(repository):
    """A repository with a corpus of one short utterance, called as the pages call theirs."""
    repository.corpus("corpus", utterances=[{"id": "canoe-heart", "file": "one.wav", "text": SAID}])
    (repository.path / "conftest.py").write_text(SCRIPTED + STACK)
    return repository


@pytest.mark.parametrize("block", TESTS, ids=str)
def test_a_test_passes(block, folder):
    text = block.text
    for written, wider in WIDER.items():
        text = text.replace(written, wider)
    folder.tests(text)
    result = folder.run("--voiceloop-corpus=corpus")
    result.assert_outcomes(passed=1)
    assert all(record["turns"] for record in folder.records.values())


@pytest.mark.parametrize("block", CONFTESTS, ids=str)
def test_a_conftest_boots_what_it_describes(block, folder):
    (folder.path / "conftest.py").write_text(SCRIPTED + block.text)
    caller = re.search(r"^(\w+) = factories\.simulator", block.text, re.MULTILINE)
    name = caller[1] if caller else "voiceloop_simulator"
    folder.tests(f"def test_it({name}, voiceloop_corpus):\n    {name}.say(voiceloop_corpus['canoe-heart'])")
    folder.run("--voiceloop-corpus=corpus").assert_outcomes(passed=1)
    assert folder.document["summary"]
    # A base is phoned beside it.
    assert len(folder.document["comparisons"]) == ("voiceloop_base_spec" in block.text)


def test_what_is_run_elsewhere_is_still_written():
    assert {block.page for block in pages.blocks("python")} >= set(ELSEWHERE)
