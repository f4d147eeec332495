"""Denoising that never looks ahead: value t is decided by rows up to t, whatever arrives later.

The usual recipe (decompose the whole series, shrink, put together again) repaints: its value for yesterday changes when today
arrives. Here each value comes from its own trailing window, and only the window's last sample is kept.
"""

from __future__ import annotations

import numpy as np

from data.errors import InputError

WAVELET = "db4"
WINDOW_BARS = 256
LEVEL = 4
_BLOCK_ROWS = 512  # windows decomposed at once; each is computed by itself, so the block size changes no bit


def haar_smooth(x: np.ndarray, *, level: int = 3) -> np.ndarray:
    """Causal Haar a trous smooth s_level of a series: the mean of the last 2^level values.

    Parameters
    ----------
    x : ndarray of shape (n,)
        Oldest first; one gap-free segment. Usually ln of the close.

    Returns
    -------
    ndarray of shape (n,)
        In the unit of x. The first 2^level - 1 are NaN; a NaN in the window gives NaN.

    References
    ----------
    Murtagh, Starck & Renaud (2004), "On Neuro-Wavelet Modeling". The recursion lives in data/indicators/wavelet.py.
    """
    from data.indicators.wavelet import smooths

    if not 1 <= level <= 12:
        raise InputError(f"expected a level of 1 to 12 (means over 2 to 4096 bars), got {level}")
    return smooths(np.asarray(x, np.float64), level)[level]


def wavelet_denoise(x: np.ndarray, *, window_bars: int = WINDOW_BARS, level: int = LEVEL) -> np.ndarray:
    """Wavelet shrinkage with Daubechies-4, soft universal threshold, on trailing windows.

    For each t the window x[t-window+1 .. t] is decomposed to `level`; every detail coefficient d becomes
    `sign(d) * max(|d| - u, 0)` with `u = sigma * sqrt(2 ln window)` and `sigma = median(|d_1|) / 0.6745`, the finest details'
    robust scale; the last sample of the reconstruction is value t.

    Parameters
    ----------
    x : ndarray of shape (n,)
        Oldest first; one gap-free segment. Not changed (pywt wants writable copies; they are made here).

    Returns
    -------
    ndarray of shape (n,)
        In the unit of x. The first window-1 are NaN; a NaN in the window gives NaN. The last sample sits at the window's edge,
        where pywt mirrors the signal: it follows a turn a few bars late, as every causal filter must.

    References
    ----------
    Donoho & Johnstone (1994), "Ideal Spatial Adaptation by Wavelet Shrinkage".
    """
    import pywt

    largest = pywt.dwt_max_level(window_bars, WAVELET)
    if not 1 <= level <= largest:
        raise InputError(f"expected a level of 1 to {largest} for a window of {window_bars} bars, got {level}")
    x = np.asarray(x, np.float64)
    out = np.full(len(x), np.nan)
    if len(x) < window_bars:
        return out
    windows = np.lib.stride_tricks.sliding_window_view(x, window_bars)
    spread = np.sqrt(2 * np.log(window_bars))
    for first in range(0, len(windows), _BLOCK_ROWS):
        block = np.array(windows[first : first + _BLOCK_ROWS])
        smooth, *details = pywt.wavedec(block, WAVELET, level=level, axis=-1)
        threshold = (np.median(np.abs(details[-1]), axis=-1) / 0.6745 * spread)[:, None]
        shrunk = [np.sign(d) * np.maximum(np.abs(d) - threshold, 0) for d in details]
        rows = pywt.waverec([smooth, *shrunk], WAVELET, axis=-1)[:, window_bars - 1]
        out[window_bars - 1 + first : window_bars - 1 + first + len(block)] = rows
    return out


def denoised(values: np.ndarray, segments: tuple[slice, ...], *, window_bars: int = WINDOW_BARS,
             level: int = LEVEL) -> np.ndarray:
    """`wavelet_denoise` of each gap-free segment by itself (`Candles.segments`)."""
    out = np.full(len(values), np.nan)
    for segment in segments:
        out[segment] = wavelet_denoise(values[segment], window_bars=window_bars, level=level)
    return out
