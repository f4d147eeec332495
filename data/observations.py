"""Everything that is known beside candles: funding, open interest, ratios, trades, books at a moment, on-chain days.

An `Observations` is columnar and read-only, oldest first. Every row carries two times: `event_time`, the moment it describes, and
`available_time`, the moment anybody could have known it. Views join by the second (methods.md N1, X16): a daily on-chain figure
published at 02:30 is not known at midnight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from data.errors import ContractBroken


class Kind(StrEnum):
    """What can be known of a market: what sources provide and modules need. All but candles are observations, whose columns stand in
    `COLUMNS_OF` with their units; candles have a type of their own (data/frames.py)."""

    CANDLES = "candles"
    FUNDING = "funding"
    FUNDING_PREDICTED = "predicted funding"
    OPEN_INTEREST = "open interest"
    GLOBAL_RATIO = "global long/short ratio"
    TOP_ACCOUNT_RATIO = "top trader account ratio"
    TOP_POSITION_RATIO = "top trader position ratio"
    TAKER_RATIO = "taker buy/sell ratio"
    BASIS = "basis"
    MARK_PRICE = "mark price"
    INDEX_PRICE = "index price"
    PREMIUM_INDEX = "premium index"
    TICKER = "ticker"
    BOOK_TICKER = "best bid and ask"
    BOOK = "order book"
    TRADES = "trades"
    AGG_TRADES = "aggregated trades"
    LIQUIDATIONS = "forced orders"
    OPTION_MARK = "option marks"
    OPTION_OPEN_INTEREST = "option open interest"
    ON_CHAIN = "on-chain"
    STABLECOIN_SUPPLY = "stablecoin supply"
    FEAR_GREED = "fear and greed"
    HASH_RATE = "hash rate"
    BOOK_DEPTH = "book depth"
    CONTINUOUS = "continuous contract"
    AVERAGE_PRICE = "average price"
    MINUTE_FLOW = "order flow by the minute"
    SECOND_FLOW = "order flow by the second"


# Prices in quote currency, quantities in base currency, rates and shares as fractions, `side` +1 buy or -1 sell (of the taker).
COLUMNS_OF: Mapping[Kind, tuple[str, ...]] = {
    Kind.FUNDING: ("rate", "interval_h", "mark_price"),
    Kind.FUNDING_PREDICTED: ("rate", "interval_h", "next_time_ms"),
    Kind.OPEN_INTEREST: ("contracts", "value_quote"),
    Kind.GLOBAL_RATIO: ("ratio", "long_share", "short_share"),
    Kind.TOP_ACCOUNT_RATIO: ("ratio", "long_share", "short_share"),
    Kind.TOP_POSITION_RATIO: ("ratio", "long_share", "short_share"),
    Kind.TAKER_RATIO: ("ratio", "buy_volume", "sell_volume"),
    Kind.BASIS: ("basis", "basis_rate", "annualised_rate", "futures_price", "index_price"),
    Kind.MARK_PRICE: ("open", "high", "low", "close"),
    Kind.INDEX_PRICE: ("open", "high", "low", "close"),
    Kind.PREMIUM_INDEX: ("open", "high", "low", "close"),
    Kind.TICKER: ("last", "open", "high", "low", "volume", "quote_volume", "count"),
    Kind.BOOK_TICKER: ("bid", "bid_quantity", "ask", "ask_quantity"),
    Kind.BOOK: ("side", "price", "quantity", "update_id"),
    Kind.TRADES: ("trade_id", "price", "quantity", "side"),
    Kind.AGG_TRADES: ("agg_id", "price", "quantity", "side", "first_id", "last_id"),
    Kind.LIQUIDATIONS: ("side", "price", "average_price", "quantity", "filled_quantity"),
    Kind.OPTION_MARK: ("strike", "expiry_ms", "is_call", "mark_price", "mark_iv", "delta", "gamma", "theta", "vega"),
    Kind.OPTION_OPEN_INTEREST: ("strike", "expiry_ms", "is_call", "contracts", "value_quote"),
    Kind.ON_CHAIN: ("price", "market_cap", "mvrv", "supply", "flow_in", "flow_out", "exchange_balance", "issuance_value"),
    Kind.STABLECOIN_SUPPLY: ("supply_usd",),
    Kind.FEAR_GREED: ("value",),
    Kind.HASH_RATE: ("value",),
    Kind.BOOK_DEPTH: ("percentage", "depth", "notional"),
    Kind.CONTINUOUS: ("open", "high", "low", "close"),
    Kind.AVERAGE_PRICE: ("price", "minutes"),
    # Condensed from books and trades as they stream by; what each column means stands in data/streams/flow_samples.py.
    Kind.MINUTE_FLOW: (
        "mid", "spread_bps", "obi", "obi_1", "obi_5", "obi_20", "bid_depth_10", "ask_depth_10", "bid_mass_50", "ask_mass_50",
        "buy_slippage_10k", "sell_slippage_10k", "unfilled_10k", "buy_slippage_100k", "sell_slippage_100k", "unfilled_100k",
        "bid_elasticity", "ask_elasticity", "bid_log_depth", "ask_log_depth", "wall_bps", "wall_mass", "buy_volume", "sell_volume", "ofi",
        "best_depth", "large_share"),
    Kind.SECOND_FLOW: (
        "mid", "bid", "ask", "bid_quantity", "ask_quantity", "spread_bps", "imbalance", "depth", "buy_volume", "sell_volume", "buy_count",
        "sell_count", "ofi", "latency_flow", "latency_ms", "price_changes", "updates", "life_ms"),
}
WHOLE_MARKET = "MARKET"  # the symbol of series that belong to no coin
_OF_THE_MARKET = (Kind.STABLECOIN_SUPPLY, Kind.FEAR_GREED)
_OF_THE_COIN = (Kind.ON_CHAIN, Kind.OPTION_MARK, Kind.OPTION_OPEN_INTEREST)


def coin_of(symbol: str) -> str:
    """
    >>> coin_of("BTCUSDT"), coin_of("BTC")
    ('BTC', 'BTC')
    """
    for quote in ("USDT", "USDC", "USD"):
        if symbol.endswith(quote) and len(symbol) > len(quote):
            return symbol[: -len(quote)]
    return symbol


def home_of(symbol: str, kind: Kind, market: str = "perp") -> tuple[str, str]:
    """Under which symbol and market a kind is kept: what belongs to a coin under its name, what belongs to none under MARKET.

    >>> home_of("BTCUSDT", Kind.FUNDING), home_of("BTCUSDT", Kind.ON_CHAIN), home_of("BTCUSDT", Kind.FEAR_GREED)
    (('BTCUSDT', 'perp'), ('BTC', 'none'), ('MARKET', 'none'))
    """
    if kind in _OF_THE_MARKET:
        return WHOLE_MARKET, "none"
    if kind is Kind.HASH_RATE:
        return "BTC", "none"
    if kind in _OF_THE_COIN:
        return coin_of(symbol), "none"
    return symbol, str(market)


@dataclass(frozen=True)
class Observations:
    """Rows of one kind, ordered by (available_time, event_time); equal times keep the order in which they arrived.

    Attributes
    ----------
    event_time, available_time : ndarray of int64, shape (n,)
        UTC milliseconds; available_time >= event_time is not required of a clock-skewed feed but of everything else.
    columns : mapping of name to ndarray of float64, shape (n,)
        Exactly `COLUMNS_OF[kind]`; NaN where the source did not carry the value.
    provenance : str
        As for candles; another exchange reads VENUE:name.
    """

    kind: Kind
    event_time: np.ndarray
    available_time: np.ndarray
    columns: Mapping[str, np.ndarray]
    provenance: str = "LIVE"
    note: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        expected = COLUMNS_OF[self.kind]
        if tuple(self.columns) != expected:
            raise ContractBroken(f"{self.kind} expects the columns {', '.join(expected)}, got {', '.join(self.columns)}")
        times = {name: np.ascontiguousarray(getattr(self, name), np.int64) for name in ("event_time", "available_time")}
        values = {name: np.ascontiguousarray(column, np.float64) for name, column in self.columns.items()}
        for name, array in {**times, **values}.items():
            if array.shape != times["event_time"].shape:
                raise ContractBroken(f"column {name} of {self.kind} has shape {array.shape}, event_time has {times['event_time'].shape}")
        if np.any(np.diff(times["available_time"]) < 0):
            order = np.lexsort((times["event_time"], times["available_time"]))
            times = {name: array[order] for name, array in times.items()}
            values = {name: array[order] for name, array in values.items()}
        for array in (*times.values(), *values.values()):
            array.flags.writeable = False
        for name, array in times.items():
            object.__setattr__(self, name, array)
        object.__setattr__(self, "columns", values)

    def __len__(self) -> int:
        return len(self.event_time)

    def __getitem__(self, column: str) -> np.ndarray:
        return self.columns[column]

    @classmethod
    def empty(cls, kind: Kind, *, provenance: str = "LIVE", note: str = "") -> Observations:
        nothing = np.empty(0, np.int64)
        return cls(kind, nothing, nothing, {name: np.empty(0) for name in COLUMNS_OF[kind]}, provenance, note)

    def take(self, rows: slice | np.ndarray) -> Observations:
        return replace(self, event_time=self.event_time[rows], available_time=self.available_time[rows],
                       columns={name: column[rows] for name, column in self.columns.items()})

    def known_at(self, at_ms: int) -> Observations:
        """What anybody could have known right before `at_ms`: available_time < at_ms."""
        return self.take(slice(0, int(np.searchsorted(self.available_time, at_ms, side="left"))))
