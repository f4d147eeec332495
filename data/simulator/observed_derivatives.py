"""The derivatives layer of the simulated world: funding, open interest, positioning, premium, forced orders and options.

The same functions the loopback exchange answers from, so that both worlds agree row by row. A row stands at the full hour at
which a candle closed; a hole in the candles is a hole here too. Forced orders and options are those of the newest `RECORDED_DAYS`, as
a recorder would hold them: older ones drop out as the clock moves on, no row ever changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from data.frames import Candles
from data.market import DAY_MS, HOUR_MS, MINUTE_MS, Interval, Market, Provenance, SeriesKey
from data.observations import COLUMNS_OF, Kind, Observations
from data.simulator import derivatives as derived
from data.simulator import options
from data.simulator.market import EPOCH_MS, LISTINGS, Listing
from data.simulator.observed import World
from data.simulator.perpetual import VOLUME

PUBLISHED_AFTER_MS = 5 * MINUTE_MS  # open interest history and ratios
SETTLED_AFTER_MS = 1_000
RECORDED_DAYS = 14
RATIO_OF = {Kind.GLOBAL_RATIO: "global", Kind.TOP_ACCOUNT_RATIO: "top_account", Kind.TOP_POSITION_RATIO: "top_position"}
ASSET_OF = {symbol: asset for asset, (symbol, *_) in options.UNDERLYINGS.items()}

Columns = Mapping[str, np.ndarray]
Rows = tuple[np.ndarray, np.ndarray, Columns]  # event_time, available_time, columns


def observed(world: World, kind: Kind, start_ms: int, at_ms: int) -> Observations:
    """Rows with start <= available_time < at."""
    if kind in (Kind.OPTION_MARK, Kind.OPTION_OPEN_INTEREST) and world.symbol not in ASSET_OF:
        return Observations.empty(kind, provenance=Provenance.SIMULATED, note=f"no options on {world.symbol} are traded")
    event, known, columns = _MADE[kind](world, kind, max(start_ms, EPOCH_MS), at_ms)
    chosen = (known >= start_ms) & (known < at_ms)
    return Observations(kind, event[chosen], known[chosen], {name: columns[name][chosen] for name in COLUMNS_OF[kind]},
                        Provenance.SIMULATED)


def _hours(world: World, market: Market, start_ms: int | None, at_ms: int) -> Candles:
    """Hours closed before a moment."""
    return world.exchange.read(SeriesKey(world.symbol, Interval.H1, market), start_ms, at_ms).closed_before(at_ms)


def _listing(world: World) -> Listing:
    return LISTINGS[world.number]


def _prices(world: World, start_ms: int, at_ms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(moments, perpetual price, index price) at full hours: an hour opens at the close before, times its own basis."""
    spot = _hours(world, Market.SPOT, start_ms - 2 * HOUR_MS, at_ms)
    at, tick = spot.open_time + HOUR_MS, _listing(world).tick
    perp = spot.close * (1.0 + derived.hourly_basis(world.seed, world.number, at))
    return at, np.maximum(tick, np.round(np.rint(perp / tick) * tick, max(0, round(-np.log10(tick))))), spot.close


# -- funding ----------------------------------------------------------------------------------------------------------


def _funding(world: World, kind: Kind, start_ms: int, at_ms: int) -> Rows:
    """Settlements; the mark price is spot times the premium of that minute."""
    hours = derived.funding_hours(world.number)
    event = derived.funding_times(world.number, start_ms - SETTLED_AFTER_MS, at_ms)
    at, _, spot = _prices(world, start_ms, at_ms)
    if len(at):
        row = np.minimum(np.searchsorted(at, event), len(at) - 1)
        price = np.where(at[row] == event, spot[row], np.nan)
    else:
        price = np.full(len(event), np.nan)
    premium = derived.premium_candles(world.seed, world.number, event, MINUTE_MS)[0]
    return event, event + SETTLED_AFTER_MS, {
        "rate": derived.funding_rates(world.seed, world.number, event), "interval_h": np.full(len(event), float(hours)),
        "mark_price": np.round(price * (1 + premium), 8)}


def _predicted(world: World, kind: Kind, start_ms: int, at_ms: int) -> Rows:
    """Every full hour the rate of the period that runs, and when it is settled."""
    event = np.arange(-(-start_ms // HOUR_MS) * HOUR_MS, at_ms, HOUR_MS, dtype=np.int64)
    hours = derived.funding_hours(world.number)
    due = (event // (hours * HOUR_MS) + 1) * hours * HOUR_MS
    return event, event, {"rate": derived.funding_rates(world.seed, world.number, due), "interval_h": np.full(len(event), float(hours)),
                          "next_time_ms": due.astype(float)}


# -- open interest, positioning, premium ------------------------------------------------------------------------------


def _interest(world: World, kind: Kind, start_ms: int, at_ms: int) -> Rows:
    hours = _hours(world, Market.PERP, None, at_ms)
    item = _listing(world)
    base = derived.OPEN_INTEREST_HOURS * VOLUME * item.turnover_usdt / item.price
    held = derived.open_interest(world.seed, world.number, hours.open_time, hours.close, base) if len(hours) else np.empty(0)
    at, perp, _ = _prices(world, start_ms, at_ms)
    held = held[len(held) - len(at) :] if len(at) else held[:0]
    return at, at + PUBLISHED_AFTER_MS, {"contracts": np.round(held, 8), "value_quote": np.round(held * perp, 8)}


def _ratio(world: World, kind: Kind, start_ms: int, at_ms: int) -> Rows:
    first = -(-(start_ms - PUBLISHED_AFTER_MS) // HOUR_MS) * HOUR_MS
    event = np.arange(max(first, EPOCH_MS), at_ms, HOUR_MS, dtype=np.int64)
    share = derived.long_share(world.seed, world.number, RATIO_OF[kind], event)
    return event, event + PUBLISHED_AFTER_MS, {"ratio": np.round(share / (1 - share), 4), "long_share": np.round(share, 4),
                                               "short_share": np.round(1 - share, 4)}


def _taker(world: World, kind: Kind, start_ms: int, at_ms: int) -> Rows:
    hours = _hours(world, Market.PERP, start_ms - 3 * HOUR_MS, at_ms)
    buy, sell = hours.taker_buy_volume, hours.volume - hours.taker_buy_volume
    ratio = np.divide(buy, sell, out=np.zeros(len(hours)), where=sell > 0)
    return hours.open_time, hours.open_time + HOUR_MS + PUBLISHED_AFTER_MS, {
        "ratio": np.round(ratio, 4), "buy_volume": np.round(buy, 4), "sell_volume": np.round(sell, 4)}


def _basis(world: World, kind: Kind, start_ms: int, at_ms: int) -> Rows:
    at, perp, spot = _prices(world, start_ms, at_ms)
    return at, at + PUBLISHED_AFTER_MS, {
        "basis": np.round(perp - spot, 8), "basis_rate": np.round(perp / spot - 1, 4), "annualised_rate": np.full(len(at), np.nan),
        "futures_price": perp, "index_price": spot}


def _premium(world: World, kind: Kind, start_ms: int, at_ms: int) -> Rows:
    hours = _hours(world, Market.SPOT, start_ms - 2 * HOUR_MS, at_ms)
    bars = np.round(derived.premium_candles(world.seed, world.number, hours.open_time, HOUR_MS), 8)
    return hours.open_time, hours.close_time, dict(zip(("open", "high", "low", "close"), bars, strict=True))


# -- what only a recorder has -----------------------------------------------------------------------------------------


def _recorded_from(world: World) -> int:
    """Midnight `RECORDED_DAYS` before the newest hour of the world; independent of the moment of the question."""
    newest = world.exchange.last_close_ms(SeriesKey(LISTINGS[0].symbol, Interval.H1)) or EPOCH_MS
    return newest // DAY_MS * DAY_MS - RECORDED_DAYS * DAY_MS


def _forced(world: World, kind: Kind, start_ms: int, at_ms: int) -> Rows:
    """The forced orders of each closed minute, known at the end of their second, as the stream tells them."""
    item = _listing(world)
    first = max(start_ms // DAY_MS * DAY_MS, _recorded_from(world))
    days = []
    for day in range(first, at_ms, DAY_MS):
        minutes = world.exchange.read(SeriesKey(world.symbol, Interval.M1, Market.PERP), day, min(day + DAY_MS, at_ms)).closed_before(at_ms)
        if len(minutes):
            days.append(derived.forced_in(world.seed, world.number, minutes.open_time, minutes.open, minutes.close, minutes.volume,
                                          item.tick, item.step))
    if not days:
        return np.empty(0, np.int64), np.empty(0, np.int64), {name: np.empty(0) for name in COLUMNS_OF[kind]}
    found = {name: np.concatenate([day[name] for day in days]) for name in days[0]}
    event = found["time_ms"]
    return event, (event // 1_000 + 1) * 1_000, {**found, "filled_quantity": found["quantity"]}


def _chains(world: World, start_ms: int, at_ms: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """(moments, spot, terms) of every contract listed at each full hour; the listing is that of `options.chain`."""
    asset = ASSET_OF[world.symbol]
    at, _, spot = _prices(world, max(start_ms, _recorded_from(world)), at_ms)
    inside = (at >= max(start_ms, _recorded_from(world))) & (at < at_ms)
    at, spot = at[inside], spot[inside]
    grid = options.UNDERLYINGS[asset][2]
    steps = np.arange(-options.STRIKES, options.STRIKES + 1)
    rows, expiry, strike = [], [], []
    for i, (now, price) in enumerate(zip(at.tolist(), spot.tolist(), strict=True)):
        for when in options.expiries(now):
            width = grid if when - now < 8 * DAY_MS else 2 * grid
            ladder = round(price / (4 * width)) * 4 * width + steps * width
            ladder = ladder[ladder > 0]
            rows.append(np.full(len(ladder), i))
            expiry.append(np.full(len(ladder), float(when)))
            strike.append(ladder)
    row = np.repeat(np.concatenate(rows), 2) if rows else np.empty(0, np.int64)
    joined = [np.repeat(np.concatenate(x), 2) if x else np.empty(0) for x in (expiry, strike)]
    call = np.tile([1.0, 0.0], len(row) // 2)
    return at[row], spot[row], {"strike": joined[1], "expiry_ms": joined[0], "is_call": call}


def _marks(world: World, kind: Kind, start_ms: int, at_ms: int) -> Rows:
    """`options.marks` of every full hour, all contracts at once."""
    from scipy.special import ndtr

    at, spot, terms = _chains(world, start_ms, at_ms)
    asset = ASSET_OF[world.symbol]
    number = list(options.UNDERLYINGS).index(asset)
    level = options.UNDERLYINGS[asset][1] * np.exp(0.12 * derived.hourly_path(world.seed, (900 + number, 8), at, 240.0))
    years = (terms["expiry_ms"] - at) / (options.YEAR_DAYS * DAY_MS)
    money = np.log(terms["strike"] / spot) / np.sqrt(np.maximum(years, 7 / options.YEAR_DAYS))
    sigma = np.maximum(0.05, level * options.smile(money))
    spread = sigma * np.sqrt(years)
    d1 = np.log(spot / terms["strike"]) / spread + 0.5 * spread
    density = np.exp(-0.5 * d1**2) / np.sqrt(2 * np.pi)
    call = spot * ndtr(d1) - terms["strike"] * ndtr(d1 - spread)
    is_call = terms["is_call"] > 0
    return at, at, {**terms, "mark_price": np.round(np.where(is_call, call, call - spot + terms["strike"]), 3),
                    "mark_iv": np.round(sigma, 8), "delta": np.round(np.where(is_call, ndtr(d1), ndtr(d1) - 1.0), 8),
                    "gamma": np.round(density / (spot * spread), 8),
                    "theta": np.round(-spot * density * sigma / (2 * np.sqrt(years)) / options.YEAR_DAYS, 8),
                    "vega": np.round(spot * density * np.sqrt(years) / 100.0, 8)}


def _contracts_held(world: World, kind: Kind, start_ms: int, at_ms: int) -> Rows:
    at, spot, terms = _chains(world, start_ms, at_ms)
    held = np.array([options.held(world.seed, *each) for each in zip(
        terms["strike"].tolist(), terms["expiry_ms"].astype(np.int64).tolist(), (terms["is_call"] > 0).tolist(),
        (at // DAY_MS).tolist(), strict=True)])
    away = np.log(terms["strike"] / spot) / 0.12
    contracts = np.round(held.reshape(-1) * np.exp(-0.5 * away**2) + 0.5, 2)
    return at, at, {**terms, "contracts": contracts, "value_quote": np.round(contracts * spot, 8)}


_MADE: Mapping[Kind, Callable[[World, Kind, int, int], Rows]] = {
    Kind.FUNDING: _funding, Kind.FUNDING_PREDICTED: _predicted, Kind.OPEN_INTEREST: _interest, Kind.GLOBAL_RATIO: _ratio,
    Kind.TOP_ACCOUNT_RATIO: _ratio, Kind.TOP_POSITION_RATIO: _ratio, Kind.TAKER_RATIO: _taker, Kind.BASIS: _basis,
    Kind.PREMIUM_INDEX: _premium, Kind.LIQUIDATIONS: _forced, Kind.OPTION_MARK: _marks, Kind.OPTION_OPEN_INTEREST: _contracts_held,
}
KINDS: tuple[Kind, ...] = tuple(_MADE)
