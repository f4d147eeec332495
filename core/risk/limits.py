"""Every limit on an entry, one small class each, with a verdict in words. A limit that cannot be computed means no trade.

Limits are asked at the close at which an entry is decided, in the order of `LIMITS`; the first refusal is the reason recorded. Those
that bound a size return the most notional they allow; position, gross and participation caps hold again at the fill, at its price.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

import numpy as np

from core.risk.exposure import SAME_MOVE, DailyReturns, correlation, portfolio_tail
from data.clock import iso
from data.errors import InputError
from data.market import HOUR_MS, Market


class Refusal(IntEnum):
    """Why an entry was not made; the compiled engine counts in these numbers."""

    KILLED = 1
    DAILY_LOSS = 2
    LOSING_STREAK = 3
    COOLDOWN = 4
    VOLATILITY_BREAK = 5
    BREAK_UNKNOWN = 6
    VETO = 7
    NO_STOP = 8
    COST_UNKNOWN = 9
    VOLATILITY_UNKNOWN = 10
    MAX_POSITIONS = 11
    NO_ROOM = 12
    NOT_FILLED = 13
    EQUITY_GONE = 14
    PORTFOLIO_TAIL = 15
    CORRELATION = 16
    HELD = 17
    HOLE = 18
    BEYOND_LEVEL = 19
    NOT_COMPUTED = 20


@dataclass(frozen=True)
class RiskLimits:
    """The figures of methods.md 7.2. None switches a limit off. Shares are fractions of equity.

    `break_stop_atr`: at the close at which a volatility break is seen, the stop of the symbol's open position moves to so many average
    true ranges from that close (methods.md: 1.5) where that is nearer than it was; it never loosens, and no stop is made where there
    was none. Off by default.

    `tail_var`, `tail_es` and `correlation_cap` need daily returns and run in the reference engine (decisions.md 26); with one of
    them set, the compiled engine is not used.
    """

    max_positions: int = 3
    position_cap: float = 0.20
    gross_cap: float | None = None  # 1x on spot, 3x on perpetuals
    participation: float | None = 0.05
    carry_bars: int = 3
    volatility_target: float | None = None
    tail_var: float | None = None
    tail_es: float | None = None
    correlation_cap: float | None = None
    drawdown_stop: float | None = 0.10
    rearm_days: float = 30.0
    daily_loss: float | None = 0.03
    cooldown_bars: int = 12
    losing_streak: int | None = 3
    streak_pause_h: float = 24.0
    break_sigmas: float | None = 4.0
    break_bars: int = 12
    break_stop_atr: float | None = None

    def __post_init__(self) -> None:
        for name, low, high in (("max_positions", 1, 1_000), ("position_cap", 0.0, 125.0), ("gross_cap", 0.0, 125.0),
                                ("participation", 0.0, 1.0), ("carry_bars", 0, 10_000), ("volatility_target", 0.0, 100.0),
                                ("tail_var", 0.0, 10.0), ("tail_es", 0.0, 10.0), ("correlation_cap", 0.0, 125.0),
                                ("drawdown_stop", 0.0, 1.0), ("rearm_days", 0.0, 36_500.0), ("daily_loss", 0.0, 1.0),
                                ("cooldown_bars", 0, 1_000_000), ("losing_streak", 1, 1_000), ("streak_pause_h", 0.0, 1e6),
                                ("break_sigmas", 0.0, 1e3), ("break_bars", 1, 1_000_000), ("break_stop_atr", 0.0, 1e3)):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise InputError(f"limits.{name}: expected {low:g} to {high:g}, got {value!r}; shares are fractions, 0.2 means 20 %")
        if self.break_stop_atr is not None and self.break_sigmas is None:
            raise InputError("limits.break_stop_atr: stops are tightened after a volatility break, and break_sigmas is off; set it, "
                             "e.g. to 4")

    def gross(self, market: Market) -> float:
        return self.gross_cap if self.gross_cap is not None else 1.0 if market is Market.SPOT else 3.0

    @classmethod
    def all_on(cls) -> RiskLimits:
        """Every limit of methods.md 7.2, the portfolio ones included."""
        return cls(tail_var=0.05, tail_es=0.075, correlation_cap=0.30)

    @classmethod
    def none(cls) -> RiskLimits:
        """Nothing but cash and margin: for comparisons, never for a user."""
        return cls(max_positions=1_000, position_cap=125.0, gross_cap=125.0, participation=None, drawdown_stop=None, daily_loss=None,
                   cooldown_bars=0, losing_streak=None, break_sigmas=None)


@dataclass(frozen=True)
class Proposal:
    """An entry somebody wants: quantities in quote currency, the stop as a distance. `veto` is a `Refusal` or 0."""

    symbol: str
    side: int
    price: float
    stop_distance: float = math.nan
    needs_stop: bool = True
    veto: int = 0
    cost_known: bool = True
    scale: float = 1.0  # of the volatility target; NaN where it cannot be computed
    room_quote: float = math.inf  # participation, where it is known before the fill


@dataclass(frozen=True)
class Book:
    """The account at the moment of the decision. `held` maps symbols (pending entries included) to signed notionals."""

    market: Market
    equity: float
    peak: float
    day_start: float
    moment_ms: int
    bar: int
    killed: bool = False
    paused_until_ms: int = 0
    held: dict[str, float] = field(default_factory=dict)
    stopped_at_bar: dict[str, int] = field(default_factory=dict)
    returns: DailyReturns | None = None


@dataclass(frozen=True)
class Verdict:
    """`ok`, the reason in words, and the most notional that is allowed (infinity: no bound)."""

    limit: str
    ok: bool
    words: str
    most_notional: float = math.inf
    code: int = 0


class Limit(Protocol):
    """One rule. `name` is what a user reads; `check` never raises for data."""

    name: str

    def check(self, entry: Proposal, book: Book, limits: RiskLimits) -> Verdict: ...


def _fine(limit: Limit, words: str, most: float = math.inf) -> Verdict:
    return Verdict(limit.name, True, words, most)


def _no(limit: Limit, code: Refusal, words: str) -> Verdict:
    return Verdict(limit.name, False, words, 0.0, int(code))


class KillSwitch:
    name = "drawdown kill switch"

    def check(self, entry: Proposal, book: Book, limits: RiskLimits) -> Verdict:
        if book.equity <= 0.0:
            return _no(self, Refusal.EQUITY_GONE, "the account is worth nothing")
        fall = 1.0 - book.equity / book.peak
        if book.killed:
            return _no(self, Refusal.KILLED, f"the kill switch is on (drawdown limit {limits.drawdown_stop:.0%}); it waits to be re-armed")
        return _fine(self, f"{fall:.1%} below the peak")


class DailyLoss:
    name = "daily loss"

    def check(self, entry: Proposal, book: Book, limits: RiskLimits) -> Verdict:
        if limits.daily_loss is None:
            return _fine(self, "off")
        if book.equity <= book.day_start * (1.0 - limits.daily_loss):
            return _no(self, Refusal.DAILY_LOSS, f"{1 - book.equity / book.day_start:.1%} lost since 00:00 UTC, the limit is "
                                                 f"{limits.daily_loss:.0%}; no entries for the rest of the day")
        return _fine(self, f"{book.equity / book.day_start - 1:+.1%} since 00:00 UTC")


class LosingStreak:
    name = "losing streak"

    def check(self, entry: Proposal, book: Book, limits: RiskLimits) -> Verdict:
        if limits.losing_streak is not None and book.moment_ms < book.paused_until_ms:
            return _no(self, Refusal.LOSING_STREAK,
                       f"{limits.losing_streak} losses in a row; no entries before {iso(book.paused_until_ms)}")
        return _fine(self, "no pause")


class Cooldown:
    name = "cooldown"

    def check(self, entry: Proposal, book: Book, limits: RiskLimits) -> Verdict:
        stopped = book.stopped_at_bar.get(entry.symbol)
        if stopped is not None and book.bar - stopped < limits.cooldown_bars:
            return _no(self, Refusal.COOLDOWN, f"{entry.symbol} was stopped out {book.bar - stopped} bars ago; the wait is "
                                               f"{limits.cooldown_bars} bars")
        return _fine(self, "no recent stop-out")


class VolatilityBreak:
    name = "volatility break"

    def check(self, entry: Proposal, book: Book, limits: RiskLimits) -> Verdict:
        if entry.veto == Refusal.VOLATILITY_BREAK:
            return _no(self, Refusal.VOLATILITY_BREAK, f"a bar moved by more than {limits.break_sigmas} standard deviations within the "
                                                       f"last {limits.break_bars} bars")
        if entry.veto == Refusal.BREAK_UNKNOWN:
            return _no(self, Refusal.BREAK_UNKNOWN, "the standard deviation of returns is not known yet, so a break cannot be ruled out")
        if entry.veto:
            return _no(self, Refusal.VETO, "vetoed by the caller (an anomaly alert or a missing view)")
        return _fine(self, "calm enough")


class RiskPerTrade:
    name = "risk per trade"

    def check(self, entry: Proposal, book: Book, limits: RiskLimits) -> Verdict:
        if entry.needs_stop and not entry.stop_distance > 0.0:
            return _no(self, Refusal.NO_STOP, "sized by what the stop would lose, and there is no stop distance at this bar")
        return _fine(self, "the stop is known")


class KnownCosts:
    name = "known costs"

    def check(self, entry: Proposal, book: Book, limits: RiskLimits) -> Verdict:
        if not entry.cost_known:
            return _no(self, Refusal.COST_UNKNOWN, "the slippage model cannot be computed yet (too few bars)")
        return _fine(self, "costs are known")


class VolatilityTarget:
    name = "volatility target"

    def check(self, entry: Proposal, book: Book, limits: RiskLimits) -> Verdict:
        if not math.isfinite(entry.scale):
            return _no(self, Refusal.VOLATILITY_UNKNOWN, "volatility cannot be computed yet, so the size cannot be scaled to its target")
        return _fine(self, f"size times {entry.scale:.2f}")


class MaxPositions:
    name = "open positions"

    def check(self, entry: Proposal, book: Book, limits: RiskLimits) -> Verdict:
        others = len(book.held) - (entry.symbol in book.held)
        if others >= limits.max_positions:
            return _no(self, Refusal.MAX_POSITIONS, f"{others} positions are open or about to be; the limit is {limits.max_positions}")
        return _fine(self, f"{others} of {limits.max_positions} in use")


class PositionCap:
    name = "position size"

    def check(self, entry: Proposal, book: Book, limits: RiskLimits) -> Verdict:
        most = limits.position_cap * book.equity
        return _fine(self, f"at most {most:,.2f} ({limits.position_cap:.0%} of equity)", most)


class GrossExposure:
    name = "gross exposure"

    def check(self, entry: Proposal, book: Book, limits: RiskLimits) -> Verdict:
        cap = limits.gross(book.market)
        room = cap * book.equity - sum(abs(x) for s, x in book.held.items() if s != entry.symbol)
        return _fine(self, f"{max(room, 0.0):,.2f} left of {cap:g}x equity", max(room, 0.0))


class Participation:
    name = "participation"

    def check(self, entry: Proposal, book: Book, limits: RiskLimits) -> Verdict:
        if limits.participation is None:
            return _fine(self, "off")
        return _fine(self, f"at most {limits.participation:.0%} of the bar's quote volume", entry.room_quote)


class PortfolioTail:
    name = "portfolio VaR and ES"

    def check(self, entry: Proposal, book: Book, limits: RiskLimits) -> Verdict:
        if limits.tail_var is None and limits.tail_es is None:
            return _fine(self, "off")
        symbols = tuple(sorted({*book.held, entry.symbol}))
        weights = {s: x / book.equity for s, x in book.held.items()}
        weights[entry.symbol] = entry.side * limits.position_cap  # the most it could be
        history = book.returns.known_at(book.moment_ms, symbols) if book.returns else np.empty((0, len(symbols)))
        var, es = portfolio_tail(history, np.array([weights[s] for s in symbols]))
        if not (math.isfinite(var) and math.isfinite(es)):
            return _no(self, Refusal.PORTFOLIO_TAIL, f"only {len(history)} common days of returns, 100 are needed to compute it")
        if var > (limits.tail_var or math.inf) or es > (limits.tail_es or math.inf):
            return _no(self, Refusal.PORTFOLIO_TAIL, f"VaR99 of a day would be {var:.1%} and ES {es:.1%} of equity")
        return _fine(self, f"VaR99 {var:.1%}, ES {es:.1%} of equity at most")


class CorrelationCap:
    name = "correlated positions"

    def check(self, entry: Proposal, book: Book, limits: RiskLimits) -> Verdict:
        if limits.correlation_cap is None:
            return _fine(self, "off")
        same = tuple(sorted(s for s, x in book.held.items() if s != entry.symbol and x * entry.side > 0))
        if not same:
            return _fine(self, "alone on its side", limits.correlation_cap * book.equity)
        history = book.returns.known_at(book.moment_ms, (entry.symbol, *same)) if book.returns else np.empty((0, 1 + len(same)))
        rho = correlation(history)[0, 1:]
        if not np.isfinite(rho).all():
            return _no(self, Refusal.CORRELATION, f"only {len(history)} common days of returns, 100 are needed to compute it")
        together = [s for s, r in zip(same, rho, strict=True) if r > SAME_MOVE]
        room = limits.correlation_cap * book.equity - sum(abs(book.held[s]) for s in together)
        if room <= 0.0:
            return _no(self, Refusal.CORRELATION, f"{', '.join(together)} move with it (rho > {SAME_MOVE}) and fill their shared "
                                                  f"{limits.correlation_cap:.0%} of equity")
        return _fine(self, f"{room:,.2f} left of the shared cap", room)


LIMITS: tuple[Limit, ...] = (
    KillSwitch(), DailyLoss(), LosingStreak(), Cooldown(), VolatilityBreak(), RiskPerTrade(), KnownCosts(), VolatilityTarget(),
    MaxPositions(), PositionCap(), GrossExposure(), Participation(), PortfolioTail(), CorrelationCap(),
)
PORTFOLIO_LIMITS = tuple(limit.name for limit in LIMITS if isinstance(limit, (PortfolioTail, CorrelationCap)))


def judge(entry: Proposal, book: Book, limits: RiskLimits, which: Iterable[Limit] = LIMITS) -> tuple[Verdict, ...]:
    """All verdicts up to the first refusal, which is the last one. A limit that fails refuses: nothing is traded on a check that broke."""
    verdicts: list[Verdict] = []
    for limit in which:
        try:
            verdicts.append(limit.check(entry, book, limits))
        except Exception as error:  # noqa: BLE001 - whatever broke, the answer is no trade (reliability.md L6)
            from core.logbook import unexpected

            verdicts.append(_no(limit, Refusal.NOT_COMPUTED, f"the limit could not be computed ({unexpected(error)}); no trade"))
        if not verdicts[-1].ok:
            break
    return tuple(verdicts)


def pause_until(closed_at_ms: int, limits: RiskLimits) -> int:
    """End of the pause after a losing streak that was completed at `closed_at_ms`."""
    return closed_at_ms + round(limits.streak_pause_h * HOUR_MS)
