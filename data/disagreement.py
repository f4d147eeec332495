"""Where two sources of one series do not say the same: how many rows of the overlap differ, by how much at most, and when.

Pure: what is compared is handed in. A relative difference is |a - b| / max(|a|, |b|): 0 for equal values, 2 for opposite ones; what one
side does not have (NaN) is not compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data.clock import iso
from data.errors import InputError
from data.frames import PRICE_COLUMNS
from data.market import MINUTE_MS, SeriesKey
from data.observations import Kind, Observations
from data.storage.candles import Conflict

SETTLEMENT_MS = 5 * MINUTE_MS  # venues stamp one settlement or snapshot some milliseconds to minutes apart
# Up to here two values count as the same. Candles of one exchange must be equal to the last digit; venues agree only roughly, and a mark
# price further than this from its index is what a liquidation begins with.
CANDLE_TOLERANCE, VENUE_TOLERANCE, MARK_TOLERANCE = 0.0, 0.10, 0.005
_COMPARED = (*PRICE_COLUMNS, "volume")


@dataclass(frozen=True)
class Disagreement:
    """One comparison.

    Attributes
    ----------
    series : str
        What both describe, e.g. "BTCUSDT 1h spot".
    compared, differing : int
        Rows of the overlap, and those of them in which a value differs by more than the tolerance.
    largest : float
        Largest relative difference, a fraction; NaN when nothing could be compared.
    at_ms : int
        The moment of that difference, UTC milliseconds; 0 when there is none.
    column : str
        In which column it was.
    """

    series: str
    source_a: str
    source_b: str
    compared: int
    differing: int
    largest: float
    at_ms: int = 0
    column: str = ""

    @property
    def words(self) -> str:
        where = f"{self.series}: {self.source_a} and {self.source_b}"
        if not self.compared:
            return f"{where} have no row in common"
        if not self.differing:
            return f"{where} agree in all {self.compared:,} rows they share"
        return (f"{where} differ in {self.differing:,} of {self.compared:,} rows, at most by {100 * self.largest:.3g} % ({self.column}, "
                f"{iso(self.at_ms)})")


def conflicts_disagree(key: SeriesKey, conflicts: Sequence[Conflict], stored_name: str = "stored") -> list[Disagreement]:
    """The stored candles against what each source said differently (kept aside, C4): one row per source, by name.

    Every row compared differs: the equal ones are duplicates, which nobody keeps.
    """
    out = []
    for source in sorted({one.source for one in conflicts}):
        told = [one for one in conflicts if one.source == source and one.stored is not None]
        times = np.array([one.open_time for one in told], np.int64)
        have, offered = ({name: np.array([values[name] for values in rows], np.float64) for name in _COMPARED}
                         for rows in ([one.stored or {} for one in told], [one.offered for one in told]))
        out.append(_compare(str(key), stored_name, source, times, have, times, offered, CANDLE_TOLERANCE, 0))
    return out


def venues_disagree(symbol: str, a: Observations, source_a: str, b: Observations, source_b: str, *,
                    tolerance: float = VENUE_TOLERANCE) -> Disagreement:
    """Funding, open interest or ratios of two venues, row by row at the same time (within SETTLEMENT_MS).

    Funding is compared per hour, since venues settle at different intervals. Open interest is that venue's own: its difference says how
    unlike the venues are, not that one is wrong.

    Raises
    ------
    InputError
        When the two are not of one kind.
    """
    if a.kind is not b.kind:
        raise InputError(f"expected two series of one kind, got {a.kind} and {b.kind}; mark and index have mark_and_index_disagree")
    return _compare(f"{symbol} {a.kind}", source_a, source_b, a.event_time, _levels(a), b.event_time, _levels(b), tolerance, SETTLEMENT_MS)


def mark_and_index_disagree(symbol: str, mark: Observations, index: Observations, *, tolerance: float = MARK_TOLERANCE) -> Disagreement:
    """Closes of the mark price against those of the index price, bar by bar."""
    return _compare(f"{symbol} mark and index", str(mark.kind), str(index.kind), mark.event_time, {"close": mark["close"]},
                    index.event_time, {"close": index["close"]}, tolerance, 0)


def _levels(rows: Observations) -> dict[str, np.ndarray]:
    if rows.kind is Kind.FUNDING:
        return {"rate per hour": rows["rate"] / np.where(rows["interval_h"] > 0, rows["interval_h"], np.nan)}
    if rows.kind is Kind.OPEN_INTEREST:
        return {"value_quote": rows["value_quote"]}
    return dict(rows.columns)


def _compare(series: str, source_a: str, source_b: str, times_a: np.ndarray, a: Mapping[str, np.ndarray], times_b: np.ndarray,
             b: Mapping[str, np.ndarray], tolerance: float, within_ms: int) -> Disagreement:
    left, right = _pairs(times_a, times_b, within_ms)
    worst, at, column = float("nan"), 0, ""
    comparable, differs = np.zeros(len(left), bool), np.zeros(len(left), bool)
    for name in a:
        one, other = a[name][left], b[name][right]
        both = np.isfinite(one) & np.isfinite(other)
        scale = np.maximum(np.abs(one), np.abs(other))
        apart = np.where(both & (scale > 0), np.abs(one - other) / np.where(scale > 0, scale, 1.0), 0.0)
        comparable |= both
        differs |= both & (apart > tolerance)
        if both.any():
            row = int(np.argmax(np.where(both, apart, -1.0)))
            if not worst >= apart[row]:
                worst, at, column = float(apart[row]), int(times_a[left[row]]), name
    nothing = not worst > 0
    return Disagreement(series, source_a, source_b, int(comparable.sum()), int(differs.sum()), worst, 0 if nothing else at,
                        "" if nothing else column)


def _pairs(times_a: np.ndarray, times_b: np.ndarray, within_ms: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a and b that belong together: for each of a the nearest of b no further away, and each of b once, with its nearest of a."""
    if not len(times_a) or not len(times_b):
        return np.empty(0, np.intp), np.empty(0, np.intp)
    order = np.argsort(times_b, kind="stable")
    sorted_b = times_b[order]
    after = np.searchsorted(sorted_b, times_a).clip(0, len(sorted_b) - 1)
    before = (after - 1).clip(0)
    nearest = np.where(np.abs(sorted_b[before] - times_a) <= np.abs(sorted_b[after] - times_a), before, after)
    gap = np.abs(sorted_b[nearest] - times_a)
    rows = np.flatnonzero(gap <= within_ms)
    rows = rows[np.lexsort((times_a[rows], gap[rows], nearest[rows]))]
    _, first = np.unique(nearest[rows], return_index=True)
    left = rows[first]
    return left, order[nearest[left]]
