"""A person's orders are checked before they are kept: each field refuses in words."""

from __future__ import annotations

import pytest

from core.paper import by_hand
from data.errors import InputError

STATUS = {"terms": {"symbols": ["BTCUSDT", "ETHUSDT"], "options": {"interval": "1h", "market": "perp"}}, "equity": 10_000.0,
          "positions": [{"symbol": "ETHUSDT", "strategy": "trend", "side": 1}], "orders": []}
SPOT = STATUS | {"terms": {"symbols": ["BTCUSDT"], "options": {"market": "spot"}}}
LONG = {"side": 1, "price": 100.0, "stop": 95.0, "target": 110.0, "quantity": 2.0}


def test_a_right_order_keeps_what_was_given_and_nothing_else():
    assert by_hand.order(STATUS, "BTCUSDT", "short", 100.0, stop=105.0, target=None) == {"side": -1, "stop": 105.0}
    whole = by_hand.order(STATUS, "BTCUSDT", "long", 100.0, stop=95.0, target=110.0, limit=99.0, quantity=0.5)
    assert whole == {"side": 1, "stop": 95.0, "target": 110.0, "limit": 99.0, "quantity": 0.5}


@pytest.mark.parametrize(("status", "symbol", "side", "fields", "words"), [
    (STATUS, "XRPUSDT", "long", {"stop": 95.0}, "this account trades BTCUSDT, ETHUSDT"),
    (STATUS, "ETHUSDT", "long", {"stop": 95.0}, "held by trend already"),
    (STATUS | {"orders": [{"symbol": "BTCUSDT"}]}, "BTCUSDT", "long", {"stop": 95.0}, "waits already"),
    (STATUS, "BTCUSDT", "up", {"stop": 95.0}, "side: expected long or short"),
    (SPOT, "BTCUSDT", "short", {"stop": 105.0}, "cannot go short"),
    (STATUS, "BTCUSDT", "long", {"stop": None}, "stop: expected a price, got none"),
    (STATUS, "BTCUSDT", "long", {"stop": float("nan")}, "stop: expected a number above 0"),
    (STATUS, "BTCUSDT", "long", {"stop": 100.0}, "stop: expected a price below 100"),
    (STATUS, "BTCUSDT", "short", {"stop": 99.0}, "stop: expected a price above 100"),
    (STATUS, "BTCUSDT", "short", {"stop": 105.0, "target": 101.0}, "target: expected a price below 100"),
    (STATUS, "BTCUSDT", "long", {"stop": 95.0, "limit": 94.0}, "limit: expected a price above the stop 95"),
    (STATUS, "BTCUSDT", "long", {"stop": 95.0, "quantity": 0.0}, "quantity: expected a number above 0")])
def test_a_wrong_order_is_refused_in_words(status, symbol, side, fields, words):
    with pytest.raises(InputError, match=words):
        by_hand.order(status, symbol, side, 100.0, **({"target": None} | fields))


def test_levels_send_only_what_differs_and_a_stop_is_never_taken_away():
    assert by_hand.levels(LONG, stop=95.0, target=120.0) == {"target": 120.0}
    assert by_hand.levels(LONG, stop=97.0, target=None) == {"stop": 97.0, "target": None}
    for stop, target, words in ((None, 110.0, "keeps its stop"), (101.0, 110.0, "stop: expected a price below"),
                                (95.0, 110.0, "nothing differs"), (95.0, 99.0, "target: expected a price above")):
        with pytest.raises(InputError, match=words):
            by_hand.levels(LONG, stop=stop, target=target)


@pytest.mark.parametrize("quantity", [0.0, -1.0, 2.0, 3.0, float("nan")])
def test_a_part_is_less_than_the_whole(quantity):
    assert by_hand.part(LONG, 0.5) == {"quantity": 0.5}
    with pytest.raises(InputError, match="quantity: expected above 0 and below the 2"):
        by_hand.part(LONG, quantity)


def test_words_say_size_and_loss():
    sized = by_hand.order_words(STATUS, "BTCUSDT", {"side": 1, "stop": 95.0}, 100.0)
    assert "about 20, inside the account's limits" in sized and "about 100.00" in sized  # 1 % of 10,000 over 5; 20 % cap is 20 too
    given = by_hand.order_words(STATUS, "BTCUSDT", {"side": -1, "stop": 105.0, "quantity": 3.0, "limit": 101.0, "target": 90.0}, 100.0)
    assert given.startswith("Sell short BTCUSDT at 101 or better: 3,") and "about 12.00" in given and "target 90" in given
