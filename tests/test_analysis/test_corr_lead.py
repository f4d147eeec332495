"""Module E: planted leaders of the simulated exchange, its formula by hand, one fit a day for a whole group, and absence in words."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from analysis.composites import Inputs, by_name
from analysis.fits import FitCache
from analysis.modules import MODULES
from analysis.modules.corr_lead import HEAVY, METRICS, CorrelationLeadLag, recent_move
from analysis.report import Direction
from analysis.scorecard import needs_of
from core.futures import poisoned
from data.clock import FixedClock, parse_time
from data.frames import Candles
from data.market import DAY_MS, HOUR_MS, Interval, Market
from data.simulator.market import SYMBOLS, SimulatedExchange
from data.view import build_view
from tests.group_world import group_of, group_view

NOW = parse_time("2026-11-20T08:30:00Z")
MODULE = CorrelationLeadLag()
SEED = 71


class CountingFits(FitCache):
    """Remembers which methods really ran."""

    def __init__(self) -> None:
        super().__init__()
        self.ran: list[str] = []

    def get(self, method, data, fit, **options):
        def counted(x):
            self.ran.append(method)
            return fit(x)

        return super().get(method, data, counted, **options)


FITS = CountingFits()


@pytest.fixture(scope="module")
def views():
    exchange = SimulatedExchange(7, FixedClock(NOW))
    return {name: build_view(exchange, name, Market.SPOT, Interval.H1, MODULE.needs, fits=FITS, peers=SYMBOLS) for name in SYMBOLS}


@pytest.fixture(scope="module")
def reports(views):
    return {name: MODULE.score(view) for name, view in views.items()}


def follower_group(hours=1600, seed=SEED, lag=3):
    """BTC, a leader, its follower and noise: 1,600 hours are 66 days and 16 hours."""
    stream = np.random.default_rng(seed)
    r = stream.standard_t(5, (hours, 4)) * 0.004
    r[lag:, 2] += 0.5 * r[:-lag, 1]
    return group_of(r, ["BTCUSDT", "LEADUSDT", "TAILUSDT", "WILDUSDT"])


# -- planted truths of the simulated exchange -------------------------------------------------------------------------


def test_planted_leaders_are_found_with_their_lags(reports):
    sol, xrp = reports["SOLUSDT"].shown["leaders"], reports["XRPUSDT"].shown["leaders"]
    assert [(row["leader"], row["lag"]) for row in sol] == [("ETHUSDT", 3)]
    assert xrp[0]["leader"] == "BTCUSDT" and {row["lag"] for row in xrp} == {1}
    assert all(row["q"] < 0.05 and row["stability"] >= 0.6 and row["delta"] > 0.05 for row in (*sol, *xrp))
    assert min(reports["BTCUSDT"].shown["leadership"], key=reports["BTCUSDT"].shown["leadership"].get) == "XRPUSDT"


def test_who_has_no_leader_scores_zero_without_confidence(reports):
    for name in ("LTCUSDT", "BTCUSDT", "ETHUSDT"):
        report = reports[name]
        assert report.score == 0.0 and report.confidence == 0.0 and report.label == "no leader" and report.shown["leaders"] == []
    assert reports["SOLUSDT"].confidence > 0.5 and isinstance(reports["SOLUSDT"].value, Direction)


def test_the_tied_pair_is_found(reports):
    dot = reports["DOTUSDT"]
    tie = dot.shown["cointegration"]
    assert tie["partner"] == "ADAUSDT" and tie["p"] < 0.05 and 1.1 < tie["beta"] < 1.3 and 10 < tie["half_life"] < 40
    assert dot.part("coint").value == tie["p"] and dot.part("coint").contribution is None


def test_what_is_shown_fits_together(reports):
    report = reports["SOLUSDT"]
    matrix = np.array(report.shown["correlation"]["values"])
    names = report.shown["correlation"]["names"]
    assert names == sorted(SYMBOLS) and np.allclose(matrix, matrix.T) and np.allclose(np.diag(matrix), 1)
    b, s = names.index("BTCUSDT"), names.index("SOLUSDT")
    assert report.part("corr").value == pytest.approx(matrix[b, s], abs=5e-5)
    low, high = report.shown["corr_interval"]
    assert low < report.part("corr").value < high and abs(report.shown["spearman"] - matrix[b, s]) < 0.15
    assert math.fsum(report.shown["forecast_error_shares"]["shares"].values()) == pytest.approx(1)
    assert 1 / 12 < report.part("absorption").value < 1 and abs(report.part("e_mkt").value) <= report.part("absorption").value
    assert report.part("exch_premium").status == "missing" and "no second exchange is recorded" in report.part("exch_premium").note
    assert all(report.part(m.key).value is not None for m in METRICS if m.key != "exch_premium")
    assert report.part("partial_corr").value < report.part("corr").value


def test_a_scan_fits_the_table_once(views, reports):
    assert FITS.ran.count("leadlag/1") == 1 and FITS.ran.count("common-move/1") == 1


# -- the score --------------------------------------------------------------------------------------------------------


def test_the_score_by_hand(views, reports):
    """e = sum a tanh(z/2) / sum a, z = beta x (sum of the leader's last k returns) / (sd of the follower x sqrt k)."""
    view, report = views["XRPUSDT"], reports["XRPUSDT"]
    group = view.peers(MODULE.needs[1])
    midnight = view.at_ms // DAY_MS * DAY_MS
    own = group["XRPUSDT"]
    window = (own.open_time >= midnight - 1440 * HOUR_MS) & (own.open_time < midnight)
    sd = np.nanstd(own.log_return[window], ddof=1)
    top = weights = 0.0
    for row in report.shown["leaders"]:
        a = abs(row["rho"]) * (1 - row["q"]) * row["stability"]
        z = row["beta"] * group[row["leader"]].log_return[-row["lag"] :].sum() / (sd * math.sqrt(row["lag"]))
        top, weights = top + a * math.tanh(z / 2), weights + a
    assert report.score == pytest.approx(top / weights, abs=1e-12)
    assert report.part("leadlag_delta").contribution == report.raw


def test_the_table_stands_still_until_midnight(views):
    line = MODULE.timeline(views["SOLUSDT"], 60)
    day = (line.close_time + 1) // DAY_MS  # a bar that closes at midnight belongs to the day it begins
    for key in ("corr", "beta", "granger", "absorption"):
        for d in np.unique(day):
            assert len(np.unique(line.tracks[key].value[day == d])) == 1, key
    assert len(np.unique(line.tracks["corr"].value)) == len(np.unique(day)) and len(np.unique(line.score)) > 40
    led, lag = line.extra["leaders"] > 0, line.extra["e_lag_bars"]
    assert (lag[led] >= 1).all() and np.isnan(lag[~led]).all()


def test_a_move_of_the_leader_is_what_the_follower_still_owes():
    group = follower_group()
    line = MODULE.timeline(group_view(group, "TAILUSDT", MODULE.needs, fits=FitCache()), 200)
    ahead = np.array([group["TAILUSDT"].log_return[t + 1 : t + 4].sum() for t in range(len(group["TAILUSDT"]) - 200, 1600 - 3)])
    e = line.score[: len(ahead)]
    known = line.extra["leaders"][: len(ahead)] > 0
    assert known.mean() > 0.9 and np.corrcoef(e[known], ahead[known])[0, 1] > 0.3
    assert MODULE.timeline(group_view(group, "LEADUSDT", MODULE.needs, fits=FitCache()), 1).score[-1] == 0.0


def test_recent_moves_by_hand():
    group = follower_group(50)
    leader = group["LEADUSDT"]
    opened = leader.open_time[10:13]
    assert recent_move(leader, opened, 3) == pytest.approx([leader.log_return[t - 2 : t + 1].sum() for t in (10, 11, 12)])
    holed = leader.take(np.delete(np.arange(50), 11))
    assert np.isfinite(recent_move(holed, opened, 1)).tolist() == [True, False, False]  # 12 is the first of its segment


def test_the_composite_takes_a_leader_only_inside_its_horizon():
    exchange = SimulatedExchange(7, FixedClock(NOW))
    modules = [m for m in MODULES if m.letter in "AE"]
    view = build_view(exchange, "SOLUSDT", Market.SPOT, Interval.H1, needs_of(modules), fits=FITS, peers=SYMBOLS)
    inputs = Inputs(view, modules)
    line = by_name("buy_opportunity").line(inputs)
    assert line.values["e_lag_hours"][-1] == 3.0 and line.values["e_beside"][-1] == inputs.of("E", "e")[-1] != 0.0


# -- nothing from the future ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", range(5))
def test_what_the_report_adds_knows_nothing_after_its_midnight(kind):
    group = follower_group()
    clean = group_view(group, "TAILUSDT", MODULE.needs, fits=FitCache(), at_ms=int(group["BTCUSDT"].close_time[1560]) + 1)
    line = MODULE.timeline(clean, 1)
    report = MODULE.score(clean, line)
    bad = {name: poisoned(c, 1560, kind) for name, c in group.items()}
    spoiled = replace(clean, group={need: {n: bad[n] if need == MODULE.needs[1] else c for n, c in held.items()}
                                    for need, held in clean.group.items()}, fits=FitCache())
    again = MODULE.score(spoiled, line)
    assert [p.value for p in again.parts] == [p.value for p in report.parts] and again.shown == report.shown
    assert all(report.part(key).value is not None for key in HEAVY)


# -- absence ----------------------------------------------------------------------------------------------------------


def test_one_symbol_is_no_group():
    lone = {"BTCUSDT": follower_group()["BTCUSDT"]}
    report = MODULE.score(group_view(lone, "BTCUSDT", MODULE.needs))
    assert report.score is None and "only one symbol" in report.reason and len(report.parts) == len(METRICS)


def test_two_symbols_are_enough():
    group = follower_group()
    two = {name: group[name] for name in ("LEADUSDT", "TAILUSDT")}
    report = MODULE.score(group_view(two, "TAILUSDT", MODULE.needs, fits=FitCache()))
    assert report.score is not None and [row["leader"] for row in report.shown["leaders"]] == ["LEADUSDT"]
    assert report.part("corr").value is None and "not in the group" in report.part("corr").note
    assert report.part("e_mkt").value is None and "90 days" in report.part("e_mkt").note  # 66 days of hours


def test_too_short_a_history_says_what_is_missing():
    group = follower_group()
    group["TAILUSDT"] = group["TAILUSDT"].tail(300)
    report = MODULE.score(group_view(group, "TAILUSDT", MODULE.needs, fits=FitCache()))
    assert report.score is None and "known returns" in report.reason and "needed" in report.reason
    assert MODULE.score(group_view(group, "BTCUSDT", MODULE.needs, fits=FitCache())).shown["dropped"].keys() == {"TAILUSDT"}


def test_a_leader_whose_newest_bar_is_missing_leaves_the_pressure_unknown():
    group = follower_group()
    last = len(group["LEADUSDT"]) - 1
    group["LEADUSDT"] = group["LEADUSDT"].take(np.delete(np.arange(last + 1), last - 1))
    report = MODULE.score(group_view(group, "TAILUSDT", MODULE.needs, fits=FitCache()))
    assert report.score is None and "leaders' newest candles are missing" in report.reason


def test_a_price_that_stands_still_is_degenerate_and_a_dead_peer_is_dropped():
    group = follower_group()
    dead = group["LEADUSDT"]
    flat = np.full(len(dead), 7.0)
    group["LEADUSDT"] = Candles.from_columns(Interval.H1, dead.columns() | {"open": flat, "high": flat, "low": flat, "close": flat})
    assert MODULE.score(group_view(group, "LEADUSDT", MODULE.needs, fits=FitCache())).part("leadlag_delta").status == "degenerate"
    report = MODULE.score(group_view(group, "TAILUSDT", MODULE.needs, fits=FitCache()))
    assert report.score == 0.0 and "does not move" in report.shown["dropped"]["LEADUSDT"]


def test_without_a_cache_the_answer_is_the_same(views, reports):
    alone = MODULE.score(replace(views["SOLUSDT"], fits=None))
    assert alone.score == reports["SOLUSDT"].score and alone.shown == reports["SOLUSDT"].shown
