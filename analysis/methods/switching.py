"""Two volatility regimes that switch like a Markov chain: the filtered probability of being in the wild one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.fits import FitCache
from analysis.methods.schedule import fit_days, percent_returns, quietly
from analysis.report import Status
from data.frames import Candles
from data.kernel import kernel

if TYPE_CHECKING:
    from statsmodels.tsa.regime_switching.markov_regression import MarkovRegression

METHOD = "markov-variance/2"  # change it whenever the meaning of a stored fit changes
MAX_ITERATIONS = 200
LEAST_RATIO = 1.3  # of the two standard deviations; closer ones are one regime, cut at random


@dataclass(frozen=True)
class Switching:
    """Probability of the high-variance state at the newest bars; arrays of shape (bars,).

    `probability` is filtered: it knows returns up to its bar. `status` OK, WARMUP, MISSING (the fit does not find two regimes)
    or DEGENERATE; `parameters` those in force at the newest bar, empty when none; `note` words about the newest bar.
    """

    probability: np.ndarray
    status: np.ndarray
    parameters: dict[str, float]
    note: str = ""


def fit_switching(returns: np.ndarray) -> dict[str, float | str]:
    """Maximum likelihood of `r_t ~ N(mu, sd_s^2)`, s a two-state Markov chain; states sorted by variance after the fit.

    Parameters
    ----------
    returns : ndarray of shape (n,)
        Log returns in percent, no NaN; divided by their sd for the optimiser, given back in percent.

    Returns
    -------
    dict
        mu, sd_low, sd_high (percent), stay_low, stay_high (probability to stay), and `reason`: empty, or in words why there
        are not two regimes (no convergence, sd ratio below 1.3, a state that is never visited).

    References
    ----------
    Hamilton (1989), "A New Approach to the Economic Analysis of Nonstationary Time Series".
    """
    nothing = {"mu": 0.0, "sd_low": 0.0, "sd_high": 0.0, "stay_low": 0.0, "stay_high": 0.0}
    scale = float(np.std(returns))
    if not scale > 0:
        return {**nothing, "reason": "all returns are equal"}
    densities_and_slopes.compile()  # a fit passes over its returns fifty times: the plain loop would take longer than the compiler
    model = _model(returns / scale)
    try:
        with quietly():
            result = model.fit(disp=False, maxiter=MAX_ITERATIONS, cov_type="none")
    except (ValueError, RuntimeError, ArithmeticError, np.linalg.LinAlgError) as error:
        return {**nothing, "reason": f"the optimiser failed: {error}"}
    named = dict(zip(model.param_names, np.asarray(result.params, float).tolist(), strict=True))
    sd = [float(np.sqrt(max(0.0, named[f"sigma2[{s}]"]))) * scale for s in (0, 1)]
    stay = [named["p[0->0]"], 1.0 - named["p[1->0]"]]
    low, high = (0, 1) if sd[0] <= sd[1] else (1, 0)
    found = {"mu": named["const"] * scale, "sd_low": sd[low], "sd_high": sd[high], "stay_low": stay[low], "stay_high": stay[high]}
    reason = ""
    if not np.isfinite(list(found.values())).all():
        return {**nothing, "reason": "parameters are not finite"}
    if not result.mle_retvals.get("converged", False):
        reason = "the fit did not converge"
    elif not sd[low] > 0 or sd[high] / sd[low] < LEAST_RATIO:
        reason = f"one regime: the two sds differ by a factor of {sd[high] / max(sd[low], 1e-300):.2f} ({LEAST_RATIO} needed)"
    elif not (0.0 < stay[low] < 1.0 and 0.0 < stay[high] < 1.0):
        reason = "one of the states is never left or never entered"
    return {**found, "reason": reason}


def _model(returns: np.ndarray) -> MarkovRegression:
    """statsmodels' model, whose optimiser is given the likelihood and its exact slope by one compiled pass instead of ten of its own."""
    from statsmodels.tsa.regime_switching.markov_regression import MarkovRegression

    class TwoVariances(MarkovRegression):
        def loglike(self, params: np.ndarray, transformed: bool = True) -> float:
            return float(self._pass(params, transformed)[0][0])

        def score(self, params: np.ndarray, transformed: bool = True) -> np.ndarray:
            found, inner = self._pass(params, transformed)
            return found[1:] * inner

        def transform_params(self, unconstrained: np.ndarray) -> np.ndarray:
            """Logistic probabilities, squares for variances: what the parent does, without its tables of regimes."""
            given = np.asarray(unconstrained, float)
            return np.concatenate((1.0 / (1.0 + np.exp(-given[:2])), given[2:3], given[3:] ** 2))

        def _pass(self, params: np.ndarray, transformed: bool) -> tuple[np.ndarray, np.ndarray]:
            given = np.asarray(params, float)
            held = given if transformed else self.transform_params(given)
            stay, back, mu, variance_0, variance_1 = held.tolist()
            inner = np.ones(5) if transformed else np.array([stay * (1 - stay), back * (1 - back), 1.0, 2 * given[3], 2 * given[4]])
            apart = self.endog - mu
            square = apart * apart
            log_0 = -0.5 * (square / variance_0 + np.log(2.0 * np.pi * variance_0))
            log_1 = -0.5 * (square / variance_1 + np.log(2.0 * np.pi * variance_1))
            top = np.maximum(log_0, log_1)  # a 40-sigma bar must not have density 0 in both states
            both, slopes = densities_and_slopes(
                np.exp(log_0 - top), np.exp(log_1 - top), stay, back, apart / variance_0, apart / variance_1,
                0.5 * (square / variance_0 - 1.0) / variance_0, 0.5 * (square / variance_1 - 1.0) / variance_1)
            return np.concatenate(([float(np.sum(top + np.log(both)))], slopes)), inner

    model = TwoVariances(returns, 2, trend="c", switching_trend=False, switching_variance=True)
    assert list(model.param_names) == ["p[0->0]", "p[1->0]", "const", "sigma2[0]", "sigma2[1]"]
    return model


@kernel
def densities_and_slopes(f_0, f_1, stay, back, mu_0, mu_1, variance_0, variance_1):
    """Hamilton's filter from the chain's long-run share: the density of each row, and the slopes of the log likelihood.

    `stay` is the probability that state 0 goes on, `back` that state 1 returns to it; f_s the density of a row in state s, and mu_s and
    variance_s the derivatives of its logarithm. Returns densities (n,) and five slopes: by stay, back, the common mean, both variances.
    The derivative of the filtered probability is carried along with it.
    """
    n = len(f_0)
    both, total = np.empty(n), np.zeros(5)
    share = 1.0 - stay + back
    high = (1.0 - stay) / share
    slope = np.zeros(5)
    slope[0] = -back / (share * share)
    slope[1] = (stay - 1.0) / (share * share)
    for t in range(n):
        if t > 0:
            for k in range(5):
                slope[k] *= stay - back
            slope[0] -= 1.0 - high
            slope[1] -= high
            high = high * (1.0 - back) + (1.0 - high) * (1.0 - stay)
        a, b = high * f_1[t], (1.0 - high) * f_0[t]
        whole = a + b
        both[t] = whole
        for k in range(5):
            d_a, d_b = slope[k] * f_1[t], -slope[k] * f_0[t]
            if k == 2:
                d_a += a * mu_1[t]
                d_b += b * mu_0[t]
            elif k == 3:
                d_b += b * variance_0[t]
            elif k == 4:
                d_a += a * variance_1[t]
            total[k] += (d_a + d_b) / whole
            slope[k] = (d_a - a * ((d_a + d_b) / whole)) / whole
        high = a / whole
    return both, total


@densities_and_slopes.warm_with
def _densities_example():
    row = np.ones(8)
    return row, row, 0.99, 0.03, row, row, row, row


@kernel
def filter_probability(density_low, density_high, stay_low, stay_high, start_high):
    """Hamilton's filter: probability of the high state at each row, after seeing that row's densities."""
    n = len(density_low)
    out = np.empty(n)
    high = start_high
    for t in range(n):
        if t > 0:
            high = high * stay_high + (1.0 - high) * (1.0 - stay_low)
        a = high * density_high[t]
        b = (1.0 - high) * density_low[t]
        if a + b > 0.0:
            high = a / (a + b)
        out[t] = high
    return out


@filter_probability.warm_with
def _example():
    return np.ones(8), np.ones(8), 0.99, 0.97, 0.25


def high_probability(returns: np.ndarray, parameters: dict[str, float]) -> np.ndarray:
    """Filtered probability of the high state at every return (percent) under frozen parameters.

    Starts from the chain's long-run share, as statsmodels does, and equals its `filtered_marginal_probabilities` in sample.
    """
    low, high = parameters["sd_low"], parameters["sd_high"]
    apart = (returns - parameters["mu"]) ** 2
    log_low, log_high = -0.5 * apart / low**2 - np.log(low), -0.5 * apart / high**2 - np.log(high)
    top = np.maximum(log_low, log_high)  # only the ratio matters; without this a 40-sigma bar has density 0 in both states
    stay_low, stay_high = parameters["stay_low"], parameters["stay_high"]
    start = (1.0 - stay_low) / (2.0 - stay_low - stay_high)
    return filter_probability(np.exp(log_low - top), np.exp(log_high - top), stay_low, stay_high, start)


def regime_probability(candles: Candles, *, bars: int = 1, fits: FitCache | None = None) -> Switching:
    """Probability of the high-volatility state at the newest `bars` bars: parameters of the last 00:00 UTC, filtered to the bar.

    Fitted on the last 1500 returns (at least 500) of the gap-free segment before the day. Filtered probabilities only:
    smoothed ones know the future and differ by up to 0.81. One fit a UTC day; the value at a bar does not depend on `bars`.
    """
    cache = fits if fits is not None else FitCache()
    n = len(candles)
    bars = min(bars, n)
    probability = np.full(n, np.nan)
    status = np.full(n, Status.WARMUP, np.int8)
    percent = percent_returns(candles)
    parameters: dict[str, float] = {}
    note = ""
    for day in fit_days(candles, bars):
        parameters, note = {}, ""
        if day.missing:
            note = f"needs {day.missing} more bars without a gap before 00:00 UTC"
            continue
        found = cache.get(METHOD, percent[day.window], fit_switching)
        note = str(found["reason"])
        if note:
            status[day.rows] = Status.DEGENERATE if note == "all returns are equal" else Status.MISSING
            continue
        parameters = {name: float(found[name]) for name in ("mu", "sd_low", "sd_high", "stay_low", "stay_high")}
        path = high_probability(percent[day.path], parameters)
        probability[day.rows] = path[-(day.rows.stop - day.rows.start):]
        status[day.rows] = Status.OK
    newest = slice(n - bars, n)
    return Switching(probability[newest], status[newest], parameters, note)
