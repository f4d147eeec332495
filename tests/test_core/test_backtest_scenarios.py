"""One literal scenario for each rule of methods.md 7.1, exact to 1e-9; the hand arithmetic is in each docstring. Both engines run each."""

from __future__ import annotations

import math

import numpy as np
import pytest

from core.backtest import engine
from core.backtest.plan import Config, Funding, build
from core.backtest.result import Reason
from core.backtest.signals import Signals
from core.risk.limits import Refusal, RiskLimits
from core.trading.contracts import Contract
from data.frames import Candles
from data.indicators.ranges import atr
from data.market import DAY_MS, HOUR_MS, MINUTE_MS, Costs, Interval, Market
from tests.backtest_worlds import bars
from tests.made_candles import JAN_2024

S = "AAAUSDT"
FLAT = (100, 100, 100, 100)


def near(value):
    return pytest.approx(value, rel=0, abs=1e-9)


def played(rows, actions, *, costs=None, market="spot", size=10.0, limits=None, signals=None, contract=None, interval=Interval.H1,
           volume=1e9, more=None, **config):
    """The scenario in both engines, which must agree; 10 units an entry, no costs and no limits unless said."""
    candles = bars(rows, interval=interval, volume=volume)
    action = np.zeros(len(rows), np.int8)
    for row, what in actions.items():
        action[row] = what
    settings = Config(market=market, costs=costs or Costs.none(), sizing=config.pop("sizing", "units"), size=size,
                      limits=limits or RiskLimits.none(), **config)
    held = contract or Contract(S, Market(market), 0.01, 0.001, 0.0)
    plan = build(settings, {S: candles}, [Signals(S, action, **(signals or {}))], contracts={S: held}, **(more or {}))
    slow, fast = engine.run(plan, engine="reference"), engine.run(plan, engine="compiled")
    assert repr(slow.trades) == repr(fast.trades)
    np.testing.assert_allclose(slow.equity, fast.equity, rtol=0, atol=1e-9)
    assert [r.code for r in slow.refused] == [r.code for r in fast.refused]
    return slow


def only(result):
    assert len(result.trades) == 1
    return result.trades[0]


def test_market_order_fills_at_the_next_open_with_slippage_and_taker_fee():
    """Decided at the close of bar 0, filled at the open of bar 1: 100 x 1.0002 = 100.02, fee 10 x 100.02 x 0.001 = 1.0002.
    Out at the open of bar 3: 110 x 0.9998 = 109.978, floor to the tick 109.97, fee 1.0997.
    Profit 10 x (109.97 - 100.02) - 1.0002 - 1.0997 = 97.4001; slippage 10 x (0.02 + 0.03) = 0.5."""
    result = played([FLAT, (100, 101, 99, 100), FLAT, (110, 110, 110, 110)], {0: 1, 2: 3}, costs=Costs())
    trade = only(result)
    assert (trade.entry_price, trade.exit_price) == (100.02, 109.97)
    assert (trade.entry_time, trade.exit_time) == (JAN_2024 + HOUR_MS, JAN_2024 + 3 * HOUR_MS)
    assert trade.pnl == near(97.4001) and trade.fees == near(2.0999) and trade.slippage == near(0.5)
    assert result.equity[-1] == near(10_097.4001) and trade.reason is Reason.SIGNAL
    assert result.equity[1] == near(10_000 - 1000.2 - 1.0002 + 1000.0)


def test_signal_on_the_last_bar_is_never_filled():
    """There is no next open: no trade, equity stays 10000."""
    result = played([FLAT, FLAT], {1: 1})
    assert not result.trades and result.equity[-1] == 10_000.0


def test_stop_touched_inside_a_bar_fills_at_the_stop():
    """In at 100.02, stop 2 below the fill: 98.02. Bar 2 trades 99 down to 97: filled at 98.02 x 0.9998 = 98.000396, floor 98.00; fees of
    10 bp: 10 x (98.00 - 100.02) - 1.0002 - 0.98 = -22.1802."""
    trade = only(played([FLAT, FLAT, (99, 99, 97, 98.5), FLAT], {0: 1}, costs=Costs(), signals={"stop": 2.0}))
    assert trade.reason is Reason.STOP and trade.exit_price == 98.0
    assert trade.pnl == near(-22.1802)
    assert trade.exit_time == JAN_2024 + 3 * HOUR_MS - 1


def test_stop_gapped_through_fills_at_open():
    """Stop 98, bar 2 opens at 95: filled at 95. Profit 10 x (95 - 100) = -50."""
    trade = only(played([FLAT, FLAT, (95, 96, 94, 95), FLAT], {0: 1}, signals={"stop": 2.0}))
    assert trade.exit_price == 95.0 and trade.pnl == near(-50.0)


def test_short_stop_gapped_through_fills_at_open():
    """Short from 100, stop 102, bar 2 opens at 105: bought back at 105. Profit 10 x (100 - 105) = -50."""
    trade = only(played([FLAT, FLAT, (105, 106, 104, 105), FLAT], {0: -1}, market="perp", signals={"stop": 2.0}))
    assert trade.exit_price == 105.0 and trade.pnl == near(-50.0) and trade.side == -1


def test_target_fills_exactly_at_the_target_as_maker():
    """Target 100 + 3 = 103, bar 2 reaches 106: filled at exactly 103 without slippage, maker fee 2 bp.
    Perp: entry 100.02 rounded from 100 x 1.0002, target 103.02; profit 10 x 3 - 10 x 100.02 x 0.0005 - 10 x 103.02 x 0.0002
    = 30 - 0.5001 - 0.20604 = 29.29386."""
    trade = only(played([FLAT, FLAT, (101, 106, 100.5, 105), FLAT], {0: 1}, market="perp", costs=Costs.of(Market.PERP),
                        signals={"target": 3.0}))
    assert trade.reason is Reason.TARGET and trade.exit_price == 103.02 and trade.pnl == near(29.29386)


def test_target_gapped_through_fills_at_open():
    """Target 103, bar 2 opens at 107: a resting order there is filled at 107 (decisions.md 22). Profit 70."""
    trade = only(played([FLAT, FLAT, (107, 108, 90, 95), FLAT], {0: 1}, signals={"target": 3.0, "stop": 2.0}))
    assert trade.reason is Reason.TARGET and trade.exit_price == 107.0 and trade.pnl == near(70.0) and not trade.ambiguous


def test_stop_and_target_in_one_bar_is_the_stop_and_the_band_says_what_hangs_on_it():
    """Stop 98 and target 103 both lie in bar 2 (97 .. 104): -20, flagged; the target would have given +30."""
    result = played([FLAT, FLAT, (100, 104, 97, 101), FLAT], {0: 1}, signals={"stop": 2.0, "target": 3.0})
    trade = only(result)
    assert trade.reason is Reason.STOP and trade.pnl == near(-20.0)
    assert trade.ambiguous and trade.optimistic_pnl == near(30.0)
    assert result.ambiguity == {"trades": 1, "share": 1.0, "pessimistic": near(-20.0), "optimistic": near(30.0)}


def test_optimistic_end_of_the_band_takes_the_target():
    """The same bar with `optimistic`: +30."""
    trade = only(played([FLAT, FLAT, (100, 104, 97, 101), FLAT], {0: 1}, signals={"stop": 2.0, "target": 3.0}, optimistic=True))
    assert trade.reason is Reason.TARGET and trade.pnl == near(30.0)


def quarters(rows, start):
    return bars(rows, interval=Interval.M15, start=start)


@pytest.mark.parametrize(("inner", "reason", "profit", "ambiguous"), [
    ([(100, 104, 100, 103.5), (103.5, 104, 102, 102), (102, 102, 97, 98), (98, 101, 98, 101)], Reason.TARGET, 30.0, False),
    ([(100, 101, 97, 98), (98, 104, 98, 103), (103, 103, 101, 101), (101, 101, 101, 101)], Reason.STOP, -20.0, False),
    ([(100, 104, 97, 98), (98, 99, 98, 99), (99, 101, 99, 101), (101, 101, 101, 101)], Reason.STOP, -20.0, True),
])
def test_finer_bars_decide_an_ambiguous_bar(inner, reason, profit, ambiguous):
    """Bar 2 is 100/104/97/101. Its quarters reach 104 first, or 97 first, or both in the first one, where it stays a tie: stop."""
    fine = {S: quarters(inner, JAN_2024 + 2 * HOUR_MS)}
    trade = only(played([FLAT, FLAT, (100, 104, 97, 101), FLAT], {0: 1}, signals={"stop": 2.0, "target": 3.0}, more={"fine": fine}))
    assert trade.reason is reason and trade.pnl == near(profit) and trade.ambiguous is ambiguous
    assert trade.exit_time == JAN_2024 + 2 * HOUR_MS + 15 * MINUTE_MS - 1


def test_finer_bars_that_contradict_the_bar_are_not_used():
    """Quarters whose high is 105 cannot be those of a bar with high 104: the bar alone decides, -20 and ambiguous."""
    fine = {S: quarters([(100, 105, 100, 104), (104, 104, 97, 98), (98, 99, 98, 99), (99, 101, 99, 101)], JAN_2024 + 2 * HOUR_MS)}
    trade = only(played([FLAT, FLAT, (100, 104, 97, 101), FLAT], {0: 1}, signals={"stop": 2.0, "target": 3.0}, more={"fine": fine}))
    assert trade.ambiguous and trade.pnl == near(-20.0)


def test_exits_are_active_from_the_entry_bar():
    """In at the open of bar 1 (100), which falls to 97: out at 98 in the same bar, -20."""
    trade = only(played([FLAT, (100, 101, 97, 99), FLAT], {0: 1}, signals={"stop": 2.0}))
    assert (trade.entry_bar, trade.exit_bar) == (1, 1) and trade.pnl == near(-20.0)


def test_trailing_stop_uses_extremes_up_to_the_bar_before():
    """Trail 3. Bar 1 high 105: from its close on the stop is 102. Bar 2 reaches 110 and falls to 103: in bar 2 the stop is still 102 and
    not 107, so it stays; at its close it becomes 107. Bar 3 opens at 108 and touches 106: out at 107, profit 70."""
    trade = only(played([FLAT, (100, 105, 99, 104), (104, 110, 103, 109), (108, 108, 106, 107), FLAT], {0: 1}, signals={"trail": 3.0}))
    assert trade.reason is Reason.TRAILING and trade.exit_bar == 3 and trade.exit_price == 107.0 and trade.pnl == near(70.0)


def test_trailing_distance_of_a_later_close_replaces_the_one_before():
    """Trail 5 at the entry: bar 1 high 105, stop 100. At bar 2's close the column says 2: highest 110, stop 108. At bar 3's close it says
    9: 111 - 9 = 102 would loosen, so 108 stays; bar 4 touches 107: out at 108, +80. The column is empty in between."""
    rows = [FLAT, (100, 105, 100, 104), (104, 110, 104, 109), (109, 111, 108.5, 110), (110, 110, 107, 108), FLAT]
    trail = np.array([5.0, np.nan, 2.0, 9.0, np.nan, np.nan])
    trade = only(played(rows, {0: 1}, signals={"trail": trail}))
    assert trade.reason is Reason.TRAILING and (trade.exit_bar, trade.exit_price) == (4, 108.0) and trade.pnl == near(80.0)


def test_trailing_stop_may_begin_after_the_entry():
    """Stop 97, no trail until bar 2's close says 1: highest so far 106, stop 105. Bar 3 opens at 104: out there, +40. As shares of the
    fill's price (100) the same: 3 % and 1 %."""
    rows = [FLAT, (100, 106, 99, 105), (105, 105.5, 104, 105.2), (104, 104, 104, 104), FLAT]
    for distances, unit in (("quote", 1.0), ("fraction", 0.01)):
        trail = np.array([np.nan, np.nan, 1.0, np.nan, np.nan]) * unit
        trade = only(played(rows, {0: 1}, signals={"stop": 3.0 * unit, "trail": trail}, distances=distances))
        assert trade.reason is Reason.TRAILING and trade.exit_price == 104.0 and trade.pnl == near(40.0) and trade.risk == near(30.0)


def test_stop_and_target_as_prices_stand_where_they_are_whatever_the_fill():
    """Decided at 100 with stop 97.5 and target 104, filled at the open of 101: the stop is 97.5 and not 98.5. Bar 2 falls to 98 and holds;
    bar 3 rises to 104: +30. Planned loss 10 x 3.5 = 35. A short: stop 103, target 96, filled at 99, bar 2 rises to 103: -40."""
    rows = [FLAT, (101, 101, 99, 100), (100, 101, 98, 100), (100, 104, 99, 103), FLAT]
    trade = only(played(rows, {0: 1}, signals={"stop": 97.5, "target": 104.0}, distances="price"))
    assert trade.reason is Reason.TARGET and trade.exit_price == 104.0 and trade.pnl == near(30.0) and trade.risk == near(35.0)
    rows = [FLAT, (99, 100, 98, 99), (99, 103, 98, 100), FLAT]
    trade = only(played(rows, {0: -1}, market="perp", signals={"stop": 103.0, "target": 96.0}, distances="price"))
    assert trade.reason is Reason.STOP and trade.exit_price == 103.0 and trade.pnl == near(-40.0)


def test_risk_is_sized_to_a_stop_price():
    """1 % of 10000 at a fill of 101 with the stop at 97: 100 / 4 = 25 units; stopped out in bar 2: -100."""
    rows = [FLAT, (101, 101, 99, 100), (100, 100, 96, 98), FLAT]
    trade = only(played(rows, {0: 1}, sizing="risk", size=0.01, signals={"stop": 97.0}, distances="price"))
    assert trade.quantity == near(25.0) and trade.pnl == near(-100.0)


def test_entry_that_opens_beyond_its_stop_price_is_not_made():
    """Decided at 100, stop 97; the next open is 96. And with the target 104 and an open of 104: refused too."""
    for rows in ([FLAT, (96, 97, 95, 96), FLAT], [FLAT, (104, 105, 103, 104), FLAT]):
        result = played(rows, {0: 1}, signals={"stop": 97.0, "target": 104.0}, distances="price")
        assert not result.trades and [r.code for r in result.refused] == [Refusal.BEYOND_LEVEL]
        assert "already beyond the stop or the target" in result.refused[0].words


def test_volatility_break_tightens_an_open_stop_and_never_loosens_it():
    """250 quiet bars (100, closing alternately at 100.1 and 99.9, ranges of 2 around): ATR near 2. Long at bar 245 with the stop 10 below.
    Bar 248 closes at 105, a jump: the stop moves to 105 - 1.5 ATR, floored to the tick, and bar 249 touches it. With the option off it
    stays; with a stop already nearer than that nothing moves."""
    rows = [(100.0, 101.0, 99.0, 100.1 if k % 2 else 99.9) for k in range(252)]
    rows[248] = (100.0, 105.5, 99.9, 105.0)
    rows[249] = (105.0, 105.2, 100.5, 101.0)
    held = atr(bars(rows))[248]
    assert 2.0 < held < 2.5
    on = RiskLimits(**(RiskLimits.none().__dict__ | {"break_sigmas": 4.0, "break_stop_atr": 1.5}))
    trade = only(played(rows, {244: 1}, signals={"stop": 10.0}, limits=on))
    level = math.floor((105.0 - 1.5 * held) * 100) / 100
    assert trade.reason is Reason.STOP and trade.exit_bar == 249 and trade.exit_price == level
    assert trade.pnl == near(10 * (level - 100.0)) and trade.risk == near(100.0)
    off = RiskLimits(**(RiskLimits.none().__dict__ | {"break_sigmas": 4.0}))
    assert only(played(rows, {244: 1}, signals={"stop": 10.0}, limits=off)).reason is Reason.END
    trail = np.where(np.arange(252) < 248, np.nan, 2.0)
    nearer = only(played(rows, {244: 1}, signals={"stop": 10.0, "trail": trail}, limits=on))
    assert nearer.reason is Reason.TRAILING and nearer.exit_price == 103.5  # 105.5 - 2 is nearer than 105 - 1.5 ATR
    assert only(played(rows, {244: 1}, limits=on)).reason is Reason.END  # without a stop there is none to tighten


def test_limit_entry_fills_only_when_traded_through():
    """Limit 98: bar 1 touches 98 exactly, not filled; bar 2 trades 97.99: filled at 98, maker fee 2 bp. Marked at 100 at the end:
    10 x 2 - 10 x 98 x 0.0002 = 19.804."""
    rows = [FLAT, (100, 100, 98, 99), (99, 99, 97.99, 99), FLAT]
    trade = only(played(rows, {0: 1}, market="perp", costs=Costs.of(Market.PERP), signals={"limit": np.full(4, 98.0)}))
    assert trade.entry_bar == 2 and trade.entry_price == 98.0 and trade.reason is Reason.END and trade.pnl == near(19.804)


def test_limit_gapped_through_fills_at_open():
    """Limit 98, bar 1 opens at 96: bought at 96. Marked at 100: +40."""
    trade = only(played([FLAT, (96, 97, 95, 96), FLAT], {0: 1}, signals={"limit": np.full(3, 98.0)}))
    assert trade.entry_price == 96.0 and trade.pnl == near(40.0)


def test_limit_entry_is_tested_against_its_stop_but_not_its_target_in_the_same_bar():
    """Limit 98, stop 1 below at 97, target 1 above at 99. Bar 1 (100/100/96.5/98) trades through 98 and 97: out at 97, -10, not
    ambiguous. With a low of 97.5 the stop is not reached, and the high of 100 was before the entry: still open."""
    limit = {"limit": np.full(3, 98.0), "stop": 1.0, "target": 1.0}
    trade = only(played([FLAT, (100, 100, 96.5, 98), (98, 98, 98, 98)], {0: 1}, signals=limit))
    assert trade.reason is Reason.STOP and trade.exit_price == 97.0 and trade.pnl == near(-10.0) and not trade.ambiguous
    trade = only(played([FLAT, (100, 100, 97.5, 98), (98, 98, 98, 98)], {0: 1}, signals=limit))
    assert trade.reason is Reason.END and trade.pnl == near(0.0)


def test_limit_that_is_not_reached_expires():
    """Carried 3 bars after its first, then cancelled: bars 1 to 4 stay above 98, bar 5 would have filled it."""
    result = played([FLAT] * 5 + [(97, 97, 97, 97), FLAT], {0: 1}, signals={"limit": np.full(7, 98.0)})
    assert not result.trades and [r.code for r in result.refused] == [Refusal.NOT_FILLED] and "not filled within 4 bars" in \
        result.refused[0].words


def test_participation_cap_fills_in_parts_and_gives_up_after_three_more_bars():
    """5 % of a bar's quote volume of 4000 is 200: 2 units of 100 a bar. Of 10 units, bars 1 to 4 fill 8, then the rest is cancelled.
    Marked at 100: profit 0, held 8."""
    limits = RiskLimits(**(RiskLimits.none().__dict__ | {"participation": 0.05}))
    trade = only(played([FLAT] * 8, {0: 1}, limits=limits, volume=40))
    assert trade.quantity == near(8.0) and trade.fills == 4 and trade.reason is Reason.END


def test_rest_of_an_order_is_cancelled_when_the_signal_falls():
    """As above, but out at the close of bar 2: 4 units are held, 2 a bar leave at the opens of bars 3 and 4."""
    limits = RiskLimits(**(RiskLimits.none().__dict__ | {"participation": 0.05}))
    trade = only(played([FLAT] * 8, {0: 1, 2: 3}, limits=limits, volume=40))
    assert trade.quantity == near(4.0) and trade.exit_bar == 4 and trade.fills == 4


def test_stop_is_complete_whatever_the_volume():
    """Participation binds entries and voluntary exits; the stop sells all 8 units in one bar at 98 (impact 0: no costs): -16."""
    limits = RiskLimits(**(RiskLimits.none().__dict__ | {"participation": 0.05}))
    trade = only(played([FLAT] * 6 + [(100, 100, 97, 98), FLAT], {0: 1}, limits=limits, volume=40, signals={"stop": 2.0}))
    assert trade.reason is Reason.STOP and trade.quantity == near(8.0) and trade.exit_bar == 6 and trade.pnl == near(-16.0)


def test_nothing_is_filled_in_a_bar_without_a_trade():
    """Bar 1 has no volume: the entry waits for bar 2, at its open of 101. Marked at 101: 0."""
    trade = only(played([FLAT, (*FLAT, 0.0), (101, 101, 101, 101), (101, 101, 101, 101)], {0: 1}))
    assert trade.entry_bar == 2 and trade.entry_price == 101.0


def test_funding_is_paid_by_positions_held_strictly_before_the_stamp():
    """Short 10 at the open of bar 1. Stamps of 0.1 % at the opens of bars 1, 2 and 3: the first not (not held before it), the second:
    +10 x 100 x 0.001 = +1, the third on a mark of 110: +1.1. Out at the open of bar 3: -10 x 10 = -100. Together -97.9."""
    stamps = Funding(JAN_2024 + np.array([1, 2, 3]) * HOUR_MS, np.full(3, 0.001))
    rows = [FLAT, FLAT, FLAT, (110, 110, 110, 110), (110, 110, 110, 110)]
    trade = only(played(rows, {0: -1, 2: 3}, market="perp", more={"funding": {S: stamps}}))
    assert trade.funding == near(2.1) and trade.pnl == near(-97.9)


def test_stamp_inside_a_bar_counts_for_a_position_opened_and_closed_in_it():
    """Long at the open of bar 1, stopped out in it at 98 (at its close); a stamp 7 minutes after the open takes 10 x 100 x 0.001 = 1."""
    stamps = Funding(np.array([JAN_2024 + HOUR_MS + 7 * MINUTE_MS]), np.array([0.001]))
    trade = only(played([FLAT, (100, 100, 97, 98), FLAT], {0: 1}, market="perp", signals={"stop": 2.0}, more={"funding": {S: stamps}}))
    assert trade.funding == near(-1.0) and trade.pnl == near(-21.0)


def test_liquidation_loses_the_isolated_margin():
    """10 at 100, leverage 5: margin 200. Maintenance 0.5 %: liquidation at 100 x (1 - 0.2) / 0.995 = 80.402. Bar 2 falls to 80.4:
    the margin is gone, -200, booked at 80, no fee."""
    trade = only(played([FLAT, FLAT, (100, 100, 80.4, 81), FLAT], {0: 1}, market="perp", leverage=5.0, costs=Costs.of(Market.PERP).none()))
    assert trade.reason is Reason.LIQUIDATION and trade.exit_price == near(80.0) and trade.pnl == near(-200.0)


def test_low_above_the_liquidation_price_does_not_liquidate():
    """The same with a low of 80.41 > 80.402."""
    assert only(played([FLAT, FLAT, (100, 100, 80.41, 81), FLAT], {0: 1}, market="perp", leverage=5.0)).reason is Reason.END


def test_stop_nearer_than_liquidation_comes_first():
    """Stop 90, liquidation 80.4, the bar falls to 70: the stop, -100."""
    trade = only(played([FLAT, FLAT, (100, 100, 70, 71), FLAT], {0: 1}, market="perp", leverage=5.0, signals={"stop": 10.0}))
    assert trade.reason is Reason.STOP and trade.pnl == near(-100.0)


def test_liquidation_nearer_than_the_stop_comes_first():
    """Stop 75, liquidation 80.4: -200 and not -250."""
    trade = only(played([FLAT, FLAT, (100, 100, 70, 71), FLAT], {0: 1}, market="perp", leverage=5.0, signals={"stop": 25.0}))
    assert trade.reason is Reason.LIQUIDATION and trade.pnl == near(-200.0)


@pytest.mark.parametrize("action", [{0: 1, 1: 3}, {0: 1, 1: -1}], ids=["an exit", "a reversal"])
def test_an_exit_at_an_open_beyond_the_margin_loses_the_margin(action):
    """10 at 100, leverage 5: the margin is 200, gone at 80. Out was decided at the close of bar 1, bar 2 opens at 60: -200 and not -400."""
    rows = [FLAT, FLAT, (60, 60, 60, 60), (60, 60, 60, 60)]
    trade = played(rows, action, market="perp", leverage=5.0, costs=Costs.of(Market.PERP).none()).trades[0]
    assert trade.reason is Reason.LIQUIDATION and trade.exit_price == near(80.0) and trade.pnl == near(-200.0)


def test_an_exit_at_an_open_inside_the_margin_is_what_it_was():
    """The same, and bar 2 opens at 80.2, beyond the liquidation price of 80.402: the exit comes first, -198."""
    rows = [FLAT, FLAT, (80.2, 80.2, 80.2, 80.2), (80, 80, 80, 80)]
    trade = only(played(rows, {0: 1, 1: 3}, market="perp", leverage=5.0, costs=Costs.of(Market.PERP).none()))
    assert trade.reason is Reason.SIGNAL and trade.pnl == near(-198.0)


def test_liquidation_is_judged_by_the_mark_price():
    """The trade price falls to 80, the mark only to 85: not liquidated."""
    rows = [FLAT, FLAT, (100, 100, 80, 90), FLAT]
    marks = {S: bars([FLAT, FLAT, (100, 100, 85, 90), FLAT])}
    assert only(played(rows, {0: 1}, market="perp", leverage=5.0, more={"marks": marks})).reason is Reason.END


def test_time_stop_leaves_at_the_open_after_h_bars():
    """In at the open of bar 1, 2 bars: out at the open of bar 3, at 103: +30."""
    trade = only(played([FLAT, FLAT, FLAT, (103, 103, 103, 103), FLAT], {0: 1}, max_bars=2))
    assert trade.reason is Reason.TIME and trade.exit_bar == 3 and trade.pnl == near(30.0)


def test_opposite_signal_reverses_at_one_open():
    """Long from 100, at the close of bar 1 short: at the open of bar 2 (105) both: +50, then short 10 from 105 marked at 100: +50."""
    result = played([FLAT, FLAT, (105, 105, 105, 105), FLAT], {0: 1, 1: -1}, market="perp")
    long, short = result.trades
    assert long.reason is Reason.REVERSED and long.pnl == near(50.0) and short.entry_price == 105.0 and short.pnl == near(50.0)


def test_kill_switch_flattens_at_the_next_open_and_waits():
    """50 units from 100; the close at 79 makes equity 10000 - 1050 = 8950, 10.5 % under the peak: flat at the next open (78): -1100.
    The entry wanted at the close of bar 3 is refused; 30 days are not over."""
    limits = RiskLimits(**(RiskLimits.none().__dict__ | {"drawdown_stop": 0.10}))
    rows = [FLAT, FLAT, (100, 100, 79, 79), (78, 78, 78, 78), (78, 78, 78, 78), (78, 78, 78, 78)]
    result = played(rows, {0: 1, 3: 1}, size=50.0, limits=limits)
    assert only(result).reason is Reason.KILL_SWITCH and only(result).pnl == near(-1100.0)
    assert [r.code for r in result.refused] == [Refusal.KILLED] and "re-armed" in result.refused[0].words


def test_kill_switch_re_arms_with_a_new_peak():
    """Daily bars, re-armed after 2 days: killed at the close of bar 2; the entry at the close of bar 3 is refused, that of bar 4 filled."""
    limits = RiskLimits(**(RiskLimits.none().__dict__ | {"drawdown_stop": 0.10, "rearm_days": 2.0}))
    low = (78, 78, 78, 78)
    rows = [FLAT, FLAT, (100, 100, 79, 79), low, low, low, low]
    result = played(rows, {0: 1, 3: 1, 4: 1}, size=50.0, limits=limits, interval=Interval.D1)
    assert [t.entry_bar for t in result.trades] == [1, 5] and [r.bar for r in result.refused] == [3]


def test_daily_loss_stops_entries_until_midnight():
    """Stopped out for -400 of 10000 (4 %) in bar 1 (01:00): no entry that day; bar 23's close is the next day's 00:00: filled at bar 24."""
    limits = RiskLimits(**(RiskLimits.none().__dict__ | {"daily_loss": 0.03}))
    rows = [FLAT, (100, 100, 95, 96), *[FLAT] * 25]
    result = played(rows, {0: 1, 5: 1, 22: 1, 23: 1}, size=80.0, signals={"stop": 5.0}, limits=limits)
    assert [t.entry_bar for t in result.trades] == [1, 24]
    assert [(r.bar, r.code) for r in result.refused] == [(5, Refusal.DAILY_LOSS), (22, Refusal.DAILY_LOSS)]


def test_cooldown_after_a_stop_out():
    """Stopped out in bar 1; 12 bars: refused at the close of bar 12 (11 bars later), allowed at that of bar 13."""
    limits = RiskLimits(**(RiskLimits.none().__dict__ | {"cooldown_bars": 12}))
    result = played([FLAT, (100, 100, 97, 99), *[FLAT] * 14], {0: 1, 12: 1, 13: 1}, signals={"stop": 2.0}, limits=limits)
    assert [t.entry_bar for t in result.trades] == [1, 14] and [r.code for r in result.refused] == [Refusal.COOLDOWN]


def test_three_losses_in_a_row_pause_for_a_day():
    """Losses end in bars 1, 3 and 5 (05:59:59.999): paused until 05:59:59.999 of the next day. The close of bar 28 is 05:00, refused;
    that of bar 29 is 06:00, allowed."""
    limits = RiskLimits(**(RiskLimits.none().__dict__ | {"losing_streak": 3}))
    dip = (100, 100, 97, 99)
    rows = [FLAT, dip, FLAT, dip, FLAT, dip, *[FLAT] * 26]
    result = played(rows, {0: 1, 2: 1, 4: 1, 28: 1, 29: 1}, signals={"stop": 2.0}, limits=limits)
    assert [t.entry_bar for t in result.trades] == [1, 3, 5, 30]
    assert [(r.bar, r.code) for r in result.refused] == [(28, Refusal.LOSING_STREAK)]


def test_risk_sizing_loses_one_percent_with_its_costs():
    """Entry 100, stop 98 (no costs): 0.01 x 10000 / 2 = 50 units, but 20 % of 10000 at 100 is 20 units: the cap binds, the effective risk
    is 0.4 %. Without the cap: 50 units, and the stop loses exactly 100."""
    rows, stop = [FLAT, FLAT, (100, 100, 97, 98), FLAT], {"stop": 2.0}
    assert only(played(rows, {0: 1}, sizing="risk", size=0.01, signals=stop)).pnl == near(-100.0)
    capped = RiskLimits(**(RiskLimits.none().__dict__ | {"position_cap": 0.20}))
    trade = only(played(rows, {0: 1}, sizing="risk", size=0.01, signals=stop, limits=capped))
    assert trade.quantity == near(20.0) and trade.pnl == near(-40.0) and trade.risk == near(40.0) and trade.multiple_of_risk == near(-1.0)


def test_risk_sizing_without_a_stop_is_no_trade():
    result = played([FLAT] * 3, {0: 1}, sizing="risk", size=0.01)
    assert not result.trades and result.refused[0].words.startswith("risk per trade: sized by what the stop would lose")


def test_quantity_and_prices_are_rounded_against_us():
    """Tick 0.5, step 0.4: 100.1 is bought at 100.5; of 1 % of 10000 at that price 0.995 units, floor 0.8. Sold at 103.3: at 103.
    Profit 0.8 x 2.5 = 2."""
    contract = Contract(S, Market.SPOT, 0.5, 0.4, 0.0)
    rows = [FLAT, (100.1, 101, 100, 100.1), (100.1, 101, 100, 100.1), (103.3, 103.3, 103.3, 103.3), FLAT]
    trade = only(played(rows, {0: 1, 2: 3}, sizing="fraction", size=0.01, contract=contract))
    assert (trade.entry_price, trade.exit_price) == (100.5, 103.0) and trade.quantity == near(0.8) and trade.pnl == near(2.0)


def test_order_below_the_minimum_notional_is_refused_in_words():
    """0.04 units at 100 are 4, the minimum is 5."""
    result = played([FLAT] * 3, {0: 1}, size=0.04, contract=Contract(S, Market.SPOT, 0.01, 0.001, 5.0))
    assert not result.trades and "below the smallest order (5)" in result.refused[0].words


def test_spot_cannot_spend_more_than_its_cash():
    """200 units at 100 cost 20000, there are 10000: 100 units, fee 0.1 %: floor(10000 / 100.1) = 99.900 units."""
    trade = only(played([FLAT] * 3, {0: 1}, size=200.0, costs=Costs(slippage_bps=0.0)))
    assert trade.quantity == near(99.9)


def test_several_symbols_share_slots_and_the_strongest_goes_first():
    """Three symbols want in at once, one slot: the strongest (BBB, 0.9) gets it, the others are refused by name of the limit."""
    names = ("AAAUSDT", "BBBUSDT", "CCCUSDT")
    limits = RiskLimits(**(RiskLimits.none().__dict__ | {"max_positions": 1}))
    action = np.array([1, 0, 0], np.int8)
    plan = build(Config(costs=Costs.none(), sizing="units", size=1.0, limits=limits), {n: bars([FLAT] * 3) for n in names},
                 [Signals(n, action, strength=s) for n, s in zip(names, (0.5, 0.9, 0.7), strict=True)],
                 contracts={n: Contract(n, Market.SPOT, 0.01, 0.001, 0.0) for n in names})
    for which in ("reference", "compiled"):
        result = engine.run(plan, engine=which)
        assert [t.symbol for t in result.trades] == ["BBBUSDT"] and [r.symbol for r in result.refused] == ["CCCUSDT", "AAAUSDT"]
        assert all(r.code == Refusal.MAX_POSITIONS for r in result.refused)


def test_only_the_strategy_that_opened_a_position_may_leave_it():
    """Swing opens at bar 1; scalp's exit and entry are refused with "held by swing"; swing's own exit at bar 4 works."""
    action = {"swing": [1, 0, 0, 3, 0, 0], "scalp": [0, 3, 1, 0, 0, 0]}
    tables = [Signals(S, np.array(a, np.int8), strategy=n) for n, a in action.items()]
    plan = build(Config(costs=Costs.none(), sizing="units", size=1.0, limits=RiskLimits.none()), {S: bars([FLAT] * 6)}, tables,
                 contracts={S: Contract(S, Market.SPOT, 0.01, 0.001, 0.0)})
    result = engine.run(plan)
    assert result.engine == "reference" and [(t.strategy, t.exit_bar) for t in result.trades] == [("swing", 4)]
    assert [r.words for r in result.refused] == ["held by swing", "held by swing"]


def test_nothing_is_entered_across_a_hole():
    """Bars 0 and 1 are there, bar 2 is missing: decided at the close of bar 1, refused."""
    candles = bars([FLAT] * 5).take(np.array([0, 1, 3, 4]))
    plan = build(Config(costs=Costs.none(), sizing="units", size=1.0, limits=RiskLimits.none(), allow_gaps=True), {S: candles},
                 [Signals(S, np.array([0, 1, 0, 0], np.int8))], contracts={S: Contract(S, Market.SPOT, 0.01, 0.001, 0.0)})
    for which in ("reference", "compiled"):
        result = engine.run(plan, engine=which)
        assert not result.trades and [r.code for r in result.refused] == [Refusal.HOLE]


def test_perfect_foresight_has_no_profit_factor():
    """Only gains: the profit factor is null, not infinite; so is the Sortino ratio."""
    rows = [(100 + k, 101 + k, 100 + k, 101 + k) for k in range(40)]
    result = played(rows, {k: 1 if k % 2 == 0 else 3 for k in range(39)})
    assert result.metrics["profit_factor"] is None and result.metrics["win_rate"] == 1.0 and len(result.trades) == 20
    assert result.metrics["sortino"] is None and not any(isinstance(v, float) and math.isinf(v) for v in result.metrics.values())


def test_square_root_impact_moves_a_large_order():
    """Made schedule: half-spread 1 bp, impact 1e-5 per sqrt(USDT). 100 units of 100 = 10000 USDT: 1 bp + 1e-5 x 100 = 11 bp: 100.11."""
    import dataclasses

    rows = [FLAT] * 4
    plan = build(Config(capital=1e6, costs=Costs(maker_bps=0, taker_bps=0, slippage="sqrt"), sizing="units", size=100.0,
                        limits=RiskLimits.none()), {S: bars(rows)}, [Signals(S, np.array([1, 0, 0, 0], np.int8))],
                 contracts={S: Contract(S, Market.SPOT, 0.01, 0.001, 0.0)})
    plan = dataclasses.replace(plan, half=np.full((1, 4), 1e-4), impact=np.full((1, 4), 1e-5))
    for which in ("reference", "compiled"):
        assert engine.run(plan, engine=which).trades[0].entry_price == 100.11


def test_a_run_is_named_by_its_inputs():
    """The same inputs give the same id; one price, one signal or one setting more gives another."""
    def made(rows=4, size=1.0, action=1):
        candles: Candles = bars([FLAT] * rows)
        table = np.zeros(rows, np.int8)
        table[0] = action
        return build(Config(sizing="units", size=size), {S: candles}, [Signals(S, table)]).run_id

    assert made() == made() and len({made(), made(rows=5), made(size=2.0), made(action=0)}) == 4


def test_days_are_utc_days():
    """48 hourly bars are two days; the ratios use one return a day."""
    result = played([FLAT] * 48, {})
    assert len(result.daily_returns) == 2 and result.days == 2.0
    assert (result.moment[-1] - result.open_time[0]) == 2 * DAY_MS
