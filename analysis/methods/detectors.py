"""The detectors of module J that need no fit: from returns and volume to past-only tail probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.methods.cauchy import cauchy_p, cauchy_terms
from analysis.methods.cusum import cusum
from analysis.methods.shifts import cumulative_deviation, mean_and_spread_shift, shape_change
from analysis.methods.spectral_residual import spectral_residual
from analysis.methods.tail_rank import tail_probability
from analysis.methods.winsor import surprise, surprise_and_gap
from analysis.scaling import surprisal, tp

TAIL_BARS = 960  # W of TP
TAIL_MINIMUM_BARS = 500
NEWS, NEWS_MINIMUM = 300, 100  # settlements of funding
REACH_BARS = 324  # the longest window of a statistic: 24 + 300 bars of the cumulative deviation


@dataclass(frozen=True)
class Inputs:
    """What the detectors read, shape (n_bars,) each.

    `log_return` is NaN at the first bar of a gap-free segment, `log_volume` where nothing was traded or no volume is known
    (a bar without trades is absent, not infinitely quiet), `restart` True at the first bar of each segment. `interest_change` is
    the change of ln open interest and `funding` the settled rate, both NaN in bars in which nothing new became known; None: not held.
    """

    log_return: np.ndarray
    log_volume: np.ndarray
    restart: np.ndarray
    interest_change: np.ndarray | None = None
    funding: np.ndarray | None = None

    def beside(self) -> tuple[np.ndarray, np.ndarray]:
        """(interest_change, funding), all NaN where not held."""
        nothing = np.full(len(self.log_return), np.nan)
        return (nothing if self.interest_change is None else self.interest_change, nothing if self.funding is None else self.funding)

    def stacked(self) -> np.ndarray:
        """Five rows of numbers: the content a fit is cached by."""
        return np.stack((self.log_return, self.log_volume, self.restart.astype(float), *self.beside()))

    @staticmethod
    def of(stacked: np.ndarray) -> Inputs:
        return Inputs(stacked[0], stacked[1], stacked[2] > 0, stacked[3], stacked[4])

    def slice(self, first: int, last: int) -> Inputs:
        """Rows first..last-1 as a series of its own: its first return is unknown, so that the slice alone decides."""
        r = self.log_return[first:last].copy()
        restart = self.restart[first:last].copy()
        r[:1], restart[:1] = np.nan, True
        interest, funding = (x[first:last] for x in self.beside())
        return Inputs(r, self.log_volume[first:last], restart, interest, funding)


@dataclass(frozen=True)
class Evidence:
    """What the detectors found, per detector: the statistic shown and its tail probability, shape (n_bars,) each."""

    statistic: Mapping[str, np.ndarray]
    p: Mapping[str, np.ndarray]
    features: np.ndarray  # columns of FEATURES, for the forest
    single: Mapping[str, np.ndarray]  # every p before several were joined to one detector's


FEATURES = ("abs_z_return", "log_volume_ratio", "abs_z_volume", "cum_dev", "abs_z_open_interest", "abs_z_funding")
HELD_BARS = 26  # a surprise of funding stays in the forest's sight until the next settlement, a day and an hour at most


def _joined(*several: np.ndarray) -> np.ndarray:
    """`min(1, m min p)` over the m probabilities present in each bar (Bonferroni); NaN where none is."""
    stack = np.stack(several)
    present = np.isfinite(stack).sum(axis=0)
    least = np.where(np.isfinite(stack), stack, 1.0).min(axis=0)
    return np.where(present > 0, np.minimum(1.0, present * least), np.nan)


def features_of(inputs: Inputs, *, last: int | None = None) -> np.ndarray:
    """Inputs of the isolation forest, shape (n_bars, 6): |z of return|, ln of volume over its level, |z of ln volume|,
    cumulative deviation, |z of the change of open interest|, |z of funding| since its last settlement."""
    z = surprise(inputs.log_return, inputs.restart, centred=False)
    volume, ratio = surprise_and_gap(inputs.log_volume, inputs.restart, centred=True)
    interest, funding = _surprises_beside(inputs)
    return np.stack((np.abs(z), ratio, np.abs(volume), cumulative_deviation(inputs.log_return, last=last), np.abs(interest),
                     held(np.abs(funding), HELD_BARS)), axis=1)


def _surprises_beside(inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """z of the change of open interest (its zero is natural) and of the funding rate about its level; NaN in bars without news."""
    interest, funding = inputs.beside()
    never = np.zeros(len(interest), bool)  # they run on through holes of the candles: another series, another feed
    return surprise(interest, never, centred=False), surprise(funding, never, centred=True)


def held(x: np.ndarray, bars: int) -> np.ndarray:
    """The last known value, at most `bars` bars old; NaN before."""
    rows = np.arange(len(x))
    last = np.maximum.accumulate(np.where(np.isfinite(x), rows, -1)) if len(x) else rows
    return np.where((last >= 0) & (rows - last < bars), x[np.maximum(last, 0)] if len(x) else x, np.nan)


def shifts_of(log_return: np.ndarray, *, last: int | None = None) -> dict[str, np.ndarray]:
    """The statistics that windows of returns alone decide, shape (n_bars,) each; only the newest `last` rows need be known."""
    mean_shift, spread_shift = mean_and_spread_shift(log_return, last=last)
    skew, kurt = shape_change(log_return, last=last)
    return {"mean_shift": mean_shift, "spread_shift": spread_shift, "skew_change": skew, "kurtosis_change": kurt,
            "cum_dev": cumulative_deviation(log_return, last=last), "spectral": spectral_residual(log_return, last=last)}


def detect(inputs: Inputs, *, last: int | None = None, shifts: Mapping[str, np.ndarray] | None = None) -> Evidence:
    """Every detector over the newest `last` bars.

    Recursive statistics run from the start of the series, windows only where needed; the newest rows are the same for any
    `last`. `shifts`: `shifts_of` the returns where somebody has it, the newest `last` + 960 rows or more.

    The detectors: `zscore` |z| of return and of ln volume against winsorised EWMA .94; `mean_std` 20 against 200 bars;
    `skew_kurt` 100 bars against those before; `cum_dev` the last day against 300 bars before; `cusum` Page's charts on z and
    z^2; `spectral` spectral residual of returns. p by TP, W=960, at least 500.
    """
    r, restart = inputs.log_return, inputs.restart
    reach = None if last is None else last + TAIL_BARS
    z = surprise(r, restart, centred=False)
    volume, ratio = surprise_and_gap(inputs.log_volume, restart, centred=True)
    interest, funding = _surprises_beside(inputs)
    if shifts is None:
        shifts = shifts_of(r, last=reach)
    mean_shift, spread_shift, skew, kurt, deviation, saliency = (
        shifts[name] for name in ("mean_shift", "spread_shift", "skew_change", "kurtosis_change", "cum_dev", "spectral"))
    chart = cusum(z, restart)

    def tail(x: np.ndarray) -> np.ndarray:
        return tail_probability(x, window=TAIL_BARS, minimum=TAIL_MINIMUM_BARS, last=last)

    single = {
        "z_return": tail(np.abs(z)), "z_volume": tail(np.abs(volume)), "mean_shift": tail(mean_shift),
        "spread_shift": tail(spread_shift), "skew_change": tail(skew), "kurtosis_change": tail(kurt),
        "cum_dev": tail(deviation), "cusum": tail(chart), "spectral": tail(saliency),
        "z_open_interest": tail(np.abs(interest)), "z_funding": _tail_of_news(np.abs(funding), last),
    }
    # Without a return there is no bar to judge; volume alone would speak for a detector of returns.
    joined = _joined(single["z_return"], single["z_volume"], single["z_open_interest"], single["z_funding"])
    either = np.where(np.isfinite(single["z_return"]), joined, np.nan)
    p = {
        "zscore": either,
        "mean_std": np.minimum(1.0, 2.0 * np.minimum(single["mean_shift"], single["spread_shift"])),
        "skew_kurt": np.minimum(1.0, 2.0 * np.minimum(single["skew_change"], single["kurtosis_change"])),
        "cum_dev": single["cum_dev"], "cusum": single["cusum"], "spectral": single["spectral"],
    }
    statistic = {
        "zscore": np.abs(z), "mean_std": np.fmax(mean_shift, spread_shift), "skew_kurt": np.fmax(skew, kurt),
        "cum_dev": deviation, "cusum": chart, "spectral": saliency,
    }
    features = np.stack((np.abs(z), ratio, np.abs(volume), deviation, np.abs(interest), held(np.abs(funding), HELD_BARS)), axis=1)
    return Evidence(statistic, p, features, single)


def _tail_of_news(x: np.ndarray, last: int | None) -> np.ndarray:
    """TP among the values that came (settlements), not among bars: 300 of them, at least 100."""
    came = np.flatnonzero(np.isfinite(x))
    out = np.full(len(x), np.nan)
    if len(came):
        newest = None if last is None else max(1, int((came >= len(x) - last).sum()))
        out[came] = tp(x[came], window=NEWS, minimum=NEWS_MINIMUM, last=newest)
    return out


def combined_score(p: Mapping[str, np.ndarray], weights: Mapping[str, float], needed: float) -> np.ndarray:
    """Score 0..1 of the Cauchy combination of the detectors present; NaN below the weight `needed`."""
    total, present = np.zeros(len(next(iter(p.values())))), np.zeros(len(next(iter(p.values()))))
    for name, values in p.items():
        known = np.isfinite(values)
        total += np.where(known, weights[name] * cauchy_terms(np.where(known, values, 0.5)), 0.0)
        present += np.where(known, weights[name], 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(present >= needed, surprisal(cauchy_p(total / present)), np.nan)
