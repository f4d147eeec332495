"""The slippage schedule: what is known when, what a model needs, what it says while it does not know."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.methods.spread_estimators import corwin_schultz
from core.trading.contracts import Contract, contract_of, shipped
from core.trading.costs import break_even_bps, quote_volume, schedule
from data.errors import InputError
from data.market import Costs, Market, Slippage
from tests.made_candles import made, scaled, without_optional


def test_fees_of_the_venue():
    assert (Costs.of(Market.SPOT).maker_bps, Costs.of(Market.SPOT).taker_bps) == (10.0, 10.0)
    assert (Costs.of(Market.PERP).maker_bps, Costs.of(Market.PERP).taker_bps) == (2.0, 5.0)
    assert Costs.none().taker_bps == Costs.none().slippage_bps == 0.0


def test_fixed_slippage_is_two_basis_points_everywhere():
    found = schedule(made(100), Costs())
    assert (found.half == 2e-4).all()


def test_spread_model_is_half_the_estimate_of_the_bar_before_plus_one_basis_point():
    candles = made(200)
    found = schedule(candles, Costs(slippage=Slippage.SPREAD))
    expected = corwin_schultz(candles) / 2 + 1e-4
    np.testing.assert_allclose(found.half[60:], expected[59:-1], rtol=1e-12)
    assert np.isnan(found.half[:20]).all()


def test_spread_of_the_book_is_preferred():
    found = schedule(made(50), Costs(slippage=Slippage.SPREAD), half_spread_bps=np.full(50, 3.0))
    np.testing.assert_allclose(found.half[1:], 4e-4)


def test_square_root_model_by_hand():
    """Y sig_d sqrt(Q / ADV): over the trailing 20 days of hourly bars, known at the open."""
    candles = made(1_000)
    found = schedule(candles, Costs(slippage=Slippage.SQRT))
    r = np.diff(np.log(candles.close))[-481:-1]
    sigma = np.sqrt(np.mean(r**2) * 24)
    volume = quote_volume(candles)[-481:-1].mean() * 24
    assert found.impact[-1] == pytest.approx(sigma / np.sqrt(volume), rel=1e-9)


def test_schedule_knows_no_future():
    candles = made(600)
    spoilt = scaled(candles, slice(400, 600), 3.0, ("open", "high", "low", "close", "volume", "quote_volume"))
    for model in Slippage:
        a, b = schedule(candles, Costs(slippage=model)), schedule(spoilt, Costs(slippage=model))
        assert a.half[:401].tobytes() == b.half[:401].tobytes() and a.impact[:401].tobytes() == b.impact[:401].tobytes()


def test_quote_volume_stands_in():
    candles = without_optional(made(10))
    np.testing.assert_allclose(quote_volume(candles), candles.volume * candles.close)


def test_break_even():
    """300 earned on 200,000 traded: 15 basis points a side would have eaten it."""
    assert break_even_bps(300.0, 200_000.0) == pytest.approx(15.0) and np.isnan(break_even_bps(0.0, 0.0))


def test_contracts_of_the_watchlist_are_shipped_and_others_inferred():
    from core.settings import Settings

    for market in Market:
        assert set(shipped(market)) == set(Settings.model_fields["watchlist"].default) if "watchlist" in Settings.model_fields else True
        assert len(shipped(market)) == 12
        for symbol in shipped(market):
            found = contract_of(symbol, market)
            assert not found.inferred and found.source == "2026-07-15" and found.tick > 0 and found.step > 0
            assert found.ticks_per_unit * found.tick == pytest.approx(1.0, rel=1e-12)
    odd = contract_of("ODDUSDT", Market.SPOT, made(50))
    assert odd.inferred and (odd.tick, odd.step) == (0.01, 1e-5) and "50 candles" in odd.source


@pytest.mark.parametrize(("call", "words"), [
    (lambda: contract_of("ODDUSDT", Market.SPOT), "not in the shipped contract table of 2026-07-15"),
    (lambda: Contract("X", Market.SPOT, -0.1, 1.0), "tick must be zero or above"),
    (lambda: Contract("X", Market.PERP, 0.1, 1.0, maintenance=1.5), "0.005 means 0.5 %"),
    (lambda: Costs(maker_bps=-6.0), "costs.maker_bps: expected -5 to 1000"),
])
def test_bad_contracts_and_costs_are_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()
