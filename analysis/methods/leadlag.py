"""Who moves first: correlations at every lag between all pairs of a group, tested, and how steady the answer was.

The returns of the group lie in one table, a column a symbol and a row a bar; unknown returns are NaN and each pair uses the rows in which
both are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from analysis.allocation.covariance import correlation_of, ledoit_wolf
from analysis.methods.causality import granger
from analysis.statistics import benjamini_hochberg

LAGS = 10
WINDOWS = 10
CORRELATION_BARS = 500
CORRELATION_MINIMUM = 60
PAIRS_MINIMUM = 500
SHARE_KNOWN = 0.8  # of the rows that the best known symbol has
WINDOW_MINIMUM = 30
FLAT = 1e-14
STILL = 1e-12  # sd of returns below which a price does not move


def moments(x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Pairwise correlation, slope of y on x and count over the rows in which both are known, each (columns of x, columns of y)."""
    mx, my = np.isfinite(x).astype(float), np.isfinite(y).astype(float)
    x0, y0 = np.where(mx > 0, x, 0.0), np.where(my > 0, y, 0.0)
    n = mx.T @ my
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_x, mean_y = (x0.T @ my) / n, (mx.T @ y0) / n
        cov = (x0.T @ y0) / n - mean_x * mean_y
        var_x, var_y = ((x0**2).T @ my) / n - mean_x**2, (mx.T @ y0**2) / n - mean_y**2
        moves = (var_x > FLAT) & (var_y > FLAT)
        rho = np.where(moves, cov / np.sqrt(np.where(moves, var_x * var_y, 1.0)), np.nan)
        slope = np.where(moves, cov / np.where(moves, var_x, 1.0), np.nan)
    return {"rho": np.clip(rho, -1.0, 1.0), "slope": slope, "n": n}


def lagged(returns: np.ndarray, *, lags: int = LAGS) -> tuple[np.ndarray, np.ndarray]:
    """(rho, slope), each (lags + 1, N, N): entry [k, i, j] relates r_i(t-k) to r_j(t); the slope is that of r_j on r_i.

    The returns are scaled to unit variance inside, slopes are in the units given.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.nanstd(np.where(np.isfinite(returns).any(axis=0), returns, 0.0), axis=0)
    unit = returns / np.where(scale > 0, scale, 1.0)
    found = [moments(unit[: len(unit) - k], unit[k:]) for k in range(lags + 1)]
    rescale = np.where(scale > 0, scale, 1.0)[None, :] / np.where(scale > 0, scale, 1.0)[:, None]
    return np.stack([m["rho"] for m in found]), np.stack([m["slope"] for m in found]) * rescale


def strongest(rho: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(k*, rho at k*) of every ordered pair: the lag of 1 and more with the largest |rho|; 0 and NaN where none is known."""
    size = np.where(np.isfinite(rho[1:]), np.abs(rho[1:]), -1.0)
    best = size.argmax(axis=0)
    found = np.take_along_axis(rho[1:], best[None], axis=0)[0]
    return np.where(np.isfinite(found), best + 1, 0), found


def stability(returns: np.ndarray, best: np.ndarray, sign: np.ndarray, *, lags: int = LAGS, windows: int = WINDOWS) -> np.ndarray:
    """Share of the last `windows` equal stretches of the table in which the pair's strongest lag is the same, give or take one, and its
    correlation has the same sign; NaN where a stretch is shorter than 30 bars."""
    length = len(returns) // windows
    if length < WINDOW_MINIMUM:
        return np.full(best.shape, np.nan)
    agree = np.zeros(best.shape)
    for w in range(windows):
        stop = len(returns) - w * length
        k, rho = strongest(lagged(returns[stop - length : stop], lags=lags)[0])
        agree += (np.abs(k - best) <= 1) & (np.sign(rho) == sign) & (k > 0)
    return agree / windows


def partial_correlations(returns: np.ndarray, reference: int | None) -> np.ndarray:
    """Correlation of every pair given the reference asset and the equal-weight market of the others.

    From the inverse of the Ledoit-Wolf shrunk correlation of the pair and its controls, `-P_ij / sqrt(P_ii P_jj)`. The market of a pair
    leaves the pair out: with it in, each asset would explain itself. NaN where fewer than 60 rows, or five rows an asset, are known
    throughout.
    """
    assets = returns.shape[1]
    out = np.full((assets, assets), np.nan)
    rows = returns[np.isfinite(returns).all(axis=1)]
    if len(rows) < max(CORRELATION_MINIMUM, 5 * assets + 1):
        return out
    sd = rows.std(axis=0)
    if (sd <= 0).any():
        return out
    S = correlation_of(ledoit_wolf((rows - rows.mean(axis=0)) / sd)[0])
    for i in range(assets):
        for j in range(i + 1, assets):
            others = [a for a in range(assets) if a not in (i, j)]
            chosen = np.zeros((assets, 2))
            chosen[i, 0] = chosen[j, 1] = 1.0
            control = reference in others
            if control:
                chosen = np.column_stack([chosen, np.eye(assets)[reference]])
            if len(others) > (1 if control else 0):
                market = np.zeros(assets)
                market[[a for a in others if not (control and a == reference)]] = 1.0
                chosen = np.column_stack([chosen, market])
            P = np.linalg.inv(correlation_of(chosen.T @ S @ chosen))
            out[i, j] = out[j, i] = -P[0, 1] / np.sqrt(P[0, 0] * P[1, 1])
    return out


def fit_table(returns: np.ndarray, names: Sequence[str], *, lags: int = LAGS, reference: str = "") -> dict[str, Any]:
    """Everything about the pairs of a group, as plain JSON values. Matrices have the leader in rows, the follower in columns.

    Parameters
    ----------
    returns : ndarray of shape (rows, symbols)
    names : sequence of str
        Of the columns.
    reference : str
        The symbol that is controlled for in partial correlations and that betas are measured against.

    Returns
    -------
    dict
        `names` used, `dropped` (symbol to reason), `sd`, and per ordered pair `lag`, `rho`, `delta`, `llr`, `beta`, `p`, `q`, `stability`;
        `correlation`, `betas` (of all on all), `partial` over the newest 500 rows; `leadership` per symbol. Empty names where fewer than
        two symbols can be used.

    References
    ----------
    Huth & Abergel (2014), "High frequency lead/lag relationships"; Granger (1969); Benjamini & Hochberg (1995).
    """
    begins = np.flatnonzero(np.isfinite(returns).sum(axis=1) >= 2)
    returns = returns[begins[0] :] if len(begins) else returns[:0]  # windows of stability are tenths of what is known
    known = np.isfinite(returns).sum(axis=0)
    needed = max(PAIRS_MINIMUM, SHARE_KNOWN * int(known.max(initial=0)))
    dropped, used = {}, []
    for i, name in enumerate(names):
        if known[i] < needed:
            dropped[name] = f"{known[i]} known returns, {needed:.0f} needed"
        elif not np.nanstd(returns[:, i]) > STILL:
            dropped[name] = "its price does not move"
        else:
            used.append(i)
    if len(used) < 2:
        return {"names": [], "dropped": dropped}
    R, kept = returns[:, used], [names[i] for i in used]
    rho, slope = lagged(R, lags=lags)
    best, at_best = strongest(rho)
    size = np.abs(at_best)
    squares = np.nansum(rho[1:] ** 2, axis=0)
    steady = stability(R, best, np.sign(at_best), lags=lags)
    p = granger(R)
    pairs = ~np.eye(len(kept), dtype=bool)
    q = np.full(p.shape, np.nan)
    q[pairs] = benjamini_hochberg(p[pairs])
    with np.errstate(divide="ignore", invalid="ignore"):
        llr = np.where(pairs & (squares.T > 0), squares / squares.T, np.nan)
    delta = np.where(pairs, size - size.T, np.nan)
    newest = R[-CORRELATION_BARS:]
    with np.errstate(divide="ignore", invalid="ignore"):
        sd = np.std(np.where(np.isfinite(newest), newest, 0.0), axis=0)
        now = moments(newest / sd, newest / sd)
        betas = now["slope"] * sd[None, :] / sd[:, None]
    enough = now["n"] >= CORRELATION_MINIMUM
    column = kept.index(reference) if reference in kept else None
    beta = np.take_along_axis(slope, best[None], axis=0)[0]
    return {
        "names": kept, "dropped": dropped, "sd": np.nanstd(R, axis=0, ddof=1).tolist(), "lag": best.tolist(), "rho": at_best.tolist(),
        "delta": delta.tolist(), "llr": llr.tolist(), "beta": beta.tolist(), "p": p.tolist(), "q": q.tolist(),
        "stability": steady.tolist(), "correlation": np.where(enough, now["rho"], np.nan).tolist(),
        "betas": np.where(enough, betas, np.nan).tolist(),
        "partial": partial_correlations(newest, column).tolist(),
        "leadership": (np.nansum(delta, axis=1) / np.maximum(1, np.isfinite(delta).sum(axis=1))).tolist(),
    }
