"""A finished study of one question: the result, everything that says how far it can be believed, and a verdict in plain words."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.statistics import honesty, performance
from core.backtest import robustness
from core.backtest.engine import run
from core.backtest.plan import Plan
from core.backtest.question import Material, Question, gather
from core.backtest.result import Result
from core.badge import code_version, strategy_badge
from core.strategies import Choice, signals_of, strategy
from data.clock import iso
from data.frames import Candles
from models.trials import Trial

if TYPE_CHECKING:
    from core.backtest.signals import Signals
    from core.forecasting import Forecasting
    from models.trials import TrialLedger

CODE = ("data", "analysis", "models", "core")
Tell = Callable[[int, int, str], None]
CONFIDENT = 0.95


@dataclass(frozen=True)
class Study:
    """A question answered. `honesty` is plain JSON; None for what could not be computed, with the reason in its words."""

    question: Question
    plan: Plan
    result: Result
    honesty: dict[str, Any]
    notes: tuple[str, ...]
    versions: Mapping[str, str]

    @property
    def verdict(self) -> dict[str, Any]:
        return self.honesty["verdict"]

    def card(self) -> dict[str, Any]:
        """What reproduces the run byte for byte: data, code, configuration, seed."""
        return {"run_id": self.result.run_id, "question": self.question.document(), "config": self.result.config,
                "data": dict(self.versions), "code": code_version(CODE), "engine": self.result.engine, "seed": self.question.seed}

    def document(self) -> dict[str, Any]:
        """The report as JSON; curves daily, so that a year fits a page."""
        days, equity = self.result.daily
        level = np.concatenate(([self.result.capital], equity))
        base = self.result.benchmark[self.plan.last_of_day] * self.result.capital
        ended = int(robustness.closed(self.result).sum())
        body = self.result.document() | {
            "trades": ended, "open_trades": len(self.result.table) - ended,
            "question": self.question.document(), "notes": list(self.notes), "assumptions": assumptions(self.plan),
            "honesty": self.honesty, "card": self.card(), "by_month": robustness.by_month(self.result),
            "by_reason": robustness.by_reason(self.result),
            "curve": {"day": days.tolist(), "equity": equity.tolist(), "drawdown": performance.drawdown(level)[1:].tolist(),
                      "buy_and_hold": base.tolist(), "exposure": (self.result.gross[self.plan.last_of_day] / equity).tolist()},
        }
        return _plain(body)


def study(sextant: Forecasting, question: Question, ledger: TrialLedger, *, quick: bool = False, worlds: int = 0,
          progress: Tell | None = None) -> Study:
    """Gather, run, judge. `quick` leaves out what needs further runs; `worlds` histories without an edge are run beside it."""
    step, total = 0, steps(question, quick=quick, worlds=worlds)

    def tell(words: str) -> None:
        nonlocal step
        step += 1
        if progress is not None:
            progress(min(step, total - 1), total, words)

    tell("Reading candles and scores")
    material = gather(sextant, question)
    plan = material.plan()
    tell(f"Trading {plan.bars:,} bars of {', '.join(plan.symbols)}")
    result = run(plan)
    tell("Counting the try")
    ledger.record([trial_of(question, result)])
    judged = judge(material, plan, result, ledger, quick=quick, worlds=worlds, tell=tell)
    judged["lookahead"] = lookahead_words(sextant.settings.home, question)
    if progress is not None:
        progress(total, total, judged["verdict"]["word"])
    return Study(question, plan, result, judged, material.notes, material.versions)


def steps(question: Question, *, quick: bool, worlds: int) -> int:
    """How often a study says what it does, its last word included."""
    asked = ("reading", "trading", "counting", "resampling", "done")
    if quick:
        return len(asked)
    return len(asked) + len(("baselines", "costs", "stress", "random entries")) + len(robustness.neighbours(question)) + worlds


def trial_of(question: Question, result: Result, parameters: Mapping[str, Any] | None = None) -> Trial:
    """The ledger's row of a run."""
    m = honesty.Moments.of(result.daily_returns)
    return Trial(question.study, "backtest", dict(parameters or {"question": question.document(), "config": result.config}), result.run_id,
                 m.sharpe if math.isfinite(m.sharpe) else None, m.n, m.skewness if math.isfinite(m.skewness) else 0.0,
                 m.kurtosis if math.isfinite(m.kurtosis) else 3.0)


def judge(material: Material, plan: Plan, result: Result, ledger: TrialLedger, *, quick: bool, worlds: int,
          tell: Callable[[str], None]) -> dict[str, Any]:
    """The honesty panel: each figure with the number of tries it must answer for."""
    question = material.question
    returns = result.daily_returns
    moments = honesty.Moments.of(returns)
    ratios = ledger.sharpes(question.study)
    tries = max(ledger.count(question.study), 1)
    variance = float(np.var(ratios, ddof=1)) if len(ratios) > 1 else 0.0
    tell("Resampling days")
    spans = honesty.intervals(returns, seed=question.seed)
    shuffled = honesty.shuffled_drawdowns(trade_returns(result), seed=question.seed)
    out: dict[str, Any] = {
        "study": question.study, "trials": tries, "psr": honesty.probabilistic_sharpe(moments),
        "dsr": honesty.deflated_sharpe(moments, variance=variance, trials=float(tries)),
        "expected_best": honesty.expected_best(variance, float(tries)) * math.sqrt(365.0),
        "minimum_track_record_days": honesty.minimum_track_record(moments), "days": moments.n,
        "lo_factor": honesty.lo_factor(returns), "intervals": dataclasses.asdict(spans), "shuffled_drawdown": shuffled,
        "break_even_bps": result.metrics["break_even_bps"], "cost_bps": cost_per_side(result), "ambiguity": result.ambiguity,
        "without_best_5": robustness.without_best(result), "by_year": robustness.by_year(result), "by_symbol": robustness.by_symbol(result),
        "by_regime": robustness.regimes(material, result), "leader": material.leader, "warm_up_bars": warm_up(plan),
    }
    if not quick:
        tell("Baselines")
        out["baselines"] = robustness.baselines(material, plan, result)
        tell("Costs rung by rung")
        out["cost_ladder"] = robustness.cost_ladder(plan)
        tell("Twice the costs, one bar late")
        out["costs_doubled"] = _total(robustness.doubled_costs(plan))
        out["one_bar_late"] = _total(dataclasses.replace(plan, tables=robustness.late(plan.tables)))
        tell("Random entries")
        out["random_entries"] = dataclasses.asdict(robustness.random_entries(plan, result, seed=question.seed))
        rows, streams, names = robustness.neighbourhood(material, plan, result, tell)
        out["neighbourhood"] = rows
        out["neighbours_profitable"] = sum(r["total_return"] > 0 for r in rows) / len(rows) if rows else None
        pbo = honesty.overfitting(streams)
        out["pbo"] = {"probability": pbo.probability, "trials": pbo.trials, "blocks": pbo.blocks, "splits": pbo.splits,
                      "warning": pbo.warning, "of": "the neighbourhood"}
        out["walk_forward"] = robustness.walk_forward(streams, names)
        out["null_worlds"] = robustness.null_worlds(material, plan, result, worlds=worlds, tell=tell, series=candle_tables(question))
    out["verdict"] = verdict(result, out)
    return out


def _total(plan: Plan) -> float:
    return float(run(plan).equity[-1] / plan.config.capital - 1.0)


def cost_per_side(result: Result) -> float:
    """Fees and slippage paid, in basis points of what was traded; NaN without a trade."""
    paid = math.fsum(result.table.floats[:, 4]) + math.fsum(result.table.floats[:, 5])
    return 1e4 * paid / result.traded if result.traded > 0 else math.nan


def trade_returns(result: Result) -> np.ndarray:
    """Profit of each trade as a share of the equity it was entered with: what may come in another order and compound anew. Of the start
    capital it would be no share: an account that has grown tenfold loses more than that in one trade. NaN without equity."""
    before = np.concatenate(([result.capital], result.equity))[result.table.wholes[:, 5]]
    return np.where(before > 0, np.maximum(result.table.floats[:, 3] / np.where(before > 0, before, 1.0), -1.0), np.nan)


def warm_up(plan: Plan) -> int:
    """Bars at the window's start in which the rule could not speak yet: until its stop distance is known on every symbol."""
    out = 0
    for table in (t for tables in plan.tables for t in tables):
        known = np.isfinite(np.broadcast_to(np.asarray(np.nan if table.stop is None else table.stop, float), (len(table.action),)))
        out = max(out, int(np.argmax(known)) if known.any() else len(table.action))
    return out


def lookahead_words(home: Path, question: Question) -> str:
    """What stands between the rule and the future, by the newest look-ahead check on this computer."""
    if question.choice is None:
        return "signals from outside: Sextant cannot know what they were made of"
    found = strategy_badge(home, [question.choice.name, *(c.name for c, _ in question.also)])
    return f"{question.rule}: decided on closed bars, filled at the next open. {found.state}: {found.words}"


def candle_tables(question: Question) -> Callable[[Mapping[str, Candles], Choice], list[Signals] | None]:
    """Tables of a rule that needs candles alone, or module A made from them; None for what reads other data."""
    def series(drawn: Mapping[str, Candles], choice: Choice) -> list[Signals] | None:
        rule = strategy(choice.name)
        if rule.reads not in ((), ("A",)) or rule.forecasts or question.also:
            return None
        return [signals_of(choice, s, question.market, c, trend_inputs(s, c, question) if rule.reads else None) for s, c in drawn.items()]

    return series


def trend_inputs(symbol: str, candles: Candles, question: Question) -> Any:
    """Score inputs over exactly these candles, for module A alone."""
    from analysis.composites import Inputs
    from analysis.composites.combine import OWN
    from analysis.modules import BY_LETTER
    from data.view import MarketView

    a = BY_LETTER["A"]
    close = int(candles.close_time[-1])
    view = MarketView(symbol, question.market, candles.interval, close + 1, close,
                      {OWN: candles} | {n: candles if n.market in (None, question.market) else Candles.empty(candles.interval)
                                        for n in a.needs}, dict.fromkeys((OWN, *a.needs), "given"))
    return Inputs(view, (a,), len(candles))


# -- in plain words ---------------------------------------------------------------------------------------------------


def verdict(result: Result, h: Mapping[str, Any]) -> dict[str, Any]:
    """One word and its reasons. `word`: too short, loses, luck, fragile, holds up. The first that applies, in this order."""
    total = float(result.equity[-1] / result.capital - 1.0)
    reasons: list[str] = []
    if result.too_short:
        reasons.append(result.too_short)
    psr, dsr = h["psr"], h["dsr"]
    if h["trials"] > 1 and math.isfinite(dsr):
        reasons.append(f"deflated Sharpe {dsr:.2f} after {h['trials']} tries of this study")
    elif math.isfinite(psr):
        reasons.append(f"the Sharpe ratio is above zero with probability {psr:.2f} (first try of this study)")
    random = h.get("random_entries")
    if random and random["runs"]:
        reasons.append(f"{100 * random['p']:.0f} % of random entries with the same exits did at least as well")
    elif random and random.get("words"):
        reasons.append(f"random entries: {random['words']}")
    around = h.get("neighbours_profitable")
    if around is not None:
        reasons.append(f"{around:.0%} of the settings 20 % around it earn something")
    fragile = [words for words, bad in (
        ("without its five best trades it loses", total > 0 > h["without_best_5"]),
        ("at twice the costs it loses", total > 0 > h.get("costs_doubled", 1.0)),
        ("one bar later it loses", total > 0 > h.get("one_bar_late", 1.0)),
        ("most neighbouring settings lose", around is not None and around < 0.5),
    ) if bad]
    held = next((b["total_return"] for b in h.get("baselines", ()) if b["name"] == "buy and hold"), None)
    if held is not None:
        reasons.append(f"buy and hold made {held:+.1%} in the same time, this {total:+.1%}")
    lucky = not (math.isfinite(dsr) and dsr > CONFIDENT) or bool(random and random["runs"] and random["p"] > 1 - CONFIDENT)
    if result.too_short:
        word, text = "too short", "Too short to say anything."
    elif total <= 0:
        word, text = "loses", "It loses money after costs."
    elif lucky:
        word, text = "luck", "What it earned is not more than luck would give."
    elif fragile:
        word, text = "fragile", "It earned more than luck would, but hangs on little."
    else:
        word, text = "holds up", "It holds up in every test here. That is no promise: the future is not among the tests."
    return {"word": word, "text": text, "reasons": fragile + reasons}


def assumptions(plan: Plan) -> list[str]:
    """How orders were filled, printed beside every result."""
    fees, limits = plan.config.fees, plan.config.limits
    out = ["decided at a bar's close, filled at the next open; nothing is filled on the last bar",
           f"fees {fees.maker_bps:g} bps maker, {fees.taker_bps:g} bps taker; slippage {fees.slippage}"
           + (f" {fees.slippage_bps:g} bps a side" if str(fees.slippage) == "fixed" else ""),
           "a stop fills at its level or, where the bar opens beyond it, at the open, with slippage; a target at its level as maker",
           "stop and target in one bar: the stop came first" if not plan.config.optimistic else "stop and target in one bar: the target "
                                                                                                "first"]
    if plan.fine.shape[1]:
        out[-1] += ", except where stored 1m bars show the order"
    if limits.participation is not None:
        out.append(f"no fill above {limits.participation:.0%} of a bar's volume; the rest is carried {limits.carry_bars} bars")
    on = [words for words, value in (
        (f"kill switch at {limits.drawdown_stop or 0:.0%} drawdown, re-armed after {limits.rearm_days:g} days", limits.drawdown_stop),
        (f"no entries after {limits.daily_loss or 0:.0%} lost in a day", limits.daily_loss),
        (f"at most {limits.max_positions} positions of {limits.position_cap:.0%} of equity", True),
        (f"no entries {limits.break_bars} bars after a move of {limits.break_sigmas or 0:g} standard deviations", limits.break_sigmas),
        (f"stops tightened to {limits.break_stop_atr or 0:g} average true ranges after such a move", limits.break_stop_atr),
    ) if value is not None]
    out.append("; ".join(on))
    inferred = [c.symbol for c in plan.contracts if c.inferred]
    if inferred:
        out.append("tick and step inferred from candles: " + ", ".join(inferred))
    return out


def _plain(value: Any) -> Any:
    """JSON without NaN: what does not exist is null."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (np.bool_, bool)):
        return bool(value)
    if isinstance(value, (np.integer, int)):
        return int(value)
    if isinstance(value, (np.floating, float)):
        return float(value) if math.isfinite(value) else None
    return value


def window_words(result: Result) -> str:
    span = f"{iso(int(result.open_time[0]))[:10]} to {iso(int(result.moment[-1]))[:10]}"
    return f"{span}, {result.plan.bars:,} bars of {result.plan.interval}"
