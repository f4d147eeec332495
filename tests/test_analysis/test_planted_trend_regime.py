"""Planted truth for modules A and B: the rows of methods.md 8.2 that their estimators answer for.

One seed of every row in the suite; the means over 20 seeds (200 for the size of a test) in the long run, which prints the table.
"""

from __future__ import annotations

import numpy as np
import pytest
import talib
from scipy.stats import rankdata, spearmanr

from analysis.methods.garch import fit_garch
from analysis.methods.switching import fit_switching, high_probability
from analysis.module import blend
from analysis.modules import trend_moment, volat_regime
from data.indicators import kalman_trend
from data.indicators.entropy import order_entropy
from data.indicators.fractal import sevcik
from data.indicators.hurst import generalised_hurst
from data.indicators.variance_ratio import ratio_and_z
from data.indicators.wavelet import smooths
from data.simulator import worlds
from tests.planted import Row, check_mean, check_single


def markov(seed):
    world = worlds.markov_volatility(seed)
    fit = fit_switching(world.series)
    assert fit["reason"] == ""
    called = high_probability(world.series, fit) > 0.5
    found = {name: fit[name] for name in ("sd_low", "sd_high", "stay_low", "stay_high")}
    return found | {"accuracy": float((called == world.hidden).mean())}


def garch(seed):
    fit = fit_garch(worlds.garch_t(seed).series)
    assert fit["reason"] == ""
    return {"alpha": fit["alpha"], "beta": fit["beta"], "persistence": fit["alpha"] + fit["beta"], "nu": fit["nu"]}


def hurst(bars):
    return lambda seed: {f"H {h}": float(generalised_hurst(worlds.fractional_walk(seed, bars, h), bars)[-1]) for h in (0.3, 0.5, 0.7)}


def variance_ratio(seed):
    def ratio(phi):
        return float(ratio_and_z(np.concatenate(([0.0], np.cumsum(worlds.autoregression(seed, 1000, phi)))), 5, 1000)[0][-1])
    return {f"phi {phi:g}": ratio(phi) for phi in (-0.15, 0.0, 0.15)}


def variance_ratio_size(seed):
    z = ratio_and_z(np.concatenate(([0.0], np.cumsum(worlds.autoregression(seed, 1000, 0.0)))), 5, 1000)[1][-1]
    return {"rejected": float(abs(z) > 1.96)}


def atrous_level(seed):
    found = {}
    for period in (16, 24, 32):
        levels = smooths(worlds.sinusoid(seed, 600, period))
        energy = [float(((levels[j] - levels[j + 1])[-128:] ** 2).sum()) for j in range(5)]
        found[f"period {period}"] = float(np.argmax(energy) + 1)
    return found


def hilbert_period(seed):
    return {f"period {p}": float(talib.HT_DCPERIOD(100 + worlds.sinusoid(seed, 600, p))[-1]) for p in (16, 24, 32)}


def entropy(seed):
    return {"white": float(order_entropy(worlds.autoregression(seed, 200, 0.0), 200)[-1]),
            "walk": float(order_entropy(worlds.random_walk(seed, 200), 200)[-1])}


def fractal(seed):
    return {f"H {h}": float(sevcik(worlds.fractional_walk(seed, 30, h), 30)[-1]) for h in (0.3, 0.5, 0.7)}


def kalman(seed):
    """Coverage of the 95 % band, and correlation with the true slope about the known mean of both, which is 0.

    Taken about the sample means instead it loses the slowest part of a slope that lives 50 bars: .35 here, where theory for
    the exact model says .408.
    """
    world = worlds.local_slope(seed)
    found = kalman_trend(worlds.candles_of(world.series, seed=seed))
    known = np.isfinite(found.t)
    guess, truth = found.slope[known], world.hidden[known] * worlds.BAR_SD
    covered = np.abs(guess - truth) <= 1.96 * found.sd[known]
    return {"coverage": float(covered.mean()), "corr": float((guess * truth).sum() / np.sqrt((guess**2).sum() * (truth**2).sum()))}


def area_under_curve(p, yes):
    rank = rankdata(p)
    return float((rank[yes].sum() - yes.sum() * (yes.sum() + 1) / 2) / (yes.sum() * (~yes).sum()))


def regime(seed):
    world = worlds.trend_and_range(seed, 4000)
    candles = worlds.candles_of(world.series, seed=seed)
    raw = blend(volat_regime.METRICS, volat_regime.evidence_tracks(candles, len(candles), 0.0)).raw
    known = np.isfinite(raw)
    p, trend = 1 / (1 + np.exp(-3.5 * raw[known])), world.hidden[known] != 0
    return {"auc": area_under_curve(p, trend), "brier": float(((p - trend) ** 2).mean())}


def trend_of(candles):
    return blend(trend_moment.METRICS, trend_moment.tracks_of(candles, len(candles))).raw


def trend_on_a_walk(seed):
    s = trend_of(worlds.candles_of(worlds.random_walk(seed, 3000), seed=seed))
    s = s[np.isfinite(s)]
    return {"mean": float(s.mean()), "sd": float(s.std()), "ac1": float(np.corrcoef(s[1:], s[:-1])[0, 1])}


def trend_in_regimes(seed):
    world = worlds.trend_and_range(seed, 3000)
    s = trend_of(worlds.candles_of(world.series, seed=seed))
    ahead = np.full(len(s), np.nan)
    ahead[:-5] = world.series[5:] - world.series[:-5]
    known, trend = np.isfinite(s) & np.isfinite(ahead), world.hidden != 0
    return {"trend": float(spearmanr(s[known & trend], ahead[known & trend])[0]),
            "range": float(spearmanr(s[known & ~trend], ahead[known & ~trend])[0])}


def around(center, half):
    return (center - half, center + half)


ROWS = (
    Row("Markov variance", "sd .5/1.5, stay .99/.97", markov,
        {"sd_low": (.47, .53), "sd_high": (1.35, 1.65), "stay_low": (.978, .998), "stay_high": (.94, .985), "accuracy": (.91, 1)},
        {"sd_low": around(.5, .01), "sd_high": around(1.5, .05), "stay_low": around(.99, .004), "stay_high": around(.97, .008),
         "accuracy": (.94, 1)}),
    Row("GARCH", "a .08, b .90, sum .98, nu 6", garch,
        {"alpha": (.045, .12), "beta": (.84, .94), "persistence": (.945, .995), "nu": (4.4, 8.5)},
        {"alpha": around(.08, .012), "beta": around(.90, .015), "persistence": around(.98, .01), "nu": around(6, .8)}),
    Row("Hurst 1024", "as named", hurst(1024), {"H 0.3": around(.3, .07), "H 0.5": around(.5, .11), "H 0.7": around(.7, .11)},
        {f"H {h}": around(h, .025) for h in (.3, .5, .7)}),
    Row("Hurst 512", "as named", hurst(512), {"H 0.3": around(.3, .11), "H 0.5": around(.5, .13), "H 0.7": around(.7, .13)},
        {f"H {h}": around(h, .035) for h in (.3, .5, .7)}),
    Row("Variance ratio 5", ".7845 / 1 / 1.270", variance_ratio,
        {"phi -0.15": around(.7845, .17), "phi 0": around(1, .22), "phi 0.15": around(1.270, .30)},
        {"phi -0.15": around(.7845, .06), "phi 0": around(1, .08), "phi 0.15": around(1.270, .10)}),
    Row("Variance ratio size at 5 %", "0", variance_ratio_size, mean={"rejected": (.02, .08)}, seeds=200),
    Row("A trous energy peak", "level 3 / 4 / 4", atrous_level, {"period 16": (3, 4), "period 24": (4, 4), "period 32": (4, 5)}),
    Row("HT_DCPERIOD", "16 / 24 / 32", hilbert_period, {f"period {p}": around(p, .3) for p in (16, 24, 32)}),
    Row("Permutation entropy", ".984 / .9175", entropy, {"white": (.96, 1), "walk": (.85, .97)},
        {"white": around(.984, .005), "walk": around(.9175, .015)}),
    Row("FDI 30", "1.561 / 1.474 / 1.411", fractal,
        {"H 0.3": around(1.561, .18), "H 0.5": around(1.474, .18), "H 0.7": around(1.411, .18)},
        {"H 0.3": around(1.561, .05), "H 0.5": around(1.474, .05), "H 0.7": around(1.411, .05)}),
    Row("Kalman slope", "coverage .95, corr .42", kalman, {"coverage": (.88, .99), "corr": (.15, .66)},
        {"coverage": (.935, .965), "corr": (.35, .49)}),
    Row("Regime evidence", "trend or range", regime, {"auc": (.77, 1), "brier": (0, .20)}, {"auc": (.85, 1), "brier": (0, .15)}),
    Row("Module A on a random walk", "no edge", trend_on_a_walk, {"mean": (-.20, .20), "sd": (.32, .40), "ac1": (.94, .97)},
        {"mean": (-.04, .04)}),
    Row("Module A 5-bar IC in regimes", "+ / -", trend_in_regimes, mean={"trend": (.13, .29), "range": (-.28, -.23)}),
)


@pytest.mark.parametrize("row", [r for r in ROWS if r.single], ids=str)
def test_one_seed_lies_in_its_band(row):
    check_single(row)


@pytest.mark.long
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_mean_over_seeds_lies_in_its_band(row):
    check_mean(row)


def test_every_row_of_the_table_for_a_and_b_is_here():
    assert len(ROWS) == 14 and all(row.single or row.mean for row in ROWS)
