"""What a backtest's result is made of: costs rung by rung, luck, neighbours, single trades, years, regimes, other histories.

Everything here runs the same plan again with one thing changed. Nothing here is a choice between results, so these runs are no tries of
a study; what a user or a sweep tries is counted in the trial ledger.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.lab import mirrored
from analysis.statistics import performance, trade_record
from analysis.statistics.multiplicity import clopper_pearson
from core.backtest.engine import Variant, run, sweep
from core.backtest.plan import Plan, build
from core.backtest.question import Material, Question, common, cut
from core.backtest.result import Reason, Result
from core.backtest.signals import Action, Signals
from core.strategies import COMMON, Choice, strategy
from data.frames import Candles
from data.market import DAY_MS, Slippage

RANDOM_RUNS = 500
NEIGHBOUR = 0.20
BULL, REGIME_DAYS = 0.20, 90
FEWEST_IN_GROUP = 20
FOLDS = 5
MOST_FEE_BPS = 1_000.0  # of data.market.Costs
MOSTLY = 0.5  # of the bars must know a level that random entries are to share
Row = dict[str, Any]


def number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _won(pnl: np.ndarray) -> float | None:
    return number(trade_record.win_rate(pnl)[0])


def closed(result: Result) -> np.ndarray:
    """Which rows of the table count as trades, bool: those that ended. A position still open at the last bar has neither won nor lost."""
    return np.asarray(result.table.wholes[:, 4] != Reason.END)


# -- costs ------------------------------------------------------------------------------------------------------------


def cost_ladder(plan: Plan) -> list[Row]:
    """The same signals with one more cost on each rung (X8).

    Sized by a fixed fraction of equity and without the pauses of the kill switch, daily loss, streak and cooldown, which depend on the
    path: so rungs hold the same trades and equity falls from rung to rung. Where a fill decides differently after all (a stop touched
    only at the worse price), the rung says "rose". Funding may have either sign.
    """
    from core.risk.sizing import Sizing

    config = plan.config
    limits = dataclasses.replace(config.limits, drawdown_stop=None, daily_loss=None, losing_streak=None, cooldown_bars=0)
    fixed = dataclasses.replace(config, sizing=Sizing.FRACTION, size=min(config.limits.position_cap, 1.0), limits=limits)
    fees, free = config.fees, dataclasses.replace(config.fees, maker_bps=0.0, taker_bps=0.0, slippage=Slippage.FIXED)
    unpaid = dataclasses.replace(fees, slippage=Slippage.FIXED)
    sized = dataclasses.replace(fees, slippage=Slippage.SQRT)
    unlimited, nothing = dataclasses.replace(limits, participation=None), np.where(np.isfinite(plan.half), 0.0, plan.half)
    silent: dict[str, Any] = {"stamp_from": np.zeros_like(plan.stamp_from), "stamp_time": np.empty(0, np.int64), "stamp_rate": np.empty(0),
                              "stamp_mark": np.empty(0)}
    zero = np.zeros_like(plan.impact)
    rungs: list[tuple[str, Plan]] = [
        ("frictionless", dataclasses.replace(plan, config=dataclasses.replace(fixed, costs=free, limits=unlimited), half=nothing,
                                             impact=zero, **silent)),
        ("+ fees", dataclasses.replace(plan, config=dataclasses.replace(fixed, costs=unpaid, limits=unlimited), half=nothing, impact=zero,
                                       **silent)),
        ("+ spread and slippage", dataclasses.replace(plan, config=dataclasses.replace(fixed, costs=unpaid, limits=unlimited), impact=zero,
                                                      **silent)),
        ("+ size cap and impact", dataclasses.replace(plan, config=dataclasses.replace(fixed, costs=sized), **silent)),
        ("+ one bar late", dataclasses.replace(plan, config=dataclasses.replace(fixed, costs=sized), tables=late(plan.tables), **silent)),
    ]
    if len(plan.stamp_time):
        rungs.append(("+ funding", dataclasses.replace(plan, config=dataclasses.replace(fixed, costs=sized), tables=late(plan.tables))))
    rows: list[Row] = []
    before = math.inf
    for name, made in rungs:
        result = run(made)
        total = float(result.equity[-1] / result.capital - 1.0)
        rows.append({"rung": name, "total_return": total, "sharpe": result.metrics["sharpe"], "trades": int(closed(result).sum()),
                     "rose": name not in ("+ funding", "+ one bar late") and total > before + 1e-12})
        before = total
    return rows


def late(tables: tuple[tuple[Signals, ...], ...], bars: int = 1) -> tuple[tuple[Signals, ...], ...]:
    """Every decision some bars later than it was made, with the distances of its own bar."""
    def shifted(value: Any) -> Any:
        if np.ndim(value) != 1:
            return value
        array = np.asarray(value)
        first = np.zeros(bars, array.dtype) if array.dtype.kind in "ib" else np.full(bars, np.nan)
        return np.concatenate((first, array[:-bars]))

    return tuple(tuple(dataclasses.replace(t, **{n: shifted(getattr(t, n)) for n in ("action", "stop", "target", "trail", "limit",
                                                                                    "strength", "veto")}) for t in group)
                 for group in tables)


def doubled_costs(plan: Plan) -> Plan:
    """Fees, spread and impact twice as high; a fee stays below the highest that can be asked for, a maker's rebate as it is."""
    fees = plan.config.fees
    costs = dataclasses.replace(fees, maker_bps=min(max(2 * fees.maker_bps, fees.maker_bps), MOST_FEE_BPS),
                                taker_bps=min(2 * fees.taker_bps, MOST_FEE_BPS))
    return dataclasses.replace(plan, config=dataclasses.replace(plan.config, costs=costs), half=2 * plan.half, impact=2 * plan.impact)


# -- luck -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RandomEntries:
    """Total returns of runs that enter at random moments with the same count, sides, holding times, stops and targets.

    `p` is the share of them at least as good, the result counted among them; NaN where nothing was traded, or where chance cannot be
    asked: then `words` says why.
    """

    p: float
    median: float
    high: float
    runs: int
    words: str = ""


def random_entries(plan: Plan, result: Result, *, runs: int = RANDOM_RUNS, seed: int = 7) -> RandomEntries:
    """Is the timing worth more than chance? Limits that need a history of returns are left out of both sides."""
    table = result.table
    reason = _incomparable(plan) if len(table) else "nothing was traded"
    if reason:
        return RandomEntries(math.nan, math.nan, math.nan, 0, f"not computed: {reason}")
    bare = _bare(plan)
    mine = float(run(bare).equity[-1] / plan.config.capital - 1.0) if bare is not plan else float(result.equity[-1] / result.capital - 1.0)
    held = {s: (table.wholes[table.wholes[:, 0] == s, 1], np.maximum(table.wholes[table.wholes[:, 0] == s, 6]
                                                                     - table.wholes[table.wholes[:, 0] == s, 5], 1))
            for s in range(len(plan.symbols))}

    def drawn(number_: int) -> Callable[[], np.ndarray]:
        def make() -> np.ndarray:
            rng = np.random.default_rng([seed, number_])
            action = np.zeros((len(plan.symbols), plan.bars), np.int8)
            for s, (side, length) in held.items():
                _place(action[s], side, length, rng)
            return action

        return make

    found = sweep(bare, [Variant(str(k), {}, drawn(k)) for k in range(runs)])["total_return"]
    return RandomEntries(float((1 + np.count_nonzero(found >= mine)) / (1 + runs)), float(np.median(found)),
                         float(np.quantile(found, 0.95)), runs)


def _incomparable(plan: Plan) -> str:
    """Why entries at other moments would be another thing than these, in words; empty where they can be compared."""
    if any(len(t) > 1 for t in plan.tables):
        return "several rules share the account, each with exits of its own; random entries of one would stand for all"
    if plan.config.distances == "price":
        return "stops and targets are prices of their own moment, which other moments do not have"
    for (table,) in plan.tables:
        for name in ("stop", "target", "trail"):
            value = getattr(table, name)
            if np.ndim(value) == 1 and len(table.entries) and 0.0 < np.mean(np.isfinite(np.asarray(value, float))) < MOSTLY:
                return f"the {name} is known at the entries alone, so entries at other moments have none"
    return ""


def _bare(plan: Plan) -> Plan:
    """What the compiled engine runs: without portfolio limits."""
    if plan.compiled:
        return plan
    limits = dataclasses.replace(plan.config.limits, tail_var=None, tail_es=None, correlation_cap=None)
    return dataclasses.replace(plan, config=dataclasses.replace(plan.config, limits=limits))


def _place(action: np.ndarray, side: np.ndarray, length: np.ndarray, rng: np.random.Generator) -> None:
    """Positions in random order with the free bars between them dealt out at random; what does not fit stays out."""
    order = rng.permutation(len(side))
    side, length = side[order], length[order]
    fits = np.cumsum(length + 1) < len(action) - 2
    side, length = side[fits], length[fits]
    if not len(side):
        return
    free = len(action) - 2 - int((length + 1).sum())
    spread = np.sort(rng.integers(0, free + 1, len(side)))
    start = spread + np.concatenate(([0], np.cumsum(length + 1)[:-1]))
    action[start] = np.where(side > 0, Action.ENTER_LONG, Action.ENTER_SHORT)
    action[np.minimum(start + length, len(action) - 1)] = Action.EXIT


def neighbours(question: Question) -> list[tuple[str, Choice | None, dict[str, float]]]:
    """Every parameter of the rule 20 % down and up, one at a time; of signals from outside, the distances."""
    choice = question.choice
    if choice is None:
        config = question.config
        return [(f"{n} x {x:g}", None, {n: getattr(config, n) * x}) for n in ("stop_multiple", "target_multiple")
                for x in (1 - NEIGHBOUR, 1 + NEIGHBOUR)]
    rule = strategy(choice.name)
    values = rule.values(choice.values)
    out: list[tuple[str, Choice | None, dict[str, float]]] = []
    for parameter in (*rule.parameters, *COMMON):
        base = values[parameter.name]
        for x in (1 - NEIGHBOUR, 1 + NEIGHBOUR):
            moved = min(max(base * x, parameter.low), parameter.high)
            if parameter.whole:
                moved = float(round(moved))
            if moved != base:
                out.append((f"{parameter.name} {moved:g}", Choice(choice.name, {**values, parameter.name: moved}), {}))
    return out


def neighbourhood(material: Material, plan: Plan, result: Result,
                  tell: Callable[[str], None]) -> tuple[list[Row], np.ndarray, list[str]]:
    """Results around the chosen parameters: rows, the daily returns of all including the chosen (n_days, n_sets), and their names."""
    rows: list[Row] = []
    streams, names = [result.daily_returns], ["as asked"]
    for name, choice, changes in neighbours(material.question):
        tell(f"Neighbour {name}")
        config = dataclasses.replace(plan.config, **changes)  # type: ignore[arg-type]
        made = dataclasses.replace(plan, config=config) if choice is None else dataclasses.replace(
            plan, tables=_tables(plan, material.signals(choice)))
        found = run(made)
        rows.append({"change": name, "total_return": float(found.equity[-1] / found.capital - 1.0), "sharpe": found.metrics["sharpe"],
                     "trades": int(closed(found).sum())})
        streams.append(found.daily_returns)
        names.append(name)
    return rows, np.column_stack(streams), names


def _tables(plan: Plan, signals: Sequence[Signals]) -> tuple[tuple[Signals, ...], ...]:
    return tuple(tuple(t for t in signals if t.symbol == s) for s in plan.symbols)


def without_best(result: Result, count: int = 5) -> float:
    """Total return had the best trades not happened, the others as large as they were."""
    pnl = np.sort(result.table.floats[:, 3])
    return float(math.fsum(pnl[: max(len(pnl) - count, 0)]) / result.capital)


def walk_forward(streams: np.ndarray, names: Sequence[str], folds: int = FOLDS) -> Row | None:
    """Choose by the Sharpe ratio of all days so far, trade the next fold by that choice; the first fold only chooses.

    On the daily returns of runs that went through, so the account at a fold's start is that of the chosen set. None below 30 days a
    fold or with one set.
    """
    days, sets = streams.shape
    if sets < 2 or days < 30 * folds:
        return None
    edges = np.linspace(0, days, folds + 1).astype(int)
    parts, chosen = [], []
    for start, end in itertools.pairwise(edges[1:]):
        ratio = [performance.sharpe(streams[:start, k]) for k in range(sets)]
        best = int(np.nanargmax(np.where(np.isfinite(ratio), ratio, -np.inf)))
        parts.append(streams[start:end, best])
        chosen.append(names[best])
    out = np.concatenate(parts)
    return {"folds": folds - 1, "chosen": chosen, "total_return": float(np.prod(1.0 + out) - 1.0),
            "sharpe": number(performance.sharpe(out)),
            "as_asked": float(np.prod(1.0 + streams[edges[1]:, 0]) - 1.0)}


# -- where it came from -----------------------------------------------------------------------------------------------


def by_year(result: Result) -> list[Row]:
    """Return of each calendar year (UTC) that the window touches."""
    days, equity = result.daily
    years = (days * DAY_MS).astype("datetime64[ms]").astype("datetime64[Y]").astype(int) + 1970
    rows, before = [], result.capital
    for year in np.unique(years):
        last = float(equity[years == year][-1])
        rows.append({"year": int(year), "days": int((years == year).sum()), "return": last / before - 1.0 if before > 0 else None})
        before = last
    return rows


def by_month(result: Result) -> list[Row]:
    """Return of each calendar month."""
    days, equity = result.daily
    months = (days * DAY_MS).astype("datetime64[ms]").astype("datetime64[M]")
    rows, before = [], result.capital
    for month in np.unique(months):
        last = float(equity[months == month][-1])
        rows.append({"month": str(month), "return": last / before - 1.0 if before > 0 else None})
        before = last
    return rows


def by_symbol(result: Result) -> list[Row]:
    """Profit of each symbol, so that one coin cannot hide behind the others; what is still open counts in the profit alone."""
    symbol, pnl, ended = result.table.wholes[:, 0], result.table.floats[:, 3], closed(result)
    return [{"symbol": name, "trades": int((ended & (symbol == k)).sum()), "pnl": math.fsum(pnl[symbol == k]),
             "win_rate": _won(pnl[ended & (symbol == k)])} for k, name in enumerate(result.symbols)]


def by_reason(result: Result) -> list[Row]:
    """How positions ended."""
    reason, pnl = result.table.wholes[:, 4], result.table.floats[:, 3]
    return [{"reason": Reason(int(r)).name.lower(), "trades": int((reason == r).sum()), "pnl": math.fsum(pnl[reason == r])}
            for r in np.unique(reason)]


def regimes(material: Material, result: Result) -> list[Row]:
    """Trades by what was known when they were entered: the leader's 90-day return (bull above +20 %, bear below -20 %) and whether its
    20-day volatility was above its median of the year before. Below 20 ended trades "too few"; open ones count in the profit alone."""
    close_time, close = material.leader_daily
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = np.full(len(close), np.nan)
        growth[REGIME_DAYS:] = close[REGIME_DAYS:] / close[:-REGIME_DAYS] - 1.0
    step = np.concatenate(([np.nan], np.diff(np.log(close))))
    spread = np.array([np.std(step[max(0, t - 19):t + 1]) if t >= 20 else np.nan for t in range(len(step))])
    usual = np.array([np.nanmedian(spread[max(0, t - 364):t + 1]) if t >= 60 else np.nan for t in range(len(spread))])
    entry = result.table.wholes[:, 2]
    at = np.searchsorted(close_time, entry, side="right") - 1
    known = at >= 0
    at = np.maximum(at, 0)
    trend = np.where(~known | ~np.isfinite(growth[at]), "unknown",
                     np.where(growth[at] > BULL, "bull", np.where(growth[at] < -BULL, "bear", "sideways")))
    loud = np.where(~known | ~np.isfinite(usual[at]), "", np.where(spread[at] > usual[at], ", volatile", ", calm"))
    label = np.array([t + v for t, v in zip(trend.tolist(), loud.tolist(), strict=True)])
    pnl, ended = result.table.floats[:, 3], closed(result)
    rows = []
    for name in sorted(set(label.tolist())):
        own = label == name
        trades = int((own & ended).sum())
        rows.append({"regime": name, "trades": trades, "pnl": math.fsum(pnl[own]), "win_rate": _won(pnl[own & ended]),
                     "words": "too few" if trades < FEWEST_IN_GROUP else ""})
    return rows


# -- beside it --------------------------------------------------------------------------------------------------------


def baselines(material: Material, plan: Plan, result: Result) -> list[Row]:
    """Buy and hold of equal parts, the same held at the strategy's own volatility, and an EMA 12/26 cross by the same rules."""
    level = np.concatenate(([1.0], result.benchmark[plan.last_of_day]))
    held = level[1:] / level[:-1] - 1.0
    mine = result.metrics["volatility"] or math.nan
    spread = np.array([np.std(held[max(0, t - 20):t]) if t >= 10 else np.nan for t in range(len(held))]) * math.sqrt(365.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = np.where(spread > 0, np.minimum(1.0, mine / spread), np.nan)
    weight = np.where(np.isfinite(weight), weight, 0.0)
    rows = [_stream("buy and hold", held), _stream("buy and hold at the strategy's volatility", weight * held)]
    if material.question.choice is None or material.question.choice.name != "ema_cross":
        cross = run(dataclasses.replace(plan, tables=_tables(plan, _crosses(material))))
        rows.append(_stream("EMA 12/26 cross, same costs and risk", cross.daily_returns))
    return rows


def _crosses(material: Material) -> list[Signals]:
    from core.strategies import signals_of

    return [signals_of(Choice("ema_cross"), s, material.question.market, c, None) for s, c in material.candles.items()]


def _stream(name: str, returns: np.ndarray) -> Row:
    level = np.concatenate(([1.0], np.cumprod(1.0 + returns)))
    return {"name": name, "total_return": float(level[-1] - 1.0), "sharpe": number(performance.sharpe(returns)),
            "volatility": number(performance.volatility(returns)), "max_drawdown": performance.max_drawdown(level)}


def null_worlds(material: Material, plan: Plan, result: Result, *, worlds: int, tell: Callable[[str], None],
                series: Callable[[Mapping[str, Candles], Choice], list[Signals] | None]) -> Row | None:
    """The whole rule on histories whose returns have their signs redrawn (X2): what a world without an edge gives.

    A redrawn history has candles alone: no funding is paid in it, and no finer bars show which of stop and target came first. `series`
    makes the rule's tables from candles; a rule that reads more than they give has no such worlds, and the answer is None.
    """
    choice = material.question.choice
    if choice is None or worlds < 1:
        return None
    totals = []
    for seed in range(1, worlds + 1):
        tell(f"World without an edge {seed} of {worlds}")
        drawn = mirrored(material.own, seed)
        tables = series(drawn, choice)
        if tables is None:
            return None
        grid, _ = common(drawn)
        made = build(plan.config, grid, [cut(t, drawn[t.symbol], grid[t.symbol]) for t in tables])
        totals.append(float(run(made).equity[-1] / plan.config.capital - 1.0))
    drawn_totals, mine = np.array(totals), float(result.equity[-1] / result.capital - 1.0)
    gains = int((drawn_totals > 0).sum())
    low, high = clopper_pearson(gains, worlds)
    return {"worlds": worlds, "profitable": gains, "low": low, "high": high, "percentile": float((drawn_totals < mine).mean()),
            "median": float(np.median(drawn_totals)), "totals": sorted(totals),
            "words": f"Where there is no edge it earns something {gains / worlds:.0%} of the time ({gains} of {worlds} worlds, 95 % "
                     f"interval {low:.0%} to {high:.0%}); your result stands at percentile "
                     f"{100 * float((drawn_totals < mine).mean()):.0f}. These worlds have no funding and no finer bars."}
