"""The lab's statistics: known answers, loops that can be checked by eye, and independent libraries as a third opinion."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from analysis.statistics import blocks, events, multiplicity, prediction
from data.simulator.worlds import autoregression


@pytest.fixture
def pair(seed):
    """A score that says something, ties and unknown rows included, and an outcome over 4 bars."""
    rng = np.random.default_rng(seed)
    score = np.round(autoregression(seed, 403, 0.8), 1)
    noise = np.convolve(rng.standard_normal(406), np.ones(4), "valid")
    outcome = 0.4 * score + noise
    score[:17], outcome[-4:], score[100], outcome[200:205] = np.nan, np.nan, np.nan, np.nan
    return score, outcome


def both(score, outcome):
    rows = np.isfinite(score) & np.isfinite(outcome)
    return score[rows], outcome[rows]


def standard(v):
    r = rankdata(v)
    return (r - r.mean()) / r.std()


# -- rank information coefficient -----------------------------------------------------------------------------------


def test_ic_is_spearmans_rho(pair):
    found = prediction.rank_ic(*pair, 4)
    assert found.ic == pytest.approx(spearmanr(*both(*pair))[0], abs=1e-12)
    assert found.n == len(both(*pair)[0]) and found.n_eff == found.n / 4


def test_ranks_within_a_subset_are_the_subsets_ranks(seed):
    rng = np.random.default_rng(seed)
    for values in (rng.standard_normal(200), rng.integers(0, 5, 200).astype(float), np.zeros(200)):
        values = values.copy()
        values[rng.random(200) < 0.1] = np.nan
        rows = np.isfinite(values) & (rng.random(200) < 0.6)
        assert np.array_equal(prediction.Ordered(values).ranks(rows), rankdata(values[rows]) - 1)


def test_long_run_variance_is_the_bartlett_sum(seed):
    u = autoregression(seed, 300, 0.7)
    u = u - u.mean()
    for lag in (1, 7, 75):
        slow = u @ u + 2 * sum((1 - k / (lag + 1)) * (u[k:] @ u[:-k]) for k in range(1, lag + 1))
        assert prediction.long_run_variance(u, lag) == pytest.approx(slow / 300, rel=1e-12)


def test_interval_is_statsmodels_hac_with_the_fixed_b_value(pair):
    import statsmodels.api as sm

    found = prediction.rank_ic(*pair, 4)
    x, y = (standard(v) for v in both(*pair))
    n = len(x)
    assert found.lag == max(8, math.ceil(1.3 * math.sqrt(n)))
    fit = sm.OLS(x * y, np.ones(n)).fit(cov_type="HAC", cov_kwds={"maxlags": found.lag})
    b = found.lag / n
    cv = 1.96 + 2.9694 * b + 0.4160 * b**2 - 0.5324 * b**3
    assert (found.low, found.high) == pytest.approx((found.ic - cv * fit.bse[0], found.ic + cv * fit.bse[0]), rel=1e-9)


def test_the_lag_is_at_most_a_quarter():
    assert prediction.hac_lag(1500, 12) == 51 and prediction.hac_lag(1500, 72) == 144 and prediction.hac_lag(100, 72) == 25


@pytest.mark.parametrize("n", [97, 101, 360, 384, 541])
def test_every_shift_equals_the_loop(n, seed):
    rng = np.random.default_rng(seed + n)
    x, y = standard(rng.standard_normal(n)), standard(rng.standard_normal(n))
    slow = np.array([np.mean(np.roll(x, -s) * y) for s in range(n)])
    assert np.allclose(prediction.shift_coefficients(x, y), slow, atol=1e-13)
    for h in (1, 12):
        m = max(20, 2 * h)
        allowed = [abs(slow[s]) for s in range(m, n - m + 1)]
        expected = (1 + sum(a >= abs(slow[0]) - 1e-12 for a in allowed)) / (len(allowed) + 1)
        assert prediction.shift_p_value(x, y, h) == (pytest.approx(expected, abs=1e-15), len(allowed))


def test_shifts_that_let_a_score_see_its_outcome_are_left_out(seed):
    """A momentum score moved later than the outcome it was to foresee knows it: those shifts put a floor under p."""
    rng = np.random.default_rng(seed)
    log = np.cumsum(rng.standard_normal(1000))
    score, outcome = np.full(1000, np.nan), np.full(1000, np.nan)
    score[40:], outcome[:-12] = log[40:] - log[:-40], log[12:] - log[:-12]
    x, y = (standard(v) for v in both(score, outcome))
    n, slow = len(x), np.array([abs(np.mean(np.roll(x, -s) * y)) for s in range(len(x))])
    for memory, first in ((0, 24), (40, 52), (5000, n // 4)):
        allowed = slow[first : n - 24 + 1]
        expected = ((1 + int((allowed >= slow[0] - 1e-12).sum())) / (len(allowed) + 1), len(allowed))
        assert prediction.shift_p_value(x, y, 12, memory) == pytest.approx(expected)
    assert slow[24:52].max() > 1.5 * slow[52 : n - 24].max()


def test_a_perfect_score_has_ic_one_and_the_smallest_p(seed):
    y = np.random.default_rng(seed).standard_normal(500)
    found = prediction.rank_ic(np.exp(y), y, 1)
    assert found.ic == pytest.approx(1, abs=1e-12) and found.p_value == 1 / (found.shifts + 1) == 1 / (500 - 40 + 2)
    assert prediction.rank_ic(-y, y, 1).ic == pytest.approx(-1, abs=1e-12)


def test_nothing_to_rank_is_nan_not_zero():
    y = np.arange(100.0)
    for score in (np.zeros(100), np.full(100, np.nan), np.r_[1.0, np.full(99, np.nan)]):
        found = prediction.rank_ic(score, y, 1)
        assert math.isnan(found.ic) and math.isnan(found.p_value) and not found.excludes_zero
    assert math.isnan(prediction.rank_ic(np.r_[1.0, 2.0], np.r_[1.0, 2.0], 1).low)
    assert math.isnan(prediction.rank_ic(np.empty(0), np.empty(0), 1).ic)


def test_huge_and_tiny_values_rank_alike(pair):
    score, outcome = pair
    assert prediction.rank_ic(score * 1e200, outcome * 1e-200, 4).ic == prediction.rank_ic(score, outcome, 4).ic


# -- quintiles, hits, groups, decay ---------------------------------------------------------------------------------


def test_quintiles_of_a_straight_line():
    found = prediction.quintiles(np.arange(100.0), np.arange(100.0), 1)
    assert found.means == (9.5, 29.5, 49.5, 69.5, 89.5) and found.spread == 80 and found.monotonicity == pytest.approx(1)
    assert prediction.quintiles(np.arange(100.0), -np.arange(100.0), 1).monotonicity == pytest.approx(-1)


def test_quintiles_with_ties_leave_an_empty_fifth_unknown():
    ranks = rankdata(np.r_[np.zeros(90), np.ones(10)]) - 1
    found = prediction.quintiles(ranks, np.r_[np.zeros(90), np.ones(10)], 1)
    assert math.isnan(found.means[0]) and math.isnan(found.spread) and math.isnan(found.low) and found.means[4] == 1


def test_spread_interval_is_what_drawing_gives(seed):
    """The closed form against 2,000 drawn samples in which the spread itself is computed anew."""
    rng = np.random.default_rng(seed)
    score = autoregression(seed, 1000, 0.9)
    y = np.convolve(rng.standard_normal(1011), np.ones(12), "valid")
    ranks = rankdata(score) - 1
    found = prediction.quintiles(ranks, y, 12)
    top, bottom = ranks >= 800, ranks < 200
    influence = np.where(top, 5 * (y - y[top].mean()), 0) - np.where(bottom, 5 * (y - y[bottom].mean()), 0)
    block = max(24, blocks.block_length(influence))
    drawn = [(w @ (y * top)) / (w @ top) - (w @ (y * bottom)) / (w @ bottom) for w in blocks.counts(1000, block=block, seed=seed)]
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(np.std(drawn), rel=0.10)


def test_hit_rate_counts_calls_and_shrinks_the_sample():
    found = prediction.hit_rate(np.array([1.0, -1, 0, 2, -3]), np.array([1.0, 1, 1, 0, -2]), 1)
    assert found.share == 2 / 3 and found.calls == 3
    wide, narrow = (prediction.hit_rate(np.ones(100), np.r_[np.ones(60), -np.ones(40)], h) for h in (10, 1))
    assert wide.high - wide.low > narrow.high - narrow.low
    assert math.isnan(prediction.hit_rate(np.zeros(3), np.ones(3), 1).share)
    assert prediction.hit_rate(np.array([1.0, np.nan, 1.0]), np.array([1.0, 1.0, -1.0]), 1).calls == 2, "an unknown row was a miss"


def test_grouped_ic_is_the_correlation_inside_each_group(seed):
    rng = np.random.default_rng(seed)
    x, y, group = rng.standard_normal(300), rng.standard_normal(300), rng.integers(-1, 4, 300)
    group[group == 3] = 2
    group[0] = 3
    ordered = np.sort(group)
    again, _ = prediction.grouped_ic(x, y, ordered, 5)
    assert again[:3] == pytest.approx([np.corrcoef(x[ordered == g], y[ordered == g])[0, 1] for g in range(3)])
    assert np.isnan(prediction.grouped_ic(x, y, np.full(300, -1), 2)[0]).all()
    ic, size = prediction.grouped_ic(x, y, group, 5)
    assert ic[:3] == pytest.approx([np.corrcoef(x[group == g], y[group == g])[0, 1] for g in range(3)])
    assert np.isnan(ic[3:]).all() and size.tolist() == [(group == g).sum() for g in range(5)]


def test_half_life_interpolates_on_a_log_scale():
    assert prediction.half_life(np.array([1, 4, 16]), np.array([0.1, 0.05, 0.01])) == pytest.approx(4)
    assert prediction.half_life(np.array([1, 4]), np.array([-0.1, -0.0])) == pytest.approx(2)
    assert prediction.half_life(np.array([1, 4, 16]), np.array([0.02, 0.1, 0.0])) == pytest.approx(8)
    assert math.isnan(prediction.half_life(np.array([1, 4]), np.array([0.1, 0.09])))
    assert math.isnan(prediction.half_life(np.array([1, 4]), np.array([np.nan, np.nan])))


def test_turnover_skips_holes_and_unknown_rows():
    score, segment = np.array([0, 1, np.nan, 3, 5, 9.0]), np.array([0, 0, 0, 0, 4, 4])
    assert prediction.turnover(score, segment) == pytest.approx((1 + 4) / 2)
    assert math.isnan(prediction.turnover(score[:1], segment[:1]))


def test_cross_sectional_ic_equals_the_loop(seed):
    rng = np.random.default_rng(seed)
    s = np.round(rng.standard_normal((80, 8)), 1)
    y = 0.5 * s + rng.standard_normal((80, 8))
    s[rng.random(s.shape) < 0.15], y[rng.random(y.shape) < 0.05] = np.nan, np.nan
    slow = []
    for a, b in zip(s, y, strict=True):
        known = np.isfinite(a) & np.isfinite(b)
        if known.sum() >= 5:
            slow.append(spearmanr(a[known], b[known])[0])
    found = prediction.cross_sectional(s, y, 4)
    assert found.bars == len(slow) and found.mean_ic == pytest.approx(np.mean(slow), abs=1e-12)
    assert found.icir == pytest.approx(np.mean(slow) / np.std(slow, ddof=1) * math.sqrt(len(slow) / 4), rel=1e-10)
    assert math.isnan(prediction.cross_sectional(s[:, :4], y[:, :4], 1).mean_ic)


# -- blocks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, -0.5])
@pytest.mark.parametrize("n", [60, 500, 1501])
def test_block_length_is_archs(phi, n, seed):
    from arch.bootstrap import optimal_block_length

    x = autoregression(seed, n, phi)
    assert blocks.block_length(x) == pytest.approx(max(1.0, float(optimal_block_length(x)["stationary"].iloc[0])), rel=1e-9)


def test_block_length_of_nothing_is_one():
    assert blocks.block_length(np.ones(100)) == 1 and blocks.block_length(np.arange(5.0)) == 1
    assert math.isnan(blocks.mean_error(np.ones(100))[0])


def test_every_draw_has_n_rows_in_blocks_of_the_stated_length():
    drawn = np.array(list(blocks.counts(200, block=10, draws=400, seed=3)))
    assert (drawn.sum(axis=1) == 200).all() and (drawn >= 0).all()
    assert drawn.mean(axis=0) == pytest.approx(np.ones(200), abs=0.25)
    again = np.array(list(blocks.counts(200, block=10, draws=400, seed=3)))
    assert np.array_equal(drawn, again)
    assert next(blocks.counts(1, block=5, draws=1)).tolist() == [1]
    changes = np.abs(np.diff(np.array(list(blocks.counts(5000, block=50, draws=20)))) != 0).sum(axis=1)
    assert 100 < changes.mean() < 220  # about two edges a block of 100


def test_closed_form_error_is_what_drawing_gives(seed):
    x = autoregression(seed, 800, 0.6)
    error, block = blocks.mean_error(x)
    drawn = blocks.bootstrap_means(x[:, None], block=block, draws=3000, seed=seed)[:, 0]
    assert error == pytest.approx(drawn.std(), rel=0.06)


def test_drawn_error_is_archs(seed):
    from arch.bootstrap import StationaryBootstrap

    x = autoregression(seed, 400, 0.6)
    theirs = StationaryBootstrap(12, x, seed=seed).apply(lambda v: np.array([v.mean()]), 1500).std()
    ours = blocks.bootstrap_means(x[:, None], block=12, draws=1500, seed=seed).std()
    assert ours == pytest.approx(theirs, rel=0.08)


# -- multiplicity ---------------------------------------------------------------------------------------------------


def test_q_values_are_statsmodels(seed):
    from statsmodels.stats.multitest import multipletests

    p = np.round(np.random.default_rng(seed).random(60) ** 2, 2)
    assert np.allclose(multiplicity.benjamini_hochberg(p), multipletests(p, method="fdr_bh")[1], atol=1e-14)
    assert np.allclose(multiplicity.benjamini_yekutieli(p), multipletests(p, method="fdr_by")[1], atol=1e-14)


def test_a_test_that_was_not_made_does_not_count():
    q = multiplicity.benjamini_hochberg(np.array([0.01, np.nan, 0.04]))
    assert q[[0, 2]] == pytest.approx([0.02, 0.04]) and math.isnan(q[1])
    assert np.isnan(multiplicity.benjamini_yekutieli(np.array([np.nan]))).all() and len(multiplicity.benjamini_hochberg(np.empty(0))) == 0


def test_intervals_of_a_share_are_the_librarys():
    from statsmodels.stats.proportion import proportion_confint

    for hits, n in ((0, 20), (3, 200), (20, 20), (11, 23)):
        assert multiplicity.clopper_pearson(hits, n) == pytest.approx(proportion_confint(hits, n, method="beta"), abs=1e-12)
        assert multiplicity.wilson(hits / n, n) == pytest.approx(proportion_confint(hits, n, method="wilson"), abs=1e-12)
    assert multiplicity.clopper_pearson(0, 0) == (0, 1) and math.isnan(multiplicity.wilson(0.5, 0)[0])


# -- events and volatility ------------------------------------------------------------------------------------------


def test_event_statistics_are_scikit_learns(seed):
    from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

    rng = np.random.default_rng(seed)
    p = np.round(rng.random(300), 2)
    yes = (rng.random(300) < p * 0.4).astype(float)
    for often in (np.ones(300), next(blocks.counts(300, block=10, draws=1, seed=seed))):
        kept = often > 0
        theirs = {"sample_weight": often[kept]}
        assert events.area_under_curve(p, yes)(often) == pytest.approx(roc_auc_score(yes[kept], p[kept], **theirs), abs=1e-12)
        assert events.average_precision(p, yes)(often) == pytest.approx(average_precision_score(yes[kept], p[kept], **theirs), abs=1e-12)
        assert events.brier(p, yes)(often) == pytest.approx(brier_score_loss(yes[kept], p[kept], **theirs), abs=1e-12)


def test_lift_of_a_known_table():
    score, yes = np.arange(100.0), np.zeros(100)
    yes[90:95], yes[0:5] = 1, 1
    assert events.lift(score, yes)(np.ones(100)) == pytest.approx(0.5 / 0.1)
    assert math.isnan(events.lift(score, np.zeros(100))(np.ones(100)))
    assert math.isnan(events.area_under_curve(score, np.zeros(100))(np.ones(100)))
    assert math.isnan(events.average_precision(score, np.zeros(100))(np.ones(100)))


def test_qlike_is_zero_for_a_perfect_forecast():
    v = np.array([1.0, 4.0, 0.25])
    assert events.qlike(v, v)(np.ones(3)) == pytest.approx(0, abs=1e-15)
    assert events.qlike(2 * v, v)(np.ones(3)) == pytest.approx(0.5 - math.log(0.5) - 1)
    assert math.isnan(events.qlike(np.zeros(3), v)(np.ones(3)))


def test_reliability_bins_have_equal_mass():
    p = np.linspace(0, 1, 100)
    bins = events.reliability(p, (p > 0.5).astype(float))
    assert [b.rows for b in bins] == [10] * 10 and [b.happened for b in bins] == [0.0] * 5 + [1.0] * 5
    assert bins[0].stated == pytest.approx(p[:10].mean())


def test_event_intervals_hold_the_value_and_are_seeded(seed):
    rng = np.random.default_rng(seed)
    p = rng.random(400)
    yes = (rng.random(400) < p).astype(float)
    asked = {"auc": events.area_under_curve(p, yes), "lift": events.lift(p, yes)}
    found = events.bootstrap_intervals(asked, 400, block=5, draws=200, seed=1)
    assert all(e.low < e.value < e.high for e in found.values()) and found["auc"].low > 0.5
    assert found == events.bootstrap_intervals(asked, 400, block=5, draws=200, seed=1)
