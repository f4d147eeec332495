"""Where mean or variance changed, seen from the end of the window. A picture of the past, never an input of a score."""

from __future__ import annotations

import numpy as np

from analysis.methods.schedule import quietly

MINIMUM_BARS = 20
PENALTY_PER_LOG = 6.0
LABEL = "in hindsight"


def changepoints(x: np.ndarray, *, minimum_bars: int = MINIMUM_BARS, penalty_per_log: float = PENALTY_PER_LOG) -> list[int]:
    """Row numbers at which a new stretch of another mean or variance begins (exact penalised segmentation).

    `ruptures.Pelt(model="normal", min_size=20)` with penalty `6 ln n`. It uses bars AFTER each change, so every chart that
    shows it says "in hindsight" and nothing causal may read it. NaN rows are left out; the numbers count all rows.

    Returns
    -------
    list of int
        Sorted, without 0 and n. Empty below 40 known rows and where nothing varies.

    References
    ----------
    Killick, Fearnhead & Eckley (2012), "Optimal Detection of Changepoints With a Linear Computational Cost".
    """
    x = np.asarray(x, float)
    rows = np.flatnonzero(np.isfinite(x))
    if len(rows) < 2 * minimum_bars or not np.ptp(x[rows]) > 0:
        return []
    import ruptures

    scaled = (x[rows] - x[rows].mean()) / x[rows].std()  # the cost adds 1e-6 to a covariance: keep it negligible
    with quietly():  # it announces that small bias at every call
        search = ruptures.Pelt(model="normal", min_size=minimum_bars, jump=1).fit(scaled)
        ends = search.predict(pen=penalty_per_log * np.log(len(rows)))
    return [int(rows[end]) for end in ends[:-1]]
