"""The self-test as a fixture."""


def test_the_fixture_measures_once_and_gives_its_result(repository):
    (repository.path / "conftest.py").write_text("""
from pytest_voiceloop.call import selftest

selftest.TURNS, selftest.WARMUP_TURNS, selftest.TAP_FRAMES = 2, 1, 10
selftest.onset_errors_ms = dict
""")
    repository.tests("""
def test_one(voiceloop_selftest):
    assert voiceloop_selftest.turns + voiceloop_selftest.void == 2
    assert voiceloop_selftest.pacer_lateness_ms.p50 < 1000

def test_two(voiceloop_selftest, request):
    assert voiceloop_selftest.as_json()["ok"] is False
""")
    result = repository.run("-s", "--voiceloop-require")
    result.assert_outcomes(passed=2)
    # A self-test is scripted by nature, so --voiceloop-require does not refuse it, and it boots no stack for the tests.
    assert result.stdout.str().count("booting whisper") == 1
