"""Nothing registered knows the future, and the check itself can fail."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.modules import MODULES
from analysis.modules.onchain import OnChain
from core.futures import HISTORY_BARS, NEWEST_MS, POISONS, SEED, check_series, chosen_cuts, poisoned
from core.lookahead import check_everything
from core.lookahead_views import check_module
from core.planted_leaks import LEAKS
from data.clock import FixedClock, parse_time
from data.indicators import INDICATORS
from data.market import HOUR_MS, Interval, SeriesKey
from data.simulator.market import EPOCH_MS, SimulatedExchange

# No source, no account, no options on this coin, or made for the newest bar's report alone (which has a poison test of its own).
ABSENT = {"G.leverage", "G.liq_distance", "B.vrp", "C.vol_skew", "C.gex", "F.etf_flow", "F.nrpl", "F.whale_ratio", "F.sopr", "E.dtw",
          "E.cca", "E.var", "E.coint", "E.exch_premium", "I.black_litterman", "H.kyle", "liquidity_pressure"}


@pytest.fixture(scope="module")
def candles():
    exchange = SimulatedExchange(7, FixedClock(EPOCH_MS + 24_000 * HOUR_MS))
    return exchange.read(SeriesKey("DOGEUSDT", Interval.H1)).tail(HISTORY_BARS)


def assert_complete(report):
    names = {f.name for f in report.findings}
    assert {i.name for i in INDICATORS} <= names
    assert {f"{m.letter}.{k.key}" for m in MODULES for k in m.metrics} <= names
    assert {f"{m.letter} {m.name}" for m in MODULES} <= names
    blind = {f.name for f in report.findings if f.known == 0}
    assert blind <= ABSENT, f"compared nothing but NaN: {blind - ABSENT}"
    assert not [f"{f.name}: {f.words}" for f in report.findings if not f.ok]
    assert report.caught == len(report.leaks) == len(LEAKS) == 15


def test_everything_registered_passes_twenty_cuts_and_one_poison():
    assert_complete(check_everything(MODULES, cuts=20, poisons=1))


@pytest.mark.long
def test_everything_registered_passes_two_hundred_cuts_and_five_poisons():
    report = check_everything(MODULES, cuts=200, poisons=POISONS)
    print("\n" + report.text())
    assert_complete(report)


def test_a_coin_that_gets_chain_figures_of_its_own_changes_no_earlier_bar():
    """A poisoned future gives the coin what Bitcoin's chain stood in for: bars before it knew nothing of that."""
    exchange, begin = SimulatedExchange(7, FixedClock(NEWEST_MS)), parse_time("2025-01-18T06:00:00Z")
    for number in range(1, 4):
        found = check_module(OnChain(), exchange, begin + number * 400 * HOUR_MS, 60, POISONS, SEED)
        assert not [f"{f.name}: {f.words}" for f in found if not f.ok]


@pytest.mark.parametrize("name", LEAKS)
def test_a_planted_leak_is_caught_by_deletion_alone_or_by_poison(name, candles):
    cuts = chosen_cuts(candles, 700, 20, 1)
    assert not check_series(name, "leak", "", LEAKS[name], candles, cuts, 1).ok


def test_an_honest_series_passes(candles):
    def honest(c):
        return {"value": np.concatenate(([np.nan], c.close[1:] / c.close[:-1]))}

    assert check_series("honest", "series", "P", honest, candles, chosen_cuts(candles, 700, 20, 1), POISONS, 2).ok


def test_a_recursion_that_never_forgets_fails_the_start_shift(candles):
    found = check_series("sum", "series", "R", lambda c: {"value": np.cumsum(c.close)}, candles, [800], 0, 100)
    assert not found.ok and "history begun" in found.words


@pytest.mark.parametrize("kind", range(POISONS))
def test_a_poison_leaves_the_past_alone(candles, kind):
    cut = 900
    changed = poisoned(candles, cut, kind)
    assert changed.close[: cut + 1].tobytes() == candles.close[: cut + 1].tobytes()
    assert not np.array_equal(changed.close[cut + 1 :], candles.close[cut + 1 : len(changed)])


def test_cuts_stand_beside_holes_and_at_the_edges_of_days(candles):
    cuts = np.array(chosen_cuts(candles, 700, 40, 1))
    assert len(cuts) == 40 and cuts.min() >= 700
    assert np.sum(np.isin(candles.open_time[cuts] % 86_400_000, (0, 23 * HOUR_MS))) >= 10
