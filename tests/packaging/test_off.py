"""With ``-p no:voiceloop`` nothing of the plugin is left."""

import re
import shutil
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent / "repository"


@pytest.fixture
def without(pytester):
    """A function: runs pytest in the repository without the plugin."""
    shutil.copytree(REPOSITORY, pytester.path, dirs_exist_ok=True)
    return lambda *arguments: pytester.runpytest_subprocess("-p", "no:voiceloop", *arguments)


@pytest.mark.parametrize("asked", ["--help", "--markers", "--fixtures"])
def test_no_option_marker_or_fixture_is_listed(without, asked):
    result = without(asked, "test_data.py")
    assert result.ret == 0
    # The repository's own fixture, in its conftest, stays.
    assert re.findall(r"^.*voiceloop.*$", result.stdout.str().replace("voiceloop_stack_spec", ""), re.MULTILINE) == []


def test_the_repositorys_own_tests_run(without, pytester):
    without("test_data.py").assert_outcomes(passed=2)
    assert not (pytester.path / "voiceloop-results").exists()


def test_none_of_its_modules_is_imported(without, pytester):
    pytester.makepyfile("""
        import sys

        def test_modules():
            assert [name for name in sys.modules if "voiceloop" in name] == []
    """)
    without("test_none_of_its_modules_is_imported.py").assert_outcomes(passed=1)


def test_an_option_of_its_is_unknown(without):
    result = without("--voiceloop-pace=asap")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*unrecognized arguments: --voiceloop-pace=asap*"])


def test_its_markers_are_unknown_to_a_strict_repository(without):
    result = without("test_voice.py")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["'latency' not found in `markers` configuration option"])


def test_its_fixtures_are_not_found(without, pytester):
    pytester.makepyfile("def test_turn(voiceloop_simulator): pass")
    result = without("test_its_fixtures_are_not_found.py")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'voiceloop_simulator' not found"])
