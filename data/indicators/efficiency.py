"""Kaufman's efficiency ratio: net move over distance travelled."""

from __future__ import annotations

import numpy as np

from data.frames import Candles
from data.indicators.restart import quotient, shifted, warmed
from data.indicators.windows import blockwise, trailing_sum

WINDOW_BARS = 20


def efficiency_ratio(candles: Candles, *, window: int = WINDOW_BARS) -> np.ndarray:
    """`|C_t - C_{t-n}| / sum |C - C1|` over n bars: 1 = straight, 0 = went nowhere.

    Returns
    -------
    ndarray of shape (n_bars,)
        0..1. NaN in the first `window` bars of each segment and where the close did not move (TA-Lib says 1, "perfect").

    References
    ----------
    Kaufman (1995), "Smarter Trading".
    """
    def value(close: np.ndarray) -> np.ndarray:
        travelled = trailing_sum(np.abs(close - shifted(close, 1)), window)
        return np.minimum(quotient(np.abs(close - shifted(close, window)), travelled), 1.0)  # rounding may say 1 + 1e-16

    return warmed(blockwise((candles.close,), window, value), candles, window + 1)
