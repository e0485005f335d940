"""Reports are written however a run ends; one that is killed leaves its journal (supervision/test_survives_signals)."""

import json

import pytest

from pytest_voiceloop.report.render import FORMATS, SUFFIXES, render

ALL = tuple(f"--voiceloop-report={form}" for form in FORMATS)


def reports_of(repository):
    """Every report beside run.json; each is a function of that, and none is half."""
    document = repository.document
    places = {"audio_folder": ".", "audio_in": repository.results}
    for form in FORMATS:
        assert (repository.results / f"report.{SUFFIXES[form]}").read_text() == render(document, form, **places)
    assert not list(repository.path.glob("**/*.part"))
    return document


def outcomes(document):
    return [(test["nodeid"].partition("::")[2], test["outcome"], len(test["turns"])) for test in document["tests"]]


def test_every_report_survives_failing_tests_and_broken_fixtures(repository, account):
    repository.tests("""
        import pytest

        @pytest.fixture
        def breaks(voiceloop_simulator):
            voiceloop_simulator.say("clip.wav", text="Hello there, you.")
            raise RuntimeError("in set-up")

        @pytest.fixture
        def breaks_at_the_end(voiceloop_simulator):
            yield voiceloop_simulator
            raise RuntimeError("in tear-down")

        def test_fails(voiceloop_simulator):
            voiceloop_simulator.say("clip.wav", text="Hello there, you.")
            assert False, "as planned"

        def test_never_begins(breaks): pass

        def test_never_ends(breaks_at_the_end):
            breaks_at_the_end.say("clip.wav", text="Hello there, you.")
    """)
    result = repository.run(*ALL)
    result.assert_outcomes(failed=1, passed=1, errors=2)
    document = reports_of(repository)
    assert outcomes(document) == [
        ("test_fails", "failed", 1),
        ("test_never_begins", "error", 1),
        ("test_never_ends", "error", 1),
    ]
    messages = [test["message"] for test in document["tests"]]
    assert ["as planned" in messages[0], "in set-up" in messages[1], "in tear-down" in messages[2]] == [True] * 3
    result.stdout.fnmatch_lines([f"script| written: *report.{suffix}" for suffix in SUFFIXES.values()])
    left = len(repository.processes())
    happened = "the test is in error, every report holds the turns before"
    account("The harness", "a fixture raises, in set-up and in tear-down", happened, lost=0, leaked=left)
    assert left == 0


@pytest.mark.parametrize(
    ("line", "arguments", "outcome", "code"),
    [
        ("assert False", ["-x"], "failed", pytest.ExitCode.TESTS_FAILED),
        ("assert False", ["--maxfail=1"], "failed", pytest.ExitCode.TESTS_FAILED),
        ("pytest.exit('enough', returncode=7)", [], "unfinished", 7),
        ("raise KeyboardInterrupt", [], "unfinished", pytest.ExitCode.INTERRUPTED),
    ],
)
def test_every_report_survives_a_run_that_is_cut_short(repository, account, line, arguments, outcome, code):
    repository.tests(f"""
        import pytest

        def test_ends_it(voiceloop_simulator):
            voiceloop_simulator.say("clip.wav", text="Hello there, you.")
            {line}

        def test_never_run(voiceloop_simulator): pass
    """)
    assert repository.run(*ALL, *arguments).ret == code
    assert outcomes(reports_of(repository)) == [("test_ends_it", outcome, 1)]
    left = len(repository.processes())
    case = f"{' '.join(arguments) or line}, after a turn"
    account("The harness", case, f"pytest ends with {int(code)}; every report holds the turn", lost=0, leaked=left)
    assert left == 0


def test_a_report_that_cannot_be_written_fails_the_run_and_keeps_no_other_back(repository):
    repository.tests("""
        def test_turn(voiceloop_simulator):
            voiceloop_simulator.say("clip.wav", text="Hello there, you.")
    """)
    result = repository.run("--voiceloop-report=html:clip.wav/page.html", "--voiceloop-report=text")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1)
    (journal,) = repository.found("run-*/journal.jsonl")
    cure = f"make it with: voiceloop report {journal} --format html -o FILE"
    result.stdout.fnmatch_lines(
        [
            "script| written: */run.json",
            "script| written: */report.txt",
            f"script| NOT WRITTEN: */clip.wav/page.html: *; {cure}",
        ]
    )
    assert (repository.results / "report.txt").read_text() == render(repository.document, "text")


def test_a_ci_job_gets_its_summary_behind_what_other_steps_wrote(repository, monkeypatch):
    page = repository.path / "summary.md"
    page.write_text("of another step\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    repository.tests("""
        def test_turn(voiceloop_simulator):
            voiceloop_simulator.say("clip.wav", text="Hello there, you.")
    """)
    repository.run().assert_outcomes(passed=1)
    assert page.read_text() == "of another step\n" + render(repository.document, "summary")


def test_a_run_without_our_tests_leaves_the_reports_of_the_last_one(repository):
    repository.results.mkdir()
    (repository.results / "run.json").write_text(json.dumps({"kept": True}))
    repository.tests("def test_of_somebody_else(): pass")
    repository.check(*ALL).assert_outcomes(passed=1)
    assert json.loads((repository.results / "run.json").read_text()) == {"kept": True}
    (repository.results / "run.json").unlink()
    assert not repository.found("*")
