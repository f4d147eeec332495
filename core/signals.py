"""The signal card: what a strategy wants right now, at which prices, how large, and why; every limit with its verdict in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from core.backtest.plan import Config
from core.backtest.signals import Action
from core.decisions import decide
from core.strategies import Choice, entry_thresholds, signals_of, stop_distance, strategy, words_of
from data.clock import iso
from data.market import SeriesKey

if TYPE_CHECKING:
    from core.forecast_line import ForecastLine
    from core.forecasting import Forecasting
    from data.frames import Candles

RULE_BASED = "a rule has no calibrated probability; a trained model does"
STATE_BARS = 1_000  # how far back the rule is replayed to know whether it is in a position already


@dataclass(frozen=True)
class Forecasted:
    """What a model says of the newest bar: calibrated probabilities by class (-1 falls, 0 neither, 1 rises), the probability from which
    an entry pays, and for the class shown how often such a probability came true: (rows, share, low, high) of a 95 % interval."""

    model: str
    kind: str
    label: str
    horizon: int
    probability: Mapping[int, float]
    threshold: float | None
    record: tuple[int, float, float, float] | None
    verdict: Mapping[str, Any]
    drivers: tuple[tuple[str, float], ...]

    def document(self) -> dict[str, Any]:
        return asdict(self) | {"probability": {str(k): v for k, v in self.probability.items()}, "drivers": [list(d) for d in self.drivers],
                               "verdict": dict(self.verdict)}


@dataclass(frozen=True)
class SignalCard:
    """One symbol, one strategy, one moment.

    `signal` is BUY, SELL or HOLD, decided at the newest close and to be done at the next open. `confidence` is the calibrated
    probability of the side taken (of the likeliest class where none is), None with its reason for rules and where the model abstains.
    Prices are those of a fill at the newest close with slippage, an estimate of the next open. `size` is in base currency; `risk_share`
    what the stop would really lose of the equity. `reasons` come largest first.
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
    forecast: Forecasted | None = None

    def document(self) -> dict[str, Any]:
        row = asdict(self)
        row["as_of"] = iso(row.pop("as_of_ms"))
        return row | {"reasons": list(self.reasons), "verdicts": list(self.verdicts), "values": dict(self.values),
                      "forecast": None if self.forecast is None else self.forecast.document()}


def signal_card(sextant: Forecasting, key: SeriesKey, choice: Choice, *, at_ms: int | None = None,
                config: Config | None = None) -> SignalCard:
    """The card of one symbol right after its newest bar, or at a moment, for an account that holds nothing."""
    config = config or Config(market=key.market)
    rule = strategy(choice.name)
    candles, inputs = sextant.rule_inputs(key, rule.reads, STATE_BARS, at_ms=at_ms)
    line = sextant.forecast(key, rule.forecasts, candles) if rule.forecasts else None
    table = signals_of(choice, key.symbol, key.market, candles, inputs, line)
    d = decide(table, candles, config)
    signal = words_of(d.action)
    said, confidence, reasons = None, None, [rule.rule, *_score_reasons(inputs, d.side)]
    confidence_reason, abstained = RULE_BASED, False
    if line is not None:
        said = _forecasted(line, choice, candles, d.side)
        abstained = bool(line.reasons)
        reasons = _forecast_reasons(line, said, rule.rule)
        best = d.side or (max(said.probability, key=lambda c: said.probability[c]) if said.probability else 0)
        confidence = None if abstained else said.probability.get(best)
        confidence_reason = f"no call: {line.reasons[0]}" if abstained else f"calibrated by {line.model}"
    if d.too_small is not None:
        reasons.append(f"the size would be below the exchange's minimum of {d.too_small:g}")
    if d.refused is not None:
        reasons.insert(0, f"no entry: {d.refused.words}")
        signal = "HOLD"
    return SignalCard(
        key.symbol, str(key.market), str(key.interval), int(candles.close_time[-1]), rule.name, signal, confidence, confidence_reason,
        d.risk_reward, d.entry, d.stop, d.target, d.quantity, None if d.quantity is None or d.entry is None else d.quantity * d.entry,
        d.risk_share, _state(table.action, candles.close_time), tuple(reasons),
        tuple({"limit": v.limit, "ok": v.ok, "words": v.words} for v in d.verdicts), abstained, candles.provenance,
        rule.values(choice.values), said)


def _forecasted(line: ForecastLine, choice: Choice, candles: Candles, side: int) -> Forecasted:
    """The newest bar of a model's line. The record is that of the side taken, else of the likeliest class."""
    values = strategy(choice.name).values(choice.values)
    probability = {c: float(p) for c, p in zip(line.classes, line.probability[-1], strict=True) if np.isfinite(p)}
    shown = side or max(probability, key=lambda c: probability[c], default=0)
    need = float(entry_thresholds(line, candles, values, stop_distance(candles, values))[-1])
    return Forecasted(line.model, line.kind, line.label, line.horizon, probability, need if np.isfinite(need) else None,
                      line.past.get(shown), line.verdict, line.drivers)


def _forecast_reasons(line: ForecastLine, said: Forecasted, rule: str) -> list[str]:
    """Why there is no call; else the probabilities against what is needed and the three largest contributions; last the rule."""
    out = [f"no call: {r}" for r in line.reasons]
    if said.probability and said.threshold is not None:
        up, down = said.probability.get(1), said.probability.get(-1)
        words = [f"{name} {p:.0%}" for name, p in (("rises", up), ("falls", down)) if p is not None]
        out.append(f"{', '.join(words)}; an entry pays from {said.threshold:.0%}")
    out += [f"{name} {share:+.3f} towards {'a rise' if share > 0 else 'a fall' if -1 in line.classes else 'none'}"
            for name, share in line.drivers[:3]]
    if said.verdict.get("words"):
        out.append(str(said.verdict["words"]))
    return [*out, rule]


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


