"""The sampler beside a slow truth, the shape of a book by hand, and the shelf on disk."""

from __future__ import annotations

import gzip
import json
import math
import random

import numpy as np
import pytest

from data.market import DAY_MS, HOUR_MS, Market
from data.observations import COLUMNS_OF, Kind
from data.storage.flow_shelf import FlowShelf
from data.streams import messages
from data.streams.batches import TickKind, rows_of, rows_of_book
from data.streams.book import LocalBook
from data.streams.book_shape import shape_of
from data.streams.flow_samples import GRACE_MS, SILENT_MS, FlowSampler
from data.streams.flow_tap import FlowTap, both

T0 = 1_800_000_000_000  # a full minute
FIELDS = ("mid", "bid", "ask", "bid_quantity", "ask_quantity", "spread_bps", "imbalance", "depth", "buy_volume", "sell_volume", "buy_count",
          "sell_count", "ofi", "latency_flow", "latency_ms", "price_changes", "updates", "life_ms")


def played(events, **how):
    """Everything a sampler says of scripted events (time, receipt, what, ...), closed long after."""
    sampler = FlowSampler(**how)
    for event in events:
        at, received, what, *rest = event
        if what == "gap":
            sampler.gap(at)
        elif what == "trade gap":
            sampler.trade_gap(at)
        else:
            getattr(sampler, what)(at, received, *rest)
    last = events[-1][0] // 1000 * 1000
    sampler.close(last + GRACE_MS)
    return (*sampler.take(), sampler)


def by_second(seconds):
    return {int(t): {name: float(seconds[name][i]) for name in FIELDS} for i, t in enumerate(seconds.event_time)}


def truth(events, first, last):
    """The same by definition: every millisecond of every second looked at on its own."""
    out = {}
    for second in range(first, last, 1000):
        held, ofi, broken, lives, changes, updates = [], 0.0, False, [], 0, 0
        quote, heard, born = None, None, None
        for at, _, what, *rest in events:
            if at >= second + 1000:
                break
            inside = at >= second
            if what == "gap":
                quote, born = None, None
                broken |= inside
            elif what == "quote":
                bid, bid_q, ask, ask_q = rest
                updates += inside
                heard = at
                if not 0 < bid < ask:
                    quote, born = None, None
                    broken |= inside
                    continue
                if quote is None:
                    broken |= inside
                    born = None
                else:
                    pb, qb, pa, qa = quote
                    if inside:
                        ofi += (bid >= pb) * bid_q - (bid <= pb) * qb - (ask <= pa) * ask_q + (ask >= pa) * qa
                    if (bid, ask) != (pb, pa):
                        if inside:
                            changes += 1
                            if born is not None:
                                lives.append(at - born)
                        born = at
                quote = (bid, bid_q, ask, ask_q)
        for ms in range(second, second + 1000):
            now = None
            for at, _, what, *rest in events:
                if at > ms:
                    break
                if what == "gap":
                    now = None
                elif what == "quote":
                    now = rest if 0 < rest[0] < rest[2] else None
            if now is not None:
                held.append(now)
        before = [e for e in events if e[0] < second and e[2] in ("quote", "gap")]
        whole = bool(before) and before[-1][2] == "quote" and 0 < before[-1][3] < before[-1][5]
        if heard is not None and second + 1000 - heard > SILENT_MS:
            quote, held = None, []
        trades = [e for e in events if e[2] == "trade" and second <= e[0] < second + 1000]
        lat = [r - t for t, r, *_ in trades]
        out[second] = {
            "mid": (quote[0] + quote[2]) / 2 if quote else math.nan, "ofi": math.nan if broken or not quote or not whole else ofi,
            "spread_bps": np.mean([2e4 * (a - b) / (a + b) for b, _, a, _ in held]) if held else math.nan,
            "imbalance": np.mean([(x - y) / (x + y) for _, x, _, y in held]) if held else math.nan,
            "depth": np.mean([(x + y) / 2 for _, x, _, y in held]) if held else math.nan,
            "buy_volume": sum(e[4] for e in trades if e[5] > 0), "sell_volume": sum(e[4] for e in trades if e[5] < 0),
            "buy_count": sum(e[5] > 0 for e in trades), "sell_count": sum(e[5] < 0 for e in trades),
            "latency_ms": min(lat) if lat else math.nan,
            "latency_flow": sum(math.exp(-(v - min(lat)) / 250) * e[5] * e[4] for v, e in zip(lat, trades, strict=True)),
            "price_changes": changes, "updates": updates, "life_ms": float(np.median(lives)) if lives else math.nan}
    return out


def script(seed, seconds=8, crosses=True, gaps=True):
    """A random market: quotes, trades, now and then a crossed quote or a gap."""
    source = random.Random(seed)
    events, bid = [(T0 - 700, T0 - 690, "quote", 100.0, 1.0, 100.5, 2.0)], 200
    at = T0 - 700
    while at < T0 + seconds * 1000:
        at += source.choice((0, 1, 7, 60, 180, 700))
        roll = source.random()
        if roll < 0.55:
            bid += source.choice((-1, 0, 0, 0, 1))
            wide = source.choice((1, 1, 2)) if not crosses or source.random() > 0.05 else source.choice((0, -1))
            events.append((at, at + source.randrange(300), "quote", bid / 2, source.randrange(1, 9) / 2, (bid + wide) / 2,
                           source.randrange(1, 9) / 2))
        elif roll < 0.97 or not gaps:
            events.append((at, at + source.randrange(300), "trade", 100.0, source.randrange(1, 9) / 4, source.choice((1, -1))))
        else:
            events.append((at, at, "gap"))
    return events


# -- seconds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(25))
def test_seconds_equal_their_definition_on_random_markets(seed):
    events = script(seed)
    seconds, _, sampler = played(events)
    found, expected = by_second(seconds), truth(events, T0, int(seconds.event_time[-1]) + 1000)
    assert list(found) == list(expected) and sampler.late == 0
    for second, values in expected.items():
        for name, value in values.items():
            assert found[second][name] == pytest.approx(value, abs=1e-9, nan_ok=True), (second - T0, name)


def test_a_hand_made_second():
    events = [(T0 - 1500, T0 - 1500, "quote", 100.0, 5.0, 101.0, 5.0),
              (T0 + 250, T0 + 260, "quote", 100.0, 8.0, 101.0, 5.0),  # bid queue +3
              (T0 + 500, T0 + 510, "quote", 100.0, 8.0, 102.0, 4.0),  # ask left: + the 5 that stood there
              (T0 + 600, T0 + 610, "trade", 101.0, 2.0, 1), (T0 + 700, T0 + 960, "trade", 101.0, 1.0, -1),
              (T0 + 750, T0 + 760, "quote", 101.0, 6.0, 102.0, 4.0),  # better bid: + 6
              (T0 + 2000, T0 + 2010, "quote", 101.0, 6.0, 102.0, 4.0)]
    seconds, minutes, _ = played(events)
    row = by_second(seconds)[T0]
    assert row["ofi"] == 14.0 and row["mid"] == 101.5 and (row["bid_quantity"], row["ask_quantity"]) == (6.0, 4.0)
    assert row["price_changes"] == 2 and row["updates"] == 3 and row["life_ms"] == 250.0  # the first life's begin was not seen
    assert row["imbalance"] == pytest.approx((0 + 3 / 13 + 4 / 12 + 0.2) / 4)
    assert row["depth"] == pytest.approx((5 + 6.5 + 6 + 5) / 4)
    assert row["latency_ms"] == 10.0 and row["latency_flow"] == pytest.approx(2.0 - math.exp(-1.0))
    assert seconds.available_time[list(seconds.event_time).index(T0)] >= T0 + 999 and not len(minutes)


def test_a_crossed_or_locked_quote_is_missing_and_begins_afresh():
    events = [(T0 - 1500, T0 - 1500, "quote", 100.0, 5.0, 101.0, 5.0), (T0 + 300, T0 + 300, "quote", 101.0, 5.0, 101.0, 5.0),
              (T0 + 1500, T0 + 1500, "quote", 100.0, 7.0, 101.0, 5.0), (T0 + 2100, T0 + 2100, "quote", 100.0, 9.0, 101.0, 5.0),
              (T0 + 4000, T0 + 4000, "quote", 100.0, 9.0, 101.0, 5.0)]
    found = by_second(played(events)[0])
    assert math.isnan(found[T0]["mid"]) and math.isnan(found[T0]["ofi"]) and found[T0]["imbalance"] == 0.0
    assert found[T0 + 1000]["mid"] == 100.5 and math.isnan(found[T0 + 1000]["ofi"])
    assert found[T0 + 2000]["ofi"] == 2.0


def test_polled_quotes_give_everything_but_the_order_flow_imbalance():
    events = [(T0 - 1500 + 20_000 * i, T0 - 1400 + 20_000 * i, "quote", 100.0, 5.0, 101.0, 4.0) for i in range(7)]
    seconds, minutes, _ = played(events, polled=True)
    assert np.isnan(seconds["ofi"]).all() and np.isnan(seconds["updates"]).all() and np.isfinite(seconds["mid"]).all()
    assert len(minutes) == 1 and math.isnan(minutes["ofi"][0]) and minutes["spread_bps"][0] == pytest.approx(1e4 / 100.5)


def test_a_silent_quote_becomes_unknown_and_a_long_silence_leaves_no_rows():
    events = [(T0 - 1500, T0, "quote", 100.0, 5.0, 101.0, 5.0), *((T0 + s * 1000, T0 + s * 1000, "trade", 1.0, 1.0, 1) for s in range(30)),
              (T0 + 10 * 60_000, T0 + 10 * 60_000, "trade", 1.0, 1.0, 1), (T0 + 10 * 60_000 + 3000, T0, "trade", 1.0, 1.0, 1)]
    seconds, _, _ = played(events)
    found = by_second(seconds)
    assert found[T0 + 7000]["mid"] == 100.5 and found[T0 + 7000]["ofi"] == 0.0
    assert math.isnan(found[T0 + 9000]["mid"]) and math.isnan(found[T0 + 20_000]["ofi"]) and found[T0 + 20_000]["buy_volume"] == 1.0
    assert T0 + 60_000 not in found and T0 + 10 * 60_000 + 1000 in found and T0 + 10 * 60_000 not in found


def test_missed_trades_make_volumes_unknown_not_small():
    events = [(T0 - 1500, T0, "quote", 100.0, 5.0, 101.0, 5.0), (T0 + 100, T0 + 100, "trade", 1.0, 1.0, 1), (T0 + 200, T0, "trade gap"),
              (T0 + 1100, T0 + 1100, "trade", 1.0, 1.0, 1), (T0 + 3000, T0 + 3000, "trade", 1.0, 1.0, 1)]
    found = by_second(played(events)[0])
    assert math.isnan(found[T0]["buy_volume"]) and found[T0 + 1000]["buy_volume"] == 1.0
    without = by_second(played([events[0], (T0 + 5000, T0 + 5000, "quote", 100.0, 5.0, 101.0, 5.0)], trades=False)[0])
    assert math.isnan(without[T0]["buy_volume"]) and math.isnan(without[T0]["buy_count"])


def test_rows_are_known_when_their_closing_message_came_and_late_trades_are_counted():
    sampler = FlowSampler()
    for at, received in ((T0 - 1500, T0 - 1500), (T0 + 1600, T0 + 1777)):
        sampler.quote(at, received, 100.0, 5.0, 101.0, 5.0)
    sampler.trade(T0 + 900, T0 + 1800, 100.0, 1.0, 1)
    seconds, _ = sampler.take()
    assert seconds.available_time.tolist() == [T0 + 1777] * 2 and sampler.late == 1  # the seconds from T0 - 1000 and from T0


# -- minutes ----------------------------------------------------------------------------------------------------------


def test_a_minute_is_the_sum_and_the_time_mean_of_its_seconds():
    events = script(99, seconds=125, crosses=False, gaps=False)
    seconds, minutes, _ = played(events)
    assert minutes.event_time.tolist() == [T0, T0 + 60_000]
    for i, start in enumerate(minutes.event_time):
        inside = (seconds.event_time >= start) & (seconds.event_time < start + 60_000)
        assert inside.sum() == 60
        assert minutes["ofi"][i] == pytest.approx(seconds["ofi"][inside].sum())
        assert minutes["buy_volume"][i] == pytest.approx(seconds["buy_volume"][inside].sum())
        assert minutes["spread_bps"][i] == pytest.approx(seconds["spread_bps"][inside].mean())
        assert minutes["best_depth"][i] == pytest.approx(seconds["depth"][inside].mean())
        assert minutes["mid"][i] == seconds["mid"][inside][-1] and math.isnan(minutes["obi"][i])


def test_a_gap_makes_the_minutes_order_flow_unknown_only_there():
    events = script(5, seconds=185, crosses=False, gaps=False)
    events.append((T0 + 70_000, T0 + 70_000, "gap"))
    events.sort(key=lambda e: e[0])
    _, minutes, _ = played(events)
    assert np.isnan(minutes["ofi"]).tolist() == [False, True, False] and np.isfinite(minutes["buy_volume"]).all()


def test_samples_of_the_book_are_averaged_and_large_trades_shared():
    sampler = FlowSampler()
    sampler.quote(T0 - 1500, T0 - 1500, 99.0, 1.0, 101.0, 1.0)
    for second, size in ((1, 1.0), (2, 9.0), (31, 3.0)):  # the one a second after another is ignored
        sampler.book(T0 + second * 1000, T0 + second * 1000, [99.0], [size], [101.0], [1.0])
    sampler.trade(T0 + 32_000, T0 + 32_000, 100.0, 1500.0, 1)
    sampler.trade(T0 + 33_000, T0 + 33_000, 100.0, 500.0, -1)
    sampler.close(T0 + 61_000)
    _, minutes = sampler.take()
    assert minutes["obi_1"].tolist() == [0.25] and minutes["large_share"].tolist() == [0.75]  # means of 0 and .5; 150,000 of 200,000


# -- the shape of a book ----------------------------------------------------------------------------------------------


def ladder(quantity_bid=1.0, quantity_ask=1.0, levels=101):
    """A mid of 10,000: levels every bps of it from 1 bps on."""
    steps = np.arange(1, levels + 1)
    return 10_000.0 - steps, np.full(levels, quantity_bid), 10_000.0 + steps, np.full(levels, quantity_ask)


def test_an_even_book_leans_nowhere_and_a_double_bid_leans_by_a_third():
    even, double = shape_of(*ladder()), shape_of(*ladder(quantity_bid=2.0))
    assert even.obi == pytest.approx(0.0, abs=1e-12) and even.bid_elasticity == pytest.approx(even.ask_elasticity)
    assert (double.obi, double.obi_1, double.obi_5, double.obi_20) == pytest.approx((1 / 3,) * 4)
    assert (double.bid_depth_10, double.ask_depth_10, double.bid_mass_50, double.ask_mass_50) == (20.0, 10.0, 100.0, 50.0)
    assert even.bid_elasticity == pytest.approx(1.0, abs=1e-12)  # depth grows as the distance does
    assert double.bid_log_depth - double.ask_log_depth == pytest.approx(math.log(2.0))


def test_walking_the_book_by_hand():
    # 10,000 buys .4999.. at 10,001 (one level holds 10,001); 100,000 takes 9 levels and part of the tenth
    shape = shape_of(*ladder())
    assert shape.buy_slippage_10k == pytest.approx(1.0) and shape.sell_slippage_10k == pytest.approx(
        1e4 * (1 - 10_000 / (1 + (10_000 - 9_999) / 9_998) / 10_000))
    taken, left, spent = 0.0, 100_000.0, 0.0
    for price in 10_000.0 + np.arange(1, 102):
        part = min(1.0, left / price)
        taken, left, spent = taken + part, left - part * price, spent + part * price
    assert shape.buy_slippage_100k == pytest.approx(1e4 * (spent / taken / 10_000 - 1)) and shape.unfilled_100k == 0.0
    thin = shape_of([9_999.0], [1.0], [10_001.0], [2.0])
    assert thin.unfilled_100k == pytest.approx(1 - 9_999 / 100_000) and thin.buy_slippage_100k == pytest.approx(1.0)


def test_what_lies_beyond_the_known_book_is_unknown():
    near = shape_of(*ladder(levels=9))
    assert math.isnan(near.bid_depth_10) and math.isnan(near.bid_mass_50) and math.isnan(near.bid_elasticity)
    some = shape_of(*ladder(levels=25))
    assert some.bid_mass_50 == 25.0 and math.isnan(some.bid_elasticity)  # two distances are not a slope
    assert shape_of([100.0], [1.0], [100.0], [1.0]) is None and shape_of([], [], [1.0], [1.0]) is None


def test_a_wall_stands_out_of_its_bins():
    bid, bid_q, ask, ask_q = ladder()
    ask_q[45] = 500.0  # 46 bps above
    bid_q[3], bid_q[25], ask_q[62] = 1.5, 2.0, 1.3  # even bins have no spread to stand out of
    shape = shape_of(bid, bid_q, ask, ask_q)
    assert shape.wall_bps == 50.0 and shape.wall_mass == pytest.approx(519.0)
    assert math.isnan(shape_of(*ladder()).wall_bps)


# -- tap and shelf ----------------------------------------------------------------------------------------------------


def sampled(at, seconds=3):
    events = [(at - 1500, at, "quote", 100.0, 5.0, 101.0, 5.0), (at + seconds * 1000, at, "quote", 100.0, 5.0, 101.0, 5.0)]
    return played(events)[:2]


def test_the_shelf_returns_what_was_stored_once_and_over_an_hours_end(tmp_path):
    shelf = FlowShelf(tmp_path)
    for at in (T0, T0 + 2000, T0 + HOUR_MS):  # the second overlaps the first
        shelf.store(Market.SPOT, [("BTCUSDT", *sampled(at))])
    again = FlowShelf(tmp_path)
    again.store(Market.SPOT, [("BTCUSDT", *sampled(T0 + HOUR_MS + 4000))])
    found = again.known("BTCUSDT", Kind.SECOND_FLOW, Market.SPOT, T0 - 5000, T0 + 2 * HOUR_MS)
    assert len(set(found.event_time.tolist())) == len(found) and T0 in found.event_time and T0 + HOUR_MS + 5000 in found.event_time
    assert tuple(found.columns) == COLUMNS_OF[Kind.SECOND_FLOW] and found.provenance == "LIVE"
    early = again.known("BTCUSDT", Kind.SECOND_FLOW, Market.SPOT, T0 - 5000, T0 + 1500)
    assert (early.available_time < T0 + 1500).all()
    nothing = again.known("BTCUSDT", Kind.SECOND_FLOW, Market.PERP, T0, T0 + 1)
    assert not len(nothing) and "collector" in nothing.note


def test_the_shelf_forgets_seconds_after_two_days_and_survives_damage(tmp_path):
    shelf = FlowShelf(tmp_path)
    shelf.store(Market.SPOT, [("BTCUSDT", *sampled(T0))])
    shelf.store(Market.SPOT, [("BTCUSDT", *sampled(T0 + DAY_MS))])
    files = sorted(tmp_path.glob("spot/BTCUSDT/second/*.parquet"))
    files[-1].write_bytes(b"PAR1 nonsense")
    found = FlowShelf(tmp_path)
    assert len(found.known("BTCUSDT", Kind.SECOND_FLOW, Market.SPOT, 0, T0 + 2 * DAY_MS)) == 5 and found.damage
    found.store(Market.SPOT, [("BTCUSDT", *sampled(T0 + DAY_MS + 5000))])
    assert len(found.known("BTCUSDT", Kind.SECOND_FLOW, Market.SPOT, 0, T0 + 2 * DAY_MS)) == 9
    assert found.prune(T0 + 2 * DAY_MS + 2 * HOUR_MS) == 2 and found.prune(T0 + 40 * DAY_MS) == 2
    assert not list(tmp_path.glob("spot/BTCUSDT/second/*.parquet"))


def test_a_refusing_disk_loses_nothing(tmp_path):
    refuses = [True]

    def fault(step):
        if refuses[0] and "before" in step:
            raise OSError(28, "No space left on device")

    shelf = FlowShelf(tmp_path, fault=fault)
    shelf.store(Market.SPOT, [("BTCUSDT", *sampled(T0))])
    assert "No space left" in shelf.problem and not len(shelf.known("BTCUSDT", Kind.SECOND_FLOW, Market.SPOT, 0, T0 + DAY_MS))
    refuses[0] = False
    shelf.store(Market.SPOT, [("BTCUSDT", *sampled(T0 + 4000))])
    assert not shelf.problem and len(shelf.known("BTCUSDT", Kind.SECOND_FLOW, Market.SPOT, 0, T0 + DAY_MS)) == 8


def test_the_tap_feeds_samplers_and_sees_lost_books_and_missed_trades():
    book = LocalBook("BTCUSDT", Market.SPOT)
    heard = []
    tap = FlowTap(Market.SPOT, ["BTCUSDT"], book=lambda symbol: book)
    record = both(lambda *told: heard.append(told), tap.record)
    for second in range(-2, 6):
        at = T0 + second * 1000
        if second == 3:
            book.synchronised = True
            book.lose("a test")
        record(TickKind.BOOK_TICKER, "BTCUSDT", [(at, at + 5, 100.0, 5.0, 101.0, 5.0)])
        number = second + 10 + (second >= 2) * 7
        record(TickKind.AGG_TRADE, "BTCUSDT", [(at + 1, at + 6, number, 100.0, 1.0, 1, number, number)])
    record(TickKind.BOOK_TICKER, "OTHER", [(T0, T0, 1.0, 1.0, 2.0, 1.0)])
    ((symbol, seconds, minutes),) = tap.collect(T0 + 9000)
    found = by_second(seconds)
    assert symbol == "BTCUSDT" and len(heard) == 17 and not len(minutes)
    assert math.isnan(found[T0 + 3000]["ofi"]) and found[T0 + 1000]["ofi"] == 0.0
    assert math.isnan(found[T0 + 2000]["buy_volume"]) and found[T0 + 1000]["buy_volume"] == 1.0
    assert tap.collect(T0 + 9000) == []


@pytest.mark.real
def test_a_recorded_futures_session_gives_whole_seconds(recordings):
    """Quotes and trades of a recorded session through the tap; sums and quotes of the rows are those of the raw messages."""
    file = recordings / "ticks" / "stream_recordings" / "usdm_btcusdt_20240808.ndjson.gz"
    if not file.exists():
        pytest.skip("the recordings hold no stream session")
    book = LocalBook("BTCUSDT", Market.PERP)
    tap = FlowTap(Market.PERP, ["BTCUSDT"], book=lambda symbol: book, trades=TickKind.TRADE)
    quotes, trades, sampled_ms = [], [], 0
    with gzip.open(file, "rb") as lines:
        for line in lines:
            stamp, _, body = line.partition(b" ")
            received = int(stamp) // 1_000_000
            if b'"lastUpdateId"' in body[:40]:
                book.start(messages.decode_snapshot(body))
                continue
            _, message = messages.decode(body.strip())
            if isinstance(message, messages.DepthDiff):
                book.apply(message)
                if received - sampled_ms >= 1000 and book.synchronised:
                    sampled_ms = received
                    tap.record(TickKind.BOOK, "BTCUSDT", rows_of_book(book.top(20), received))
                continue
            told = rows_of(message, received)
            if told is not None and told[0] in (TickKind.BOOK_TICKER, TickKind.TRADE):
                tap.record(*told)
                (quotes if told[0] is TickKind.BOOK_TICKER else trades).extend(told[2])
    ((_, seconds, minutes),) = tap.collect(int(quotes[-1][0]) + 60_000)
    start, stop = int(seconds.event_time[1]), int(quotes[-1][0]) // 1000 * 1000
    inside = (seconds.event_time >= start) & (seconds.event_time < stop)
    assert inside.sum() > 300 and len(minutes) >= 4
    for name, side in (("buy_volume", 1), ("sell_volume", -1)):
        raw = sum(t[4] for t in trades if start <= t[0] < stop and t[5] == side)
        assert np.nansum(seconds[name][inside]) == pytest.approx(raw, rel=1e-3)  # stragglers after their second are counted, not used
    at = np.maximum.accumulate(np.array([q[0] for q in quotes]))
    for row in np.flatnonzero(inside)[::40]:
        last = quotes[int(np.searchsorted(at, seconds.event_time[row] + 1000, side="left")) - 1]
        assert (seconds["bid"][row], seconds["ask"][row]) == (last[2], last[4])
    assert np.isfinite(seconds["ofi"][inside][2:]).all() and (np.abs(minutes["obi"]) < 1).all()
    assert json.dumps(float(np.nanmedian(seconds["life_ms"])))


@pytest.mark.parametrize("ahead_ms", [0, 400, 700, 1_500, 5_000])
def test_a_clock_that_runs_ahead_does_not_turn_volumes_into_zeros(ahead_ms):
    """Spot's best quotes carry no time: stamped by a clock a second ahead they closed each second before its trades had come."""
    tap = FlowTap(Market.SPOT, ["BTCUSDT"], book=lambda _symbol: None)
    arrivals = [(T0 + at + 20, TickKind.BOOK_TICKER, T0 + at) for at in range(0, 200_000, 100)]
    arrivals += [(T0 + at + 40, TickKind.AGG_TRADE, T0 + at) for at in range(37, 200_000, 250)]
    seconds, minutes = [], []
    for n, (arrived, kind, at) in enumerate(sorted(arrivals)):
        local = arrived + ahead_ms
        if kind is TickKind.BOOK_TICKER:
            tap.record(kind, "BTCUSDT", [(local, local, 100.0, 1.0, 100.1, 1.0)])
        else:
            number = (at - T0 - 37) // 250
            tap.record(kind, "BTCUSDT", [(at, local, number, 100.0, 1.0, 1, number, number)])
        if n % 50 == 0:
            for _, more, whole in tap.collect(local):
                seconds += more["buy_volume"].tolist()
                minutes += whole["buy_volume"].tolist()
    assert len(seconds) >= 185 and set(seconds) == {4.0}
    assert len(minutes) >= 2 and set(minutes) == {240.0}


def test_a_reader_names_a_damaged_file_of_flow_once(tmp_path):
    file = tmp_path / "spot" / "BTCUSDT" / "minute" / "2027-01-15T00.parquet"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"PAR1 cut")
    shelf = FlowShelf(tmp_path)
    for _ in range(5):
        assert not len(shelf.known("BTCUSDT", Kind.MINUTE_FLOW, Market.SPOT, T0 - DAY_MS, T0 + DAY_MS))
    assert len(shelf.damage) == 1
