"""What a run says of the machine it ran on, and what becomes of turns that the machine disturbed."""

import json

DISTURBED = """
    # Every second turn, the warm-up among them, finds another program at work.
    readings = iter([{readings}])
    machine.FOREIGN_LIMIT_PERCENT = 10
    machine.load = lambda *_: machine.Load(0.0, float(next(readings)), {{"whisper": machine.Used(0.1, 0.5, 30.0)}})
"""


def disturbed(*readings):
    return DISTURBED.format(readings=", ".join(map(str, readings))).strip()


def test_a_turn_and_a_run_say_what_the_machine_did(repository):
    repository.tests("""
        def test_turn(voiceloop_simulator):
            voiceloop_simulator.say("clip.wav", text="Hello there, you.")
    """)
    result = repository.run("--voiceloop-report=html")
    result.assert_outcomes(passed=1)
    (turn,) = repository.records["test_turn"]["turns"]
    found = turn["machine"]
    assert (turn["status"], turn["repeat"], turn["void_because"]) == ("ok", 0, [])
    assert 0 <= found["pacer_late_ms"]["p50"] <= found["pacer_late_ms"]["p99"] <= found["pacer_late_ms"]["max"]
    assert 0 <= found["steal_percent"] <= 100
    assert 0 <= found["foreign_cpu_percent"] <= 100
    assert list(found["services"]) == ["whisper", "llama", "kokoro", "outbound"]
    # Shim and service, each an interpreter.
    assert all(used["rss_mib"] > 15 for used in found["services"].values())
    reliability = repository.document["reliability"]
    assert (reliability["turns"], reliability["void"], reliability["repeated"]) == (1, 0, 0)
    assert None not in reliability["calibration"].values()
    result.stdout.fnmatch_lines(["script| machine: pacer p99 * ms, steal * %, foreign load * %*"])
    assert "Machine: pacer p99 " in (repository.results / "report.html").read_text()
    (journal,) = repository.found("run-*/journal.jsonl")
    kinds = [json.loads(line)["kind"] for line in journal.read_text().splitlines()]
    assert kinds == ["run", "calibration", *["service"] * 4, "turn", "test", "calibration"]


def test_a_disturbed_turn_is_said_again_and_both_are_kept(repository):
    # Warm-up, then the first utterance twice, the second one once.
    repository.stack(then=disturbed(40, 40, 2, 3))
    repository.tests("""
        import pytest

        @pytest.mark.latency(total="60s")
        def test_measure(voiceloop_simulator, voiceloop_corpus):
            turns = voiceloop_simulator.measure(voiceloop_corpus, trials=1, warmup=1)
            assert [(t.utterance.id, t.status, t.repeat) for t in turns] == [("one", "ok", 1), ("two", "ok", 0)]
            assert [t.status for t in turns.all] == ["void", "void", "ok", "ok"]
    """)
    result = repository.run("--voiceloop-corpus=corpus", "--voiceloop-report=html")
    result.assert_outcomes(passed=1)
    record = repository.records["test_measure"]
    because = (
        "other programs took 40 % of the processors' time (limit 10 %), and the services waited 500 ms for a processor"
    )
    assert [turn["void_because"] for turn in record["turns"]] == [[because], [because], [], []]
    assert record["budgets"][0]["n"] == 2
    (row,) = repository.document["summary"]
    assert (row["turns"], row["void"], row["ledgers"]["complete"]["total_ms"]["n"]) == (2, 1, 2)
    reliability = repository.document["reliability"]
    assert (reliability["turns"], reliability["void"], reliability["repeated"]) == (3, 1, 1)
    result.stdout.fnmatch_lines(
        ["*  VOID", "*other programs took 40 % of the processors' time*", "*void: 1 of 3 turns; 1 said again"]
    )
    assert "Void: other programs took 40 %" in (repository.results / "report.html").read_text()


def test_what_stays_disturbed_stays_void_and_say_repeats_nothing(repository):
    repository.stack(then=disturbed(*[40] * 4))
    repository.tests("""
        def test_measure(voiceloop_simulator, voiceloop_corpus):
            turns = voiceloop_simulator.measure(voiceloop_corpus.some("one"), trials=1, warmup=0)
            assert [(t.status, t.repeat) for t in turns.all] == [("void", 0), ("void", 1), ("void", 2)]
            assert len(turns) == 1

        def test_say(voiceloop_simulator):
            assert voiceloop_simulator.say("clip.wav", text="Hello there, you.").status == "void"
    """)
    repository.run("--voiceloop-corpus=corpus").assert_outcomes(passed=2)
    assert repository.document["reliability"]["void"] == 4


def test_a_run_that_boots_nothing_calibrates_nothing(repository):
    repository.tests("""
        def test_it(voiceloop_pace):
            pass
    """)
    repository.check().assert_outcomes(passed=1)
    assert set(repository.document["reliability"]["calibration"].values()) == {None}
