"""The harness does without scipy; its figures are scipy's all the same."""

import numpy as np
import pytest
from scipy import stats

from pytest_voiceloop.measure import statistics

SERIES = [np.random.default_rng(n).standard_t(3, n) * 20 + 5 for n in (6, 9, 20, 45)]
CASES = pytest.mark.parametrize("values", SERIES, ids=len)


@CASES
@pytest.mark.parametrize("percent", [5, 50, 95])
def test_percentiles_are_scipys(values, percent):
    expected = stats.scoreatpercentile(values, percent)
    assert statistics.percentile(values.tolist(), percent) == pytest.approx(expected, rel=1e-12)


@CASES
def test_the_medians_interval_has_the_ranks_of_the_binomial(values):
    k = int(stats.binom.ppf(0.025, len(values), 0.5))
    ordered = np.sort(values)
    assert statistics.interval_of_median(values.tolist()) == (ordered[k - 1], ordered[len(values) - k])


@CASES
@pytest.mark.parametrize("confidence", [0.95, 0.99])
def test_a_shifts_interval_holds_what_wilcoxons_test_does_not_reject(values, confidence):
    found = statistics.shift(values.tolist(), confidence)
    if found.interval is None:
        assert stats.wilcoxon(np.abs(values), method="exact").pvalue > 1 - confidence
        return
    for end, inward in zip(found.interval, (1, -1), strict=True):
        inside = stats.wilcoxon(values - end - inward * 1e-9, method="exact").pvalue
        outside = stats.wilcoxon(values - end + inward * 1e-9, method="exact").pvalue
        assert outside <= 1 - confidence < inside


@pytest.mark.parametrize("n", [5, 12, 40])
def test_signed_ranks_are_distributed_as_scipy_says(n):
    signs = statistics._signed_rank_probabilities(n)
    ranks = np.arange(1, n + 1, dtype=float)
    for below in (n, n * (n + 1) // 6):
        # A sample whose rank sum is `below`: the greatest ranks that fit are positive.
        left, positive = below, np.zeros(n, bool)
        for rank in range(n, 0, -1):
            if rank <= left:
                positive[rank - 1], left = True, left - rank
        found = stats.wilcoxon(np.where(positive, ranks, -ranks), alternative="less", method="exact").pvalue
        assert signs[: below + 1].sum() == pytest.approx(found, rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_chance_of_a_shift_is_that_of_scipys_permutation_test(seed):
    values = np.random.default_rng(seed).normal(0.4, 1, 12)
    exact = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert statistics.chance_of_shift(values.tolist()) == pytest.approx(exact, rel=1e-9)


def test_the_chance_of_a_shift_of_many_values_is_near_scipys():
    values = np.random.default_rng(8).normal(0.3, 1, 40)
    theirs = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=50_000, rng=1).pvalue
    assert statistics.chance_of_shift(values.tolist()) == pytest.approx(theirs, abs=0.01)


def test_a_changed_ratio_is_certain_as_often_as_by_hand():
    base, head = [(0.0, 10.0)] * 10, [(1.0, 10.0)] * 6 + [(0.0, 10.0)] * 4
    # Six swaps that matter: all the same way round, or all the other.
    assert statistics.chance_of_ratio_change(base, head) == pytest.approx(2 / 2**6)


def test_the_interval_of_a_ratios_change_is_scipys_bootstrap():
    rng = np.random.default_rng(4)
    before, after = rng.binomial(10, 0.1, 40), rng.binomial(10, 0.2, 40)

    def change(old, new, axis=-1):
        return (new.sum(axis=axis) - old.sum(axis=axis)) / 400

    theirs = stats.bootstrap((before, after), change, paired=True, method="percentile", rng=0).confidence_interval
    ours = statistics.bootstrap_ratio_change([(float(e), 10.0) for e in before], [(float(e), 10.0) for e in after])
    assert ours is not None
    assert ours.interval == pytest.approx(tuple(theirs), abs=0.006)
