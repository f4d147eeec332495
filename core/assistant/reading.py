"""The tools that read: one function over one verb of the facade. Signature and docstring are the schema the model sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from analysis.composites import COMPOSITES, by_name
from core.assistant.desk import Desk, part_value, price_places, score_row, word
from core.assistant.facts import Found, Row, Unit, coins
from data.clock import parse_time
from data.errors import DataError, InputError, SextantError
from data.market import DAY_MS, HOUR_MS, SeriesKey

Symbol = Annotated[str, "symbol"]
Interval = Annotated[str, "interval"]
Composite = Annotated[str, "composite"]
Score = Annotated[str, "score"]  # a composite or a module's word
Module = Annotated[str, "module"]
Rule = Annotated[str, "rule"]
Label = Annotated[str, "label"]
Hours = Annotated[int, (1, 720)]
Bars = Annotated[int, (2, 40)]
Shown = Annotated[int, (30, 500)]


def price(desk: Desk, symbol: Symbol = "", interval: Interval = "") -> Found:
    """Newest close of a symbol, its change over 24 hours, the range of that day, and how old and of which kind the data is."""
    key = desk.series(symbol, interval)
    day = max(2, DAY_MS // key.interval.ms + 1)
    candles = desk.sextant.candles(key, bars=max(48, day))
    row, status = desk.sextant.board_row(key.symbol, key.interval, key.market, score=False), desk.sextant.status(key)
    source, places = desk.source("price", key, int(candles.close_time[-1])), price_places(candles.close)
    newest = candles.closed_before(int(candles.close_time[-1]) + 1).tail(day)
    facts = (*source.fact("price", row.price, Unit.PRICE, coins(key.symbol)[1], places=places),
             *source.fact("change over 24 hours", row.change_24h, Unit.CHANGE),
             *source.fact("span of the change", 24, Unit.COUNT, "hours"),
             *source.fact("highest price of the day", float(newest.high.max()), Unit.PRICE, places=places),
             *source.fact("lowest price of the day", float(newest.low.min()), Unit.PRICE, places=places))
    data = (*source.fact("kind of data", str(status.provenance), Unit.WORDS), *source.fact("age of the data", status.words, Unit.WORDS),
            *source.fact("newest close", status.newest_close_ms, Unit.TIME))
    return source.found(f"{key.symbol} now", (Row("price", facts), Row("data", data)), provenance=str(status.provenance))


def scores(desk: Desk, symbol: Symbol = "", interval: Interval = "") -> Found:
    """All ten module scores and all composites of a symbol, each with its word and its coverage. Start here for any view of a symbol."""
    key = desk.series(symbol, interval)
    card = desk.sextant.scores(key)
    source = desk.source("scores", key, card.as_of_ms)
    rows = [score_row(source, c.title, card.composite(c.name)) for c in COMPOSITES]
    rows += [score_row(source, f"{r.letter} {r.name}", r) for r in card.reports]
    known = sum(r.score is not None for r in (*card.reports, *card.composites))
    rows.append(Row("counted", (*source.fact("modules", len(card.reports), Unit.COUNT),
                                *source.fact("composites", len(card.composites), Unit.COUNT),
                                *source.fact("scores known", known, Unit.COUNT))))
    return source.found(f"Scores of {key.symbol} {key.interval}", rows, provenance=card.provenance)


def module(desk: Desk, name: Module, symbol: Symbol = "", interval: Interval = "") -> Found:
    """One analysis module in depth: its score and every metric with value, unit and contribution."""
    key = desk.series(symbol, interval)
    about = desk.sextant.module(name)
    report = desk.sextant.scores(key).report(about.letter)
    source = desk.source(about.commands[0], key, report.as_of_ms)
    places = price_places(desk.sextant.candles(key, bars=60).close)
    rows = [score_row(source, f"{report.letter} {report.name}", report)]
    for part in sorted(report.parts, key=lambda p: -abs(p.contribution or 0.0)):
        facts = (*part_value(source, part, places), *source.fact(f"{part.title}: contribution", part.contribution, Unit.STEP))
        rows.append(Row(part.title, facts, "" if part.value is not None else part.note or part.status))
    notes = tuple(p.note for p in report.parts if p.note and p.value is not None)
    return source.found(f"{report.name} of {key.symbol} {key.interval}", rows, provenance=report.provenance, outside=notes)


def composite(desk: Desk, name: Composite, symbol: Symbol = "", interval: Interval = "") -> Found:
    """One composite: its score, the parts it is made of, and what would change its word."""
    key = desk.series(symbol, interval)
    about = by_name(name)
    report = desk.sextant.composite(about.name, key)
    source = desk.source("composite", key, report.as_of_ms)
    rows = [score_row(source, about.title, report)]
    rows += [Row(p.title, (*source.fact(p.title, p.value, Unit.SCORE), *source.fact(f"{p.title}: contribution", p.contribution, Unit.STEP)))
             for p in sorted(report.parts, key=lambda p: -abs(p.contribution or 0.0)) if p.value is not None]
    return source.found(f"{about.title} of {key.symbol} {key.interval}", rows, provenance=report.provenance)


def what_changed(desk: Desk, name: Score, symbol: Symbol = "", interval: Interval = "", hours: Hours = 24) -> Found:
    """The move of a score over the last hours, attributed to its inputs; the shares add up to the move."""
    key = desk.series(symbol, interval)
    newest = desk.sextant.reader.last_close_ms(key)
    if newest is None:
        raise InputError(f"no candle of {key} is stored; back-fill it on the Data page")
    change = desk.sextant.what_changed(name, key, newest + 1 - hours * HOUR_MS)
    source = desk.source("what changed", key, change.after_ms)
    title, titles = _score_title(desk, name), _part_titles(desk, name, key)
    rows = [Row(title, (*source.fact(f"{title} before", change.score_before, Unit.SCORE),
                        *source.fact(f"{title} now", change.score_after, Unit.SCORE),
                        *source.fact(f"change of {title}", change.change, Unit.STEP), *source.fact("span", hours, Unit.COUNT, "hours"),
                        *source.fact("since", change.before_ms, Unit.TIME)))]
    rows += [Row(_input(desk, part, titles), source.fact(f"share of {_input(desk, part, titles)}", share, Unit.STEP))
             for part, share in list(change.parts.items())[:10] if abs(share) > 5e-5]
    return source.found(f"What moved {title} of {key.symbol}", rows)


def flips(desk: Desk, name: Composite, symbol: Symbol = "", interval: Interval = "") -> Found:
    """The smallest change of one input that would change the word of a composite, all else equal."""
    key = desk.series(symbol, interval)
    about = by_name(name)
    report = desk.sextant.composite(about.name, key)
    source = desk.source("flips", key, report.as_of_ms)
    titles = _part_titles(desk, about.name, key)
    near = [f for f in desk.sextant.flips(about.name, key) if f.reachable][:6]
    rows = [Row(f"{_input(desk, f.name, titles)}, towards {f.towards}", (*source.fact(f"{_input(desk, f.name, titles)} now", f.k_now,
                                                                                      Unit.STEP),
                                                               *source.fact(f"{_input(desk, f.name, titles)} needed", f.k_needed,
                                                                            Unit.STEP)))
            for f in near] or [Row(about.title, (), "no single input can change it from here")]
    return source.found(f"What would change {about.title} of {key.symbol}", rows)


def signal(desk: Desk, symbol: Symbol = "", interval: Interval = "", rule: Rule = "trend") -> Found:
    """What a trading rule wants right now: buy, hold or sell, prices, size, every limit's verdict and the reasons."""
    from core.strategies import Choice, strategy

    key = desk.series(symbol, interval)
    card = desk.sextant.signal(key, Choice(rule, {}))
    source, places = desk.source("signal", key, card.as_of_ms), price_places(desk.sextant.candles(key, bars=60).close)
    about = strategy(rule)
    facts = (*source.fact("signal", card.signal, Unit.WORDS), *source.fact("state of the rule", card.state, Unit.WORDS),
             *source.fact("confidence of the signal", card.confidence, Unit.SHARE),
             *source.fact("entry price", card.entry, Unit.PRICE, places=places),
             *source.fact("stop-loss price", card.stop_loss, Unit.PRICE, places=places),
             *source.fact("take-profit price", card.take_profit, Unit.PRICE, places=places),
             *source.fact("reward over risk", card.risk_reward, Unit.NUMBER),
             *source.fact("size", card.size, Unit.NUMBER, coins(key.symbol)[0]),
             *source.fact("notional", card.notional, Unit.MONEY, coins(key.symbol)[1]),
             *source.fact("share of equity at risk", card.risk_share, Unit.SHARE))
    rows = [Row(about.title, facts, "" if card.confidence is not None else f"confidence: {card.confidence_reason}")]
    rows += [Row("reason", source.fact("reason", r, Unit.WORDS)) for r in card.reasons[:6]]
    rows += [Row(f"limit {v['limit']}", source.fact(f"limit {v['limit']}", v["words"], Unit.WORDS)) for v in card.verdicts if not v["ok"]]
    return source.found(f"Signal of {about.title} for {key.symbol} {key.interval}", rows, provenance=str(card.provenance))


def forecast(desk: Desk, symbol: Symbol = "", interval: Interval = "", label: Label = "dir3_dyn") -> Found:
    """What the trained model says of the next bars: calibrated probabilities by class, or why it abstains or does not exist."""
    key = desk.series(symbol, interval)
    call = desk.sextant.call(key, label)
    said = call.prediction
    source = desk.source("forecast", key, said.close_time if said else 0)
    if said is None:
        return source.found(f"Forecast for {key.symbol} {key.interval}", (Row("model", (), " ".join(call.words) or "no model serves it"),))
    names = {-1: "probability of a fall", 0: "probability of neither", 1: "probability of a rise"}
    facts = [*source.fact("model", call.model, Unit.WORDS), *source.fact("horizon", said.horizon, Unit.COUNT, "bars")]
    for c, p in said.probability.items():
        facts += source.fact(names.get(c, f"probability of class {c}"), float(p), Unit.SHARE)
    for name, value in (("expected value", said.mean), ("low end", said.low), ("high end", said.high)):
        facts += source.fact(name, value, Unit.NUMBER)
    return source.found(f"Forecast for {key.symbol} {key.interval}",
                        (Row(label, tuple(facts), "no call: " + "; ".join(said.reasons) if said.abstained else ""),))


def candles(desk: Desk, symbol: Symbol = "", interval: Interval = "", bars: Bars = 12, before: str = "") -> Found:
    """The newest closed candles, at most 40: open, high, low, close, volume. `before` is an ISO time for earlier ones."""
    key = desk.series(symbol, interval)
    end = parse_time(before) if before else None
    found = desk.sextant.candles(key, bars=bars, end_ms=end) if end is not None else desk.sextant.candles(key, bars=bars)
    if not len(found):
        raise InputError(f"no candle of {key} before {before}; ask for a later time")
    source, places = desk.source("candles", key, int(found.close_time[-1])), price_places(found.close)
    rows = [Row("candles", source.fact("bars shown", len(found), Unit.COUNT, "bars"))]
    for n in range(len(found)):
        facts = [*source.fact("open time", int(found.open_time[n]), Unit.TIME)]
        for name, series in (("open", found.open), ("high", found.high), ("low", found.low), ("close", found.close)):
            facts += source.fact(name, float(series[n]), Unit.PRICE, places=places)
        facts += source.fact("volume", float(found.volume[n]), Unit.NUMBER, coins(key.symbol)[0])
        rows.append(Row("candle", tuple(facts)))
    return source.found(f"Candles of {key.symbol} {key.interval}", rows)


def chart(desk: Desk, symbol: Symbol = "", interval: Interval = "", what: Score | Literal["candles"] = "candles",
          bars: Shown = 200) -> Found:
    """Show a chart under the answer: candles, or the history of a composite or module score."""
    key = desk.series(symbol, interval)
    source = desk.source("chart", key, desk.sextant.reader.last_close_ms(key) or 0)
    return source.found(f"Chart of {key.symbol}", (Row("chart", source.fact("bars shown", bars, Unit.COUNT, "bars")),), chart={
        "symbol": key.symbol, "interval": str(key.interval), "market": str(key.market), "what": what, "bars": bars})


def watchlist(desk: Desk, interval: Interval = "") -> Found:
    """Every watched symbol with price, change over 24 hours and, where it is scored already, trend strength and risk."""
    rows = []
    for symbol in desk.sextant.symbols(desk.key.market)[:30]:
        try:
            key = desk.series(symbol, interval)
        except DataError as error:
            rows.append(Row(symbol, (), str(error)))
            continue
        line = desk.sextant.board_row(symbol, key.interval, key.market, score=False)
        source = desk.source("watchlist", key, line.as_of_ms or 0)
        facts = [*source.fact(f"{symbol} price", line.price, Unit.PRICE, coins(symbol)[1],
                              places=price_places(line.closes) if line.closes else 2),
                 *source.fact(f"{symbol} change over 24 hours", line.change_24h, Unit.CHANGE)]
        for name in ("trend_strength", "risk_exposure") if line.card else ():
            facts += score_row(source, by_name(name).title, line.card.composite(name)).facts[:2]  # type: ignore[union-attr]
        rows.append(Row(symbol, tuple(facts), line.problem))
    source = desk.source("watchlist")
    rows.append(Row("counted", source.fact("symbols listed", len(rows), Unit.COUNT)))
    return source.found("The watchlist", rows)


def lab(desk: Desk, interval: Interval = "") -> Found:
    """What the score lab found: does each score predict anything on this interval? One verdict a score."""
    bars = interval or str(desk.key.interval)
    source, result = desk.source("score lab"), desk.sextant.lab_result(bars, desk.key.market)
    if result is None:
        return source.found("Score lab", (Row("score lab", (), f"no run of {bars} {desk.key.market} is stored; run: python -m core lab "
                                                               f"--interval {bars}"),))
    names = [(f"{m.letter} {m.name}", m.letter) for m in desk.sextant.modules] + [(c.title, c.name) for c in COMPOSITES]
    rows = [Row(title, source.fact(f"{title}: verdict", result.verdict(name), Unit.WORDS)) for title, name in names]
    d = result.document
    rows.insert(0, Row("run", (*source.fact("made at", result.made_at, Unit.WORDS),
                               *source.fact("bars judged", d.get("bars"), Unit.COUNT, "bars"),
                               *source.fact("tests in one family", d["report"]["tested"], Unit.COUNT))))
    return source.found("Score lab", rows)


def _score_title(desk: Desk, name: str) -> str:
    try:
        return by_name(name).title
    except SextantError:
        return desk.sextant.module(name).name


def _part_titles(desk: Desk, name: str, key: SeriesKey) -> dict[str, str]:
    """Titles of a score's own parts, by name."""
    try:
        report = desk.sextant.composite(name, key)
    except InputError:
        report = desk.sextant.scores(key).report(desk.sextant.module(name).letter)
    return {p.name: p.title for p in report.parts}


def _input(desk: Desk, name: str, titles: Mapping[str, str]) -> str:
    """How an input is called: "A.rsi" is a metric of module A."""
    letter, _, metric = name.partition(".")
    return titles.get(name) or (desk.sextant.module(letter).metric(metric).title if metric else word(name))


READING = (price, scores, module, composite, what_changed, flips, signal, forecast, candles, chart, watchlist, lab)
