"""What a user would write for the newest bar of one symbol with the named libraries: the other modules, and what composites add.

Nothing is done twice, and what our modules show beyond their metrics (back-checks, comparisons of models, tables, the walk forward) is
left out here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from benchmarks.naive_candles import (
    last_percentile,
    last_z0,
    naive_anomaly,
    naive_regime,
    naive_risk,
    naive_trend,
    own_candles,
)
from data.frames import Candles
from data.market import DAY_MS, HOUR_MS, Interval, Market
from data.observations import Kind, Observations
from data.view import MarketView


def _seen(view: MarketView, kind: Kind) -> Observations:
    found = [o for n, o in view.observed.items() if n.kind is kind]
    return max(found, key=len)


def _perp(view: MarketView) -> Candles:
    return max((c for n, c in view.series.items() if n.market is Market.PERP and n.interval in (None, view.interval)), key=len)


def _rolled_tail(x: pd.Series, window: int = 500) -> pd.Series:
    """Tail probability of every row: its percentile, beyond the 90th an exponential fitted to the excesses."""
    share = x.rolling(window, min_periods=100).rank(pct=True)
    top = x.rolling(window, min_periods=100).quantile(0.9)
    excess = (x - top).where(x > top)
    scale = excess.rolling(window, min_periods=1).median() / np.log(2)
    return (1 - share).clip(lower=0.1).where(x <= top, 0.1 * np.exp(-(x - top) / scale))


def _mad_score(x: pd.Series, window: int = 500) -> pd.Series:
    """tanh of half the robust z-score, every row, as pandas' documentation suggests it."""
    mad = x.rolling(window, min_periods=100).apply(lambda v: np.median(np.abs(v - np.median(v))), raw=True)
    return np.tanh((x - x.rolling(window, min_periods=100).median()) / (2 * 1.4826 * mad))


def _last_mad_score(x: pd.Series, window: int = 500) -> float:
    from scipy.stats import median_abs_deviation

    recent = x.dropna().iloc[-window:]
    scale = median_abs_deviation(recent, scale="normal")
    return float(np.tanh((recent.iloc[-1] - recent.median()) / (2 * scale))) if scale > 0 else float("nan")


def _as_of(view: MarketView, kind: Kind, column: str, closes: np.ndarray) -> pd.Series:
    """A column of slow rows as it stood at each close."""
    seen = _seen(view, kind)
    right = pd.DataFrame({"t": seen.available_time, "x": seen[column]}).drop_duplicates("t", keep="last")
    return pd.merge_asof(pd.DataFrame({"t": closes}), right, on="t")["x"]


def naive_sentiment(view: MarketView) -> list[float]:
    """Module C."""
    from scipy.stats import norm, skew

    c = _perp(view) if len(_perp(view)) else own_candles(view, 2000)
    closes = c.close_time
    funding = _seen(view, Kind.FUNDING)
    rate = pd.Series(funding["rate"] * 24 / funding["interval_h"] * 365)
    rank = rate.rolling(270, min_periods=60).rank(pct=True)
    spread = rate.rolling(90).quantile(0.9) - rate.rolling(90).quantile(0.1)
    kelley = (rate.rolling(90).quantile(0.9) + rate.rolling(90).quantile(0.1) - 2 * rate.rolling(90).median()) / spread
    out = [2 * rank.iloc[-1] - 1, kelley.iloc[-1], float(skew(rate.iloc[-90:])), float(_rolled_tail((rate - rate.median()).abs()).iloc[-1])]
    interest = _as_of(view, Kind.OPEN_INTEREST, "contracts", closes)
    change, price = np.log(interest).diff(24), np.log(pd.Series(c.close)).diff(24)
    out += [last_z0(change), last_z0(price), last_percentile(interest / pd.Series(c.volume).rolling(24).sum(), 500),
            float(_rolled_tail(change.abs()).iloc[-1])]
    for kind in (Kind.TOP_POSITION_RATIO, Kind.GLOBAL_RATIO):
        out.append(_last_mad_score(np.log(_as_of(view, kind, "ratio", closes))))
    ratio = np.log(_as_of(view, Kind.GLOBAL_RATIO, "ratio", closes))
    out.append(float(_rolled_tail((ratio - ratio.median()).abs()).iloc[-1]))
    out.append(float(_rolled_tail(pd.Series(np.abs(_seen(view, Kind.PREMIUM_INDEX)["close"]))).iloc[-1]))
    out.append(last_z0(2 * pd.Series(c.taker_buy_volume) / pd.Series(c.volume) - 1))
    forced = _seen(view, Kind.LIQUIDATIONS)
    burst = pd.Series(forced["quantity"] * forced["price"], index=pd.to_datetime(forced.event_time, unit="ms")).resample("1h").sum()
    out.append(float(_rolled_tail(burst).iloc[-1]) if len(burst) > 100 else float("nan"))
    mass, n = 0.0, min(21 * DAY_MS // HOUR_MS, len(c))
    grown = np.maximum(0.0, interest.diff().to_numpy())[-n:]
    price = ((c.high + c.low + c.close) / 3)[-n:]
    for t in range(n):  # where positions opened in each hour would be closed by force, if that price was not seen since
        for leverage in (10, 25, 50, 100):
            down, up = price[t] * (1 - 1 / leverage), price[t] * (1 + 1 / leverage)
            mass += grown[t] * (c.low[-n:][t + 1 :].min(initial=np.inf) > down) - grown[t] * (c.high[-n:][t + 1 :].max(initial=0.0) < up)
    out.append(mass)
    marks, held = _seen(view, Kind.OPTION_MARK), _seen(view, Kind.OPTION_OPEN_INTEREST)
    if len(marks):
        chain = pd.DataFrame({"at": marks.available_time, **marks.columns})
        keys = ["at", "strike", "expiry_ms", "is_call"]
        chain = chain.merge(pd.DataFrame({"at": held.available_time, **held.columns})[[*keys, "contracts"]], how="left", on=keys)
        skews, exposures = [], []
        for at, snapshot in chain.groupby("at"):
            days = (snapshot["expiry_ms"] - at) / DAY_MS
            wings = []
            for _, smile in snapshot[(days > 7) & (days < 60) & (snapshot["is_call"] > 0)].groupby("expiry_ms"):
                wings.append(np.subtract(*np.interp([0.25, 0.75], smile["delta"].to_numpy()[::-1], smile["mark_iv"].to_numpy()[::-1])))
            skews.append(np.mean(wings) if wings else np.nan)
            near = snapshot[(days > 0) & (days <= 60)]
            years, forward = (near["expiry_ms"] - at) / (365 * DAY_MS), float(c.close[-1])
            width = near["mark_iv"] * np.sqrt(years)
            gamma = norm.pdf(np.log(forward / near["strike"]) / width + width / 2) / (forward * width)
            exposures.append(float((gamma * np.where(near["is_call"] > 0, 1, -1) * near["contracts"]).sum() * forward**2 * 0.01))
        out += [_last_mad_score(pd.Series(skews)), _last_mad_score(pd.Series(exposures))]
    return out


def naive_flow(view: MarketView) -> list[float]:
    """Module D: books and trades by the minute, in pandas; without them the taker volumes of 1m candles."""
    flow = _seen(view, Kind.MINUTE_FLOW)
    if not len(flow):
        c = max((c for n, c in view.series.items() if n.interval is Interval.M1), key=len)
        share = 2 * pd.Series(c.taker_buy_volume).rolling(60).sum() / pd.Series(c.volume).rolling(60).sum() - 1
        return [last_z0(share)]
    of = pd.DataFrame(flow.columns)
    buy, sell = of["buy_volume"], of["sell_volume"]
    share = (buy - sell).rolling(60).sum() / (buy + sell).rolling(60).sum()
    push = (buy - sell).rolling(5).sum() / (buy + sell).rolling(5).sum()
    cost = (of["buy_slippage_10k"] + of["sell_slippage_10k"]) / 2
    move = 1e4 * np.log(of["mid"]).diff()
    net = buy - sell
    slope = net.rolling(30).cov(move) / net.rolling(30).var()
    out = [of["obi"].iloc[-1], push.iloc[-1], last_z0(share), last_z0(of["ofi"] / of["best_depth"]), last_percentile(of["spread_bps"], 500),
           last_percentile(of["bid_depth_10"] + of["ask_depth_10"], 500), last_percentile(cost, 500),
           last_percentile(slope.where(slope > 0), 500),
           ((of["bid_mass_50"] - of["ask_mass_50"]) / (of["bid_mass_50"] + of["ask_mass_50"])).rolling(5).mean().iloc[-1]]
    meets = (buy / of["ask_depth_10"]).iloc[-1], (sell / of["bid_depth_10"]).iloc[-1]
    return [*out, (meets[0] - meets[1]) / (meets[0] + meets[1]),
            (of["ofi"].rolling(30).cov(move) / of["ofi"].rolling(30).var()).iloc[-1]]


def naive_leaders(view: MarketView) -> list[float]:
    """Module E: every other symbol against this one only (ours tests all ordered pairs of the group)."""
    from sklearn.covariance import LedoitWolf
    from sklearn.cross_decomposition import CCA
    from statsmodels.tsa.api import VAR
    from statsmodels.tsa.stattools import coint, grangercausalitytests

    group = next(g for n, g in view.group.items() if n.interval is None)
    prices = pd.DataFrame({name: pd.Series(c.close, c.open_time) for name, c in group.items()}).iloc[-1441:].reset_index(drop=True)
    returns = np.log(prices).diff().dropna()
    own, others = returns[view.symbol], [name for name in returns if name != view.symbol]
    out = []
    for name in others:
        lead = [returns[name].shift(k).corr(own) for k in range(1, 11)]
        lag = [own.shift(k).corr(returns[name]) for k in range(1, 11)]
        best = int(np.argmax(np.abs(lead))) + 1
        windows = [returns[name].shift(best).iloc[i : i + 144].corr(own.iloc[i : i + 144]) for i in range(0, 1440, 144)]
        tested = grangercausalitytests(pd.DataFrame({"y": own, "x": returns[name]}), [5])
        stable = float(np.mean(np.sign(windows) == np.sign(lead[best - 1])))
        out += [max(np.abs(lead)) - max(np.abs(lag)), tested[5][0]["ssr_ftest"][1], stable]
    recent = returns.iloc[-500:]
    out += [recent.corr(method="spearman").loc[view.symbol].mean(), float(np.linalg.eigvalsh(recent.corr())[-1])]
    out.append(float(np.linalg.inv(LedoitWolf().fit(recent).covariance_)[0, 0]))
    near = recent.corr()[view.symbol].drop(view.symbol).idxmax()
    out.append(float(coint(np.log(prices[view.symbol]), np.log(prices[near]))[1]))
    pair = pd.concat([recent[name].shift(k) for name in others[:3] for k in (1, 2, 3)], axis=1).dropna()
    x, y = CCA(1).fit_transform(pair.to_numpy(), recent[others[3:9]].loc[pair.index].to_numpy())
    out.append(float(np.corrcoef(x[:, 0], y[:, 0])[0, 1]))
    out.append(float(VAR(recent[[view.symbol, *others[:3]]]).fit(5).fevd(10).decomp[0][-1].sum()))
    a, b = (((s - s.mean()) / s.std()).to_numpy() for s in (own.iloc[-200:].cumsum(), returns[near].iloc[-200:].cumsum()))
    cost = np.full((201, 201), np.inf)
    cost[0, 0] = 0.0
    for i in range(1, 201):  # no library of ours warps time
        for j in range(max(1, i - 10), min(200, i + 10) + 1):
            cost[i, j] = abs(a[i - 1] - b[j - 1]) + min(cost[i - 1, j], cost[i, j - 1], cost[i - 1, j - 1])
    return [*out, float(cost[-1, -1])]


def naive_macro(view: MarketView) -> list[float]:
    """Module F: daily rows in pandas."""
    chain, supply = _seen(view, Kind.ON_CHAIN), pd.Series(_seen(view, Kind.STABLECOIN_SUPPLY)["supply_usd"])
    out = [_last_mad_score(np.log(supply).diff(7), 365), float(_seen(view, Kind.FEAR_GREED)["value"][-1])]
    of = pd.DataFrame(chain.columns)
    if of["mvrv"].notna().sum() < 400:
        return out
    realised = of["market_cap"] / of["mvrv"]
    out += [last_z0(((of["flow_in"] - of["flow_out"]) / of["exchange_balance"]).rolling(7).sum()),
            last_z0(of["exchange_balance"].diff(30) / of["exchange_balance"]), _last_mad_score(np.log(realised).diff(30), 365),
            1 - 1 / of["mvrv"].iloc[-1]]
    return [*out, float(((of["market_cap"] - realised) / of["market_cap"].expanding(365).std()).iloc[-1])]


def naive_micro(view: MarketView) -> list[float]:
    """Module H: seconds in pandas, a HAC regression, and a micro price from a day's transitions."""
    seconds = _seen(view, Kind.SECOND_FLOW)
    if not len(seconds):
        return []
    import statsmodels.api as sm

    day = pd.DataFrame(seconds.columns).iloc[-86_400:]
    of = day.iloc[-3_600:]
    buy, sell = of["buy_volume"], of["sell_volume"]
    flow = of["ofi"].rolling(10).sum() / of["depth"].rolling(10).mean()
    share = (buy - sell).rolling(60).sum() / (buy + sell).rolling(60).sum()
    r = np.log(of["mid"]).diff()
    count = of["buy_count"].rolling(10).sum(), of["sell_count"].rolling(10).sum()
    out = [last_z0(flow), last_z0(share), of["imbalance"].iloc[-1], ((count[0] - count[1]) / (count[0] + count[1])).iloc[-1],
           (r / r.ewm(halflife=60).std()).iloc[-1], (of["latency_flow"].rolling(10).sum() / (buy + sell).rolling(10).sum()).iloc[-1],
           (of["buy_count"] + of["sell_count"]).rolling(60).mean().iloc[-1], of["spread_bps"].rolling(60).mean().iloc[-1],
           1 - (of["price_changes"].rolling(60).sum() / of["updates"].rolling(60).sum()).iloc[-1], of["life_ms"].iloc[-60:].median()]
    pressed = sm.OLS(of["mid"].diff().iloc[-1800:].to_numpy(), sm.add_constant((buy - sell).iloc[-1800:].to_numpy()), missing="drop")
    out.append(float(pressed.fit(cov_type="HAC", cov_kwds={"maxlags": 10}).tvalues[1]))
    ticks = ((day["ask"] - day["bid"]) / (day["ask"] - day["bid"]).min()).round().clip(1, 3)
    bucket = np.floor(day["bid_quantity"] / (day["bid_quantity"] + day["ask_quantity"]) * 10).clip(0, 9)
    state, move = ticks * 10 + bucket, (day["bid"] + day["ask"]).diff().shift(-1) / 2
    still = pd.crosstab(state[move == 0], state.shift(-1)[move == 0])
    visits = state.value_counts()
    names = still.index.intersection(still.columns)
    q = still.loc[names, names].div(visits.reindex(names), axis=0).to_numpy()
    mean = move.groupby(state).mean().reindex(names).to_numpy()
    return [*out, float(np.linalg.solve(np.eye(len(names)) - q + 1e-12 * np.eye(len(names)), mean)[0])]


def naive_weights(view: MarketView) -> list[float]:
    """Module I: riskfolio's two allocations on one shrunk covariance, betas and tails in pandas; no walk forward."""
    import riskfolio as rp
    from sklearn.covariance import LedoitWolf

    group = max((g for n, g in view.group.items() if n.interval is Interval.D1), key=lambda g: len(next(iter(g.values()))))
    prices = pd.DataFrame({name: pd.Series(c.close, c.open_time) for name, c in group.items()}).iloc[-181:]
    returns = prices.pct_change().dropna()
    tree = rp.HCPortfolio(returns=returns).optimization(model="HRP", codependence="pearson", rm="MV", linkage="single")
    portfolio = rp.Portfolio(returns=returns)
    portfolio.assets_stats(method_mu="hist", method_cov="ledoit")
    equal = portfolio.rp_optimization(model="Classic", rm="MV")
    weights = 0.5 * tree["weights"] + 0.5 * equal["weights"]
    held = returns @ weights
    down = returns[returns["BTCUSDT"] < 0] if "BTCUSDT" in returns else returns
    betas = down.cov().iloc[0] / down.var().iloc[0]
    S = LedoitWolf().fit(returns).covariance_
    return [*weights, *betas, float(np.sqrt(weights @ S @ weights * 365)), float(held.quantile(0.01)),
            float(held[held <= held.quantile(0.01)].mean()), float(held.mean() / held.std() * 365**0.5)]


def naive_composites(view: MarketView) -> list[float]:
    """What composites need beyond the modules' newest scores: C over 720 bars, tails of losses, fragility from candles."""
    from scipy.stats import cauchy

    c = own_candles(view, 1500)
    out = naive_sentiment_history(view)
    r = pd.Series(np.log(c.close)).diff()
    sigma = r.pow(2).ewm(alpha=0.06).mean().pow(0.5)
    loss = (-r.rolling(24).sum()).clip(lower=0) / (sigma * 24**0.5)
    jump = np.log(r.rolling(24).std() / r.rolling(240).std()).clip(lower=0)
    fall = (1 - pd.Series(c.close) / pd.Series(c.high).rolling(24).max()) / (sigma * 24**0.5)
    p = [float(_rolled_tail(x, 960).iloc[-1]) for x in (loss, jump, fall)]
    out += [*p, float(cauchy.sf(np.mean(cauchy.isf(p))))]
    high, low = pd.Series(np.log(c.high)), pd.Series(np.log(c.low))
    beta = ((high - low) ** 2).rolling(2).sum()
    gamma = (high.rolling(2).max() - low.rolling(2).min()) ** 2
    alpha = ((2 * beta) ** 0.5 - beta**0.5) / (3 - 8**0.5) - (gamma / (3 - 8**0.5)) ** 0.5
    spread = (2 * (np.exp(alpha) - 1) / (1 + np.exp(alpha))).clip(lower=0)
    return [*out, last_percentile(spread, 500), last_percentile(r.abs() / pd.Series(c.quote_volume), 500)]


def naive_sentiment_history(view: MarketView, rows: int = 720) -> list[float]:
    """The weighted metrics of module C that need no options at the newest 720 bars, vectorised by pandas, and their slow mean."""
    c = _perp(view) if len(_perp(view)) else own_candles(view, 2000)
    closes = c.close_time
    interest = _as_of(view, Kind.OPEN_INTEREST, "contracts", closes)
    change, price = np.log(interest).diff(24), np.log(pd.Series(c.close)).diff(24)

    def z0(x: pd.Series) -> pd.Series:
        return np.tanh(x / (2 * 1.4826 * x.abs().rolling(500, min_periods=100).median()))

    scores = [z0(price) * z0(change).clip(lower=0), -z0(price) * z0(change).clip(upper=0),
              z0(2 * pd.Series(c.taker_buy_volume) / pd.Series(c.volume) - 1)]
    for kind in (Kind.TOP_POSITION_RATIO, Kind.GLOBAL_RATIO):
        scores.append(_mad_score(np.log(_as_of(view, kind, "ratio", closes)).iloc[-(rows + 499) :]))
    funding = _seen(view, Kind.FUNDING)
    rank = pd.Series(funding["rate"]).rolling(270, min_periods=60).rank(pct=True)
    known = pd.DataFrame({"t": funding.available_time, "x": 2 * rank - 1})
    scores.append(pd.merge_asof(pd.DataFrame({"t": closes}), known, on="t")["x"])
    together = pd.concat([s.iloc[-rows:].reset_index(drop=True) for s in scores], axis=1).mean(axis=1)
    return [float(together.ewm(halflife=72).mean().iloc[-1])]


PEERS: dict[str, tuple[str, Callable[[MarketView], list[float]]]] = {
    "A": ("TA-Lib, pandas, statsmodels", naive_trend), "B": ("TA-Lib, arch, statsmodels, antropy", naive_regime),
    "C": ("pandas, scipy", naive_sentiment), "D": ("pandas", naive_flow), "E": ("pandas, statsmodels, scikit-learn", naive_leaders),
    "F": ("pandas", naive_macro), "G": ("riskfolio, pandas, scipy", naive_risk), "H": ("pandas, statsmodels", naive_micro),
    "I": ("riskfolio, scikit-learn, pandas", naive_weights), "J": ("pandas, numpy, scikit-learn", naive_anomaly),
}
COMPOSITES_PEER: tuple[str, Callable[[MarketView], list[float]]] = ("pandas, scipy", naive_composites)


def naive_card(view: MarketView) -> list[float]:
    """All ten modules and what the composites need beyond them."""
    return [number for _, peer in (*PEERS.values(), COMPOSITES_PEER) for number in peer(view)]
