"""The shipped table of ticks, steps and minimum notionals against recorded answers of the exchange, and what is inferred without it."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from decimal import Decimal

import numpy as np
import pytest

from core.trading.contracts import Contract, contract_of, shipped
from data.errors import InputError
from data.market import Market
from tests.backtest_worlds import bars


def recorded(folder, name):
    return json.loads((folder / "responses" / "recorded" / name).read_text(encoding="utf-8"))


def filters(symbol):
    return {f["filterType"]: f for f in symbol["filters"]}


def on_grid(text, grid):
    return Decimal(text) % Decimal(repr(grid)) == 0


@pytest.mark.real
def test_perpetuals_are_those_of_the_recorded_exchange_info(recordings):
    found = {s["symbol"]: filters(s) for s in recorded(recordings, "usdm/fapi_v1_exchangeInfo.json")["symbols"]}
    for symbol in shipped(Market.PERP):
        held, f = contract_of(symbol, Market.PERP), found[symbol]
        assert (held.tick, held.step, held.minimum_notional) == (
            float(f["PRICE_FILTER"]["tickSize"]), float(f["LOT_SIZE"]["stepSize"]), float(f["MIN_NOTIONAL"]["notional"])), symbol


@pytest.mark.real
def test_spot_is_that_of_the_recorded_exchange_info(recordings):
    found = {s["symbol"]: filters(s) for s in recorded(recordings, "spot/api_v3_exchangeInfo_curated.json")["symbols"]}
    both = sorted(set(found) & set(shipped(Market.SPOT)))
    assert both == ["BTCUSDT", "ETHUSDT"]
    for symbol in both:
        held, f = contract_of(symbol, Market.SPOT), found[symbol]
        assert (held.tick, held.step, held.minimum_notional) == (
            float(f["PRICE_FILTER"]["tickSize"]), float(f["LOT_SIZE"]["stepSize"]), float(f["NOTIONAL"]["minNotional"])), symbol


@pytest.mark.real
@pytest.mark.parametrize(("market", "file"), [(Market.SPOT, "spot/api_v3_ticker_bookTicker_all.json"),
                                              (Market.PERP, "usdm/fapi_v1_ticker_bookTicker_all.json")])
def test_best_quotes_lie_on_the_grid_and_one_tick_apart(recordings, market, file):
    """A table that is too fine or too coarse fails: quotes of these pairs are one tick apart, and quantities end in the last step."""
    quotes = {q["symbol"]: q for q in recorded(recordings, file)}
    apart = 0
    for symbol in shipped(market):
        held, q = contract_of(symbol, market), quotes[symbol]
        assert all(on_grid(q[n], held.tick) for n in ("bidPrice", "askPrice")), (symbol, q)
        assert all(on_grid(q[n], held.step) for n in ("bidQty", "askQty")), (symbol, q)
        apart += Decimal(q["askPrice"]) - Decimal(q["bidPrice"]) == Decimal(repr(held.tick))
    assert apart >= len(shipped(market)) - 3


@pytest.mark.real
def test_decimals_of_real_candles_are_those_of_the_tick(recordings):
    """Hourly candles of September 2025: all prices on the tick, and some on no coarser one."""
    for symbol in ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT"):
        path = recordings / f"vision/data/spot/monthly/klines/{symbol}/1h/{symbol}-1h-2025-09.zip"
        with zipfile.ZipFile(path) as archive:
            text = archive.read(archive.namelist()[0]).decode()
        prices = [cell for row in csv.reader(io.StringIO(text)) for cell in row[1:5]]
        tick = contract_of(symbol, Market.SPOT).tick
        assert all(on_grid(p, tick) for p in prices) and not all(on_grid(p, 10 * tick) for p in prices), symbol


@pytest.mark.real
def test_maintenance_rates_are_those_of_the_lowest_recorded_bracket(recordings):
    for name, brackets in recorded(recordings, "usdm/leverage_brackets_freqtrade.json").items():
        symbol = name.split(":")[0].replace("/", "")
        assert contract_of(symbol, Market.PERP).maintenance == brackets[0]["maintenanceMarginRate"], symbol


def test_a_symbol_outside_the_table_is_inferred_and_says_so():
    held = contract_of("NEWUSDT", Market.SPOT, bars([(1.25, 1.375, 1.125, 1.25, 10.5)] * 3))
    assert (held.tick, held.step) == (0.001, 0.1) and held.inferred and "3 candles" in held.source
    assert not contract_of("BTCUSDT", Market.SPOT).inferred
    with pytest.raises(InputError, match="not in the shipped contract table"):
        contract_of("NEWUSDT", Market.SPOT)


def test_a_whole_number_of_ticks_gives_the_nearest_double():
    assert np.isclose(Contract("X", Market.SPOT, 0.01, 0.00001).steps_per_unit, 100_000, rtol=0, atol=0)
