"""Prices and volumes of the perpetual at the rows of a view's own series, spot standing in where it has no such bar."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from analysis.methods.positioning import enough, varies
from analysis.module import Track
from analysis.report import Status, counting
from analysis.scaling import z0
from data.frames import Candles
from data.indicators.restart import bars_known, quotient, shifted, warmed
from data.indicators.windows import trailing_sum
from data.market import DAY_MS

STAND_IN = "spot candles stand in for the perpetual's"


@dataclass(frozen=True)
class PerpetualBars:
    """Arrays of shape (n_bars,), NaN where unknown.

    `change` of ln price and `imbalance` of volume over `change_bars`; `volume_day` the volume of 24 hours in base units, the perpetual's
    unless there is none at all; `stand_in` where a bar is spot's.
    """

    closed: np.ndarray
    close: np.ndarray
    change: np.ndarray
    imbalance: np.ndarray
    volume_day: np.ndarray
    stand_in: np.ndarray


def bars_of(own: Candles, perp: Candles | None, *, change_bars: int) -> PerpetualBars:
    """`perp` at the rows of `own`; None means that `own` is the perpetual itself."""
    if perp is None or not len(perp):
        return PerpetualBars(own.close_time, *_columns(own, change_bars), np.full(len(own), perp is not None))
    row = np.minimum(np.searchsorted(perp.close_time, own.close_time), len(perp) - 1)
    there = perp.close_time[row] == own.close_time
    if there.all():
        close, change, imbalance, volume_day = (column[row] for column in _columns(perp, change_bars))
        return PerpetualBars(own.close_time, close, change, imbalance, volume_day, ~there)
    columns = _columns(own, change_bars)
    close, change, imbalance, volume_day = (np.where(there, mine[row], theirs)
                                            for mine, theirs in zip(_columns(perp, change_bars), columns, strict=True))
    return PerpetualBars(own.close_time, close, change, imbalance, np.where(there, volume_day, np.nan), ~there)


def _columns(candles: Candles, bars: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(close, change of ln price, (2 TB - V)/V over the bars, volume of 24 hours)."""
    day = max(1, DAY_MS // candles.interval.ms)
    change = warmed(np.log(quotient(candles.close, shifted(candles.close, bars))), candles, bars + 1)
    imbalance = quotient(trailing_sum(2 * candles.taker_buy_volume - candles.volume, bars), trailing_sum(candles.volume, bars))
    volume = warmed(trailing_sum(candles.volume, day), candles, day)
    imbalance[~varies(candles.close, window=bars)] = np.nan  # a price that stands still has no buyers and sellers worth the name
    return candles.close, change, warmed(imbalance, candles, bars), np.where(volume > 0, volume, np.nan)


def imbalance_track(own: Candles, rows: PerpetualBars, bars: int, *, age_s: float, window: int) -> Track:
    """The volume imbalance of the newest `bars` rows, Z0 over `window` bars."""
    newest = slice(len(own) - bars, None)
    value, k = rows.imbalance[newest], z0(rows.imbalance, window=window, last=bars)[newest]
    known, scored = np.isfinite(value), np.isfinite(k)
    status = np.where(scored, np.where(rows.stand_in[newest], Status.FALLBACK, Status.OK), Status.DEGENERATE)
    short = known & ~enough(rows.imbalance, window=window)[newest] | ~known & (bars_known(own)[newest] < 12)
    status = np.where(~scored & short, Status.WARMUP, status)
    no_taker = rows.stand_in[newest] & ~np.isfinite(own.taker_buy_volume[newest])
    status = np.where(no_taker, Status.MISSING, status).astype(np.int8)
    lacking = max(1, 100 - int(np.isfinite(rows.imbalance).sum()))
    note = {Status.FALLBACK: STAND_IN, Status.WARMUP: f"needs {lacking} more bars without a gap",
            Status.MISSING: "these candles carry no taker volume",
            Status.DEGENERATE: "no volume or no move in its window"}
    return Track(value, np.where(counting(status), k, np.nan), status, age_s, own.interval.ms / 1000,
                 note.get(Status(int(status[-1])), ""))


def standing_in(track: Track, stand_in: np.ndarray) -> Track:
    """The track with FALLBACK where spot's price stands in."""
    status = np.where((track.status == int(Status.OK)) & stand_in, np.int8(Status.FALLBACK), track.status)
    return replace(track, status=status, note=STAND_IN if status[-1] == Status.FALLBACK else track.note)
