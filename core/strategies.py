"""Strategies as data: which side a rule wants at each close, and how far away its stop and target stand.

A strategy reads candles and score series and answers for every bar at once; its newest row is the decision a runner takes, so a
backtest and a live signal are the same rule. Nothing here sizes, fills or knows an account.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from core.backtest.signals import Action, Signals
from core.risk import stops
from data.errors import InputError
from data.frames import Candles
from data.indicators import ema
from data.indicators.windows import trailing_max, trailing_min
from data.market import Market, did_you_mean

if TYPE_CHECKING:
    from analysis.composites import Inputs
    from core.forecast_line import ForecastLine

Values = Mapping[str, float]


@dataclass(frozen=True)
class Parameter:
    """One number a user or a sweep may turn. `whole`: a count, of which there are no fractions."""

    name: str
    default: float
    low: float
    high: float
    help: str
    whole: bool = False


@dataclass(frozen=True)
class Strategy:
    """One rule.

    Attributes
    ----------
    name, title, rule : str
        How commands call it, how pages call it, and the rule in one sentence.
    horizon : str
        scalping (1m), intraday (5m to 1h) or swing (4h, 1d): where it is meant to be used.
    reads : tuple of str
        Letters of the modules whose series it needs; empty for candles alone, "*" for all of them (composites).
    forecasts : str
        The label whose model it trades on; empty for rules. `side` is then not asked.
    strength : callable or None
        Who goes first when positions are scarce; larger is stronger.
    """

    name: str
    title: str
    rule: str
    horizon: str
    interval: str
    parameters: tuple[Parameter, ...]
    side: Callable[[Candles, Inputs | None, Values, bool], np.ndarray]
    reads: tuple[str, ...] = ()
    strength: Callable[[Candles, Inputs | None], np.ndarray] | None = None
    vetoed: bool = False
    forecasts: str = ""

    def values(self, chosen: Values | None = None) -> dict[str, float]:
        """Parameters in force.

        Raises
        ------
        InputError
            For an unknown name or a value outside its range.
        """
        known = {p.name: p for p in (*self.parameters, *COMMON)}
        out = {name: p.default for name, p in known.items()}
        for name, value in (chosen or {}).items():
            if name not in known:
                raise InputError(f"{self.name} has no parameter {name[:30]!r}{did_you_mean(name, list(known))}; it has {', '.join(known)}")
            p = known[name]
            if not (math.isfinite(value) and p.low <= value <= p.high):
                raise InputError(f"{self.name} {name}: expected {p.low:g} to {p.high:g}, got {value!r}")
            if p.whole and value != int(value):
                raise InputError(f"{self.name} {name}: expected a whole number, got {value!r}")
            out[name] = float(value)
        return out


COMMON = (Parameter("stop_atr", 2.5, 0.2, 20.0, "Stop distance in average true ranges."),
          Parameter("reward", 1.5, 0.0, 20.0, "Target distance as a multiple of the stop's; 0: no target."),
          Parameter("trail_atr", 0.0, 0.0, 20.0, "Trailing stop in average true ranges; 0: none."),
          Parameter("stop_percent", 0.0, 0.0, 90.0, "Stop at this percentage of the close instead of by ATR; 0: by ATR."),
          Parameter("adaptive_stop", 0.0, 0.0, 1.0, "1: 1.5 to 3.5 average true ranges, wider where ranges are wide by their own history."))


def held_side(enter_long: np.ndarray, exit_long: np.ndarray, enter_short: np.ndarray, exit_short: np.ndarray) -> np.ndarray:
    """The side in force at each close: entered, and kept until its exit. An unknown bar (all False) keeps what there is."""
    side, out = 0, np.zeros(len(enter_long))
    for t in range(len(out)):
        if (side > 0 and exit_long[t]) or (side < 0 and exit_short[t]):
            side = 0
        if side <= 0 and enter_long[t]:
            side = 1
        elif side >= 0 and enter_short[t]:
            side = -1
        out[t] = side
    return out


def _between(score: np.ndarray, values: Values, short: bool) -> np.ndarray:
    """Enter beyond a threshold, leave when the score is back across another; short is its mirror image around 0.5."""
    enter, leave = values["enter"], values["leave"]
    with np.errstate(invalid="ignore"):
        none = np.zeros(len(score), bool)
        return held_side(score >= enter, score < leave, score <= 1.0 - enter if short else none, score > 1.0 - leave if short else none)


def _ema_cross(candles: Candles, inputs: Inputs | None, values: Values, short: bool) -> np.ndarray:
    fast, slow = ema(candles, window=int(values["fast"])), ema(candles, window=int(values["slow"]))
    above, below = fast > slow, fast < slow
    return held_side(above, below, below & short, above)


def _breakout(candles: Candles, inputs: Inputs | None, values: Values, short: bool) -> np.ndarray:
    window, half = int(values["window"]), max(2, int(values["window"]) // 2)
    top, floor = (np.concatenate(([np.nan], x[:-1])) for x in (trailing_max(candles.high, window), trailing_min(candles.low, window)))
    near_top, near_floor = (np.concatenate(([np.nan], x[:-1])) for x in (trailing_max(candles.high, half), trailing_min(candles.low, half)))
    with np.errstate(invalid="ignore"):
        up, down = candles.close > top, candles.close < floor
        return held_side(up, candles.close < near_floor, down & short, candles.close > near_top)


def _trend(candles: Candles, inputs: Inputs | None, values: Values, short: bool) -> np.ndarray:
    assert inputs is not None
    return _between(inputs.of("A"), values, short)


def _gated_trend(candles: Candles, inputs: Inputs | None, values: Values, short: bool) -> np.ndarray:
    from analysis.composites import by_name

    assert inputs is not None
    return _between(inputs.composite(by_name("trend_strength")).score, values, short)


def _opportunity(candles: Candles, inputs: Inputs | None, values: Values, short: bool) -> np.ndarray:
    from analysis.composites import by_name

    assert inputs is not None
    buy, sell = (inputs.composite(by_name(name)).score for name in ("buy_opportunity", "sell_opportunity"))
    with np.errstate(invalid="ignore"):
        return held_side(buy >= values["enter"], (sell >= values["leave"]) | (buy <= 0.0), (sell >= values["enter"]) & short,
                         (buy >= values["leave"]) | (sell <= 0.0))


def _reversion(candles: Candles, inputs: Inputs | None, values: Values, short: bool) -> np.ndarray:
    """Against module A: what real hours from 2022 to 2025 asked for (docs/score-lab.md)."""
    assert inputs is not None
    score = inputs.of("A")
    with np.errstate(invalid="ignore"):
        return held_side(score <= 1.0 - values["enter"], score > values["leave"], (score >= values["enter"]) & short,
                         score < 1.0 - values["leave"])


_THRESHOLDS = (Parameter("enter", 0.60, 0.5, 1.0, "Enter at or beyond this score (short: at or below 1 minus it)."),
               Parameter("leave", 0.50, 0.0, 1.0, "Leave when the score is back across this."))

MODEL_PARAMETERS = (
    Parameter("threshold", 0.0, 0.0, 1.0, "Enter at this calibrated probability; 0: the one from which stop, target and cost pay, "
                                          "and 0.02 more."),
    Parameter("hold", 0.0, 0.0, 2000.0, "Leave after so many bars; 0: the model's own horizon.", whole=True),
)


def _no_side(candles: Candles, inputs: Inputs | None, values: Values, short: bool) -> np.ndarray:
    return np.zeros(len(candles))


def _model_rule(label: str, title: str) -> Strategy:
    return Strategy(f"model_{label}", title, f"Enters where the {label} model's calibrated probability pays for stop, target and cost; "
                    "leaves after its horizon or when the other side is likelier.", "intraday", "1h", MODEL_PARAMETERS, _no_side,
                    forecasts=label)


def entry_thresholds(forecast: ForecastLine, candles: Candles, values: Values, stop: np.ndarray) -> np.ndarray:
    """The probability from which an entry pays at each bar: `(stop + cost)/(target + stop) + .02` (methods.md 6), or the preset.

    NaN where the stop is unknown. Without a target, the gain is taken as 1.5 stops.
    """
    if values["threshold"] > 0:
        return np.full(len(candles), values["threshold"])
    from models.trained import entry_threshold

    away = stop / candles.close
    return entry_threshold(away, away * (values["reward"] or 1.5), forecast.cost)


def model_side(forecast: ForecastLine, candles: Candles, values: Values, stop: np.ndarray, short: bool) -> tuple[np.ndarray, np.ndarray]:
    """The side at each close and the edge behind it: probability above the threshold, 0 where there is none.

    A bar without a forecast, or where the model abstains, enters nothing; what is held runs on to its horizon.
    """
    need = entry_thresholds(forecast, candles, values, stop)
    up, down = forecast.of(1), forecast.of(-1)
    hold = int(values["hold"]) or forecast.horizon
    with np.errstate(invalid="ignore"):
        rise = (up >= need) & ~forecast.abstained
        fall = (down >= need) & ~forecast.abstained & short
        edge = np.nan_to_num(np.fmax(up - need, (down - need) if short else np.nan), nan=0.0)
        turned_down, turned_up = down > up, up > down
    side, since, out = 0, 0, np.zeros(len(candles))
    for t in range(len(out)):
        if side and (t - since >= hold or (turned_down[t] if side > 0 else turned_up[t])):
            side = 0
        if not side and (rise[t] or fall[t]):
            side, since = (1 if rise[t] and (not fall[t] or up[t] >= down[t]) else -1), t
        out[t] = side
    return out, np.maximum(edge, 0.0)


STRATEGIES = (
    Strategy("trend", "Module A trend", "Long while module A's trend score has risen to 0.6 and not fallen below 0.5.", "intraday", "1h",
             _THRESHOLDS, _trend, ("A",), lambda c, i: np.abs(2.0 * i.of("A") - 1.0) if i is not None else np.zeros(len(c))),
    Strategy("gated_trend", "Trend strength", "The same on the composite that module B's regime gates.", "intraday", "1h",
             (Parameter("enter", 0.60, 0.5, 1.0, "Enter at or beyond this score."), _THRESHOLDS[1]), _gated_trend, ("*",)),
    Strategy("reversion", "Against the trend score", "Buys when the trend score is at or below 0.4, leaves above 0.5.", "intraday", "1h",
             _THRESHOLDS, _reversion, ("A",)),
    Strategy("opportunity", "Buy opportunity", "Long at a buy opportunity of 0.2, out at a sell opportunity of 0.05 or none to buy.",
             "intraday", "1h", (Parameter("enter", 0.20, 0.01, 1.0, "Enter at or above."),
                                Parameter("leave", 0.05, 0.0, 1.0, "Leave when the other side reaches this.")), _opportunity, ("*",),
             vetoed=True),
    Strategy("ema_cross", "EMA cross", "Long while the fast exponential average lies above the slow one.", "swing", "4h",
             (Parameter("fast", 12, 2, 400, "Bars of the fast average.", whole=True),
                        Parameter("slow", 26, 3, 1000, "Bars of the slow average.", whole=True)),
             _ema_cross),
    Strategy("breakout", "Range breakout", "Long when the close leaves the range of the last bars upwards, out below half of "
                                           "it.", "scalping",
             "1m", (Parameter("window", 60, 5, 2000, "Bars of the range.", whole=True),), _breakout),
    Strategy("by_hand", "By hand", "Does nothing by itself: orders come from a person or from an allocation plan.", "swing", "1d", (),
             _no_side),
    _model_rule("dir3_dyn", "Model: rise or fall"),
    _model_rule("triple_barrier", "Model: target before stop"),
    _model_rule("dir3_fixed", "Model: beyond 0.2 %"),
    _model_rule("dir_bin", "Model: rise above cost"),
)


def strategy(name: str) -> Strategy:
    """
    Raises
    ------
    InputError
        When there is no strategy of that name.
    """
    found = next((s for s in STRATEGIES if s.name == name.strip().lower().replace("-", "_")), None)
    if found is None:
        names = [s.name for s in STRATEGIES]
        raise InputError(f"expected a strategy ({', '.join(names)}), got {name[:30]!r}{did_you_mean(name, names)}")
    return found


@dataclass(frozen=True)
class Choice:
    """A strategy with its parameters, as a run stores it."""

    name: str
    values: Values = field(default_factory=dict)

    def document(self) -> dict[str, object]:
        return {"strategy": self.name, "parameters": strategy(self.name).values(self.values)}


def signals_of(choice: Choice, symbol: str, market: Market, candles: Candles, inputs: Inputs | None,
               forecast: ForecastLine | None = None) -> Signals:
    """The strategy's table over `candles`; `inputs` and `forecast` cover exactly their rows where it reads scores or a model."""
    rule = strategy(choice.name)
    values = rule.values(choice.values)
    stop = stop_distance(candles, values)
    if rule.forecasts:
        assert forecast is not None
        side, edge = model_side(forecast, candles, values, stop, market is Market.PERP)
    else:
        side, edge = rule.side(candles, inputs, values, market is Market.PERP), None
    target = stops.target_of(stop, values["reward"]) if values["reward"] > 0 else None
    trail = stops.atr_multiple(candles, values["trail_atr"]) if values["trail_atr"] > 0 else None
    strength = rule.strength(candles, inputs) if rule.strength is not None else edge
    veto = vetoes(inputs) if rule.vetoed and inputs is not None else None
    return Signals.from_side(symbol, side, stop=stop, target=target, trail=trail, strength=strength, veto=veto, strategy=rule.name)


def stop_distance(candles: Candles, values: Values) -> np.ndarray:
    """Fixed share of the close, adaptive, or a multiple of the average true range; the first that is asked for."""
    if values["stop_percent"] > 0:
        return stops.percent(candles, values["stop_percent"] / 100.0)
    return stops.adaptive(candles) if values["adaptive_stop"] > 0 else stops.atr_multiple(candles, values["stop_atr"])


def vetoes(inputs: Inputs) -> np.ndarray:
    """No entry where risk exposure is .80 and more, or an anomaly alert .60 and more (methods.md 3). A veto changes no number."""
    from analysis.composites import by_name
    from analysis.composites.danger import VETO_ANOMALY, VETO_RISK

    with np.errstate(invalid="ignore"):
        risk, anomaly = inputs.composite(by_name("risk_exposure")).score, inputs.composite(by_name("anomaly_alert")).score
        return (risk >= VETO_RISK) | (anomaly >= VETO_ANOMALY)


def on_grid(table: Signals, own: Candles, grid: Candles) -> Signals:
    """A table of longer bars on a grid of shorter ones: each decision at the short bar that closes with its long one; distances stay.

    This is how a daily and an hourly strategy trade one account.
    """
    row = np.searchsorted(grid.close_time, own.close_time)
    there = row < len(grid)
    there[there] &= grid.close_time[row[there]] == own.close_time[there]
    action = np.zeros(len(grid), np.int8)
    action[row[there]] = table.action[there]

    def spread(value: float | np.ndarray | None) -> np.ndarray | None:
        if value is None:
            return None
        out = np.full(len(grid), np.nan)
        out[row[there]] = np.broadcast_to(np.asarray(value, float), (len(own),))[there]
        return out

    veto = None
    if table.veto is not None:
        veto = np.zeros(len(grid), bool)
        veto[row[there]] = table.veto[there]
    return Signals(table.symbol, action, spread(table.stop), spread(table.target), spread(table.trail), spread(table.limit),
                   spread(table.strength), veto, table.strategy)


def words_of(action: int) -> str:
    """What a signal card says: BUY, SELL or HOLD."""
    return {Action.ENTER_LONG: "BUY", Action.ENTER_SHORT: "SELL", Action.EXIT: "SELL", Action.EXIT_LONG: "SELL",
            Action.EXIT_SHORT: "BUY"}.get(Action(action), "HOLD")
