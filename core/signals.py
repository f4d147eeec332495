"""The signal card: what a strategy wants right now, at which prices, how large, and why; every limit with its verdict in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from core.backtest.plan import Config
from core.backtest.signals import Action
from core.decisions import decide
from core.strategies import Choice, signals_of, strategy, words_of
from data.clock import iso
from data.market import SeriesKey

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


def signal_card(sextant: Judging, key: SeriesKey, choice: Choice, *, at_ms: int | None = None, config: Config | None = None) -> SignalCard:
    """The card of one symbol right after its newest bar, or at a moment, for an account that holds nothing."""
    config = config or Config(market=key.market)
    rule = strategy(choice.name)
    candles, inputs = sextant.rule_inputs(key, rule.reads, STATE_BARS, at_ms=at_ms)
    table = signals_of(choice, key.symbol, key.market, candles, inputs)
    d = decide(table, candles, config)
    reasons = [rule.rule, *_score_reasons(inputs, d.side)]
    signal = words_of(d.action)
    if d.too_small is not None:
        reasons.append(f"the size would be below the exchange's minimum of {d.too_small:g}")
    if d.refused is not None:
        reasons.insert(0, f"no entry: {d.refused.words}")
        signal = "HOLD"
    return SignalCard(
        key.symbol, str(key.market), str(key.interval), int(candles.close_time[-1]), rule.name, signal, None, RULE_BASED, d.risk_reward,
        d.entry, d.stop, d.target, d.quantity, None if d.quantity is None or d.entry is None else d.quantity * d.entry, d.risk_share,
        _state(table.action, candles.close_time), tuple(reasons),
        tuple({"limit": v.limit, "ok": v.ok, "words": v.words} for v in d.verdicts), provenance=candles.provenance,
        values=rule.values(choice.values))


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
    along = [row for row in held if row[1] * sign > 0] or held  # a rule against the score has its reasons on the other side
    best = sorted(along, key=lambda row: -abs(row[1]))[:3]
    return [f"{title} {share:+.3f}" for title, share in best]


