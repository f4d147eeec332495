"""What fills, fees and funding do to an account, by hand and against exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from core.trading.account import Account, Position
from data.errors import InputError
from data.market import Market

S = "AAAUSDT"


def position(side=1):
    return Position(S, "test", side, 0, 0)


def test_spot_buys_with_cash_and_is_worth_cash_and_coins():
    """10 at 100 with 0.1 %: cash 10000 - 1000 - 1 = 8999; at 110 worth 8999 + 1100 = 10099. Sold at 110: 8999 + 1100 - 1.1 = 10097.9."""
    account, held = Account(Market.SPOT, 10_000.0), position()
    account.enter(held, 100.0, 10.0, 0.001, 100.0)
    assert account.cash == pytest.approx(8_999.0, abs=1e-9) and account.equity({S: 110.0}) == pytest.approx(10_099.0, abs=1e-9)
    assert account.leave(held, 110.0, 10.0, 0.001, 110.0)
    assert account.cash == pytest.approx(10_097.9, abs=1e-9) and held.pnl == pytest.approx(97.9, abs=1e-9) and not account.positions


def test_a_perpetual_moves_no_cash_but_fees():
    """Short 10 at 100, taker 5 bp: cash 9999.5, margin 1000 / 3; at 90 worth 9999.5 + 100. A stamp of 0.01 % at a mark of 90 pays +0.09."""
    account, held = Account(Market.PERP, 10_000.0), position(-1)
    account.enter(held, 100.0, 10.0, 0.0005, 100.0)
    assert account.cash == 9_999.5 and account.equity({S: 90.0}) == pytest.approx(10_099.5)
    assert account.used_margin() == pytest.approx(1000 / 3)
    assert account.fund(held, 0.0001, 90.0) == pytest.approx(0.09) and held.funding == pytest.approx(0.09)
    assert account.liquidation_price(held, 0.005) == pytest.approx(100 * (4 / 3) / 1.005)


@pytest.mark.parametrize("market", list(Market))
def test_many_fills_agree_with_exact_fractions(market):
    """500 partial fills, fees and stamps: cash, equity and profit equal those of rational arithmetic to 1e-8."""
    rng = np.random.Generator(np.random.PCG64(3))
    account, held = Account(market, 1e6), position()
    cash, quantity, entry, profit = Fraction(10**6), Fraction(0), Fraction(0), Fraction(0)
    for _ in range(500):
        price, fee = Fraction(int(rng.integers(9_000, 11_000)), 100), Fraction(1, 1000)
        if quantity and rng.random() < 0.4:
            part = min(quantity, Fraction(int(rng.integers(1, 50)), 1000))
            flat = account.leave(held, float(price), min(float(part), held.quantity), 0.001, float(price), 1000.0)
            cash += part * price * (1 - fee) if market is Market.SPOT else part * (price - entry) - part * price * fee
            profit += part * (price - entry) - part * price * fee
            quantity -= part
            assert flat == (quantity == 0)
            if flat:
                held = position()
        else:
            part = Fraction(int(rng.integers(1, 50)), 1000)
            account.enter(held, float(price), float(part), 0.001, float(price), 1000.0)
            cash -= part * price * (1 + fee) if market is Market.SPOT else part * price * fee
            profit -= part * price * fee
            entry = (entry * quantity + price * part) / (quantity + part)
            quantity += part
        if market is Market.PERP and quantity:
            account.fund(held, 0.0001, 100.0)
            cash -= quantity * 100 / 10_000
            profit -= quantity * 100 / 10_000
        entry = entry.limit_denominator(10**18)
        worth = cash + (quantity * 100 if market is Market.SPOT else quantity * (100 - entry))
        assert account.equity({S: 100.0}) == pytest.approx(float(worth), rel=0, abs=1e-8)
        assert held.quantity == pytest.approx(float(quantity), abs=1e-12)
    unrealised = quantity * (100 - entry)
    assert account.equity({S: 100.0}) - 1e6 == pytest.approx(float(profit + unrealised), abs=1e-7)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: Account(Market.SPOT, 0.0), "capital: expected a sum above zero"),
    (lambda: Account(Market.PERP, 1.0, 200.0), "leverage: expected 1 to 125"),
    (lambda: Account(Market.SPOT, 1e4).enter(position(-1), 100.0, 1.0, 0.0, 100.0), "short position on spot"),
    (lambda: Account(Market.SPOT, 1e4).enter(position(), 100.0, 0.0, 0.0, 100.0), "quantity and a price above zero"),
    (lambda: Account(Market.SPOT, 1e4).leave(position(), 100.0, 1.0, 0.0, 100.0), "cannot close 1.0 of a position of 0.0"),
])
def test_impossible_fills_are_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()
