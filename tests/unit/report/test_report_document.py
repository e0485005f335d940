import json
import math
import os
from pathlib import Path

import pytest
from report_documents import HOSTILE, RUN, WHISPER, budget, document, one_test, turn

from pytest_voiceloop.measure.timeline import EVENTS
from pytest_voiceloop.measure.turn import Words
from pytest_voiceloop.report import document as documents


def row_of(*turns):
    (row,) = documents.summary(turns)
    return row


def test_has_the_keys_that_are_public():
    made = document(one_test(turn(), budgets=[budget()]))
    assert list(made) == [
        "schema_version",
        "tool",
        "started_at",
        "environment",
        "settings",
        "services",
        "tests",
        "summary",
        "reliability",
    ]
    assert made["schema_version"] == 1
    assert made["tool"] == {"name": "pytest-voiceloop", "version": "0.1.0"}
    assert made["services"] == [WHISPER]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_becomes_null(value):
    made = document(one_test(turn(), budgets=[budget(observed_ms=value)]))
    assert made["tests"][0]["budgets"][0]["observed_ms"] is None
    json.dumps(made, allow_nan=False)


def test_keeps_unknown_keys_and_writes_paths_as_text():
    assert documents.strict({"a": (Path("x"), {2, 1}), 3: HOSTILE}) == {"a": ["x", [1, 2]], "3": HOSTILE}


def test_one_row_per_corpus_and_pace_and_none_without_turns():
    rows = documents.summary([turn(), turn(pace="realtime"), turn()])
    assert [(row["corpus"], row["pace"], row["turns"]) for row in rows] == [
        ("default", "asap", 2),
        ("default", "realtime", 1),
    ]
    assert documents.summary([]) == []
    assert document()["summary"] == []


def test_warm_up_void_and_contended_turns_are_in_no_figure():
    bad = {"slower_ms": 9000, "transcript": Words("x", 8, 8, 41, 41)}
    row = row_of(turn(), turn(warmup=True, **bad), turn(status="void", **bad), turn(flags=("contended",), **bad))
    assert (row["turns"], row["void"], row["contended"], row["timeout"], row["failed"]) == (1, 1, 1, 0, 0)
    assert row["ledgers"]["complete"]["total_ms"]["n"] == 1
    assert row["ledgers"]["first_audio"]["total_ms"]["max"] == 960
    assert row["transcript_wer"] == 0.125


def test_a_turn_that_never_ended_stays_in_the_total_as_infinite():
    silent = turn(missing=("t4_first", "t4_last", "t5"))
    total = row_of(turn(), turn(), silent)["ledgers"]["complete"]["total_ms"]
    assert (total["n"], total["timed_out"], total["p50"], total["max"]) == (3, 1, 1690.001, None)
    total = row_of(turn(), silent, silent)["ledgers"]["complete"]["total_ms"]
    assert total["p50"] is None


def test_a_reply_that_never_stopped_has_a_voice_to_voice_and_no_total():
    ledgers = row_of(turn(status="timeout"))["ledgers"]
    assert ledgers["complete"]["total_ms"]["timed_out"] == 1
    assert ledgers["first_audio"]["total_ms"]["p50"] == 960


def test_a_total_that_the_stack_cannot_show_is_no_time_out():
    unjudged = turn(expected=[event for event in EVENTS if event != "t5"])
    total = row_of(unjudged)["ledgers"]["complete"]["total_ms"]
    assert (total["n"], total["timed_out"], total["p50"]) == (0, 0, None)


def test_error_rates_are_all_errors_over_all_words():
    row = row_of(
        turn("a", transcript=Words("", 4, 4, 9, 10)),
        turn("b", transcript=Words("", 0, 12, 1, 40), heard=Words("")),
    )
    assert row["transcript_wer"] == 0.25
    assert row["transcript"]["cer"] == 0.2
    assert row["transcript"]["low"] == 0
    assert row["heard"] | {"low": 0, "high": 0} == {
        "errors": 0,
        "words": 6,
        "cer": 0,
        "low": 0,
        "high": 0,
        "turns": 1,
        "left_out": 1,
    }


def test_p95_waits_for_twenty_turns():
    def p95(n):
        return row_of(*[turn(slower_ms=i) for i in range(n)])["ledgers"]["complete"]["total_ms"]["p95"]

    assert p95(19) is None
    assert p95(20) is not None


def test_rates_and_replies_stand_beside_the_latencies():
    row = row_of(turn(flags=("split",)), turn(), turn(flags=("cut_off",)), turn(tts_rtf=None))
    assert (row["split_rate"], row["cut_off_rate"]) == (0.25, 0.25)
    assert (row["reply_words"], row["reply_audio_s"], row["tts_rtf"]) == (6, 2.1, 0.42)


def test_first_and_later_turns_of_a_call_are_reported_apart():
    row = row_of(turn(), turn(index=1, slower_ms=100), turn(index=2, slower_ms=100))
    assert (row["first_turns"]["turns"], row["later_turns"]["turns"]) == (1, 2)
    assert row["later_turns"]["voice_to_voice_ms"]["p50"] == 1060


def test_a_corpus_of_failures_has_a_row_of_nulls():
    row = row_of(turn(status="failed", missing=("t1",)), turn(missing=("t4_first",)))
    assert (row["turns"], row["failed"], row["timeout"], row["cut_off_rate"]) == (0, 1, 1, None)
    json.dumps(row, allow_nan=False)


def test_environment_knows_this_machine(monkeypatch):
    monkeypatch.setenv("CI", "true")
    facts = documents.environment()
    assert facts["cores"] >= 1
    assert facts["memory_mib"] > 0
    assert facts["versions"]["pytest"] == pytest.__version__
    assert facts["ci"] == "true"
    assert documents.strict(facts) == facts


def test_environment_without_git_has_no_commit(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    assert documents.environment()["git_commit"] is None


def test_build_leaves_its_arguments_alone():
    tests = [one_test(turn())]
    before = json.dumps(tests)
    documents.build(tests, [], **RUN, calibration={})
    assert json.dumps(tests) == before
