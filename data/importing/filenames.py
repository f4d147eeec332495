"""What the name and folder of a file say: symbol, interval, market, and whether it holds candles at all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath

from data.errors import ImportRefused, UnknownInterval, UnknownSymbol
from data.market import Interval, Market, parse_symbol

# Kinds of the public archive that are no candles of a trade price. The kline kinds of mark, index and premium prices carry the
# same file name as real candles (BTCUSDT-1h-2024-01.zip), so the folder decides, and decides before anything is read.
_OTHER_FOLDERS = {"markpriceklines": "markPriceKlines", "indexpriceklines": "indexPriceKlines",
                  "premiumindexklines": "premiumIndexKlines"}
_OTHER_KINDS = ("fundingRate", "metrics", "aggTrades", "trades", "bookTicker", "bookDepth", "liquidationSnapshot",
                "markPriceKlines", "indexPriceKlines", "premiumIndexKlines", "BVOLIndex", "EOHSummary")
_CANDLE_ENDINGS = (".zip", ".csv", ".csv.gz", ".txt", ".tsv", ".csv.zip")
_QUOTES = ("USDT", "USDC", "FDUSD", "BUSD", "TUSD", "USD", "BTC", "ETH", "BNB", "EUR", "TRY", "GBP", "BRL", "DAI")
_INTERVAL = re.compile(r"^\d{1,2}(s|m|h|d|w|M|H|D|W|mo|min)$")


@dataclass(frozen=True)
class NamedSeries:
    """What could be read off the name; None where it says nothing."""

    symbol: str | None
    interval: str | None
    market: Market | None


def other_kind(path: PurePath) -> str | None:
    """The kind of a file that is not candles, as it is counted in the report; None for a candle file.

    >>> other_kind(PurePath("BTCUSDT-fundingRate-2022-02.zip")), other_kind(PurePath("BTCUSDT-1h-2022-02.zip"))
    ('fundingRate', None)
    """
    name = path.name
    if name.upper().endswith(".CHECKSUM"):
        return "CHECKSUM"
    for part in path.parts[:-1]:
        if part.lower() in _OTHER_FOLDERS:
            return _OTHER_FOLDERS[part.lower()]
    for kind in _OTHER_KINDS:
        if re.search(rf"[-_.]{kind}[-_.]", name, re.IGNORECASE):
            return kind
    if name.startswith(".") or not name.lower().endswith(_CANDLE_ENDINGS):
        return path.suffix.lstrip(".").lower()[:12] or "no ending"
    return None


def read_name(path: PurePath) -> NamedSeries:
    """Symbol and interval from a name such as BTCUSDT-1m-2021-03-26_2021-04-30.csv.zip, market from the archive's folders.

    >>> read_name(PurePath("data/futures/um/monthly/klines/WLDUSDT/1h/WLDUSDT-1h-2023-10.zip"))
    NamedSeries(symbol='WLDUSDT', interval='1h', market=<Market.PERP: 'perp'>)
    """
    stem = re.sub(r"(\.(zip|csv|gz|txt|tsv))+$", "", path.name, flags=re.IGNORECASE)
    words = [w for w in re.split(r"[-_ .()]+", stem) if w]
    symbol = interval = None
    at = next((i for i, word in enumerate(words) if i and _INTERVAL.match(word)), None)
    if at is not None:
        interval = words[at]
        symbol = words[at - 1]
        if re.fullmatch(r"\d{6}", symbol) and at >= 2:  # a quarterly contract: BTCUSDT_240927
            symbol = f"{words[at - 2]}_{symbol}"
        elif symbol.upper() in _QUOTES and at >= 2:  # BTC_USDT_1h, BTC-USDT-1h
            symbol = words[at - 2] + symbol
    return NamedSeries(symbol, interval, _market_of(path))


def _market_of(path: PurePath) -> Market | None:
    parts = [part.lower() for part in path.parts[:-1]]
    for before, part, after in zip(["", *parts], parts, [*parts[1:], ""], strict=False):
        if part == "spot" and (before == "data" or after in ("daily", "monthly")):
            return Market.SPOT
        if part == "futures" and after == "um":
            return Market.PERP
        if part == "futures" and after == "cm":
            raise ImportRefused("these are coin-margined futures (futures/cm); only spot and USDT-margined candles are stored")
    return None


def settle_symbol(named: str | None, given: str | None) -> str:
    """
    Raises
    ------
    ImportRefused
        When neither or both, differing, say it, or what is said is no symbol.
    """
    try:
        from_name = parse_symbol(named) if named else None
        wanted = parse_symbol(given) if given else None
    except UnknownSymbol as error:
        raise ImportRefused(f"{error}; rename the file or give --symbol") from None
    if from_name and wanted and from_name != wanted:
        raise ImportRefused(f"the file name says {from_name}, --symbol says {wanted}; leave the option out or rename the file")
    if not (from_name or wanted):
        raise ImportRefused("expected a symbol and an interval in the file name (BTCUSDT-1h-2024-01.zip); rename the file or "
                            "give --symbol and --interval")
    return wanted or from_name or ""


def settle_interval(named: str | None, given: Interval | None) -> Interval:
    """
    Raises
    ------
    ImportRefused
        When neither or both, differing, say it, or it is one that Sextant does not store.
    """
    from_name = None
    if named:
        spelled = named if named.endswith(("M", "mo")) else named.lower().replace("min", "m")  # 1M is a month, 1m a minute
        try:
            from_name = Interval.parse(spelled)
        except UnknownInterval as error:
            raise ImportRefused(f"{error}; months and seconds are not stored") from None
    if from_name and given and from_name != given:
        raise ImportRefused(f"the file name says {from_name}, --interval says {given}; leave the option out or rename the file")
    if not (from_name or given):
        raise ImportRefused("the file name says no interval (BTCUSDT-1h-2024-01.zip); rename the file or give --interval")
    return given or from_name or Interval.H1


def settle_market(named: Market | None, given: Market | None) -> Market:
    """
    Raises
    ------
    ImportRefused
        When neither or both, differing, say it: a perp price stored as spot would be silently wrong.
    """
    if named and given and named != given:
        raise ImportRefused(f"the folder says {named}, --market says {given}; leave the option out or move the file")
    if not (named or given):
        raise ImportRefused("the path does not say whether these are spot or perp prices (data/spot/..., futures/um/...); give "
                            "--market spot or --market perp")
    return given or named or Market.SPOT
