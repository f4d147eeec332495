"""A question from flat options, the same for the command line, a page's form and a job: one place that names and checks them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.backtest.plan import Config
from core.backtest.question import DEFAULT_BARS, Question
from core.risk.limits import RiskLimits
from core.risk.sizing import Sizing
from core.strategies import COMMON, Choice, strategy
from data.clock import parse_time
from data.errors import InputError
from data.market import Costs, Interval, Market, Slippage, did_you_mean, parse_symbol


@dataclass(frozen=True)
class Option:
    """One setting: `kind` is number, whole, text, switch or one of some words; None means the rule's or the market's own default."""

    name: str
    help: str
    kind: str = "number"
    default: Any = None
    choices: tuple[str, ...] = ()


OPTIONS = (
    Option("interval", "bars that are traded: 1m 5m 15m 1h 4h 1d ...", "text", "1h"),
    Option("market", "spot or perp (perp can go short and pays funding)", "text", "spot"),
    Option("start", "first bar, e.g. 2024-01-01", "text"),
    Option("end", "nothing after this moment", "text"),
    Option("bars", "how many of the newest bars, without --start", "whole", DEFAULT_BARS),
    Option("capital", "start capital in quote currency", "number", 10_000.0),
    Option("maker_bps", "maker fee a side in basis points (default: the exchange's)"),
    Option("taker_bps", "taker fee a side in basis points (default: the exchange's)"),
    Option("slippage", "fixed, spread (half the estimated spread) or sqrt (size impact too)", "words", "fixed", tuple(Slippage)),
    Option("slippage_bps", "of the fixed model, a side", "number", 2.0),
    Option("sizing", "risk (share of equity lost at the stop), fraction (of equity) or units", "words", "risk", tuple(Sizing)),
    Option("size", "of the sizing: 0.01 risks 1 % of equity", "number", 0.01),
    Option("leverage", "of perpetuals", "number", 3.0),
    Option("stop_atr", COMMON[0].help), Option("reward", COMMON[1].help), Option("trail_atr", COMMON[2].help),
    Option("stop_percent", COMMON[3].help), Option("adaptive_stop", COMMON[4].help, "whole"),
    Option("max_bars", "time stop: out after so many bars", "whole"),
    Option("max_positions", "open at the same time", "whole", 3),
    Option("position_cap", "largest notional of a position as a share of equity", "number", 0.20),
    Option("participation", "largest share of a bar's volume that an order takes; 0: no cap", "number", 0.05),
    Option("kill_switch", "drawdown at which everything is closed; 0: none", "number", 0.10),
    Option("break_stop_atr", "after a move of 4 standard deviations open stops are drawn to so many average true ranges; 0: left alone"),
    Option("portfolio_limits", "VaR, ES and correlation limits too (slower)", "switch", False),
    Option("no_limits", "switch every limit off, to compare with other backtesters", "switch", False),
    Option("allow_gaps", "trade around holes in the candles instead of refusing them", "switch", False),
    Option("no_finer", "do not replay stored 1m bars inside a bar", "switch", False),
    Option("seed", "of resampling and random entries", "whole", 7),
)


def ask(symbols: tuple[str, ...] | list[str], chosen: Mapping[str, Any], *, rule: str | None = None, rows: str | None = None,
        parameters: Mapping[str, float] | None = None) -> Question:
    """A checked question. `rule` may name several for one account, the longer ones with their interval: "trend,ema_cross@4h".

    Raises
    ------
    InputError
        Naming the option, what was expected and what arrived.
    """
    names = {o.name: o for o in OPTIONS}
    for name in chosen:
        if name not in names:
            raise InputError(f"there is no option {name[:30]!r}{did_you_mean(name, list(names))}")
    o = {name: option.default for name, option in names.items()} | {n: v for n, v in chosen.items() if v is not None}
    market = Market.parse(str(o["market"]))
    own = {n: float(o[n]) for n in (p.name for p in COMMON) if o[n] is not None}
    choice = None
    more: dict[str, Any] = {}
    interval = Interval.parse(str(o["interval"]))
    also: list[tuple[Choice, Interval]] = []
    if rule is not None:
        first, *others = [part.strip() for part in rule.split(",")]
        choice = Choice(strategy(first).name, {**own, **(parameters or {})})
        for other in others:
            name, _, at = other.partition("@")
            also.append((Choice(strategy(name).name, own), Interval.parse(at) if at else interval))
    elif own.get("stop_atr"):
        more["stop_multiple"] = own["stop_atr"] / COMMON[0].default
    usual = Costs.of(market)
    costs = Costs(maker_bps=usual.maker_bps if o["maker_bps"] is None else float(o["maker_bps"]),
                  taker_bps=usual.taker_bps if o["taker_bps"] is None else float(o["taker_bps"]),
                  slippage=_word("slippage", o["slippage"], Slippage), slippage_bps=float(o["slippage_bps"]))
    config = Config(capital=float(o["capital"]), market=market, leverage=float(o["leverage"]), costs=costs,
                    sizing=_word("sizing", o["sizing"], Sizing), size=float(o["size"]),
                    max_bars=None if o["max_bars"] is None else int(o["max_bars"]), limits=_limits(o),
                    allow_gaps=bool(o["allow_gaps"]), **more)
    named = tuple(dict.fromkeys(parse_symbol(s) for s in symbols))
    return Question(named, interval, market, choice, config, rows, tuple(also), start_ms=_time(o["start"]),
                    end_ms=_time(o["end"]), bars=int(o["bars"]), finer=not o["no_finer"], seed=int(o["seed"]))


def _limits(o: Mapping[str, Any]) -> RiskLimits:
    if o["no_limits"]:
        return RiskLimits.none()
    usual = {"max_positions": int(o["max_positions"]), "position_cap": float(o["position_cap"]),
             "participation": float(o["participation"]) or None, "drawdown_stop": float(o["kill_switch"]) or None,
             "break_stop_atr": float(o["break_stop_atr"] or 0.0) or None}
    base = RiskLimits.all_on() if o["portfolio_limits"] else RiskLimits()
    return dataclasses.replace(base, **usual)  # type: ignore[arg-type]


def _word(name: str, value: Any, kind: type) -> Any:
    try:
        return kind(value)
    except ValueError:
        raise InputError(f"{name}: expected {', '.join(kind)}, got {str(value)[:30]!r}") from None  # type: ignore[arg-type]


def _time(value: Any) -> int | None:
    return None if value in (None, "") else value if isinstance(value, int) else parse_time(str(value))


def grid_of(texts: list[str] | tuple[str, ...]) -> dict[str, tuple[float, ...]]:
    """Values to try: `enter=0.5,0.55,0.6` or `stop_atr=1:4:0.5` (first, last, step), one text a parameter.

    >>> grid_of(["fast=5:15:5", "reward=1,2"])
    {'fast': (5.0, 10.0, 15.0), 'reward': (1.0, 2.0)}
    """
    out: dict[str, tuple[float, ...]] = {}
    for text in texts:
        name, _, spec = text.partition("=")
        try:
            if ":" in spec:
                first, last, step = (float(x) for x in spec.split(":"))
                if not step > 0 or last < first or (last - first) / step > 10_000:
                    raise ValueError
                values = tuple(round(first + k * step, 10) for k in range(int((last - first) / step + 1e-9) + 1))
            else:
                values = tuple(float(x) for x in spec.split(","))
        except ValueError:
            raise InputError(f"grid {text[:60]!r}: expected name=a,b,c or name=first:last:step, e.g. enter=0.5:0.8:0.05") from None
        out[name.strip()] = tuple(dict.fromkeys(values))
    return out
