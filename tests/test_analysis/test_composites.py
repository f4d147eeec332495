"""Composites: typed, gated, adding up; what changed and what would flip them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from analysis.composites import COMPOSITES, Inputs, by_name
from analysis.composites.beside import DataConfidence, ExecutionQuality
from analysis.composites.changes import flips, module_flips, what_changed
from analysis.composites.combine import OWN, Composite, CompositeLine, band_of, covered
from analysis.composites.danger import AnomalyAlert, RiskExposureNow, tail_map
from analysis.composites.direction import BuyOpportunity, MacroSentiment, SellOpportunity, TrendStrength, slowed
from analysis.composites.proposed import PROPOSED, as_proposed, weighted_as_proposed
from analysis.fits import FitCache
from analysis.methods.cauchy import cauchy_p
from analysis.methods.spread_estimators import amihud, corwin_schultz
from analysis.module import Timeline
from analysis.modules import BY_LETTER, MODULES
from analysis.report import Direction, Intensity, Risk
from analysis.scaling import surprisal
from analysis.scorecard import needs_of, score_view
from data.clock import FixedClock, parse_time
from data.errors import InputError
from data.frames import Candles
from data.market import HOUR_MS, Interval, Market
from data.simulator.market import SYMBOLS, SimulatedExchange
from data.simulator.observed import SimulatedObservations
from data.view import build_view
from tests.made_candles import made, with_changes

NOW = parse_time("2026-11-20T08:30:00Z")
FITS = FitCache()
BARS = 60


@pytest.fixture(scope="module")
def view():
    clock = FixedClock(NOW)
    exchange = SimulatedExchange(7, clock)
    return build_view(exchange, "ETHUSDT", Market.SPOT, Interval.H1, needs_of(MODULES), fits=FITS, peers=SYMBOLS, more_bars=BARS,
                      observations=SimulatedObservations(7, exchange, clock))


@pytest.fixture(scope="module")
def inputs(view):
    return Inputs(view, MODULES, BARS)


each = pytest.mark.parametrize("composite", COMPOSITES, ids=lambda c: c.name)


class Given(Inputs):
    """Inputs whose module series are simply given: {(letter, what or metric): values}."""

    def __init__(self, candles: Candles, series: dict[tuple[str, str], np.ndarray], rows: int) -> None:
        self._own, self.bars, self.modules, self._composites, self._series = candles, rows, BY_LETTER, {}, series
        self.view = replace(VIEW, series={OWN: candles}, interval=candles.interval, as_of_ms=int(candles.close_time[-1]),
                            at_ms=int(candles.close_time[-1]) + 1)

    def of(self, letter, what="score", *, lead=0, key=""):
        rows = len(self.rows(lead))
        found = self._series.get((letter, key or what), np.nan)
        return np.full(rows, found) if np.ndim(found) == 0 else np.asarray(found, float)[-rows:]

    def line(self, letter, lead=0):
        rows = len(self.rows(lead))
        return Timeline(self.rows(lead), self.of(letter, "raw", lead=lead), self.of(letter, lead=lead), np.ones(rows), {}, {})

    def why(self, letter):
        return f"{letter} was not given"


VIEW = build_view(SimulatedExchange(7, FixedClock(NOW)), "ETHUSDT", Market.SPOT, Interval.H1, (OWN,))
CANDLES = VIEW.candles(OWN)


@each
def test_parts_add_up_and_the_link_gives_the_score(composite, inputs):
    line = inputs.composite(composite)
    known = np.isfinite(line.raw)
    total = np.sum(list(line.contributions.values()), axis=0)
    assert np.allclose(total[known], line.raw[known], atol=1e-9)
    linked = {"0.5+0.5*raw": lambda r: 0.5 + 0.5 * r, "max(0,raw)": lambda r: np.maximum(0, r), "identity": lambda r: r,
              "cauchy": lambda r: surprisal(cauchy_p(r))}[composite.link](line.raw)
    assert np.allclose(linked[known], line.score[known], atol=1e-12)
    assert ((line.score[known] >= 0) & (line.score[known] <= 1)).all() and ((line.coverage >= 0) & (line.coverage <= 1 + 1e-12)).all()


@each
def test_the_report_is_the_newest_row_and_complete(composite, inputs):
    report = composite.report(inputs)
    line = inputs.composite(composite)
    if report.score is None:
        assert report.reason and report.value.value is None and not np.isfinite(line.score[-1])
    else:
        assert report.score == line.score[-1] and report.raw == line.raw[-1]
        assert math.fsum(p.contribution for p in report.parts if p.contribution is not None) == pytest.approx(report.raw, abs=1e-9)
    assert len(composite.explanation()) > 150 and composite.question.endswith("?")


@pytest.fixture(scope="module")
def earlier(view):
    """The inputs of two earlier moments, each from its own view."""
    clock = FixedClock(NOW)
    exchange = SimulatedExchange(7, clock)
    observations = SimulatedObservations(7, exchange, clock)
    return {back: Inputs(build_view(exchange, "ETHUSDT", Market.SPOT, Interval.H1, needs_of(MODULES), fits=FITS, peers=SYMBOLS,
                                    at_ms=view.at_ms - back * HOUR_MS, observations=observations), MODULES) for back in (3, 41)}


@each
def test_rows_of_a_line_equal_the_moments_own_answer(composite, earlier, inputs):
    line = inputs.composite(composite)
    for back, then in earlier.items():
        assert then.composite(composite).score[-1] == pytest.approx(line.score[-1 - back], abs=2e-6, nan_ok=True), composite.name


@pytest.fixture(scope="module")
def without_each(view):
    """The inputs of the newest moment, whole (None) and with each need taken away."""
    out = {None: Inputs(view, MODULES, 1)}
    for need in needs_of(MODULES):
        if need != OWN:
            out[need] = Inputs(replace(view.without(need, "taken away"), fits=FITS), MODULES, 1)
    return out


@each
def test_a_lost_input_lowers_the_coverage_or_takes_the_score_and_is_never_half(composite, without_each):
    whole, cut = without_each[None].composite(composite), without_each
    for need, lacking in cut.items():
        if need is None:
            continue
        line = lacking.composite(composite)
        assert np.isnan(line.score[-1]) or line.coverage[-1] <= whole.coverage[-1] + 1e-9


def test_types_and_names():
    kinds = {c.name: c.kind for c in COMPOSITES}
    assert kinds["trend_strength"] is Direction and kinds["risk_exposure"] is Risk and kinds["buy_opportunity"] is Intensity
    assert len({c.name for c in COMPOSITES}) == len(COMPOSITES) >= 10
    with pytest.raises(InputError, match="did you mean"):
        by_name("trend_strenght")


def test_coverage_needs_the_essential_input_and_enough_weight():
    x = np.array([1.0, np.nan, 1.0])
    y = np.array([1.0, 1.0, np.nan])
    coverage, enough = covered({"A": 0.6, "B": 0.4}, {"A": x, "B": y}, {"B": np.array([0.5, 1.0, 1.0])}, "A")
    assert coverage == pytest.approx([0.8, 0.4, 0.6]) and enough.tolist() == [True, False, False]


def test_trend_strength_by_hand():
    given = {("A", "raw"): 0.6, ("B", "score"): 0.7, ("D", "score"): 0.2, ("A", "coverage"): 1.0, ("B", "coverage"): 1.0,
             ("D", "coverage"): 1.0}
    given |= {("A", m.key): 0.6 * m.weight for m in BY_LETTER["A"].metrics}
    line = TrendStrength().line(Given(CANDLES, given, 1))
    kappa = 1 - 0.3 * 0.6  # d = 2 x .2 - 1 = -.6 against a rising a
    assert line.raw[-1] == pytest.approx(0.6 * 0.7 * kappa, abs=1e-12) and line.score[-1] == pytest.approx(0.5 + 0.5 * line.raw[-1])
    given[("D", "score")] = 0.9  # flow that agrees strengthens nothing
    assert TrendStrength().line(Given(CANDLES, given, 1)).raw[-1] == pytest.approx(0.42, abs=1e-12)
    del given[("B", "score")], given[("D", "score")]
    assert np.isnan(TrendStrength().line(Given(CANDLES, given, 1)).raw[-1])  # .60 of the weight


def test_buy_and_sell_are_mirror_images_and_ask_for_a_pull_back():
    base = {("A", "score"): 0.8, ("A", "coverage"): 1.0, ("C", "coverage"): 1.0, ("C", "c_flow"): 0.2, ("A", "slow"): 0.5,
            ("A", "fast"): -0.4}
    risk = {("B", "b_risk"): 0.4, ("G", "score"): 0.4, ("J", "score"): 0.0, ("J", "coverage"): 1.0, ("C", "crowding"): 0.1,
            ("D", "fragility"): 0.5, ("F", "score"): 0.5}
    buy = BuyOpportunity().line(Given(CANDLES, base | risk, 1))
    gate = buy.gate[-1]
    assert buy.raw[-1] == pytest.approx(gate * ((0.7 * 0.5 + 0.3 * -0.4 * -1.0) + 0.2) / 2, abs=1e-12)
    turned = {key: -v if key[1] in ("slow", "fast", "c_flow") else v for key, v in base.items()}
    sell = SellOpportunity().line(Given(CANDLES, turned | risk, 1))
    assert sell.score[-1] == pytest.approx(buy.score[-1], abs=1e-12)
    assert BuyOpportunity().line(Given(CANDLES, turned | risk, 1)).score[-1] == 0.0
    dangerous = risk | {("B", "b_risk"): 1.0, ("G", "score"): 1.0, ("J", "score"): 0.9}
    assert BuyOpportunity().line(Given(CANDLES, base | dangerous, 1)).score[-1] == 0.0


def test_a_leader_counts_only_inside_the_horizon():
    base = {("A", "score"): 0.8, ("A", "coverage"): 1.0, ("C", "coverage"): 1.0, ("C", "c_flow"): 0.2, ("A", "slow"): 0.5,
            ("A", "fast"): 0.0, ("E", "e"): 0.9, ("B", "b_risk"): 0.4, ("G", "score"): 0.4, ("J", "score"): 0.0,
            ("J", "coverage"): 1.0, ("C", "crowding"): 0.0}
    near = BuyOpportunity().line(Given(CANDLES, base | {("E", "e_lag_bars"): 3.0}, 1))
    inside = BuyOpportunity().line(Given(CANDLES, base | {("E", "e_lag_bars"): 6.0}, 1))
    assert near.inner["e"][-1] == 0.0 and near.values["e_beside"][-1] == 0.9
    assert inside.inner["e"][-1] == pytest.approx(0.3) and inside.raw[-1] > near.raw[-1]


def test_risk_is_the_mean_of_the_two_largest_and_monotone():
    base = {("B", "b_risk"): 0.8, ("G", "score"): 0.6, ("J", "score"): 0.3, ("J", "coverage"): 1.0, ("C", "crowding"): 0.5,
            ("D", "fragility"): 0.2, ("F", "score"): 0.9}
    line = RiskExposureNow().line(Given(CANDLES, base, 1))
    level = (0.7 - 0.5) / 0.45
    assert line.raw[-1] == pytest.approx((0.5 + level) / 2, abs=1e-12)
    for name, worse in (("C", ("C", "crowding")), ("J", ("J", "score")), ("F", ("F", "score"))):
        for value in np.linspace(0, 1, 11):
            moved = RiskExposureNow().line(Given(CANDLES, base | {worse: value}, 1)).raw[-1]
            better = value >= 0.9 if name == "F" else value <= base[worse]
            assert moved <= line.raw[-1] + 1e-12 if better else moved >= line.raw[-1] - 1e-12
    assert tail_map(np.array([0.0, 0.5, 0.725, 0.95, 1.0])) == pytest.approx([0, 0, 0.5, 1, 1])


def test_risk_under_independent_normal_conditions_has_its_published_size():
    stream = np.random.default_rng(3)
    n = 40_000
    fragility, macro = stream.random((4, n)).mean(axis=0), np.clip(stream.normal(0.5, 0.2, n), 0, 1)
    level = tail_map(stream.random((2, n)).mean(axis=0))
    quiet = np.where(stream.random((2, n)) < 0.1, stream.random((2, n)), 0.0)
    two = np.sort(np.stack([level, quiet[0], quiet[1], tail_map(fragility), tail_map(1 - macro)]), axis=0)[-2:].mean(axis=0)
    assert 0.22 < np.median(two) < 0.40 and 0.05 < np.mean(two >= 0.6) < 0.20 and np.mean(two >= 0.8) < 0.05


def test_macro_slows_sentiment_with_a_half_life_of_three_days():
    c = np.zeros(720)
    c[-1] = 1.0
    weights = 0.5 ** (np.arange(720) / 72)
    assert slowed(c, 1, 720, 72.0)[-1] == pytest.approx(weights[0] / weights.sum(), abs=1e-12)
    assert np.isnan(slowed(np.where(np.arange(720) >= 660, np.nan, 1.0), 1, 720, 72.0)[-1])  # the newest 60 carry 44 % of the weight
    line = MacroSentiment().line(Given(CANDLES, {("F", "raw"): 0.4, ("C", "raw"): np.full(720, -0.2)}, 1))
    assert line.raw[-1] == pytest.approx(0.7 * 0.4 - 0.3 * 0.2, abs=1e-12)
    alone = MacroSentiment().line(Given(CANDLES, {("F", "raw"): 0.4}, 1))
    assert alone.raw[-1] == pytest.approx(0.4) and alone.coverage[-1] == pytest.approx(0.7)


def test_anomaly_combines_tail_probabilities_and_does_not_dilute():
    loud = AnomalyAlert().line(Given(CANDLES, {("J", "raw"): float(np.tan((0.5 - 1e-5) * np.pi)), ("C", "p_funding"): 0.5,
                                               ("C", "p_open_interest"): 0.5}, 1))
    assert loud.score[-1] > 0.9 and loud.extra["alert"][-1] == 1.0
    quiet = AnomalyAlert().line(Given(CANDLES, {("J", "raw"): 0.0, ("C", "p_funding"): 0.5}, 1))
    assert quiet.score[-1] < 0.3 and quiet.extra["alert"][-1] == 0.0


def test_execution_costs_more_for_more_and_falls_back_to_candles():
    costs = [ExecutionQuality(size).line(Given(CANDLES, {}, 1)).values["cost_bps"][-1] for size in (1e3, 1e4, 1e5, 1e6)]
    assert costs == sorted(costs) and costs[0] > 0
    book = {("D", "slippage_10k_bps"): 1.0, ("D", "slippage_100k_bps"): 5.0}
    walked = [ExecutionQuality(size).line(Given(CANDLES, book, 1)).values["cost_bps"][-1] for size in (1e4, 10**4.5, 1e5, 4e5)]
    assert walked == pytest.approx([1.0, 3.0, 5.0, 10.0])


def test_data_confidence_falls_with_missing_bars():
    holed = CANDLES.take(np.concatenate((np.arange(len(CANDLES) - 400), np.arange(len(CANDLES) - 300, len(CANDLES)))))
    full = {(letter, "coverage"): 1.0 for letter in DataConfidence.weights}
    assert DataConfidence().line(Given(CANDLES, full, 1)).raw[-1] == pytest.approx(1.0)
    assert DataConfidence().line(Given(holed, full, 1)).raw[-1] == pytest.approx(0.8)


# -- what changed, what would flip it ---------------------------------------------------------------------------------


@each
def test_what_changed_adds_up_between_any_two_known_moments(composite, inputs):
    line = inputs.composite(composite)
    known = np.flatnonzero(np.isfinite(line.raw))
    if len(known) < 5:
        pytest.skip(f"{composite.name} is not known on this world yet")
    stream = np.random.default_rng(11)
    for _ in range(40):
        i, j = sorted(stream.choice(known, 2, replace=False))
        change = what_changed(line, int(line.close_time[i]), int(line.close_time[j]))
        assert math.fsum(change.raw_parts.values()) == pytest.approx(line.raw[j] - line.raw[i], abs=1e-9)
        assert math.fsum(change.parts.values()) == pytest.approx(line.score[j] - line.score[i], abs=1e-9)


def test_what_changed_splits_a_gated_sum_by_hand():
    time = np.array([0, 1])
    line = CompositeLine(time, np.array([0.5 * 0.4, 0.25 * 0.8]), np.array([0.2, 0.2]), np.ones(2), {"x": np.array([0.3, 0.8]),
                         "y": np.array([0.1, 0.0])}, {"g": np.array([0.5, 0.25])})
    change = what_changed(line, 0, 1)
    assert change.raw_parts == pytest.approx({"x": 0.375 * 0.5, "y": 0.375 * -0.1, "g": 0.6 * -0.25})
    with pytest.raises(InputError, match="begins at"):
        what_changed(line, -5, 1)


def test_an_unknown_moment_cannot_be_explained():
    line = CompositeLine(np.array([0, 1]), np.array([np.nan, 0.1]), np.array([np.nan, 0.1]), np.ones(2), {"x": np.array([np.nan, 0.1])})
    with pytest.raises(InputError, match="is unknown"):
        what_changed(line, 0, 1)


BANDS = ((-math.inf, "low"), (-0.2, "middle"), (0.2, "high"))


def test_the_flip_distance_by_hand():
    found = flips({"x": 0.06, "y": 0.0}, {"x": 0.6, "y": 0.1}, 0.06, 1.0, BANDS)
    up = next(f for f in found if f.name == "x" and f.towards == "high")
    assert up.k_now == pytest.approx(0.1) and up.k_needed == pytest.approx(0.1 + 0.14 / 0.6, abs=1e-8) and up.reachable
    assert not next(f for f in found if f.name == "y" and f.towards == "high").reachable
    assert found[0].reachable and found == sorted(found, key=lambda f: (not f.reachable, f.distance))


def test_re_evaluating_module_a_at_the_flip_flips_it(view):
    """Every reachable flip of the real module: put the needed unit score in, blend again, and the band is the other one."""
    from analysis.module import blend

    module = BY_LETTER["A"]
    lone = view.without(module.needs[1], "one market makes the weights exact")
    line = module.timeline(lone, 1)
    bands = ((-math.inf, "strong bear"), (-0.6, "bear"), (-0.2, "neutral"), (0.2, "bull"), (0.6, "strong bull"))
    found = [f for f in module_flips(module, line, bands) if f.reachable]
    assert len(found) >= 3
    for flip in found:
        moved = {k: replace(t, k=np.array([flip.k_needed])) if k == flip.name else t for k, t in line.tracks.items()}
        again = float(blend(module.metrics, moved).raw[-1])
        assert bands[band_of(again, bands)][1] == flip.towards


@pytest.mark.parametrize("values", [{"level": 0.9, "J": 0.4}, {"level": 0.55, "J": 0.1}, {"level": 0.7, "J": 0.9}])
def test_re_evaluating_risk_at_the_flip_flips_it(values):
    base = {("B", "b_risk"): values["level"], ("G", "score"): values["level"], ("J", "score"): values["J"], ("J", "coverage"): 1.0,
            ("C", "crowding"): 0.2, ("D", "fragility"): 0.6, ("F", "score"): 0.45}
    composite = RiskExposureNow()
    given = Given(CANDLES, base, 1)
    found = [f for f in composite.flips(given) if f.reachable]
    assert found
    key = {"instability": ("J", "score"), "crowding": ("C", "crowding")}
    for flip in found:
        if flip.name in key:
            again = composite.line(Given(CANDLES, base | {key[flip.name]: flip.k_needed}, 1))
            assert composite.label(again) == flip.towards


@each
def test_flips_of_the_simulated_market_name_real_parts(composite, inputs):
    for flip in composite.flips(inputs):
        assert flip.towards in {word for _, word in composite.bands} and math.isfinite(flip.k_needed)


# -- what they are compared with --------------------------------------------------------------------------------------


def test_the_proposed_means_are_plain():
    given = Given(CANDLES, {("A", "score"): 0.8, ("B", "score"): 0.6, ("C", "score"): -0.4}, 1)
    assert as_proposed("trend_strength", given)[-1] == pytest.approx((0.8 + 0.6 + 0.3) / 3)
    assert weighted_as_proposed("trend_strength", given)[-1] == pytest.approx(0.5 + 0.5 * 0.6 * (0.45 * 0.6 - 0.2 * 0.4) / 0.65)
    assert set(PROPOSED) <= {c.name for c in COMPOSITES}
    assert np.isnan(as_proposed("liquidity_pressure", given)[-1])


# -- fallbacks --------------------------------------------------------------------------------------------------------


def test_corwin_schultz_finds_a_planted_spread_where_nothing_else_moves_much():
    stream = np.random.default_rng(9)
    spread, n = 0.01, 4000
    mid = 100 * np.exp(np.cumsum(stream.normal(0, 0.002, (n, 390)).ravel() / np.sqrt(390))).reshape(n, 390)
    traded = mid * (1 + spread / 2 * np.where(stream.random((n, 390)) < 0.5, 1, -1))
    candles = with_changes(made(n), open=traded[:, 0], high=traded.max(axis=1), low=traded.min(axis=1), close=traded[:, -1])
    assert np.nanmean(corwin_schultz(candles)) == pytest.approx(spread, rel=0.12)


def test_amihud_is_impact_per_million():
    close = np.array([100.0, 101.0, 100.0, 102.0])
    candles = with_changes(made(4), open=close, high=close, low=close, close=close, quote_volume=np.full(4, 2e6))
    expected = np.mean(np.abs(np.log([101 / 100, 100 / 101, 102 / 100]))) / 2
    assert amihud(candles, window=3)[-1] == pytest.approx(expected)


def test_the_scorecard_holds_them_all(view):
    card = score_view(view, MODULES)
    assert [c.slug for c in card.composites] == [c.name for c in COMPOSITES]
    assert isinstance(card.composite("risk_exposure").value, Risk) and card.composite("trend_strength").score is not None


def test_an_empty_view_gives_full_reports(view):
    nothing = view
    for need in needs_of(MODULES):
        nothing = nothing.without(need, "nothing is stored")
    card = score_view(replace(nothing, fits=FitCache()), MODULES)
    for report in card.composites:
        assert report.score is None or report.slug == "data_confidence"
        assert report.reason or report.score == 0.0


def test_every_composite_is_stateless():
    assert all(isinstance(c, Composite) and not [k for k in vars(c) if k != "quantity"] for c in COMPOSITES)
