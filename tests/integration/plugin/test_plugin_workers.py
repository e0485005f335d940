"""Under xdist: the same records, measured and not held against anyone."""

TESTS = """
import pytest

@pytest.mark.latency(total="1ms")
def test_slow(voiceloop_simulator):
    voiceloop_simulator.say("clip.wav", text="This is a scripted transcript.")

@pytest.mark.quality(transcript_wer=0.5)
def test_mumbles(voiceloop_simulator):
    voiceloop_simulator.say("clip.wav", text="Hello there, you.")
"""


def shape(value):
    """What stays the same from run to run: keys, texts, and what kind of thing a number is."""
    if isinstance(value, dict):
        return {
            key: shape(item) for key, item in value.items() if key not in ("message", "sections", "audio", "call_id")
        }
    if isinstance(value, list):
        return [shape(item) for item in value if item != "contended"]
    return type(value) if isinstance(value, float) else value


def test_workers_make_the_same_records_and_hold_latency_against_nobody(repository):
    repository.tests(TESTS)
    repository.run().assert_outcomes(failed=2)
    alone = repository.document
    result = repository.run("-n", "2", "--voiceloop-report=html")
    result.assert_outcomes(passed=1, failed=1)
    shared = repository.document
    result.stdout.fnmatch_lines(["script| voiceloop: 1 test failed, 2 budgets missed, 2 of 2 turns completed*"])
    result.stdout.no_fnmatch_line("*booting*")

    def by_name(document):
        return {test["nodeid"]: test for test in shape(document)["tests"]}

    expected, got = by_name(alone), by_name(shared)
    assert (got["test_voice.py::test_slow"].pop("outcome"), got["test_voice.py::test_mumbles"].pop("outcome")) == (
        "passed",
        "failed",
    )
    for test in expected.values():
        test.pop("outcome")
    for test in (*expected.values(), *got.values()):
        for turn in test["turns"]:
            # How many frames it took is a matter of the machine.
            turn.pop("counters")
            turn.pop("playout")
    assert got == expected
    assert shared.keys() == alone.keys()

    turns = [turn for test in shared["tests"] for turn in test["turns"]]
    assert [turn["flags"] for turn in turns] == [["contended"]] * 2
    assert [len(document["services"]) for document in (alone, shared)] == [4, 8], "each worker has a stack of its own"
    (row,) = shared["summary"]
    assert (row["turns"], row["contended"]) == (0, 2)
    # One journal, one run, whoever wrote first.
    journal = repository.found("run-*/journal.jsonl")[-1].read_text()
    assert journal.startswith('{"kind":"run"')
    assert journal.count('{"kind":"run"') == 1
    assert journal.count('{"kind":"turn"') == 2
    assert not repository.processes()


def test_workers_tell_what_is_written_wrongly(repository):
    repository.tests("""
        import pytest

        @pytest.mark.latency(totl="2s")
        def test_typo(voiceloop_simulator): pass

        def test_of_somebody_else(): pass
    """)
    result = repository.run("-n", "2")
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(["@pytest.mark.latency on test_voice.py::test_typo: there is no 'totl'; did you mean*"])
