"""What is worth interrupting somebody for, found from what was recorded, and how it gets to them.

An alert is a row of the ledger with a key, so the same event is told once however often it is looked for. Its messages are rows of the
outbox, written in the same transaction; sending them is another matter, tried again and again, and trading never waits for it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from core.logbook import warn_once
from data.clock import age_text, iso
from data.errors import InputError, SextantError
from data.market import DAY_MS, did_you_mean, parse_symbol

if TYPE_CHECKING:
    from core.dealing import Dealing
    from core.paper.broker import Account, Step
    from core.paper.ledger import Ledger, Transaction
    from core.settings import Settings

KINDS = {
    "signal": "an order was decided", "fill": "a position was opened or closed", "stop": "a stop, trailing stop or liquidation was hit",
    "kill": "the kill switch fired", "drawdown": "the account fell from its peak by more than the set share",
    "anomaly": "an anomaly alert of .60 or more on a watched symbol", "drift": "a serving model drifted two days in a row",
    "data": "candles are late or a symbol has none", "runner": "the runner was cut off", "level": "a price, score or probability crossed "
    "a level you set", "report": "daily and weekly reports", "test": "a test you asked for"}
ALWAYS = ("console", "file")
NOTIFIER = "notify"
MOST_LEVELS = 100
ANOMALY = 0.6
_LEVEL = re.compile(r"^\s*(\S+)\s+([A-Za-z0-9_ -]+?)\s+(above|below)\s+([-+0-9.eE]+)\s*$")


@dataclass(frozen=True)
class Alert:
    """One event. `key` makes it one however often it is found."""

    key: str
    at_ms: int
    kind: str
    symbol: str
    words: str
    content: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Level:
    """A crossing somebody waits for: `what` is "price", a composite's name, a module's letter, or "probability LABEL"."""

    symbol: str
    what: str
    above: bool
    value: float

    @classmethod
    def parse(cls, text: str) -> Level:
        """From words such as "BTCUSDT price above 70000" or "ETHUSDT trend_strength below 0.4".

        Raises
        ------
        InputError
            When it is not such a sentence, or names something that is not there.
        """
        from analysis.composites import COMPOSITES
        from analysis.modules import MODULES
        from data.labels import label_kind

        found = _LEVEL.match(text)
        if found is None:
            raise InputError(f"level {text[:60]!r}: expected SYMBOL WHAT above|below NUMBER, e.g. BTCUSDT price above 70000")
        symbol, what, way, number = parse_symbol(found[1]), found[2].strip().lower().replace("-", "_"), found[3], found[4]
        names = ["price", *(c.name for c in COMPOSITES), *(m.letter.lower() for m in MODULES)]
        if what not in names and not what.startswith("probability "):
            raise InputError(f"level {text[:60]!r}: there is no {what!r}{did_you_mean(what, names)}; price, a score's name, a module's "
                             "letter, or probability LABEL")
        if what.startswith("probability "):
            label_kind(what.removeprefix("probability "))
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(f"level {text[:60]!r}: {number!r} is not a number")
        return cls(symbol, what, way == "above", value)

    @property
    def words(self) -> str:
        return f"{self.symbol} {self.what} {'above' if self.above else 'below'} {self.value:.15g}"


# -- finding ----------------------------------------------------------------------------------------------------------


def of_step(account: Account, step: Step, *, drawdown: float) -> list[Alert]:
    """What a recorded bar is worth telling: orders, fills, stops, the kill switch, a drawdown beyond the set share and bars that came too
    late (once a day each). A function of the bar alone."""
    stem, out = f"{account.number}/{step.bar_ms}", []
    for o in step.orders:
        if o.event == "placed":
            side = "long" if o.side > 0 else "short"
            stop = o.content.get("stop")
            out.append(Alert(f"signal/{account.number}/{o.key}", step.closed_ms, "signal", o.symbol,
                             f"{o.strategy}: enter {o.symbol} {side} at the next open" + (f", stop {stop:g} away" if stop else "")))
    for n, m in enumerate(step.movements):
        if m.effect == "funding":
            continue
        stopped = m.effect == "leave" and m.reason in ("stop", "trailing", "liquidation")
        done = "opened" if m.effect == "enter" else f"left ({m.reason.replace('_', ' ')})"
        out.append(Alert(f"fill/{stem}/{n}", m.moment, "stop" if stopped else "fill", m.symbol,
                         f"{m.symbol} {done}: {m.quantity:g} at {m.price:g}"))
    if step.killed and not step.killed_before:
        out.append(Alert(f"kill/{stem}", step.closed_ms, "kill", "", "the kill switch is on: everything is closed, nothing is entered "
                         f"until it is re-armed (equity {step.equity:.2f})"))
    if 0 < drawdown <= step.drawdown:
        out.append(Alert(f"drawdown/{account.number}/{_day(step.closed_ms)}", step.closed_ms, "drawdown", "",
                         f"the account is {step.drawdown:.1%} below its peak"))
    if step.late:
        out.append(Alert(f"late/{account.number}/{_day(step.closed_ms)}", step.closed_ms, "data", "", f"the bar that closed "
                         f"{iso(step.closed_ms)} was seen too late, and perhaps more this day: nothing was entered on them"))
    return out


def _day(ms: int) -> str:
    return iso(ms)[:10]


def levels_crossed(sextant: Dealing, levels: Iterable[Level], known: Mapping[str, bool]) -> tuple[list[Alert], dict[str, bool]]:
    """Levels on whose other side a value stands now; `known` says where each stood, the answer where each of `levels` stands.

    A level whose value is unknown keeps its side and tells nothing; one that cannot be worked out is logged once. A level nobody asks
    for any more has no side: set again, it begins anew.
    """
    levels = tuple(levels)
    out, sides = [], {level.words: known[level.words] for level in levels if level.words in known}
    for level in levels:
        try:
            value = _value_of(sextant, level)
        except SextantError as error:
            warn_once(f"level/{sextant.settings.home}/{level.words}", f"the level {level.words} cannot be looked at: {error}")
            continue
        if value is None or not math.isfinite(value):
            continue
        beyond = value > level.value if level.above else value < level.value
        if beyond and known.get(level.words) is False:
            now = sextant.clock.now_ms()
            out.append(Alert(f"level/{level.words}/{now}", now, "level", level.symbol, f"{level.words}: it is {value:.6g} now"))
        sides[level.words] = beyond
    return out, sides


def stored_sides(ledger: Ledger) -> dict[str, bool]:
    """Where each level stood at the last look, that of a runner before this one too."""
    return {row["level"]: bool(row["beyond"]) for row in ledger.rows("levels", order="level")}


def store_sides(change: Transaction, sides: Mapping[str, bool], now: int) -> None:
    """Keep where each level stands: with the alerts of the same look, so that a crossing is told once."""
    change.execute("delete from levels")
    for words, beyond in sides.items():
        change.execute("insert into levels (level, beyond, at_ms) values (?, ?, ?)", (words, int(beyond), now))


def _value_of(sextant: Dealing, level: Level) -> float | None:
    key = sextant.key(level.symbol, sextant.settings.interval, sextant.settings.market)
    if level.what == "price":
        return float(sextant.candles(key, bars=1).close[-1])
    if level.what.startswith("probability "):
        said = sextant.call(key, level.what.removeprefix("probability ")).prediction
        return None if said is None or said.abstained else said.probability.get(1)
    card = sextant.scores(key)
    if len(level.what) == 1:
        return next((r.score for r in card.reports if r.letter.lower() == level.what), None)
    return card.composite(level.what).score


def watched(sextant: Dealing, settings: Settings, *, score: bool = True) -> list[Alert]:
    """What stands in the newest scores and data of the watchlist and of the account: anomalies, and candles that do not come.

    Scores are worked out where they are not yet (seconds a symbol); without `score` only those that are known count.
    """
    account, now, out = sextant.broker.account(), sextant.clock.now_ms(), []
    series = [(s, settings.interval, settings.market) for s in settings.watchlist]
    traded = [] if account is None else [(s, account.terms.interval, account.terms.market) for s in account.terms.symbols]
    for symbol, interval, market in dict.fromkeys([*series, *traded]):
        try:
            key = sextant.key(symbol, interval, market)
            last = sextant.reader.last_close_ms(key)
            if last is not None and now - last > 3 * key.interval.ms and now - last < 30 * DAY_MS:
                out.append(Alert(f"data/{symbol}/{last}", now, "data", symbol, f"{symbol} {key.interval}: no candle since {iso(last)} "
                                                                              f"({age_text(now - last)})"))
            elif (symbol, interval, market) in series and "anomaly" in settings.alert_kinds:
                card = sextant.scores(key) if score else sextant.known_card(key)
                found = None if card is None else card.composite("anomaly_alert")
                if found is not None and found.score is not None and found.score >= ANOMALY:
                    out.append(Alert(f"anomaly/{symbol}/{found.as_of_ms}", now, "anomaly", symbol,
                                     f"{symbol}: anomaly alert {found.score:.2f}"))
        except SextantError:
            continue  # the Data page says what is wrong with a series
    return out


# -- keeping ----------------------------------------------------------------------------------------------------------


def keep(change: Transaction, alerts: Iterable[Alert], wanted: Iterable[str], *, notifies: int) -> list[Alert]:
    """Write alerts of the wanted kinds and their messages, one for each of `notifies` addresses too; returns those that are new."""
    chosen, new = set(wanted), []
    channels = (*ALWAYS, *(NOTIFIER if n == 1 else f"{NOTIFIER}-{n}" for n in range(1, notifies + 1)))
    for a in alerts:
        row = {"key": a.key, "at_ms": a.at_ms, "kind": a.kind, "symbol": a.symbol, "words": a.words,
               "content": json.dumps(dict(a.content), sort_keys=True)}
        if (a.kind in chosen or a.kind == "test") and change.add("alerts", row):
            new.append(a)
            for channel in channels:
                change.add("outbox", {"key": f"alert/{a.key}", "at_ms": a.at_ms, "channel": channel,
                                      "title": f"Sextant paper: {a.kind}", "words": a.words})
    return new
