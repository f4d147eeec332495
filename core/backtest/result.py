"""What a backtest gives back: trades, refused entries, equity bar by bar, and the figures made of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np

from analysis.statistics import performance, trade_record
from core.backtest.figures import of_days
from core.backtest.plan import Plan
from core.risk.limits import Refusal
from core.trading.costs import break_even_bps
from data.clock import iso
from data.market import DAY_MS

FIGURES = (  # as a report lists them
    "total_return", "cagr", "volatility", "sharpe", "sharpe_error", "sortino", "calmar", "max_drawdown", "drawdown_bars", "recovery_bars",
    "ulcer", "win_rate", "win_rate_low", "win_rate_high", "profit_factor", "average_trade", "payoff", "expectancy_r", "sqn", "exposure",
    "turnover", "fees", "slippage", "funding", "cost_share", "break_even_bps", "beta", "alpha", "tail_ratio", "benchmark_return")
FEWEST_TRADES, FEWEST_DAYS = 30, 90  # below, a banner says "too short" (methods.md 7.3)


class Reason(IntEnum):
    """Why a position ended."""

    SIGNAL = 0
    STOP = 1
    TARGET = 2
    TRAILING = 3
    TIME = 4
    LIQUIDATION = 5
    KILL_SWITCH = 6
    REVERSED = 7
    END = 8  # still open at the last bar, marked at its close without costs


@dataclass(frozen=True)
class Trade:
    """One position from its first fill until it was flat. Money in quote currency, prices averages of the fills, times UTC ms.

    `pnl` is after fees, funding and slippage. `ambiguous`: stop and target lay in one bar and nothing finer decides;
    `optimistic_pnl` is then what the target would have given (else equal to `pnl`). `risk` is the planned loss at the first stop
    before costs, NaN without a stop.
    """

    symbol: str
    strategy: str
    side: int
    entry_time: int
    exit_time: int
    entry_price: float
    exit_price: float
    quantity: float
    reason: Reason
    pnl: float
    fees: float
    slippage: float
    funding: float
    entry_bar: int
    exit_bar: int
    fills: int
    risk: float
    ambiguous: bool
    optimistic_pnl: float

    @property
    def open(self) -> bool:
        return self.reason is Reason.END

    @property
    def multiple_of_risk(self) -> float:
        """R: profit over planned loss."""
        return self.pnl / self.risk if self.risk > 0 else math.nan

    def document(self) -> dict[str, Any]:
        row = dataclasses.asdict(self) | {"entry_time": iso(self.entry_time), "exit_time": iso(self.exit_time),
                                          "reason": self.reason.name.lower(), "r": self.multiple_of_risk}
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


@dataclass(frozen=True)
class TradeTable:
    """Trades in columns: `floats` (n, 9) entry, exit, quantity, pnl, fees, slippage, funding, risk, optimistic pnl; `wholes` (n, 9)
    symbol, side, entry time, exit time, reason, entry bar, exit bar, fills, ambiguous. `strategy` numbers `strategies`."""

    symbols: tuple[str, ...]
    strategies: tuple[str, ...]
    floats: np.ndarray
    wholes: np.ndarray
    strategy: np.ndarray

    def __len__(self) -> int:
        return len(self.floats)

    @classmethod
    def of(cls, trades: Sequence[Trade], symbols: tuple[str, ...]) -> TradeTable:
        names = tuple(sorted({t.strategy for t in trades}))
        floats = [[t.entry_price, t.exit_price, t.quantity, t.pnl, t.fees, t.slippage, t.funding, t.risk, t.optimistic_pnl] for t in trades]
        wholes = [[symbols.index(t.symbol), t.side, t.entry_time, t.exit_time, int(t.reason), t.entry_bar, t.exit_bar, t.fills,
                   int(t.ambiguous)] for t in trades]
        return cls(symbols, names, np.array(floats).reshape(-1, 9), np.array(wholes, np.int64).reshape(-1, 9),
                   np.array([names.index(t.strategy) for t in trades], np.int64))

    def with_open(self, rows: tuple[np.ndarray, np.ndarray]) -> TradeTable:
        """With the positions still open at the end added; the strategy of each is its symbol's."""
        floats, wholes = rows
        if not len(floats):
            return self
        return dataclasses.replace(self, floats=np.vstack((self.floats, floats)), wholes=np.vstack((self.wholes, wholes)),
                                   strategy=np.concatenate((self.strategy, wholes[:, 0])))

    def trades(self) -> tuple[Trade, ...]:
        out = []
        for f, w, strategy in zip(self.floats.tolist(), self.wholes.tolist(), self.strategy.tolist(), strict=True):
            out.append(Trade(self.symbols[w[0]], self.strategies[strategy], w[1], w[2], w[3], f[0], f[1], f[2], Reason(w[4]), f[3], f[4],
                             f[5], f[6], w[5], w[6], w[7], f[7], bool(w[8]), f[8]))
        return tuple(out)


@dataclass(frozen=True)
class Refused:
    """An entry that was wanted and not made. `code` is a `Refusal`, `words` the verdict."""

    bar: int
    moment: int
    symbol: str
    strategy: str
    side: int
    code: int
    words: str


@dataclass(frozen=True)
class Curve:
    """Figures of an equity curve that begins at the capital: the deepest drawdown (a negative fraction), the longest stay below a high and
    the way back from the deepest point in bars (NaN: not yet), the ulcer index, mean equity, bars with an open position."""

    depth: float
    longest: float
    recovery: float
    ulcer: float
    mean: float
    in_market: int

    @classmethod
    def of(cls, capital: float, equity: np.ndarray, gross: np.ndarray) -> Curve:
        depths = performance.drawdown(np.concatenate(([capital], equity)))
        return cls(float(depths.min()), *performance.drawdown_length(depths), performance.ulcer(depths), float(equity.mean()),
                   int((gross > 0).sum()))


@dataclass(frozen=True)
class Result:
    """A finished backtest. Arrays of shape (n_bars,), at each bar's close.

    equity : quote currency.
    engine : "compiled" or "reference"; the numbers do not depend on it.
    curves : gives cash and the sum of open notionals, which the compiled engine makes when somebody asks.
    """

    plan: Plan
    engine: str
    equity: np.ndarray
    table: TradeTable
    traded: float
    refusals: tuple[Refused, ...] | np.ndarray  # the compiled engine's are rows of (bar, moment, symbol, side, code)
    curve: Curve
    curves: Callable[[], tuple[np.ndarray, np.ndarray]]

    @property
    def run_id(self) -> str:
        return self.plan.run_id

    @property
    def config(self) -> dict[str, Any]:
        return self.plan.config.document()

    @property
    def symbols(self) -> tuple[str, ...]:
        return self.plan.symbols

    @property
    def open_time(self) -> np.ndarray:
        return self.plan.open_time

    @property
    def moment(self) -> np.ndarray:
        return self.plan.moments

    @property
    def capital(self) -> float:
        return self.plan.config.capital

    @cached_property
    def _curves(self) -> tuple[np.ndarray, np.ndarray]:
        return self.curves()

    @property
    def cash(self) -> np.ndarray:
        """Quote currency, shape (n_bars,)."""
        return self._curves[0]

    @property
    def gross(self) -> np.ndarray:
        """Sum of open notionals in quote currency, shape (n_bars,)."""
        return self._curves[1]

    @cached_property
    def benchmark(self) -> np.ndarray:
        """Mean of the symbols' closes over their first opens: buy and hold of equal parts, 1 = start. Shape (n_bars,)."""
        return np.mean(self.plan.close / self.plan.open[:, :1], axis=0)

    @cached_property
    def refused(self) -> tuple[Refused, ...]:
        """Entries that were wanted and not made, with the reason in words, in the order in which they were refused."""
        return words_of(self.plan, self.refusals) if isinstance(self.refusals, np.ndarray) else self.refusals

    @cached_property
    def trades(self) -> tuple[Trade, ...]:
        """One object a trade, in the order in which they ended; those still open last."""
        return self.table.trades()

    @cached_property
    def daily(self) -> tuple[np.ndarray, np.ndarray]:
        """Equity at the end of each UTC day: (day number, equity); the start capital is the value before the first."""
        last = self.plan.last_of_day
        return (self.moment[last] - 1) // DAY_MS, self.equity[last]

    @cached_property
    def daily_returns(self) -> np.ndarray:
        """Simple returns per UTC day, the first against the start capital. The unit of every ratio (methods.md 7.3)."""
        equity = self.daily[1]
        return equity / np.concatenate(([self.capital], equity[:-1])) - 1.0

    @cached_property
    def metrics(self) -> dict[str, float | None]:
        """The figures of methods.md 7.3; a fraction is a fraction. None where a figure does not exist (no losses, no variance)."""
        return _metrics(self)

    @property
    def days(self) -> float:
        return float(self.moment[-1] - self.open_time[0]) / DAY_MS

    @property
    def too_short(self) -> str:
        """A warning in words, or nothing."""
        closed = int(np.count_nonzero(self.table.wholes[:, 4] != Reason.END))
        if closed >= FEWEST_TRADES and self.days >= FEWEST_DAYS:
            return ""
        return f"too short: {closed} closed trades in {self.days:.0f} days; below {FEWEST_TRADES} trades or {FEWEST_DAYS} days chance rules"

    @property
    def ambiguity(self) -> dict[str, float | int]:
        """The band [pessimistic, optimistic] of the total profit, and how many trades hang on it (X9). Sizes are kept as traded."""
        pnl, better = self.table.floats[:, 3], self.table.floats[:, 8]
        hit = self.table.wholes[:, 8] > 0
        profit = math.fsum(pnl)
        return {"trades": int(hit.sum()), "share": float(hit.mean()) if len(hit) else 0.0, "pessimistic": profit,
                "optimistic": profit + math.fsum(np.maximum(better[hit] - pnl[hit], 0.0))}

    def document(self) -> dict[str, Any]:
        """JSON-able; curves left out."""
        return {"run_id": self.run_id, "engine": self.engine, "symbols": list(self.symbols), "interval": str(self.plan.interval),
                "provenance": self.plan.provenance, "from": iso(int(self.open_time[0])), "to": iso(int(self.moment[-1])),
                "metrics": self.metrics, "trades": len(self.table), "final_equity": float(self.equity[-1]),
                "ambiguity": self.ambiguity, "too_short": self.too_short, "refused": _counted(self.refused), "config": self.config}


_WORDS = {
    Refusal.KILLED: "drawdown kill switch: the kill switch is on; it waits to be re-armed",
    Refusal.DAILY_LOSS: "daily loss: the limit was reached; no entries for the rest of the day (UTC)",
    Refusal.LOSING_STREAK: "losing streak: too many losses in a row; entries are paused",
    Refusal.COOLDOWN: "cooldown: the symbol was stopped out too recently",
    Refusal.VOLATILITY_BREAK: "volatility break: a bar moved by more than the limit's standard deviations",
    Refusal.BREAK_UNKNOWN: "volatility break: the standard deviation of returns is not known yet, so a break cannot be ruled out",
    Refusal.VETO: "volatility break: vetoed by the caller (an anomaly alert or a missing view)",
    Refusal.NO_STOP: "risk per trade: sized by what the stop would lose, and there is no stop distance at this bar",
    Refusal.COST_UNKNOWN: "known costs: the slippage model cannot be computed yet (too few bars)",
    Refusal.VOLATILITY_UNKNOWN: "volatility target: volatility cannot be computed yet, so the size cannot be scaled to its target",
    Refusal.MAX_POSITIONS: "open positions: as many as allowed are open or about to be",
    Refusal.NO_ROOM: "equity, cash, margin or caps leave no room for the smallest order",
    Refusal.NOT_FILLED: "not filled in time: too little traded, or the limit was not reached",
    Refusal.EQUITY_GONE: "drawdown kill switch: the account is worth nothing",
    Refusal.BEYOND_LEVEL: "the price at the fill is already beyond the stop or the target",
    Refusal.NOT_COMPUTED: "a limit could not be computed",
    Refusal.HOLE: "the next bar is missing; nothing is entered across a hole",
}


def words_of(plan: Plan, rows: np.ndarray) -> tuple[Refused, ...]:
    """The compiled engine's refusals; it keeps the reason's number, the words are the rule's without its figures of the moment."""
    return tuple(Refused(bar, moment, plan.symbols[s], plan.tables[s][0].strategy, side, code, _WORDS[Refusal(code)])
                 for bar, moment, s, side, code in rows.tolist())


def _counted(refused: Sequence[Refused]) -> dict[str, int]:
    out: dict[str, int] = {}
    for each in refused:
        name = Refusal(each.code).name.lower()
        out[name] = out.get(name, 0) + 1
    return out


def _metrics(result: Result) -> dict[str, float | None]:
    table, curve, last = result.table, result.curve, float(result.equity[-1])
    closed = table.wholes[:, 4] != Reason.END
    whole = bool(closed.all())
    pnl, risk = (table.floats[:, k] if whole else table.floats[closed, k] for k in (3, 7))
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.where(risk > 0, pnl / risk, np.nan)
    cagr = performance.cagr(result.capital, last, days=result.days)
    level = result.plan.close[:, result.plan.last_of_day] / result.plan.open[:, :1]
    level = np.concatenate(([1.0], level[0] if len(level) == 1 else np.mean(level, axis=0)))
    money = {name: math.fsum(table.floats[:, column].tolist()) for name, column in (("fees", 4), ("slippage", 5), ("funding", 6))}
    gross_profit = math.fsum(table.floats[:, 3].tolist()) + money["fees"] + money["slippage"]
    win, low, high = trade_record.win_rate(pnl)
    values = {
        "total_return": last / result.capital - 1.0, "cagr": cagr} | of_days(result.daily_returns, level[1:] / level[:-1] - 1.0) | {
        "calmar": performance.calmar(cagr, curve.depth), "max_drawdown": curve.depth, "drawdown_bars": curve.longest,
        "recovery_bars": curve.recovery, "ulcer": curve.ulcer, "win_rate": win, "win_rate_low": low, "win_rate_high": high,
        "profit_factor": trade_record.profit_factor(pnl), "average_trade": float(pnl.mean()) if len(pnl) else math.nan,
        "payoff": trade_record.payoff(pnl), "expectancy_r": trade_record.expectancy(r), "sqn": trade_record.system_quality(r),
        "exposure": curve.in_market / result.plan.bars,
        "turnover": performance.turnover_per_year(result.traded, curve.mean, days=result.days), **money,
        "cost_share": (money["fees"] + money["slippage"]) / gross_profit if gross_profit > 0 else math.nan,
        "break_even_bps": break_even_bps(gross_profit, result.traded), "benchmark_return": float(level[-1] - 1.0),
    }
    return {name: float(values[name]) if math.isfinite(values[name]) else None for name in FIGURES}
