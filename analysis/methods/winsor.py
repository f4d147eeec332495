"""How surprising is a value, measured by a volatility that one outlier cannot inflate."""

from __future__ import annotations

import numpy as np

from data.kernel import kernel

DECAY = 0.94  # RiskMetrics (1996)
CLIP_SD = 4.0  # an update counts at most as a 4 sd move
SEED_BARS = 30
WARMUP_BARS = 320  # seed, then until the start weighs below 1e-6; longer than 230 because clipped updates depend on it too


@kernel
def _surprise(x: np.ndarray, restart: np.ndarray, decay: float, clip: float, seed: int, centred: bool) -> np.ndarray:
    n = len(x)
    out = np.full((2, n), np.nan)
    seen, total, squares, level, variance = 0, 0.0, 0.0, 0.0, 0.0
    for t in range(n):
        if restart[t]:
            seen, total, squares = 0, 0.0, 0.0
        value = x[t]
        if value != value:
            continue
        if seen < seed:
            total += value
            squares += value * value
            seen += 1
            if seen == seed:
                level = total / seed if centred else 0.0
                variance = squares / seed - level * level
                if variance < 1e-14 * squares / seed:
                    variance = 0.0
            continue
        error = value - level
        out[1, t] = error
        if variance > 0.0:
            sd = np.sqrt(variance)
            out[0, t] = error / sd
            bounded = min(max(error, -clip * sd), clip * sd)
        else:
            bounded = error  # after a frozen price any move is new: nothing to clip by, else the scale stays 0 for ever
        if centred:
            level += (1.0 - decay) * bounded
        variance = decay * variance + (1.0 - decay) * bounded * bounded
    return out


@_surprise.warm_with
def _example() -> tuple[np.ndarray, np.ndarray, float, float, int, bool]:
    return np.zeros(40), np.zeros(40, np.bool_), DECAY, CLIP_SD, SEED_BARS, False


def surprise(x: np.ndarray, restart: np.ndarray, *, centred: bool, decay: float = DECAY, clip_sd: float = CLIP_SD) -> np.ndarray:
    """Deviation of each value in units of the exponentially weighted sd known one bar before: row 0 of `surprise_and_gap`."""
    return surprise_and_gap(x, restart, centred=centred, decay=decay, clip_sd=clip_sd)[0]


def surprise_and_gap(x: np.ndarray, restart: np.ndarray, *, centred: bool, decay: float = DECAY,
                     clip_sd: float = CLIP_SD) -> np.ndarray:
    """Deviation of each value from the exponentially weighted level known one bar before, in its sd and in its own unit.

    `z_t = (x_t - m_{t-1}) / sig_{t-1}`, `sig_t^2 = .94 sig_{t-1}^2 + .06 min(|x_t - m_{t-1}|, 4 sig_{t-1})^2`. The winsorised
    update keeps one jump from hiding the next.

    Parameters
    ----------
    x : ndarray of shape (n_bars,)
        NaN (unknown, no trade) leaves the state as it is.
    restart : ndarray of bool, shape (n_bars,)
        True at the first bar of a gap-free segment: the state begins anew there.
    centred : bool
        Whether m follows the level (same decay, winsorised); else m is 0, as for returns.

    Returns
    -------
    ndarray of shape (2, n_bars)
        z and x_t - m_{t-1}, signed; z in sd. NaN for the first 320 bars of a segment (30 of them start level and variance,
        then two different starts agree within 1e-6); z also while the variance is 0 (a flat series).

    References
    ----------
    J.P. Morgan/Reuters (1996), "RiskMetrics Technical Document"; the clipped update is ours.
    """
    restart = np.ascontiguousarray(restart, np.bool_)
    out = _surprise(np.ascontiguousarray(x, float), restart, decay, clip_sd, SEED_BARS, centred)
    rows = np.arange(out.shape[1])
    began = np.maximum.accumulate(np.where(restart, rows, 0)) if len(rows) else rows
    out[:, rows - began < WARMUP_BARS] = np.nan
    return out
