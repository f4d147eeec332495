"""The bulk archives: a zip per day or month with its CHECKSUM, and the S3-like listing, made on demand from the same truth.

Kinds: spot klines, trades, aggTrades; um klines, markPriceKlines, indexPriceKlines, premiumIndexKlines, trades, aggTrades, metrics and
bookDepth (daily), fundingRate (monthly). A day appears at 09:00 UTC of the next one, a month at 09:00 on the second of the next. Bars
below one hour and trades and metrics reach back as far as the simulator's minutes (about 90 days), all else to its epoch. The
listing's sizes are nominal.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.sax.saxutils import escape

import numpy as np

from data.market import DAY_MS, HOUR_MS, Interval, Market
from data.simulator import derivatives as derived
from data.simulator.market import EPOCH_MS, FINE_DAYS
from data.simulator.tickbook import step_at
from data.simulator.venue_futures import derived_of, settlement_jitter_ms
from data.simulator.venue_market import Row, VenueMarket, bar_end, month_open, next_month

PUBLISHED_MS = 9 * HOUR_MS
MICROSECONDS_FROM_MS = 1_735_689_600_000  # spot files of 2025-01-01 and later
FINE_REACH_DAYS = FINE_DAYS - 2
PAGE = 1_000
BOOK_DEPTH_MS = HOUR_MS // 2
KEPT_FILES = 64
HEADERS = {
    "klines": "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore",
    "aggTrades": "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker",
    "trades": "id,price,qty,quote_qty,time,is_buyer_maker",
    "metrics": "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
               "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio",
    "fundingRate": "calc_time,funding_interval_hours,last_funding_rate",
    "bookDepth": "timestamp,percentage,depth,notional",
}
PRICE_KINDS = {"markPriceKlines": "mark", "indexPriceKlines": "index", "premiumIndexKlines": "premium"}
KINDS = {("spot", "daily"): ("aggTrades", "klines", "trades"), ("spot", "monthly"): ("aggTrades", "klines", "trades"),
         ("futures/um", "daily"): ("aggTrades", "bookDepth", "klines", "metrics", "trades", *PRICE_KINDS),
         ("futures/um", "monthly"): ("aggTrades", "fundingRate", "klines", "trades", *PRICE_KINDS)}
DAILY_INTERVALS = ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")
MONTHLY_INTERVALS = (*DAILY_INTERVALS, "3d", "1w", "1mo")
_NAME = re.compile(r"(?P<symbol>[A-Z0-9_]+)-(?P<what>\w+)-(?P<date>\d{4}-\d{2}(-\d{2})?)\.zip")


@dataclass(frozen=True)
class ArchiveFile:
    """One published zip, understood from its path."""

    side: str  # spot or futures/um
    kind: str
    symbol: str
    interval: str  # empty for what has none
    start_ms: int
    end_ms: int  # exclusive
    name: str

    @property
    def market(self) -> Market:
        return Market.SPOT if self.side == "spot" else Market.PERP


class Archives:
    """Files by key, from the market's truth at the clock's time."""

    def __init__(self, market: VenueMarket) -> None:
        self.market = market
        self._made: OrderedDict[str, bytes] = OrderedDict()

    def get(self, key: str, now: int) -> bytes | None:
        """The bytes of a zip or CHECKSUM; None where nothing has been published."""
        if key.endswith(".CHECKSUM"):
            body = self.get(key.removesuffix(".CHECKSUM"), now)
            name = key.removesuffix(".CHECKSUM").rsplit("/", 1)[-1]
            return None if body is None else f"{hashlib.sha256(body).hexdigest()}  {name}\n".encode()
        file = self.parse(key)
        if file is None or not self._published(file, now):
            return None
        if key not in self._made:
            text = self._csv(file)
            if text is None:
                return None
            self._made[key] = _zip(file.name.replace(".zip", ".csv"), text)
            while len(self._made) > KEPT_FILES:
                self._made.popitem(last=False)
        return self._made[key]

    def parse(self, key: str) -> ArchiveFile | None:
        parts = key.strip("/").split("/")
        if len(parts) < 6 or parts[0] != "data":
            return None
        side = "spot" if parts[1] == "spot" else "futures/um"
        rest = parts[2:] if side == "spot" else parts[3:] if parts[1:3] == ["futures", "um"] else []
        if len(rest) < 4 or rest[0] not in ("daily", "monthly") or rest[1] not in KINDS[side, rest[0]]:
            return None
        period, kind, symbol = rest[:3]
        interval = rest[3] if len(rest) == 5 else ""
        found = _NAME.fullmatch(rest[-1])
        wanted = interval or kind
        if found is None or found["symbol"] != symbol or found["what"] != wanted or symbol not in self.market.symbols:
            return None
        if (kind.lower().endswith("klines")) != bool(interval) or (len(found["date"]) == 10) != (period == "daily"):
            return None
        if interval and (interval not in (DAILY_INTERVALS if period == "daily" else MONTHLY_INTERVALS)
                         or (interval == "1s" and side != "spot")):
            return None
        try:
            day = datetime.strptime(found["date"] + ("-01" if period == "monthly" else ""), "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            return None
        start = int(day.timestamp()) * 1000
        return ArchiveFile(side, kind, symbol, interval, start, start + DAY_MS if period == "daily" else next_month(start), rest[-1])

    def _published(self, file: ArchiveFile, now: int) -> bool:
        monthly = file.end_ms - file.start_ms > DAY_MS
        fine = not (file.kind in ("fundingRate", "metrics") or _length(file.interval) >= HOUR_MS)
        oldest = now // DAY_MS * DAY_MS - FINE_REACH_DAYS * DAY_MS if fine or file.kind == "metrics" else EPOCH_MS
        return file.end_ms + (DAY_MS if monthly else 0) + PUBLISHED_MS <= now and file.start_ms >= oldest

    # -- contents ---------------------------------------------------------------------------------------------------

    def _csv(self, file: ArchiveFile) -> str | None:
        if file.interval:
            lines = self._candles(file)
        else:
            makers = {"aggTrades": self._trades, "trades": self._trades, "metrics": self._metrics, "fundingRate": self._funding,
                      "bookDepth": self._book_depth}
            lines = makers[file.kind](file)
        if not lines:
            return None
        head = HEADERS["klines" if file.interval else file.kind]
        return "\n".join(lines if file.side == "spot" else [head, *lines]) + "\n"

    def _candles(self, file: ArchiveFile) -> list[str]:
        interval = "1M" if file.interval == "1mo" else file.interval
        price = PRICE_KINDS.get(file.kind)
        side = Market.SPOT if price else file.market
        later = file.end_ms + 40 * DAY_MS  # at which every bar of the file is closed
        rows: list[Row] = self.market.klines(file.symbol, side, interval, file.start_ms, file.end_ms - 1, 100_000, later)
        rows = [r for r in rows if r[0] < file.end_ms]
        if price:
            rows = derived_of(self.market).price_rows(price, file.symbol, interval, rows)
        spelling = self.market.spelling(file.symbol, Market.SPOT if price else file.market)
        out = []
        for row in rows:
            cells = self.market.kline(row, spelling, volumes=price is None)
            if file.side == "spot" and file.start_ms >= MICROSECONDS_FROM_MS:
                cells[0], cells[6] = cells[0] * 1000, cells[6] * 1000 + 999
            out.append(",".join(str(c) for c in cells))
        return out

    def _trades(self, file: ArchiveFile) -> list[str]:
        s = self.market.spelling(file.symbol, file.market)
        spot = file.side == "spot"
        scale = 1000 if spot and file.start_ms >= MICROSECONDS_FROM_MS else 1
        out = []
        for n, at, p, v, maker in self.market.floor.trades(file.symbol, file.market, file.start_ms, file.end_ms):
            m = str(maker) if spot else str(maker).lower()
            if file.kind == "aggTrades":
                out.append(f"{n},{s.p(p)},{s.q(v)},{n},{n},{at * scale},{m}{',True' if spot else ''}")
            else:
                out.append(f"{n},{s.p(p)},{s.q(v)},{s.v(p * v)},{at * scale},{m}{',True' if spot else ''}")
        return out

    def _metrics(self, file: ArchiveFile) -> list[str]:
        found = derived_of(self.market)
        stamps = np.arange(file.start_ms, file.end_ms, 300_000, dtype=np.int64) + 300_000  # the first row is 00:05, the last midnight
        candles = self.market.tape.candles(file.symbol, Market.PERP, Interval.M5, file.start_ms, file.end_ms)
        taker = {int(t) + 300_000: (b / (v - b) if v > b else 0.0, c) for t, v, b, c in zip(
            candles.open_time.tolist(), candles.volume.tolist(), candles.taker_buy_volume.tolist(), candles.close.tolist(), strict=True)}
        held = found.open_interest(file.symbol, stamps).tolist()
        seed, number = self.market.tape.seed, self.market.tape.number(file.symbol)
        ratios = []
        for which in ("top_account", "top_position", "global"):
            share = derived.long_share(seed, number, which, stamps)
            ratios.append((share / (1 - share)).tolist())
        out = []
        for i, at in enumerate(stamps.tolist()):
            if at in taker:
                day = datetime.fromtimestamp(at // 1000, UTC)
                out.append(f"{day:%Y-%m-%d %H:%M:%S},{file.symbol},{held[i]:.4f},{held[i] * taker[at][1]:.8f},{ratios[0][i]:.8f},"
                           f"{ratios[1][i]:.8f},{ratios[2][i]:.8f},{taker[at][0]:.8f}")
        turn = (file.start_ms // DAY_MS * 37) % max(1, len(out))
        return out[turn:] + out[:turn]  # real files are not sorted either

    def _book_depth(self, file: ArchiveFile) -> list[str]:
        """Every half hour (the exchange's are 30 s apart): base and quote quantity within so many percent of the mid, cumulative."""
        tick, step = (getattr(self.market.tape.listing(file.symbol), name) for name in ("tick", "step"))
        s = self.market.spelling(file.symbol, file.market)
        out = []
        for at in range(file.start_ms, file.end_ms, BOOK_DEPTH_MS):
            book = self.market.floor.book(file.symbol, file.market, step_at(at))
            sides = {sign: np.array(list(side.items()), np.float64) * (tick, step) for sign, side in ((-1, book.bids), (1, book.asks))}
            mid = (sides[-1][0, 0] + sides[1][0, 0]) / 2
            day = datetime.fromtimestamp(at // 1000, UTC)
            for percent in (-5, -4, -3, -2, -1, -0.2, 0.2, 1, 2, 3, 4, 5):
                levels = sides[-1 if percent < 0 else 1]
                near = levels[np.abs(levels[:, 0] / mid - 1) <= abs(percent) / 100]
                out.append(f"{day:%Y-%m-%d %H:%M:%S},{percent:.2f},{s.q(near[:, 1].sum())},{s.v((near[:, 0] * near[:, 1]).sum())}")
        return out

    def _funding(self, file: ArchiveFile) -> list[str]:
        number = self.market.tape.number(file.symbol)
        times = derived.funding_times(number, file.start_ms, file.end_ms - 1)
        rates = derived.funding_rates(self.market.tape.seed, number, times)
        hours = derived.funding_hours(number)
        return [f"{at + settlement_jitter_ms(at)},{hours},{rate:.8f}" for at, rate in zip(times.tolist(), rates.tolist(), strict=True)]

    # -- the listing ------------------------------------------------------------------------------------------------

    def listing(self, prefix: str, marker: str, now: int) -> bytes:
        """The folder that holds `prefix`, delimiter /, in pages of a thousand keys."""
        folder = prefix.rsplit("/", 1)[0] + "/" if "/" in prefix else ""
        names = sorted(name for name in self._children(folder, now) if name.startswith(prefix) and name > marker)
        page, more = names[:PAGE], len(names) > PAGE
        files = "".join(
            f"<Contents><Key>{escape(n)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;"
            f"{hashlib.md5(n.encode(), usedforsecurity=False).hexdigest()}&quot;</ETag><Size>1024</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>" for n in page if not n.endswith("/"))
        folders = "".join(f"<CommonPrefixes><Prefix>{escape(n)}</Prefix></CommonPrefixes>" for n in page if n.endswith("/"))
        following = f"<NextMarker>{escape(page[-1])}</NextMarker>" if more else ""
        return ('<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
                f"<Name>data.binance.vision</Name><Prefix>{escape(prefix)}</Prefix><Marker>{escape(marker)}</Marker>{following}"
                f"<MaxKeys>{PAGE}</MaxKeys><Delimiter>/</Delimiter><IsTruncated>{str(more).lower()}</IsTruncated>{files}{folders}"
                "</ListBucketResult>").encode()

    def _children(self, folder: str, now: int) -> list[str]:
        """Names inside a folder; folders end with a slash."""
        parts = [p for p in folder.split("/") if p]
        if parts[:1] not in ([], ["data"]):
            return []
        fixed = {0: ["data"], 1: ["futures", "spot"]}
        if len(parts) in fixed:
            return [f"{folder}{name}/" for name in fixed[len(parts)]]
        side = "spot" if parts[1] == "spot" else "futures/um"
        if parts[1] == "futures" and len(parts) == 2:
            return [f"{folder}um/"]
        rest = parts[2:] if side == "spot" else parts[3:]
        if not rest:
            return [f"{folder}daily/", f"{folder}monthly/"]
        if (side, rest[0]) not in KINDS:
            return []
        if len(rest) == 1:
            return [f"{folder}{kind}/" for kind in KINDS[side, rest[0]]]
        if len(rest) == 2:
            return [f"{folder}{symbol}/" for symbol in self.market.symbols]
        if len(rest) == 3 and rest[1].lower().endswith("klines"):
            return [f"{folder}{i}/" for i in (DAILY_INTERVALS if rest[0] == "daily" else MONTHLY_INTERVALS)]
        out = []
        what = rest[3] if len(rest) == 4 else rest[1]
        at = EPOCH_MS // DAY_MS * DAY_MS if rest[0] == "daily" else month_open(EPOCH_MS)
        while at < now:
            day = datetime.fromtimestamp(at // 1000, UTC)
            key = f"{folder}{rest[2]}-{what}-{day:%Y-%m-%d}.zip" if rest[0] == "daily" else f"{folder}{rest[2]}-{what}-{day:%Y-%m}.zip"
            file = self.parse(key)
            if file is not None and self._published(file, now):
                out += [key, key + ".CHECKSUM"]
            at = at + DAY_MS if rest[0] == "daily" else next_month(at)
        return out


def _length(interval: str) -> int:
    """Milliseconds of an archive interval; 0 for files that have none."""
    return bar_end("1M" if interval == "1mo" else interval, 0) if interval else 0


def _zip(name: str, text: str) -> bytes:
    """One CSV in a zip whose bytes depend on the text alone."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)
    return out.getvalue()
