import math

import pytest

from pytest_voiceloop.measure.budgets import Budget, check_n, judge, judge_rate, least_n
from pytest_voiceloop.measure.statistics import Interval

SOURCE = "latency(total='2s') on test_it"


def budget(percentile=None, limit=100.0):
    return Budget("total", limit, "ms", SOURCE, percentile)


@pytest.mark.parametrize(("value", "verdict"), [(99.0, "within"), (100.0, "within"), (100.001, "over")])
def test_a_single_turn_is_judged_by_its_value_and_says_so(value, verdict):
    found = judge(budget(), [value])
    assert (found.verdict, found.observed, found.low, found.high, found.n) == (verdict, value, None, None, 1)
    assert "one turn, judged by its value" in found.note


def test_every_turn_has_to_hold():
    assert judge(budget(), [50, 60, 100]).verdict == "within"
    found = judge(budget(), [50, 101, 60, 120])
    assert (found.verdict, found.observed, found.n) == ("over", 120, 4)
    assert "2 of 4 turns over" in found.note


def test_every_turn_close_to_the_limit_is_not_inconclusive():
    assert judge(budget(), [99.0, 99.9, 98.0] * 10).verdict == "within"


@pytest.mark.parametrize("percentile", [None, 50])
def test_what_was_not_measured_is_over_and_named(percentile):
    found = judge(budget(percentile), [50, None, 60, None])
    assert (found.verdict, found.observed) == ("over", None)
    assert found.note == "total was not measured in 2 of 4 turns (turn 2, 4)"


def test_no_turn_is_over():
    found = judge(budget(), [])
    assert (found.verdict, found.n) == ("over", 0)
    assert "there was no turn that counts" in found.note


def test_a_time_out_is_over_and_says_so():
    found = judge(budget(), [50, math.inf])
    assert (found.verdict, found.observed) == ("over", math.inf)
    assert "timed out" in found.note


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([50 + n for n in range(20)], "within"),
        ([150 + n for n in range(20)], "over"),
        ([91 + n for n in range(20)], "inconclusive"),
    ],
)
def test_a_percentile_is_judged_by_its_interval(values, verdict):
    found = judge(budget(50), values)
    assert found.verdict == verdict
    assert found.low == sorted(values)[5]
    assert found.high == sorted(values)[14]
    assert ("spans the limit" in found.note) == (verdict == "inconclusive")


def test_an_interval_that_ends_at_the_limit_is_within():
    values = [float(n) for n in range(86, 106)]
    assert judge(budget(50), values).high == 100
    assert judge(budget(50), values).verdict == "within"


def test_some_time_outs_are_no_miss_of_the_median():
    assert judge(budget(50), [50.0] * 18 + [math.inf] * 2).verdict == "within"


def test_the_95th_percentile_of_few_turns_is_an_error_that_says_what_to_do():
    with pytest.raises(
        ValueError, match=r"percentile=95 needs at least 20 turns, and there are 19; raise the number of trials"
    ) as caught:
        judge(budget(95), [1.0] * 19)
    assert SOURCE in str(caught.value)
    check_n(budget(95), 20)


def test_the_95th_percentile_of_enough_turns_is_judged():
    assert judge(budget(95), [50.0 + n for n in range(20)]).verdict == "within"
    assert judge(budget(95), [50.0] * 15 + [200.0] * 5).verdict in ("over", "inconclusive")
    assert judge(budget(95), [200.0 + n for n in range(20)]).verdict == "over"


@pytest.mark.parametrize(("percent", "n"), [(50, 1), (75, 4), (90, 10), (95, 20), (99, 100), (99.9, 1000)])
def test_a_percentile_needs_one_turn_beyond_it(percent, n):
    assert least_n(percent) == n


@pytest.mark.parametrize("percent", [0, 100, -5, 150])
def test_a_percentile_outside_0_to_100_is_refused(percent):
    with pytest.raises(ValueError, match="not between 0 and 100"):
        least_n(percent)


def test_a_median_of_few_turns_is_judged_by_their_range():
    assert judge(budget(50), [80, 90, 95]).verdict == "within"
    found = judge(budget(50), [80, 90, 120])
    assert (found.verdict, found.low, found.high) == ("inconclusive", 80, 120)
    assert "too few" in found.note


def test_a_median_of_one_turn_is_judged_by_its_value():
    assert judge(budget(50), [80]).verdict == "within"


def test_trials_of_one_utterance_widen_the_interval():
    values = [60.0] * 10 + [140.0] * 11
    assert judge(budget(50), values, clusters=["a"] * 10 + ["b"] * 11).verdict == "inconclusive"


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [(Interval(0.02, 0.09), "within"), (Interval(0.05, 0.2), "inconclusive"), (Interval(0.11, 0.3), "over")],
)
def test_a_rate_is_judged_by_its_interval(interval, verdict):
    limit = Budget("loop_wer", 0.1, "ratio", SOURCE)
    assert judge_rate(limit, 0.08, interval, 10).verdict == verdict


def test_a_rate_without_interval_or_of_one_turn_is_judged_by_its_value():
    limit = Budget("loop_wer", 0.1, "ratio", SOURCE)
    assert judge_rate(limit, 0.08, None, 3).verdict == "within"
    assert "by its value" in judge_rate(limit, 0.08, None, 3).note
    assert judge_rate(limit, 0.12, Interval(0.0, 0.5), 1).verdict == "over"


def test_a_rate_that_was_not_measured_is_over():
    found = judge_rate(Budget("loop_wer", 0.1, "ratio", SOURCE), None, None, 3)
    assert found.verdict == "over"
    assert "loop_wer was not measured" in found.note
