"""Order flow of the simulated world, condensed by the second and by the minute: what a recorder of its streams would hold.

The trades are those of `flow.minute_flow`, so volumes and taker volumes of a candle's seconds sum to the candle's own. The best quote is
that of the loopback exchange (tickbook.py), tenth by tenth of a second: one tick wide, it follows the last trade. Planted:

- the sizes of the best quote lean towards where the quote goes within the next second, eight times in ten at one of 1 + 0.6 to 1 - 0.6
  (`LEAN`, `LEAN_SIZE`), so the imbalance predicts the next mid; in the last second of a minute they lean nowhere;
- taker sides follow the candle's taker share, which leans to the hour's move; inside a minute they are independent of the path, so
  Kyle's lambda has no truth here (data/simulator/micro_worlds.py plants one);
- the book's shape is that of the exchange's book at the last tenth of the minute, known about 60 bps deep.

Every row is a pure function of (seed, symbol, minute); an hour is made at once and remembered. Only the newest days of the world exist
(`RECORDED_DAYS`, from a midnight on), as a recorder that deletes what is old would have it: older rows drop out, none ever changes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping

import numpy as np

from data.frames import Candles
from data.market import DAY_MS, HOUR_MS, MINUTE_MS, Interval, Provenance, SeriesKey
from data.observations import COLUMNS_OF, Kind, Observations
from data.simulator.flow import MinuteFlow, minute_flow
from data.simulator.market import EPOCH_MS, LISTINGS, Listing
from data.simulator.observed import World
from data.simulator.tickbook import BASE_VALUE, LATTICE_SHARE, LEAN, LEVELS, LOOK_AHEAD_STEPS, STEP_MS, STEPS_PER_MINUTE
from data.simulator.tickbook import _hash as uniform
from data.streams.book_shape import Shape, shape_of
from data.streams.flow_samples import LARGE_NOTIONAL, LATENCY_MS

KINDS: tuple[Kind, ...] = (Kind.SECOND_FLOW, Kind.MINUTE_FLOW)
RECORDED_DAYS = 2  # whole days before the world's newest midnight
SPOT_FLOW = 7_100  # the random stream of the venue's spot trades (tickbook.py)
LEAN_SIZE = 0.6
LEAST_LATENCY_MS, MEAN_LATENCY_MS = 20.0, 40.0
SECOND_MS, STEPS_PER_SECOND = 1_000, 10
REMEMBERED_HOURS = {Kind.SECOND_FLOW: 90, Kind.MINUTE_FLOW: 900}  # 580 kB and 8 kB each: three days of one symbol, and of twelve

Columns = dict[str, np.ndarray]
_remembered: dict[Kind, OrderedDict[tuple[int, str, int], Columns]] = {kind: OrderedDict() for kind in KINDS}
_guard = threading.Lock()


def observed(world: World, kind: Kind, start_ms: int, at_ms: int) -> Observations:
    """Rows with start <= available_time < at, known at the last millisecond of their second or minute."""
    step = SECOND_MS if kind is Kind.SECOND_FLOW else MINUTE_MS
    newest = world.exchange.last_close_ms(SeriesKey(LISTINGS[0].symbol, Interval.H1)) or EPOCH_MS
    first = max(start_ms, newest // DAY_MS * DAY_MS - RECORDED_DAYS * DAY_MS, EPOCH_MS)
    hours = [_hour(world, kind, hour) for hour in range(first // HOUR_MS * HOUR_MS, at_ms, HOUR_MS)]
    if not any(len(hour["event"]) for hour in hours):
        return Observations.empty(kind, provenance=Provenance.SIMULATED, note="nothing was recorded then")
    event = np.concatenate([hour["event"] for hour in hours])
    a, b = (int(i) for i in np.searchsorted(event + step - 1, (first, at_ms)))
    columns = {name: np.concatenate([hour[name] for hour in hours])[a:b] for name in COLUMNS_OF[kind]}
    return Observations(kind, event[a:b], event[a:b] + step - 1, columns, Provenance.SIMULATED)


def _hour(world: World, kind: Kind, hour_ms: int) -> Columns:
    """The closed minutes of one hour; remembered once it is over."""
    key, memory = (world.seed, world.symbol, hour_ms), _remembered[kind]
    with _guard:
        found = memory.get(key)
        if found is not None:
            memory.move_to_end(key)
            return found
    made, whole = _made(world, kind, hour_ms)
    if whole:
        with _guard:
            memory[key] = made
            while len(memory) > REMEMBERED_HOURS[kind]:
                memory.popitem(last=False)
    return made


def _made(world: World, kind: Kind, hour_ms: int) -> tuple[Columns, bool]:
    item = LISTINGS[world.number]
    if kind is Kind.MINUTE_FLOW:
        seconds = _hour(world, Kind.SECOND_FLOW, hour_ms)
        return _minutes(world, item, seconds), len(seconds["event"]) == 3600
    candles = world.exchange.read(SeriesKey(world.symbol, Interval.M1), hour_ms - MINUTE_MS, hour_ms + HOUR_MS)
    flows = [minute_flow((world.seed, SPOT_FLOW, world.number, 0), candles, row, item.tick, item.step, 0) for row in range(len(candles))]
    before = flows[0] if flows and flows[0].open_time < hour_ms else None
    inside = flows[1:] if before is not None else flows
    if not inside:
        nothing: Columns = {name: np.empty(0) for name in (*COLUMNS_OF[kind], "notional", "large")}
        return nothing | {"event": np.empty(0, np.int64)}, False
    at = candles.open_time[len(flows) - len(inside) :]
    quote = _Quotes(world, item, inside, before, candles)
    return _seconds(world, quote, inside, at), len(inside) == 60


class _Quotes:
    """The best quote at every tenth of a second of some minutes, shape (minutes * 600,); row -1 of `before` stands ahead of the first."""

    def __init__(self, world: World, item: Listing, flows: list[MinuteFlow], before: MinuteFlow | None, candles: Candles) -> None:
        name = world.number * 2
        last = _last_bid(before, item) if before is not None and len(before) else round(float(candles.open[-len(flows)]) / item.tick) - 1
        rows = []
        for flow in flows:
            rows.append(bids_of(flow, item.tick, last))
            last = _last_bid(flow, item) if len(flow) else last
        ticks = np.stack(rows)
        step = ((np.array([flow.open_time for flow in flows]) - EPOCH_MS) // STEP_MS)[:, None] + np.arange(STEPS_PER_MINUTE)
        self.bid, self.bid_units, self.ask_units = _sized(world.seed, name, item, ticks, step)
        self.ticks, self.step = ticks.ravel(), step.ravel()
        tail = np.full((1, STEPS_PER_MINUTE), 0, np.int64) + ticks[0, 0]
        if before is not None:
            first = candles.open[0] / item.tick
            tail = bids_of(before, item.tick, round(float(first)) - 1)[None]
        self.before = tuple(float(x[-1]) for x in _sized(world.seed, name, item, tail, step[:1] - STEPS_PER_MINUTE))
        self.tick, self.lot, self.afresh = item.tick, item.step, before is None


def _last_bid(flow: MinuteFlow, item: Listing) -> int:
    return round(float(flow.price[-1]) / item.tick) - int(not flow.buyer_is_maker[-1])


def bids_of(flow: MinuteFlow, tick: float, before: int) -> np.ndarray:
    """Best bids in ticks at the tenths of a minute: a taker buy lifts the ask, a taker sale hits the bid (as `Floor._minute_quotes`)."""
    if not len(flow):
        return np.full(STEPS_PER_MINUTE, max(1, before), np.int64)
    bids = np.rint(flow.price / tick).astype(np.int64) - (~flow.buyer_is_maker)
    last = np.searchsorted(flow.time, flow.open_time + np.arange(STEPS_PER_MINUTE) * STEP_MS, side="right") - 1
    return np.maximum(np.where(last < 0, before, bids[np.maximum(last, 0)]), 1)


def _sized(seed: int, name: int, item: Listing, ticks: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(bid price, bid units, ask units) at the steps of some minutes, flat; ticks and step have shape (minutes, 600)."""
    ahead = np.concatenate((ticks[:, LOOK_AHEAD_STEPS:], np.repeat(ticks[:, -1:], LOOK_AHEAD_STEPS, axis=1)), axis=1)
    ahead[:, -LOOK_AHEAD_STEPS:] = ticks[:, -LOOK_AHEAD_STEPS:]  # the next minute is not looked into
    coming = np.sign(ahead - ticks).ravel().astype(float)
    flat, price = step.ravel(), ticks.ravel()
    unit = np.maximum(1.0, item.turnover_usdt * BASE_VALUE / (price * item.tick) / item.step)
    lean = np.where(_held(seed, name, 5, flat // 5) < 0.5 + LEAN / 2, coming, -coming)
    units = []
    for side, sign in ((6, 1.0), (7, -1.0)):
        noise = np.exp(_held(seed, name, side, flat // 3) - 0.5)
        units.append(np.maximum(1.0, np.rint(noise * (1 + sign * LEAN_SIZE * lean) * 3 * unit)))
    return price * item.tick, units[0], units[1]


def _held(seed: int, name: int, what: int, number: np.ndarray) -> np.ndarray:
    """`uniform` of numbers that repeat in runs, drawn once for each run."""
    change = np.flatnonzero(np.diff(number, prepend=number[0] - 1))
    draws = uniform(seed, name, what, number[change])
    return np.repeat(draws, np.diff(np.append(change, len(number))))


# -- seconds ----------------------------------------------------------------------------------------------------------


def _seconds(world: World, quote: _Quotes, flows: list[MinuteFlow], at: np.ndarray) -> Columns:
    n = len(at) * 60
    decimals = max(0, round(-np.log10(quote.tick)))
    bid = np.round(quote.bid, decimals)
    bid_q, ask_q = quote.bid_units * quote.lot, quote.ask_units * quote.lot
    ask = np.round(quote.bid + quote.tick, decimals)
    mid, both = (bid + ask) / 2, bid_q + ask_q
    by_second = (n, STEPS_PER_SECOND)
    final = slice(STEPS_PER_SECOND - 1, None, STEPS_PER_SECOND)
    bid0, units0, asks0 = quote.before
    was = np.concatenate(([round(bid0 / quote.tick)], quote.ticks[:-1]))
    was_bid_q, was_ask_q = np.concatenate(([units0 * quote.lot], bid_q[:-1])), np.concatenate(([asks0 * quote.lot], ask_q[:-1]))
    up, down = quote.ticks >= was, quote.ticks <= was
    flow = np.where(up, bid_q, 0.0) - np.where(down, was_bid_q, 0.0) - np.where(down, ask_q, 0.0) + np.where(up, was_ask_q, 0.0)
    opened = np.repeat(at, 60) + np.tile(np.arange(60) * SECOND_MS, len(at))
    hole = np.concatenate(([quote.afresh], np.diff(at) != MINUTE_MS))
    moved = quote.ticks != was
    told = moved | (bid_q != was_bid_q) | (ask_q != was_ask_q)
    ofi = flow.reshape(by_second).sum(axis=1)
    ofi[np.flatnonzero(hole) * 60] = np.nan  # what came before is unknown
    columns: Columns = {
        # Copies: a slice would keep the ten times longer array alive for as long as the hour is remembered.
        "event": opened, "mid": mid[final].copy(), "bid": bid[final].copy(), "ask": ask[final].copy(), "bid_quantity": bid_q[final].copy(),
        "ask_quantity": ask_q[final].copy(), "spread_bps": (1e4 * (ask - bid) / mid).reshape(by_second).mean(axis=1),
        "imbalance": ((bid_q - ask_q) / both).reshape(by_second).mean(axis=1), "depth": (0.5 * both).reshape(by_second).mean(axis=1),
        **_taken(world, flows, n), "ofi": ofi, "price_changes": moved.reshape(by_second).sum(axis=1).astype(float),
        "updates": told.reshape(by_second).sum(axis=1).astype(float), "life_ms": _lives(moved, n)}
    return columns


def _taken(world: World, flows: list[MinuteFlow], n: int) -> Columns:
    """Taker volumes, counts, latency-weighted flow, and what is traded in all and in large trades (quote currency), by the second."""
    row = np.concatenate([i * 60 + (flow.time - flow.open_time) // SECOND_MS for i, flow in enumerate(flows)])
    quantity = np.concatenate([flow.quantity for flow in flows])
    notional = quantity * np.concatenate([flow.price for flow in flows])
    buy = ~np.concatenate([flow.buyer_is_maker for flow in flows])
    draw = uniform(world.seed, world.number, 8, np.repeat([flow.open_time for flow in flows], [len(flow) for flow in flows]),
                   np.concatenate([np.arange(len(flow)) for flow in flows]))
    latency = np.rint(LEAST_LATENCY_MS - MEAN_LATENCY_MS * np.log1p(-draw))
    least = np.full(n, np.inf)
    np.minimum.at(least, row, latency)
    weight = np.exp((least[row] - latency) / LATENCY_MS)

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(row, values, n)

    return {"buy_volume": total(quantity * buy), "sell_volume": total(quantity * ~buy), "buy_count": total(buy.astype(float)),
            "sell_count": total((~buy).astype(float)), "latency_flow": total(np.where(buy, quantity, -quantity) * weight),
            "latency_ms": np.where(np.isfinite(least), least, np.nan), "notional": total(notional),
            "large": total(np.where(notional >= LARGE_NOTIONAL, notional, 0.0))}


def _lives(moved: np.ndarray, n: int) -> np.ndarray:
    """Median milliseconds that the pairs of best prices which ended in each second had stood; NaN where none ended.

    A life that began in the minute before is censored, as everything here is decided by its own minute.
    """
    ends = np.flatnonzero(moved)
    length = np.diff(ends, prepend=-1) * STEP_MS
    kept = np.diff(ends // STEPS_PER_MINUTE, prepend=-1) == 0
    second, length = ends[kept] // STEPS_PER_SECOND, length[kept]
    out = np.full(n, np.nan)
    order = np.lexsort((length, second))
    second, length = second[order], length[order]
    here, first, count = np.unique(second, return_index=True, return_counts=True)
    out[here] = 0.5 * (length[first + (count - 1) // 2] + length[first + count // 2])
    return out


# -- minutes ----------------------------------------------------------------------------------------------------------


def _minutes(world: World, item: Listing, seconds: Columns) -> Columns:
    at = seconds["event"][::60]
    by_minute = (len(at), 60)

    def of(name: str) -> np.ndarray:
        return seconds[name].reshape(by_minute)

    shapes = [_shape(world, item, seconds, row) for row in range(59, 60 * len(at), 60)]
    whole, large = of("notional").sum(axis=1), of("large").sum(axis=1)
    shown = {name: np.array([getattr(shape, name) for shape in shapes]) for name in Shape._fields}
    columns: Mapping[str, np.ndarray] = {
        "mid": of("mid")[:, -1], "spread_bps": of("spread_bps").mean(axis=1), **shown, "buy_volume": of("buy_volume").sum(axis=1),
        "sell_volume": of("sell_volume").sum(axis=1), "ofi": of("ofi").sum(axis=1), "best_depth": of("depth").mean(axis=1),
        "large_share": np.divide(large, whole, out=np.full(len(at), np.nan), where=whole > 0)}
    return {"event": at} | {name: columns[name] for name in COLUMNS_OF[Kind.MINUTE_FLOW]}


def _shape(world: World, item: Listing, seconds: Columns, row: int) -> Shape:
    """The exchange's book (`Floor._compute`) at the last tenth of a second, measured."""
    best, step = round(seconds["bid"][row] / item.tick), (int(seconds["event"][row]) + SECOND_MS - EPOCH_MS) // STEP_MS - 1
    name, seed = world.number * 2, world.seed
    stride = max(1, round(item.price * LATTICE_SHARE / item.tick))
    j = np.arange(max(1, best // stride - LEVELS), best // stride + LEVELS + 1, dtype=np.int64)
    ticks = j * stride + np.floor(uniform(seed, name, 1, j) * stride).astype(np.int64)
    life = 10 + np.floor(290 * uniform(seed, name, 2, j)).astype(np.int64)
    phase = np.floor(life * uniform(seed, name, 3, j)).astype(np.int64)
    is_bid = ticks < best
    draw = uniform(seed, name, 4, j, (step + phase) // life, is_bid)
    unit = max(1.0, item.turnover_usdt * BASE_VALUE / (best * item.tick) / item.step)
    units = np.where(draw < 0.1, 0.0, np.maximum(1.0, np.rint(-np.log1p(-draw) * unit)))
    bids, asks = is_bid & (units > 0), (ticks > best + 1) & (units > 0)
    found = shape_of(np.concatenate(([best], ticks[bids][::-1])) * item.tick,
                     np.concatenate(([seconds["bid_quantity"][row] / item.step], units[bids][::-1])) * item.step,
                     np.concatenate(([best + 1], ticks[asks])) * item.tick,
                     np.concatenate(([seconds["ask_quantity"][row] / item.step], units[asks])) * item.step)
    assert found is not None  # a tick apart, never crossed
    return found
