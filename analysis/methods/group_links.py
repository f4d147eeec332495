"""What one symbol has to do with its group beyond correlation: shape, canonical link, shared forecast errors, a tie of prices.

Computed for the newest row only, on the windows before 00:00 UTC, and kept by content like every fit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from analysis.fits import FitCache
from analysis.methods.canonical import canonical_link
from analysis.methods.causality import autoregression
from analysis.methods.cointegration import tie
from analysis.methods.dtw import dtw_distance, shape_of

SHAPE_BARS = 200
CANONICAL_BARS = 500
MODEL_BARS = 1000
PRICE_BARS = 1500
FEVD_STEPS = 10
MODEL_SYMBOLS = 6
LEADERS, LEADER_LAGS, FOLLOWERS = 3, 3, 6


def settled(table: np.ndarray) -> np.ndarray:
    """The newest rows without an unknown value."""
    holes = np.flatnonzero(~np.isfinite(table).all(axis=1))
    return table[holes[-1] + 1 :] if len(holes) else table


def shape_distance(fits: FitCache, returns: np.ndarray, other: np.ndarray) -> float:
    """Warped distance of the two newest 200-bar paths, z-scored."""
    pair = np.stack([returns[-SHAPE_BARS:], other[-SHAPE_BARS:]])

    def fit(x: np.ndarray) -> float:
        return dtw_distance(shape_of(x[0]), shape_of(x[1]))

    return float(fits.get("dtw/1", pair, fit))


def canonical(fits: FitCache, table: np.ndarray, names: Sequence[str], symbol: str, leadership: Mapping[str, float]) -> dict[str, Any]:
    """First canonical correlation of the three leading symbols' last three returns with the returns of up to six others, and its p."""
    ranked = sorted((n for n in names if n != symbol), key=lambda n: (-leadership[n], n))
    leaders = ranked[: min(LEADERS, max(1, len(names) - 1))]
    followers = [symbol, *[n for n in ranked if n not in leaders]][:FOLLOWERS]
    columns = {n: i for i, n in enumerate(names)}
    recent = settled(table[-CANONICAL_BARS:])

    def fit(x: np.ndarray) -> dict[str, Any] | None:
        split = len(leaders)
        past = np.column_stack([x[LEADER_LAGS - k : len(x) - k, :split] for k in range(1, LEADER_LAGS + 1)])
        found = canonical_link(past, x[LEADER_LAGS:, split:])
        return None if found is None else {"rho": float(found.correlations[0]), "p": found.p}

    if len(recent) < CANONICAL_BARS // 2:
        return {"note": f"{len(recent)} bars without a gap, {CANONICAL_BARS // 2} needed"}
    found = fits.get("canonical/1", recent[:, [columns[n] for n in (*leaders, *followers)]], fit, leaders=len(leaders))
    words = {"leaders": list(leaders), "followers": followers}
    return words | (found or {"note": "its columns are dependent"})


def shared_variance(fits: FitCache, table: np.ndarray, names: Sequence[str], symbol: str, correlation: np.ndarray,
                    turnover: Mapping[str, float], always: str) -> dict[str, Any]:
    """Share of the symbol's ten-step forecast error variance that comes from the others, by a VAR of at most six symbols.

    The symbol, `always` and those most correlated with it enter, in the order of their turnover, which stands in for market cap in the
    Cholesky order.
    """
    row = list(names).index(symbol)
    near = sorted((n for n in names if n not in (symbol, always)), key=lambda n: -_size(correlation[row][list(names).index(n)]))
    chosen = list(dict.fromkeys([symbol, *([always] if always in names else []), *near]))[:MODEL_SYMBOLS]
    chosen.sort(key=lambda n: (-turnover.get(n, 0.0), n))
    recent = settled(table[-MODEL_BARS:])
    if len(recent) < MODEL_BARS:
        return {"note": f"{len(recent)} bars without a gap, {MODEL_BARS} needed"}

    def fit(x: np.ndarray) -> dict[str, Any] | None:
        model = autoregression(x)
        if model is None or not model.stable:
            return None
        return {"order": model.order, "shares": model.variance_shares(horizon=FEVD_STEPS).tolist()}

    found = fits.get("var/1", recent[:, [list(names).index(n) for n in chosen]], fit)
    if found is None:
        return {"note": "no stable autoregression fits"}
    own = chosen.index(symbol)
    shares = {n: found["shares"][own][i] for i, n in enumerate(chosen)}
    return {"order": found["order"], "shares": shares, "others": 1.0 - shares[symbol]}


def price_tie(fits: FitCache, y: np.ndarray, x: np.ndarray) -> dict[str, Any]:
    """Engle-Granger of two log prices over the newest 1,500 bars before the fit; at least 1,000 without a gap."""
    recent = settled(np.column_stack([y, x])[-PRICE_BARS:])
    if len(recent) < MODEL_BARS:
        return {"note": f"{len(recent)} bars without a gap, {MODEL_BARS} needed"}

    def fit(pair: np.ndarray) -> dict[str, Any] | None:
        found = tie(pair[:, 0], pair[:, 1])
        return None if found is None else asdict(found)

    return fits.get("cointegration/2", recent, fit) or {"note": "one of the two prices does not move by itself"}


def nearest(names: Sequence[str], symbol: str, correlation: np.ndarray) -> str:
    """The symbol whose returns are most correlated, either way."""
    row = list(names).index(symbol)
    return max((n for n in names if n != symbol), key=lambda n: _size(correlation[row][list(names).index(n)]))


def _size(value: float) -> float:
    return abs(value) if math.isfinite(value) else 0.0
