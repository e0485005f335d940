import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_voiceloop.measure import statistics
from pytest_voiceloop.measure.statistics import bootstrap_percentile, bootstrap_ratio, interval_of_median, percentile

INF = math.inf
finite = st.floats(-1e6, 1e6)


@settings(deadline=None)
@given(st.lists(finite, min_size=1, max_size=40), st.floats(0, 100))
def test_percentiles_of_finite_values_are_numpys(values, percent):
    assert percentile(values, percent) == pytest.approx(np.percentile(values, percent), rel=1e-9, abs=1e-9)


@settings(deadline=None)
@given(st.lists(st.one_of(finite, st.just(INF)), min_size=1, max_size=40), st.floats(0, 100))
def test_percentiles_with_time_outs_are_never_nan(values, percent):
    assert not math.isnan(percentile(values, percent))


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1, 2, INF], 2), ([1, INF, INF], INF), ([1, INF], INF), ([1, 2, 3, INF], 2.5), ([INF], INF)],
)
def test_a_time_out_stays_in_the_median(values, expected):
    assert statistics.median(values) == expected


def test_the_median_of_nothing_is_none_and_a_percentile_refused():
    assert statistics.median([]) is None
    with pytest.raises(ValueError, match="at least one value"):
        percentile([], 50)


@pytest.mark.parametrize("percent", [-1, 101])
def test_a_percentile_outside_0_to_100_is_refused(percent):
    with pytest.raises(ValueError, match="between 0 and 100"):
        percentile([1.0], percent)


def test_nan_is_refused():
    with pytest.raises(ValueError, match="not a number"):
        percentile([1.0, math.nan], 50)


def test_p95_needs_twenty_values():
    assert statistics.p95(list(range(19))) is None
    assert statistics.p95(list(range(20))) == pytest.approx(18.05)


# Ranks (k-th smallest, k-th largest) from tables of the sign test's confidence intervals for a median, 95 %.
@pytest.mark.parametrize(
    ("n", "low", "high"),
    [(6, 1, 6), (8, 1, 8), (9, 2, 8), (10, 2, 9), (15, 4, 12), (20, 6, 15), (25, 8, 18), (50, 18, 33), (100, 40, 61)],
)
def test_the_medians_interval_has_the_tabled_ranks(n, low, high):
    assert interval_of_median(list(range(n, 0, -1))) == (low, high)


@pytest.mark.parametrize("n", range(6))
def test_fewer_than_six_values_have_no_interval(n):
    assert interval_of_median([1.0] * n) is None


def test_time_outs_reach_into_the_interval():
    assert interval_of_median([1, 2, 3, 4, 5, INF]) == (1, INF)


def test_the_medians_interval_covers_the_median_as_often_as_it_says():
    rng = np.random.default_rng(3)
    found = [interval_of_median(rng.exponential(size=15).tolist()) for _ in range(1500)]
    covered = np.mean([i is not None and i.low <= math.log(2) <= i.high for i in found])
    # Exact coverage of ranks 4 and 12 of 15 is 0.965.
    assert covered == pytest.approx(0.965, abs=0.02)


def test_a_summary_of_few_values_says_what_it_knows():
    found = statistics.summarise([30.0, 10.0, INF])
    assert found == statistics.Summary(n=3, timed_out=1, p50=30.0, low=None, high=None, p95=None, max=INF)


def test_a_summary_of_many_values_is_whole():
    found = statistics.summarise([float(v) for v in range(1, 21)])
    assert found == statistics.Summary(n=20, timed_out=0, p50=10.5, low=6, high=15, p95=19.05, max=20)


def test_a_summary_of_nothing_is_empty():
    assert statistics.summarise([]) == statistics.Summary(0, 0, None, None, None, None, None)


def test_the_same_seed_gives_the_same_interval():
    values, clusters = np.random.default_rng(0).normal(size=30).tolist(), [n // 3 for n in range(30)]
    assert bootstrap_percentile(values, clusters, 50, 7) == bootstrap_percentile(values, clusters, 50, 7)
    assert bootstrap_percentile(values, clusters, 50, 7) != bootstrap_percentile(values, clusters, 50, 8)


def test_the_bootstrapped_median_is_near_the_exact_interval():
    values = np.random.default_rng(1).normal(1000, 100, 200).tolist()
    exact, drawn = interval_of_median(values), bootstrap_percentile(values, range(200), 50)
    assert exact is not None
    assert drawn == pytest.approx(exact, abs=10)


def test_the_bootstrap_is_what_drawing_by_hand_gives():
    values = [1.0, 2.0, 10.0, 11.0, 20.0]
    clusters = ["a", "a", "b", "b", "c"]
    rng, by_cluster = np.random.default_rng(5), [[1.0, 2.0], [10.0, 11.0], [20.0]]
    drawn = [np.percentile([v for c in rng.integers(0, 3, 3) for v in by_cluster[c]], 75) for _ in range(10_000)]
    found = bootstrap_percentile(values, clusters, 75)
    assert found == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=0.5)


def test_trials_of_one_utterance_do_not_narrow_the_interval():
    per_utterance = np.random.default_rng(2).normal(1000, 100, 10)
    values = np.repeat(per_utterance, 20).tolist()
    clustered = bootstrap_percentile(values, np.repeat(np.arange(10), 20).tolist(), 50)
    single = bootstrap_percentile(values, range(200), 50)
    assert clustered is not None
    assert single is not None
    assert clustered.high - clustered.low > 2 * (single.high - single.low)


def test_a_bootstrap_with_time_outs_is_infinite_where_they_reach():
    found = bootstrap_percentile([1.0, 2.0, INF, INF], range(4), 50)
    assert found is not None
    assert (found.low, found.high) == (1.0, INF)


def test_one_cluster_has_no_interval():
    assert bootstrap_percentile([1.0, 2.0], ["a", "a"], 50) is None
    assert bootstrap_ratio([1], [5], ["a"]) is None


def test_a_cluster_is_needed_for_every_value():
    with pytest.raises(ValueError, match="2 values, but 1 clusters"):
        bootstrap_percentile([1.0, 2.0], ["a"], 50)
    with pytest.raises(ValueError, match="2 errors, but 1 totals"):
        bootstrap_ratio([1, 2], [5], ["a", "b"])


def test_the_interval_of_a_rate_is_near_the_normal_one():
    wrong = (np.random.default_rng(4).random(2000) < 0.2).astype(float)
    spread = 1.96 * math.sqrt(wrong.mean() * (1 - wrong.mean()) / 2000)
    found = bootstrap_ratio(wrong.tolist(), [1] * 2000, range(2000))
    assert found == pytest.approx((wrong.mean() - spread, wrong.mean() + spread), abs=0.004)


def test_the_interval_of_a_rate_without_errors_is_a_point():
    assert bootstrap_ratio([0, 0], [5, 7], ["a", "b"]) == (0.0, 0.0)


def test_a_rate_without_words_has_no_interval():
    assert bootstrap_ratio([0, 0], [0, 0], ["a", "b"]) is None
