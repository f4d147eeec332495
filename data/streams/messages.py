"""Bytes of a stream frame to one typed message (binance.md 11.3). Nothing here knows about connections.

Prices, quantities and rates arrive as text and become floats in the same pass; unknown fields are ignored; a value that no
market has (zero or negative price, negative quantity, NaN, infinity) makes the frame a `BadFrame`. Times are kept as sent;
`ms` turns the microseconds that a connection may have asked for into milliseconds.

Sides are the taker's: `m` true means that the buyer was the maker, so the taker sold (-1). A forced order with `S` = SELL
closes a long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from data.errors import DataError
from data.frames import LARGEST_NUMBER

MAX_FRAME_BYTES = 4 << 20  # a full depth frame of a wild minute has about 300 kB; larger is not market data

Price = Annotated[float, Meta(gt=0, lt=LARGEST_NUMBER)]
Quantity = Annotated[float, Meta(ge=0, lt=LARGEST_NUMBER)]
Id = Annotated[int, Meta(ge=-1, lt=1 << 62)]
Time = Annotated[int, Meta(ge=0, lt=1 << 62)]
Symbol = Annotated[str, Meta(min_length=2, max_length=40)]
Level = tuple[Price, Quantity]


class BadFrame(DataError):
    """A frame that is not a message of its stream. It is counted and dropped; it never ends the stream."""


class AggTrade(Struct, frozen=True, gc=False, rename={
        "event_ms": "E", "symbol": "s", "agg_id": "a", "price": "p", "quantity": "q", "first_id": "f", "last_id": "l",
        "trade_ms": "T", "buyer_is_maker": "m"}):
    """Fills of one taker order at one price (futures: within 100 ms)."""

    event_ms: Time  # in the order of the wire, which is read fastest
    symbol: Symbol
    agg_id: Id
    price: Price
    quantity: Quantity
    first_id: Id
    last_id: Id
    trade_ms: Time
    buyer_is_maker: bool

    @property
    def side(self) -> int:
        return -1 if self.buyer_is_maker else 1


class Trade(Struct, frozen=True, gc=False, rename={
        "event_ms": "E", "symbol": "s", "trade_id": "t", "price": "p", "quantity": "q", "trade_ms": "T", "buyer_is_maker": "m",
        "origin": "X"}):
    """One fill. Futures send `origin` (MARKET, INSURANCE_FUND, ADL, NA); rows of NA carry price 0 and are no trades."""

    symbol: Symbol
    trade_id: Id
    price: Quantity
    quantity: Quantity
    trade_ms: Time
    buyer_is_maker: bool
    event_ms: Time
    origin: str = ""

    @property
    def side(self) -> int:
        return -1 if self.buyer_is_maker else 1


class KlineBody(Struct, frozen=True, gc=False, rename={
        "open_time": "t", "close_time": "T", "symbol": "s", "interval": "i", "open": "o", "high": "h", "low": "l", "close": "c",
        "volume": "v", "quote_volume": "q", "count": "n", "taker_buy_volume": "V", "taker_buy_quote_volume": "Q", "closed": "x"}):
    open_time: Time
    close_time: Time
    symbol: Symbol
    interval: str
    open: Price
    high: Price
    low: Price
    close: Price
    volume: Quantity
    quote_volume: Quantity
    count: Quantity
    taker_buy_volume: Quantity
    taker_buy_quote_volume: Quantity
    closed: bool


class Kline(Struct, frozen=True, gc=False, rename={"event_ms": "E", "symbol": "s", "candle": "k"}):
    """A candle, forming or closed (`candle.closed`). Only closed ones are ever stored."""

    symbol: Symbol
    event_ms: Time
    candle: KlineBody


class BookTicker(Struct, frozen=True, gc=False, rename={
        "update_id": "u", "symbol": "s", "bid": "b", "bid_quantity": "B", "ask": "a", "ask_quantity": "A", "event_ms": "E",
        "transaction_ms": "T"}):
    """Best bid and ask. Spot sends no time: `event_ms` is 0 there and the time of receipt stands in."""

    update_id: Id
    symbol: Symbol
    bid: Price
    bid_quantity: Quantity
    ask: Price
    ask_quantity: Quantity
    event_ms: Time = 0
    transaction_ms: Time = 0


class DepthDiff(Struct, frozen=True, gc=False, rename={
        "event_ms": "E", "symbol": "s", "first_id": "U", "last_id": "u", "previous_id": "pu", "bids": "b", "asks": "a"}):
    """Changed levels with their new absolute quantities; 0 deletes. `previous_id` is -1 on spot, which does not send it."""

    symbol: Symbol
    first_id: Id
    last_id: Id
    bids: list[Level]
    asks: list[Level]
    event_ms: Time = 0
    previous_id: Id = -1


class Snapshot(Struct, frozen=True, gc=False, rename={"last_id": "lastUpdateId", "event_ms": "E"}):
    """The whole book down to some depth, best first: the REST answer, and spot's partial depth stream."""

    last_id: Id
    bids: list[Level]
    asks: list[Level]
    event_ms: Time = 0


class MarkPrice(Struct, frozen=True, gc=False, rename={
        "event_ms": "E", "symbol": "s", "mark": "p", "index": "i", "settle_estimate": "P", "rate": "r", "next_funding_ms": "T",
        "contract_kind": "st"}):
    """Mark and index price and the live funding rate (a fraction). `rate` is empty on delivery contracts: NaN."""

    symbol: Symbol
    event_ms: Time
    mark: Price
    index: Quantity = 0.0
    settle_estimate: Quantity = 0.0
    rate: Annotated[str, Meta(max_length=40)] = ""
    next_funding_ms: Time = 0
    contract_kind: int | None = None

    @property
    def funding_rate(self) -> float:
        """A fraction for the running period; NaN where there is none."""
        try:
            rate = float(self.rate)
        except ValueError:
            return float("nan")
        return rate if abs(rate) < 1 else float("nan")


class ForcedBody(Struct, frozen=True, gc=False, rename={
        "symbol": "s", "order_side": "S", "quantity": "q", "price": "p", "average_price": "ap", "filled_quantity": "z", "trade_ms": "T",
        "status": "X", "contract_kind": "st"}):
    symbol: Symbol
    order_side: str
    quantity: Quantity
    price: Quantity
    average_price: Quantity
    filled_quantity: Quantity
    trade_ms: Time | None = None
    status: str = ""
    contract_kind: int | None = None


class ForceOrder(Struct, frozen=True, gc=False, rename={"event_ms": "E", "order": "o", "contract_kind": "st"}):
    """A liquidation. Only the latest per symbol and second is sent: a lower bound, not a total.

    `st` stands beside or inside the order; a time that is null is the time of receipt.
    """

    order: ForcedBody
    event_ms: Time | None = None
    contract_kind: int | None = None

    @property
    def usdt_margined(self) -> bool:
        return self.contract_kind in (None, 1) and self.order.contract_kind in (None, 1)

    @property
    def symbol(self) -> str:
        return self.order.symbol

    @property
    def side(self) -> int:
        """+1 the forced order bought (a short was closed), -1 it sold (a long was liquidated)."""
        return -1 if self.order.order_side == "SELL" else 1


class Shutdown(Struct, frozen=True, rename={"event_ms": "E"}):
    """The server is about to close this connection: reconnect at once."""

    event_ms: Time = 0


class Reply(Struct, frozen=True):
    """The answer to SUBSCRIBE and its kin. `error` is None when the request was accepted."""

    id: int | str | None = None
    result: Any = None
    error: Any = None
    code: int = 0
    msg: str = ""

    @property
    def refusal(self) -> str:
        """Words of the refusal, or nothing."""
        if self.error is None and not self.code:
            return ""
        told = self.error if isinstance(self.error, dict) else {"code": self.code, "msg": self.msg}
        return f"{told.get('code', '')} {told.get('msg', '')}".strip()[:200] or "refused without a reason"


class Other(Struct, frozen=True):
    """A well-formed message of a kind nobody here reads."""

    event: str


Message = (AggTrade | Trade | Kline | BookTicker | DepthDiff | Snapshot | MarkPrice | ForceOrder | list[MarkPrice] | list[ForceOrder]
           | Shutdown | Reply | Other)


class _Probe(Struct):
    e: str = ""
    stream: str = ""
    data: msgspec.Raw = msgspec.Raw(b"")
    lastUpdateId: int | None = None  # noqa: N815 - the exchange's spelling
    u: int | None = None
    result: Any = msgspec.UNSET
    id: int | str | None = None
    error: Any = None
    code: int | None = None


class Combined(Struct, gc=False):
    """A frame of a combined stream: who speaks, and what."""

    stream: str
    data: Any


def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, strict=False)


# By the kind in the stream's name. Of the first five a whole combined frame is read in one pass, for streams of thousands.
_OF_STREAM = {"aggTrade": AggTrade, "trade": Trade, "kline": Kline, "depth": DepthDiff, "bookTicker": BookTicker, "markPrice": MarkPrice,
              "forceOrder": ForceOrder}
_BUSY = ("aggTrade", "trade", "kline", "depth", "bookTicker")
_OF_EVENT = {"aggTrade": AggTrade, "trade": Trade, "kline": Kline, "bookTicker": BookTicker, "depthUpdate": DepthDiff,
             "markPriceUpdate": MarkPrice, "forceOrder": ForceOrder, "serverShutdown": Shutdown}
_PLAIN = {kind: _decoder(kind).decode for kind in (*_OF_EVENT.values(), Snapshot, Reply)}
_WHOLE, _NAMED = ({head: _decoder(msgspec.defstruct(f"_{head}", [*more, ("data", _OF_STREAM[head])], gc=False)).decode for head in _BUSY}
                  for more in ((), (("stream", str),)))
_MARK_LIST, _FORCED_LIST = _decoder(list[MarkPrice]).decode, _decoder(list[ForceOrder]).decode
_probe = _decoder(_Probe).decode
_LEAD = b'{"stream":"'
_KNOWN_NAMES = 8192  # names remembered; a server that invents names must not fill the memory
_names: dict[bytes, tuple[str, Any]] = {}  # by the frame's first bytes


def stream_head(stream: str) -> str:
    """What kind of stream a name asks for, without symbol, interval and speed.

    >>> stream_head("btcusdt@kline_1m"), stream_head("btcusdt@depth20@100ms"), stream_head("!markPrice@arr@1s")
    ('kline', 'depth20', '!markPrice')
    """
    if stream.startswith("!"):
        return stream.split("@", 1)[0]
    return stream.partition("@")[2].split("@", 1)[0].split("_", 1)[0]


def decode(frame: bytes) -> tuple[str, Message]:
    """The stream's name (empty in a raw frame) and the message.

    Raises
    ------
    BadFrame
        When the frame is not JSON, not of the shape its stream promises, or carries impossible numbers.
    """
    try:
        known = _names.get(frame[: frame.find(b'"', 11)])  # the lead and the stream's name, up to its closing quote
        if known is not None:
            return known[0], known[1](frame).data
        return _decode_unknown(frame)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadFrame(f"expected a market message, got {bytes(frame[:80])!r}: {str(error)[:120]}; dropped") from None


def connection_reader(streams: Iterable[str]) -> Callable[[bytes], Combined]:
    """For the frames of one connection: its stream's own reader where all busy streams are of one kind, else `decode`.

    What it cannot read (a reply, a notice, a stream of another kind, damage) raises one of msgspec's errors or a BadFrame: then
    `decode` decides.
    """
    heads = {stream_head(stream) for stream in streams} & _NAMED.keys()
    return _NAMED[heads.pop()] if len(heads) == 1 else _decode_named


def _decode_named(frame: bytes) -> Combined:
    return Combined(*decode(frame))


def _decode_unknown(frame: bytes) -> tuple[str, Message]:
    """A stream's first frame: remember how the following ones are read."""
    if len(frame) > MAX_FRAME_BYTES:
        raise ValueError(f"{len(frame)} bytes, and a frame has at most {MAX_FRAME_BYTES}")
    if frame.startswith(_LEAD):
        lead = bytes(frame[: frame.index(b'"', len(_LEAD))])
        name = lead[len(_LEAD) :].decode()
        whole = _WHOLE.get(stream_head(name)) if "\\" not in name else None
        if whole is not None:
            message: Message = whole(frame).data
            if len(_names) >= _KNOWN_NAMES:
                _names.clear()
            _names[lead] = (name, whole)
            return name, message
    return _decode_slowly(frame)


def _decode_slowly(frame: bytes) -> tuple[str, Message]:
    """Raw frames, replies, lists, and combined frames with their keys in another order."""
    if frame.lstrip()[:1] == b"[":
        return "", _list_of(frame, "")
    probe = _probe(frame)
    if not probe.stream:
        return "", _plain(frame, probe)
    inner = bytes(probe.data)
    if not inner:
        raise ValueError("a combined frame without data")
    if inner[:1] == b"[":
        return probe.stream, _list_of(inner, stream_head(probe.stream))
    kind = _OF_STREAM.get(stream_head(probe.stream))
    if kind is not None:
        return probe.stream, _PLAIN[kind](inner)
    return probe.stream, _plain(inner, _probe(inner))


def _plain(frame: bytes, probe: _Probe) -> Message:
    kind = _OF_EVENT.get(probe.e)
    if kind is not None:
        message: Message = _PLAIN[kind](frame)
        if isinstance(message, ForceOrder) and not message.usdt_margined:
            return Other("forceOrder of a coin-margined contract")
        return message
    if probe.e:
        return Other(probe.e[:40])
    if probe.lastUpdateId is not None:
        return _PLAIN[Snapshot](frame)
    if probe.u is not None:
        return _PLAIN[BookTicker](frame)  # spot's has no `e`
    if probe.result is not msgspec.UNSET or probe.id is not None or probe.error is not None or probe.code is not None:
        return _PLAIN[Reply](frame)
    raise ValueError("none of the fields that tell a message's kind")


def _list_of(frame: bytes, head: str) -> Message:
    """The `!…@arr` streams mix margin kinds since 2026-06-30: only USDT-margined rows (st 1 or absent) are kept."""
    if head == "!forceOrder":
        return [each for each in _FORCED_LIST(frame) if each.usdt_margined]
    if head in ("", "!markPrice"):
        return [each for each in _MARK_LIST(frame) if each.contract_kind in (None, 1)]
    return Other(head)


def decode_snapshot(body: bytes) -> Snapshot:
    """The REST answer of `depth`.

    Raises
    ------
    BadFrame
        When the body is not one.
    """
    try:
        return _PLAIN[Snapshot](body)
    except (msgspec.MsgspecError, ValueError) as error:
        raise BadFrame(f"expected a depth snapshot, got {bytes(body[:80])!r}: {str(error)[:120]}; ask again") from None


def ms(time: int) -> int:
    """UTC milliseconds of a time in milliseconds or microseconds.

    >>> ms(1735689600000), ms(1735689600000123)
    (1735689600000, 1735689600000)
    """
    return time // 1000 if time > 100_000_000_000_000 else time
