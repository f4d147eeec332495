"""DeMark's range expansion index: are highs and lows pushing outward in one direction?"""

from __future__ import annotations

import numpy as np

from data.frames import Candles
from data.indicators.restart import quotient, shifted, warmed
from data.indicators.windows import trailing_sum

WINDOW_BARS = 5
EXHAUSTED = 60.0  # |REI| above it: the move looks exhausted
REACH_BARS = 8  # the oldest bar a single term looks at


def range_expansion_index(candles: Candles, *, window: int = WINDOW_BARS) -> np.ndarray:
    """REI: `100 sum(s) / sum(|H - H2| + |L - L2|)` over `window` bars, s = (H - H2) + (L - L2).

    s counts only where the range overlaps the past: `(H2 >= C7 or H2 >= C8 or H >= L5 or H >= L6) and (L2 <= C7 or L2 <= C8
    or L <= H5 or L <= H6)`, a digit meaning bars ago; else it is 0.

    Returns
    -------
    ndarray of shape (n_bars,)
        -100..100; beyond +-60 the move is called exhausted. NaN in the first window + 7 bars of each segment and where
        neither highs nor lows moved.

    References
    ----------
    DeMark (1994), "The New Science of Technical Analysis".
    """
    high, low, close = candles.high, candles.low, candles.close
    h2, l2 = shifted(high, 2), shifted(low, 2)
    c7, c8 = shifted(close, 7), shifted(close, 8)
    above = (h2 >= c7) | (h2 >= c8) | (high >= shifted(low, 5)) | (high >= shifted(low, 6))
    below = (l2 <= c7) | (l2 <= c8) | (low <= shifted(high, 5)) | (low <= shifted(high, 6))
    up, down = high - h2, low - l2
    counted = np.where(above & below, up + down, 0.0)
    value = 100.0 * quotient(trailing_sum(counted, window), trailing_sum(np.abs(up) + np.abs(down), window))
    return warmed(value, candles, window + REACH_BARS)
