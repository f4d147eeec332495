"""Holes in a training history, filled on a copy by a regression on what came before them (decisions.md 6); off unless asked for.

An invented bar carries features over a short hole, so that the windows behind it are known sooner. It is flagged, no model learns from
it or is judged by it, and it never reaches the store, a score, a fill or a signal: those read the stored candles.
"""

from __future__ import annotations

import numpy as np

from data.errors import InputError
from data.frames import OPTIONAL_COLUMNS, PRICE_COLUMNS, TIME_COLUMNS, Candles

FILLS = ("leave", "regression")
LONGEST = 24  # bars; a longer hole is left as it is
LAGS = 3
LEARNED, LEAST_LEARNED = 500, 60  # returns before the hole the regression sees
USUAL = 24  # bars whose median volume an invented bar is given


def filled(candles: Candles, how: str = "leave") -> tuple[Candles, np.ndarray]:
    """A copy without its short holes, and which of its rows were invented: bool, shape (bars,).

    regression: log returns in the hole are those of an autoregression of order 3 fitted on the 500 returns before it; no price after the
    hole is read. A hole of more than 24 bars, or with fewer than 60 returns before it, is left.

    Raises
    ------
    InputError
        Another way of filling: the ones of an export know the future or repeat a price.
    """
    if how not in FILLS:
        raise InputError(f"expected a fill {' or '.join(FILLS)}, got {how[:20]!r}; other ways are for exports")
    step = candles.interval.ms
    holes = np.flatnonzero(np.diff(candles.open_time) > step) if how == "regression" else np.empty(0, np.int64)
    parts: list[dict[str, np.ndarray]] = []
    start, columns = 0, candles.columns()
    for last in holes:
        bars = int(candles.open_time[last + 1] - candles.open_time[last]) // step - 1
        learned = candles.log_return[max(0, last + 1 - LEARNED) : last + 1]
        learned = learned[np.isfinite(learned)]
        if bars > LONGEST or len(learned) < LEAST_LEARNED:
            continue
        parts.append({n: x[start : last + 1] for n, x in columns.items()} | {"invented": np.zeros(last + 1 - start, bool)})
        parts.append(_invented(columns, int(last), bars, step, forecast(learned, bars)))
        start = int(last) + 1
    if not parts:
        return candles, np.zeros(len(candles), bool)
    parts.append({n: x[start:] for n, x in columns.items()} | {"invented": np.zeros(len(candles) - start, bool)})
    whole = {n: np.concatenate([p[n] for p in parts]) for n in (*columns, "invented")}
    flags = whole.pop("invented")
    return Candles.from_columns(candles.interval, whole, provenance=candles.provenance, halts=candles.halts), flags


def forecast(returns: np.ndarray, bars: int) -> np.ndarray:
    """The next `bars` log returns by least squares on the last three, iterated."""
    X = np.column_stack([np.ones(len(returns) - LAGS), *(returns[LAGS - k - 1 : len(returns) - k - 1] for k in range(LAGS))])
    weights = np.linalg.lstsq(X, returns[LAGS:], rcond=None)[0]
    past, out = list(returns[-LAGS:]), []
    largest = float(np.abs(returns).max())
    for _ in range(bars):
        found = float(weights[0] + sum(w * past[-k - 1] for k, w in enumerate(weights[1:])))
        out.append(min(max(found, -largest), largest))  # an explosive fit invents nothing larger than was seen
        past.append(out[-1])
    return np.array(out)


def _invented(columns: dict[str, np.ndarray], last: int, bars: int, step: int, returns: np.ndarray) -> dict[str, np.ndarray]:
    close = columns["close"][last] * np.exp(np.cumsum(returns))
    opened = np.concatenate((columns["close"][last : last + 1], close[:-1]))
    open_time = columns["open_time"][last] + step * np.arange(1, bars + 1, dtype=np.int64)
    made = {"open_time": open_time, "close_time": open_time + step - 1, "open": opened, "high": np.maximum(opened, close),
            "low": np.minimum(opened, close), "close": close, "invented": np.ones(bars, bool)}
    for name in columns:
        if name not in (*TIME_COLUMNS, *PRICE_COLUMNS):
            usual = columns[name][max(0, last + 1 - USUAL) : last + 1]
            absent = name in OPTIONAL_COLUMNS and not np.isfinite(usual).any()
            made[name] = np.full(bars, np.nan if absent else float(np.nanmedian(usual)))
    return made
