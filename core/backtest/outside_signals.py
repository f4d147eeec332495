"""Signals from outside: a CSV of times and actions becomes the tables that the engine trades, refused by line where it cannot."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from core.backtest.signals import WORDS, Action, Signals, wrong_side, wrong_words
from core.risk import stops
from data.clock import parse_time
from data.errors import InputError
from data.frames import LATEST_MS, Candles

if TYPE_CHECKING:
    from core.backtest.question import Question

PRICES = {"stop_price": "stop", "target_price": "target"}  # columns of a file that give a level as a price


def gives_prices(rows: str) -> bool:
    """Whether a file has a column that gives a stop or target as a price."""
    return any(name in PRICES for name in _reader(rows).fieldnames or ())


def _reader(rows: str) -> csv.DictReader:
    reader = csv.DictReader(io.StringIO(rows.lstrip("\ufeff"), newline=None))
    try:
        reader.fieldnames = [n.strip().lower() for n in reader.fieldnames or []]
    except csv.Error as error:
        raise _unreadable(reader, error) from None
    return reader


def _unreadable(reader: csv.DictReader, error: csv.Error) -> InputError:
    return InputError(f"line {reader.line_num + 1}: cannot be read as CSV ({error}); is a quote open, or is it another kind of file?")


def _each(reader: csv.DictReader) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        yield from enumerate(reader, start=2)
    except csv.Error as error:
        raise _unreadable(reader, error) from None


def _columns(reader: csv.DictReader, symbols: int) -> dict[str, str]:
    """The file's column of each level it has."""
    names = list(reader.fieldnames or [])
    missing = [n for n in ("time", "action", *(("symbol",) if symbols > 1 else ())) if n not in names]
    if missing:
        raise InputError(f"line 1: expected columns time, action (symbol for several symbols; stop, target, trail, or stop_price, "
                         f"target_price if wanted), got {', '.join(names)[:80] or 'nothing'}; {missing[0]} is missing")
    prices = {level: name for name, level in PRICES.items() if name in names}
    both = [n for n in ("stop", "target") if prices and n in names]
    if both:
        raise InputError(f"line 1: column {both[0]} is a distance, {next(iter(prices.values()))} a price; give stop and target both as "
                         "distances or both as prices")
    return {n: n for n in ("stop", "target", "trail") if n in names} | prices


def outside_signals(question: Question, candles: Mapping[str, Candles]) -> list[Signals]:
    """Tables of a CSV text: time, action; symbol where several are traded; stop, target, trail as distances in quote currency, or
    stop_price and target_price. A row with the action `hold` only changes the trailing distance.

    Where a level has no column, stops are 2.5 average true ranges away and targets 1.5 times as far, scaled by the configuration's
    multiples.

    Raises
    ------
    InputError
        Naming line and column.
    """
    reader = _reader(question.rows or "")
    columns = _columns(reader, len(question.symbols))
    events: dict[str, list[tuple[int, int, str]]] = {s: [] for s in question.symbols}
    levels = {s: {n: np.full(len(c), math.nan) for n in columns} for s, c in candles.items()}
    for line, row in _each(reader):
        symbol = (row.get("symbol") or question.symbols[0]).strip().upper()
        if symbol not in events:
            raise InputError(f"line {line}: symbol {symbol[:20]!r} is not traded here; expected {', '.join(question.symbols)}")
        time, own = _time(row.get("time"), line), candles[symbol]
        events[symbol].append((line, time, row.get("action") or ""))
        at = int(np.searchsorted(own.open_time, time))
        if at == len(own) or own.open_time[at] != time:
            continue  # refused by name below
        for level, name in columns.items():
            text = (row.get(name) or "").strip()
            if text:
                levels[symbol][level][at] = _level(text, line, name)
                if name in PRICES:
                    _on_its_side(levels[symbol][level][at], row.get("action") or "", float(own.close[at]), line, name)
    out = []
    for symbol, own in candles.items():
        table, known = Signals.from_rows(symbol, own, events[symbol]), levels[symbol]
        stop, target = _priced(table, own, known) if question.config.distances == "price" else _apart(own, known)
        out.append(dataclasses.replace(table, stop=stop, target=target, trail=known.get("trail")))
    if not any(len(e) for e in events.values()):
        raise InputError("line 2: expected at least one signal, got an empty file")
    return out


def _apart(own: Candles, known: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Stop and target as distances; what the file does not have by the average true range."""
    stop = known["stop"] if "stop" in known else stops.atr_multiple(own)
    return stop, known["target"] if "target" in known else stops.target_of(stop)


def _priced(table: Signals, own: Candles, known: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Stop and target as prices at the entries; what the file does not have, measured from the close."""
    side = np.where(np.abs(table.action) == 1, table.action, math.nan)
    stop = known["stop"] if "stop" in known else own.close - side * stops.atr_multiple(own)
    target = known["target"] if "target" in known else own.close + side * stops.target_of(np.abs(own.close - stop))
    return _above_zero(stop), _above_zero(target)


def _above_zero(price: np.ndarray) -> np.ndarray:
    return np.where(price > 0.0, price, math.nan)


def _on_its_side(level: float, word: str, close: float, line: int, name: str) -> None:
    """Refuse a stop or target on the wrong side of the close at which the entry was decided."""
    action = np.array([WORDS.get(word.strip().lower(), Action.HOLD)])
    if wrong_side(PRICES[name], np.array([level]), action, np.array([close]))[0]:
        raise InputError(f"line {line}: {name} {wrong_words(PRICES[name], level, int(action[0]), close)}")


def _time(text: str | None, line: int) -> int:
    text = (text or "").strip()
    try:
        time = int(text) if text.isdecimal() and len(text) < 19 else parse_time(text)
    except InputError as error:
        raise InputError(f"line {line}: time {text[:30]!r}: {error}") from None
    if not 0 <= time <= LATEST_MS:
        raise InputError(f"line {line}: time {text[:30]!r}: expected milliseconds since 1970, or ISO 8601, UTC")
    return time


def _level(text: str, line: int, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0.0):
        raise InputError(f"line {line}: {name} {text[:20]!r}: expected a price above zero" if name in PRICES else
                         f"line {line}: {name} {text[:20]!r}: expected a distance above zero in quote currency; zero or below puts it "
                         "on the wrong side of the entry")
    return value
