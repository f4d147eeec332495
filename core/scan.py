"""The scan: many symbols at several intervals, scored side by side by threads, each result kept by what it depends on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.scorecard import Scorecard
from core.memory import give_back
from data.clock import iso
from data.errors import DataError
from data.market import Interval, Market

if TYPE_CHECKING:
    from core.judging import Judging


@dataclass(frozen=True)
class ScanRow:
    """One symbol at one interval; without data `card` is None and `problem` says why."""

    symbol: str
    interval: Interval
    card: Scorecard | None
    problem: str = ""

    def document(self) -> dict[str, Any]:
        head = {"symbol": self.symbol, "interval": str(self.interval), "problem": self.problem or None}
        if self.card is None:
            return head
        reports = {r.letter or r.slug: {"score": r.score, "label": r.label, "coverage": r.coverage, "reason": r.reason or None}
                   for r in (*self.card.reports, *self.card.composites)}
        return head | {"as_of": iso(self.card.as_of_ms), "provenance": self.card.provenance, "scores": reports}


@dataclass(frozen=True)
class ScanResult:
    """Every row, in the order asked for."""

    rows: tuple[ScanRow, ...]

    def document(self) -> dict[str, Any]:
        return {"scanned": len(self.rows), "scored": sum(r.card is not None for r in self.rows), "rows": [r.document() for r in self.rows]}

    def text(self) -> str:
        letters = next(([r.letter for r in row.card.reports] for row in self.rows if row.card), [])
        lines = [f"{'':<12}{'':<5}" + "".join(f"{letter:>7}" for letter in letters) + "  trend    buy   risk  anomaly"]
        for row in self.rows:
            if row.card is None:
                lines.append(f"{row.symbol:<12}{row.interval!s:<5}  {row.problem}")
                continue
            shown = [r.score for r in row.card.reports] + [row.card.composite(name).score for name in (
                "trend_strength", "buy_opportunity", "risk_exposure", "anomaly_alert")]
            lines.append(f"{row.symbol:<12}{row.interval!s:<5}" + "".join("      -" if s is None else f"{s:7.2f}" for s in shown))
        return "\n".join(lines)


def scan(sextant: Judging, symbols: Sequence[str], intervals: Sequence[Interval], market: Market,
         progress: Callable[[int, int, str], None] | None = None) -> ScanResult:
    """Score all symbols at all intervals. Kernels release the interpreter's lock, so threads share the work without copies."""
    found = {(row.symbol, row.interval): row for row in rows_of(sextant, symbols, intervals, market, progress)}
    give_back()
    return ScanResult(tuple(found[symbol, interval] for interval in intervals for symbol in symbols))


def rows_of(sextant: Judging, symbols: Sequence[str], intervals: Sequence[Interval], market: Market,
            progress: Callable[[int, int, str], None] | None = None) -> Iterator[ScanRow]:
    """Rows as they are ready, not in order."""
    from joblib import Parallel, delayed

    def one(symbol: str, interval: Interval) -> ScanRow:
        try:
            return ScanRow(symbol, interval, sextant.scores(sextant.key(symbol, interval, market)))
        except DataError as error:
            return ScanRow(symbol, interval, None, str(error))

    asked = [(symbol, interval) for interval in intervals for symbol in symbols]
    pool = Parallel(n_jobs=sextant.settings.threads, backend="threading", return_as="generator_unordered")
    for done, row in enumerate(pool(delayed(one)(*each) for each in asked), start=1):
        if progress is not None:
            progress(done, len(asked), f"{row.symbol} {row.interval}")
        yield row
