"""Binance's public archive: zip files by month and by day, each checked against its CHECKSUM (binance.md 12).

It works where every API is blocked, and reaches back further than the API does for open interest and ratios. It ends yesterday: day
D appears at about 09:00 UTC of D+1, months early in the next month.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

from data.errors import BadPayload, ImportRefused, NotOffered
from data.frames import Candles, concat
from data.importing.archives import check_sum, members
from data.importing.tabular import read_table
from data.market import DAY_MS, Interval, Market, Provenance, SeriesKey
from data.observations import Kind, Observations
from data.sources.base import Source, Window, cut, one_series
from data.sources.fields import joined
from data.sources.parse_archive import METRIC_KINDS, archive_funding_of, book_depth_of, metrics_of, price_table_of, trade_table_of
from data.sources.parse_klines import Bars

_FOLDER = {Market.SPOT: "spot", Market.PERP: "futures/um"}
_PRICE_FOLDER = {Kind.MARK_PRICE: "markPriceKlines", Kind.INDEX_PRICE: "indexPriceKlines", Kind.PREMIUM_INDEX: "premiumIndexKlines"}
_TRADE_FOLDER = {Kind.TRADES: "trades", Kind.AGG_TRADES: "aggTrades"}
DAY_FILES = tuple(_TRADE_FOLDER)  # whole days of them are here, while the APIs give the newest thousand or the last hour
DAYS_BEFORE_MONTH = 8  # up to so many missing days of a month come as daily files: they are fewer bytes, and mend bad months
_MONTHLY_ONLY = (Interval.D3, Interval.W1)
_KEPT_FILES = 64
MOST_LOOKED_AT = 120  # files asked for when nobody knows the symbol
FIRST_YEAR = 2017
_AT_ONCE = 4
_PROBE = "/data/spot/monthly/klines/BTCUSDT/1d/BTCUSDT-1d-2024-01.zip.CHECKSUM"


class Archive(Source):
    """data.binance.vision."""

    name = "Binance archive"
    channel_name = "archive"
    candle_markets = (Market.SPOT, Market.PERP)
    provides = (Kind.FUNDING, *METRIC_KINDS, *_PRICE_FOLDER, *_TRADE_FOLDER, Kind.BOOK_DEPTH)
    lacks = "nothing after yesterday, and funding only of finished months"
    source_provenance = Provenance.ARCHIVE

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._guard = threading.Lock()

    def ping(self) -> int | None:
        self._transport.get(self.channel, _PROBE, attempts=1)
        return None

    # -- candles ----------------------------------------------------------------------------------------------------------

    def windows(self, key: SeriesKey, start_ms: int, end_ms: int) -> list[Window]:
        """Whole months where most of a month is wanted and over, days elsewhere; nothing of today."""
        today = self._clock.now_ms() // DAY_MS * DAY_MS
        end_ms = min(end_ms, today)
        out: list[Window] = []
        for month, first, last in _months(start_ms, end_ms):
            a, b = max(first, start_ms), min(last, end_ms)
            if key.interval in _MONTHLY_ONLY or ((b - a) > DAYS_BEFORE_MONTH * DAY_MS and last <= today):
                out.append(Window(a, b, month))
            else:
                out += [Window(max(day, a), min(day + DAY_MS, b), _day(day)) for day in range(a // DAY_MS * DAY_MS, b, DAY_MS)]
        return out

    def fetch(self, key: SeriesKey, window: Window) -> Bars:
        month = len(window.name) == 7
        try:
            return self._candles(key, window)
        except NotOffered:
            if not month or key.interval in _MONTHLY_ONLY:
                return Bars(Candles.empty(key.interval))  # not published: a hole that stays "not yet known"
        days = [Window(max(day, window.start_ms), min(day + DAY_MS, window.end_ms), _day(day))
                for day in range(window.start_ms // DAY_MS * DAY_MS, window.end_ms, DAY_MS)]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = list(pool.map(lambda w: self.fetch(key, w), days))
        parts = [bars.candles for bars in found if len(bars.candles)]
        rejected = tuple(words for bars in found for words in bars.rejected)
        return Bars(concat(parts) if parts else Candles.empty(key.interval), rejected)

    def _candles(self, key: SeriesKey, window: Window) -> Bars:
        path = self._path(key, window.name)
        data = self._file(path, keep=False)
        try:
            table = read_table(data, key.symbol, key.interval)
        except ImportRefused as error:
            raise BadPayload(f"{self.name}: {path.rsplit('/', 1)[-1]}: {error}", host=self.channel.host) from None
        candles = Candles.from_columns(key.interval, table.columns, provenance=self.provenance)
        return Bars(_sorted(candles).between(window.start_ms, window.end_ms), tuple(f"line {line}: {why}" for line, why in table.faults))

    # -- everything else --------------------------------------------------------------------------------------------------

    def observations(self, kind: Kind, symbol: str, start_ms: int, end_ms: int, market: Market) -> Observations:
        today = self._clock.now_ms() // DAY_MS * DAY_MS
        end_ms = min(end_ms, today)
        if kind is Kind.FUNDING:
            wanted = [month for month, _, last in _months(start_ms, end_ms) if last <= today]
            found = self._many([f"/data/futures/um/monthly/fundingRate/{symbol}/{symbol}-fundingRate-{m}.zip" for m in wanted],
                               lambda data: archive_funding_of(data, provenance=self.provenance))
        elif kind in METRIC_KINDS:
            days = [_day(day) for day in range(start_ms // DAY_MS * DAY_MS, end_ms, DAY_MS)]
            found = self._many([f"/data/futures/um/daily/metrics/{symbol}/{symbol}-metrics-{d}.zip" for d in days],
                               lambda data: metrics_of(data, kind, symbol, provenance=self.provenance))
        elif kind in _PRICE_FOLDER:
            windows = self.windows(SeriesKey(symbol, Interval.H1, Market.PERP), start_ms, end_ms)
            folder = f"{_PRICE_FOLDER[kind]}/{symbol}/1h/{symbol}-1h"
            files = [f"/data/futures/um/{'monthly' if len(w.name) == 7 else 'daily'}/{folder}-{w.name}.zip" for w in windows]
            found = self._many(files, lambda data: price_table_of(data, kind, provenance=self.provenance))
        elif kind in _TRADE_FOLDER:  # by day: some monthly files are short, and of a busy symbol too large to be read at once
            name = _TRADE_FOLDER[kind]
            days = [_day(day) for day in range(start_ms // DAY_MS * DAY_MS, end_ms, DAY_MS)]
            found = self._many([f"/data/{_FOLDER[market]}/daily/{name}/{symbol}/{symbol}-{name}-{d}.zip" for d in days],
                               lambda data: trade_table_of(data, kind, provenance=self.provenance), keep=False)
        elif kind is Kind.BOOK_DEPTH:
            days = [_day(day) for day in range(start_ms // DAY_MS * DAY_MS, end_ms, DAY_MS)]
            found = self._many([f"/data/futures/um/daily/bookDepth/{symbol}/{symbol}-bookDepth-{d}.zip" for d in days],
                               lambda data: book_depth_of(data, provenance=self.provenance))
        else:
            return super().observations(kind, symbol, start_ms, end_ms, market)
        parts = [part for part in found if part is not None]
        if found and not parts:
            raise NotOffered(f"{self.name} has no {kind} of {symbol} for these days", host=self.channel.host)
        missing = len(found) - len(parts)
        note = f"{missing} of {len(found)} files of {symbol} {kind} are not published" if missing else ""
        if kind in _TRADE_FOLDER or kind is Kind.BOOK_DEPTH:  # many rows of one moment, and no two files hold the same day
            return cut(joined(kind, parts, self.provenance, note), start_ms, end_ms)
        return cut(one_series(kind, parts, self.provenance, note), start_ms, end_ms)

    def serves(self, market: Market, kind: Kind) -> bool:
        return market is Market.PERP or kind in _TRADE_FOLDER

    def published(self, key: SeriesKey, start_ms: int, end_ms: int) -> list[Window]:
        """The windows of a stretch whose files exist, asked by their small digests: for a symbol that the APIs do not know."""
        wanted = self.windows(key, start_ms, end_ms)[-MOST_LOOKED_AT:]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            there = list(pool.map(lambda window: self._exists(key, window.name), wanted))
        return [window for window, found in zip(wanted, there, strict=True) if found]

    def last_month(self, key: SeriesKey) -> str:
        """A month, looked for in steps of half a year back from now, that has candles of the series; empty for none."""
        now = datetime.fromtimestamp(self._clock.now_ms() // 1000, UTC)
        for back in range(2 * (now.year - FIRST_YEAR)):
            year, half = divmod(2 * now.year + (now.month > 6) - back, 2)
            month = f"{year}-{'07' if half else '01'}"
            if self._exists(key, month):
                return month
        return ""

    def _exists(self, key: SeriesKey, name: str) -> bool:
        try:
            self._transport.get(self.channel, f"{self._path(key, name)}.CHECKSUM")
        except NotOffered:
            return False
        return True

    def _path(self, key: SeriesKey, name: str) -> str:
        span, spelled = "monthly" if len(name) == 7 else "daily", str(key.interval)
        return f"/data/{_FOLDER[key.market]}/{span}/klines/{key.symbol}/{spelled}/{key.symbol}-{spelled}-{name}.zip"

    def _many(self, paths: list[str], parse: Callable[[bytes], Observations], *, keep: bool = True) -> list[Observations | None]:
        def one(path: str) -> Observations | None:
            try:
                return parse(self._file(path, keep=keep))
            except NotOffered:
                return None

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(one, paths))

    def _file(self, path: str, *, keep: bool) -> bytes:
        """The table inside a zip whose SHA-256 equals its CHECKSUM file.

        Raises
        ------
        NotOffered
            When it is not published.
        BadPayload
            When digest or zip are wrong, twice: a file replaced between the two requests gets a second chance.
        """
        if not path.isascii():
            raise NotOffered(f"{self.name} is not asked for symbols outside ASCII", host=self.channel.host)
        with self._guard:
            if path in self._kept:
                self._kept.move_to_end(path)
                return self._kept[path]
        for attempt in range(2):
            digest = self._transport.get(self.channel, f"{path}.CHECKSUM").body
            data = self._transport.get(self.channel, path).body
            try:
                check_sum(path, data, digest[:4096].decode("utf-8", "replace"))
                table = next(iter(members(path, data))).data
                break
            except (ImportRefused, StopIteration) as error:
                if attempt:
                    raise BadPayload(f"{self.name}: {path.rsplit('/', 1)[-1]}: {error or 'the zip is empty'}",
                                     host=self.channel.host) from None
        if keep:
            with self._guard:
                self._kept[path] = table
                while len(self._kept) > _KEPT_FILES:
                    self._kept.popitem(last=False)
        return table


def _sorted(candles: Candles) -> Candles:
    """Oldest first and unique: some archive files are neither."""
    import numpy as np

    _, first = np.unique(candles.open_time, return_index=True)
    return candles if len(first) == len(candles) and bool(np.all(np.diff(first) == 1)) else candles.take(first)


def _months(start_ms: int, end_ms: int) -> list[tuple[str, int, int]]:
    """(name, first moment, first moment after) of every month that the stretch touches."""
    out = []
    day = datetime.fromtimestamp(start_ms // 1000, UTC).date().replace(day=1)
    while _ms(day) < end_ms:
        after = (day + timedelta(days=32)).replace(day=1)
        out.append((f"{day:%Y-%m}", _ms(day), _ms(after)))
        day = after
    return out


def _ms(day: date) -> int:
    return (day - date(1970, 1, 1)).days * DAY_MS


def _day(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%d}"
