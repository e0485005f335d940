"""The Markdown of a CI job's summary page."""

from report_documents import HOSTILE, WHISPER, document, one_test, turn

from pytest_voiceloop.report.comparison import with_baseline
from pytest_voiceloop.report.step_summary import step_summary


def run(slower_ms=0, **more):
    turns = [turn(f"u{number}", slower_ms=slower_ms) for number in range(14)]
    return document(one_test(*turns, **more), services=(WHISPER,))


def test_before_and_after_stand_beside_each_other():
    found = run(300)
    found["comparisons"] = [with_baseline(run(), found, "main")]
    text = step_summary(found)
    assert "**regressed** against main" in text
    assert "| total (default, asap) | 1690 ms | 1990 ms | +300 ms | regressed |" in text


def test_a_row_that_is_neither_a_headline_nor_worse_is_left_out():
    found = run()
    found["comparisons"] = [with_baseline(run(), found, "main")]
    assert "transfer" not in step_summary(found)


def test_time_outs_that_leave_it_open_are_shown():
    turns = [turn(f"u{number}", missing=("t5",) if number < 3 else ()) for number in range(30)]
    found, base = document(one_test(*turns)), document(one_test(*(turn(f"u{number}") for number in range(30))))
    found["comparisons"] = [with_baseline(base, found, "main")]
    assert "| timed_out_rate (default, asap) | 0 | 0.1 | +0.1 | inconclusive |" in step_summary(found)


def test_medians_are_shown_without_a_comparison():
    assert "| default, asap | 14 | 1690 ms | 960 ms | 0.125 | 0 |" in step_summary(run())


def test_failed_tests_are_named_with_their_reason():
    text = step_summary(run(outcome="failed", message="total is over its limit\nmore"))
    assert "* `tests/test_it.py::test_it`: total is over its limit" in text
    assert "more" not in text


def test_nothing_measured_is_said():
    assert "Nothing was measured." in step_summary(document())


def test_what_models_and_people_wrote_is_no_markup():
    text = step_summary(run(outcome="failed", nodeid=HOSTILE, message=HOSTILE))
    assert "<img" not in text
    assert "\n" not in text.split("**Failed**\n\n")[1].rstrip("\n")
