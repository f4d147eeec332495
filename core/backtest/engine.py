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
from core.backtest.kernel import simulate
from core.backtest.plan import Config, Plan, build, column
from core.backtest.reference import Reference
from core.backtest.result import Curve, Result, TradeTable
from core.risk.sizing import Sizing
from data.errors import InputError
from data.frames import Candles
from data.market import DAY_MS, HOUR_MS, Interval, Market, Slippage

DAYS_PER_YEAR = 365.0
SIZINGS = {sizing: number for number, sizing in enumerate(Sizing)}


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
        r = Reference(plan).run()
        return Result(plan, "reference", r.equity, TradeTable.of(r.trades, plan.symbols), r.traded, tuple(r.refused),
                      Curve.of(plan.config.capital, r.equity, r.gross), lambda: (r.cash, r.gross))
    return _compiled(plan)


# -- the compiled engine ----------------------------------------------------------------------------------------------


def settings(config: Config, interval_ms: int, *, keep: int) -> np.ndarray:
    """The configuration as the kernel reads it; a limit that is off is negative, or a number that never binds. `keep` is the kernel's."""
    limits, fees = config.limits, config.fees

    def off(value: float | None) -> float:
        return -1.0 if value is None else float(value)

    named = {
        p.CAPITAL: config.capital, p.LEVERAGE: config.leverage, p.SPOT: config.market is Market.SPOT, p.SIZING: SIZINGS[config.sizing],
        p.SIZE: config.size, p.FRACTION: config.distances == "fraction", p.PRICES: config.distances == "price",
        p.STOP_X: config.stop_multiple, p.TARGET_X: config.target_multiple, p.TRAIL_X: config.trail_multiple,
        p.MAX_BARS: config.max_bars or 0, p.MAX_POSITIONS: limits.max_positions, p.POSITION_CAP: limits.position_cap,
        p.GROSS_CAP: limits.gross(config.market), p.PARTICIPATION: off(limits.participation), p.CARRY: limits.carry_bars,
        p.DRAWDOWN: off(limits.drawdown_stop), p.REARM_MS: round(limits.rearm_days * DAY_MS), p.DAILY_LOSS: off(limits.daily_loss),
        p.COOLDOWN: limits.cooldown_bars, p.STREAK: limits.losing_streak or 0, p.PAUSE_MS: round(limits.streak_pause_h * HOUR_MS),
        p.MAKER: fees.maker_bps / 1e4, p.TAKER: fees.taker_bps / 1e4, p.SQRT: fees.slippage is Slippage.SQRT,
        p.OPTIMISTIC: config.optimistic, p.INTERVAL_MS: interval_ms, p.KEEP: keep}
    return np.array([named[k] for k in range(p.CONFIG_LENGTH)], float)


def tables(plan: Plan) -> list[np.ndarray]:
    """The signal columns of all symbols, stacked: action, then stop, target, trail, limit, strength, veto (width 1 where constant)."""
    def stacked(name: str) -> np.ndarray:
        rows = [column(getattr(t[0], name)) for t in plan.tables]
        if len(rows) == 1:
            return np.ascontiguousarray(rows[0])[None]
        width = max(len(r) for r in rows)
        return np.ascontiguousarray(np.stack([np.broadcast_to(r, (width,)) for r in rows]))

    action = plan.tables[0][0].action[None] if len(plan.tables) == 1 else np.stack([t[0].action for t in plan.tables])
    return [action, *(stacked(n) for n in ("stop", "target", "trail", "limit", "strength", "veto"))]


def _market(plan: Plan) -> list[np.ndarray]:
    return [plan.open_time, plan.close_time, plan.open, plan.high, plan.low, plan.close, plan.quote_volume, plan.mark_high, plan.mark_low,
            plan.half, plan.impact, plan.scale, plan.veto, plan.tighten, plan.hole_after]


def _wanting(action: np.ndarray) -> np.ndarray:
    """The bars at which some symbol asks for an entry."""
    return np.flatnonzero((np.abs(action) == 1).any(axis=0) if len(action) > 1 else np.abs(action[0]) == 1)


def _rest(plan: Plan) -> list[np.ndarray]:
    grid = np.array([[c.ticks_per_unit, c.steps_per_unit, c.minimum_notional, c.maintenance] for c in plan.contracts])
    return [grid, plan.fine_from, plan.fine_to, plan.fine, plan.fine_close, plan.stamp_from,
            plan.stamp_time, plan.stamp_rate, plan.stamp_mark]


def _state(plan: Plan) -> list[np.ndarray]:
    return [np.zeros(p.ACCOUNT_LENGTH), np.zeros((len(plan.symbols), p.FLOATS)), np.zeros((len(plan.symbols), p.WHOLES), np.int64)]


def _compiled(plan: Plan) -> Result:
    columns, state = tables(plan), _state(plan)
    wanting = _wanting(columns[0])
    most = int(np.count_nonzero(np.abs(columns[0]) == 1)) if len(plan.symbols) > 1 else len(wanting)
    trade_f, trade_w = np.empty((most, p.T_FLOATS)), np.empty((most, p.T_WHOLES), np.int64)
    refused, none = np.empty((most, 5), np.int64), np.empty(0)
    equity, out = np.empty(plan.bars), np.zeros(p.SUMMARY_LENGTH)
    given = (*_market(plan), *columns, *_rest(plan), wanting, plan.last_of_day)
    simulate(settings(plan.config, plan.interval.ms, keep=1), *given, *state, trade_f, trade_w, refused, equity, none, none, out)
    n = int(out[p.S_TRADES])
    strategies = tuple(t[0].strategy for t in plan.tables)
    table = TradeTable(plan.symbols, strategies, trade_f[:n], trade_w[:n], trade_w[:n, 0]).with_open(_still_open(plan, *state[1:]))

    def curves() -> tuple[np.ndarray, np.ndarray]:
        """Seldom asked for, and the same run gives them: so no run pays for them that is not asked."""
        cash, gross = np.empty(plan.bars), np.empty(plan.bars)
        simulate(settings(plan.config, plan.interval.ms, keep=2), *given, *_state(plan), trade_f.copy(), trade_w.copy(), refused.copy(),
                 np.empty(plan.bars), cash, gross, np.zeros(p.SUMMARY_LENGTH))
        return cash, gross

    depth, longest, recovery, ulcer, mean = out[[p.S_DEPTH, p.S_LONGEST, p.S_RECOVERY, p.S_ULCER, p.S_MEAN_EQUITY]].tolist()
    curve = Curve(depth, longest, recovery, ulcer, mean, int(out[p.S_IN_MARKET]))
    return Result(plan, "compiled", equity, table, float(out[p.S_TRADED]), refused[: int(out[p.S_REFUSED])], curve, curves)


@simulate.warm_with
def _example() -> tuple[np.ndarray, ...]:
    """Three bars of nothing, with every array of its usual type."""
    three = np.ones(3)
    candles = Candles.from_columns(Interval.H1, {"open_time": np.arange(3, dtype=np.int64) * Interval.H1.ms, "volume": three}
                                   | dict.fromkeys(("open", "high", "low", "close"), three))
    plan = build(Config(), {"BTCUSDT": candles}, [])
    none = np.empty((0, p.T_FLOATS)), np.empty((0, p.T_WHOLES), np.int64), np.empty((0, 5), np.int64)
    return (settings(plan.config, plan.interval.ms, keep=0), *_market(plan), *tables(plan), *_rest(plan),
            _wanting(np.zeros((1, 3), np.int8)), plan.last_of_day, *_state(plan), *none,
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


IN_PLAN = ("break_sigmas", "break_bars", "break_stop_atr", "volatility_target")
LAID_OUT = ("slippage", "slippage_bps", "extra_bps", "impact")  # costs that stand in the plan bar by bar
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
    wanting = _wanting(columns[0])
    found = np.full((len(variants), p.SUMMARY_LENGTH), np.nan)
    none_f, none_w, none_r, none = np.empty((0, p.T_FLOATS)), np.empty((0, p.T_WHOLES), np.int64), np.empty((0, 5), np.int64), np.empty(0)
    simulate.compile()

    def work(rows: range) -> None:
        state = _state(plan)
        for row in rows:
            variant = variants[row]
            config = replace(plan.config, **variant.changes) if variant.changes else plan.config
            _same_plan(plan.config, config)
            action = columns[0] if variant.action is None else _action(plan, variant)
            asked = wanting if variant.action is None else _wanting(action)
            simulate(settings(config, plan.interval.ms, keep=0), *market, action, *columns[1:], *rest, asked, plan.last_of_day, *state,
                     none_f, none_w, none_r, none, none, none, found[row])

    workers = max(1, min(threads or os.cpu_count() or 1, len(variants)))
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, [range(i, len(variants), workers) for i in range(workers)]))
    return _summaries(plan, found)


def _same_plan(planned: Config, config: Config) -> None:
    """Refuse a set that would need another plan."""
    if config.limits is not planned.limits and any(getattr(config.limits, n) != getattr(planned.limits, n) for n in IN_PLAN):
        raise InputError(f"sweep: limits {', '.join(IN_PLAN)} are part of the plan and cannot differ between sets; build one each")
    limits = config.limits
    if limits is not planned.limits and not (limits.tail_var is limits.tail_es is limits.correlation_cap is None):
        raise InputError("sweep: runs without portfolio VaR, ES and correlation limits; leave them out, or run a backtest for each")
    if any(getattr(config.fees, n) != getattr(planned.fees, n) for n in LAID_OUT):
        raise InputError("sweep: slippage is laid out in the plan and cannot differ between sets; build a plan for each")


def _action(plan: Plan, variant: Variant) -> np.ndarray:
    """A set's own actions, checked."""
    assert variant.action is not None
    action = np.atleast_2d(np.ascontiguousarray(variant.action(), np.int8))
    if action.shape != plan.open.shape:
        raise InputError(f"sweep: action of {variant.name} has shape {action.shape}, the plan {plan.open.shape}")
    if plan.config.market is Market.SPOT and (action == -1).any():
        raise InputError(f"sweep: {variant.name} enters short on spot, where nothing can be sold short; use market perp")
    return action


def _summaries(plan: Plan, found: np.ndarray) -> dict[str, np.ndarray]:
    days, mean, capital = found[:, p.S_DAYS], found[:, p.S_MEAN], plan.config.capital
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt(found[:, p.S_SQUARES] / (days - 1.0))
        sharpe = np.where(spread > 1e-14, mean / spread * math.sqrt(DAYS_PER_YEAR), np.nan)
        downside = np.sqrt(found[:, p.S_DOWN] / days)
        return {
            "total_return": found[:, p.S_EQUITY] / capital - 1.0, "sharpe": sharpe,
            "sortino": np.where(downside > 0, mean / downside * math.sqrt(DAYS_PER_YEAR), np.nan),
            "max_drawdown": found[:, p.S_DEPTH], "win_rate": found[:, p.S_WINS] / found[:, p.S_TRADES],
            "profit_factor": np.where(found[:, p.S_LOSSES] > 0, found[:, p.S_GAINS] / found[:, p.S_LOSSES], np.nan),
            "trades": found[:, p.S_TRADES], "exposure": found[:, p.S_IN_MARKET] / plan.bars, "fees": found[:, p.S_FEES],
            "funding": found[:, p.S_FUNDING], "refused": found[:, p.S_REFUSED],
        }
