"""Causal multi-scale view of a price: Haar wavelets "with holes", looking back only."""

from __future__ import annotations

import numpy as np

from data.frames import Candles
from data.indicators.restart import quotient, warmed
from data.indicators.windows import blockwise, trailing_sum

LEVELS = 5
ENERGY_WINDOW_BARS = 128


def smooths(x: np.ndarray, levels: int = LEVELS) -> list[np.ndarray]:
    """s_0 = x, `s_{j+1}(t) = (s_j(t) + s_j(t - 2^j)) / 2`. Plainly: s_j is the mean of the last 2^j values.

    Equal to `pywt.swt(x, "haar")` of the same level, scaled by 2^(-j/2) and shifted by 2^j - 1 bars, without its look into
    the future. NaN in the first 2^j - 1 rows; a NaN in the window gives NaN.

    References
    ----------
    Murtagh, Starck & Renaud (2004), "On Neuro-Wavelet Modeling".
    """
    out = [np.asarray(x, np.float64)]
    for level in range(levels):
        finer, step = out[-1], 2**level
        coarser = np.full(len(finer), np.nan)
        coarser[step:] = 0.5 * (finer[step:] + finer[:-step])
        out.append(coarser)
    return out


def wavelet_trend(candles: Candles) -> np.ndarray:
    """s_3 - s_5 of ln C: the mean of the last 8 closes against that of the last 32, as a fraction of the price.

    NaN in the first 31 bars of each segment. Never a decomposition of the whole series: its last smooth moves by half a bar's
    sd once later bars arrive (methods.md N7).
    """
    def value(close: np.ndarray) -> np.ndarray:
        levels = smooths(np.log(close))
        return levels[3] - levels[LEVELS]

    return warmed(blockwise((candles.close,), 2**LEVELS - 1, value), candles, 2**LEVELS)


def energy_shares(candles: Candles, *, window: int = ENERGY_WINDOW_BARS) -> np.ndarray:
    """Share of each detail `d_j = s_{j-1} - s_j`, j = 1..5, in their total energy over `window` bars.

    Returns
    -------
    ndarray of shape (n_bars, 5)
        Columns: periods of about 2-4, 4-8, 8-16, 16-32, 32-64 bars; rows add up to 1. NaN in the first window + 30 bars of
        each segment and where the window is flat.
    """
    levels = smooths(np.log(candles.close))
    energy = np.column_stack([trailing_sum((levels[j] - levels[j + 1]) ** 2, window) for j in range(LEVELS)])
    shares = quotient(energy, energy.sum(axis=1)[:, None])
    return warmed(shares, candles, window + 2**LEVELS - 1)
