"""The signal card: what a strategy wants right now, at which prices, how large, and why; every limit with its verdict in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from core.backtest.plan import breaks
from core.backtest.signals import Action
from core.risk.limits import LIMITS, Book, Proposal, Refusal, RiskLimits, Verdict, judge
from core.risk.sizing import effective_risk, risk_quantity
from core.strategies import Choice, signals_of, strategy, words_of
from core.trading.contracts import contract_of
from core.trading.costs import schedule
from core.trading.fills import exit_level, floor_quantity, market_price
from data.clock import iso
from data.market import Costs, SeriesKey

if TYPE_CHECKING:
    from core.judging import Judging

RULE_BASED = "a rule has no calibrated probability; a trained model does"
STATE_BARS = 1_000  # how far back the rule is replayed to know whether it is in a position already


@dataclass(frozen=True)
class SignalCard:
    """One symbol, one strategy, one moment.

    `signal` is BUY, SELL or HOLD, decided at the newest close and to be done at the next open. `confidence` is a calibrated
    probability, None with its reason for rules. Prices are those of a fill at the newest close with slippage, an estimate of the
    next open. `size` is in base currency; `risk_share` what the stop would really lose of the equity. `reasons` come largest first.
    """

    symbol: str
    market: str
    interval: str
    as_of_ms: int
    strategy: str
    signal: str
    confidence: float | None
    confidence_reason: str
    risk_reward: float | None
    entry: float | None
    stop_loss: float | None
    take_profit: float | None
    size: float | None
    notional: float | None
    risk_share: float | None
    state: str
    reasons: tuple[str, ...]
    verdicts: tuple[dict[str, Any], ...]
    abstained: bool = False
    provenance: str = ""
    values: Mapping[str, float] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        row = asdict(self)
        row["as_of"] = iso(row.pop("as_of_ms"))
        return row | {"reasons": list(self.reasons), "verdicts": list(self.verdicts), "values": dict(self.values)}


def signal_card(sextant: Judging, key: SeriesKey, choice: Choice, *, at_ms: int | None = None, equity: float = 10_000.0,
                limits: RiskLimits | None = None, costs: Costs | None = None) -> SignalCard:
    """The card of one symbol right after its newest bar, or at a moment, for an account that holds nothing."""
    limits, costs = limits or RiskLimits(), costs or Costs.of(key.market)
    rule = strategy(choice.name)
    candles, inputs = sextant.rule_inputs(key, rule.reads, STATE_BARS, at_ms=at_ms)
    table = signals_of(choice, key.symbol, key.market, candles, inputs)
    action, close = int(table.action[-1]), float(candles.close[-1])
    side = {Action.ENTER_LONG: 1, Action.ENTER_SHORT: -1}.get(Action(action), 0)
    stop_distance, target_distance = (_newest(x) for x in (table.stop, table.target))
    reasons = [rule.rule, *_score_reasons(inputs, side)]
    state = _state(table.action, candles.close_time)
    entry = stop = target = quantity = ratio = share = None
    verdicts: tuple[Verdict, ...] = ()
    if side:
        contract, cost = contract_of(key.symbol, key.market, candles), schedule(candles, costs)
        entry = market_price(close, side > 0, float(np.nan_to_num(cost.half[-1])), contract.ticks_per_unit)
        if math.isfinite(stop_distance):
            stop = exit_level(entry, -stop_distance, contract.ticks_per_unit, side)
        if math.isfinite(target_distance):
            target = exit_level(entry, target_distance, contract.ticks_per_unit, side)
        veto = int(breaks(candles, limits)[-1]) or (int(Refusal.VETO) if table.veto is not None and bool(table.veto[-1]) else 0)
        moment = int(candles.close_time[-1]) + 1
        book = Book(key.market, equity, equity, equity, moment, len(candles) - 1)
        proposal = Proposal(key.symbol, side, close, stop_distance, True, veto, math.isfinite(float(cost.half[-1])))
        verdicts = judge(proposal, book, limits, LIMITS)
        if stop is not None and all(v.ok for v in verdicts):
            wanted = risk_quantity(equity, 0.01, entry, stop, costs.taker_bps / 1e4, float(np.nan_to_num(cost.half[-1])))
            most = min(v.most_notional for v in verdicts) / entry
            quantity = floor_quantity(min(wanted, most), contract.steps_per_unit)
            if quantity * entry < contract.minimum_notional:
                reasons.append(f"the size would be below the exchange's minimum of {contract.minimum_notional:g}")
                quantity = 0.0
            share = effective_risk(quantity, entry, stop, equity)
            ratio = abs(target - entry) / abs(entry - stop) if target is not None and entry != stop else None
    refused = next((v for v in verdicts if not v.ok), None)
    signal = words_of(action)
    if refused is not None:
        reasons.insert(0, f"no entry: {refused.words}")
        signal = "HOLD"
    return SignalCard(
        key.symbol, str(key.market), str(key.interval), int(candles.close_time[-1]), rule.name, signal, None, RULE_BASED, ratio, entry,
        stop, target, quantity, None if quantity is None or entry is None else quantity * entry, share, state, tuple(reasons),
        tuple({"limit": v.limit, "ok": v.ok, "words": v.words} for v in verdicts), provenance=candles.provenance,
        values=rule.values(choice.values))


def _newest(value: object) -> float:
    if value is None:
        return math.nan
    array = np.atleast_1d(np.asarray(value, float))
    return float(array[-1])


def _state(action: np.ndarray, close_time: np.ndarray) -> str:
    """What the rule holds after the newest bar, and since when."""
    moves = np.flatnonzero(action != Action.HOLD)
    if not len(moves):
        return "flat"
    last = int(moves[-1])
    word = {Action.ENTER_LONG: "long", Action.ENTER_SHORT: "short"}.get(Action(int(action[last])), "flat")
    return f"{word} since {iso(int(close_time[last]) + 1)}" if word != "flat" else "flat"


def _score_reasons(inputs: Any, side: int) -> list[str]:
    """The three largest contributions to module A on the side of the signal, and what the market is like, where they were read."""
    if inputs is None or inputs.known("A") is None:
        return []
    line = inputs.known("A")
    module = inputs.modules["A"]
    held = [(m.title, float(line.contributions[m.key][-1])) for m in module.metrics if m.weight > 0
            and np.isfinite(line.contributions[m.key][-1])]
    sign = side or (1 if np.nan_to_num(line.raw[-1]) >= 0 else -1)
    best = sorted((row for row in held if row[1] * sign > 0), key=lambda row: -abs(row[1]))[:3]
    return [f"{title} {share:+.3f}" for title, share in best]


