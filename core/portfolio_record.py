"""Every allocation method out of sample on what is stored (X17)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.allocation.record import Record, compare
from analysis.allocation.walk_forward import WINDOW
from core.portfolio import table_of
from data.market import DAY_MS, Costs, Interval

if TYPE_CHECKING:
    from core.judging import Judging
    from core.portfolio import Asked


def cost_of(asked: Asked) -> float:
    """Taker fee and slippage of the market, a side, as a fraction of what is traded."""
    usual = Costs.of(asked.market)
    return (usual.taker_bps + usual.slippage_bps) / 1e4


def record_of(sextant: Judging, asked: Asked, start_ms: int | None) -> Record:
    """All methods on the daily returns of the question's symbols up to its moment; the first day out of sample is `start_ms`."""
    table = table_of(sextant, asked.symbols, Interval.D1, asked.market, at_ms=asked.at_ms, rows=None)
    first = 0 if start_ms is None else max(0, int(table.open_time.searchsorted(start_ms)) - WINDOW)
    return compare(table.returns[first:], table.names, wishes=None if asked.wishes.free else asked.wishes, cost=cost_of(asked))


def days_of(sextant: Judging, asked: Asked, record: Record, start_ms: int | None) -> list[int]:
    """Closes of the record's days, in UTC milliseconds."""
    table = table_of(sextant, asked.symbols, Interval.D1, asked.market, at_ms=asked.at_ms, rows=None)
    return [int(t) + DAY_MS - 1 for t in table.open_time[len(table.open_time) - record.days :]] if record.days else []
