"""A test's figures in JUnit's XML."""

from xml.etree import ElementTree as ET

import pytest

from pytest_voiceloop.report.junit import NAMES

HOSTILE = "]]></failure></testcase><img src=x onerror=alert(1)> & \x1b[31m \u202eright-to-left \U0001f600"
TESTS = """
import pytest

@pytest.mark.latency(total="60s")
def test_kept(voiceloop_simulator, record_property):
    record_property("mine", "stays")
    voiceloop_simulator.say("clip.wav", text="Hello there, you.")

@pytest.mark.quality(transcript_wer=0.1)
def test_missed(voiceloop_simulator):
    voiceloop_simulator.say("clip.wav", text="Hello there, you.")

def test_breaks_at_the_end(voiceloop_simulator, request):
    voiceloop_simulator.say("clip.wav", text="Hello there, you.")
    request.addfinalizer(lambda: 1 / 0)

def test_of_somebody_else(): pass
"""
WITHOUT_VERDICT = set(NAMES) - {"voiceloop_turns_contended", "voiceloop_verdict"}


def properties_of(repository):
    """A test's name → name and value of each property of its case."""
    cases = {}
    for case in ET.parse(repository.path / "junit.xml").iter("testcase"):
        found = [(one.get("name"), one.get("value")) for one in case.iter("property")]
        assert len(dict(found)) == len(found), "each name once"
        assert case.get("name") not in cases
        cases[case.get("name")] = dict(found)
    return cases


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["", "workers"])
def test_figures_are_properties_of_the_test_case_and_the_xml_is_valid(repository, workers):
    repository.stack(whisper=["--script-text", HOSTILE], llama=["--script-reply", HOSTILE])
    repository.tests(TESTS)
    result = repository.run("--junitxml=junit.xml", "-Wignore::pytest.PytestWarning", *workers)
    result.assert_outcomes(passed=3, failed=1, errors=1)
    found = properties_of(repository)
    contended = {"voiceloop_turns_contended"} if workers else set()
    assert found["test_kept"].keys() == WITHOUT_VERDICT | contended | {"voiceloop_verdict", "mine"}
    assert found["test_missed"].keys() == WITHOUT_VERDICT | contended | {"voiceloop_verdict"}
    assert found["test_breaks_at_the_end"].keys() == WITHOUT_VERDICT | contended
    assert found["test_of_somebody_else"] == {}
    assert [found[name]["voiceloop_verdict"] for name in ("test_kept", "test_missed")] == ["within", "over"]
    (turn,) = repository.records["test_kept"]["turns"]
    assert float(found["test_kept"]["voiceloop_total_ms_p50"]) == turn["ledgers"]["complete"]["total_ms"]
    assert float(found["test_kept"]["voiceloop_transcript_wer"]) == turn["transcript"]["wer"] > 0
    result.stdout.fnmatch_lines(["*transcript *img src=x onerror=alert(1)> & \\x1b?31m \\u202eright-to-left *"])
    said = ET.tostring(ET.parse(repository.path / "junit.xml").getroot(), encoding="unicode")
    assert "]]&gt;&lt;/failure" in said, "the words are there, as words"


@pytest.mark.parametrize("how", ["option", "ini"])
def test_figures_can_be_left_out(repository, how):
    if how == "ini":
        repository.pytester.makeini("[pytest]\nvoiceloop_junit = false\n")
    repository.tests("""
        def test_turn(voiceloop_simulator):
            voiceloop_simulator.say("clip.wav", text="Hello there, you.")
    """)
    arguments = ["--voiceloop-junit=false"] if how == "option" else []
    repository.run("--junitxml=junit.xml", *arguments).assert_outcomes(passed=1)
    assert properties_of(repository) == {"test_turn": {}}
