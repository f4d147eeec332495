"""Runs a plan: by the compiled engine where it may, by the reference elsewhere; and many parameter sets at once."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from core.backtest import kernel_parts as p
from core.backtest.desk import Records
from core.backtest.kernel import simulate
from core.backtest.plan import Config, Plan, build, column
from core.backtest.reference import Reference
from core.backtest.result import Result, TradeTable
from core.risk.sizing import Sizing
from data.errors import InputError
from data.frames import Candles
from data.market import DAY_MS, HOUR_MS, Interval, Market, Slippage

DAYS_PER_YEAR = 365.0


def run(plan: Plan, *, engine: str = "auto") -> Result:
    """The result of a plan. `engine` "auto" takes the compiled one where it may; "reference" and "compiled" insist.

    Raises
    ------
    InputError
        "compiled" for a plan with several strategies on a symbol, or with portfolio limits.
    """
    if engine not in ("auto", "reference", "compiled"):
        raise InputError(f"engine: expected auto, reference or compiled, got {engine!r}")
    if engine == "compiled" and not plan.compiled:
        raise InputError("engine: the compiled engine runs one strategy a symbol without portfolio VaR, ES or correlation limits; "
                         "use auto or reference")
    if engine == "reference" or not plan.compiled:
        records = Reference(plan).run()
        return _result(plan, "reference", TradeTable.of(records.trades, plan.symbols), records)
    return _compiled(plan)


def _result(plan: Plan, engine: str, trades: TradeTable, records: Records, refusals: np.ndarray | None = None) -> Result:
    return Result(plan, engine, records.equity, records.cash, records.gross, trades, records.traded,
                  tuple(records.refused) if refusals is None else refusals)


# -- the compiled engine ----------------------------------------------------------------------------------------------


def settings(config: Config, interval_ms: int, *, keep: bool) -> np.ndarray:
    """The configuration as the kernel reads it; a limit that is off is negative, or a number that never binds."""
    limits, out = config.limits, np.zeros(p.CONFIG_LENGTH)

    def off(value: float | None) -> float:
        return -1.0 if value is None else float(value)

    out[[p.CAPITAL, p.LEVERAGE, p.SPOT]] = config.capital, config.leverage, config.market is Market.SPOT
    out[[p.SIZING, p.SIZE, p.FRACTION]] = list(Sizing).index(config.sizing), config.size, config.distances == "fraction"
    out[[p.STOP_X, p.TARGET_X, p.TRAIL_X]] = config.stop_multiple, config.target_multiple, config.trail_multiple
    out[[p.MAX_BARS, p.MAX_POSITIONS]] = config.max_bars or 0, limits.max_positions
    out[[p.POSITION_CAP, p.GROSS_CAP]] = limits.position_cap, limits.gross(config.market)
    out[[p.PARTICIPATION, p.CARRY]] = off(limits.participation), limits.carry_bars
    out[[p.DRAWDOWN, p.REARM_MS, p.DAILY_LOSS]] = off(limits.drawdown_stop), round(limits.rearm_days * DAY_MS), off(limits.daily_loss)
    out[[p.COOLDOWN, p.STREAK, p.PAUSE_MS]] = limits.cooldown_bars, limits.losing_streak or 0, round(limits.streak_pause_h * HOUR_MS)
    out[[p.MAKER, p.TAKER]] = config.fees.maker_bps / 1e4, config.fees.taker_bps / 1e4
    out[[p.SQRT, p.OPTIMISTIC]] = config.fees.slippage is Slippage.SQRT, config.optimistic
    out[[p.INTERVAL_MS, p.KEEP]] = interval_ms, keep
    return out


def tables(plan: Plan) -> list[np.ndarray]:
    """The signal columns of all symbols, stacked: action, then stop, target, trail, limit, strength, veto (width 1 where constant)."""
    def stacked(name: str) -> np.ndarray:
        rows = [column(getattr(t[0], name)) for t in plan.tables]
        width = max(len(r) for r in rows)
        return np.ascontiguousarray(np.stack([np.broadcast_to(r, (width,)) for r in rows]))

    return [np.stack([t[0].action for t in plan.tables]), *(stacked(n) for n in ("stop", "target", "trail", "limit", "strength", "veto"))]


def _market(plan: Plan) -> list[np.ndarray]:
    return [plan.open_time, plan.close_time, plan.open, plan.high, plan.low, plan.close, plan.quote_volume, plan.mark_high, plan.mark_low,
            plan.half, plan.impact, plan.scale, plan.veto, plan.hole_after]


def _rest(plan: Plan) -> list[np.ndarray]:
    grid = np.array([[c.ticks_per_unit, c.steps_per_unit, c.minimum_notional, c.maintenance] for c in plan.contracts])
    return [grid, plan.fine_from, plan.fine_to, plan.fine, plan.fine_close, plan.stamp_from,
            plan.stamp_time, plan.stamp_rate, plan.stamp_mark]


def _state(plan: Plan) -> list[np.ndarray]:
    return [np.zeros(p.ACCOUNT_LENGTH), np.zeros((len(plan.symbols), p.FLOATS)), np.zeros((len(plan.symbols), p.WHOLES), np.int64)]


def _compiled(plan: Plan) -> Result:
    columns, state = tables(plan), _state(plan)
    most = int(np.count_nonzero(np.abs(columns[0]) == 1))
    trade_f, trade_w = np.empty((most, p.T_FLOATS)), np.empty((most, p.T_WHOLES), np.int64)
    refused = np.empty((most, 5), np.int64)
    equity, cash, gross = (np.empty(plan.bars) for _ in range(3))
    out = np.zeros(p.SUMMARY_LENGTH)
    simulate(settings(plan.config, plan.interval.ms, keep=True), *_market(plan), *columns, *_rest(plan), *state, trade_f, trade_w, refused,
               equity, cash, gross, out)
    n = int(out[p.S_TRADES])
    strategies = tuple(t[0].strategy for t in plan.tables)
    table = TradeTable(plan.symbols, strategies, trade_f[:n], trade_w[:n], trade_w[:n, 0]).with_open(_still_open(plan, *state[1:]))
    return _result(plan, "compiled", table, Records([], [], equity, cash, gross, float(out[p.S_TRADED])), refused[: int(out[p.S_REFUSED])])


@simulate.warm_with
def _example() -> tuple[np.ndarray, ...]:
    """Three bars of nothing, with every array of its usual type."""
    three = np.ones(3)
    candles = Candles.from_columns(Interval.H1, {"open_time": np.arange(3, dtype=np.int64) * Interval.H1.ms, "volume": three}
                                   | dict.fromkeys(("open", "high", "low", "close"), three))
    plan = build(Config(), {"BTCUSDT": candles}, [])
    none = np.empty((0, p.T_FLOATS)), np.empty((0, p.T_WHOLES), np.int64), np.empty((0, 5), np.int64)
    return (settings(plan.config, plan.interval.ms, keep=False), *_market(plan), *tables(plan), *_rest(plan), *_state(plan), *none,
            np.empty(0), np.empty(0), np.empty(0), np.zeros(p.SUMMARY_LENGTH))


def _still_open(plan: Plan, floats: np.ndarray, wholes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the positions left at the end, marked at the last close without costs."""
    f_rows, w_rows = [], []
    for s in np.flatnonzero(wholes[:, p.SIDE]):
        f, w, mark = floats[s], wholes[s], float(plan.close[s, -1])
        side = int(w[p.SIDE])
        pnl = side * (f[p.EXIT_SUM] + f[p.QTY] * mark - f[p.ENTRY_SUM]) - f[p.FEES] + f[p.FUNDED]
        f_rows.append([f[p.ENTRY], mark, f[p.ENTERED], pnl, f[p.FEES], f[p.SLIPPED], f[p.FUNDED], f[p.RISK] * f[p.ENTERED], pnl])
        w_rows.append([s, side, w[p.OPENED], int(plan.close_time[-1]), 8, w[p.ENTRY_BAR], plan.bars - 1, w[p.FILLS], 0])
    return np.array(f_rows).reshape(-1, p.T_FLOATS), np.array(w_rows, np.int64).reshape(-1, p.T_WHOLES)


# -- many parameter sets ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Variant:
    """One parameter set of a sweep: changes of the configuration, and where it has its own, the action of each bar.

    `action` is called when the set is run and returns an int8 array of shape (n_bars,) (several symbols: (symbols, bars)), so that
    a thousand sets never exist at once.
    """

    name: str
    changes: dict[str, Any]
    action: Callable[[], np.ndarray] | None = None


SWEEP_METRICS = ("total_return", "sharpe", "sortino", "max_drawdown", "win_rate", "profit_factor", "trades", "exposure", "fees", "funding",
                 "refused")


def sweep(plan: Plan, variants: Sequence[Variant], *, threads: int | None = None) -> dict[str, np.ndarray]:
    """Metrics of every parameter set, no curves kept: each of `SWEEP_METRICS` an array of shape (n_sets,), NaN where it does not exist.

    Threads, since the kernel releases the interpreter's lock; memory is that of one run a thread. The same numbers as one `run` a set.
    The daily ratios come from running sums, equal to the report's to 1e-9.
    """
    if not plan.compiled:
        raise InputError("sweep: runs on the compiled engine, which has one strategy a symbol and no portfolio limits")
    changed = {name for v in variants for name in v.changes}
    fixed = changed & {"market", "rounding", "allow_gaps"}
    if fixed:
        raise InputError(f"sweep: {sorted(fixed)[0]} is part of the plan and cannot differ between sets; build a plan for each")
    market, columns, rest = _market(plan), tables(plan), _rest(plan)
    found = np.full((len(variants), p.SUMMARY_LENGTH), np.nan)
    none_f, none_w, none_r, none = np.empty((0, p.T_FLOATS)), np.empty((0, p.T_WHOLES), np.int64), np.empty((0, 5), np.int64), np.empty(0)
    simulate.compile()

    def work(rows: range) -> None:
        state = _state(plan)
        for row in rows:
            variant = variants[row]
            config = replace(plan.config, **variant.changes)
            if config.fees.slippage is not plan.config.fees.slippage or config.fees.slippage_bps != plan.config.fees.slippage_bps:
                raise InputError("sweep: slippage is laid out in the plan and cannot differ between sets; build a plan for each")
            action = columns[0] if variant.action is None else np.atleast_2d(np.ascontiguousarray(variant.action(), np.int8))
            if action.shape != columns[0].shape:
                raise InputError(f"sweep: action of {variant.name} has shape {action.shape}, the plan {columns[0].shape}")
            if config.market is Market.SPOT and (action == -1).any():
                raise InputError(f"sweep: {variant.name} enters short on spot, where nothing can be sold short; use market perp")
            simulate(settings(config, plan.interval.ms, keep=False), *market, action, *columns[1:], *rest, *state, none_f, none_w, none_r,
                       none, none, none, found[row])

    workers = max(1, min(threads or os.cpu_count() or 1, len(variants)))
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, [range(i, len(variants), workers) for i in range(workers)]))
    return _summaries(plan, found)


def _summaries(plan: Plan, found: np.ndarray) -> dict[str, np.ndarray]:
    days, mean, capital = found[:, p.S_DAYS], found[:, p.S_MEAN], plan.config.capital
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt(found[:, p.S_SQUARES] / (days - 1.0))
        sharpe = np.where(spread > 1e-14, mean / spread * math.sqrt(DAYS_PER_YEAR), np.nan)
        downside = np.sqrt(found[:, p.S_DOWN] / days)
        return {
            "total_return": found[:, p.S_EQUITY] / capital - 1.0, "sharpe": sharpe,
            "sortino": np.where(downside > 0, mean / downside * math.sqrt(DAYS_PER_YEAR), np.nan),
            "max_drawdown": found[:, p.S_PEAK_RATIO] - 1.0, "win_rate": found[:, p.S_WINS] / found[:, p.S_TRADES],
            "profit_factor": np.where(found[:, p.S_LOSSES] > 0, found[:, p.S_GAINS] / found[:, p.S_LOSSES], np.nan),
            "trades": found[:, p.S_TRADES], "exposure": found[:, p.S_IN_MARKET] / plan.bars, "fees": found[:, p.S_FEES],
            "funding": found[:, p.S_FUNDING], "refused": found[:, p.S_REFUSED],
        }
