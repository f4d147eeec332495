"""What must hold on every path: the books balance at every bar, holding is the asset, chance loses its costs, nonsense is refused."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

from core.backtest import engine
from core.backtest.engine import Variant, sweep
from core.backtest.kernel import simulate
from core.backtest.plan import Config, Funding, build
from core.backtest.reference import Reference
from core.backtest.signals import Signals
from core.risk.limits import RiskLimits
from core.trading.contracts import Contract
from data.errors import CandleGapError, InputError
from data.frames import Candles
from data.market import Costs, Interval, Market
from tests.backtest_worlds import bars, path, world
from tests.made_candles import JAN_2024, made

S = "AAAUSDT"


def books_balance(seed, *, which):
    """Identity at every bar, limits at every fill, profits that add up: from a run watched from outside."""
    plan = world(seed, n=160).plan()
    result = engine.run(plan, engine=which)
    assert np.isfinite(result.equity).all()
    profit = math.fsum(t.pnl for t in result.trades)
    scale = max(1.0, abs(result.equity).max() / plan.config.capital)
    assert result.equity[-1] - plan.config.capital == pytest.approx(profit, rel=0, abs=1e-8 * scale), seed
    flat = result.gross == 0.0
    np.testing.assert_allclose(result.equity[flat], result.cash[flat], rtol=0, atol=1e-8)
    for t in result.trades:
        assert t.exit_time >= t.entry_time >= plan.open_time[1]
        assert t.quantity > 0 and t.entry_price > 0 and t.slippage >= -1e-9
        assert t.optimistic_pnl >= t.pnl - 1e-9
        step = plan.contracts[plan.symbols.index(t.symbol)].steps_per_unit
        assert step == 0.0 or abs(t.quantity * step - round(t.quantity * step)) < 1e-6


class Watched(Reference):
    """The reference engine, checking its account at every close; `closes` are the bars at which it did."""

    def __init__(self, plan):
        super().__init__(plan)
        self.closes = []

    def _close(self, b):
        super()._close(b)
        self.closes.append(b)
        account, plan = self.account, self.plan
        worth = account.cash
        for position in account.positions.values():
            mark = plan.close[plan.symbols.index(position.symbol), b]
            worth += position.quantity * (mark if self.spot else position.side * (mark - position.entry))
        assert worth == pytest.approx(self.equity[b], rel=0, abs=1e-8)
        spent = sum(p.fees - p.funding for p in account.positions.values()) + sum(t.fees - t.funding for t in self.trades)
        moved = sum(p.side * (p.exit_sum - p.entry_sum + p.quantity * self.marks[p.symbol]) for p in account.positions.values())
        moved += sum(t.pnl + t.fees - t.funding for t in self.trades)
        assert self.config.capital + moved - spent == pytest.approx(self.equity[b], rel=1e-12, abs=1e-8)
        assert len(account.positions) <= self.limits.max_positions
        assert not (self.spot and account.cash < -1e-8)


def watched(seed):
    """A path through the reference engine that was looked at on every bar of the plan."""
    engine = Watched(world(seed, n=160).plan())
    engine.run()
    assert engine.closes == list(range(len(engine.plan.open_time))), seed


def test_books_balance_on_500_random_paths(seed):
    simulate.compile()
    for k in range(500):
        if k % 10:
            books_balance(seed + 50_000 + k, which="compiled")
        else:
            watched(seed + 50_000 + k)


@pytest.mark.long
def test_books_balance_on_10000_random_paths(seed):
    for k in range(10_000):
        if k % 10:
            books_balance(seed + 100_000 + k, which="compiled")
        else:
            watched(seed + 100_000 + k)


def unlimited(**changes):
    return Config(**({"costs": Costs.none(), "limits": RiskLimits.none(), "sizing": "fraction", "size": 1.0, "rounding": False} | changes))


def traded(candles, action, config, **signals):
    return engine.run(build(config, {S: candles}, [Signals(S, action, **signals)], contracts={S: Contract.unrounded(S, config.market)}))


def test_buy_and_hold_at_zero_cost_is_the_asset():
    """In at the open of bar 1, held: equity over capital is close over that open, to 1e-10."""
    candles = made(2_000)
    action = np.zeros(2_000, np.int8)
    action[0] = 1
    result = traded(candles, action, unlimited())
    np.testing.assert_allclose(result.equity[1:] / 10_000, candles.close[1:] / candles.open[1], rtol=0, atol=1e-10)


def test_random_entries_lose_exactly_their_costs_in_mean():
    """On a driftless walk the mean of a trade before costs is 0 and after costs minus them, within two standard errors; 6,000 trades."""
    before, after, costs = [], [], []
    for k in range(12):
        rng = np.random.Generator(np.random.PCG64(900 + k))
        price = 100 * np.exp(np.cumsum(rng.normal(0, 0.004, 5_000) - 0.5 * 0.004**2))
        opened = np.concatenate(([100.0], price[:-1]))
        candles = Candles.from_columns(Interval.H1, {
            "open_time": JAN_2024 + np.arange(5_000) * Interval.H1.ms, "open": opened, "high": np.maximum(opened, price),
            "low": np.minimum(opened, price), "close": price, "volume": np.full(5_000, 1e9)})
        action = rng.choice([0, 0, 0, 1, -1, 3], 5_000).astype(np.int8)
        result = traded(candles, action, unlimited(market="perp", costs=Costs(slippage_bps=3.0), sizing="units", size=1.0, capital=1e6))
        done = [t for t in result.trades if not t.open]
        before += [t.pnl + t.fees + t.slippage for t in done]
        after += [t.pnl for t in done]
        costs += [t.fees + t.slippage for t in done]
    error = np.std(before, ddof=1) / math.sqrt(len(before))
    assert len(before) > 6_000
    assert abs(np.mean(before)) < 2 * error
    assert abs(np.mean(after) + np.mean(costs)) < 2 * error
    assert np.mean(costs) == pytest.approx(2 * 100 * 13e-4, rel=0.3)


def test_more_cost_never_helps_on_fixed_trades():
    """The fee and spread rungs of the cost ladder: fixed units and no limits, so the same trades at every rung."""
    candles = path(np.random.Generator(np.random.PCG64(5)), 800, interval=Interval.H1)
    action = np.random.Generator(np.random.PCG64(6)).choice([0, 0, 1, -1, 3], 800).astype(np.int8)
    rungs = [Costs.none(), Costs(slippage_bps=0.0), Costs(), Costs(slippage_bps=20.0)]
    equity = [traded(candles, action, unlimited(market="perp", sizing="units", size=1.0, costs=c)).equity for c in rungs]
    for better, worse in itertools.pairwise(equity):
        assert (worse <= better + 1e-9).all()


def test_future_bars_change_nothing_before_them():
    """Cut and poisoned after bar 150: equity, trades and refusals up to there stay bit for bit."""
    whole = world(77)
    long = engine.run(whole.plan(), engine="reference")
    cut = {s: c.take(slice(0, 151)) for s, c in whole.candles.items()}
    tables = [dataclasses.replace(t, **{n: getattr(t, n)[:151] for n in ("action", "stop", "target", "trail", "limit", "strength", "veto")
                                        if isinstance(getattr(t, n), np.ndarray)}) for t in whole.signals]
    short = engine.run(build(whole.config, cut, tables, **whole.more), engine="reference")
    assert long.equity[:151].tobytes() == short.equity.tobytes()
    done = [repr(t) for t in short.trades if not t.open]
    assert done == [repr(t) for t in long.trades][: len(done)]


def test_sweep_equals_single_runs():
    """A thousand sets share one pass over the candles; here twelve, each equal to its own full run."""
    candles = path(np.random.Generator(np.random.PCG64(8)), 1_500, interval=Interval.H1)
    action = np.random.Generator(np.random.PCG64(9)).choice([0] * 8 + [1, 3], 1_500).astype(np.int8)
    config = Config(distances="fraction")
    plan = build(config, {S: candles}, [Signals(S, action, stop=0.01, target=0.02)])
    variants = [Variant(f"{a}/{b}", {"stop_multiple": a, "target_multiple": b}) for a in (0.5, 1.0, 2.0, 4.0) for b in (0.5, 1.0, 2.0)]
    found = sweep(plan, variants, threads=2)
    for k, variant in enumerate(variants):
        changed = dataclasses.replace(config, **variant.changes)
        single = engine.run(build(changed, {S: candles}, [Signals(S, action, stop=0.01, target=0.02)]))
        closed = sum(not t.open for t in single.trades)
        assert found["trades"][k] == closed and found["refused"][k] == len(single.refused)
        for name in ("total_return", "sharpe", "sortino", "max_drawdown", "win_rate", "profit_factor", "exposure", "fees"):
            expected = single.metrics[name]
            assert found[name][k] == pytest.approx(math.nan if expected is None else expected, rel=1e-9, abs=1e-9, nan_ok=True), (name, k)
    own = sweep(plan, [Variant("none", {}, lambda: np.zeros(1_500, np.int8)), Variant("same", {}, lambda: action)])
    assert own["trades"][0] == 0 and own["total_return"][0] == 0.0 and math.isnan(own["sharpe"][0])
    assert own["total_return"][1] == found["total_return"][4]


# -- nonsense is refused, by name ---------------------------------------------------------------------------------------

FLAT = (100, 100, 100, 100)
OK = np.zeros(5, np.int8)


def planned(candles=None, signals=None, config=None, **more):
    candles = bars([FLAT] * 5) if candles is None else candles
    return build(config or Config(), {S: candles}, signals if signals is not None else [Signals(S, OK)], **more)


def rows(*items):
    return Signals.from_rows(S, bars([FLAT] * 5), items)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: rows((2, JAN_2024 + 7_200_000, "enter_long"), (3, JAN_2024, "exit_long")), "line 3: .* earlier than the line before"),
    (lambda: rows((2, JAN_2024, "enter_long"), (3, JAN_2024, "exit_long")), "line 3: .* appears twice"),
    (lambda: rows((2, JAN_2024 - 3_600_000, "enter_long")), "line 2: .* lies outside the candles"),
    (lambda: rows((2, JAN_2024 + 60_000, "enter_long")), "line 2: .* interval mismatch"),
    (lambda: rows((2, JAN_2024, "buy")), "line 2: expected action enter_long"),
    (lambda: Costs(taker_bps=-1.0), "costs.taker_bps: expected 0 to 1000"),
    (lambda: Costs(slippage_bps=float("nan")), "costs.slippage_bps"),
    (lambda: planned(signals=[Signals(S, OK, stop=-1.0)]), "stop: .*wrong side of the entry"),
    (lambda: planned(signals=[Signals(S, OK, target=np.array([1, 1, 0.0, 1, 1]))]), r"target: .* bar 2 \(2024-01-01T02:00.*wrong side"),
    (lambda: Config(capital=0.0), "capital: expected a sum above zero"),
    (lambda: Config(size=0.0), "size: expected above 0"),
    (lambda: Config(leverage=0.5), "leverage: expected 1 to 125"),
    (lambda: Config(max_bars=0), "max_bars: expected at least 1"),
    (lambda: Config(distances="percent"), "distances: expected quote or fraction or price"),
    (lambda: RiskLimits(break_sigmas=None, break_stop_atr=1.5), "break_stop_atr: .*break_sigmas is off"),
    (lambda: planned(config=Config(distances="price"), signals=[Signals(S, np.array([0, 0, 1, 0, 0], np.int8), stop=100.0)]),
     r"stop: 100 is on the wrong side of a long entry decided at 100; expected a price below it \(bar 2"),
    (lambda: planned(config=Config(distances="price", market=Market.PERP),
                     signals=[Signals(S, np.array([0, -1, 0, 0, 0], np.int8), target=101.0)]),
     "target: 101 is on the wrong side of a short entry decided at 100; expected a price below it"),
    (lambda: RiskLimits(position_cap=-0.1), "limits.position_cap"),
    (lambda: RiskLimits(daily_loss=3.0), "limits.daily_loss: expected 0 to 1"),
    (lambda: planned(signals=[Signals(S, np.array([0, -1, 0, 0, 0], np.int8))]), "enter_short at bar 1 .* on spot"),
    (lambda: planned(signals=[Signals(S, np.zeros(4, np.int8))]), "4 rows for 5 candles"),
    (lambda: Signals(S, np.array([0, 7])), "expected one Action a bar"),
    (lambda: planned(candles=bars([FLAT] * 5, volume=0.0)), "zero volume in every bar"),
    (lambda: planned(candles=bars([FLAT])), "1 bars; a backtest needs at least 2"),
    (lambda: planned(signals=[Signals("ZZZUSDT", OK)]), "ZZZUSDT has no candles"),
    (lambda: planned(signals=[Signals(S, OK), Signals(S, OK)]), "two tables of strategy 'signals'"),
    (lambda: planned(funding={S: Funding(np.array([1]), np.array([0.1]))}), "belong to perpetuals"),
    (lambda: planned(fine={S: bars([FLAT] * 5, interval=Interval.H4)}), "fine: interval mismatch"),
    (lambda: planned(config=Config(market=Market.PERP), marks={S: bars([FLAT] * 5, interval=Interval.H4)}), "marks: interval mismatch"),
    (lambda: planned(config=Config(market=Market.PERP), funding={S: Funding(np.array([2, 1]), np.array([0.1, 0.1]))}), "times ascending"),
    (lambda: build(Config(), {S: bars([FLAT] * 5), "BBBUSDT": bars([FLAT] * 5, interval=Interval.H4)}, []), "one account trades one grid"),
    (lambda: build(Config(), {S: bars([FLAT] * 5), "BBBUSDT": bars([FLAT] * 4)}, []), "do not have the same bars"),
    (lambda: build(Config(), {}, []), "expected at least one symbol"),
    (lambda: engine.run(planned(), engine="fast"), "expected auto, reference or compiled"),
    (lambda: sweep(planned(), [Variant("x", {"market": "perp"})]), "sweep: market is part of the plan"),
    (lambda: sweep(planned(), [Variant("x", {"costs": Costs(impact=3.0)})]), "sweep: slippage is laid out in the plan"),
    (lambda: sweep(planned(), [Variant("x", {"costs": Costs(extra_bps=9.0)})]), "sweep: slippage is laid out in the plan"),
    (lambda: sweep(planned(), [Variant("x", {"limits": RiskLimits(tail_es=0.01)})]), "sweep: runs without portfolio VaR"),
])
def test_bad_input_is_refused_with_a_message_that_names_it(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_whose_funding_it_was_is_part_of_the_run_id():
    candles = {name: bars([FLAT] * 9) for name in ("AAAUSDT", "BBBUSDT")}
    funding = Funding(candles[S].open_time[4:5], np.array([0.01]))
    ran = [engine.run(build(Config(market=Market.PERP, limits=RiskLimits.none(), sizing="fraction", size=0.5), candles,
                            [Signals(S, np.array([1] + [0] * 8))], funding={name: funding})) for name in candles]
    assert ran[0].equity[-1] != ran[1].equity[-1] and ran[0].run_id != ran[1].run_id


def test_holes_are_refused_with_what_to_do():
    with pytest.raises(CandleGapError, match=r"AAAUSDT 1h has 1 missing bars from 2024-01-01T02:00.*core backfill AAAUSDT 1h"):
        planned(candles=bars([FLAT] * 5).take(np.array([0, 1, 3, 4])), signals=[])
