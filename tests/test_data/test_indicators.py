"""Indicators against slow loops and independent libraries; holes, flat stretches, tiny prices, cuts and starting points."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pywt
import talib

from data import indicators
from data.frames import Candles
from data.indicators import INDICATORS
from data.indicators.entropy import order_entropy
from data.indicators.hurst import generalised_hurst
from data.indicators.kalman import filter_slope
from data.indicators.variance_ratio import ratio_and_z
from data.indicators.volatility import ewma_variance
from data.indicators.wavelet import smooths
from data.indicators.windows import (
    BLOCK_ROWS,
    trailing_max,
    trailing_mean,
    trailing_min,
    trailing_moments,
    trailing_sd,
    trailing_sum,
)
from data.kernel import kernels
from data.market import Interval
from data.simulator import worlds
from tests import naive

EXACT, RECURSIVE_SD = 1e-9, 1e-6  # decisions.md 18
BARS = 2600
each_indicator = pytest.mark.parametrize("indicator", INDICATORS, ids=lambda i: i.name)


@pytest.fixture(scope="module")
def candles() -> Candles:
    return worlds.candles_of(worlds.random_walk(11, BARS), seed=11)


@pytest.fixture(scope="module")
def table(candles) -> dict[str, dict[str, np.ndarray]]:
    return {i.name: i(candles) for i in INDICATORS}


def close_to(value, truth, tolerance=EXACT):
    return abs(value - truth) <= tolerance * max(1.0, abs(truth))


# --- the shelf

def test_the_registry_is_checked_at_all():
    assert len(INDICATORS) >= 40 and len({i.name for i in INDICATORS}) == len(INDICATORS)
    assert all(name in vars(indicators) for name in indicators.__all__)


@each_indicator
def test_docstring_says_what_it_is(indicator):
    assert len(indicator.explanation) > 60 and indicator.unit and indicator.causality in ("P", "R")


@each_indicator
def test_first_value_stands_exactly_at_the_warmup(indicator, table, candles):
    for name, values in table[indicator.name].items():
        assert values.shape == (BARS,) and values.dtype == np.float64, name
        known = np.flatnonzero(np.isfinite(values))
        late = name == "yang_zhang"  # the one output that looks a bar farther back than its neighbours
        assert known[0] + 1 == indicator.warmup_bars + late and len(known) == BARS - known[0], name


# --- against slow loops and TA-Lib

def test_windows_against_loops():
    x = worlds.random_walk(3, 300) + 1e4
    for window in (1, 2, 3, 7, 20, 64, 100, 255):
        for t in (window - 1, 150, 299):
            if t < window - 1:
                continue
            part = x[t - window + 1 : t + 1]
            assert close_to(trailing_sum(x, window)[t], math.fsum(part))
            assert close_to(trailing_mean(x, window)[t], math.fsum(part) / window)
            assert trailing_max(x, window)[t] == max(part) and trailing_min(x, window)[t] == min(part)
            if window > 1:
                assert close_to(trailing_sd(x, window)[t], naive.mean_sd(part, 1)[1])
    assert np.isnan(trailing_sum(x, 20)[:19]).all() and np.isnan(trailing_sum(x[:5], 20)).all()


def test_windows_have_no_seam_between_blocks_and_forget_a_nan():
    x = worlds.random_walk(4, BLOCK_ROWS + 500)
    x[100] = np.nan
    whole = trailing_sum(x, 50)
    assert np.isnan(whole[49:150]).sum() == 50 and np.isfinite(whole[150:]).all()
    for t in (BLOCK_ROWS + 40, BLOCK_ROWS + 49, BLOCK_ROWS + 60):
        assert whole[t] == trailing_sum(x[t - 49 : t + 1], 50)[-1]


def test_moments_of_a_flat_window_are_exactly_zero_at_any_price():
    for price in (1e-9, 0.1, 97_123.37, 1e12):
        mean, square = trailing_moments(np.full(200, price), 37)
        assert (square[36:] == 0.0).all() and (mean[36:] == price).all()


def test_averages_and_oscillators_against_talib_and_loops(candles, table):
    close, high, low = candles.close, candles.high, candles.low
    plus, minus = talib.PLUS_DI(high, low, close, 14), talib.MINUS_DI(high, low, close, 14)
    upper, middle, lower = talib.BBANDS(close, 20, 2, 2)
    line, signal, histogram = talib.MACD(close, 12, 26, 9)
    expected = {
        ("ema_12", "ema_12"): talib.EMA(close, 12), ("ema_26", "ema_26"): talib.EMA(close, 26),
        ("ema_50", "ema_50"): talib.EMA(close, 50), ("ema_200", "ema_200"): talib.EMA(close, 200),
        ("sma_20", "sma_20"): talib.SMA(close, 20), ("kama_10", "kama_10"): talib.KAMA(close, 10),
        ("macd", "macd"): line, ("macd", "macd_signal"): signal, ("macd", "macd_histogram"): histogram,
        ("rsi_14", "rsi_14"): talib.RSI(close, 14), ("stochrsi_14", "stochrsi_14"): talib.STOCHRSI(close, 14, 14, 3)[0],
        ("mom_20", "mom_20"): talib.MOM(close, 20), ("roc_20", "roc_20"): talib.ROC(close, 20),
        ("bollinger", "middle"): middle, ("bollinger", "upper"): upper, ("bollinger", "lower"): lower,
        ("true_range", "true_range"): talib.TRANGE(high, low, close), ("atr_14", "atr_14"): talib.ATR(high, low, close, 14),
        ("natr_14", "natr_14"): talib.NATR(high, low, close, 14), ("di_14", "plus_di"): plus, ("di_14", "minus_di"): minus,
        ("adx_14", "adx_14"): talib.ADX(high, low, close, 14), ("adx_28", "adx_28"): talib.ADX(high, low, close, 28),
        ("ht_trendline", "ht_trendline"): talib.HT_TRENDLINE(close), ("ht_period", "ht_period"): talib.HT_DCPERIOD(close),
        ("ht_trend_mode", "ht_trend_mode"): talib.HT_TRENDMODE(close), ("efficiency_20", "efficiency_20"): talib.ER(close, 20),
    }
    for (name, output), truth in expected.items():
        found = table[name][output]
        known = np.isfinite(found)
        # BBANDS sums squares of prices near 100, so TA-Lib itself is only good to about 1e-7 there.
        np.testing.assert_allclose(found[known], truth[known], rtol=1e-7 if name == "bollinger" else 1e-9, atol=1e-9, err_msg=name)
    assert close_to(table["ema_12"]["ema_12"][-1], naive.ema(close, 12))
    assert close_to(table["rsi_14"]["rsi_14"][-1], naive.rsi(close))
    assert close_to(table["atr_14"]["atr_14"][-1], naive.wilder(naive.true_ranges(high, low, close), 14))


@pytest.mark.parametrize("t", [700, 1500, BARS - 1])
def test_window_indicators_against_loops(candles, table, t):
    o, h, q, c = (getattr(candles, name)[: t + 1] for name in ("open", "high", "low", "close"))
    x, r = np.log(c), np.diff(np.log(c))
    year = Interval.H1.bars_per_year

    def value(name, output=None):
        return table[name][output or name][t]

    assert close_to(value("zscore_50"), (c[-1] - naive.mean_sd(c[-50:], 1)[0]) / naive.mean_sd(c[-50:], 1)[1])
    middle, half = naive.mean_sd(c[-20:], 0)
    assert close_to(value("bollinger", "position"), (c[-1] - middle) / (2 * half))
    assert close_to(value("bollinger", "percent_b"), (c[-1] - middle + 2 * half) / (4 * half))
    assert close_to(value("bollinger", "width"), 4 * half / middle)
    assert close_to(value("hv_20"), naive.mean_sd(r[-20:], 1)[1] * math.sqrt(year))
    bars = o[-20:], h[-20:], q[-20:], c[-20:]
    for name, variance in (
        ("parkinson", naive.parkinson_variance(*bars[1:3])), ("garman_klass", naive.garman_klass_variance(*bars)),
        ("rogers_satchell", naive.rogers_satchell_variance(*bars)), ("yang_zhang", naive.yang_zhang_variance(c[-21:-1], *bars)),
    ):
        assert close_to(value("range_volatility_20", name) ** 2, variance * year), name
    assert close_to(value("ewma_vol_94") ** 2, naive.ewma_variance(r, 0.94))
    assert close_to(value("wavelet_trend"), naive.atrous(x, 3) - naive.atrous(x, 5))
    assert close_to(sum(value("wavelet_energy", f"d{j}") for j in range(1, 6)), 1.0)
    assert close_to(value("fdi_30"), naive.sevcik(c[-30:])) and close_to(value("fdi_100"), naive.sevcik(c[-100:]))
    assert close_to(value("hurst_100"), naive.hurst(x[-100:])) and close_to(value("hurst_512"), naive.hurst(x[-512:]))
    assert close_to(value("permutation_entropy_200"), naive.permutation_entropy(x[-200:]))
    assert close_to(value("shannon_entropy_200"), naive.shannon_entropy(r[-200:]))
    assert close_to(value("rei_5"), naive.rei(h, q, c)) and close_to(value("efficiency_20"), naive.efficiency(c[-21:]))


def test_kalman_against_its_matrix_form(candles, table):
    y = np.log(candles.close[:600])
    slope, variance = naive.kalman(y)
    assert close_to(table["kalman"]["slope"][599], slope, 1e-12)
    assert close_to(table["kalman"]["sd"][599], math.sqrt(variance), 1e-12)
    assert close_to(table["kalman"]["t"][599], slope / math.sqrt(variance))


def test_variance_ratio_is_archs(candles, table):
    from arch.unitroot import VarianceRatio

    x = np.log(candles.close)
    for q in (2, 4, 8, 16):
        for t in (400, 1111, BARS - 1):
            theirs = VarianceRatio(x[t - 200 : t + 1], lags=q, robust=True, overlap=True)
            assert close_to(table[f"variance_ratio_{q}"]["ratio"][t], theirs.vr)
            assert close_to(table[f"variance_ratio_{q}"]["z"][t], theirs.stat)


def test_permutation_entropy_is_antropys_also_with_ties():
    antropy = pytest.importorskip("antropy")
    for seed, digits in ((1, 9), (2, 9), (3, 1), (4, 0)):
        x = np.round(worlds.random_walk(seed, 200), digits)
        assert close_to(order_entropy(x, 200)[-1], antropy.perm_entropy(np.ascontiguousarray(x), 4, 1, normalize=True))


def test_atrous_is_the_stationary_wavelet_transform_shifted_into_the_past():
    x = worlds.random_walk(8, 256)
    for level in range(1, 6):
        theirs = pywt.swt(x, "haar", level=level)[0][0] / 2 ** (level / 2)  # coarsest approximation, as a mean
        ours = smooths(x)[level]
        shift = 2**level - 1
        np.testing.assert_allclose(ours[shift:], theirs[: 256 - shift], rtol=1e-12, atol=1e-12)


def test_a_straight_line_has_the_dimension_and_exponent_of_one():
    line = np.linspace(1.0, 2.0, 100)
    assert close_to(naive.sevcik(line), 1.2, 0.01) and abs(generalised_hurst(line, 100)[-1] - 1.0) < 1e-9
    assert order_entropy(line, 100)[-1] == 0.0


# --- what must hold on any candles

def test_value_at_a_bar_does_not_know_later_bars(candles, table):
    rng = worlds.generator(5)
    for t in sorted(rng.integers(1450, BARS, 20)):
        cut = candles.take(slice(0, int(t)))
        for indicator in INDICATORS:
            for name, values in indicator(cut).items():
                assert values[-1] == table[indicator.name][name][t - 1], (indicator.name, name, t)


def test_poison_after_a_bar_changes_nothing_at_it(candles, table):
    t = 2000
    columns = {name: array.copy() for name, array in candles.columns().items()}
    for name in ("open", "high", "low", "close", "volume"):
        columns[name][t:] = 1e9
    poisoned = Candles.from_columns(candles.interval, columns)
    for indicator in INDICATORS:
        for name, values in indicator(poisoned).items():
            assert values[t - 1] == table[indicator.name][name][t - 1], indicator.name


@each_indicator
def test_start_shift_window_exact_recursive_converged(indicator, table, candles):
    """A window knows nothing before it; a recursive value has forgotten its start at the end of its warm-up."""
    start = 417
    later = indicator(candles.take(slice(start, None)))
    for name, values in later.items():
        full = table[indicator.name][name][start:]
        known = np.isfinite(values)
        apart = np.abs(values[known] - full[known])
        tolerance = EXACT * np.nanmax(np.abs(full)) if indicator.causality == "P" else RECURSIVE_SD * np.nanstd(full)
        if indicator.name == "ht_trend_mode":
            assert (apart != 0).mean() < 0.01  # a 0/1 rule may flip on a difference of 1e-7
        elif indicator.causality == "P":
            assert apart.max() <= tolerance, name
        else:
            assert apart.max() <= 3 * tolerance, (name, apart.max() / np.nanstd(full))  # the table is a mean over paths


@each_indicator
def test_a_hole_restarts_and_a_confirmed_halt_does_not(indicator, candles):
    at, missing = 1500, 3
    holed = worlds.with_gap(candles, at, missing)
    halt = (int(candles.open_time[at]), int(candles.open_time[at + missing - 1]))
    halted = Candles.from_columns(holed.interval, holed.columns(), halts=(halt,))
    alone = indicator(holed.take(slice(at, None)))
    for name, values in indicator(holed).items():
        assert np.isnan(values[at : at + indicator.warmup_bars - 1]).all()
        np.testing.assert_array_equal(values[at:], alone[name])
        np.testing.assert_array_equal(values[:at], indicator(candles.take(slice(0, at)))[name])
    bridged = indicator(halted)
    assert all(np.isfinite(values[at : at + 20]).all() for values in bridged.values())


@each_indicator
def test_a_price_that_never_moves_gives_no_opinion(indicator, candles):
    """A level may be 0 or the price itself; a direction, a strength, an entropy or a cycle must be unknown."""
    flat = indicator(worlds.flattened(candles, slice(0, BARS)))
    levels = {"sma_20", "ema_12", "ema_26", "ema_50", "ema_200", "kama_10", "ht_trendline", "middle", "upper", "lower"}
    zeros = {"macd", "macd_signal", "macd_histogram", "mom_20", "roc_20", "true_range", "atr_14", "natr_14", "hv_20", "parkinson",
             "garman_klass", "rogers_satchell", "yang_zhang", "ewma_vol_94", "wavelet_trend", "width", "slope"}
    for name, values in flat.items():
        known = values[np.isfinite(values)]
        if name in levels:
            np.testing.assert_allclose(known, candles.close[0], rtol=1e-12)
        elif name in zeros:
            np.testing.assert_allclose(known, 0.0, atol=1e-9)
        else:
            assert len(known) == 0, (name, known[:3])


def test_a_flat_stretch_after_life_is_degenerate_where_libraries_invent():
    candles = worlds.flattened(worlds.candles_of(worlds.random_walk(2, 1500), seed=2), slice(1000, 1500))
    for name in ("rsi_14", "stochrsi_14", "di_14", "adx_14", "zscore_50", "fdi_100", "hurst_100", "permutation_entropy_200",
                 "variance_ratio_8", "rei_5", "efficiency_20", "ht_period", "shannon_entropy_200"):
        for values in next(i for i in INDICATORS if i.name == name)(candles).values():
            assert np.isnan(values[-1]) and np.isfinite(values[990]), name


@each_indicator
def test_tiny_and_huge_prices_say_the_same_as_ordinary_ones(indicator, table, candles):
    """Free of unit: the same path at 0.0000001 and at ten million."""
    for factor in (2.0**-30, 2.0**17):
        columns = candles.columns() | {name: getattr(candles, name) * factor for name in ("open", "high", "low", "close")}
        scaled = indicator(Candles.from_columns(candles.interval, columns))
        for name, values in scaled.items():
            truth = table[indicator.name][name]
            truth = truth * factor if indicator.unit.startswith("quote") and name not in ("position", "percent_b", "width") else truth
            loose = 1e-6 if indicator.causality == "R" or indicator.name.startswith("variance") else 1e-9
            np.testing.assert_allclose(values, truth, rtol=loose, atol=loose * np.nanstd(truth), err_msg=name)


@each_indicator
def test_too_few_bars_are_unknown_and_none_is_no_error(indicator, candles):
    for bars in sorted({0, 1, min(5, indicator.warmup_bars - 1), indicator.warmup_bars - 1}):
        for values in indicator(candles.take(slice(0, bars))).values():
            assert values.shape == (bars,) and np.isnan(values).all()


@each_indicator
def test_inputs_are_not_written_to(indicator, candles):
    before = candles.close.tobytes() + candles.high.tobytes()
    indicator(candles)
    assert before == candles.close.tobytes() + candles.high.tobytes()


# --- kernels

@pytest.mark.parametrize("name", ["ewma_variance", "filter_slope"])
def test_compiled_kernel_gives_the_bits_of_the_plain_loop(name):
    kernel = next(k for k in kernels() if k.__name__ == name)
    y = worlds.random_walk(6, 400) * 0.01
    squares = np.diff(y) ** 2
    arguments = {"ewma_variance": (squares, 0.94, 30),
                 "filter_slope": (y, np.concatenate(([np.nan], ewma_variance.plain(squares, 0.97, 30))), 30)}[name]
    kernel.compile()
    plain, compiled = kernel.plain(*arguments), kernel.compiled(*arguments)
    for a, b in zip(plain if isinstance(plain, tuple) else (plain,), compiled if isinstance(compiled, tuple) else (compiled,),
                    strict=True):
        assert a.tobytes() == b.tobytes()
    assert filter_slope.example is not None and ewma_variance.example is not None


def test_variance_ratio_of_a_straight_line_is_unknown():
    ratio, z = ratio_and_z(np.linspace(4.0, 5.0, 300), 8, 200)
    assert np.isnan(ratio[200:]).all() and np.isnan(z[200:]).all()
