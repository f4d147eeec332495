"""Denoising looks back only: a value is the same whatever comes after, and equals the recipe written out slowly."""

from __future__ import annotations

import numpy as np
import pytest
import pywt

from data.denoise import denoised, haar_smooth, wavelet_denoise
from data.errors import InputError
from tests.made_candles import made


def slow_wavelet(window: np.ndarray, level: int) -> float:
    """Donoho & Johnstone's recipe by the library's own words, one window."""
    coefficients = pywt.wavedec(np.array(window, dtype=float), "db4", level=level)
    sigma = np.median(np.abs(coefficients[-1])) / 0.6745
    universal = sigma * np.sqrt(2 * np.log(len(window)))
    shrunk = [coefficients[0], *(pywt.threshold(d, universal, mode="soft") for d in coefficients[1:])]
    return float(pywt.waverec(shrunk, "db4")[len(window) - 1])


def log_close(bars: int, seed: int = 1) -> np.ndarray:
    return np.log(made(bars, seed=seed).close)


def test_equals_the_recipe_window_by_window():
    x = log_close(700)
    fast = wavelet_denoise(x)
    assert np.isnan(fast[:255]).all() and np.isfinite(fast[255:]).all()
    for t in (255, 256, 400, 699):
        assert fast[t] == pytest.approx(slow_wavelet(x[t - 255 : t + 1], 4), abs=1e-12)
    small = wavelet_denoise(x, window_bars=64, level=2)
    assert small[300] == pytest.approx(slow_wavelet(x[237:301], 2), abs=1e-12)


def test_haar_smooth_is_a_mean_of_the_last_bars():
    x = log_close(300)
    for level in (1, 3, 5):
        width = 2**level
        expected = [x[t - width + 1 : t + 1].mean() for t in range(width - 1, 300)]
        smooth = haar_smooth(x, level=level)
        assert np.isnan(smooth[: width - 1]).all()
        assert np.allclose(smooth[width - 1 :], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", [wavelet_denoise, haar_smooth])
def test_no_value_depends_on_later_rows(method):
    x = log_close(1400)
    whole = method(x)
    for cut in (256, 300, 767, 768, 769, 1000, 1399):  # around the edges of the blocks too
        assert np.array_equal(method(x[:cut]), whole[:cut], equal_nan=True)
    poisoned = x.copy()
    poisoned[1000:] = 1e6
    assert np.array_equal(method(poisoned)[:1000], whole[:1000], equal_nan=True)


def test_noise_shrinks_and_the_signal_stays():
    t = np.arange(4000)
    signal = np.sin(2 * np.pi * t / 400)
    noisy = signal + np.random.default_rng(5).normal(0, 0.2, len(t))
    error = wavelet_denoise(noisy)[300:] - signal[300:]
    assert np.std(error) < 0.75 * 0.2  # at the window's edge, where a causal filter has only one side to look at


def test_nan_spoils_only_the_windows_that_hold_it():
    x = log_close(900)
    x[400] = np.nan
    out = wavelet_denoise(x)
    assert np.isnan(out[400:656]).all() and np.isfinite(out[656:]).all() and np.isfinite(out[255:400]).all()


def test_short_and_read_only_inputs():
    assert np.isnan(wavelet_denoise(log_close(255))).all() and len(wavelet_denoise(np.empty(0))) == 0
    frozen = log_close(300)
    frozen.flags.writeable = False
    assert np.isfinite(wavelet_denoise(frozen)[299])


def test_each_segment_by_itself():
    candles = made(700).take(np.r_[0:300, 310:700])
    x = np.log(candles.close)
    out = denoised(x, candles.segments)
    assert np.array_equal(out[300:], wavelet_denoise(x[300:]), equal_nan=True)
    assert np.isnan(out[300:555]).all()


def test_levels_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match="expected a level of 1 to 5"):
        wavelet_denoise(log_close(300), level=9)
    with pytest.raises(InputError, match="expected a level"):
        haar_smooth(log_close(300), level=0)
