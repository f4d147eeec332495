"""DeMark's range expansion index: are highs and lows pushing outward in one direction?"""

from __future__ import annotations

import numpy as np

from data.frames import Candles
from data.indicators.restart import quotient, shifted, warmed
from data.indicators.windows import blockwise, trailing_sum

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
    def value(high: np.ndarray, low: np.ndarray, close: np.ndarray) -> np.ndarray:
        h2, l2 = shifted(high, 2), shifted(low, 2)
        c7, c8 = shifted(close, 7), shifted(close, 8)
        above = (h2 >= np.minimum(c7, c8)) | (high >= np.minimum(shifted(low, 5), shifted(low, 6)))
        below = (l2 <= np.maximum(c7, c8)) | (low <= np.maximum(shifted(high, 5), shifted(high, 6)))
        up, down = high - h2, low - l2
        counted = np.where(above & below, up + down, 0.0)
        return 100.0 * quotient(trailing_sum(counted, window), trailing_sum(np.abs(up) + np.abs(down), window))

    found = blockwise((candles.high, candles.low, candles.close), window - 1 + REACH_BARS, value)
    return warmed(found, candles, window + REACH_BARS)
