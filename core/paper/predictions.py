"""Every prediction is frozen when it is made and graded by raw candles when its time has come (M7, X5)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from core.paper.ledger import Ledger
from data.clock import Clock
from data.frames import Candles
from data.labels import LabelConfig, make_labels
from data.market import DAY_MS, Interval, Market, SeriesKey

if TYPE_CHECKING:
    from models.trained import Prediction

PERIODS = (30, 90)  # days
HISTORY_BARS = 2_000  # before a graded bar: what the labels' volatilities read
LEAST_PROBABILITY = 1e-6


@dataclass(frozen=True)
class Logged:
    """One prediction as written, and what happened. `outcome` None: not known yet. `content` and `settled` are the rows' own JSON."""

    id: int
    made_ms: int
    key: SeriesKey
    bar_ms: int
    source: str
    label: str
    horizon: int
    call: int
    abstained: bool
    content: Mapping[str, Any]
    settled: Mapping[str, Any] | None

    @property
    def outcome(self) -> float | None:
        return None if self.settled is None else self.settled["outcome"]

    def document(self) -> dict[str, Any]:
        return {"id": self.id, "made_ms": self.made_ms, "symbol": self.key.symbol, "market": str(self.key.market),
                "interval": str(self.key.interval), "bar_ms": self.bar_ms, "source": self.source, "label": self.label,
                "horizon": self.horizon, "call": self.call, "abstained": self.abstained, **self.content,
                "settled": None if self.settled is None else dict(self.settled)}


class PredictionLog:
    """Predictions of one ledger. One row a symbol, interval, bar, source and label; the first word counts."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger, self._clock = ledger, clock

    def record(self, key: SeriesKey, source: str, label: str, predictions: Sequence[Prediction], *, config: LabelConfig, code: str,
               data_version: str, regime: str = "", base_rate: Mapping[int, float] | None = None) -> int:
        """Freeze predictions; returns how many were new. A prediction made after its outcome was known is not written."""
        rows = self.frozen(key, source, label, predictions, config=config, code=code, data_version=data_version, regime=regime,
                           base_rate=base_rate)
        with self._ledger.transaction(self._clock.now_ms(), "predictions") as change:
            return sum(change.add("predictions", row) for row in rows)

    def frozen(self, key: SeriesKey, source: str, label: str, predictions: Sequence[Prediction], *, config: LabelConfig, code: str,
               data_version: str, regime: str = "", base_rate: Mapping[int, float] | None = None) -> list[dict[str, Any]]:
        """The rows of predictions whose outcome is not known yet, for a transaction of the caller."""
        now = self._clock.now_ms()
        rows = []
        for p in predictions:
            if now >= p.close_time + 1 + p.horizon * key.interval.ms:
                continue
            content = {"probability": {str(k): v for k, v in p.probability.items()}, "mean": p.mean, "low": p.low, "high": p.high,
                       "reasons": list(p.reasons), "confidence": p.confidence, "code": code, "data": data_version, "regime": regime,
                       "base_rate": {str(k): v for k, v in (base_rate or {}).items()}, "config": asdict(config)}
            rows.append({"made_ms": now, "symbol": key.symbol, "market": str(key.market), "interval": str(key.interval),
                         "bar_ms": p.close_time, "source": source, "label": label, "horizon": p.horizon, "call": p.call,
                         "abstained": int(p.abstained), "content": json.dumps(content, sort_keys=True)})
        return rows

    def settle(self, candles_of: Callable[[SeriesKey, int, int], Candles]) -> int:
        """Grade everything whose time has come, from raw candles by the label's own function; returns how many were graded.

        `candles_of` gives the candles of a series between two moments. Where a bar is missing the row waits.
        """
        now = self._clock.now_ms()
        groups: dict[tuple[SeriesKey, str, str], list[Logged]] = {}
        for row in self.rows(settled=False):
            if now > row.bar_ms + row.horizon * row.key.interval.ms:
                groups.setdefault((row.key, row.label, json.dumps(row.content["config"])), []).append(row)
        out = []
        for (key, label, config), rows in groups.items():
            first, last = min(r.bar_ms for r in rows), max(r.bar_ms + (r.horizon + 2) * key.interval.ms for r in rows)
            candles = candles_of(key, first - HISTORY_BARS * key.interval.ms, last).closed_before(now)
            if len(candles) < max(r.horizon for r in rows) + 3:
                continue
            made = make_labels(candles, label, LabelConfig(**json.loads(config)))
            at = {int(t): k for k, t in enumerate(candles.close_time.tolist())}
            for row in rows:
                k = at.get(row.bar_ms)
                if k is not None and math.isfinite(float(made.value[k])):
                    out.append(_graded(row, float(made.value[k]), int(made.t1[k]), now))
        with self._ledger.transaction(now, "settlements") as change:
            return sum(change.add("settlements", row) for row in out)

    def rows(self, *, symbol: str | None = None, settled: bool | None = None, newest: int | None = None,
             since_ms: int = 0) -> list[Logged]:
        """Predictions of bars that closed since a moment, in the order in which they were made; with `newest` the last ones."""
        if not self._ledger.path.exists():  # looking does not make a ledger
            return []
        with self._ledger.reading() as db:
            found = db.execute("select p.*, s.content as graded from predictions p left join settlements s on s.prediction = p.id "
                               "where (? is null or p.symbol = ?) and (? is null or (s.id is not null) = ?) and p.bar_ms >= ? "
                               "order by p.id desc limit ?",
                               (symbol, symbol, settled, settled, since_ms, -1 if newest is None else newest)).fetchall()
        return [_logged(r) for r in reversed(found)]

    def verify(self) -> list[str]:
        """What is wrong with the chain, in words."""
        return self._ledger.verify()


def _logged(r: Any) -> Logged:
    key = SeriesKey(r["symbol"], Interval.parse(r["interval"]), Market.parse(r["market"]))
    return Logged(r["id"], r["made_ms"], key, r["bar_ms"], r["source"], r["label"], r["horizon"], r["call"], bool(r["abstained"]),
                  json.loads(r["content"]), None if r["graded"] is None else json.loads(r["graded"]))


def _graded(row: Logged, outcome: float, end_ms: int, now: int) -> dict[str, Any]:
    content: dict[str, Any] = {"outcome": outcome, "end_ms": end_ms}
    probability = {int(k): float(v) for k, v in row.content["probability"].items()}
    if probability:
        hit = {k: float(k == round(outcome)) for k in probability}
        own = max(probability.get(round(outcome), 0.0), LEAST_PROBABILITY)
        content |= {"brier": sum((probability[k] - hit[k]) ** 2 for k in probability) / 2.0, "log_loss": -math.log(own)}
        base = {int(k): float(v) for k, v in row.content["base_rate"].items()}
        if base:
            content["brier_base"] = sum((base.get(k, 0.0) - hit[k]) ** 2 for k in probability) / 2.0
    elif row.content["mean"] is not None:
        content |= {"error": row.content["mean"] - outcome,
                    "inside": None if row.content["low"] is None else row.content["low"] <= outcome <= row.content["high"]}
    return {"prediction": row.id, "settled_ms": now, "content": json.dumps(content, sort_keys=True)}


# -- how it went ------------------------------------------------------------------------------------------------------


def confusion(rows: Sequence[Logged], signal: int) -> dict[str, int]:
    """True and false positives and negatives of one signal (1 up, -1 down). An abstained call is none."""
    tp = fp = tn = fn = 0
    for row in rows:
        if row.outcome is None:
            continue
        said, came = row.call == signal and not row.abstained, np.sign(row.outcome) == signal
        tp, fp, fn, tn = tp + (said and came), fp + (said and not came), fn + (came and not said), tn + (not said and not came)
    return {"tp": int(tp), "fp": int(fp), "tn": int(tn), "fn": int(fn)}


def track_record(rows: Sequence[Logged], now_ms: int) -> list[dict[str, Any]]:
    """Counts and scores by source, regime and period; a Brier score stands beside that of the base rate at the time."""
    out = []
    groups: dict[tuple[str, str, str], list[Logged]] = {}
    for row in rows:
        for regime in {"all", row.content.get("regime") or "unknown"}:
            groups.setdefault((row.source, regime, "all"), []).append(row)
            for days in PERIODS:
                if row.bar_ms > now_ms - days * DAY_MS:
                    groups.setdefault((row.source, regime, f"{days} d"), []).append(row)
    for (source, regime, period), held in sorted(groups.items()):
        known = [r.settled for r in held if r.settled is not None]
        called = [r for r in held if r.settled is not None and not r.abstained and r.call]
        right = sum(np.sign(r.outcome or 0.0) == r.call for r in called)
        out.append({"source": source, "regime": regime, "period": period, "made": len(held), "settled": len(known),
                    "abstained": sum(r.abstained for r in held), "calls": len(called), "right": int(right),
                    "up": confusion(held, 1), "down": confusion(held, -1), "brier": _mean([s.get("brier") for s in known]),
                    "brier_base": _mean([s.get("brier_base") for s in known]), "log_loss": _mean([s.get("log_loss") for s in known]),
                    "inside": _mean([None if s.get("inside") is None else float(s["inside"]) for s in known])})
    return out


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None and math.isfinite(v)]
    return math.fsum(known) / len(known) if known else None
