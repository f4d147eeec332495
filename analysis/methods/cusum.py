"""Page's cumulative sums: small persistent changes of mean or variance, added up until they show."""

from __future__ import annotations

import numpy as np

from data.kernel import kernel

SLACK_SD = 0.5  # k: half the shift it is built for, one sd
LIMIT = 5.0  # h: with k = .5 one two-sided chart on normal data alarms every 465 bars, after a 1 sd shift in 10.4
CLIP_SD = 4.0  # one bar adds at most 3.5, so that no single bar raises the alarm
# sd of min(|z|, 4)^2 on GARCH-t6 returns, measured 1.96 to 1.98 by this package's own worlds. With sqrt 2, right for normal
# data only, the third chart alone raises three alarms of four on returns without any change.
SQUARE_SD = 2.0


@kernel
def _cusum(z: np.ndarray, restart: np.ndarray, slack: float, limit: float, clip: float, square_sd: float,
           squares: bool) -> np.ndarray:
    n = len(z)
    stat = np.full(n, np.nan)
    up, down, wide = 0.0, 0.0, 0.0
    for t in range(n):
        if restart[t]:
            up, down, wide = 0.0, 0.0, 0.0
        value = z[t]
        if value != value:
            continue
        spread = min((value * value - 1.0) / square_sd, clip)
        value = min(max(value, -clip), clip)
        up = max(0.0, up + value - slack)
        down = max(0.0, down - value - slack)
        if squares:
            wide = max(0.0, wide + spread - slack)
        stat[t] = max(up, down, wide) / limit
        if stat[t] >= 1.0:
            up, down, wide = 0.0, 0.0, 0.0
    return stat


@_cusum.warm_with
def _example() -> tuple[np.ndarray, np.ndarray, float, float, float, float, bool]:
    return np.zeros(40), np.zeros(40, np.bool_), SLACK_SD, LIMIT, CLIP_SD, SQUARE_SD, True


def cusum(z: np.ndarray, restart: np.ndarray | None = None, *, slack_sd: float = SLACK_SD, limit: float = LIMIT,
          clip_sd: float = CLIP_SD, squares: bool = True) -> np.ndarray:
    """Height of the highest of three charts, as a share of its limit; an alarm is a value of 1 or more.

    `C+ = max(0, C+ + z - k)`, `C- = max(0, C- - z - k)`, `C2+ = max(0, C2+ + (z^2-1)/2 - k)`, z and the squared term
    clipped at 4, `stat = max(C+, C-, C2+) / h`. After an alarm all three begin at 0 again.

    Parameters
    ----------
    z : ndarray of shape (n_bars,)
        Standardised values (return over the volatility known before it). NaN leaves the charts as they are.
    restart : ndarray of bool or None
        True at the first bar of a gap-free segment.
    squares : bool
        Whether the third chart, for rising variance, takes part.

    Returns
    -------
    ndarray of shape (n_bars,)
        At least 0; NaN where z is NaN. Depends on the start of the series until all charts have been at 0 together, a few
        dozen bars.

    References
    ----------
    Page (1954), "Continuous Inspection Schemes".
    """
    z = np.ascontiguousarray(z, float)
    fresh = np.zeros(len(z), np.bool_) if restart is None else np.ascontiguousarray(restart, np.bool_)
    return _cusum(z, fresh, slack_sd, limit, clip_sd, SQUARE_SD, squares)


def event_bars(log_return: np.ndarray, sigma: np.ndarray, *, hold_bars: int = 1) -> np.ndarray:
    """Symmetric CUSUM filter: row numbers where the return added up since the last event leaves `2 sig sqrt(hold_bars)`.

    For sampling training rows; NaN returns and unknown sigma are skipped.

    References
    ----------
    Lopez de Prado (2018), "Advances in Financial Machine Learning", 2.5.2.1.
    """
    up = down = 0.0
    rows = []
    for t, (value, sd) in enumerate(zip(np.asarray(log_return, float), np.asarray(sigma, float), strict=True)):
        if not (np.isfinite(value) and np.isfinite(sd)):
            continue
        up, down = max(0.0, up + value), min(0.0, down + value)
        threshold = 2.0 * sd * np.sqrt(hold_bars)
        if up > threshold or -down > threshold:
            up = down = 0.0
            rows.append(t)
    return np.asarray(rows, np.int64)
