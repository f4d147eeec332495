"""What a user would write for the newest bar of one symbol from its candles: modules A, B, G and J with the named libraries.

TA-Lib and pandas over the whole window for indicators and percentiles, arch, statsmodels, scikit-learn, antropy and riskfolio for models,
fitted on every call because a script has no schedule; a Python loop where the library judges one window at a time.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from data.frames import Candles
from data.market import Interval
from data.view import MarketView


def own_candles(view: MarketView, bars: int) -> Candles:
    return max((c for n, c in view.series.items() if n.interval is None and n.market is None), key=len).tail(bars)


def last_z0(x: pd.Series) -> float:
    return float(np.tanh(x / (2 * 1.4826 * x.abs().rolling(500, min_periods=100).median())).iloc[-1])


def last_percentile(x: pd.Series, window: int) -> float:
    from scipy.stats import percentileofscore

    recent = x.dropna().iloc[-window:]
    return percentileofscore(recent, recent.iloc[-1], kind="mean") / 100


def naive_trend(view: MarketView) -> list[float]:
    import talib
    from statsmodels.tsa.statespace.structural import UnobservedComponents

    c = own_candles(view, 2000)
    h, low, close = c.high, c.low, c.close
    atr = talib.ATR(h, low, close, 14)
    s = pd.Series(close)
    out = [last_z0(pd.Series((talib.EMA(close, 12) - talib.EMA(close, 26)) / atr)), talib.RSI(close, 14)[-1],
           last_z0(pd.Series(talib.MACD(close)[2] / atr)), talib.STOCHRSI(close, 14, 14, 3)[0][-1]]
    top, middle, _ = talib.BBANDS(close, 20)
    out += [(close[-1] - middle[-1]) / (top[-1] - middle[-1]), talib.ADX(h, low, close, 14)[-1],
            talib.PLUS_DI(h, low, close, 14)[-1] - talib.MINUS_DI(h, low, close, 14)[-1]]
    r = np.log(s).diff()
    out.append(float(np.log(s).diff(20).iloc[-1] / (r.pow(2).ewm(alpha=0.06).mean().pow(0.5).iloc[-1] * 20**0.5)))
    out.append(float(((s - s.rolling(50).mean()) / s.rolling(50).std()).iloc[-1]))
    model = UnobservedComponents(np.log(close[-500:]), "lltrend")
    v = float(r.var())
    filtered = model.filter([0.01 * v, v, 3.96e-4 * v])
    out.append(float(filtered.filtered_state[1, -1]))
    logs = np.log(s)
    out.append(last_z0((logs.rolling(8).mean() - logs.rolling(32).mean()) / (pd.Series(atr) / s)))
    line = pd.Series(talib.HT_TRENDLINE(close))
    out += [last_z0((line - line.shift(5)) / (5 * pd.Series(atr))), talib.HT_DCPERIOD(close)[-1]]
    window = close[-101:]
    path = (window - window.min()) / np.ptp(window)
    return [*out, 1 + (np.log(np.hypot(np.diff(path), 1 / 100).sum()) + np.log(2)) / np.log(200)]


def naive_regime(view: MarketView) -> list[float]:
    import talib
    from antropy import perm_entropy
    from arch import arch_model
    from arch.unitroot import VarianceRatio
    from statsmodels.tsa.api import MarkovRegression

    c = own_candles(view, 3000)
    r = np.diff(np.log(c.close))
    s = pd.Series(r)
    hv = s.rolling(20).std() * np.sqrt(8760)
    out = [last_percentile(hv, 500), last_percentile(pd.Series(talib.NATR(c.high, c.low, c.close, 14)), 500)]
    top, middle, bottom = talib.BBANDS(c.close, 20)
    out.append(last_percentile(pd.Series((top - bottom) / middle), 500))
    out.append(float(VarianceRatio(np.log(c.close[-201:]), lags=8, robust=True).stat))
    out += [perm_entropy(np.log(c.close[-200:]), 4, 1, normalize=True), talib.ADX(c.high, c.low, c.close, 28)[-1]]
    x, k = np.log(c.close[-100:]), np.arange(1, 20)
    out.append(float(np.polyfit(np.log(k), [np.log(np.mean(np.abs(x[i:] - x[:-i]))) for i in k], 1)[0]))
    fitted = arch_model(100 * r[-1500:], mean="Zero", vol="GARCH", p=1, q=1, dist="t").fit(disp="off")
    out.append(last_percentile(pd.Series(fitted.conditional_volatility), 500))
    switching = MarkovRegression(100 * r[-1500:], 2, trend="c", switching_trend=False, switching_variance=True).fit(disp=False)
    out.append(float(np.asarray(switching.filtered_marginal_probabilities)[-1, 1]))
    return out


def naive_risk(view: MarketView) -> list[float]:
    import talib
    from riskfolio.src.RiskFunctions import CVaR_Hist, VaR_Hist
    from scipy.stats import genpareto, percentileofscore

    c = own_candles(view, 800)
    daily = daily_candles(view)
    s = pd.Series(daily.close)
    r = s.pct_change().dropna()
    sigma = r.pow(2).ewm(alpha=0.06, adjust=False).mean().pow(0.5)
    z = (r / sigma.shift()).dropna()
    var, es = [], []
    for t in range(len(r) - 365, len(r)):  # a percentile of VaR needs a year of VaRs
        window, shapes = r.iloc[t - 499 : t + 1].to_numpy(), z.iloc[max(0, t - 500) : t].to_numpy()
        var.append(max(VaR_Hist(window, alpha=0.01), sigma.iloc[t] * VaR_Hist(shapes, alpha=0.01)))
        es.append(max(CVaR_Hist(window, alpha=0.01), sigma.iloc[t] * CVaR_Hist(shapes, alpha=0.01)))
    out = [percentileofscore(var, var[-1], kind="mean") / 100, percentileofscore(es, es[-1], kind="mean") / 100]
    out.append(last_percentile(1 - s / s.rolling(90).max(), 365))
    h = pd.Series(np.diff(np.log(c.close)))
    out += [last_percentile(h.pow(2).ewm(alpha=0.06, adjust=False).mean().pow(0.5), 500),
            last_percentile(pd.Series(talib.NATR(c.high, c.low, c.close, 14)), 500)]
    out.append(float((r.rolling(60).mean() / r.rolling(60).std()).iloc[-1] * 365**0.5))
    losses = -r.iloc[-500:].to_numpy()
    return [*out, *genpareto.fit(losses[losses > np.quantile(losses, 0.9)] - np.quantile(losses, 0.9), floc=0)]


def naive_anomaly(view: MarketView) -> list[float]:
    from sklearn.ensemble import IsolationForest

    c = own_candles(view, 3600)
    r, v = pd.Series(np.log(c.close)).diff(), pd.Series(np.log(c.volume))
    sigma = r.pow(2).ewm(alpha=0.06).mean().pow(0.5).shift()
    z = (r / sigma).abs()
    zv = ((v - v.ewm(alpha=0.06).mean().shift()) / v.diff().ewm(alpha=0.06).std()).abs()
    shift = (r.rolling(20).mean() - r.rolling(200).mean()).abs() / r.rolling(200).std()
    spread = np.log(r.rolling(20).std() / r.rolling(200).std())
    skew, kurt = r.rolling(100).skew().diff(100).abs(), r.rolling(100).kurt().diff(100).abs()
    deviation = (r.rolling(24).sum() - 24 * r.rolling(300).mean().shift(24)).abs() / r.rolling(300).std().shift(24)
    up = down = 0.0
    chart = []
    for value in z.to_numpy():
        up, down = max(0.0, up + np.nan_to_num(value) - 0.5), max(0.0, down - np.nan_to_num(value) - 0.5)
        chart.append(max(up, down) / 5)
    salient = []
    values = r.to_numpy()
    for t in range(len(r) - 960, len(r)):  # a tail probability needs its past
        window = values[t - 127 : t + 1]
        spectrum = np.fft.fft(np.append(window, np.full(5, np.median(window[:-1]))))
        level = np.log(np.abs(spectrum))
        residual = level - np.convolve(np.r_[level[-1], level, level[0]], np.ones(3) / 3, "valid")
        saliency = np.abs(np.fft.ifft(np.exp(residual + 1j * np.angle(spectrum))))
        salient.append((saliency[127] - saliency[106:127].mean()) / saliency[106:127].mean())
    out = [last_percentile(x, 960) for x in (z, zv, shift, spread.abs(), skew, kurt, deviation, pd.Series(chart), pd.Series(salient))]
    table = pd.concat([z, spread, zv, deviation], axis=1).dropna().to_numpy()
    forest = IsolationForest(n_estimators=300, max_samples=256, random_state=0).fit(table[-2000:])
    return [*out, float(-forest.score_samples(table[-1:])[0])]


def daily_candles(view: MarketView) -> Candles:
    return max((c for n, c in view.series.items() if n.interval == Interval.D1), key=len)
