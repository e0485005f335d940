"""The self-test on a booted stack, with a few turns: the figures are the machine's, and not looked at closely."""

import json

import pytest

from pytest_voiceloop import cli
from pytest_voiceloop.call import selftest

EVENTS = {"t0", "t1", "t2_first", "t2_last", "t3_first", "t3_last", "t4_first", "t4_last", "t5"}
STAGES = {"stt", "llm", "tts", "transfer", "retranscription", "total", "voice_to_voice"}


@pytest.fixture
def few_turns(monkeypatch):
    monkeypatch.setattr(selftest, "TURNS", 3)
    monkeypatch.setattr(selftest, "WARMUP_TURNS", 1)
    monkeypatch.setattr(selftest, "TAP_FRAMES", 10)
    monkeypatch.setattr(selftest, "onset_errors_ms", lambda: {"clean": {"p50": 1.0, "p95": 5.0, "max": 9.0, "n": 30}})


@pytest.mark.usefixtures("few_turns")
def test_every_event_and_stage_is_compared_with_the_services_own_stamps(tmp_path):
    # Busy: then no turn is left out, however disturbed this machine is.
    result = selftest.self_test(tmp_path, busy=True)
    assert result.error_ms.keys() >= EVENTS | STAGES
    assert result.turns == 3
    assert result.passed_on_ms.keys() == {"stt_llm", "llm_tts", "tts_out"}
    # Off by less than a second means that the stamps belong to the same frames, on the same clock.
    assert max(errors.max for errors in result.error_ms.values()) < 1000
    assert min(errors.p50 for name, errors in result.error_ms.items() if name in EVENTS) > 0


@pytest.mark.usefixtures("few_turns")
def test_the_console_prints_one_object_of_json_and_says_with_its_exit_code_whether_all_is_well(capsys):
    code = cli.main(["selftest", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert list(told)[:5] == ["ok", "error_ms", "pacer_lateness_ms", "tap_cost_ms", "cannot"]
    assert told["tap_cost_ms"].keys() == {"text", "audio"}
    # Three turns are too few to be sure of anything.
    assert told["ok"] is False
    assert told["cannot"]
    assert code == 1


@pytest.mark.usefixtures("few_turns")
def test_a_stack_that_does_not_boot_is_told_and_not_thrown(monkeypatch, capsys):
    monkeypatch.setitem(selftest.DELAYS, "llama", ("--no-such-option",))
    assert cli.main(["selftest"]) == 1
    assert "llama ended before it was ready" in capsys.readouterr().err
