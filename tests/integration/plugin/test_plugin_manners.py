"""What the plugin leaves alone: other people's repositories, their markers, and their time."""

import sys

import pytest

HEAVY = ["numpy", "jinja2", "jiwer", "psutil", "asyncio", "soundfile", "soxr", "whisper_normalizer", "platformdirs"]
"""None of these may be loaded before a test needs it."""


def test_a_repository_without_our_fixtures_is_untouched(repository):
    repository.pytester.makeini("""
        [pytest]
        addopts = --strict-markers --strict-config
        markers =
            pipeline(stage): of a data pipeline
            latency(ms): of a network
            quality: of a photograph
    """)
    (repository.path / "conftest.py").unlink()
    repository.tests(f"""
        import sys
        import pytest

        @pytest.mark.pipeline("load")
        @pytest.mark.latency(5)
        @pytest.mark.quality("jpeg", wer=7)
        def test_other_meaning(request):
            assert request.node.get_closest_marker("timeout") is None
            assert not set({HEAVY!r}) & set(sys.modules)

        @pytest.mark.latency("2 fast")
        def test_that_fails():
            raise AssertionError
    """)
    result = repository.pytester.runpytest_subprocess(
        *("-p", "no:hypothesispytest", "-p", "no:anyio", "-p", "no:xdist", "-p", "no:xdist.looponfail"),
        *("-p", "no:platformdirs"),
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.no_fnmatch_line("*voiceloop*:*")
    assert not repository.results.exists()


def test_importing_the_plugin_imports_nothing_heavy(repository):
    script = f"""
import sys
import pytest
before = set(sys.modules)
import pytest_voiceloop.plugin
print(sorted(set({HEAVY!r}) & (set(sys.modules) - before)))
print(sorted(name for name in sys.modules if name.startswith("voiceloop_services")))
"""
    result = repository.pytester.run(sys.executable, "-c", script)
    result.stdout.fnmatch_lines(["[[]]", "[[]]"])


def test_our_markers_are_known_to_strict_repositories(repository):
    repository.tests("""
        import pytest

        @pytest.mark.pipeline
        @pytest.mark.latency(total="2s")
        @pytest.mark.quality(loop_wer=0.1)
        def test_it(): pass
    """)
    repository.check("--strict-markers", "-m", "pipeline").assert_outcomes(passed=1)
    result = repository.check("--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.pipeline: *", "@pytest.mark.latency(total=*", "@pytest.mark.quality(*"])


def test_without_the_plugin_nothing_of_it_is_there(repository):
    (repository.path / "conftest.py").unlink()
    repository.tests("def test_it(): pass")
    off = ("-p", "no:voiceloop")
    result = repository.pytester.runpytest_subprocess("-p", "no:hypothesispytest", *off)
    result.assert_outcomes(passed=1)
    assert not repository.results.exists()
    result = repository.pytester.runpytest_subprocess("-p", "no:hypothesispytest", *off, "--voiceloop-pace=asap")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*unrecognized arguments: --voiceloop-pace=asap"])
    result = repository.pytester.runpytest_subprocess("-p", "no:hypothesispytest", *off, "--markers")
    result.stdout.no_fnmatch_line("@pytest.mark.latency*")


def test_every_option_has_its_ini_twin_in_the_help(repository):
    result = repository.check("--help")
    said = result.stdout.str()
    for name in ("report", "dir", "corpus", "ports", "pace", "trials", "warmup", "seed", "junit", "require", "slow"):
        assert f"--voiceloop-{name}" in said
        assert f"voiceloop_{name} (" in said
    assert "default: 5" in said


def test_fixtures_are_listed_with_what_they_give(repository):
    result = repository.check("--fixtures")
    result.stdout.fnmatch_lines(["voiceloop_simulator *", "    A caller; the call starts with its first `say`*"])
    result.stdout.fnmatch_lines(["voiceloop_outbound *scope*"])


def test_results_go_where_they_are_told_to_and_old_runs_are_dropped(repository):
    elsewhere = repository.path / "out"
    for number in range(7):
        (elsewhere / f"run-20200101-00000{number}-1" / "audio").mkdir(parents=True)
    (elsewhere / "mine.txt").write_text("stays")
    repository.pytester.makeini(f"[pytest]\nvoiceloop_dir = {elsewhere}\nvoiceloop_report = json:pages/voice.json\n")
    repository.tests("""
        def test_turn(voiceloop_simulator):
            voiceloop_simulator.say("clip.wav", text="Hello there, you.")
    """)
    repository.run().assert_outcomes(passed=1)
    assert not repository.results.exists()
    runs = sorted(path.name for path in elsewhere.glob("run-*"))
    assert len(runs) == 5
    assert runs[0] == "run-20200101-000003-1"
    assert (elsewhere / "mine.txt").exists()
    assert (repository.path / "pages" / "voice.json").read_text() == (elsewhere / "run.json").read_text()


def test_a_page_that_lies_elsewhere_finds_the_audio(repository):
    repository.tests("""
        def test_turn(voiceloop_simulator):
            voiceloop_simulator.say("clip.wav", text="Hello there, you.")
    """)
    repository.run("--voiceloop-report=html:pages/deep/voice.html").assert_outcomes(passed=1)
    page = (repository.path / "pages" / "deep" / "voice.html").read_text()
    assert page.count('src="data:audio/') == 2, "the caller and the reply"


def test_a_fixture_asked_for_by_name_works_like_any_other(repository):
    repository.tests("""
        import pytest

        @pytest.mark.latency(total="1ms")
        def test_it(request):
            request.getfixturevalue("voiceloop_simulator").say("clip.wav", text="Hello there, you.")
    """)
    result = repository.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["total is over its limit of 1 ms *"])
    assert repository.records["test_it"]["outcome"] == "failed"
