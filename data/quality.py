"""What is wrong, odd or missing in a series of candles: findings a person can act on, never a silent correction.

Every test here is plain arithmetic with a named threshold. Thresholds are wide on purpose: crypto moves ten robust standard
deviations several times a year, and a page that cries wolf is not read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from data.clock import iso
from data.frames import OPTIONAL_COLUMNS, PRICE_COLUMNS, Candles, aggregate
from data.market import SeriesKey
from data.storage.candles import CandleStore
from data.view import CONFIRMED, CandleReader

OUTLIER_SCALES = 15.0  # |r| beyond this many robust standard deviations; about one bar in 20,000 of BTCUSDT 1h
SCALE_BARS = 500  # trailing bars of the robust scale
FROZEN_BARS = 24  # bars without trade and movement before a market counts as dead rather than quiet
REPEATED_BARS = 3  # identical candles with volume: a stuck feed, not a quiet market
SWITCH_BARS = 24  # bars on each side of a suspected switch of unit
VOLUME_SWITCH = 500.0  # a factor between the medians of both sides that no market reaches by itself
LISTED = 200  # findings of one kind that are listed; all are counted
DEFAULT_BARS = 200_000


class FindingKind(StrEnum):
    GAP = "gap"
    DAMAGE = "damaged file"
    CONFLICT = "conflicting values"
    SHORT = "short candle"
    ZERO_VOLUME = "zero volume"
    FROZEN = "frozen price"
    REPEATED = "repeated candle"
    OUTLIER = "outlier"
    WICK = "wick"
    PRICE_SCALE = "price scale switch"
    VOLUME_UNIT = "volume unit switch"
    DISAGREEMENT = "disagreement between intervals"
    MISSING_COLUMN = "missing column"


class Severity(StrEnum):
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One thing found; `start` and `end` are open_times of the first and last bar concerned, `words` a whole sentence."""

    kind: FindingKind
    severity: Severity
    start: int
    end: int
    bars: int
    words: str

    def document(self) -> dict[str, Any]:
        return {"kind": str(self.kind), "severity": str(self.severity), "start": iso(self.start), "end": iso(self.end),
                "bars": self.bars, "words": self.words}


@dataclass(frozen=True)
class QualityReport:
    """The findings of one series, worst first, at most `LISTED` of a kind; `counts` has them all."""

    key: SeriesKey
    bars: int
    first: int | None
    last: int | None
    findings: tuple[Finding, ...]
    counts: dict[str, int]

    @property
    def worst(self) -> Severity | None:
        return self.findings[0].severity if self.findings else None

    def document(self) -> dict[str, Any]:
        return {"symbol": self.key.symbol, "market": str(self.key.market), "interval": str(self.key.interval), "bars": self.bars,
                "first": iso(self.first) if self.first is not None else None,
                "last": iso(self.last) if self.last is not None else None, "counts": dict(sorted(self.counts.items())),
                "findings": [f.document() for f in self.findings]}


def assess(reader: CandleReader, key: SeriesKey, *, bars: int = DEFAULT_BARS) -> QualityReport:
    """Everything that can be said about the newest `bars` of a series: its candles, its gaps, the finer candles it can be compared
    with, and, where it is stored, damage and conflicts."""
    last = reader.last_close_ms(key)
    candles = reader.read(key, None if last is None else last - bars * key.interval.ms, None)
    start = int(candles.open_time[0]) if len(candles) else 0
    findings = candle_findings(candles)
    for gap in reader.gaps(key):
        if gap.end >= start:
            known = gap.status == CONFIRMED
            words = f"{gap.bars} bars are missing from {iso(gap.start)} on: {gap.status}" + (f" ({gap.reason})" if known else "")
            severity = Severity.NOTE if known else Severity.WARNING
            findings.append(Finding(FindingKind.GAP, severity, gap.start, gap.end, gap.bars, words))
    if isinstance(reader, CandleStore):
        findings += _kept_aside(reader, key)
    finer = [k for k in reader.keys() if (k.symbol, k.market, k.venue) == (key.symbol, key.market, key.venue)
             and k.interval.ms < key.interval.ms and key.interval.ms % k.interval.ms == 0]
    if finer and len(candles):
        nearest = max(finer, key=lambda k: k.interval.ms)
        length = bars * nearest.interval.ms
        findings += disagreements(reader.read(nearest, max(start, int(candles.open_time[-1]) - length), None), candles)
    return _report(key, candles, findings)


def _kept_aside(store: CandleStore, key: SeriesKey) -> list[Finding]:
    """What only a store knows: rows that contradicted stored ones, and damaged files."""
    found = []
    conflicts = store.conflicts(key, limit=LISTED)
    if conflicts:
        times = [c.open_time for c in conflicts]
        source = Counter(c.source for c in conflicts).most_common(1)[0][0]
        found.append(Finding(FindingKind.CONFLICT, Severity.WARNING, min(times), max(times), store.conflict_count(key),
                             f"{store.conflict_count(key):,} candles were offered with other values than the stored ones, most by "
                             f"{source[-60:]}; the stored ones stay in use"))
    series = f"{key.venue}/{key.market}/{key.symbol}/{key.interval}"
    return found + [Finding(FindingKind.DAMAGE, Severity.ERROR, d.first, d.last, d.rows, d.words)
                    for d in store.damage if d.series == series]


def _report(key: SeriesKey, candles: Candles, findings: list[Finding]) -> QualityReport:
    counts = Counter(str(f.kind) for f in findings)
    order = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}
    kept: list[Finding] = []
    for kind in FindingKind:  # the longest of each kind stay when there are too many to list
        kept += sorted((f for f in findings if f.kind is kind), key=lambda f: (order[f.severity], -f.bars, f.start))[:LISTED]
    kept.sort(key=lambda f: (order[f.severity], -f.start, f.kind))
    first, last = (int(candles.open_time[0]), int(candles.open_time[-1])) if len(candles) else (None, None)
    return QualityReport(key, len(candles), first, last, tuple(kept), dict(counts))


def candle_findings(candles: Candles) -> list[Finding]:
    """What the candles show by themselves, in no particular order."""
    if not len(candles):
        return []
    return [*_short(candles), *_still(candles), *_outliers(candles), *_price_scale(candles), *_volume_unit(candles),
            *_columns(candles)]


def robust_scale(candles: Candles) -> np.ndarray:
    """Robust standard deviation of the log returns of the `SCALE_BARS` bars before each bar, itself excluded.

    1.4826 * median(|r|), fraction per bar; NaN until a tenth of the window is known. Looks back only, so that a flag for
    training data does not know the future.
    """
    import pandas as pd

    moves = pd.Series(np.abs(candles.log_return))
    return 1.4826 * moves.shift(1).rolling(SCALE_BARS, min_periods=SCALE_BARS // 10).median().to_numpy()


def outlier_flags(candles: Candles, *, scales: float = OUTLIER_SCALES) -> np.ndarray:
    """True where the close moved more than `scales` robust standard deviations in one bar. Causal; False where unknown."""
    scale = robust_scale(candles)
    with np.errstate(invalid="ignore"):
        return (scale > 0) & (np.abs(candles.log_return) > scales * scale)


def disagreements(fine: Candles, coarse: Candles) -> list[Finding]:
    """Bars whose prices or volume differ from the sum of a finer interval; only bars that the finer one covers whole."""
    summed = aggregate(fine, coarse.interval)
    common, a, b = np.intersect1d(summed.open_time, coarse.open_time, return_indices=True)
    if not len(common):
        return []
    price_off = np.zeros(len(common), bool)
    for name in PRICE_COLUMNS:
        price_off |= getattr(summed, name)[a] != getattr(coarse, name)[b]
    # Sums of doubles differ in their last digits; a real difference is at least a unit of the smallest volume step.
    volume_off = ~np.isclose(summed.volume[a], coarse.volume[b], rtol=1e-9, atol=1e-6)
    return [
        Finding(FindingKind.DISAGREEMENT, severity, int(common[i]), int(common[j]), j - i + 1,
                f"{what} of {j - i + 1} {coarse.interval} bars from {iso(int(common[i]))} on differs from the sum of "
                f"{fine.interval}")
        for off, what, severity in ((price_off, "price", Severity.ERROR), (volume_off & ~price_off, "volume", Severity.WARNING))
        for i, j in _runs(off)
    ]


def _runs(mask: np.ndarray) -> Iterable[tuple[int, int]]:
    """First and last row of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return zip(edges[::2].tolist(), (edges[1::2] - 1).tolist(), strict=True)


def _finding(candles: Candles, kind: FindingKind, severity: Severity, i: int, j: int, words: str) -> Finding:
    return Finding(kind, severity, int(candles.open_time[i]), int(candles.open_time[j]), j - i + 1, words)


def _short(candles: Candles) -> list[Finding]:
    return [_finding(candles, FindingKind.SHORT, Severity.NOTE, i, i,
                     f"the candle of {iso(int(candles.open_time[i]))} ends early at {iso(int(candles.close_time[i]))}: an outage")
            for i in np.flatnonzero(candles.short).tolist()]


def _still(candles: Candles) -> list[Finding]:
    """No volume, a dead market, or the same candle again and again."""
    found = []
    new_segment = np.concatenate(([True], np.diff(candles.segment_start) != 0))
    same = np.concatenate(([False], np.all([np.diff(getattr(candles, n)) == 0 for n in PRICE_COLUMNS], axis=0))) & ~new_segment
    for i, j in _runs(candles.volume == 0):
        bars = j - i + 1
        frozen = bars >= FROZEN_BARS and bool(np.all(candles.high[i : j + 1] == candles.low[i]))
        if frozen:
            words = f"no trade and one price ({candles.close[i]:g}) for {bars} bars: a halted or settled market"
            found.append(_finding(candles, FindingKind.FROZEN, Severity.WARNING, i, j, words))
        else:
            found.append(_finding(candles, FindingKind.ZERO_VOLUME, Severity.NOTE, i, j, f"{bars} bars without a trade"))
    repeated = same & (np.concatenate(([True], np.diff(candles.volume) != 0)) == 0) & (candles.volume > 0)
    for i, j in _runs(repeated):
        if j - i + 2 >= REPEATED_BARS:
            found.append(_finding(candles, FindingKind.REPEATED, Severity.ERROR, i - 1, j,
                                  f"the same candle, volume included, {j - i + 2} times: a stuck feed or a filled hole"))
    return found


def _outliers(candles: Candles) -> list[Finding]:
    found = []
    scale, move = robust_scale(candles), candles.log_return
    flags = outlier_flags(candles)
    for i in np.flatnonzero(flags).tolist():
        back = i + 1 < len(candles) and np.isfinite(move[i + 1]) and abs(move[i] + move[i + 1]) < 0.25 * abs(move[i])
        words = f"close moved {np.expm1(move[i]):+.1%} in one bar, {abs(move[i]) / scale[i]:.0f} robust standard deviations"
        words += "; the next bar takes it back: a bad print or a flash move" if back else ""
        found.append(_finding(candles, FindingKind.OUTLIER, Severity.WARNING if back else Severity.NOTE, i, i, words))
    body_high, body_low = np.maximum(candles.open, candles.close), np.minimum(candles.open, candles.close)
    reach = np.maximum(np.log(candles.high / body_high), np.log(body_low / candles.low))
    with np.errstate(invalid="ignore"):
        wicks = (scale > 0) & (reach > OUTLIER_SCALES * scale) & ~flags & ~np.roll(flags, 1)
    for i in np.flatnonzero(wicks).tolist():
        found.append(_finding(candles, FindingKind.WICK, Severity.NOTE, i, i,
                              f"a wick of {np.expm1(reach[i]):.1%} beyond open and close, {reach[i] / scale[i]:.0f} robust "
                              "standard deviations"))
    return found


def _price_scale(candles: Candles) -> list[Finding]:
    """The price jumps by a power of ten and stays: a redenomination, another contract, or a wrong unit."""
    found = []
    step = np.concatenate(([0.0], np.diff(np.log10(candles.close))))
    power = np.rint(step)
    for i in np.flatnonzero((power != 0) & (np.abs(step - power) < 0.05)).tolist():
        before, after = candles.close[max(0, i - SWITCH_BARS) : i], candles.close[i : i + SWITCH_BARS]
        if abs(np.log10(np.median(after) / np.median(before)) - power[i]) < 0.15:
            words = f"the price changes by a factor of 10^{int(power[i])} and stays there: another unit or contract"
            found.append(_finding(candles, FindingKind.PRICE_SCALE, Severity.ERROR, i, i, words))
    return found


def _volume_unit(candles: Candles) -> list[Finding]:
    """Medians of volume before and after differ by a factor that only another unit explains."""
    if len(candles) < 2 * SWITCH_BARS:
        return []
    import pandas as pd

    logs = np.log10(np.where(candles.volume > 0, candles.volume, np.nan))
    median = pd.Series(logs).rolling(SWITCH_BARS, min_periods=SWITCH_BARS // 2).median().to_numpy()
    change = np.full(len(logs), np.nan)  # at t: bars t .. t+23 against t-24 .. t-1
    change[SWITCH_BARS : len(logs) - SWITCH_BARS + 1] = median[2 * SWITCH_BARS - 1 :] - median[SWITCH_BARS - 1 : -SWITCH_BARS]
    found = []
    with np.errstate(invalid="ignore"):
        large = np.abs(change) > np.log10(VOLUME_SWITCH)
    for i, j in _runs(large):
        steps = np.abs(np.diff(logs[i - 1 : j + 1]))
        at = i + int(np.nanargmax(steps)) if np.isfinite(steps).any() else i
        factor, price = float(change[i + int(np.nanargmax(np.abs(change[i : j + 1])))]), np.log10(candles.close[at])
        like = "the price: one side may be in quote currency" if abs(abs(factor) - abs(price)) < 0.2 else f"10^{round(factor)}"
        found.append(_finding(candles, FindingKind.VOLUME_UNIT, Severity.ERROR, at, at,
                              f"the usual volume changes by a factor of {10**factor:.3g} and stays there, about {like}"))
    return found


def _columns(candles: Candles) -> list[Finding]:
    found = []
    for name in OPTIONAL_COLUMNS:
        lacking = np.isnan(getattr(candles, name))
        if lacking.any():
            start, end = candles.open_time[np.flatnonzero(lacking)[[0, -1]]].tolist()
            count = int(lacking.sum())
            words = f"{name} is absent in {count:,} of {len(candles):,} bars: their source did not have it"
            found.append(Finding(FindingKind.MISSING_COLUMN, Severity.NOTE, start, end, count, words))
    return found
