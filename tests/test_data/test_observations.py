"""Two times on every row, and only what was available is known."""

from __future__ import annotations

import numpy as np
import pytest

from data.errors import ContractBroken
from data.observations import COLUMNS_OF, Kind, Observations


def supply(event, available):
    return Observations(Kind.STABLECOIN_SUPPLY, np.array(event), np.array(available), {"supply_usd": np.arange(len(event), dtype=float)})


def test_a_row_is_unknown_until_it_was_available():
    rows = supply([0, 100, 200], [150, 250, 350])
    assert len(rows.known_at(150)) == 0 and len(rows.known_at(151)) == 1 and len(rows.known_at(351)) == 3


def test_rows_are_ordered_by_when_they_became_known():
    rows = supply([0, 100, 200], [300, 200, 250])
    assert rows.available_time.tolist() == [200, 250, 300] and rows["supply_usd"].tolist() == [1.0, 2.0, 0.0]


def test_every_kind_has_columns_and_an_empty_form():
    assert set(COLUMNS_OF) == set(Kind) - {Kind.CANDLES}
    for kind in COLUMNS_OF:
        assert len(Observations.empty(kind)) == 0


def test_wrong_columns_and_lengths_are_refused():
    with pytest.raises(ContractBroken, match="expects the columns value"):
        Observations(Kind.FEAR_GREED, np.array([1]), np.array([1]), {"index": np.array([1.0])})
    with pytest.raises(ContractBroken, match="has shape"):
        Observations(Kind.FEAR_GREED, np.array([1]), np.array([1]), {"value": np.array([1.0, 2.0])})


def test_rows_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        supply([0], [1])["supply_usd"][0] = 5
