"""How good were the forecasts? Every number on rows the model had not seen, and the verdict in words.

Probabilities have shape (rows, classes); `codes` is the position of the class that happened. Losses of overlapping outcomes are no
independent tries: tests go by daily means with HAC errors, and noise floors count n/h rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.statistics.blocks import block_length, bootstrap_means
from analysis.statistics.events import area_under_curve, bootstrap_intervals, event_block, reliability
from analysis.statistics.performance import sharpe
from analysis.statistics.prediction import fixed_b_critical, hac_lag, long_run_variance, rank_ic
from analysis.statistics.trade_record import profit_factor, win_rate
from data.market import DAY_MS
from models.forecaster import LEAST_PROBABILITY

BINS = 10
CALIBRATED_WITHIN = 0.02  # calibration error beyond its noise floor that still counts as calibrated
LEAST_T = 2.0
LEAST_DEFLATED = 0.95
DRAWS = 300


def figure(value: float) -> str:
    """A loss in four digits, however small its unit.

    >>> figure(1.0903), figure(0.0089271)
    ('1.0903', '0.008927')
    """
    return f"{value:.4f}" if abs(value) >= 0.1 else f"{value:.4g}"


def log_losses(probability: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """`-ln p` of what happened, p floored at 1e-6, one a row."""
    return -np.log(np.clip(probability[np.arange(len(codes)), codes], LEAST_PROBABILITY, 1.0))


def brier_scores(probability: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """`sum_k (p_k - y_k)^2 / 2`, one a row, in [0, 1]; with two classes the usual `(p - y)^2` (Brier 1950)."""
    happened = np.zeros_like(probability)
    happened[np.arange(len(codes)), codes] = 1.0
    return ((probability - happened) ** 2).sum(axis=1) / 2.0


def calibration_error(probability: np.ndarray, codes: np.ndarray, *, horizon: int = 1) -> dict[str, Any]:
    """Expected calibration error of the most probable class: 10 bins of equal mass, `sum n_b/n |acc_b - conf_b|`.

    `floor` is what perfectly calibrated forecasts would show by chance, `sum n_b/n sqrt(2/pi p(1-p)/n_b)`, with n_b/h independent rows
    a bin; only `excess` counts.

    References
    ----------
    Naeini, Cooper & Hauskrecht (2015), "Obtaining Well Calibrated Probabilities Using Bayesian Binning".
    """
    top = probability.argmax(axis=1)
    stated, right = probability.max(axis=1), (top == codes).astype(float)
    bins = reliability(stated, right, bins=BINS)
    n = len(codes)
    error = sum(b.rows / n * abs(b.happened - b.stated) for b in bins)
    floor = sum(b.rows / n * math.sqrt(2 / math.pi * b.stated * (1 - b.stated) / max(b.rows / horizon, 1.0)) for b in bins)
    return {"ece": error, "floor": floor, "excess": max(0.0, error - floor),
            "bins": [{"stated": b.stated, "happened": b.happened, "rows": b.rows} for b in bins]}


def confusion(predicted: np.ndarray, codes: np.ndarray, classes: tuple[int, ...]) -> dict[str, Any]:
    """Counts by called class and by what happened, and TP/FP/FN/TN of each class."""
    k = len(classes)
    table = np.bincount(predicted * k + codes, minlength=k * k).reshape(k, k)
    each = {}
    for i, c in enumerate(classes):
        tp = int(table[i, i])
        fp, fn = int(table[i].sum()) - tp, int(table[:, i].sum()) - tp
        each[str(c)] = {"tp": tp, "fp": fp, "fn": fn, "tn": int(table.sum()) - tp - fp - fn} | _precision(tp, fp, fn)
    return {"table": table.tolist(), "by_class": each}


def _precision(tp: int, fp: int, fn: int) -> dict[str, float]:
    precision = tp / (tp + fp) if tp + fp else math.nan
    recall = tp / (tp + fn) if tp + fn else math.nan
    return {"precision": precision, "recall": recall, "f1": 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else math.nan}


def matthews(table: np.ndarray) -> float:
    """Matthews' correlation for any number of classes; NaN where one side does not vary (Gorodkin 2004)."""
    t = np.asarray(table, float)
    total, right, called, was = t.sum(), np.trace(t), t.sum(axis=1), t.sum(axis=0)
    below = math.sqrt(float((total**2 - called @ called) * (total**2 - was @ was)))
    return float((right * total - called @ was) / below) if below > 0 else math.nan


def auc(probability: np.ndarray, codes: np.ndarray) -> float:
    """Area under the ROC curve, one class against the rest, the mean over classes that occur; NaN where only one does."""
    k = probability.shape[1]
    once = np.ones(len(codes))
    found = [area_under_curve(probability[:, i], codes == i)(once) for i in ((1,) if k == 2 else range(k))]
    kept = [v for v in found if math.isfinite(v)]
    return float(np.mean(kept)) if kept else math.nan


def auc_interval(probability: np.ndarray, codes: np.ndarray, *, horizon: int, seed: int = 0, draws: int = DRAWS) -> dict[str, float]:
    """AUC of the highest class (up) with its 95 % stationary block bootstrap interval; NaN without rows."""
    if not len(codes):
        return {"auc": math.nan, "low": math.nan, "high": math.nan}
    happened = codes == probability.shape[1] - 1
    found = bootstrap_intervals({"auc": area_under_curve(probability[:, -1], happened)}, len(codes), block=event_block(happened, horizon),
                                draws=draws, seed=seed)["auc"]
    return {"auc": found.value, "low": found.low, "high": found.high}


def direction_auc(probability: np.ndarray, codes: np.ndarray, *, horizon: int, seed: int = 0, draws: int = DRAWS) -> dict[str, float]:
    """AUC of up against down among rows of three classes that moved, with its interval.

    Whether anything moves beyond the threshold can be known from the hour and the volatility; which way is the harder question, and this
    is the number that answers it.
    """
    rows = np.flatnonzero(codes != 1)
    pair = probability[rows][:, [0, 2]]
    total = pair.sum(axis=1, keepdims=True)
    return auc_interval(np.where(total > 0, pair / np.where(total > 0, total, 1.0), 0.5), codes[rows] // 2, horizon=horizon, seed=seed,
                        draws=draws)


def implied_side(probability: np.ndarray, classes: tuple[int, ...]) -> np.ndarray:
    """What a trader who follows the most probable class does: 1 long, -1 short, 0 nothing."""
    return np.array(classes)[probability.argmax(axis=1)].astype(float)


def trade_metrics(side: np.ndarray, ret: np.ndarray, close_time: np.ndarray, *, cost: float, horizon: int) -> dict[str, Any]:
    """Trades a side implies, after the round-trip cost; overlapping ones each count 1/h of a position in the daily returns.

    `sharpe_daily` is per day (what a trial ledger and a deflated ratio need), `sharpe` annualised.
    """
    net = np.where(side != 0, side * ret - cost, np.nan)
    taken = np.isfinite(net)
    rate, low, high = win_rate(net)
    daily = daily_returns(net, close_time, horizon)
    return {"trades": int(taken.sum()), "mean_return": float(net[taken].mean()) if taken.any() else math.nan,
            "profit_factor": profit_factor(net), "win_rate": rate, "win_rate_low": low, "win_rate_high": high,
            "sharpe": sharpe(daily), "sharpe_daily": sharpe(daily, periods_per_year=1.0), "days": len(daily)}


def daily_returns(net: np.ndarray, close_time: np.ndarray, horizon: int) -> np.ndarray:
    """Sum of net returns by UTC day of the decision, over `horizon` staggered positions; days without a trade are 0."""
    if not len(net):
        return np.empty(0)
    day = close_time // DAY_MS
    return np.bincount(day - day.min(), np.nan_to_num(net), minlength=int(day.max() - day.min()) + 1) / horizon


def classification_metrics(probability: np.ndarray, codes: np.ndarray, classes: tuple[int, ...], *, prior: np.ndarray, ret: np.ndarray,
                           close_time: np.ndarray, cost: float, horizon: int) -> dict[str, Any]:
    """Every number of one forecaster on the same rows. `prior` is the class-frequency forecast, shape of `probability`."""
    predicted = probability.argmax(axis=1)
    table = confusion(predicted, codes, classes)
    each = list(table["by_class"].values())
    recalls = [c["recall"] for c in each if math.isfinite(c["recall"])]
    brier, base = float(brier_scores(probability, codes).mean()), float(brier_scores(prior, codes).mean())
    return {
        "rows": len(codes), "accuracy": float((predicted == codes).mean()), "balanced_accuracy": float(np.mean(recalls)),
        "f1_macro": float(np.mean([c["f1"] for c in each if math.isfinite(c["f1"])] or [math.nan])),
        "mcc": matthews(np.array(table["table"])), "auc": auc(probability, codes), "log_loss": float(log_losses(probability, codes).mean()),
        "brier": brier, "brier_skill": 1.0 - brier / base if base > 0 else math.nan, "confusion": table,
        "calibration": calibration_error(probability, codes, horizon=horizon),
        "trades": trade_metrics(implied_side(probability, classes), ret, close_time, cost=cost, horizon=horizon),
    }


def regression_metrics(mean: np.ndarray, y: np.ndarray, ret: np.ndarray, close_time: np.ndarray, *, cost: float,
                       horizon: int) -> dict[str, Any]:
    """MAE, RMSE, skill against no change, rank IC with its interval, share of right signs. Unknown forecasts are left out."""
    known = np.isfinite(mean) & np.isfinite(y)
    mean, y, ret, close_time = mean[known], y[known], ret[known], close_time[known]
    error = y - mean
    still = float((y**2).mean()) if len(y) else math.nan
    found = rank_ic(mean, y, horizon)
    called = (mean != 0) & (y != 0)
    return {
        "rows": len(y), "mae": float(np.abs(error).mean()) if len(y) else math.nan,
        "rmse": math.sqrt(float((error**2).mean())) if len(y) else math.nan,
        "skill": 1.0 - float((error**2).mean()) / still if still > 0 else math.nan, "rank_ic": found.ic, "rank_ic_low": found.low,
        "rank_ic_high": found.high, "sign_accuracy": float((np.sign(mean) == np.sign(y))[called].mean()) if called.any() else math.nan,
        "trades": trade_metrics(np.sign(mean), ret, close_time, cost=cost, horizon=horizon),
    }


@dataclass(frozen=True)
class LossTest:
    """Mean daily loss of a model minus that of another; `t` below zero: the model is better. `critical`: two-sided 95 %."""

    difference: float
    t: float
    critical: float
    days: int

    @property
    def better(self) -> bool:
        return -self.t > max(LEAST_T, self.critical)


def diebold_mariano(loss: np.ndarray, other: np.ndarray, close_time: np.ndarray, *, horizon_ms: int) -> LossTest:
    """Are the losses lower than those of another forecaster? Daily means of the differences, Bartlett HAC errors.

    Lag `max(2h, 1.3 sqrt n)` days with the critical value that belongs to it; NaN below 10 days or without a difference.

    References
    ----------
    Diebold & Mariano (1995), "Comparing Predictive Accuracy". Kiefer & Vogelsang (2005).
    """
    difference = loss - other
    known = np.isfinite(difference)
    day = close_time[known] // DAY_MS
    _, position = np.unique(day, return_inverse=True)
    n = int(position.max()) + 1 if len(position) else 0
    mean = float(difference[known].mean()) if known.any() else math.nan
    if n < 10:
        return LossTest(mean, math.nan, math.nan, n)
    daily = np.bincount(position, difference[known]) / np.bincount(position)
    lag = hac_lag(n, max(1, math.ceil(horizon_ms / DAY_MS)))
    variance = long_run_variance(daily - daily.mean(), lag)
    t = float(daily.mean() / math.sqrt(variance / n)) if variance > 0 else math.nan
    return LossTest(mean, t, fixed_b_critical(lag / n), n)


def challenger_p_value(champion: np.ndarray, challenger: np.ndarray, *, horizon: int, seed: int = 0, draws: int = DRAWS) -> float:
    """Share of paired block-bootstrap draws in which the challenger's mean loss is not below the champion's; below .1 it may be promoted.

    Losses of both on the same unseen rows (the last 90 days), in time order. Blocks of max(2h, Politis-White). NaN below 20 rows.
    """
    difference = challenger - champion
    if len(difference) < 20:
        return math.nan
    block = min(max(2.0 * horizon, block_length(difference)), len(difference) / 3)
    means = bootstrap_means(difference[:, None], block=block, draws=draws, seed=seed)[:, 0]
    return float((means >= 0).mean())


def by_group(probability: np.ndarray, codes: np.ndarray, classes: tuple[int, ...], group: np.ndarray) -> dict[str, Any]:
    """Confusion and losses by a label a row carries: symbol, regime. Empty labels are left out."""
    out = {}
    for name in sorted({str(g) for g in group} - {""}):
        rows = np.flatnonzero(np.asarray(group) == name)
        p, c = probability[rows], codes[rows]
        out[name] = {"rows": len(rows), "accuracy": float((p.argmax(axis=1) == c).mean()), "log_loss": float(log_losses(p, c).mean()),
                     "brier": float(brier_scores(p, c).mean())} | confusion(p.argmax(axis=1), c, classes)
    return out


def rolling(probability: np.ndarray, codes: np.ndarray, close_time: np.ndarray, *, days: tuple[int, ...] = (30, 90)) -> dict[str, Any]:
    """Accuracy, log loss and Brier of the trailing 30 and 90 days at each day's end (UTC); None before the first whole window and where a
    window holds no row."""
    if not len(codes):
        return {"day_ms": []}
    day = close_time // DAY_MS
    number = day - day.min()
    n = int(number.max()) + 1
    values = {"accuracy": (probability.argmax(axis=1) == codes).astype(float), "log_loss": log_losses(probability, codes),
              "brier": brier_scores(probability, codes)}
    count = np.concatenate(([0], np.cumsum(np.bincount(number, minlength=n))))
    out: dict[str, Any] = {"day_ms": [int((day.min() + i + 1) * DAY_MS) for i in range(n)]}
    for name, value in values.items():
        total = np.concatenate(([0.0], np.cumsum(np.bincount(number, value, minlength=n))))
        for d in days:
            rows = count[d:] - count[:-d] if n >= d else np.empty(0)
            means = (total[d:] - total[:-d]) / np.maximum(rows, 1) if n >= d else np.empty(0)
            out[f"{name}_{d}d"] = [None] * min(d - 1, n) + [m if k else None for m, k in zip(means.tolist(), rows.tolist(), strict=True)]
    return out


@dataclass(frozen=True)
class Verdict:
    """`edge` only where every condition holds; `reasons` says which did and which did not."""

    edge: bool
    words: str
    reasons: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        return {"edge": self.edge, "words": self.words, "reasons": list(self.reasons)}


NO_EDGE, EDGE = "no edge shown", "edge shown out of sample"


def verdict(against_prior: LossTest, calibration: Mapping[str, Any] | None, deflated_sharpe: float | None, *,
            against: str = "the class frequencies") -> Verdict:
    """Better than the prior with a HAC t above 2, calibrated, and a deflated Sharpe ratio above .95: all three, or no edge is shown.

    `calibration` None: nothing to be calibrated (numbers, not probabilities). `deflated_sharpe` None: it was not computed, and then no
    edge is shown.
    """
    reasons, good = [], []
    if not math.isfinite(against_prior.t):
        reasons.append(f"too few days ({against_prior.days}) or no difference to compare its loss with {against}")
        good.append(False)
    else:
        word = "lower" if against_prior.difference < 0 else "higher"
        reasons.append(f"loss {abs(against_prior.difference):.3g} {word} than {against}, t = {-against_prior.t:.2f} over "
                       f"{against_prior.days} days (needs {max(LEAST_T, against_prior.critical):.2f})")
        good.append(against_prior.better)
    if calibration is not None:
        held = calibration["excess"] <= CALIBRATED_WITHIN
        reasons.append(f"calibration error {calibration['ece']:.3f}, noise floor {calibration['floor']:.3f}: "
                       f"{'calibrated' if held else 'not calibrated'}")
        good.append(held)
    if deflated_sharpe is None or not math.isfinite(deflated_sharpe):
        reasons.append("deflated Sharpe ratio of its trades not computed")
        good.append(False)
    else:
        reasons.append(f"deflated Sharpe ratio {deflated_sharpe:.2f} after costs and tries (needs {LEAST_DEFLATED})")
        good.append(deflated_sharpe > LEAST_DEFLATED)
    return Verdict(all(good), EDGE if all(good) else NO_EDGE, tuple(reasons))
