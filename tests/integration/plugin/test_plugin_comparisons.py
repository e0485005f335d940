"""Runs that are kept, compared with, replayed, and measured turn about with another version."""

import json
import shutil
from pathlib import Path

import pytest

import voiceloop_services

MEASURE = """
def test_corpus(voiceloop_simulator, voiceloop_corpus):
    voiceloop_simulator.measure(voiceloop_corpus, trials=1, warmup=0)
"""
CLIPS = 8


@pytest.fixture
def measured(repository):
    """A repository with a corpus that is large enough for an interval."""
    utterances = []
    for number in range(CLIPS):
        repository.write_clip(repository.path / f"many/{number}.wav", repository.speech(0.3, seed=number))
        utterances.append({"id": f"clip-{number}", "file": f"{number}.wav", "text": "This is a scripted transcript."})
    manifest = {"name": "many", "synthetic": True, "utterances": utterances}
    (repository.path / "many" / "manifest.json").write_text(json.dumps(manifest))
    (repository.path / "pytest.ini").write_text("[pytest]\nvoiceloop_corpus = many\n")
    repository.tests(MEASURE)
    return repository


def comparison(repository):
    (found,) = repository.document["comparisons"]
    return found


def base_fixture(**options):
    return f"""
@pytest.fixture(scope="session")
def voiceloop_base_spec(voiceloop_pace):
    return reference_stack(voiceloop_pace, scripted=True, options={options!r})
"""


def test_a_run_is_kept_and_the_same_stack_is_no_regression(measured):
    measured.run("--voiceloop-save=main").assert_outcomes(passed=1)
    assert json.loads((measured.results / "baselines" / "main.json").read_text())["tests"]
    result = measured.run("--voiceloop-compare=main:50%,500ms")
    assert result.ret == 0
    found = comparison(measured)
    assert found["verdict"] in ("same", "better")
    assert {row["n"] for row in found["rows"] if row["metric"] == "total"} == {CLIPS}


def test_a_slower_service_fails_the_run_and_is_named(measured):
    measured.run("--voiceloop-save=main")
    result = measured.run("--voiceloop-compare=main", "--voiceloop-slow=llama=400ms")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    found = comparison(measured)
    assert (found["verdict"], found["doors"]) == ("regressed", ["llm"])
    result.stdout.fnmatch_lines(["*main*", "*llm*"])


def test_a_baseline_that_is_not_there_stops_the_run_before_it_measures(measured):
    result = measured.run("--voiceloop-compare=mian")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--voiceloop-compare: *mian.json is not there; none is kept there yet*"])


def test_another_corpus_is_refused_and_named(measured):
    measured.run("--voiceloop-save=main")
    kept = measured.results / "baselines" / "main.json"
    kept.write_text(kept.read_text().replace('"many"', '"other"'))
    result = measured.run("--voiceloop-compare=main")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    found = comparison(measured)
    assert found["verdict"] == "refused"
    assert any("corpus" in why for why in found["refused"])


def test_a_base_is_measured_turn_about(measured):
    conftest = measured.path / "conftest.py"
    conftest.write_text(conftest.read_text() + base_fixture(llama=["--script-delay-ms", "400"]))
    result = measured.run()
    assert result.ret == 0
    (test,) = measured.document["tests"]
    assert [turn["utterance"]["id"] for turn in test["base_turns"]] == [f"clip-{n}" for n in range(CLIPS)]
    assert len(test["turns"]) == CLIPS
    first = [line for line in measured.found("run-*/journal.jsonl")[-1].read_text().splitlines() if '"turn"' in line]
    assert [json.loads(line)["record"]["base"] for line in first[:4]] == [False, True, True, False]
    assert comparison(measured)["verdict"] == "better"
    assert [service["base"] for service in measured.document["services"]].count(True) == 4
    assert not measured.processes()


def test_a_checkout_is_the_base_and_runs_its_own_services(measured, tmp_path):
    services = tmp_path / "base" / "services" / "voiceloop_services"
    shutil.copytree(Path(voiceloop_services.__file__).parent, services)
    main = services / "llama" / "__main__.py"
    assert "You said" in main.read_text()
    main.write_text(main.read_text().replace("You said", "In the base you said"))
    measured.run(f"--voiceloop-base={tmp_path / 'base'}")
    (test,) = measured.document["tests"]
    assert {turn["reply"]["text"][:12] for turn in test["turns"]} == {"You said: Th"}
    assert {turn["reply"]["text"][:12] for turn in test["base_turns"]} == {"In the base "}


def test_a_base_that_is_no_folder_is_told(repository):
    repository.tests(MEASURE)
    result = repository.run("--voiceloop-base=nowhere", "--voiceloop-corpus=corpus")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*--voiceloop-base: *nowhere is no folder*git worktree add*"])


def test_a_replayed_reply_is_spoken_instead_of_the_live_one(repository):
    repository.tests("""
        def test_turn(voiceloop_simulator):
            voiceloop_simulator.say("clip.wav", text="This is a scripted transcript.")
    """)
    repository.stack(llama=["--script-reply", "One two three four five six seven eight."])
    repository.run("--voiceloop-save=long")
    ((recorded,),) = (test["turns"] for test in repository.document["tests"])
    repository.stack(llama=["--script-reply", "Short."], whisper=["--script-text", "Something else."])
    repository.run("--voiceloop-replay=long").assert_outcomes(passed=1)
    ((replayed,),) = (test["turns"] for test in repository.document["tests"])
    assert (replayed["transcript"]["text"], replayed["reply"]["text"]) == ("Something else.", "Short.")
    assert replayed["replayed"] == {
        "transcript": recorded["transcript"]["text"],
        "reply": "One two three four five six seven eight.",
    }
    assert replayed["reply"]["audio_s"] == recorded["reply"]["audio_s"]


def test_an_undecided_budget_fails_where_that_is_asked_for(measured):
    measured.tests("""
        import pytest

        @pytest.mark.quality(transcript_wer=0.3)
        def test_corpus(voiceloop_simulator, voiceloop_corpus):
            said = list(voiceloop_corpus)
            voiceloop_simulator.measure(said[:4], trials=1, warmup=0)
            for one in said[4:6]:
                voiceloop_simulator.hang_up()
                voiceloop_simulator.say(one.path, text="Quite other words.")
    """)
    measured.run().assert_outcomes(passed=1)
    result = measured.run("--voiceloop-inconclusive=fail")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*transcript_wer may be over its limit*"])


def test_an_undecided_budget_is_measured_for_longer_where_that_is_asked_for(measured):
    measured.tests("""
        import pytest

        @pytest.mark.latency(total="1ms", percentile=50)
        @pytest.mark.quality(transcript_wer=0.3)
        def test_corpus(voiceloop_simulator, voiceloop_corpus):
            wrong = voiceloop_corpus[0].path
            voiceloop_simulator.say(wrong, text="Quite other words.")
            voiceloop_simulator.hang_up()
            voiceloop_simulator.measure(list(voiceloop_corpus)[:3], trials=1, warmup=0)
    """)
    measured.run("--voiceloop-inconclusive=extend")
    (test,) = measured.document["tests"]
    assert len(test["turns"]) > 4


def test_an_undecided_comparison_is_measured_for_longer_too(measured):
    conftest = measured.path / "conftest.py"
    conftest.write_text(conftest.read_text() + base_fixture())
    measured.tests("""
        def test_few(voiceloop_simulator, voiceloop_corpus):
            voiceloop_simulator.measure(list(voiceloop_corpus)[:2], trials=1, warmup=0)
    """)
    measured.run("--voiceloop-inconclusive=extend")
    (test,) = measured.document["tests"]
    # Two utterances are too few for any verdict, however often they are said.
    assert (len(test["turns"]), len(test["base_turns"])) == (6, 6)
    assert comparison(measured)["verdict"] == "inconclusive"


def test_a_run_without_a_turn_does_not_take_the_place_of_a_baseline(measured):
    measured.run("--voiceloop-save=main").assert_outcomes(passed=1)
    kept = (measured.results / "baselines" / "main.json").read_text()
    measured.tests("""
        import pytest

        def test_skipped(voiceloop_simulator):
            pytest.skip("no model here")
    """)
    result = measured.run("--voiceloop-save=main")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*NOT WRITTEN: *main.json: no turn of this run counts*"])
    assert (measured.results / "baselines" / "main.json").read_text() == kept


def test_a_baseline_that_is_broken_within_stops_the_run_before_it_measures(measured):
    measured.run("--voiceloop-save=main").assert_outcomes(passed=1)
    kept = measured.results / "baselines" / "main.json"
    document = json.loads(kept.read_text())
    del document["tests"][0]["turns"][3]["utterance"]["audio_s"]
    kept.write_text(json.dumps(document))
    result = measured.run("--voiceloop-compare=main")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--voiceloop-compare: *main.json cannot be compared: KeyError: 'audio_s'.*"])


def test_a_baseline_is_kept_under_a_name_and_not_a_path(measured):
    result = measured.run("--voiceloop-save=kept.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--voiceloop-save*write a name, such as kept*"])
