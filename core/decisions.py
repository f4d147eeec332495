"""One bar, one wish, one account: the limits' verdicts, the prices, the size. What a card shows and a runner would place.

The rules are those of the backtest: the same limits, sizing and rounding, asked for one moment.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from core.backtest.plan import Config, breaks
from core.backtest.signals import Action, Signals
from core.risk.limits import LIMITS, Book, Proposal, Refusal, Verdict, judge
from core.risk.sizing import Sizing, effective_risk, fraction_quantity, risk_quantity
from core.trading.contracts import contract_of
from core.trading.costs import schedule
from core.trading.fills import exit_level, floor_quantity, market_price
from data.frames import Candles


@dataclass(frozen=True)
class Decision:
    """What the newest row of a table comes to. `side` 0: no entry was wanted; `refused` names the first limit that forbids one.

    Prices are those of a fill at the newest close with slippage, an estimate of the next open; None where they do not exist.
    `quantity` is in base currency, `risk_share` what the stop would really lose of the equity.
    """

    action: Action
    side: int
    entry: float | None = None
    stop: float | None = None
    target: float | None = None
    quantity: float | None = None
    risk_reward: float | None = None
    risk_share: float | None = None
    verdicts: tuple[Verdict, ...] = ()
    too_small: float | None = None

    @property
    def refused(self) -> Verdict | None:
        return next((v for v in self.verdicts if not v.ok), None)


def empty_book(config: Config, candles: Candles) -> Book:
    """An account that holds nothing but its start capital, at the newest close."""
    return Book(config.market, config.capital, config.capital, config.capital, int(candles.close_time[-1]) + 1, len(candles) - 1)


def decide(table: Signals, candles: Candles, config: Config, book: Book | None = None) -> Decision:
    """The newest row of a strategy's table, judged for an account. Every limit is asked, so a reader sees all verdicts."""
    action = Action(int(table.action[-1]))
    side = {Action.ENTER_LONG: 1, Action.ENTER_SHORT: -1}.get(action, 0)
    if not side:
        return Decision(action, 0)
    book = book or empty_book(config, candles)
    contract, cost, close = contract_of(table.symbol, config.market, candles), schedule(candles, config.fees), float(candles.close[-1])
    half = float(cost.half[-1])
    slip, fee = float(np.nan_to_num(half)), config.fees.taker_bps / 1e4
    entry = market_price(close, side > 0, slip, contract.ticks_per_unit)
    away, reach = newest(table.stop) * config.stop_multiple, newest(table.target) * config.target_multiple
    stop = exit_level(entry, -away, contract.ticks_per_unit, side) if math.isfinite(away) else None
    target = exit_level(entry, reach, contract.ticks_per_unit, side) if math.isfinite(reach) else None
    veto = int(breaks(candles, config.limits)[-1])
    if not veto and table.veto is not None and bool(table.veto[-1]):
        veto = int(Refusal.VETO)
    wish = Proposal(table.symbol, side, close, away, config.sizing is Sizing.RISK, veto, math.isfinite(half))
    verdicts = judge(wish, book, config.limits, LIMITS)
    found = Decision(action, side, entry, stop, target, verdicts=verdicts)
    if found.refused is not None or (config.sizing is Sizing.RISK and stop is None):
        return found
    if config.sizing is Sizing.RISK:
        assert stop is not None
        wanted = risk_quantity(book.equity, config.size, entry, stop, fee, slip)
    else:
        wanted = fraction_quantity(book.equity, config.size, entry, fee) if config.sizing is Sizing.FRACTION else config.size
    quantity = floor_quantity(min(wanted, min(v.most_notional for v in verdicts) / entry), contract.steps_per_unit)
    small = quantity * entry < contract.minimum_notional
    quantity = 0.0 if small else quantity
    return dataclasses.replace(
        found, quantity=quantity, too_small=contract.minimum_notional if small else None,
        risk_share=None if stop is None else effective_risk(quantity, entry, stop, book.equity),
        risk_reward=abs(target - entry) / abs(entry - stop) if target is not None and stop is not None and entry != stop else None)


def newest(value: object) -> float:
    """The last number of a signal column; NaN where there is none."""
    return math.nan if value is None else float(np.atleast_1d(np.asarray(value, float))[-1])
