"""GARCH(1,1) with Student-t errors: tomorrow's volatility from today's, refit daily, filtered every bar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.fits import FitCache
from analysis.methods.schedule import fit_days, percent_returns, quietly
from analysis.report import Status
from analysis.scaling import pr
from data.frames import Candles
from data.indicators.volatility import ewma_volatility
from data.kernel import kernel

METHOD = "garch-t/1"  # change it whenever the meaning of a stored fit changes
MAX_ITERATIONS = 300
MOST_PERSISTENT = 0.9999  # alpha + beta at or above it has no finite long-run variance
BOUND_MARGIN = 1e-6
NU_BOUNDS = (2.05, 500.0)  # arch's own
BACKCAST_RETURNS, BACKCAST_DECAY = 75, 0.94  # how arch guesses the variance before the first return
FALLBACK_DECAY = 0.94


@dataclass(frozen=True)
class Volatility:
    """GARCH volatility of the newest bars; arrays of shape (bars,).

    `sigma` is the forecast sd of the NEXT bar's return in percent, known at the bar; `rank` its percentile among the last 500
    sigmas under the same parameters; `status` OK, FALLBACK (EWMA 0.94 stands in), WARMUP or DEGENERATE; `parameters` those
    in force at the newest bar, empty when none; `note` words about the newest bar.
    """

    sigma: np.ndarray
    rank: np.ndarray
    status: np.ndarray
    parameters: dict[str, float]
    note: str = ""


def fit_garch(returns: np.ndarray) -> dict[str, float | str]:
    """Maximum likelihood of `sig2_{t+1} = omega + alpha r_t^2 + beta sig2_t`, zero mean, Student-t with nu degrees.

    Parameters
    ----------
    returns : ndarray of shape (n,)
        Log returns in percent, no NaN. They are divided by their sd for the optimiser (the model does not care, the optimiser
        does: one-minute returns are 0.05 %) and omega is given back in percent squared.

    Returns
    -------
    dict
        omega, alpha, beta, nu, and `reason`: empty, or in words why the fit is rejected (not converged, alpha + beta >=
        0.9999, a parameter at its bound).

    References
    ----------
    Bollerslev (1986), "Generalized Autoregressive Conditional Heteroskedasticity"; Bollerslev (1987) for Student-t errors.
    """
    scale = float(np.std(returns))
    if not scale > 0:
        return {"omega": 0.0, "alpha": 0.0, "beta": 0.0, "nu": 0.0, "reason": "all returns are equal"}
    from arch import arch_model

    model = arch_model(returns / scale, mean="Zero", vol="GARCH", p=1, q=1, dist="t", rescale=False)
    try:
        with quietly():
            result = model.fit(disp="off", show_warning=False, options={"maxiter": MAX_ITERATIONS})
    except (ValueError, RuntimeError, ArithmeticError, np.linalg.LinAlgError) as error:
        return {"omega": 0.0, "alpha": 0.0, "beta": 0.0, "nu": 0.0, "reason": f"the optimiser failed: {error}"}
    omega, alpha, beta, nu = (float(result.params[name]) for name in ("omega", "alpha[1]", "beta[1]", "nu"))
    reason = ""
    if result.convergence_flag != 0:
        reason = f"not converged (flag {result.convergence_flag})"
    elif not np.isfinite([omega, alpha, beta, nu]).all():
        reason = "parameters are not finite"
    elif alpha + beta >= MOST_PERSISTENT:
        reason = f"alpha + beta = {alpha + beta:.4f}, variance without a long-run level"
    elif min(omega, alpha, beta) <= BOUND_MARGIN or not NU_BOUNDS[0] + BOUND_MARGIN < nu < NU_BOUNDS[1] - BOUND_MARGIN:
        reason = "a parameter stopped at its bound"
    return {"omega": omega * scale * scale, "alpha": alpha, "beta": beta, "nu": nu, "reason": reason}


@kernel
def filter_variance(squares, omega, alpha, beta, start):
    """`out[t] = omega + alpha squares[t] + beta sig2_t`: the variance of bar t+1, known at t; sig2_0 = start."""
    n = len(squares)
    out = np.empty(n)
    variance = start
    for t in range(n):
        variance = omega + alpha * squares[t] + beta * variance
        out[t] = variance
    return out


@filter_variance.warm_with
def _example():
    return np.ones(8), 0.02, 0.08, 0.90, 1.0


def sigma_path(returns: np.ndarray, omega: float, alpha: float, beta: float) -> np.ndarray:
    """Forecast sd of the next bar, at every bar of `returns` (percent), under frozen parameters.

    Starts as arch does, so in sample it equals arch's conditional volatility one bar later.
    """
    squares = returns * returns
    early = squares[:BACKCAST_RETURNS]
    weights = BACKCAST_DECAY ** np.arange(len(early))
    before = float((weights * early).sum() / weights.sum())
    return np.sqrt(filter_variance(squares, omega, alpha, beta, omega + (alpha + beta) * before))


def horizon_sigma(sigma_next: float, parameters: dict[str, float], bars: int) -> float:
    """Sd of the return over the next `bars` bars, percent: the root of the summed variance forecasts, which revert."""
    omega, persistence = parameters["omega"], parameters["alpha"] + parameters["beta"]
    level = omega / (1.0 - persistence)
    away = sigma_next * sigma_next - level
    return float(np.sqrt(bars * level + away * (1.0 - persistence**bars) / (1.0 - persistence)))


def garch_volatility(candles: Candles, *, bars: int = 1, fits: FitCache | None = None) -> Volatility:
    """Next-bar volatility at the newest `bars` bars: parameters of the last 00:00 UTC, filtered to the bar.

    Fitted on the last 1500 returns (at least 500) of the gap-free segment before the day, and filtered from the start of that
    window with the parameters in force at the bar. A rejected fit is replaced by EWMA 0.94 with status FALLBACK. One fit a
    UTC day; the value at a bar does not depend on `bars`.
    """
    cache = fits if fits is not None else FitCache()
    n = len(candles)
    bars = min(bars, n)
    sigma, rank = np.full(n, np.nan), np.full(n, np.nan)
    status = np.full(n, Status.WARMUP, np.int8)
    percent = percent_returns(candles)
    parameters: dict[str, float] = {}
    note, stand_in = "", None
    for day in fit_days(candles, bars):
        parameters, note = {}, ""
        if day.missing:
            note = f"needs {day.missing} more bars without a gap before 00:00 UTC"
            continue
        found = cache.get(METHOD, percent[day.window], fit_garch)
        reason, count = str(found["reason"]), day.rows.stop - day.rows.start
        if reason == "all returns are equal":
            status[day.rows], note = Status.DEGENERATE, reason
            continue
        if reason:
            if stand_in is None:
                stand_in = 100.0 * ewma_volatility(candles, decay=FALLBACK_DECAY)
            path, note = stand_in[day.path], f"EWMA 0.94 stands in: {reason}"
        else:
            parameters = {name: float(found[name]) for name in ("omega", "alpha", "beta", "nu")}
            path = sigma_path(percent[day.path], parameters["omega"], parameters["alpha"], parameters["beta"])
        sigma[day.rows] = path[-count:]
        rank[day.rows] = pr(path, last=count)[-count:]
        good = np.isfinite(rank[day.rows]) & (sigma[day.rows] > 0)
        status[day.rows] = np.where(good, Status.FALLBACK if reason else Status.OK, Status.DEGENERATE)
    newest = slice(n - bars, n)
    return Volatility(sigma[newest], rank[newest], status[newest], parameters, note)
